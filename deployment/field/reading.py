"""What was read from a controller: the last value of each name, and when it was read.

A name is that of a group or scalar here and its group's number: `greens.1` holds NEMA phases 1 to 8, `detectors.3`
detectors 17 to 24, and a scalar is `flash_status.0`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployment.nema import oids
from deployment.nema.oids import GROUP_SIZE, Object

PHASE_GROUPS: dict[str, Object] = {
    "greens": oids.STATUS_GREENS,
    "yellows": oids.STATUS_YELLOWS,
    "reds": oids.STATUS_REDS,
    "walks": oids.STATUS_WALKS,
    "ped_clears": oids.STATUS_PED_CLEARS,
    "ped_calls": oids.STATUS_PED_CALLS,
    "ons": oids.STATUS_PHASE_ONS,
    "nexts": oids.STATUS_PHASE_NEXTS,
}
"""Read at every poll, a group per eight NEMA phases."""
SCALARS: dict[str, Object] = {
    "up_time": oids.SYS_UP_TIME,
    "control_status": oids.UNIT_CONTROL_STATUS,
    "flash_status": oids.UNIT_FLASH_STATUS,
    "pattern": oids.SYSTEM_PATTERN_CONTROL,
}
"""Read at every poll."""
CONTROLS: dict[str, Object] = {
    "omit": oids.CONTROL_PHASE_OMIT,
    "ped_omit": oids.CONTROL_PED_OMIT,
    "hold": oids.CONTROL_HOLD,
    "force_off": oids.CONTROL_FORCE_OFF,
    "vehicle_call": oids.CONTROL_VEH_CALL,
    "ped_call": oids.CONTROL_PED_CALL,
}
"""What a command sets, a group per eight NEMA phases."""
Values = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of a controller. It may lack values that the controller did not have."""

    at_s: float
    """On the monotonic clock, when the answer arrived."""
    values: Values


def join(octets: Iterable[int]) -> int:
    """The groups' octets as one number: bit n - 1 is phase or detector n."""
    return sum((octet & 0xFF) << GROUP_SIZE * n for n, octet in enumerate(octets))


def split(name: str, bits: int, groups: int) -> dict[str, int]:
    """The octets of each group, under their names; the inverse of `join`."""
    return {f"{name}.{n + 1}": bits >> GROUP_SIZE * n & 0xFF for n in range(groups)}


def bits_of(numbers: Iterable[int]) -> int:
    """Bit n - 1 for each number n."""
    return sum(1 << n - 1 for n in set(numbers))


def numbers_of(bits: int) -> tuple[int, ...]:
    """The inverse of `bits_of`, in order."""
    return tuple(n + 1 for n in range(bits.bit_length()) if bits >> n & 1)


class View:
    """The last known value of everything that is polled, and how old it is."""

    def __init__(self, phase_groups: int, detector_groups: int) -> None:
        self.phase_groups, self.detector_groups = phase_groups, detector_groups
        self.last_s = -math.inf
        self._values: dict[str, int] = {}
        self._at_s: dict[str, float] = {}

    def update(self, reading: Reading) -> bool:
        """Take a reading over; False for one that is no newer than what is known, as after doubled datagrams."""
        if reading.at_s <= self.last_s:
            return False
        self.last_s = reading.at_s
        for name, value in reading.values.items():
            self._values[name], self._at_s[name] = value, reading.at_s
        return True

    def get(self, name: str, default: int = 0) -> int:
        """One value."""
        return self._values.get(name, default)

    def age_s(self, name: str, now_s: float) -> float:
        """How old a value is; infinite where it has never come."""
        return now_s - self._at_s.get(name, -math.inf)

    def phases(self, name: str) -> int:
        """The bits of all NEMA phases: bit n - 1 is phase n."""
        return join(self.get(f"{name}.{n + 1}") for n in range(self.phase_groups))

    def oldest_s(self, now_s: float) -> tuple[float, str]:
        """The age of the oldest value that a decision rests on, and its name; detectors apart."""
        names = [f"{name}.{n + 1}" for name in PHASE_GROUPS for n in range(self.phase_groups)]
        names += [f"{name}.0" for name in SCALARS]
        return max((self.age_s(name, now_s), name) for name in names)
