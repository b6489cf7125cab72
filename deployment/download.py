"""Download time-of-day plans to a controller, whole or not at all: `python -m deployment.download`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployment.link import add_link_arguments, address_from, writing_credentials_of
from deployment.ntcip import NotAllowed, Refused, Session, Unreachable
from deployment.ntcip_plans import PlanObject, PlanWriter
from deployment.ntcip_profile import profile_from
from deployment.plans.ntcip import objects_from_json, select_pattern
from scenarios.command import run_command, say
from signals.errors import InputError
from signals.plain import parse

EPILOG = """examples:
  python -m deployment.download plans/single/plans_ntcip.json --target 10.1.7.12:161 \\
        --snmp 3 --user env:SNMP_USER --auth file:keys/auth --priv file:keys/priv
  python -m deployment.download plans/corridor/plans_ntcip.json --tls J2 --target 10.1.7.13:161 --select 1 ...

The plans are written in one database transaction, verified by the controller, and read back. Where it finds anything
wrong, or the link fails on the way, it keeps the plans that it had. Phase, overlap, ring, detector and unit tables
are never written. --select lets a pattern run at once; else the day plan decides when.
exit status: 0 ok, 1 the controller refused or could not be reached, 2 bad input."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m deployment.download",
        description="Download time-of-day plans to a controller over NTCIP 1202, whole or not at all.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("plans", type=Path, metavar="PLANS_NTCIP.json", help="what export.py --format plan wrote")
    p.add_argument("--target", metavar="HOST:PORT", required=True, help="the controller's SNMP agent")
    p.add_argument("--tls", metavar="ID", help="whose plans, where the file has those of several signals")
    p.add_argument("--select", type=int, metavar="N", help="let this pattern run now; 0: the day plan decides again")
    add_link_arguments(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    arguments = parser().parse_args(argv)
    tls_id, objects = read_plans(arguments.plans, arguments.tls)
    if arguments.select is not None:
        select_pattern(arguments.select)  # before anything is written
    host, port = address_from(arguments.target)
    session = Session(host, port, writing_credentials_of(arguments))
    writer = PlanWriter(session, profile_from(arguments.profile), 1, 1)
    try:
        written = asyncio.run(_download(session, writer, objects, arguments.select))
    except NotAllowed as error:
        raise InputError(f"{arguments.plans}: {error}") from error
    except (Refused, Unreachable) as error:
        say(f"failed: {host}:{port}: {error}", error=True)
        return 1
    say(f"{tls_id}: {written} objects written in one transaction and read back from {host}:{port}")
    if arguments.select is not None:
        say(f"pattern {arguments.select} runs" if arguments.select else "the day plan decides")
    return 0


def read_plans(path: Path, tls_id: str | None) -> tuple[str, list[PlanObject]]:
    """One signal's objects out of a file of export.py.

    Raises:
        InputError: it is no such file, or does not say which signal is meant.
    """
    try:
        content = parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the plans_ntcip.json of export.py --format plan") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); give the plans_ntcip.json of export.py") from error
    signals = _signals(content)
    if not signals:
        raise InputError(f"{path} holds no plans; give the plans_ntcip.json of export.py --format plan")
    if tls_id is None and len(signals) > 1:
        raise InputError(f"{path} has plans of {', '.join(signals)}; say with --tls whose this controller is to get")
    chosen = tls_id if tls_id is not None else next(iter(signals))
    if chosen not in signals:
        raise InputError(f"{path} has no plans of {chosen!r}; it has those of {', '.join(signals)}")
    return chosen, objects_from_json(signals[chosen])


def _signals(content: Any) -> dict[str, list[Mapping[str, Any]]]:
    """The objects per signal; empty where it is a file of something else."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for tls_id, held in content.items() if isinstance(content, dict) else ():
        objects = held.get("objects") if isinstance(held, dict) else None
        if not objects or not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
            return {}
        found[tls_id] = objects
    return found


async def _download(session: Session, writer: PlanWriter, objects: list[PlanObject], select: int | None) -> int:
    await session.open()
    try:
        written = await writer.download(objects)
        if select is not None:
            await writer.select(select)
        return written
    finally:
        session.close()


if __name__ == "__main__":
    run_command(main)
