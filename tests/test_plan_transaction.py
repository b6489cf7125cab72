"""Plans over SNMP: one transaction, whole or not at all, whatever happens on the link."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from deployment.emulator.process import EmulatorProcess
from deployment.field.snmp.read import NotAllowed, Refused, Unreachable
from deployment.field.snmp.transaction import PlanWriter
from deployment.nema import oids
from deployment.nema.objects import plan_objects, read_objects
from tests.plan_writing import held, plans, through
from tests.udp_proxy import UdpProxy


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single") as emulator:
        yield emulator


@pytest.mark.wide
def test_acceptance_18_a_download_reads_back_as_it_was_written(emulator: EmulatorProcess) -> None:
    mine, day = plans(110)
    objects = plan_objects(mine, day)
    assert through(emulator, lambda writer: writer.download(objects)) == len(objects)
    assert held(emulator, objects) == objects
    assert read_objects(held(emulator, objects), mine.nema) == (mine, day)


@pytest.mark.wide
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


@pytest.mark.wide
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
