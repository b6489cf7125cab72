"""What the tests of the field side share: the example intersection as a site, and a cabinet that answers at once."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from deployment.bundle.manifest import FORMAT, Identity, Manifest, new_key
from deployment.bundle.read import BUNDLE
from deployment.emulator.mib import Mib
from deployment.emulator.process import ROOT, EmulatorProcess
from deployment.emulator.run import Emulator, Outcome
from deployment.field.admission import Admission
from deployment.field.clock import SteppedClock
from deployment.field.estimator import Estimator, Site
from deployment.field.eventlog import ROTATE_BYTES, EventLog, read_log
from deployment.field.guard import Facts, Guard, Limits, Mode
from deployment.field.inference import ask
from deployment.field.masks import RELEASE
from deployment.field.pilot import Answer, Decision, Pilot, Row
from deployment.field.prometheus import Metrics
from deployment.field.reading import Reading
from deployment.field.runtime import Runtime, Tally
from deployment.field.snmp.profile import PROFILES, Credentials
from deployment.field.snmp.read import Reader, Session
from deployment.field.snmp.write import Commander
from scenarios.loading import load
from signals.inputs import InputTable
from signals.intersection import Intersection, compile_signals
from signals.layout import build_layout
from signals.loops import plan_loops
from signals.machine import SignalMachine
from signals.nema import nema_plan
from signals.network import RoadNetwork
from signals.timing import Timing


@functools.cache
def _compiled(name: str) -> tuple[RoadNetwork, Intersection]:
    network = load(name).network
    return network, compile_signals(network).intersections[0]


def make_site(name: str = "single") -> Site:
    """A scenario's first signal, as a bundle would hold it."""
    network, item = _compiled(name)
    layout = build_layout([item], network)
    return Site(nema_plan(item), layout, plan_loops((item,), network), SignalMachine([item], Timing()))


GREENS = 0b00100010
"""NEMA phases 2 and 6, which the first phase of `single` shows."""


def values(**changes: int) -> dict[str, int]:
    """A complete answer of a controller that shows the first phase of `single`, and nobody on its detectors."""
    found = {
        "greens.1": GREENS,
        "yellows.1": 0,
        "reds.1": 0xFF & ~GREENS,
        "walks.1": GREENS,
        "ped_clears.1": 0,
        "ped_calls.1": 0,
        "ons.1": GREENS,
        "nexts.1": 0,
        "detectors.1": 0,
        "detectors.2": 0,
        "detectors.3": 0,
        "alarms.1": 0,
        "alarms.2": 0,
        "alarms.3": 0,
        "up_time.0": 0,
        "control_status.0": 2,
        "flash_status.0": 2,
        "pattern.0": 0,
        "preempt.1": 2,
        "preempt.2": 2,
    }
    for name, value in changes.items():
        found[name.replace("__", ".")] = value
    return found


def shows(
    green: int = 0, yellow: int = 0, nexts: int = 0, ped_clear: int = 0, on: int | None = None
) -> dict[str, int]:
    """A complete answer with these indications."""
    on = green | yellow if on is None else on
    return values(
        greens__1=green, yellows__1=yellow, reds__1=0xFF & ~(green | yellow), walks__1=0, ped_clears__1=ped_clear,
        ons__1=on, nexts__1=nexts,
    )  # fmt: skip


class Feed:
    """Feeds an estimator or a pilot five times a second."""

    def __init__(self, taker: Estimator | Pilot, poll_s: float = 0.2) -> None:
        self.taker, self.poll_s, self.now_s = taker, poll_s, 0.0
        self.beat = -1

    def poll(self, answer: Mapping[str, int]) -> None:
        self.now_s = round(self.now_s + self.poll_s, 3)
        answer = {**answer, "up_time.0": int(self.now_s * 100)} if answer.get("up_time.0") == 0 else answer
        reading = Reading(self.now_s, answer)
        if isinstance(self.taker, Pilot):
            self.taker.poll(reading)
        else:
            self.taker.update(reading)

    def hold(self, answer: Mapping[str, int], seconds: float) -> None:
        for _ in range(round(seconds / self.poll_s)):
            self.poll(answer)


def make_pilot(limits: Limits | None = None, mode: Mode = Mode.CONTROLLING) -> Pilot:
    """A pilot in that mode, with a site of its own."""
    site = make_site()
    table = InputTable(site.layout, "detectors")
    pilot = Pilot(site, table, tuple([1e6] * len(table)), Guard(limits or Limits()))
    pilot.guard.mode = mode
    if mode is Mode.CONTROLLING:
        pilot.target, pilot.guard.since_s = 0, 0.0
    return pilot


def beat(pilot: Pilot, feed: Feed, answer: Answer | None = None) -> Decision:
    """One beat at the feed's moment; by default the policy wants what is on."""
    feed.beat += 1
    pilot.look(feed.now_s, feed.beat, Facts())
    phases = len(pilot.site.plan.actions)
    stay = int(pilot.estimator.snapshot.phase[0])
    given = answer or Answer(0.0001, np.zeros(phases, np.float32), stay)
    return pilot.conclude(given if given.phase != -1 or given.failure else dataclasses.replace(given, phase=stay))


# --- against a real emulator

WHO = {"FIELD_USER": "policy", "FIELD_AUTH": "policy-auth-key", "FIELD_PRIV": "policy-priv-key"}
V3 = ("--snmp", "3", "--user", "env:FIELD_USER", "--auth", "env:FIELD_AUTH", "--priv", "env:FIELD_PRIV")


def start(
    bundle: tuple[Path, Path], port: int, *more: str, python: str = sys.executable, host: str = "127.0.0.1"
) -> subprocess.Popen[str]:
    """control.py in a process of its own; port 0: without a target.

    Args:
        bundle: the bundle, and the public key.
    """
    command = [python, "control.py", str(bundle[0]), "--public-key", str(bundle[1]), *more]
    command += ["--target", f"{host}:{port}"] if port else []
    environment = {**os.environ, **WHO, "XDG_STATE_HOME": str(bundle[0].parent / "state")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


class Demand:
    """A simple policy: the phase with most vehicles and people who wait, of those that may be chosen."""

    def __init__(self, table: InputTable) -> None:
        self._selectable = table.selectable
        self._waiting = [
            [
                n
                for n, i in enumerate(table.inputs)
                if i.block == "phase" and i.slot == p and i.feature == "new_arrivals"
            ]
            for p in range(len(table.selectable))
        ]
        self._occupied = [
            [n for n, i in enumerate(table.inputs) if i.block == "phase" and i.slot == p and i.feature == "occupied"]
            for p in range(len(table.selectable))
        ]

    def __call__(self, values: Row) -> tuple[Row, int]:
        waiting = [values[a].sum() + values[b].sum() for a, b in zip(self._waiting, self._occupied, strict=True)]
        scores = np.where(values[self._selectable] > 0, np.array(waiting), -1e9).astype(np.float32)
        return scores, int(scores.argmax())


ENGINEER = Credentials("3", "", "engineer", "SHA-256", "engineer-auth-key", "AES-128", "engineer-priv-key")
POLICY = Credentials("3", "", "policy", "SHA-256", "policy-auth-key", "AES-128", "policy-priv-key")
CLOSED = Credentials("2c", "closed")
"""Who may write by SNMPv2c at an emulator with `users_file`: its messages can be read and changed on the way."""
OTHER = "800004b6040123456789"
"""The engine id of another controller."""


def users_file(folder: Path) -> Path:
    """For an emulator: `CLOSED`, `POLICY` with the same rights, and `public`, who reads."""
    file, grant = folder / "users.json", ["control", "plan", "database"]
    keys = {"auth_key": POLICY.auth_key, "priv_key": POLICY.privacy_key}
    users = [{"name": POLICY.user, "write": grant, **keys}]
    communities = [{"name": CLOSED.community, "write": grant}, {"name": "public"}]
    file.write_text(json.dumps({"communities": communities, "users": users}))
    return file


QUICK = Limits(hold_off_s=2.0, released_s=5.0, deadline_s=0.5)  # time stands still meanwhile


@dataclasses.dataclass
class Run:
    """One run of the runtime, in this process."""

    runtime: Runtime
    tally: Tally
    path: Path
    told: list[str]

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        """What it wrote, all parts."""
        return list(read_log(self.path))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.log if record["k"] == kind]

    @property
    def reason(self) -> str:
        return self.runtime.guard.reason


def admission_for(folder: Path, controller: Identity | None, *, commands: bool = True, **changes: Any) -> Admission:
    """As of a bundle that was read and whose signature was checked; its key and what has run are kept in the folder.

    Args:
        changes: fields of the manifest, and arguments of `Admission`.
    """
    key = folder / "signing.pub"
    if not key.exists():
        new_key(folder / "signing")
    fields = {field.name: changes.pop(field.name) for field in dataclasses.fields(Manifest) if field.name in changes}
    manifest = Manifest(
        BUNDLE.kind, FORMAT, "0", "C", "single", "0" * 64, {}, None, controller, 1, "2020-01-01T00:00:00Z",
        "2099-01-01T00:00:00Z", {},
    )  # fmt: skip
    given: dict[str, Any] = {"site_token": None, "state": folder / "state", "commands": commands, **changes}
    return Admission(BUNDLE, folder / "bundle", dataclasses.replace(manifest, **fields), key, **given)


def drive(
    emulator: EmulatorProcess,
    seconds: float,
    log: Path,
    *,
    port: int | None = None,
    policy: Callable[[Row], tuple[Row, int]] | None = None,
    limits: Limits = QUICK,
    control: bool = True,
    who: Credentials = POLICY,
    at: Mapping[float, Callable[[], object]] | None = None,
    timeout_s: float = 0.4,
    change: Callable[[Pilot], object] | None = None,
    answer: Callable[[float, dict[str, int]], dict[str, int]] | None = None,
    rotate_bytes: int = ROTATE_BYTES,
    admission: Admission | None = None,
) -> Run:
    """Run control.py's loop against an emulator with speed 0.

    Args:
        admission: by default of a manifest that names this emulator's engine id.
        at: what happens at which second of the run.
        answer: changes what the controller answers: (second, values) to values.
    """
    return asyncio.run(
        _drive(
            emulator, seconds, log, port, policy, limits, control, who, at, timeout_s, change, answer, rotate_bytes,
            admission,
        )
    )  # fmt: skip


async def _drive(  # type: ignore[no-untyped-def]
    emulator, seconds, log, port, policy, limits, control, who, at, timeout_s, change, answer, rotate_bytes, admission
) -> Run:
    pilot = make_pilot(limits, Mode.SHADOW)
    admission = admission or admission_for(log.parent, Identity(emulator.engine_id, None), commands=control)
    if change is not None:
        change(pilot)
    session = Session(emulator.host, port or emulator.port, who, timeout_s=timeout_s)
    await session.open()
    kind = Commander if control else Reader
    reader = kind(session, PROFILES["standard"], 1, 3)
    clock = EventClock(emulator.url, dict(at or {}))
    if answer is not None:
        plain = reader.poll

        async def poll(now: Any, **options: Any) -> Reading:
            reading = await plain(now, **options)
            return Reading(reading.at_s, answer(reading.at_s, dict(reading.values)))

        reader.poll = poll
    start = {"fast": list(reader.fast), "slow": list(reader.slow)}
    written, told = EventLog(log, start, rotate_bytes=rotate_bytes), []
    runtime = Runtime(
        pilot, policy or Demand(pilot.inputs), reader, clock, written, Metrics(),
        admission=admission, commander=reader if control else None, say=told.append,
    )  # fmt: skip
    try:
        tally = await runtime.run(seconds)
    finally:
        session.close()
        written.close()
    return Run(runtime, tally, log, told)


class EventClock(SteppedClock):
    """Lets things happen at their second."""

    def __init__(self, url: str, events: dict[float, Callable[[], object]]) -> None:
        super().__init__(url)
        self.events = events

    async def until(self, moment_s: float, stop: asyncio.Event) -> None:
        for second in sorted(second for second in self.events if second <= self() + 1e-9):
            await asyncio.to_thread(self.events.pop(second))
        await super().until(moment_s, stop)


def drive_without_wires(
    seconds: float,
    out: Path,
    *,
    seed: int = 1,
    limits: Limits = QUICK,
    policy: Callable[[Row], tuple[Row, int]] | None = None,
    answer: Callable[[float, dict[str, int]], dict[str, int]] | None = None,
) -> tuple[list[Mapping[str, Any]], Outcome]:
    """The emulator and the pilot in this process, without SNMP between them: ten times as fast, for long runs.

    Returns the decisions' records and what the run came to.
    """
    pilot = make_pilot(limits, Mode.SHADOW)
    decide = policy or Demand(pilot.inputs)
    emulator = Emulator(load("single", end_s=seconds), seed=seed, out=out)
    mib = Mib(emulator.cabinet)
    reader = Reader(cast("Session", None), PROFILES["standard"], 1, 3)
    records: list[Mapping[str, Any]] = []

    def poll(now_s: float) -> None:
        found = {name: int(cast(int, mib.read(oid))) for name, oid in (reader.fast | reader.slow).items()}
        pilot.poll(Reading(now_s, answer(now_s, found) if answer is not None else found))

    def write(octets: Mapping[str, int]) -> None:
        mib.write([(reader.controls[name], value) for name, value in octets.items()])
        emulator.cabinet.settle()

    poll(0.0)
    pilot.guard.begin(0.0)
    while not emulator.done:
        emulator.tick()
        emulator.tick()
        now_s = round(emulator.now_s, 1)
        poll(now_s)
        ended = pilot.alarm(now_s)
        if now_s == round(now_s):
            decision = pilot.conclude(ask(decide, pilot.look(now_s, round(now_s), Facts())))
            records.append(decision.record)
            ended |= decision.release
            if decision.command is not None:
                write(decision.command.octets(1))
            if pilot.guard.wants_verification:
                pilot.guard.verified()
        if ended:
            write(RELEASE.octets(1))
    return records, emulator.end()
