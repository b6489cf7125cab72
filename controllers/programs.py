"""SUMO's own control, with its states untouched: the network's program, and its actuated and delay-based types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar
from xml.sax.saxutils import quoteattr

from controllers.sequence import in_one_cycle
from plumbing.errors import InputError
from scenarios.additional import of_others
from scenarios.scenario import Scenario
from scenarios.sumo_input import admitted, admitted_text
from signals.links import link_table
from signals.network import Program, ProgramRow, RoadNetwork
from signals.phases import is_green, within
from signals.timing import Timing

ACTUATED_MIN_S, ACTUATED_MAX_S = 5.0, 50.0  # [s] where the program states no bounds
PROGRAM_TYPES = ("static", "actuated", "delay_based")
"""Program types that get new timings; others (NEMA, rail) have detectors already or mean something else."""


@dataclass(frozen=True)
class ProgramControl:
    """Leave every signal to the program that the network comes with."""

    def additional_xml(self, scenario: Scenario) -> str:
        """The additional file to load, or "" for none.

        Raises:
            InputError: this control cannot be had for this scenario; the message says why.
        """
        del scenario
        return ""

    def programs_for(self, scenario: Scenario, tls_ids: Collection[str] | None = None) -> str:
        """The same for some signals alone: the others keep the programs that they have.

        Args:
            tls_ids: None for all.

        Raises:
            InputError: as `additional_xml`.
        """
        xml = self.additional_xml(scenario)
        if tls_ids is None or not xml:
            return xml
        whole = admitted_text(xml, "programs")
        return admitted(whole, "programs", of_others(tls_ids)).read_text(encoding="utf-8")


@dataclass(frozen=True)
class GivenPrograms(ProgramControl):
    """Programs, and perhaps their times of day, from an additional file."""

    xml: str
    """The file's content."""

    def additional_xml(self, scenario: Scenario) -> str:
        """The file."""
        del scenario
        return self.xml


@dataclass(frozen=True)
class SensingProgram(ProgramControl):
    """The same rows, but SUMO extends a green by what it senses. Intervals between greens stay as they are."""

    min_green_s: float | None = None
    """Least green; by default the program's `minDur`, or 5 s."""
    max_green_s: float | None = None
    """Greatest green; by default the program's `maxDur`, or 50 s, but not less than the program's green."""

    sumo_type: ClassVar[str] = ""
    chooses_next: ClassVar[bool] = False
    """Whether this type looks at the rows' `next`."""

    def additional_xml(self, scenario: Scenario) -> str:
        """One program per signal; a signal that has nothing to extend keeps its own."""
        network = scenario.network
        rows = [self._program(network, programs[-1]) for _, programs in sorted(network.programs.items())]
        return "<additional>\n" + "".join(rows) + "</additional>\n"

    def _parameters(self) -> Mapping[str, float]:
        return {}

    def _program(self, network: RoadNetwork, program: Program) -> str:
        if not self.chooses_next or program.type == "delay_based":
            program = in_one_cycle(program)
        greens = extendable_rows(network, program)
        if not greens:
            return ""
        rows = []
        for number, row in enumerate(program.rows):
            bounds = ""
            if number in greens:
                least, most = self._bounds(row, greens[number])
                bounds = f' minDur="{least:g}" maxDur="{most:g}"'
            following = f' next="{" ".join(map(str, row.next))}"' if row.next else ""
            rows.append(
                f'    <phase duration="{row.duration_s:g}" state={quoteattr(row.state)}{bounds}{following}/>\n'
            )
        settings = "".join(
            f'    <param key="{key}" value="{value:g}"/>\n' for key, value in self._parameters().items()
        )
        tls_id = quoteattr(program.tls_id)
        name = f"intergreen-{self.sumo_type.replace('_', '-')}"
        head = f'  <tlLogic id={tls_id} type="{self.sumo_type}" programID="{name}" offset="0">\n'
        return head + settings + "".join(rows) + "  </tlLogic>\n"

    def _bounds(self, row: ProgramRow, walk: bool) -> tuple[float, float]:
        if self.min_green_s is None:
            least = min(max(stated_least_s(row), Timing().walk_s if walk else 0.0), row.duration_s)
        else:
            least = max(self.min_green_s, Timing().walk_s if walk else 0.0)
        if self.max_green_s is None:
            most = row.max_duration_s if row.max_duration_s is not None else ACTUATED_MAX_S
            return least, max(most, row.duration_s)
        return least, max(self.max_green_s, least)


@dataclass(frozen=True)
class Actuated(SensingProgram):
    """SUMO's `actuated` type: a green goes on while vehicles follow each other closely."""

    max_gap_s: float = 3.0
    """The gap between two vehicles that ends a green. SUMO's default."""
    detector_gap_s: float = 2.0
    """How far upstream of the stop line the detector lies, in time at free speed. SUMO's default."""

    sumo_type: ClassVar[str] = "actuated"
    chooses_next: ClassVar[bool] = True

    def _parameters(self) -> Mapping[str, float]:
        return {"max-gap": self.max_gap_s, "detector-gap": self.detector_gap_s}


@dataclass(frozen=True)
class DelayBased(SensingProgram):
    """SUMO's `delay_based` type: a green goes on while a vehicle on its approaches has lost time.

    Source: Oertel and Wagner 2011, Delay-time actuated traffic signal control for an isolated intersection.
    """

    detector_range_m: float = 100.0
    """How far upstream vehicles are seen. SUMO's default."""
    min_time_loss_s: float = 1.0
    """Vehicles that have lost less do not count. SUMO's default."""

    sumo_type: ClassVar[str] = "delay_based"

    def _parameters(self) -> Mapping[str, float]:
        return {"detectorRange": self.detector_range_m, "minTimeLoss": self.min_time_loss_s}


def extendable_rows(network: RoadNetwork, program: Program) -> dict[int, bool]:
    """The rows whose length may be changed, and whether each has a walk; empty where none fits."""
    states = [row.state for row in program.rows]
    if program.type not in PROGRAM_TYPES or len({len(state) for state in states}) != 1 or len(states) < 2:
        return {}  # one that senses already, or that has nothing to extend
    try:
        links = link_table(network, program.tls_id, len(states[0])).links
    except InputError:
        return {}  # SUMO runs it as it is, or says itself what is wrong
    crossings = [link.index for link in links if link.pedestrian]
    return {
        number: any(is_green(state[i]) for i in crossings)
        for number, state in enumerate(states)
        if _extendable(state, states)
    }


def stated_least_s(row: ProgramRow) -> float:
    """The least green that a row states [s]."""
    return row.min_duration_s if row.min_duration_s is not None else ACTUATED_MIN_S


def _extendable(state: str, states: list[str]) -> bool:
    """Whether a row is a green of its own: no interval, and none that only ends movements of another row."""
    if any(c in "yu" for c in state) or not any(is_green(c) for c in state):
        return False
    return not any(within(state, other) for other in states if other != state)
