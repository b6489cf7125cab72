"""How a vendor's controller differs from the standard, and the credentials that it asks for.

Secrets come from files or the environment, by `file:PATH` or `env:NAME`: on a command line everybody could read them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployment.nema.oids import OBJECTS, Object, Oid
from plumbing.errors import InputError, did_you_mean
from plumbing.plain import listed, misfit, named, parse, record, text, whole
from plumbing.private import private_bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs from one vendor's controller to another's. A JSON file holds the same names."""

    name: str = "standard"
    scalar_suffixes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """By object name, what follows a scalar's OID where it is not 0; `[]` for nothing."""
    absent: tuple[str, ...] = ()
    """Objects that this controller does not have and that are done without: only `vehicleDetectorStatusGroupAlarms`
    and `preemptState` may be."""
    preempts: int = 2
    """Preempts whose state is polled."""
    most_varbinds: int = 32
    """Most values in one request; a command is never split."""

    def oid(self, item: Object, *index: int) -> Oid:
        """The OID of an instance with this vendor."""
        if item.kind == "scalar" and item.name in self.scalar_suffixes:
            return item.oid + self.scalar_suffixes[item.name]
        return item.at(*index)


_PROFILE = record(
    {},
    {
        "name": text(200), "scalar_suffixes": named(listed(whole(0, 2**32 - 1), most=16)),
        "absent": listed(text(200), most=100), "preempts": whole(0, 255), "most_varbinds": whole(1, 1000),
    },
)  # fmt: skip
DISPENSABLE = ("vehicleDetectorStatusGroupAlarms", "preemptState")
PROFILES = {
    profile.name: profile
    for profile in (
        Profile(),
        Profile("bare-scalars", scalar_suffixes={name: () for name, o in OBJECTS.items() if o.kind == "scalar"}),
        Profile("small", preempts=0, absent=DISPENSABLE, most_varbinds=16),
    )
}


def profile_from(name: str) -> Profile:
    """A profile by name, or from a JSON file.

    Raises:
        InputError: there is no such profile, or the file is none.
    """
    if name in PROFILES:
        return PROFILES[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"unknown profile {name!r}; choose one of {', '.join(PROFILES)} or give a JSON file."
            f"{did_you_mean(name, PROFILES)}"
        )
    try:
        content: dict[str, Any] = {"name": path.stem, **parse(path.read_bytes())}
        misfit(_PROFILE, content)
        known = {f.name for f in dataclasses.fields(Profile)}
        if unknown := sorted(set(content) - known):
            raise InputError(f"profile {path}: unknown setting {unknown[0]!r}.{did_you_mean(unknown[0], known)}")
        content["scalar_suffixes"] = {k: tuple(v) for k, v in content.get("scalar_suffixes", {}).items()}
        content["absent"] = tuple(content.get("absent", ()))
        profile = Profile(**content)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"profile {path} is no profile ({error}); see docs/deployment.md") from error
    for name in (*profile.scalar_suffixes, *profile.absent):
        if name not in OBJECTS:
            raise InputError(f"profile {path}: unknown object {name!r}.{did_you_mean(name, OBJECTS)}")
    if needed := [name for name in profile.absent if name not in DISPENSABLE]:
        raise InputError(f"profile {path}: {needed[0]} cannot be done without; a decision rests on it")
    return profile


AUTH = ("SHA-256", "SHA-224", "SHA-384", "SHA-512", "SHA")
PRIVACY = ("AES-128", "AES-192", "AES-256")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials. SNMPv3 is used with authentication and privacy, or not at all."""

    version: str = "2c"
    """"1", "2c" or "3"."""
    community: str = field(default="public", repr=False)
    user: str = ""
    auth: str = "SHA-256"
    auth_key: str = field(default="", repr=False)
    privacy: str = "AES-128"
    privacy_key: str = field(default="", repr=False)


def secret(source: str, option: str) -> str:
    """What `file:PATH` or `env:NAME` holds.

    Raises:
        InputError: it is neither, it is empty, or the file is not private (`private_bytes`).
    """
    kind, _, where = source.partition(":")
    if kind == "env" and where:
        value = os.environ.get(where, "")
        if not value:
            raise InputError(f"{option}: the environment has no {where}; set it first")
        return value
    if kind == "file" and where:
        path = Path(where)
        try:
            value = private_bytes(path, option).decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{option}: {path} holds no text ({error}); write the secret into it") from error
        if not value:
            raise InputError(f"{option}: {path} is empty")
        return value
    raise InputError(f"{option}: give file:PATH or env:NAME, never the secret itself: others see command lines")


def credentials_from(
    version: str, sources: Mapping[str, str | None], auth: str = AUTH[0], privacy: str = PRIVACY[0]
) -> Credentials:
    """The credentials that the options `community`, `user`, `auth` and `priv` give.

    Raises:
        InputError: something is missing, too much, or no good.
    """
    given = {name: source for name, source in sources.items() if source is not None}
    needed = {"user", "auth", "priv"} if version == "3" else set()
    allowed = needed or {"community"}
    for name in given:
        if name not in allowed:
            raise InputError(f"--{name} does not go with --snmp {version}; it takes {', '.join(sorted(allowed))}")
    found = {name: secret(source, f"--{name}") for name, source in given.items()}
    for name in sorted(needed - set(given)):
        raise InputError(f"--snmp 3 needs --{name}: it is used with authentication and privacy, or not at all")
    if auth not in AUTH:
        raise InputError(f"--auth-protocol {auth!r}: choose one of {', '.join(AUTH)}.{did_you_mean(auth, AUTH)}")
    if privacy not in PRIVACY:
        raise InputError(f"--priv-protocol {privacy!r}: choose one of {', '.join(PRIVACY)}")
    if version != "3":
        return Credentials(version, found.get("community", "public"))
    for name in ("auth", "priv"):
        if len(found[name]) < 8:
            raise InputError(f"--{name}: a passphrase of SNMPv3 has at least 8 characters")
    return Credentials(version, "", found["user"], auth, found["auth"], privacy, found["priv"])
