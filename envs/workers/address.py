"""The address of a Ray cluster."""

from __future__ import annotations

from plumbing.errors import InputError


def split_address(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        InputError: it is not of the form HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--address {address!r} is not HOST:PORT; give that of the cluster's head, such as 10.0.0.1:6379"
        )
    return host, int(port)
