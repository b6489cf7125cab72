"""Download time-of-day plans to a controller, whole or not at all: `python -m deployment.field.download`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
from pathlib import Path

from deployment.bundle.sealed_plans import PLAN, SealedPlans, read_sealed_plans
from deployment.field.admission import Admission
from deployment.field.link import add_admission_arguments, add_link_arguments, address_from, writing_credentials_of
from deployment.field.snmp.profile import profile_from
from deployment.field.snmp.read import NotAllowed, Refused, Session, Unreachable, read_timing
from deployment.field.snmp.transaction import PlanWriter
from deployment.nema.pattern import SignalPlans, check_signal, mode_for
from plumbing.command import run_command, say
from plumbing.errors import InputError
from signals.nema import NemaPlan

EPILOG = """examples:
  python -m deployment.field.download plans/single/controllers/C --public-key keys/lab.pub --target 10.1.7.12:161 \\
        --snmp 3 --user env:SNMP_USER --auth file:keys/auth --priv file:keys/priv
  python -m deployment.field.download plans/grid/controllers/J2 --public-key keys/lab.pub --target 10.1.7.13:161 \\
        --site-token /etc/intergreen/site.token --select 1 ...

Nothing is written unless the plans are signed and within their dates, name this very controller, nothing newer has
run here, the controller's timing tables are those that the plans were made for, and every split has room for the
minimum green, walk, pedestrian clearance, yellow and red clearance that were read back. The plans are written in one
database transaction, verified by the controller, and read back. Where it finds anything wrong, or the link fails on
the way, it keeps the plans that it had. Phase, overlap, ring, detector and unit tables are never written. --select
lets one of the patterns run at once; else the day plan decides when.
exit status: 0 ok, 1 the controller refused or could not be reached, 2 bad input or another controller."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m deployment.field.download",
        description="Download time-of-day plans to a controller over NTCIP 1202, whole or not at all.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("plans", type=Path, metavar="PLANS_DIR", help="controllers/TLS_ID of export.py plan")
    p.add_argument("--target", metavar="HOST:PORT", required=True, help="the controller's SNMP agent")
    p.add_argument("--select", type=int, metavar="N", help="let this pattern run now; 0: the day plan decides again")
    add_admission_arguments(p)
    add_link_arguments(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    arguments = parser().parse_args(argv)
    sealed = read_sealed_plans(arguments.plans, arguments.public_key)
    admission = Admission.of(arguments, PLAN, arguments.plans, sealed.manifest)
    numbers = [pattern.number for pattern in sealed.plans.patterns]
    if arguments.select is not None and arguments.select not in (0, *numbers):
        raise InputError(
            f"--select: there is no pattern {arguments.select} in {arguments.plans}; give one of "
            f"{', '.join(map(str, numbers))}, or 0 for the day plan"
        )
    host, port = address_from(arguments.target)
    session = Session(host, port, writing_credentials_of(arguments))
    writer = PlanWriter(session, profile_from(arguments.profile), 1, 1, admission.stranger)
    try:
        written = asyncio.run(_download(session, writer, sealed, admission, arguments.select))
    except NotAllowed as error:
        raise InputError(f"{arguments.plans}: {error}") from error
    except (Refused, Unreachable) as error:
        say(f"failed: {session.where}: {error}", error=True)
        return 1
    say(f"{sealed.manifest.tls_id}: {written} objects written in one transaction and read back from {session.where}")
    if arguments.select is not None:
        say(f"pattern {arguments.select} runs" if arguments.select else "the day plan decides")
    return 0


async def _download(
    session: Session, writer: PlanWriter, sealed: SealedPlans, admission: Admission, select: int | None
) -> int:
    await session.open()
    try:
        if told := await admission.admit(writer):
            say(told)
        problems, held = await read_timing(writer, sealed.plans.nema, PLAN.noun)
        if problems:
            more = f", and {len(problems) - 1} more differences" if len(problems) > 1 else ""
            where = session.where
            raise InputError(f"the controller at {where} is not set up as the plan has it: {problems[0]}{more}")
        check_held(sealed, held)
        admission.remember()
        written = await writer.download(sealed.objects)
        if select is not None:
            await writer.select(select)
        return written
    finally:
        session.close()


def check_held(sealed: SealedPlans, held: NemaPlan) -> None:
    """Hold every pattern against the times that were read back; a button may call a walk in any cycle.

    Raises:
        InputError: a split has no room for what its phase has to show.
    """
    patterns = []
    for pattern in sealed.plans.patterns:
        splits = tuple(
            split if split.mode == "omitted" else dataclasses.replace(split, mode=mode_for(held.phase(split.phase)))
            for split in pattern.splits
        )
        patterns.append(dataclasses.replace(pattern, splits=splits))
    check_signal(SignalPlans(held, tuple(patterns)), sealed.day)


if __name__ == "__main__":
    run_command(main)
