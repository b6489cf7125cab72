"""What runs tell beside their trips: losses at signals, queues and spillback, and that asking changes nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from controllers.registry import make
from envs.sumo.outputs import VEHICLE_COLUMNS, Trips
from evaluation.details.approaches import LEAST_APPROACH_M, Approach, approaches_of
from evaluation.details.corridor import find_corridor
from evaluation.details.passages import Ways, read_passages
from evaluation.details.tables import SAMPLE_S, _queues, movement_table, spill_events
from evaluation.results.signals import movements_table
from evaluation.runs import Contestant, Evaluation, run_all
from scenarios.loading import load

WAYS = Ways(
    free_s={"a": 10.0, "b": 20.0, "c": 10.0},
    inside_s={("a", "b"): 2.0, ("b", "c"): 3.0},
    signals={("a", "b"): "one", ("b", "c"): "two"},
)


def trips(**of: float | None) -> Trips:
    values: dict[str, object] = dict.fromkeys(VEHICLE_COLUMNS)
    values |= {"vehicle_id": "v", "depart_s": 100.0, "depart_delay_s": 4.0, **of}
    return Trips(pl.DataFrame([values], schema=dict(VEHICLE_COLUMNS)), pl.DataFrame())


def passages(path: Path, exits: str, **of: float | None) -> list[tuple[object, ...]]:
    path.write_text(
        f'<routes><vehicle id="v" depart="100"><route edges="a b c" exitTimes="{exits}"/></vehicle></routes>'
    )
    table = read_passages(path, WAYS, trips(**of))
    return table.select("tls_id", "entered_s", "expected_s", "passed_s", "delay_s").rows()


def test_losses_at_signals_add_up_to_the_trips(tmp_path: Path) -> None:
    """45 s freely at the limit; this one took 75 and lost 30: 18 + 7 at the signals, 5 after them."""
    found = passages(tmp_path / "r.xml", "130 160 175", arrival_s=175.0, time_loss_s=30.0)
    assert found == [
        ("one", 100.0, 110.0, 130.0, 18.0 + 4.0),  # the wait to be inserted is the first signal's
        ("two", 130.0, 150.0, 160.0, 7.0),
    ]


def test_a_slow_vehicle_is_not_delayed_by_being_slow(tmp_path: Path) -> None:
    """At half the limit's speed it needs 90 s without losing any."""
    found = passages(tmp_path / "r.xml", "124 170 190", arrival_s=190.0, time_loss_s=0.0)
    assert [row[4] for row in found] == [4.0, 0.0]


def test_who_still_waits_at_the_end_counts_with_what_it_has_lost(tmp_path: Path) -> None:
    found = passages(tmp_path / "r.xml", "130 -1 -1", arrival_s=None, time_loss_s=300.0)
    assert found == [("one", 100.0, 110.0, 130.0, 22.0), ("two", 130.0, 150.0, None, 282.0)]


def test_a_movements_table() -> None:
    rows = [("s", "a", "b", float(n), 1.0) for n in range(1, 22)] + [("s", "a", "c", 5.0, None)]
    frame = pl.DataFrame(rows, schema=["tls_id", "from_edge", "to_edge", "delay_s", "passed_s"], orient="row")
    first, second = movement_table(frame).iter_rows(named=True)
    assert (first["vehicles"], first["delay_s"], first["delay_p95_s"], first["delay_max_s"]) == (21, 11.0, 20.0, 21.0)
    assert (second["vehicles"], second["passed_veh"]) == (1, 0)


def test_vehicles_per_run_are_over_all_runs() -> None:
    schema = ["tls_id", "from_edge", "to_edge", "delay_s", "passed_s"]
    often, rare = ("s", "a", "b", 4.0, 1.0), ("s", "a", "c", 9.0, 1.0)
    tables = [pl.DataFrame(rows, schema=schema, orient="row") for rows in ([often, often, rare], [often, often])]
    results = [SimpleNamespace(controller="greedy", stored=Stored(table)) for table in tables]
    found = movements_table(results)  # type: ignore[arg-type]
    assert found.select("to_edge", "vehicles", "passed_veh", "delay_s").rows() == [
        ("b", 2.0, 2.0, 4.0),
        ("c", 0.5, 0.5, 9.0),
    ]


class Stored:
    """Stands in for a finished run that has one table."""

    def __init__(self, passages: pl.DataFrame) -> None:
        self.passages = passages

    def has(self, name: str) -> bool:
        return name == "passages"

    def table(self, name: str) -> pl.DataFrame:
        assert self.has(name)
        return self.passages


def test_a_queue_that_reaches_the_upstream_junction_spills_back(tmp_path: Path) -> None:
    approach = Approach("s", "near", {"near_0": 0.0, "far_0": 60.0}, {"far_0": 80.0}, 140.0)
    samples = {0: [("near_0", 20)], 10: [("far_0", 72.4)], 20: [("far_0", 72.5)], 30: [("far_0", 79)], 50: []}
    samples[60] = [("far_0", 80), ("elsewhere_0", 80)]
    rows = "".join(
        f'<data timestep="{time_s}"><lanes>'
        + "".join(f'<lane id="{lane}" queueing_length="{queue_m}"/>' for lane, queue_m in lanes)
        + "</lanes></data>"
        for time_s, lanes in samples.items()
    )
    (tmp_path / "q.xml").write_text(f"<queue-export>{rows}</queue-export>")
    queues = _queues(tmp_path / "q.xml", (approach,))
    assert queues["queue_m"].to_list() == pytest.approx([20.0, 132.4, 132.5, 139.0, 140.0])
    assert queues.filter("spilled")["time_s"].to_list() == [20.0, 30.0, 60.0]
    assert spill_events(queues) == 2


@pytest.mark.parametrize("name", ["cologne3", "ingolstadt7", "single", "grid4x4"])
def test_every_signal_has_approaches_that_reach_back(name: str) -> None:
    network = load(name).network
    approaches = approaches_of(network)
    assert {a.tls_id for a in approaches} == set(network.controlled)
    for approach in approaches:
        assert approach.length_m >= LEAST_APPROACH_M
        assert approach.reaches_m
        assert set(approach.reaches_m) <= set(approach.behind_m)


@pytest.mark.wide
def test_details_cost_no_change(tmp_path: Path) -> None:
    """The same trips with and without; the tables agree with them."""
    scenario = load("cologne3", end_s=25500)
    contestants = [Contestant(name, lambda name=name: make(name)) for name in ("fixed_time", "greedy")]  # type: ignore[misc]
    plain = run_all(Evaluation(scenario, contestants, [5]))
    told = run_all(Evaluation(scenario, contestants, [5], store=tmp_path, details=True))
    for one, other in zip(plain, told, strict=True):
        assert one.vehicles.equals(other.vehicles)
        assert other.stored is not None
        lost = other.stored.table("passages").group_by("vehicle_id").agg(pl.col("delay_s").sum().alias("lost_s"))
        both = other.vehicles.join(lost, on="vehicle_id")
        assert both.height > 100
        assert (both["lost_s"] - both["delay_s"]).max() < 5.0  # never more than the trip's own, but for rounding
        assert both["lost_s"].sum() > 0.6 * both["delay_s"].sum()  # and most of it
        series = other.stored.table("series")
        assert series["time_s"].diff().drop_nulls().unique().to_list() == [SAMPLE_S]
        assert series["arrived_veh"].max() <= other.metrics.arrived_veh
        assert 0 < other.metrics.queue_veh < other.metrics.queue_max_veh
        states = other.stored.table("states")
        assert states.filter(time_s=25200.0)["tls_id"].n_unique() == 3


@pytest.mark.parametrize(("name", "signals"), [("arterial", 5), ("ingolstadt7", 7), ("cologne1", 1)])
def test_the_corridor_has_most_signals_in_line(name: str, signals: int) -> None:
    scenario = load(name)
    corridor = find_corridor(scenario)
    assert corridor is not None
    assert len({stop.tls_id for stop in corridor.stops}) == signals
    places = [stop.at_m for stop in corridor.stops]
    assert places == sorted(places)
    assert places[0] > 0
    assert places[-1] < corridor.length_m
    for stop in corridor.stops:  # an edge's end is its stop line
        lane = scenario.network.edges[stop.from_edge].lane_ids[-1]
        assert corridor.at_m(lane, scenario.network.lanes[lane].length_m) == pytest.approx(stop.at_m, abs=1.0)
    assert corridor.at_m("beside_0", 5.0) is None
