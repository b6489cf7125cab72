"""How long each interval must last: the settings. `signals.clearance` has the formulas.

A duration becomes a whole number of simulation steps only in
`signals.intergreen`, and is then rounded up: an interval is never shorter than it was calculated to be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from plumbing.errors import InputError
from plumbing.plain import misfit, number, one_of, record, text
from signals.clearance import FOOT_M


@dataclass(frozen=True, slots=True)
class Timing:
    """The clocks and bounds of every signal in a run. Seconds, unless the name says otherwise."""

    sim_step_s: float = 1.0
    """Length of one simulation step."""
    decision_interval_s: float = 5.0
    """Time between two decisions."""
    yellow_change_s: float = 3.0
    """Least yellow. MUTCD 2009 section 4D.26 asks for 3 to 6 s; RiLSA 2015 for 3 s at 50 km/h."""
    min_green_s: float = 5.0
    """Least green of a phase; a program's own longer `minDur` is kept."""
    max_green_s: float = 60.0
    """Greatest green while another phase has a call, where a program states no `maxDur`."""
    max_red_s: float = 180.0
    """Longest red of a link, whether or not anybody waits; a signal's own is at least two cycles of its program."""
    walk_s: float = 7.0
    """Least walk interval of a crossing (MUTCD 2009 section 4E.06)."""
    walking_speed_mps: float = 3.5 * FOOT_M
    """Pedestrians' clearance speed (MUTCD 2009 section 4E.06: 3.5 ft/s)."""
    vehicle_length_m: float = 20 * FOOT_M
    """Length of the clearing vehicle (ITE: 20 ft)."""
    change_interval: str = "calculated"
    """"calculated": yellow by speed and red clearance by geometry, for every link and conflict, and a program's
    own longer times kept. "fixed": `yellow_change_s` and `red_clearance_s` for all, as most published studies
    have it; for comparison with these only, since vehicles may then meet inside the junction."""
    red_clearance_s: float = 0.0
    """Least red clearance where paths conflict."""
    spillback_guard: bool = False
    """Whether no green begins that cannot serve anybody, since all of its exits are full, and one ends early for
    another phase that can; see `signals.spillback`. It takes sensing `full`."""

    def __post_init__(self) -> None:
        for name in ("yellow_change_s", "min_green_s", "max_green_s", "max_red_s", "walk_s", "red_clearance_s"):
            if math.isnan(getattr(self, name)):
                raise InputError(f"timing: {name} is no number; give one in seconds")
        for name in ("min_green_s", "walk_s"):
            if math.isinf(getattr(self, name)):
                raise InputError(
                    f"timing: {name} is {getattr(self, name)}; no green would ever end, give one in seconds"
                )
        for name in ("sim_step_s", "decision_interval_s", "max_red_s", "walking_speed_mps", "vehicle_length_m"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"timing: {name} is {getattr(self, name)}; it must be greater than 0")
        step_ms = self.sim_step_s * 1000
        if round(step_ms) < 1 or abs(step_ms - round(step_ms)) > 1e-6:
            raise InputError(
                f"timing: sim_step_s is {self.sim_step_s}; SUMO counts whole milliseconds, choose such a number"
            )
        ratio = self.decision_interval_s / self.sim_step_s
        if abs(ratio - round(ratio)) > 1e-9:
            raise InputError(
                f"timing: decision_interval_s {self.decision_interval_s} is no multiple of "
                f"sim_step_s {self.sim_step_s}; choose one that is"
            )
        if self.yellow_change_s < 3.0 or self.yellow_change_s > 6.0:
            raise InputError(
                f"timing: yellow_change_s is {self.yellow_change_s}; MUTCD allows 3 to 6 s, choose within"
            )
        if self.change_interval not in ("calculated", "fixed"):
            raise InputError(f"timing: change_interval is {self.change_interval!r}; choose calculated or fixed")
        if not 0 <= self.red_clearance_s <= 10:
            raise InputError(f"timing: red_clearance_s is {self.red_clearance_s}; choose within 0 to 10 s")
        if self.min_green_s < self.sim_step_s or self.max_green_s < self.min_green_s:
            raise InputError(
                f"timing: min_green_s {self.min_green_s} and max_green_s {self.max_green_s} must satisfy "
                f"sim_step_s <= min_green_s <= max_green_s"
            )


def timing_of(content: Any) -> Timing:
    """The timing that plain values tell, as `dataclasses.asdict` has them; what is missing has its default.

    Raises:
        InputError: a name is unknown, or a value of another kind or out of range.
    """
    shapes = {f.name: number(0, math.inf) for f in fields(Timing)}
    shapes |= {"change_interval": text(20), "spillback_guard": one_of(True, False)}
    try:
        misfit(record({}, shapes), content)
    except ValueError as error:
        raise InputError(f"timing: {error}; give times in seconds") from error
    if strange := sorted(set(content) - set(shapes)):
        raise InputError(f"timing: {strange[0]!r} is unknown; give some of {', '.join(shapes)}")
    return Timing(**content)
