"""Watch or control a traffic-signal controller by a signed policy bundle; `--help` says how."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import itertools
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from deployment.bundle.read import BUNDLE, Bundle, read_bundle
from deployment.field.clock import Clock, RunningClock, SteppedClock
from deployment.field.estimator import Site
from deployment.field.eventlog import KEEP, ROTATE_BYTES, EventLog, LogReader
from deployment.field.guard import Guard, Limits
from deployment.field.link import (
    add_admission_arguments,
    add_link_arguments,
    address_from,
    credentials_of,
    expect_loopback,
    writing_credentials_of,
)
from deployment.field.pilot import Pilot
from deployment.nema.codec import decode
from plumbing.command import INTERRUPTED, run_command, say
from plumbing.errors import InputError

EPILOG = """examples:
  python control.py bundles/single --public-key keys/lab.pub --target 10.1.7.12:161 --log logs/watch.jsonl
        shadow mode: reads the controller, decides, logs what it would have done, writes nothing
  python control.py --replay logs/watch.jsonl bundles/single --public-key keys/lab.pub
        checks the log's chain of digests, makes every decision again and compares them byte for byte
  python control.py bundles/single --public-key keys/lab.pub --target 127.0.0.1:1610 --control \\
        --snmp 3 --user env:SNMP_USER --auth file:keys/auth --priv file:keys/priv --log logs/run.jsonl
        controls: asks for phases by hold, force-off, omit and calls

It controls only if the bundle's signature and dates hold, it names this very controller, nothing newer has run
here, the controller's timing tables are those of the bundle, its backup time is 1 to 60 s, and it neither flashes
nor is preempted nor operated by hand. Whatever then goes wrong, such as a number that is not finite, an answer that
comes late, a second writer, preemption, flash, a restart, or a log that cannot be written, ends control: every
group is zeroed and the controller runs on its own. Control ends for good when the bundle expires, or when another
controller answers, to which nothing is written. The controller times every green, yellow, red and walk itself, and
returns to its own program when no command has come for its backup time. docs/deployment.md has it all, and what it
does not promise: it has been verified against this project's emulator, never in a real cabinet.

exit status: 0 ok, 1 control or the log had ended before its time, or a replay differs, 2 bad input, a log that is
damaged or a controller that is not as the bundle has it, 130 stopped by Ctrl-C or SIGTERM, after the controller
has been given back."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="control.py",
        description="Watch (by default) or control a traffic-signal controller over NTCIP 1202 by a policy bundle.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("bundle", type=Path, metavar="BUNDLE", help="what export.py wrote")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--target", metavar="HOST:PORT", help="the controller's SNMP agent")
    what.add_argument("--replay", type=Path, metavar="LOG", help="make the decisions of a log again; no controller")
    mode = p.add_mutually_exclusive_group()
    mode.add_argument("--shadow", action="store_true", help="only watch: the default")
    mode.add_argument("--control", action="store_true", help="command the controller; needs --log")
    p.add_argument("--duration", type=float, metavar="S", help="stop after so many seconds (default: never)")
    p.add_argument(
        "--log", type=Path, metavar="FILE",
        help="write the event log there: JSON lines, each chained to the one before, in parts FILE, FILE.1, ...",
    )  # fmt: skip
    p.add_argument(
        "--log-mib", type=float, default=ROTATE_BYTES / 2**20, metavar="M",
        help=f"size of a part of the log, of which the newest {KEEP + 1} are kept (default: 64)",
    )  # fmt: skip
    p.add_argument(
        "--digest", default="", metavar="HEX",
        help="with --replay: one that control.py has shown while it wrote this log; it has to occur in it",
    )  # fmt: skip
    p.add_argument(
        "--metrics-port", type=int, metavar="P", help="serve /metrics and /health on 127.0.0.1 (0: any free port)"
    )
    p.add_argument(
        "--step", metavar="URL",
        help="HTTP address of an emulator on this machine with --speed 0, whose time goes on as needed here",
    )  # fmt: skip
    p.add_argument(
        "--speed", type=float, default=1.0, metavar="X",
        help="how fast the clock runs; other than 1 only against an emulator on this machine (default: 1)",
    )  # fmt: skip
    add_admission_arguments(p)
    add_link_arguments(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status.

    Raises:
        InputError: something that was given is wrong, or the controller is not as it has to be.
    """
    arguments = parser().parse_args(argv)
    if arguments.replay is not None:
        return _replay(arguments)
    if arguments.digest:
        raise InputError("--digest goes with --replay: it is looked for in a log that is there")
    if not 0.1 <= arguments.speed <= 100:
        raise InputError(f"--speed is {arguments.speed:g}; choose within 0.1 to 100")
    if arguments.duration is not None and not arguments.duration > 0:
        raise InputError(f"--duration is {arguments.duration:g}; it must be greater than 0")
    if not 0.001 <= arguments.log_mib <= 1e6:
        raise InputError(f"--log-mib is {arguments.log_mib:g}; choose within 0.001 to 1000000")
    if arguments.control and arguments.log is None:
        raise InputError("--control needs --log FILE: nothing is commanded without a record of it")
    if arguments.accept_older is not None and arguments.log is None:
        raise InputError("--accept-older needs --log FILE, which keeps the reason")
    bundle = read_bundle(arguments.bundle, public_key=arguments.public_key)
    return asyncio.run(_run(arguments, bundle))


def _pilot(bundle: Bundle, guard: Guard) -> Pilot:
    assert bundle.loops is not None  # only `simulation_only` bundles have none, and these are refused
    site = Site(bundle.plan, bundle.layout, bundle.loops, bundle.machine())
    return Pilot(site, bundle.inputs, bundle.input_high, guard)


def _limits(speed: float, stepped: bool) -> Limits:
    """The guard's. Where the clock runs faster, a pause of this machine is longer by it; where it stands still while
    we think, only an answer that never comes is late."""
    plain = Limits()
    stale_s = min(plain.stale_s * max(speed, 1.0), 8.0)
    return dataclasses.replace(plain, stale_s=stale_s, deadline_s=10.0 if stepped else plain.deadline_s)


async def _run(arguments: argparse.Namespace, bundle: Bundle) -> int:
    from deployment.field.admission import Admission
    from deployment.field.prometheus import Metrics, Page
    from deployment.field.runtime import Runtime
    from deployment.field.snmp.profile import profile_from
    from deployment.field.snmp.read import TIMEOUT_S, Reader, Session, groups_for

    admission = Admission.of(arguments, BUNDLE, bundle.path, bundle.manifest, commands=arguments.control)
    host, port = address_from(arguments.target)
    if arguments.speed != 1 or arguments.step:
        host = expect_loopback(host, "--step" if arguments.step else "--speed")
    who = writing_credentials_of(arguments) if arguments.control else credentials_of(arguments)
    profile = profile_from(arguments.profile)
    limits = _limits(arguments.speed, bool(arguments.step))
    pilot = _pilot(bundle, Guard(limits))
    groups = groups_for(bundle.plan, len(pilot.estimator.detectors.ids))
    session = Session(host, port, who, timeout_s=5.0 if arguments.step else TIMEOUT_S)
    await session.open()
    reader, commander = Reader(session, profile, *groups), None
    if arguments.control:
        from deployment.field.snmp.write import Commander  # what writes is not even imported in shadow mode

        reader = commander = Commander(session, profile, *groups)
    clock: Clock = SteppedClock(arguments.step) if arguments.step else RunningClock(arguments.speed)
    start = _start_record(arguments, bundle, limits, reader.fast, reader.slow)
    log = EventLog(arguments.log, start, rotate_bytes=round(arguments.log_mib * 2**20))
    metrics = Metrics()
    runtime = Runtime(
        pilot, bundle.policy, reader, clock, log, metrics, admission=admission, commander=commander, say=say
    )
    page = None
    if arguments.metrics_port is not None:
        page = Page(metrics, runtime.health, arguments.metrics_port)
        say(f"metrics: http://127.0.0.1:{page.port}/metrics")
    mode = "controls" if arguments.control else "watches, and writes nothing"
    say(f"{bundle.manifest.tls_id}: {mode}; {session.where}, bundle until {bundle.manifest.not_after}")
    try:
        tally = await runtime.run(arguments.duration)
    finally:
        if page is not None:
            page.close()
        session.close()
        log.close()
        if log.digest:
            say(f"log: {log.failure or f'last digest {log.digest}'}")
    say(f"{tally.decisions} decisions, {tally.writes} commands written and read back, {tally.releases} releases")
    if tally.stopped:
        return INTERRUPTED
    return int(bool(log.failure) or (arguments.control and not tally.in_control))


def _start_record(
    arguments: argparse.Namespace, bundle: Bundle, limits: Limits, fast: Any, slow: Any
) -> dict[str, Any]:
    return {
        "wall": datetime.now(UTC).isoformat(),
        "bundle_sha256": _digest(bundle),
        "tls": bundle.manifest.tls_id,
        "mode": "control" if arguments.control else "shadow",
        "speed": arguments.speed,
        "stepped": bool(arguments.step),
        "limits": dataclasses.asdict(limits),
        "profile": arguments.profile,
        "snmp": arguments.snmp,
        "closed_network": arguments.closed_network,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "onnxruntime", "pysnmp")},
        },
        "fast": list(fast),
        "slow": list(slow),
    }


def _replay(arguments: argparse.Namespace) -> int:
    from deployment.field.rerun import replay

    log = LogReader(arguments.replay, arguments.digest)
    records = iter(log)
    start = next(records, None)
    if start is None:
        raise InputError(f"log {arguments.replay} is empty; give what control.py --log wrote")
    try:
        began = datetime.fromisoformat(start["wall"]).astimezone(UTC)
        guard = Guard(decode(Limits, start["limits"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"log {arguments.replay}: its first line is not that of a log ({error})") from error
    bundle = read_bundle(arguments.bundle, public_key=arguments.public_key, now=began)
    if start.get("bundle_sha256") != _digest(bundle):
        raise InputError(f"log {arguments.replay} was written with another bundle than {arguments.bundle}")
    found = replay(itertools.chain([start], records), _pilot(bundle, guard), bundle.policy)
    say(f"{found.decisions} decisions, {found.different} different; {found.writes} commands were written")
    if found.first:
        say(found.first)
    say(f"log: {log.lines} lines in parts {log.first_part} to {log.last_part}, last digest {log.digest}")
    if log.first_part > 1:
        say(f"what came before part {log.first_part} is not there; the replay begins with the state it left")
    if not log.ended:
        say("the log has no end: control.py still writes it, was killed, or it was cut off here; see --digest")
    return int(found.different > 0 or found.decisions == 0)


def _digest(bundle: Bundle) -> str:
    return hashlib.sha256(bundle.manifest.text()).hexdigest()  # what was checked, whatever lies there since


if __name__ == "__main__":
    run_command(main)
