"""The field's side of the acceptance tests, each named after its number in docs/deployment.md, against an emulator in
a process of its own: a real SNMP agent, SUMO behind it."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployment.emulator.process import EmulatorProcess
from deployment.field.eventlog import line, read_log
from deployment.field.guard import Facts, Mode
from deployment.field.pilot import Pilot, Row
from deployment.field.reading import CONTROLS
from deployment.field.rerun import replay
from deployment.field.snmp.profile import PROFILES, Credentials
from deployment.field.snmp.read import NotAllowed, Session, on_list
from deployment.field.snmp.write import WRITABLE, Commander
from deployment.nema import oids
from plumbing.errors import InputError
from tests.field import POLICY, QUICK, Demand, drive, make_pilot
from tests.udp_proxy import Behaviour, UdpProxy


@pytest.fixture(scope="module")
def shared() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single") as emulator:
        emulator.advance(30.0)
        yield emulator


@pytest.fixture
def emulator(shared: EmulatorProcess) -> EmulatorProcess:
    """With nobody in command, and traffic that has had time to build up."""
    shared.input(preempt=1, on=0)
    shared.input(flash=0, manual=0)
    for _ in range(6):
        shared.advance(12.0)
        status = shared.status()
        if not status["preempt"] and status["flash_status"] == oids.NOT_FLASHING and status["greens"]:
            break
    assert free(shared)
    return shared


def free(emulator: EmulatorProcess) -> bool:
    return not any(emulator.status()["commands"].values())


def fails_from(second: int, how: Callable[[Row], tuple[Row, int]]) -> Callable[[Pilot], Callable[[Row], Any]]:
    """A policy that is in order for so many decisions, and then is not."""

    def make(pilot: Pilot) -> Callable[[Row], Any]:
        good, count = Demand(pilot.inputs), [0]

        def policy(values: Row) -> tuple[Row, int]:
            count[0] += 1
            return how(values) if count[0] > second else good(values)

        return policy

    return make


def _raises(values: Row) -> tuple[Row, int]:
    raise RuntimeError("boom")


def _slow(values: Row) -> tuple[Row, int]:
    time.sleep(2.0)
    return np.zeros(4, np.float32), 0


FAILURES = {
    "NaN": (lambda values: (np.full(4, math.nan, np.float32), 0), "finite"),
    "Inf": (lambda values: (np.full(4, math.inf, np.float32), 0), "finite"),
    "no phase": (lambda values: (np.zeros(4, np.float32), -1), "chose phase -1"),
    "a phase too high": (lambda values: (np.zeros(4, np.float32), 4), "there are 4"),
    "exception": (_raises, "boom"),
    "ten times too slow": (_slow, "deadline"),
}


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("Inf", "no phase", "a phase too high") else ())
        for name in FAILURES
    ],
)
def test_acceptance_06_a_policy_that_fails_releases_and_is_logged(
    failure: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    how, words = FAILURES[failure]
    policy = fails_from(6, how)(make_pilot())
    found = drive(emulator, 9.0, tmp_path / "log", policy=policy)
    modes = [d["mode"] for d in found.of("decision")]
    assert modes == ["verifying"] * 3 + ["controlling"] * 3 + ["released"] * 3 or modes[5:7] == [
        "controlling", "released",
    ], modes  # fmt: skip
    reason = next(d["reason"] for d in found.of("decision") if d["mode"] == "released")
    assert words in reason
    assert found.tally.writes > 0
    assert len(found.of("released")) == 1
    last_write = found.of("written")[-1]["t"]
    assert last_write < next(d["t"] for d in found.of("decision") if d["mode"] == "released")
    assert free(emulator)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e9])
def test_acceptance_06_an_input_that_is_not_finite_or_out_of_range_releases(value: float) -> None:
    from deployment.field.pilot import Answer
    from tests.field import Feed, values

    for n in range(0, len(make_pilot().inputs), 7):
        pilot = make_pilot()
        feed = Feed(pilot)
        feed.hold(values(), 5.0)
        pilot.look(feed.now_s, 0, Facts())
        pilot._values[n] = value
        decision = pilot.conclude(Answer(0.001, np.zeros(4, np.float32), 0))
        assert decision.command is None
        assert decision.release
        assert "input" in decision.record["reason"]


@pytest.mark.slow
def test_acceptance_08_a_cut_link_ends_in_backup_and_resumes_cleanly(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    states: dict[float, dict[str, Any]] = {}
    with UdpProxy(emulator.host, emulator.port) as link:

        def cut() -> None:
            link.behaviour.cut = True

        def join() -> None:
            link.behaviour.cut = False

        at: dict[float, Callable[[], object]] = {8.0: cut, 22.0: join}
        for second in (7.0, 12.0, 19.4, 21.0):
            at[second + 0.2] = lambda second=second: states.__setitem__(second, emulator.status())
        found = drive(emulator, 50.0, tmp_path / "log", port=link.port, at=at, timeout_s=0.15)
    assert any(states[7.0]["commands"].values())
    assert states[7.0]["control_status"] == oids.SYSTEM_CONTROL
    # the last command came at 8 s at the latest: backup within unitBackupTime (10 s) and a second
    assert not any(states[19.4]["commands"].values())
    assert states[19.4]["control_status"] == oids.BACKUP_MODE
    assert states[21.0]["control_status"] == oids.BACKUP_MODE
    modes = {round(d["t"]): d["mode"] for d in found.of("decision")}
    assert modes[7] == "controlling"
    assert modes[21] == "released"
    assert not [w for w in found.of("written") if 9 < w["t"] < 22]
    verified = [v["t"] for v in found.of("verified")]
    assert verified
    assert verified[0] > 22
    assert modes[49] == "controlling", modes
    assert emulator.status()["faults"] == []


def test_acceptance_09_backup_0_or_other_timing_is_refused(emulator: EmulatorProcess, tmp_path: Path) -> None:
    import dataclasses

    def other_timing(pilot: Pilot) -> None:
        plan = pilot.site.plan
        phases = tuple(dataclasses.replace(p, yellow_change_s=p.yellow_change_s + 0.5) for p in plan.phases)
        pilot.site = dataclasses.replace(pilot.site, plan=dataclasses.replace(plan, phases=phases))

    with pytest.raises(InputError, match=r"phaseYellowChange.1 is 40, the bundle has 45, and 7 more"):
        drive(emulator, 5.0, tmp_path / "log", change=other_timing)
    assert free(emulator)
    assert not any(r["k"] == "written" for r in read_log(tmp_path / "log"))


def test_acceptance_10_no_write_after_a_reboot_until_verified_again(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    found = drive(emulator, 26.0, tmp_path / "log", at={4.0: emulator.reboot})
    released = next(r["t"] for r in found.log if r["k"] in ("alarm", "decision") and "restarted" in str(r))
    assert released <= 4.4
    verified = found.of("verified")[0]["t"]
    writes = [w["t"] for w in found.of("written")]
    assert [t for t in writes if t < 4.2]
    assert not [t for t in writes if 4.2 <= t <= verified]
    assert [t for t in writes if t > verified + QUICK.hold_off_s], "it never came back"


@pytest.mark.wide
def test_acceptance_11_a_clock_that_jumps_an_hour_changes_nothing(
    emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    at = {6.0: lambda: offset.__setitem__(0, 3600.0), 10.0: lambda: offset.__setitem__(0, -3600.0)}
    found = drive(emulator, 16.0, tmp_path / "log", at=at)
    assert {d["mode"] for d in found.of("decision")[3:]} == {"controlling"}
    assert [round(d["t"]) for d in found.of("decision")] == list(range(17))
    gaps = np.diff([w["t"] for w in found.of("written")])
    assert (gaps == 1.0).all()


@pytest.mark.slow
def test_acceptance_12_lost_doubled_and_reordered_commands_are_idempotent(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    behaviour = Behaviour(drop=0.05, double=0.2, delay=0.1, delay_s=0.03)
    with UdpProxy(emulator.host, emulator.port, behaviour, seed=3) as link:
        found = drive(emulator, 40.0, tmp_path / "log", port=link.port, timeout_s=0.15)
        seen = link.seen
    assert min(seen.dropped, seen.doubled, seen.delayed) > 10
    assert found.runtime.reader.session.repeated > 0
    modes = [d["mode"] for d in found.of("decision")]
    assert set(modes[4:]) == {"controlling"}, found.reason
    assert found.tally.writes > 25
    assert free(emulator)
    assert emulator.status()["faults"] == []


@pytest.mark.wide
def test_acceptance_12_a_second_writer_is_noticed(emulator: EmulatorProcess, tmp_path: Path) -> None:
    at = {8.2: lambda: set_values(emulator, {oids.CONTROL_PHASE_OMIT.at(1): 0b1})}
    found = drive(emulator, 12.0, tmp_path / "log", at=at)
    first = next(d for d in found.of("decision") if d["mode"] == "released")
    assert "somebody else writes: omit" in first["reason"]
    assert first["t"] <= 9.0
    assert free(emulator)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"preempt": 1, "on": 1}, "preempt 1"),
        pytest.param({"flash": 1}, "flash", marks=pytest.mark.slow),
        ({"manual": 1}, "by hand"),
    ],
)
def test_acceptance_13_preempt_flash_and_manual_release_at_once(
    inputs: dict[str, int], words: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    state: dict[str, Any] = {}
    at: dict[float, Callable[[], object]] = {
        8.4: lambda: emulator.input(**inputs),
        9.0: lambda: state.update(emulator.status()),
    }
    # on its way into flash a controller first goes to red; that it flashes shows only then
    seconds = 45.0 if words == "flash" else 12.0
    found = drive(emulator, seconds, tmp_path / "log", at=at)
    ended = [r for r in found.log if r["k"] == "alarm" or r.get("mode") == "released"]
    assert words in ended[0]["reason"]
    if words != "flash":
        assert ended[0]["t"] <= 8.8
        assert not any(state["commands"].values())
    assert not [w for w in found.of("written") if w["t"] > ended[0]["t"]]
    assert free(emulator)


def test_acceptance_16_an_oid_off_the_list_is_never_sent(emulator: EmulatorProcess) -> None:
    import asyncio

    async def attempts(port: int) -> None:
        session = Session("127.0.0.1", port, Credentials("2c"), timeout_s=0.2)
        await session.open()
        commander = Commander(session, PROFILES["standard"], 1, 3)
        draw = random.Random(0)
        for item in oids.OBJECTS.values():
            if item in CONTROLS.values() or item is oids.SYSTEM_PATTERN_CONTROL:
                continue
            with pytest.raises(NotAllowed):
                await commander.set({item.at(*[1] * (0 if item.kind == "scalar" else item.indices)): 1})
        for _ in range(500):
            oid = tuple(draw.choice((oids.ASC, oids.GLOBAL, (1, 3, 6, 1, 2, 1)))) + tuple(
                draw.randrange(1, 15) for _ in range(draw.randrange(0, 7))
            )
            if not on_list(oid, WRITABLE):
                with pytest.raises(NotAllowed):
                    await commander.set({oid: draw.randrange(256)})
        for wrong in (-1, 256):
            with pytest.raises(NotAllowed):
                await commander.set({oids.CONTROL_HOLD.at(1): wrong})
        with pytest.raises(NotAllowed):
            await commander.set({oids.SYSTEM_PATTERN_CONTROL.at(): 255})
        with pytest.raises(NotAllowed):
            await commander.set({oids.SYSTEM_PATTERN_CONTROL.at(): 1})
        with pytest.raises(NotAllowed):
            await commander.command({"hold.1": 1})
        with pytest.raises(NotAllowed):
            await commander.get({"secret": (1, 3, 6, 1, 6, 3, 15, 1, 2, 2, 1, 3)})
        session.close()

    with UdpProxy(emulator.host, emulator.port) as link:
        asyncio.run(attempts(link.port))
        time.sleep(0.05)
        assert link.seen.requests == []


@pytest.mark.wide
@pytest.mark.parametrize(
    "who",
    [
        Credentials("2c", "public"),
        Credentials("1", "public"),
        Credentials("3", "", "policy", "SHA-256", "wrong-auth-key", "AES-128", "policy-priv-key"),
        Credentials("3", "", "nobody", "SHA-256", "policy-auth-key", "AES-128", "policy-priv-key"),
    ],
    ids=lambda who: f"{who.version}-{who.user or who.community}",
)
def test_acceptance_16_who_may_not_write_does_not(
    who: Credentials, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    if who.version == "3":
        with pytest.raises(InputError, match=r"127\.0\.0\.1"):
            drive(emulator, 5.0, tmp_path / "log", who=who)
    else:
        found = drive(emulator, 6.0, tmp_path / "log", who=who)
        assert found.tally.writes == 0
        reasons = [d["reason"] for d in found.of("decision") if d["mode"] == "released"]
        assert "refuses a command" in reasons[0]
    assert free(emulator)


@pytest.mark.wide
def test_acceptance_19_a_recorded_watch_has_no_write_and_replays_byte_for_byte(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    log = tmp_path / "watch.jsonl"
    with UdpProxy(emulator.host, emulator.port) as link:
        found = drive(emulator, 30.0, log, port=link.port, control=False, who=Credentials("2c"))
        assert len(link.seen.requests) > 150
        assert link.seen.sets == []
    assert {d["mode"] for d in found.of("decision")} == {"shadow"}
    assert not found.of("written")
    pilot = make_pilot(QUICK, mode=Mode.SHADOW)
    again = replay(read_log(log), pilot, Demand(pilot.inputs))
    assert (again.decisions, again.different, again.writes) == (len(found.of("decision")), 0, 0)
    # and the test can fail: one bit of one poll
    records = list(read_log(log))
    polls = [n for n, record in enumerate(records) if record["k"] == "poll" and "detectors.1" in record["v"]]
    spoilt = json.loads(line(records[polls[len(polls) // 2]]))
    spoilt["v"]["detectors.1"] ^= 0xFF
    records[polls[len(polls) // 2]] = spoilt
    pilot = make_pilot(QUICK, mode=Mode.SHADOW)
    assert replay(records, pilot, Demand(pilot.inputs)).different > 0


@pytest.mark.slow
def test_acceptance_19_control_replays_byte_for_byte_too(emulator: EmulatorProcess, tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    found = drive(emulator, 40.0, log, at={20.0: lambda: emulator.input(preempt=1, on=1)})
    assert found.tally.writes > 10
    pilot = make_pilot(QUICK, mode=Mode.SHADOW)
    again = replay(read_log(log), pilot, Demand(pilot.inputs))
    assert (again.decisions, again.different) == (len(found.of("decision")), 0), again.first


def set_values(emulator: EmulatorProcess, values: dict[oids.Oid, int]) -> None:
    """What somebody else sets, by SNMPv3."""
    import asyncio

    async def write() -> None:
        session = Session(emulator.host, emulator.port, POLICY)
        await session.open()
        await Commander(session, PROFILES["standard"], 1, 3).set(values)
        session.close()

    asyncio.run(write())
