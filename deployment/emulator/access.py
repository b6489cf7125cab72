"""Who may read and write what: SNMP communities and users, and the areas of objects that each may touch.

Everything that is not granted is denied. pysnmp's own view-based access control is not used, for it grants full
access where a view is empty, and gives a message of a lower security level the rights of a higher one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from deployment.nema.oids import Area, Object
from plumbing.errors import InputError, did_you_mean
from plumbing.plain import parse

V1, V2C, V3 = 1, 2, 3
"""Security models (RFC 3411)."""
NO_AUTH, AUTH_ONLY, AUTH_PRIV = 1, 2, 3
"""Security levels."""
LEAST_KEY = 8
"""Characters of a passphrase (RFC 3414 section 11.2)."""
AREAS: tuple[str, ...] = get_args(Area)
POLICY_WRITES = frozenset({"control", "plan", "database"})


@dataclass(frozen=True, slots=True)
class Grant:
    """What someone may write; reading everything is granted with it."""

    write: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    """Names of single objects that may be written too."""

    def writes(self, item: Object) -> bool:
        """Whether this object may be written."""
        return item.area in self.write or item.name in self.objects


@dataclass(frozen=True, slots=True)
class User:
    """A user of SNMPv3: always authenticated by SHA-256 and encrypted by AES-128."""

    name: str
    auth_key: str
    priv_key: str
    grant: Grant


@dataclass(frozen=True)
class Access:
    """All that is granted."""

    communities: Mapping[str, Grant] = field(default_factory=dict)
    """SNMP v1 and v2c."""
    users: tuple[User, ...] = ()

    def grant(self, model: int, name: str, level: int) -> Grant | None:
        """What a message's sender is granted; None: nothing at all."""
        if model in (V1, V2C):
            return self.communities.get(name)
        if model != V3 or level != AUTH_PRIV:
            return None
        return next((user.grant for user in self.users if user.name == name), None)


DEFAULT = Access(
    {"public": Grant()},
    (
        User("policy", "policy-auth-key", "policy-priv-key", Grant(POLICY_WRITES)),
        User("engineer", "engineer-auth-key", "engineer-priv-key", Grant(POLICY_WRITES | {"timing"})),
    ),
)
"""Keys that everyone knows, for an emulator on loopback."""

EXAMPLE = """{"communities": [{"name": "public"}, {"name": "replay", "write": ["control"]}],
 "users": [{"name": "policy", "auth_key": "...", "priv_key": "...", "write": ["control", "plan", "database"]}]}"""


def read_access(path: Path) -> Access:
    """A file of communities and users, as `EXAMPLE` shows.

    Raises:
        InputError: it cannot be read, or says something that makes no sense.
    """
    try:
        data = parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a JSON file such as\n{EXAMPLE}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); it looks like\n{EXAMPLE}") from error
    try:
        communities = {str(row["name"]): _grant(path, row) for row in data.get("communities", [])}
        users = tuple(_user(path, row) for row in data.get("users", []))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error} is missing or out of place; it looks like\n{EXAMPLE}") from error
    if not communities and not users:
        raise InputError(f"{path} names neither communities nor users; it looks like\n{EXAMPLE}")
    return Access(communities, users)


def _user(path: Path, row: Mapping[str, Any]) -> User:
    user = User(str(row["name"]), str(row["auth_key"]), str(row["priv_key"]), _grant(path, row))
    if min(len(user.auth_key), len(user.priv_key)) < LEAST_KEY:
        raise InputError(
            f"{path}: user {user.name!r} has a key shorter than {LEAST_KEY} characters; give longer ones"
        )
    return user


def _grant(path: Path, row: Mapping[str, Any]) -> Grant:
    areas = [str(area) for area in row.get("write", [])]
    for area in areas:
        if area not in AREAS or area == "status":
            choices = [a for a in AREAS if a != "status"]
            raise InputError(
                f"{path}: {row['name']!r} is to write {area!r}; choose of {', '.join(choices)}."
                f"{did_you_mean(area, choices)}"
            )
    return Grant(frozenset(areas))
