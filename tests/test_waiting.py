"""Who waits at red, and for how long, as the independent monitor reads it from hand-written recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.links import LinkPath
from evaluation.monitor.net import read_signals
from evaluation.monitor.waiting import CHANGE_S, LongestRed, longest_reds, never_green, waiting_options
from scenarios.loading import load

END_S = 400
LANE_M = 400.0


@pytest.fixture(scope="module")
def net() -> Path:
    """Of `single`: one signal, four approaches."""
    return load("single").net_file


@pytest.fixture(scope="module")
def path(net: Path) -> LinkPath:
    """The way of link 1, which goes straight on."""
    return read_signals(net)["C"].paths[1][0]


def record(
    folder: Path, net: Path, green: Mapping[int, Sequence[tuple[int, int]]], seen: Mapping[int, str], route: str
) -> None:
    """Write SUMO's recordings: when links show G (else r), and who is where, by time [s]."""
    links = max(read_signals(net)["C"].paths) + 1
    states = []
    for time_s in range(END_S):
        shown = ["r"] * links
        for link, spans in green.items():
            if any(begin <= time_s < end for begin, end in spans):
                shown[link] = "G"
        states.append(f'<tlsState time="{time_s:.2f}" id="C" programID="x" phase="0" state="{"".join(shown)}"/>')
    (folder / "tls_states.xml").write_text(f"<tlsStates>{''.join(states)}</tlsStates>")
    steps = [f'<timestep time="{time_s:.2f}">{vehicles}</timestep>' for time_s, vehicles in sorted(seen.items())]
    (folder / "waiting.xml").write_text(f"<fcd-export>{''.join(steps)}</fcd-export>")
    (folder / "routes.xml").write_text(
        "<routes>"
        + "".join(f'<vehicle id="{name}" depart="0"><route edges="{route}"/></vehicle>' for name in ("a", "b"))
        + "</routes>"
    )


def stands(lane: str, length_m: float, name: str = "a", back_m: float = 1.0, speed_mps: float = 0.0) -> str:
    return f'<vehicle id="{name}" lane="{lane}" pos="{length_m - back_m:.2f}" speed="{speed_mps:.2f}"/>'


def length_of(net: Path, lane: str) -> float:
    return load("single").network.lanes[lane].length_m


def test_the_longest_red_counts_from_the_last_green_to_the_last_look(
    net: Path, path: LinkPath, tmp_path: Path
) -> None:
    at = stands(path.from_lane, length_of(net, path.from_lane))
    seen = {0: at, 15: at, 95: at, 100: at, 345: at, 350: "", 395: ""}
    record(tmp_path, net, {1: [(20, 50)]}, seen, " ".join(path.edges))
    (found,) = longest_reds(net, tmp_path)
    assert (found.tls_id, found.link, found.since_s, found.red_s) == ("C", 1, 50.0, 295.0)
    assert found.starves


@pytest.mark.parametrize(
    "change",
    [
        {"speed_mps": 0.2},
        {"back_m": 30.0},
        {"lane": ":C_0_0"},
    ],
    ids=["it drives", "it stands far from the stop line", "it stands inside the junction"],
)
def test_who_does_not_stand_at_the_stop_line_does_not_wait(
    change: dict[str, object], net: Path, path: LinkPath, tmp_path: Path
) -> None:
    arguments = {"lane": path.from_lane, "length_m": length_of(net, path.from_lane)} | change
    record(tmp_path, net, {}, {300: stands(**arguments)}, " ".join(path.edges))  # type: ignore[arg-type]
    assert longest_reds(net, tmp_path) == []


def test_only_the_foremost_waits_and_only_for_its_own_link(net: Path, path: LinkPath, tmp_path: Path) -> None:
    """The first one ends its trip on this edge, so it waits for no link; nor does the one behind it."""
    length_m = length_of(net, path.from_lane)
    both = stands(path.from_lane, length_m, "a") + stands(path.from_lane, length_m, "b", back_m=8.5)
    record(tmp_path, net, {}, {300: both}, path.edges[0])
    assert longest_reds(net, tmp_path) == []


def test_no_red_is_seen_while_the_link_is_green(net: Path, path: LinkPath, tmp_path: Path) -> None:
    at = stands(path.from_lane, length_of(net, path.from_lane))
    record(tmp_path, net, {1: [(0, END_S)]}, {300: at}, " ".join(path.edges))
    assert longest_reds(net, tmp_path) == []


def test_signals_that_are_not_asked_for_are_left_out(net: Path, path: LinkPath, tmp_path: Path) -> None:
    at = stands(path.from_lane, length_of(net, path.from_lane))
    record(tmp_path, net, {}, {300: at}, " ".join(path.edges))
    assert len(longest_reds(net, tmp_path, tls_ids=["C"])) == 1
    assert longest_reds(net, tmp_path, tls_ids=[]) == []


def test_the_bound_is_twice_the_cycle_of_the_last_program_but_at_least_180_s(
    net: Path, path: LinkPath, tmp_path: Path
) -> None:
    at = stands(path.from_lane, length_of(net, path.from_lane))
    record(tmp_path, net, {}, {300: at}, " ".join(path.edges))
    links = max(read_signals(net)["C"].paths) + 1
    bounds = []
    for duration_s in (10, 100):
        add = tmp_path / f"{duration_s}.add.xml"
        row = f'<phase duration="{duration_s}" state="{"r" * links}"/>'
        add.write_text(
            f'<additional><tlLogic id="C" programID="p" type="static" offset="0">{row * 2}</tlLogic></additional>'
        )
        bounds.append(longest_reds(net, tmp_path, [add])[0].bound_s)
    assert bounds == [180.0, 400.0]


@pytest.mark.parametrize(("red_s", "starves"), [(180.0 + CHANGE_S, False), (181.0 + CHANGE_S, True)])
def test_a_link_starves_beyond_its_bound_and_a_change(red_s: float, starves: bool) -> None:
    assert LongestRed("C", 0, 0.0, red_s, 180.0).starves is starves


def test_a_link_that_the_program_serves_is_missed_when_it_is_never_green(net: Path, tmp_path: Path) -> None:
    links = sorted(read_signals(net)["C"].paths)
    record(tmp_path, net, {link: [(5, 9)] for link in links[1:]}, {}, "")
    assert never_green(net, tmp_path) == [("C", links[0])]
    program = tmp_path / "p.add.xml"
    program.write_text(
        f'<additional><tlLogic id="C" programID="p" type="static" offset="0">'
        f'<phase duration="9" state="r{"G" * (len(links) - 1)}"/></tlLogic></additional>'
    )
    assert never_green(net, tmp_path, [program]) == [], "this program does not serve it either"


@pytest.mark.parametrize("name", ["waiting.xml", "routes.xml", "tls_states.xml"])
def test_a_torn_recording_is_refused(name: str, net: Path, path: LinkPath, tmp_path: Path) -> None:
    at = stands(path.from_lane, length_of(net, path.from_lane))
    record(tmp_path, net, {}, {300: at}, " ".join(path.edges))
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text[: len(text) // 2])
    with pytest.raises(MonitorInputError, match=name):
        longest_reds(net, tmp_path)


def test_only_the_edges_before_stop_lines_are_recorded(net: Path, tmp_path: Path) -> None:
    options = waiting_options(tmp_path, net)
    listed = Path(options["--fcd-output.filter-edges.input-file"]).read_text().split()
    network = load("single").network
    into = {c.from_edge for c in network.controlled["C"] if network.edges[c.from_edge].function == "normal"}
    assert set(listed) == {f"edge:{edge}" for edge in into}
