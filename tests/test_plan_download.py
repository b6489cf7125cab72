"""Plans reach a controller whole or not at all, and read back as they were written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from deployment import oids
from deployment.emulator.process import EmulatorProcess
from deployment.ntcip import NotAllowed, Refused, Session
from deployment.ntcip_plans import PlanObject, PlanWriter
from deployment.ntcip_profile import PROFILES
from deployment.plans.initial import pattern_from_greens
from deployment.plans.ntcip import plan_objects, read_objects
from deployment.plans.pattern import Event, SignalPlans
from tests.field import POLICY, make_site


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single") as emulator:
        yield emulator


def plans(cycle_s: int) -> tuple[SignalPlans, tuple[Event, ...]]:
    site = make_site()
    item = site.machine.intersections[0]
    pattern = pattern_from_greens(item, site.plan, [30, 10, 20, 8], cycle_s, number=1, offset_s=7)
    return SignalPlans(site.plan, (pattern,)), (Event(0, 1),)


def through(emulator: EmulatorProcess, work: Callable[[PlanWriter], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        session = Session(emulator.host, emulator.port, POLICY)
        await session.open()
        try:
            return await work(PlanWriter(session, PROFILES["standard"], 1, 3))
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


def test_acceptance_18_a_download_reads_back_as_it_was_written(emulator: EmulatorProcess) -> None:
    mine, day = plans(110)
    objects = plan_objects(mine, day)
    assert through(emulator, lambda writer: writer.download(objects)) == len(objects)
    assert held(emulator, objects) == objects
    assert read_objects(held(emulator, objects), mine.nema) == (mine, day)


def test_acceptance_18_a_half_bad_download_changes_nothing(emulator: EmulatorProcess) -> None:
    good = plan_objects(*plans(110))
    through(emulator, lambda writer: writer.download(good))
    other = plan_objects(*plans(120))
    bad = [
        (n, i, 3 if n == "splitTime" and i == (1, 2) else v) for n, i, v in other
    ]  # shorter than its least service
    with pytest.raises(Refused, match="keeps its own"):
        through(emulator, lambda writer: writer.download(bad))
    assert held(emulator, good) == good
    # and nobody is left in the middle of a transaction
    assert through(emulator, lambda writer: writer.download(other)) == len(other)


def test_what_is_no_plan_is_not_sent(emulator: EmulatorProcess) -> None:
    for name in ("phaseMinimumGreen", "unitBackupTime", "phaseControlGroupHold", "nonsense"):
        with pytest.raises(NotAllowed):
            through(emulator, lambda writer, name=name: writer.download([(name, (1,), 1)]))
    with pytest.raises(NotAllowed):
        through(emulator, lambda writer: writer.select(254))


def test_a_pattern_can_be_chosen_and_given_back(emulator: EmulatorProcess) -> None:
    objects = plan_objects(*plans(110))
    through(emulator, lambda writer: writer.download(objects))
    through(emulator, lambda writer: writer.select(1))
    emulator.advance(5.0)
    assert emulator.status()["pattern"] == 1
    through(emulator, lambda writer: writer.select(0))
