"""Days that turn differently: the same seed gives the same day, and on average they are the recorded one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.scenario import Scenario
from scenarios.turning import demand_in_routes, ends, turned_routes

ROUTES = (
    '<routes><vType id="bus" vClass="bus"/><route id="we" edges="W_in E_out"/>'
    '<vehicle id="line" type="bus" line="7" depart="5" route="we"/><person id="p" depart="9">'
    '<walk from="W_in" to="E_out"/></person>{}</routes>'
)
TURNS = {("W_in", "E_out"): 300, ("E_in", "W_out"): 200, ("E_in", "S_out"): 100}


def written(folder: Path, name: str = "my.rou.xml") -> Path:
    """Routes over the net of `tee`, in all the ways in which an entry says where it goes."""
    entries = [
        *(f'<vehicle id="a{n}" depart="{n}" route="we"/>' for n in range(150)),
        *(f'<trip id="b{n}" depart="{n}" from="W_in" to="E_out"/>' for n in range(150, 300)),
        *(f'<vehicle id="c{n}" depart="{n}"><route edges="E_in W_out"/></vehicle>' for n in range(100)),
        '<flow id="d" begin="300" end="400" number="100" from="E_in" to="W_out"/>',
        '<flow id="e" begin="400" end="500" number="100"><route edges="E_in S_out"/></flow>',
    ]
    (folder / name).write_text(ROUTES.format("".join(entries)))
    return folder / name


def counts(content: bytes) -> Counter[tuple[str, str]]:
    """Vehicles by where they begin and end."""
    root = ElementTree.fromstring(content)
    known = {"we": ("W_in", "E_out")}
    assert [element.get("id") for element in root if element.get("line")] == ["line"]
    assert sum(element.tag == "person" for element in root) == 1
    entries = [e for e in root if e.tag in ("vehicle", "trip") and not e.get("line")]
    assert len({e.get("id") for e in entries}) == len(entries)
    return Counter(ends(entry, known) for entry in entries)


def test_a_days_traffic_is_the_recorded_one_times_the_factors_of_its_ends(tmp_path: Path) -> None:
    file = written(tmp_path)
    days = [counts(turned_routes([file], [], 0.0, 600.0, seed, 0.4)) for seed in range(30)]
    assert days[0] == counts(turned_routes([file], [], 0.0, 600.0, 0, 0.4))
    assert all(day.keys() == TURNS.keys() for day in days)
    for pair, planned in TURNS.items():
        factors = np.array([day[pair] / planned for day in days])
        assert abs(factors.mean() - 1.0) < 0.15, pair
        assert factors.std() > 0.2, pair
        assert 0.36 - 0.15 < factors.min() <= factors.max() <= 1.96 + 0.05, pair
    shares = [day["E_in", "S_out"] / (day["E_in", "S_out"] + day["E_in", "W_out"]) for day in days]
    assert min(shares) < 0.25 < 0.4 < max(shares), "which is a third on the recorded day"


def test_without_a_spread_it_is_the_recorded_day(tmp_path: Path) -> None:
    assert counts(turned_routes([written(tmp_path)], [], 0.0, 600.0, 5, 0.0)) == TURNS


@pytest.fixture
def additional(tmp_path: Path) -> Scenario:
    """The same traffic in an additional file."""
    return load(load("tee").net_file, additional=[written(tmp_path, "my.add.xml")], begin_s=0.0, end_s=600.0)


def test_demand_in_an_additional_file_is_found(additional: Scenario) -> None:
    found = demand_in_routes(additional)
    assert len(found.route_files) == 1
    assert {e.tag for e in ElementTree.parse(found.additional_files[0]).getroot()} == {"vType", "route"}
    day = turned_routes(found.route_files, found.additional_files, 0.0, 600.0, 1, 0.4)
    assert counts(day).keys() == TURNS.keys()


def test_each_episode_has_its_day(additional: Scenario) -> None:
    short = dataclasses.replace(additional, end_s=150.0)
    setup = make_setup(short, SimulationOptions(vary_turns=0.4))
    ended = []
    with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
        for seed in (1, 2, 1):
            simulation.begin(seed)
            seen = []
            while not simulation.done:
                simulation.decide(np.array([int(simulation.snapshot.time_s[0]) // 20 % 2]))
                seen.append(simulation.snapshot.vehicles.copy())
            simulation.end()
            ended.append(np.array(seen))
    assert (ended[0] == ended[2]).all()
    assert (ended[0] != ended[1]).any()
    assert ended[0].sum() > 100


@pytest.mark.parametrize("value", [-0.1, 0.5, float("nan")])
def test_a_spread_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"vary_turns is .*; give 0 to 0\.4"):
        SimulationOptions(vary_turns=value)
