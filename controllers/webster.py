"""Fixed-time plans after Webster, from the scenario's own flows, by the tools that come with SUMO.

`duarouter` turns whatever demand there is into routes, `tlsCycleAdaptation.py` sets cycle and splits, and where there
are several signals `tlsCoordinator.py` sets their offsets. The tool's greens are put into the network's own programs:
their change intervals, which it would overwrite, stay. A program that chooses its next row by detectors is brought
into one cycle first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from controllers.programs import ProgramControl, extendable_rows, stated_least_s
from controllers.sequence import in_one_cycle
from plumbing.cache import cached_file
from plumbing.errors import InputError
from plumbing.held import scratch
from plumbing.interpreter import ROOT, environment, last_line
from scenarios.additional import holds_demand
from scenarios.scenario import Scenario
from scenarios.xmlfile import read_tree, seconds
from signals.network import Program, RoadNetwork
from signals.timing import Timing

HOUR_S = 3600.0
PROGRAM_ID = "intergreen-webster"
TOOL_LIMIT_S = 600.0
_RECIPE = "2"  # raise it when the same input should give other plans than before


@dataclasses.dataclass(frozen=True)
class Webster(ProgramControl):
    """Cycle and splits by Webster's formula from the flows of the window's busiest hour.

    The flows are those of the demand that is simulated, so the plan knows what an engineer would have counted on
    a day just like it. Source: Webster 1958, Traffic signal settings (Road Research Technical Paper 39).
    """

    saturation_headway_s: float = 2.0
    """Between two vehicles that leave a queue. The tool's default."""
    lost_time_s: int = 4
    """Per phase. The tool's default."""
    min_cycle_s: int = 20
    max_cycle_s: int = 120
    """Bounds of the cycle. The tool's defaults."""
    coordinated: bool = True
    """With several signals: one cycle for all, and offsets."""

    def additional_xml(self, scenario: Scenario) -> str:
        """The plans. Computed once per input, settings and version of SUMO, then taken from the cache.

        Raises:
            InputError: the tools fail on this scenario.
        """
        tools = importlib.metadata.version("eclipse-sumo")
        content = [_RECIPE, tools, repr(self), scenario.begin_s, scenario.end_s, scenario.options, scenario.hashes()]
        digest = hashlib.sha256(repr(content).encode()).hexdigest()[:20]
        return cached_file(f"webster/{digest}.add.xml", lambda: self._plans(scenario).encode()).read_text()

    def _plans(self, scenario: Scenario) -> str:
        network = scenario.network
        own = {tls_id: in_one_cycle(programs[-1]) for tls_id, programs in network.programs.items()}
        with scratch("webster") as folder:
            net, routes = folder / "own.net.xml", folder / "driven.rou.xml"
            _write_net(scenario.sumo_files.net_file, own, net)
            _route(scenario, net, routes)
            begin_s = _busiest_hour_s(routes, scenario)
            together = self.coordinated and len(own) > 1
            greens = self._greens(scenario, net, routes, begin_s, own, together)
            plans = {tls_id: _timed(network, own[tls_id], greens[tls_id]) for tls_id in sorted(greens)}
            if together and len(plans) > 1:
                plans = _with_common_cycle(network, plans)
                offsets = _offsets(scenario, net, routes, {**own, **plans}, folder)
                plans = {t: dataclasses.replace(p, offset_s=offsets.get(t, 0.0)) for t, p in plans.items()}
        return "<additional>\n" + "".join(map(_program_xml, plans.values())) + "</additional>\n"

    def _greens(
        self,
        scenario: Scenario,
        net: Path,
        routes: Path,
        begin_s: float,
        own: Mapping[str, Program],
        together: bool,
    ) -> dict[str, list[float]]:
        """Per signal that the tool has timed, how long it shows each row [s]."""
        yellows = [r.duration_s for p in own.values() for r in p.rows if "y" in r.state]
        yellow_s = max(1, round(sum(yellows) / len(yellows))) if yellows else 3
        out = net.with_name("webster.add.xml")
        words = [
            "-n", str(net), "-r", str(routes), "-o", str(out), "-b", f"{begin_s:g}", "-y", str(yellow_s),
            "-l", str(self.lost_time_s), "-g", f"{Timing().min_green_s:g}", "-H", f"{self.saturation_headway_s:g}",
            "--min-cycle", str(self.min_cycle_s), "--max-cycle", str(self.max_cycle_s), "-p", PROGRAM_ID,
        ]  # fmt: skip
        said = _tool("tlsCycleAdaptation.py", [*words, *(["-u"] if together else [])], scenario)
        greens = {
            logic.get("id", ""): [float(row.get("duration", "nan")) for row in logic.iter("phase")]
            for logic in read_tree(out, "the output of tlsCycleAdaptation.py").iter("tlLogic")
        }
        greens = {t: g for t, g in greens.items() if t in own and extendable_rows(scenario.network, own[t])}
        if not greens:
            reason = next((line for line in said.splitlines() if "no flows" in line), "it has timed no signal")
            raise InputError(
                f"webster: tlsCycleAdaptation.py fails on {scenario.name!r}: {reason}; leave webster out"
            )
        return greens


def _timed(network: RoadNetwork, program: Program, durations_s: Sequence[float]) -> Program:
    """The program with its greens as long as the tool says, but never shorter than they may be."""
    greens = extendable_rows(network, program)
    rows = tuple(
        dataclasses.replace(row, duration_s=max(durations_s[n], _least_s(program, n, greens[n])))
        if n in greens
        else row
        for n, row in enumerate(program.rows)
    )
    return dataclasses.replace(program, program_id=PROGRAM_ID, type="static", offset_s=0.0, rows=rows)


def _least_s(program: Program, number: int, walk: bool) -> float:
    row = program.rows[number]
    return max(stated_least_s(row), Timing().walk_s if walk else 0.0)


def _with_common_cycle(network: RoadNetwork, plans: Mapping[str, Program]) -> dict[str, Program]:
    """All with the longest one's cycle; the seconds go to each plan's greens in proportion."""
    cycle_s = max(sum(row.duration_s for row in plan.rows) for plan in plans.values())
    result = {}
    for tls_id, plan in plans.items():
        greens = list(extendable_rows(network, plan))
        spare_s = cycle_s - sum(row.duration_s for row in plan.rows)
        total_s = sum(plan.rows[n].duration_s for n in greens)
        longer = [float(int(spare_s * plan.rows[n].duration_s / total_s)) for n in greens]
        longer[longer.index(max(longer))] += spare_s - sum(longer)
        extra = dict(zip(greens, longer, strict=True))
        rows = tuple(
            dataclasses.replace(row, duration_s=row.duration_s + extra.get(n, 0.0)) for n, row in enumerate(plan.rows)
        )
        result[tls_id] = dataclasses.replace(plan, rows=rows)
    return result


def _offsets(
    scenario: Scenario, net: Path, routes: Path, plans: Mapping[str, Program], folder: Path
) -> dict[str, float]:
    """Offsets from `tlsCoordinator.py`, per coordinated signal [s]."""
    timed, out = folder / "timed.net.xml", folder / "offsets.add.xml"
    _write_net(net, plans, timed)
    _tool("tlsCoordinator.py", ["-n", str(timed), "-r", str(routes), "-o", str(out)], scenario)
    logics = read_tree(out, "the output of tlsCoordinator.py").iter("tlLogic")
    return {logic.get("id", ""): float(logic.get("offset", "0")) for logic in logics}


def _write_net(source: Path, programs: Mapping[str, Program], target: Path) -> None:
    """The network with just these programs: the tools look at what stands in the network file alone."""
    root = read_tree(source, "network")
    places = [n for n, element in enumerate(root) if element.tag == "tlLogic"]
    place = places[0] if places else next((n for n, e in enumerate(root) if e.tag == "connection"), len(root))
    for element in root.findall("tlLogic"):
        root.remove(element)
    for tls_id, program in sorted(programs.items(), reverse=True):
        if tls_id:
            root.insert(place, ElementTree.fromstring(_program_xml(program)))
    ElementTree.ElementTree(root).write(target, encoding="utf-8", xml_declaration=True)


def _program_xml(program: Program) -> str:
    head = (
        f"  <tlLogic id={quoteattr(program.tls_id)} type={quoteattr(program.type)} "
        f'programID={quoteattr(program.program_id)} offset="{program.offset_s:g}">\n'
    )
    rows = "".join(
        f'    <phase duration="{row.duration_s:g}" state={quoteattr(row.state)}/>\n' for row in program.rows
    )
    return head + rows + "  </tlLogic>\n"


def _route(scenario: Scenario, net: Path, routes: Path) -> None:
    """Trips, flows and vehicles alike as vehicles with routes, in order of departure."""
    additional = scenario.without_waut(())
    demand = [path for path in additional if holds_demand(path)]
    other = [path for path in additional if path not in demand]
    end_s = max(scenario.end_s, scenario.begin_s + HOUR_S)  # a shorter window is a part of its hour
    words = ["-n", str(net), "-o", str(routes), "-b", f"{scenario.begin_s:g}", "-e", f"{end_s:g}"]
    words += ["-r", ",".join(map(str, (*demand, *scenario.sumo_files.route_files)))]
    words += ["-a", ",".join(map(str, other))] if other else []
    scale = dict(scenario.options).get("scale")
    words += ["--scale", scale] if scale else []
    words += ["--ignore-errors", "true", "--no-warnings", "true", "--no-step-log", "true", "--seed", "0"]
    _call("duarouter", [os.path.join(_sumo_home(), "bin", "duarouter"), *words], scenario)


def _busiest_hour_s(routes: Path, scenario: Scenario) -> float:
    """When the hour with the most departures begins, of those that begin at a full five minutes of the window [s]."""
    departures = sorted(
        seconds(vehicle.get("depart"))
        for vehicle in read_tree(routes, "the output of duarouter").iter("vehicle")
        if vehicle.get("depart", "")[:1].isdigit()
    )
    if not departures:
        raise InputError(f"webster: {scenario.name!r} has no vehicles to count; leave webster out")
    starts = [scenario.begin_s]
    while starts[-1] + 300.0 + HOUR_S <= scenario.end_s:
        starts.append(starts[-1] + 300.0)
    return max(starts, key=lambda start: sum(start <= time < start + HOUR_S for time in departures))


def _tool(script: str, words: Sequence[str], scenario: Scenario) -> str:
    # by its path, so that Python searches the tools' folder first and not the current one
    return _call(script, [sys.executable, os.path.join(_sumo_home(), "tools", script), *words], scenario)


def _call(name: str, command: Sequence[str], scenario: Scenario) -> str:
    """The tool's output; raises InputError where it fails."""
    settings = environment(SUMO_HOME=_sumo_home())
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_LIMIT_S, env=settings, cwd=ROOT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"webster: {name} fails on {scenario.name!r}: {error}; leave webster out") from error
    if done.returncode:
        said = last_line(done.stderr) or f"exit status {done.returncode}"
        raise InputError(f"webster: {name} fails on {scenario.name!r}: {said}; leave webster out")
    return done.stdout


def _sumo_home() -> str:
    import sumo

    return str(sumo.SUMO_HOME)
