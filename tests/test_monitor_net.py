"""What the safety monitor reads out of a net agrees with geometry, SUMO, and SUMO's own programs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sumo

from evaluation.monitor.check import check
from evaluation.monitor.geometry import centre_lines_cross, far_end_m
from evaluation.monitor.links import clearance_s
from evaluation.monitor.net import read_signals

BIN = Path(sumo.SUMO_HOME) / "bin"
SUMO_RL = importlib.util.find_spec("sumo_rl")  # not imported: it asks for SUMO_HOME
assert SUMO_RL is not None
assert SUMO_RL.origin is not None
RESCO = Path(SUMO_RL.origin).parent / "nets" / "RESCO"

FOES_AS_SUMO_SAYS = """
import json, sys, libsumo
libsumo.start(["sumo", "-n", sys.argv[1], "--no-step-log", "--no-warnings"])
lanes = json.loads(sys.stdin.read())
print("foes", json.dumps([libsumo.lane.getFoes(start, end) for start, end in lanes]))
"""


def _generate(folder: Path, *options: str) -> Path:
    """A random net whose junctions all have signals."""
    net = folder / "random.net.xml"
    base = [BIN / "netgenerate", "--rand", "--rand.iterations", "12", "-j", "traffic_light", "-L", "2"]
    subprocess.run([*base, *options, "-o", net], capture_output=True, check=True)
    return net


@pytest.mark.wide
@pytest.mark.parametrize("name", ["with crossings", "cologne1", "ingolstadt7", "grid4x4"])
def test_who_yields_is_what_sumo_says(tmp_path: Path, name: str) -> None:
    """The rows of the right-of-way tables are attributed as the running simulation does it."""
    if name == "with crossings":
        net = _generate(tmp_path, "--turn-lanes", "1", "--sidewalks.guess", "--crossings.guess")
    else:
        net = RESCO / name / f"{name}.net.xml"
    mine: dict[tuple[str, str], set[str]] = {}
    for signal in read_signals(net).values():
        for paths in signal.paths.values():
            mine |= {(path.from_lane, path.to_lane): set() for path in paths}
        for relation in signal.relations:
            for a, b in relation.pairs:
                if relation.first_yields:
                    mine[a.from_lane, a.to_lane].add(b.from_lane)
                if relation.second_yields:
                    mine[b.from_lane, b.to_lane].add(a.from_lane)
    assert sum(len(foes) for foes in mine.values()) > 20
    command = [sys.executable, "-c", FOES_AS_SUMO_SAYS, str(net)]
    done = subprocess.run(command, input=json.dumps(list(mine)), capture_output=True, text=True, check=True)
    foes = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("foes"))[5:])
    approaches = {from_lane for from_lane, _ in mine}
    for way, theirs in zip(mine, foes, strict=True):
        # SUMO also names lanes inside the junction, where long turns wait
        assert mine[way] == {lane for lane in theirs if lane in approaches}, way


@pytest.mark.wide
@pytest.mark.parametrize(
    "options",
    [
        ["--sidewalks.guess", "--crossings.guess"],
        ["--turn-lanes", "1", "--lefthand"],
        ["--random-lanenumber", "--tls.layout", "incoming"],
    ],
)
@pytest.mark.parametrize("seed", ["1", "2"])
def test_netconverts_own_programs_show_no_conflicting_greens(tmp_path: Path, options: list[str], seed: str) -> None:
    net = _generate(tmp_path, "--seed", seed, *options)
    add = tmp_path / "add.xml"
    add.write_text('<additional><timedEvent type="SaveTLSStates" dest="states.xml"/></additional>')
    subprocess.run(
        [BIN / "sumo", "-n", net, "-a", add, "-e", "200", "--no-step-log"], capture_output=True, check=True
    )
    findings = check(net, tmp_path / "states.xml")
    # they know a yellow, but neither red clearance nor, in full, walk and pedestrian clearance
    kinds = {"short_red_clearance", "short_pedestrian_clearance", "short_walk", "aborted_yellow"}
    assert {found.kind for found in findings} <= kinds
    assert "short_red_clearance" in {found.kind for found in findings}


def test_two_greens_into_one_lane_are_found_as_sumo_warns(tmp_path: Path) -> None:
    """ingolstadt7's program lets two lanes of one approach into the same lane, both with priority."""
    net = RESCO / "ingolstadt7" / "ingolstadt7.net.xml"
    add, states = tmp_path / "add.xml", tmp_path / "states.xml"
    add.write_text(f'<additional><timedEvent type="SaveTLSStates" dest="{states}"/></additional>')
    command = [BIN / "sumo", "-n", net, "-a", add, "-e", "100", "--no-step-log"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Unsafe green phase 4 in tlLogic 'gneJ210'" in done.stderr
    greens = [found for found in check(net, states) if found.kind == "conflicting_greens"]
    assert {(found.tls_id, found.links) for found in greens} == {("gneJ210", (6, 8)), ("gneJ210", (7, 9))}


def test_a_net_without_internal_lanes_is_crossed_in_a_straight_line(tmp_path: Path) -> None:
    net = _generate(tmp_path, "--no-internal-links")
    relations = [relation for signal in read_signals(net).values() for relation in signal.relations]
    needed = [clearance_s(relation, relation.first, 6.1, 1.07) for relation in relations]
    assert max(needed) > 1.0
    assert max(needed) < 6.0


def test_geometry() -> None:
    along, across = np.array([[0.0, 0], [20, 0]]), np.array([[10.0, -5], [10, 0], [10, 5]])
    beside = np.array([[0.0, 3.2], [20, 3.2]])
    assert centre_lines_cross(along, across)
    assert centre_lines_cross(across, along)
    assert not centre_lines_cross(along, np.array([[20.0, 0], [30, 0]]))  # goes on from its end
    assert not centre_lines_cross(along, beside)
    assert far_end_m(along, 3.2, across, 3.2) == pytest.approx(11.5, abs=0.11)
    assert far_end_m(along, 3.2, beside, 3.2) is None
    merging = np.array([[5.0, 10], [15, 0], [20, 0]])
    assert far_end_m(along, 3.2, merging, 3.2) == pytest.approx(20.0)
