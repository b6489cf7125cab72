"""The options that say where a controller is and who asks, the same in every command of the field."""

from __future__ import annotations

import argparse

from deployment.ntcip_profile import Credentials, credentials_from
from signals.errors import InputError


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
    s.add_argument("--user", metavar="SOURCE", help="for 3")
    s.add_argument("--auth", metavar="SOURCE", help="for 3: passphrase for authentication")
    s.add_argument("--priv", metavar="SOURCE", help="for 3: passphrase for privacy")
    s.add_argument(
        "--auth-protocol", default="SHA-256", metavar="NAME", help="SHA, SHA-224 to SHA-512 (default: SHA-256)"
    )
    s.add_argument(
        "--priv-protocol", default="AES-128", metavar="NAME", help="AES-128, -192, -256 (default: AES-128)"
    )


def address_from(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`.

    Raises:
        InputError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--target is {text!r}; give HOST:PORT, such as 10.1.7.12:161")
    return host.strip("[]"), int(port)


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
