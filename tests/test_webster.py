"""Webster's plans: greens by flows, the network's own intervals, one cycle where signals are coordinated."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from controllers import webster
from controllers.programs import extendable_rows
from controllers.webster import Webster
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.scenario import Scenario


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a plan that an earlier version has left would be tested."""
    monkeypatch.setattr(webster, "cached_file", lambda name, produce: _cached(tmp_path / Path(name).name, produce))


def _cached(path: Path, produce: object) -> Path:
    if not path.exists():
        path.write_bytes(produce())  # type: ignore[operator]
    return path


def plans(scenario: Scenario, controller: Webster) -> dict[str, list[tuple[float, str]]]:
    root = ElementTree.fromstring(controller.additional_xml(scenario))
    return {
        str(logic.get("id")): [(float(str(r.get("duration"))), str(r.get("state"))) for r in logic] for logic in root
    }


@pytest.mark.wide
def test_intervals_stay_and_signals_share_a_cycle() -> None:
    scenario = load("cologne3")
    found = plans(scenario, Webster())
    assert set(found) == set(scenario.network.programs)
    for tls_id, rows in found.items():
        own = scenario.network.programs[tls_id][-1]
        greens = extendable_rows(scenario.network, own)
        assert [state for _, state in rows] == [row.state for row in own.rows]
        for number, (duration_s, _) in enumerate(rows):
            if number in greens:
                assert duration_s >= 5.0
            else:
                assert duration_s == own.rows[number].duration_s
    assert len({sum(duration_s for duration_s, _ in rows) for rows in found.values()}) == 1
    offsets = [logic.get("offset") for logic in ElementTree.fromstring(Webster().additional_xml(scenario))]
    assert len(set(offsets)) > 1, "the coordinator has set some"
    alone = plans(scenario, Webster(coordinated=False))
    assert len({sum(duration_s for duration_s, _ in rows) for rows in alone.values()}) == 3


TRIPS = """<routes>
  <flow id="main" from="{busy_from}" to="{busy_to}" begin="0" end="3600" number="900"/>
  <flow id="side" from="{calm_from}" to="{calm_to}" begin="0" end="3600" number="90"/>
</routes>"""


def straight(scenario: Scenario) -> list[tuple[str, str, int]]:
    """(from, to, link) of two straight movements that are never green together."""
    program = scenario.network.programs["C"][-1]
    ways = [
        (c.from_edge, c.to_edge, c.link_index or 0)
        for c in scenario.network.controlled["C"]
        if c.direction == "s" and scenario.network.edges[c.from_edge].function == "normal"
    ]
    first = ways[0]
    apart = next(
        w for w in ways if not any(r.state[w[2]] in "Gg" and r.state[first[2]] in "Gg" for r in program.rows)
    )
    return [first, apart]


@pytest.mark.wide
@pytest.mark.parametrize("busy", [0, 1])
def test_green_goes_where_the_flow_is(tmp_path: Path, busy: int) -> None:
    ways = straight(load("single"))
    (busy_from, busy_to, link), (calm_from, calm_to, other) = ways[busy], ways[1 - busy]
    routes = tmp_path / "flows.rou.xml"
    routes.write_text(TRIPS.format(busy_from=busy_from, busy_to=busy_to, calm_from=calm_from, calm_to=calm_to))
    scenario = load("single", routes=[routes], begin_s=0, end_s=3600)
    (rows,) = plans(scenario, Webster()).values()
    most, least = (max(s for s, state in rows if state[i] in "Gg") for i in (link, other))
    assert most > 1.5 * least


def test_refused_in_one_line_where_nothing_drives(tmp_path: Path) -> None:
    routes = tmp_path / "nobody.rou.xml"
    routes.write_text("<routes/>")
    scenario = load("single", routes=[routes], begin_s=0, end_s=600)
    with pytest.raises(InputError, match=r"webster: 'single' has no vehicles to count; leave webster out"):
        Webster().additional_xml(scenario)


def test_a_tool_that_fails_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webster.sys, "executable", "/bin/false")
    with pytest.raises(InputError, match=r"webster: tlsCycleAdaptation.py fails on 'single': exit status 1; leave"):
        Webster().additional_xml(load("single"))
