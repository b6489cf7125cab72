"""Plans reach a controller whole or not at all, and read back as they were written."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployment import oids
from deployment.download import main, read_plans
from deployment.emulator.process import EmulatorProcess
from deployment.ntcip import TIMEOUT_S, NotAllowed, Refused, Session, Unreachable
from deployment.ntcip_plans import PlanObject, PlanWriter
from deployment.ntcip_profile import PROFILES
from deployment.plans.initial import pattern_from_greens
from deployment.plans.ntcip import objects_json, plan_objects, read_objects
from deployment.plans.pattern import Event, SignalPlans
from signals.errors import InputError
from tests.field import POLICY, make_site
from tests.udp_proxy import UdpProxy


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single") as emulator:
        yield emulator


def plans(cycle_s: int) -> tuple[SignalPlans, tuple[Event, ...]]:
    site = make_site()
    item = site.machine.intersections[0]
    pattern = pattern_from_greens(item, site.plan, [30, 10, 20, 8], cycle_s, number=1, offset_s=7)
    return SignalPlans(site.plan, (pattern,)), (Event(0, 1),)


def through(
    emulator: EmulatorProcess, work: Callable[[PlanWriter], Coroutine[Any, Any, Any]], port: int | None = None
) -> Any:
    async def run() -> Any:
        session = Session(emulator.host, port or emulator.port, POLICY, timeout_s=0.15 if port else TIMEOUT_S)
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


class EveryOtherAnswerLost(UdpProxy):
    """So that everything is asked, and done, twice."""

    answers = 0

    def _pass(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
        self.answers += sock is self._front
        if sock is not self._front or self.answers % 2 == 0:
            super()._pass(sock, message, to)


def test_a_download_whose_answers_are_lost_is_made_whole(emulator: EmulatorProcess) -> None:
    objects = plan_objects(*plans(100))
    with EveryOtherAnswerLost(emulator.host, emulator.port) as link:
        assert through(emulator, lambda writer: writer.download(objects), link.port) == len(objects)
    assert link.answers > 20
    assert held(emulator, objects) == objects


class CutAfter(UdpProxy):
    """A link that goes down for good after so many answers."""

    left = 0

    def _pass(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
        if self.left > 0:
            self.left -= sock is self._front
            super()._pass(sock, message, to)


@pytest.mark.slow
def test_a_download_that_is_cut_off_says_whether_anything_was_taken(emulator: EmulatorProcess) -> None:
    """At every moment on the way: what the message says is what the controller holds."""
    before, after = plan_objects(*plans(100)), plan_objects(*plans(105))

    async def give_up(writer: PlanWriter) -> None:
        await writer._go_to(oids.DB_NORMAL)

    said = []
    for answers in range(60):
        through(emulator, lambda writer: writer.download(before))
        with CutAfter(emulator.host, emulator.port) as link:
            link.left = answers
            try:
                through(emulator, lambda writer: writer.download(after), link.port)
            except Unreachable as error:
                said.append(str(error))
            else:
                break
        through(emulator, give_up)
        found = held(emulator, before)
        if "keeps its own" in said[-1]:
            assert found == before
        elif "took the plans, but" in said[-1]:
            assert found == after
        else:
            assert "not known" in said[-1] or answers < 6, said[-1]  # before anything was asked of it
            assert found in (before, after)
    assert 8 <= len(said) < 60
    for words in ("keeps its own", "not known", "took the plans, but"):
        assert any(words in message for message in said), words


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


def test_the_command_downloads_a_file_and_says_what_it_refuses(
    emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("USER", POLICY.user), ("AUTH", POLICY.auth_key), ("PRIV", POLICY.privacy_key)):
        monkeypatch.setenv(f"PLAN_{name}", str(value))
    who = ["--snmp", "3", "--user", "env:PLAN_USER", "--auth", "env:PLAN_AUTH", "--priv", "env:PLAN_PRIV"]
    who += ["--target", f"{emulator.host}:{emulator.port}"]
    file = tmp_path / "plans_ntcip.json"

    def write(content: Any) -> str:
        file.write_text(json.dumps(content))
        return str(file)

    objects = objects_json(plan_objects(*plans(96)))
    assert main([write({"C": {"objects": objects}}), *who, "--select", "1"]) == 0
    assert "read back" in capsys.readouterr().out
    assert held(emulator, plan_objects(*plans(96))) == plan_objects(*plans(96))

    with pytest.raises(InputError, match="--snmp 2c proves nothing about who writes"):
        main([write({"C": {"objects": objects}}), *who[-2:]])

    with pytest.raises(InputError, match="pattern 300"):
        main([write({"C": {"objects": objects_json(plan_objects(*plans(120)))}}), *who, "--select", "300"])
    assert held(emulator, plan_objects(*plans(96))) == plan_objects(*plans(96))  # nothing was written before

    half_bad = [entry | ({"value": 250} if entry["object"] == "patternCycleTime" else {}) for entry in objects]
    assert main([write({"C": {"objects": half_bad}}), *who]) == 1
    assert "keeps its own" in capsys.readouterr().err
    assert held(emulator, plan_objects(*plans(96))) == plan_objects(*plans(96))

    with pytest.raises(InputError, match="say with --tls"):
        main([write({"C": {"objects": objects}, "D": {"objects": objects}}), *who])
    with pytest.raises(InputError, match="has no plans of 'X'"):
        main([write({"C": {"objects": objects}}), *who, "--tls", "X"])
    timing = [{"object": "phaseMinimumGreen", "index": [1], "value": 1}]
    with pytest.raises(InputError, match="no part of a plan"):
        main([write({"C": {"objects": timing}}), *who])
    for content in ({}, [], {"C": 1}, {"C": {"objects": [1]}}, {"C": {"objects": []}}):
        with pytest.raises(InputError, match="holds no plans"):
            main([write(content), *who])
    file.write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        main([str(file), *who])


SPLIT: dict[str, Any] = {"object": "splitTime", "index": [1, 2], "value": 35}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": "12"}, "no row '12'"),
        ({"index": 5}, "no row 5"),
        ({"index": [1]}, r"no row \[1\]"),
        ({"index": [1, -2]}, "no row"),
        ({"index": [1, 10**14]}, "no row"),
        ({"index": [1.9, 2]}, "no row"),
        ({"value": 256}, "holds 256"),
        ({"value": -1}, "holds -1"),
        ({"value": True}, "holds True"),
        ({"value": 35.5}, "holds 35.5"),
        ({"object": "sequenceData", "value": [1, 300]}, "holds"),
        ({"object": "sequenceData", "value": ["a"]}, "holds"),
        ({"object": "dayPlanActionNumberOID", "value": "1.x"}, "holds '1.x'"),
        ({"oid": oids.dotted(oids.SPLIT_TIME.at(1, 3))}, "is not '1.3"),
    ],
)
def test_a_file_that_no_controller_could_hold_is_refused_in_one_line(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "plans_ntcip.json"
    file.write_text(json.dumps({"C": {"objects": [SPLIT | change]}}))
    with pytest.raises(InputError, match=said):
        read_plans(file, None)


def test_a_file_that_says_two_things_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plans_ntcip.json"
    file.write_text(json.dumps({"C": {"objects": [SPLIT, SPLIT | {"value": 20}]}}))
    with pytest.raises(InputError, match="there twice"):
        read_plans(file, None)
    file.write_text('{"C": {"objects": [{"object": "splitTime", "index": [1, 2], "value": 35, "value": 20}]}}')
    with pytest.raises(InputError, match="'value' is there twice"):
        read_plans(file, None)
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        read_plans(file, None)
