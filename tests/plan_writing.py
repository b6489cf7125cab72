"""Plans for the emulator of `single`, written through the driver, and what the controller then holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from deployment.emulator.process import EmulatorProcess
from deployment.field.snmp.profile import PROFILES
from deployment.field.snmp.read import TIMEOUT_S, Reader, Session
from deployment.field.snmp.transaction import PlanObject, PlanWriter
from deployment.nema import oids
from deployment.nema.pattern import Event, SignalPlans
from deployment.plans.initial import pattern_from_greens
from tests.field import POLICY, make_site


def plans(cycle_s: int) -> tuple[SignalPlans, tuple[Event, ...]]:
    site = make_site()
    item = site.machine.intersections[0]
    pattern = pattern_from_greens(item, site.plan, [30, 10, 20, 8], cycle_s, number=1, offset_s=7)
    return SignalPlans(site.plan, (pattern,)), (Event(0, 1),)


async def the_same(_: Reader) -> str:
    """Nobody changes the cable."""
    return ""


def through(
    emulator: EmulatorProcess, work: Callable[[PlanWriter], Coroutine[Any, Any, Any]], port: int | None = None
) -> Any:
    async def run() -> Any:
        session = Session(emulator.host, port or emulator.port, POLICY, timeout_s=0.15 if port else TIMEOUT_S)
        await session.open()
        try:
            return await work(PlanWriter(session, PROFILES["standard"], 1, 3, the_same))
        finally:
            session.close()

    return asyncio.run(run())


def held(emulator: EmulatorProcess, objects: list[PlanObject]) -> list[PlanObject]:
    """What the controller has in their places."""

    async def read(writer: PlanWriter) -> list[PlanObject]:
        wanted = {
            str(n): writer.profile.oid(oids.OBJECTS[name], *index) for n, (name, index, _) in enumerate(objects)
        }
        found = await writer.get(wanted)
        return [(name, index, found[str(n)]) for n, (name, index, _) in enumerate(objects)]  # type: ignore[misc]

    result: list[PlanObject] = through(emulator, read)
    return result
