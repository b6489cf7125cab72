"""SUMO's own control, with its states untouched: the network's fixed-time program, and SUMO's actuated one."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from signals.errors import InputError
from signals.links import link_table
from signals.network import Program, RoadNetwork
from signals.phases import is_green, within
from signals.timing import Timing

ACTUATED_MIN_S, ACTUATED_MAX_S = 5.0, 50.0  # [s] where the program states no bounds


@dataclass(frozen=True)
class ProgramControl:
    """Leave every signal to a program of SUMO's."""

    actuated: bool = False
    """False: the program that the network comes with. True: the same phases as SUMO's `actuated` type, which
    extends a green while vehicles follow each other closely."""

    def additional_xml(self, network: RoadNetwork) -> str:
        """The additional file to load, or "" for none."""
        if not self.actuated:
            return ""
        rows = [_actuated(network, programs[-1]) for _, programs in sorted(network.programs.items())]
        return "<additional>\n" + "".join(rows) + "</additional>\n"


def _actuated(network: RoadNetwork, program: Program) -> str:
    states = [row.state for row in program.rows]
    if program.type not in ("static", "actuated") or len({len(state) for state in states}) != 1 or len(states) < 2:
        return ""  # one that senses already, or that has nothing to extend
    try:
        crossings = [
            link.index for link in link_table(network, program.tls_id, len(states[0])).links if link.pedestrian
        ]
    except InputError:
        return ""  # SUMO runs it as it is, or says itself what is wrong
    rows = []
    for row in program.rows:
        bounds = ""
        if _extendable(row.state, states):
            walk = any(is_green(row.state[i]) for i in crossings)
            least = row.min_duration_s if row.min_duration_s is not None else ACTUATED_MIN_S
            least = min(max(least, Timing().walk_s if walk else 0.0), row.duration_s)
            most = row.max_duration_s if row.max_duration_s is not None else ACTUATED_MAX_S
            bounds = f' minDur="{least:g}" maxDur="{max(most, row.duration_s):g}"'
        following = f' next="{" ".join(map(str, row.next))}"' if row.next else ""
        rows.append(f'    <phase duration="{row.duration_s:g}" state="{row.state}"{bounds}{following}/>\n')
    tls_id = quoteattr(program.tls_id)
    head = f'  <tlLogic id={tls_id} type="actuated" programID="intergreen-actuated" offset="0">\n'
    return head + "".join(rows) + "  </tlLogic>\n"


def _extendable(state: str, states: list[str]) -> bool:
    """Whether a row is a green of its own: no interval, and none that only ends movements of another row."""
    if any(c in "yu" for c in state) or not any(is_green(c) for c in state):
        return False
    return not any(within(state, other) for other in states if other != state)
