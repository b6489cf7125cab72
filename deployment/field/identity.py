"""How a controller is named in what is signed for it: `python -m deployment.field.identity`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from pathlib import Path

from deployment.field.admission import engine_id, token_sha256
from deployment.field.link import add_link_arguments, address_from, credentials_of
from deployment.field.snmp.profile import profile_from
from deployment.field.snmp.read import Reader, Refused, Session, Unreachable
from plumbing.command import run_command, say
from plumbing.errors import InputError
from plumbing.private import write_secret

EPILOG = """examples:
  python -m deployment.field.identity --target 10.1.7.12:161 --snmp 3 --user env:SNMP_USER \\
        --auth file:keys/auth --priv file:keys/priv
        engine:800004b604…, which this controller's agent answers
  python -m deployment.field.identity --new-token /etc/intergreen/site.token
        makes a secret that you alone can read, and prints site:…, its digest

Give the line that it prints to export.py bundle --controller, and the token's file to control.py --site-token. The
secret itself stays on the controller's computer: one token for each controller. An engine id is proved by SNMPv3
alone; over v1 and v2c anybody on the link can answer with it. Name both where you can.
exit status: 0 ok, 2 bad input or no answer."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m deployment.field.identity",
        description="Say how a controller is named in a bundle or plan that is signed for it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--target", metavar="HOST:PORT", help="ask the controller's SNMP agent for its engine id")
    what.add_argument("--new-token", type=Path, metavar="FILE", help="make a site token there")
    what.add_argument("--token", type=Path, metavar="FILE", help="print the digest of a site token that is there")
    add_link_arguments(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Print the name; returns the exit status.

    Raises:
        InputError: there is no answer, or a token cannot be made or read.
    """
    arguments = parser().parse_args(argv)
    if arguments.target is not None:
        say(f"engine:{asyncio.run(_asked(arguments))}")
        return 0
    if arguments.new_token is not None:
        write_secret(arguments.new_token, secrets.token_hex(32).encode() + b"\n")
    say(f"site:{token_sha256(arguments.new_token or arguments.token)}")
    return 0


async def _asked(arguments: argparse.Namespace) -> str:
    host, port = address_from(arguments.target)
    session = Session(host, port, credentials_of(arguments))
    await session.open()
    try:
        found = await engine_id(Reader(session, profile_from(arguments.profile), 1, 1))
    except (Refused, Unreachable) as error:
        raise InputError(f"no controller says who it is: {error}; check address, link and credentials") from error
    finally:
        session.close()
    if found is None:
        raise InputError(f"the controller at {session.where} has no snmpEngineID; name its site by --new-token FILE")
    return found


if __name__ == "__main__":
    run_command(main)
