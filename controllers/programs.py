"""SUMO's own control, with its states untouched: the network's fixed-time program, and SUMO's actuated one."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from signals.network import Program, RoadNetwork
from signals.phases import is_green

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
        rows = [_actuated(programs[-1]) for _, programs in sorted(network.programs.items())]
        return "<additional>\n" + "".join(rows) + "</additional>\n"


def _actuated(program: Program) -> str:
    if program.type not in ("static", "actuated") or len(program.rows) < 2:
        return ""  # one that senses already, or that has nothing to extend
    rows = []
    for row in program.rows:
        bounds = ""
        if any(is_green(c) for c in row.state) and not any(c in "yu" for c in row.state):
            least = row.min_duration_s if row.min_duration_s is not None else ACTUATED_MIN_S
            most = row.max_duration_s if row.max_duration_s is not None else ACTUATED_MAX_S
            bounds = f' minDur="{min(least, row.duration_s):g}" maxDur="{max(most, row.duration_s):g}"'
        following = f' next="{" ".join(map(str, row.next))}"' if row.next else ""
        rows.append(f'    <phase duration="{row.duration_s:g}" state="{row.state}"{bounds}{following}/>\n')
    head = f'  <tlLogic id={quoteattr(program.tls_id)} type="actuated" programID="intergreen-actuated" offset="0">\n'
    return head + "".join(rows) + "  </tlLogic>\n"
