"""The options that say where a controller is, who asks, and by what right: the same in every command of the field."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path

from deployment.field.snmp.profile import Credentials, credentials_from
from plumbing.errors import InputError


def add_link_arguments(parser: argparse.ArgumentParser) -> None:
    """SNMP version, credentials and vendor profile."""
    parser.add_argument(
        "--profile",
        default="standard",
        metavar="NAME",
        help="vendor profile, or a JSON file with one (default: standard)",
    )
    s = parser.add_argument_group(
        "SNMP", "each secret as file:PATH (readable by you alone) or env:NAME, never in clear"
    )
    s.add_argument("--snmp", choices=("1", "2c", "3"), default="2c", help="version (default: 2c)")
    s.add_argument("--community", metavar="SOURCE", help="for 1 and 2c (default: the word public)")
    s.add_argument(
        "--closed-network", action="store_true",
        help="for 1 and 2c, to write at all: nobody else can send or listen on the way to the controller",
    )  # fmt: skip
    s.add_argument("--user", metavar="SOURCE", help="for 3")
    s.add_argument("--auth", metavar="SOURCE", help="for 3: passphrase for authentication")
    s.add_argument("--priv", metavar="SOURCE", help="for 3: passphrase for privacy")
    s.add_argument(
        "--auth-protocol", default="SHA-256", metavar="NAME", help="SHA, SHA-224 to SHA-512 (default: SHA-256)"
    )
    s.add_argument(
        "--priv-protocol", default="AES-128", metavar="NAME", help="AES-128, -192, -256 (default: AES-128)"
    )


def add_admission_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of whoever commands: key, site token, serials."""
    a = parser.add_argument_group("admission", "what a controller's computer holds a bundle or plan against")
    a.add_argument("--public-key", type=Path, metavar="FILE.pub", required=True, help="of whoever may sign")
    a.add_argument(
        "--site-token", type=Path, metavar="FILE",
        help="this site's secret, if the signed manifest names one; python -m deployment.field.identity makes it",
    )  # fmt: skip
    a.add_argument(
        "--state", type=Path, metavar="DIR",
        help="where the serials that have run are kept (default: intergreen/ in $XDG_STATE_HOME or ~/.local/state)",
    )  # fmt: skip
    a.add_argument(
        "--revocation",
        type=Path,
        metavar="DIR",
        help="what export.py revoke wrote: lets the serial before run again",
    )
    a.add_argument("--accept-older", metavar="REASON", help="let an older serial run this time; the reason is kept")


def address_from(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 address stands in brackets, as in `[2001:db8::7]:161`.

    Raises:
        InputError: it is something else.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    if not name or "[" in name or "]" in name or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise InputError(f"--target is {text!r}; give HOST:PORT, such as 10.1.7.12:161 or [2001:db8::7]:161")
    if (":" in name) != bracketed:
        raise InputError(
            f"--target is {text!r}; brackets go around an IPv6 address, and only there, as in [2001:db8::7]:161"
        )
    return name, int(port)


def expect_loopback(host: str, option: str) -> str:
    """Let an option that changes the clock pass only for this machine itself, where emulators run.

    Args:
        option: its name, such as `--speed`.

    Returns:
        The address that was checked, to be used in the name's place: a second look-up might find another.

    Raises:
        InputError: the host is another machine, or has no address.
    """
    try:
        found = [str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)]
    except (OSError, UnicodeError) as error:
        raise InputError(f"{option}: cannot resolve {host!r} ({error}); give an emulator's address") from error
    if not all(ipaddress.ip_address(address).is_loopback for address in found):
        raise InputError(
            f"{option} is for an emulator on this machine, such as 127.0.0.1; {host} may be a real controller, whose "
            f"clock nobody changes: leave {option} out"
        )
    return min(found, key=lambda address: ":" in address)  # the emulators are on IPv4


def writing_credentials_of(arguments: argparse.Namespace) -> Credentials:
    """The credentials that these options give, for a command that writes.

    Raises:
        InputError: as `credentials_of`; or it is SNMPv1 or v2c, and nobody has said that the network is closed.
    """
    who = credentials_of(arguments)
    if who.version != "3" and not arguments.closed_network:
        raise InputError(
            f"--snmp {who.version} proves nothing about who writes: use --snmp 3, or say --closed-network if nobody "
            f"else can send or listen on the way to the controller"
        )
    return who


def credentials_of(arguments: argparse.Namespace) -> Credentials:
    """Who these options say that asks.

    Raises:
        InputError: a secret is missing, in clear, or readable by others.
    """
    return credentials_from(
        arguments.snmp,
        {name: getattr(arguments, name) for name in ("community", "user", "auth", "priv")},
        arguments.auth_protocol,
        arguments.priv_protocol,
    )
