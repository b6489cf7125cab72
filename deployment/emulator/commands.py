"""What others ask of a controller from moment to moment: masks by SNMP, inputs at the cabinet, and what remains of
them once preemption, manual control and coordination have had their say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Commands:
    """The phase control groups: masks of phases."""

    omit: int = 0
    ped_omit: int = 0
    hold: int = 0
    force_off: int = 0
    call: int = 0
    ped_call: int = 0
    stop_time: int = 0
    """Rings, not phases, whose timing stands still."""

    def any(self) -> bool:
        """Whether any bit is set."""
        return bool(
            self.omit | self.ped_omit | self.hold | self.force_off | self.call | self.ped_call | self.stop_time
        )


@dataclass(slots=True)
class Effective:
    """What the rings obey at a tick: commands, and what only coordination and recalls ask."""

    omit: int
    ped_omit: int
    hold: int
    force_off: int
    call: int
    ped_call: int
    split_end: int = 0
    """Phases whose split is over: forced off if another waits."""
    late: int = 0
    """Phases that must not start now, since their split would be over before their least service."""
    stop_time: int = 0
    """Rings whose timing stands still."""
    max_recall: int = 0
    no_maximum: bool = False
    """In coordination a green ends by its split, not by its maximum."""
    all_stop: bool = False
    """Every green is to end and none to begin: on the way into flash."""
