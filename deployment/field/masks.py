"""Which bits bring a controller to a phase that a policy chose: pure arithmetic on masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployment.field.reading import CONTROLS, View, bits_of, join, split
from signals.nema import NemaPlan

OMIT, PED_OMIT, HOLD, FORCE_OFF, VEHICLE_CALL, PED_CALL = CONTROLS


@dataclass(frozen=True, slots=True)
class Command:
    """The six masks; bit n - 1 is NEMA phase n."""

    omit: int = 0
    ped_omit: int = 0
    hold: int = 0
    force_off: int = 0
    vehicle_call: int = 0
    ped_call: int = 0

    def octets(self, groups: int) -> dict[str, int]:
        """Per control group, such as `hold.1`."""
        result: dict[str, int] = {}
        for name in CONTROLS:
            result |= split(name, getattr(self, name), groups)
        return result

    @staticmethod
    def of(octets: Mapping[str, int], groups: int) -> Command:
        """The inverse of `octets`."""
        return Command(**{name: join(octets[f"{name}.{n + 1}"] for n in range(groups)) for name in CONTROLS})

    def differs(self, found: Command) -> str:
        """How what a controller holds differs from this command, or an empty string.

        A force-off may have been cleared: the controller does so when the green ends.
        """
        for name in CONTROLS:
            sent, held = getattr(self, name), getattr(found, name)
            if held != sent and not (name == FORCE_OFF and held & ~sent == 0):
                return f"{name} is {held:#010b}, we wrote {sent:#010b}"
        return ""


RELEASE = Command()


def command_for(plan: NemaPlan, action: int, view: View) -> Command:
    """What to set so that this phase of the policy comes, or stays.

    The controller's own tables time min green, walk, clearance, yellow and red on the way.
    """
    wanted = plan.actions[action]
    target = bits_of(wanted)
    every = bits_of(phase.number for phase in plan.phases)
    on, green = view.phases("ons") & every, view.phases("greens") & every
    walks = bits_of(n for n in wanted if plan.phase(n).crossings)
    return Command(
        omit=every & ~target & ~on,
        hold=target,
        force_off=green & ~target,
        vehicle_call=target,
        ped_call=walks & ~green,  # its walk begins with the green; a call on top would look like people who wait
    )
