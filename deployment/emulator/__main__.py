"""The command: an emulated signal controller on a SUMO intersection, until Ctrl-C or the end of the scenario."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from deployment.bundle.manifest import Identity
from deployment.emulator.access import DEFAULT, EXAMPLE, read_access
from deployment.emulator.run import Emulator, Outcome, outcome_json
from deployment.emulator.server import HOST, Server
from envs.sumo.simulation import SimulationError
from plumbing.command import run_command, say
from plumbing.errors import InputError
from plumbing.occupied import occupied
from scenarios.loading import load
from scenarios.scenario import Scenario

EPILOG = f"""try it:
  python -m deployment.emulator --scenario single --port 1610
  snmpwalk -v2c -c public -On 127.0.0.1:1610 1.3.6.1.4.1.1206.4.2.1.1.4
  snmpset -v3 -l authPriv -u policy -a SHA-256 -A policy-auth-key -x AES -X policy-priv-key 127.0.0.1:1610 \\
      1.3.6.1.4.1.1206.4.2.1.1.5.1.4.1 i 136          # hold phases 4 and 8
  curl http://127.0.0.1:8610/v1/asclog/xml/full       # the event log

It listens on loopback only. Without --users, `public` reads (v1, v2c), and the v3 users `policy` (writes commands,
patterns and day plans) and `engineer` (timing, too) have the keys NAME-auth-key and NAME-priv-key. A file of users:
{EXAMPLE}

With --speed 0 time stands still until a client says `POST /v1/advance?seconds=S` on the HTTP port, so that a run can
be repeated exactly. Other requests there: GET /v1/status; POST /v1/input?preempt=1&on=1 (or flash, manual, advance),
/v1/detector?number=1&failure=on (or off, chatter, none), /v1/mmu/reset, /v1/reboot, /v1/stop.

Exit status: 0 ok, 1 the conflict monitor or the independent monitor found something, 2 bad input."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="python -m deployment.emulator",
        description="An emulated traffic-signal controller (NEMA rings, NTCIP 1202 over SNMP, a conflict monitor, a "
        "high-resolution event log) that drives one intersection of a SUMO scenario.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--scenario", default="single", metavar="NAME|PATH", help="as in train.py (default: single)")
    made.add_argument("--tls", metavar="ID", help="the signal to drive, where the scenario has several")
    made.add_argument("--port", type=int, default=1610, help="UDP port for SNMP; 0: any free one (default: 1610)")
    made.add_argument(
        "--log-port",
        type=int,
        default=8610,
        metavar="PORT",
        help="TCP port for HTTP; 0: any free one (default: 8610)",
    )
    made.add_argument(
        "--speed", type=float, default=1.0, metavar="X",
        help="times real time; 0: only when a client says so (default: 1)",
    )  # fmt: skip
    made.add_argument("--seed", type=int, default=1, metavar="S", help="of the simulation (default: 1)")
    made.add_argument(
        "--end", type=float, metavar="S", help="simulation second at which to end (default: scenario's)"
    )
    made.add_argument("--users", type=Path, metavar="FILE", help="who may read and write (JSON; see below)")
    made.add_argument(
        "--backup", type=int, metavar="S", help="unitBackupTime: seconds without a command; 0: never (default: 10)"
    )
    made.add_argument(
        "--engine-id", metavar="HEX", help="snmpEngineID of its agent (default: one that follows from the signal)"
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="keep SUMO's outputs and the event log (Parquet) here")
    made.add_argument("--json", action="store_true", help="print where it listens, and the outcome, for machines")
    return made


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    _check(options)
    access = read_access(options.users) if options.users else DEFAULT
    scenario = load(options.scenario, end_s=options.end)
    engine_id = _engine_id(options.engine_id)
    with contextlib.nullcontext() if options.out is None else occupied(options.out):
        return _run(options, access, scenario, engine_id)


def _run(options: argparse.Namespace, access: Any, scenario: Scenario, engine_id: bytes | None) -> int:
    """Serve until the end, and tell what came of it. Returns the exit status."""
    port = options.port or _free_port()
    try:
        emulator = Emulator(
            scenario, options.tls, seed=options.seed, out=options.out, backup_s=options.backup, engine_id=engine_id
        )
        try:
            outcome = asyncio.run(_serve(emulator, access, port, options))
        finally:
            emulator.simulation.end()
    except SimulationError as error:
        say(f"error: {error}", error=True)
        return 1
    if options.out is not None:
        emulator.cabinet.log.write_parquet(options.out, emulator.cabinet.settings.detectors.values())
    if options.json:
        print(json.dumps(outcome_json(outcome)), flush=True)
    else:
        _print(outcome)
    return 1 if outcome.mmu_faults or outcome.monitor_findings else 0


async def _serve(emulator: Emulator, access: Any, port: int, options: argparse.Namespace) -> Outcome:
    def ready(about: dict[str, Any]) -> None:
        if options.json:
            print(json.dumps(about), flush=True)
            return
        pace = f"{options.speed:g} times real time" if options.speed else "only when a client advances it"
        say(
            f"signal {about['tls_id']} of {about['scenario']}: SNMP on {about['snmp']}, log on "
            f"{about['http']}/v1/asclog/xml/full\ntime goes on {pace}; Ctrl-C ends the run"
        )

    return await Server(emulator, access, port, options.log_port, options.speed).serve(ready)


def _check(options: argparse.Namespace) -> None:
    for name in ("port", "log_port"):
        if not 0 <= getattr(options, name) < 2**16:
            raise InputError(
                f"--{name.replace('_', '-')} {getattr(options, name)} is no port; choose 1 to 65535, or 0"
            )
    if options.speed < 0 or options.speed != options.speed:
        raise InputError(f"--speed {options.speed:g} is negative; choose 0 or more")
    if options.backup is not None and not 0 <= options.backup <= 65535:
        raise InputError(f"--backup {options.backup} is out of range; choose 0 to 65535 seconds")


def _engine_id(given: str | None) -> bytes | None:
    try:
        return None if given is None else bytes.fromhex(Identity(given, None).engine_id or "")
    except ValueError as error:
        raise InputError(f"--engine-id: {error}") from error


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _print(outcome: Outcome) -> None:
    say(
        f"{outcome.end_s:g} s: mean delay {outcome.delay_s:.1f} s over {outcome.vehicles:,} vehicles, "
        f"{outcome.arrived:,} arrived, {outcome.teleported} teleported, {outcome.collisions} collisions"
    )
    for title, rows in (("conflict monitor", outcome.mmu_faults), ("independent monitor", outcome.monitor_findings)):
        say(f"{title}: {len(rows)} findings" if rows else f"{title}: no finding")
        for row in rows[:20]:
            say(f"  {row}")


if __name__ == "__main__":
    run_command(main)
