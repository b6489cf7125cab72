"""Which phase comes next: within a barrier each ring by itself, over a barrier all rings together."""

from __future__ import annotations

from deployment.emulator import events
from deployment.emulator.commands import Effective
from deployment.emulator.rings import GREEN, RED_CLEAR, YELLOW, Ring, Rings


def choose(rings: Rings, eff: Effective, waiting: int) -> None:
    """End the greens that may end and have someone waiting against them, and say what follows.

    Args:
        waiting: mask of the phases that wait for a green and may have one.
    """
    _advance(rings, eff, waiting)
    _cross(rings, eff, waiting)
    _force_to_red(rings, eff, waiting)


def _advance(rings: Rings, eff: Effective, waiting: int) -> None:
    """Between two barriers each ring goes on by itself."""
    for ring in rings.rings:
        if ring.next or ring.shown in (YELLOW, RED_CLEAR):
            continue
        standing = _standing(rings, ring)
        group = _component(rings, standing | (1 << ring.phase - 1 if ring.phase else 0))
        if not group or (ring.phase and not (reason := rings.reason(ring, eff))):
            continue
        elsewhere = waiting & ~group
        place = ring.order.index(ring.phase) if ring.phase else -1
        for phase in _after(ring):
            earlier = ring.phase and ring.order.index(phase) < place
            if phase == ring.phase or not (waiting & group) >> phase - 1 & 1 or (earlier and elsewhere):
                continue
            if rings.fits(phase, standing):
                if ring.phase:
                    rings.end_green(ring, reason, phase)
                else:
                    ring.next = phase
                break


def _cross(rings: Rings, eff: Effective, waiting: int) -> None:
    """Over the barrier, when every ring is ready: to the next group with a call."""
    if not waiting or any(ring.next or ring.shown in (YELLOW, RED_CLEAR) for ring in rings.rings):
        return
    present = _component(rings, rings.on() or sum(1 << r.last - 1 for r in rings.rings if r.last))
    place = rings.components.index(present) + 1 if present else 0
    for group in (*rings.components[place:], *rings.components[:place]):
        picks = _picks(rings, group, waiting, eff)
        if not picks:
            continue
        going = [ring for ring in rings.rings if ring.phase != picks.get(id(ring), 0)]
        reasons = [rings.reason(ring, eff) if ring.phase else events.FORCE_OFF for ring in going]
        if all(reasons):
            for ring, reason in zip(going, reasons, strict=True):
                if ring.phase:
                    rings.end_green(ring, reason, picks.get(id(ring), 0))
                else:
                    ring.next = picks[id(ring)]
        return


def _picks(rings: Rings, group: int, waiting: int, eff: Effective) -> dict[int, int]:
    """Per ring the phase to serve in this group: the first called one, then one that may come along."""
    picks: dict[int, int] = {}
    chosen = 0
    for called in (waiting, rings.exist & ~eff.omit & ~eff.late if waiting & group else 0):
        for ring in rings.rings:
            if id(ring) in picks:
                continue
            for phase in sorted(ring.order, key=lambda p: p != ring.phase) if chosen else ring.order:
                if (group & called) >> phase - 1 & 1 and rings.fits(phase, chosen):
                    picks[id(ring)] = phase
                    chosen |= 1 << phase - 1
                    break
    return picks


def _force_to_red(rings: Rings, eff: Effective, waiting: int) -> None:
    """A green that is forced off ends though nobody waits against it; its ring rests in red."""
    for ring in rings.rings:
        bit = 1 << ring.phase - 1 if ring.phase else 0
        if ring.shown != GREEN or not eff.force_off & bit or not rings.reason(ring, eff):
            continue
        if not waiting & ~rings.settings.phases[ring.phase].concurrent & ~bit:
            rings.end_green(ring, events.FORCE_OFF, 0)


def _standing(rings: Rings, apart_from: Ring) -> int:
    """Phases of the other rings that stay, or are to come."""
    others = [r for r in rings.rings if r is not apart_from]
    return sum(1 << (r.phase if r.shown == GREEN else r.next) - 1 for r in others if r.shown == GREEN or r.next)


def _component(rings: Rings, phases: int) -> int:
    """The group between barriers that these belong to; 0 for none."""
    return next((group for group in rings.components if group & phases), 0)


def _after(ring: Ring) -> list[int]:
    """The ring's phases in order, from the one that follows the present or last one."""
    here = ring.phase or ring.last
    place = ring.order.index(here) + 1 if here in ring.order else 0
    return [*ring.order[place:], *ring.order[:place]]
