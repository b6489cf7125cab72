"""Networks that nothing was tuned on: whoever waits is served, and nothing unsafe is shown, under any policy.

What is asked is read from SUMO's recordings and the net file by the independent monitor, which shares no code with
the signal layer: no link stays red beyond its bound while a vehicle waits, each link that the network's program
serves is green at some time, and the monitor has no finding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import made_traffic, network_page, networks
from benchmarks.made_traffic import made_scenario
from benchmarks.network_list import NETWORKS, files_of, run_tool
from controllers.registry import make
from evaluation.contest import Contestant, Evaluation, Recording
from evaluation.monitor.check import check
from evaluation.monitor.waiting import POSITIONS, ROUTES, longest_reds, never_green, waiting_options
from evaluation.runs import run_all
from plumbing.errors import InputError
from scenarios.loading import load, names
from scenarios.scenario import Scenario
from signals.intersection import compile_signals
from signals.timing import Timing
from tests.safety_runs import random_network
from tests.windows import window

HORIZON_S = 600.0
SEED = 10_001
POLICIES = ("random", "greedy", "cop")
ALONE = "fokr_bs"
"""The network whose one signal keeps its program."""


def wrongs(scenario: Scenario, contestants: Sequence[Contestant], folder: Path) -> dict[str, list[str]]:
    """Per controller, what is wrong with what was shown; somebody must have waited at all."""
    plan = compile_signals(scenario.network, Timing())
    run_all(
        Evaluation(
            scenario, contestants, [SEED], keep=folder, recording=Recording((POSITIONS, ROUTES), waiting_options)
        )
    )
    found: dict[str, list[str]] = {}
    for contestant in contestants:
        recorded = folder / contestant.name / f"seed-{SEED}"
        files = scenario.net_file, recorded, scenario.additional_files, plan.tls_ids
        reds = longest_reds(*files)
        assert len(reds) >= 2, "hardly anybody waited: this run shows nothing"
        lines = [f"{red.tls_id} link {red.link} is red for {red.red_s:g} s" for red in reds if red.starves]
        lines += [f"{tls_id} link {link} is never green" for tls_id, link in never_green(*files)]
        states = recorded / "tls_states.xml"
        lines += [found.message for found in check(scenario.net_file, states, networks.BY_SPEED, plan.tls_ids)]
        found[contestant.name] = lines
    return found


def named(*policies: str) -> list[Contestant]:
    return [Contestant(policy, lambda policy=policy: make(policy)) for policy in policies]  # type: ignore[misc]


@pytest.mark.wide
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("RiLSA-2", 0.6),  # a protected left turn, whose queue is shorter than all others
        ("fkk_in", 0.3),  # crossings with walkers
        ("bs3d-guessed", 0.2),  # a town with signals over several junctions, and streets with hardly any traffic
    ],
)
def test_whoever_waits_on_a_real_network_is_served(name: str, share: float, tmp_path: Path) -> None:
    scenario = made_scenario(NETWORKS[name], HORIZON_S).scaled(share)
    assert wrongs(scenario, named(*POLICIES), tmp_path) == {policy: [] for policy in POLICIES}


# --- the benchmark's own parts


@pytest.mark.wide
def test_the_made_traffic_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made_scenario(NETWORKS["fkk_in"], HORIZON_S)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    second = made_scenario(NETWORKS["fkk_in"], HORIZON_S)
    assert first.route_files != second.route_files, "the second was taken from the cache"
    assert [p.read_bytes() for p in first.route_files] == [p.read_bytes() for p in second.route_files]
    vehicles, walkers = first.demand_counts()
    assert (vehicles, walkers) == (900, 75), "2 veh/s and a walker every 6 s for three quarters of the run"
    assert 420 < first.planned.last_s < 450  # type: ignore[operator]
    assert first.name == "fkk_in"


@pytest.mark.parametrize("limit", [0, 1, 7, 28])
def test_bisection_finds_the_highest_rung_that_is_carried(limit: int) -> None:
    asked: list[int] = []

    def carries(rung: int) -> bool:
        asked.append(rung)
        return rung <= limit

    assert made_traffic.highest(carries, 29) == limit
    assert len(asked) <= 5
    assert 0 not in asked, "the lowest has been run for the light traffic"


@pytest.mark.parametrize(
    ("changed", "carried"),
    [
        ({}, True),
        ({"delay_s": 41.0}, False),
        ({"gridlocked": True}, False),
        ({"running_veh": 14}, False),
        ({"uninserted_veh": 3}, False),
    ],
)
def test_what_fixed_time_carries(changed: Mapping[str, Any], carried: bool) -> None:
    fine = {"delay_s": 40.0, "gridlocked": False, "running_veh": 13, "uninserted_veh": 2, "vehicles": 100}
    run: Any = SimpleNamespace(**(fine | changed))
    assert made_traffic.carried(run, made_traffic.Light(delay_s=20.0, unfinished_share=0.1)) is carried


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_there(name: str) -> None:
    if NETWORKS[name].seed is None and not NETWORKS[name].convert:  # else it takes netconvert
        net, additional = files_of(NETWORKS[name])
        assert all(path.is_file() for path in (net, *additional))


def test_the_list_holds_ten_networks_and_three_towns() -> None:
    assert len(NETWORKS) >= 10
    assert sum(network.town for network in NETWORKS.values()) >= 3


def row_of(**controllers: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's row; each controller with what differs."""
    fine = {
        "delay_s": 10.0, "ratio_to_fixed_time": 1.0, "gridlocked_runs": 0, "unfinished_share": 0.0,
        "delays_s": [10.0, 10.0], "gridlocks": [None, None],
        "longest_red_s": 60.0, "starving": [], "never_green": [], "findings": {},
    }  # fmt: skip
    return {
        "network": "village", "town": True, "signals": 3, "controlled": 2, "left_alone": {"a": "no green phase"},
        "level_vph": 1200, "mark": "", "walkers": 0, "failed": {},
        "controllers": {name: fine | of for name, of in controllers.items()},
    }  # fmt: skip


def test_the_page_tells_what_is_wrong() -> None:
    row = row_of(
        fixed_time={"findings": None},
        greedy={
            "delay_s": 16.0,
            "ratio_to_fixed_time": 1.6,
            "gridlocked_runs": 2,
            "delays_s": [8.0, 24.0],
            "gridlocks": [["b", True], ["joint", False]],
            "starving": [["b", 1, 300.0, 180.0]],
        },
        cop={"delay_s": 9.0, "ratio_to_fixed_time": 0.9, "never_green": [["b", 3]], "findings": {"short_yellow": 4}},
    )
    names_of = ["fixed_time", "greedy", "cop"]
    assert network_page.table([row], names_of, head=False) == (
        "| village * | 3 | 2 | 1 | 1,200 | 10.0 | 16.0 (1.60) **G2** | 9.0 (0.90) | greedy 1 | cop 1 | cop 4 |"
    )
    assert network_page.verdicts([row]) == [
        "The best of ours is below fixed time on 1 of 1 networks.",
        "Beyond 1.5 × fixed time: greedy on village (1.6 ×).",
        "A controller of ours starves a link on: village.",
        "A link that the program serves is never green on: village.",
        "The monitor finds something on: village.",
        "village, over the 1 seed without a gridlock elsewhere: greedy 8.0 s, fixed_time 10.0 s.",
    ]
    text = network_page.page([row], names_of, 1, 1200.0, ["--quick"])
    assert "python benchmarks/networks.py --quick" in text
    assert "- village: no green phase (a)" in text
    assert "| village | 60 s, 0 % | 60 s, 0 % | 60 s, 0 % |" in text
    assert "| village | b | yes | greedy 1 |\n| village | joint | none | greedy 1 |" in text


def test_a_network_without_a_signal_of_ours_has_programs_alone() -> None:
    row = row_of(fixed_time={"findings": None})
    assert network_page.table([row], ["fixed_time", "cop"], head=False).endswith("| 10.0 | – | – | – | – |")
    assert network_page.verdicts([row])[0] == "The best of ours is below fixed time on 0 of 0 networks."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "DRTT"], "'DRTT' is unknown.*Did you mean"),
        (["--controllers", "greedy"], "fixed_time is missing"),
        (["--controllers", "fixed_time", "fixed_time"], "given twice"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--horizon", "nan"], "--horizon is nan"),
        (["--workers", "0"], "--workers is 0"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        networks.main(arguments)


# --- the sweep


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Contestant:
    """A policy that has learned a little on `single`; its network fits any intersection."""
    import train  # loads torch
    from agents.named import find_controller

    out = tmp_path_factory.mktemp("trained") / "policy"
    words = ["--scenario", "single", "--agent", "ppo", "--steps", "2000", "--validate-every", "0", "--out", str(out)]
    assert train.main(words) == 0
    found = find_controller(str(out))
    return Contestant("policy", found.make, baseline=False, identity=found.identity)


def test_the_one_network_without_a_controlled_signal_is_left_alone_for_its_shared_indices() -> None:
    net, additional = files_of(NETWORKS[ALONE])
    plan = compile_signals(load(net, additional=additional).network)
    assert plan.intersections == ()
    (refusal,) = plan.refusals
    assert "connections that share its index conflict" in refusal.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != ALONE])
def test_whoever_waits_on_any_network_is_served(name: str, trained: Contestant, tmp_path: Path) -> None:
    scenario = made_scenario(NETWORKS[name], 900.0).scaled(0.2)
    assert compile_signals(scenario.network, Timing()).intersections, "none of its signals is controlled"
    found = wrongs(scenario, [*named(*POLICIES), trained], tmp_path)
    assert found == {name: [] for name in (*POLICIES, "policy")}


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_whoever_waits_on_a_scenario_is_served(name: str, trained: Contestant, tmp_path: Path) -> None:
    scenario = window(name, 1800.0)
    if not sum(scenario.demand_counts()):  # its traffic comes of counts
        words = ["-n", str(scenario.net_file), "-r", "made.rou.xml", "-e", "1500", "-p", "3", "--seed", "42"]
        run_tool(["randomTrips.py", *words, "--validate"], tmp_path)
        scenario = load(scenario.net_file, routes=[tmp_path / "made.rou.xml"], end_s=1800.0)
    found = wrongs(scenario, [*named(*POLICIES), trained], tmp_path / "runs")
    assert found == {name: [] for name in (*POLICIES, "policy")}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_whoever_waits_on_a_random_network_is_served(seed: int, trained: Contestant, tmp_path: Path) -> None:
    scenario = random_network(tmp_path, seed)
    scenario = replace(scenario, options=(*scenario.options, ("ignore-route-errors", "true")))
    found = wrongs(scenario, [*named(*POLICIES), trained], tmp_path / "runs")
    assert found == {name: [] for name in (*POLICIES, "policy")}


@pytest.mark.slow
def test_a_quick_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    words = ["--networks", "RiLSA-2", "3x3grid", "--controllers", "fixed_time", "cop", "--seeds", "1", "--json"]
    assert networks.main([*words, "--out", str(page), "--horizon", "300", "--workers", "1"]) == 0
    first, second = json.loads(capsys.readouterr().out)["networks"]
    assert (first["network"], first["signals"], first["controlled"]) == ("RiLSA-2", 1, 1)
    assert first["controllers"]["fixed_time"]["ratio_to_fixed_time"] == 1.0
    assert first["controllers"]["cop"]["delay_s"] > 0.0
    assert second["signals"] == 9
    assert "| RiLSA-2 | 1 | 1 | 0 |" in page.read_text()
