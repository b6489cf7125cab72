"""Who may command a controller: the one place that decides it, for bundles and plans alike.

`deployment.bundle.sealed` checks signature, digests and dates as it reads a sealed folder. Checked here: the
controller is the one that the manifest names, nothing newer has run on it, and it has not expired meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deployment.bundle.manifest import Form, Manifest, key_sha256, public_key, stamp
from deployment.bundle.sealed import read_manifest
from deployment.field.serials import Accepted, Memory, Serials, state_folder
from deployment.field.snmp.profile import secret
from deployment.field.snmp.read import Reader
from deployment.nema import oids
from plumbing.errors import InputError

LEAST_TOKEN = 16
"""Least length of a site's token; `deployment.field.identity` makes 64 characters."""


class Admission:
    """Decides whether a bundle or plan may command a controller; nothing else does."""

    def __init__(
        self, form: Form, path: Path, manifest: Manifest, key: Path,
        *, site_token: Path | None, state: Path | None, revocation: Path | None = None,
        accept_older: str | None = None, commands: bool = True,
    ) -> None:  # fmt: skip
        """See the class.

        Args:
            manifest: whose signature by `key` and whose dates have been checked.
            site_token: the file of this site's secret.
            state: where serials are kept; None: the user's own state.
            revocation: a folder that withdraws a serial.
            accept_older: why an older serial may run.
            commands: False for who only watches: any controller will do.

        Raises:
            InputError: the manifest names no controller or another site, or the revocation is none.
        """
        self.form, self.manifest = form, manifest
        self._where = f"{form.noun} {path}"
        self._key_sha256 = key_sha256(public_key(key))
        self._state, self._accept_older = state_folder(state), accept_older
        self._act: Accepted | None = None
        self._began_s, self._began_wall_s = time.monotonic(), time.time()
        self._revocation: Manifest | None = None
        self._memory: Memory | None = None
        """What is remembered of the controller that was admitted."""
        self._engine_id: str | None = None
        """Engine id of that controller; None where it has none."""
        if not commands:
            if revocation is not None or accept_older is not None:
                raise InputError("--revocation and --accept-older are for control; add --control or leave them out")
            return
        _check_site(manifest, self._where, site_token)
        if revocation is not None:
            self._revocation = read_manifest(revocation, form.withdrawn, key, None)
            _check_site(self._revocation, f"revocation {revocation}", site_token)
        if accept_older is not None and not accept_older.strip():
            raise InputError("--accept-older needs a reason, such as 'the newer one jams the left turn'")

    @staticmethod
    def of(
        arguments: argparse.Namespace, form: Form, path: Path, manifest: Manifest, *, commands: bool = True
    ) -> Admission:
        """The admission that the options of `add_admission_arguments` ask for.

        Raises:
            InputError: as the class.
        """
        return Admission(
            form, path, manifest, arguments.public_key, site_token=arguments.site_token, state=arguments.state,
            revocation=arguments.revocation, accept_older=arguments.accept_older, commands=commands,
        )  # fmt: skip

    def over(self) -> str:
        """Why it has expired, or an empty string. Setting the wall clock back does not help."""
        wall_s = max(time.time(), self._began_wall_s + time.monotonic() - self._began_s)
        if wall_s < self.manifest.valid_until.timestamp():
            return ""
        return f"the {self.form.noun} expired at {self.manifest.not_after}"

    async def stranger(self, reader: Reader) -> str:
        """How the controller that answers differs from the one that is named or was admitted, or an empty string.

        Raises:
            Unreachable, Refused: it does not say who it is.
        """
        named = self.manifest.controller
        if self._memory is None and (named is None or named.engine_id is None):
            return ""
        found = await engine_id(reader)
        problem = _stranger(self.manifest, self.form, found)
        if not problem and self._memory is not None and found != self._engine_id:  # a site's token is not on the link
            return f"its snmpEngineID is {found or 'missing'}, it was {self._engine_id or 'missing'}"
        return problem

    async def admit(self, reader: Reader) -> str:
        """Hold it against the controller that answers and against what has run there.

        Returns:
            What an operator has accepted, for the log; mostly empty.

        Raises:
            InputError: it may not command this controller.
            Unreachable, Refused: the controller does not say who it is.
        """
        where = reader.session.where
        found, named = await engine_id(reader), self.manifest.controller
        if problem := _stranger(self.manifest, self.form, found):
            raise InputError(
                f"{self._where} is not for the controller at {where}: {problem}; take that controller's own"
            )
        assert named is not None  # checked at the beginning
        self._memory, self._engine_id = self._remembered(self.manifest, found), found
        if (gone := self._revocation) is not None:
            if problem := _stranger(gone, self.form.withdrawn, found):
                raise InputError(f"--revocation is not for the controller at {where}: {problem}; take the right one")
            # kept whatever becomes of this run: it was given
            self._remembered(gone, found).change(lambda known: None, lambda known: known.with_withdrawn(gone.serial))
        return self._judge(self._memory.recall())

    def _remembered(self, manifest: Manifest, found: str | None) -> Memory:
        """What is known of a controller by its engine id, and by the site that a manifest names."""
        site = manifest.controller.site_token_sha256 if manifest.controller else None
        names = ([f"engine:{found}"] if found else []) + ([f"site:{site}"] if site else [])
        return Memory(self._state, self.form.kind, self._key_sha256, tuple(names))

    def _judge(self, known: Serials) -> str:
        """Whether it may run after what has run; what an operator has accepted, in words.

        Raises:
            InputError: it may not.
        """
        serial, reason = self.manifest.serial, self._accept_older
        if serial in known.withdrawn:
            raise InputError(f"{self._where} was withdrawn: a signed revocation names serial {serial}; take another")
        if serial >= known.least:
            return ""
        if reason is None:
            raise InputError(
                f"{self._where} has serial {serial}, and {known.least} has run on this controller; export it anew, "
                f"withdraw the newer one (export.py revoke), or say --accept-older REASON"
            )
        self._act = Accepted(serial, reason, stamp(datetime.now(UTC)))
        return f"serial {serial} was accepted although {known.least} has run: {reason}"

    def remember(self) -> None:
        """Keep that it runs on this controller; to be called after `admit` and before the first write.

        Raises:
            InputError: it cannot be kept, or something newer has run meanwhile.
        """
        assert self._memory is not None, "call admit first"
        act = (self._act,) if self._act is not None else ()
        self._memory.change(
            self._judge,
            lambda known: replace(known.with_run(self.manifest.serial), accepted=(*known.accepted, *act)),
        )


def _check_site(manifest: Manifest, where: str, token: Path | None) -> None:
    """Raises InputError where a manifest names no controller, or a site with another token."""
    named = manifest.controller
    if named is None:
        raise InputError(
            f"{where} names no controller, so it commands none; export it with --controller engine:HEX or site:HEX "
            f"(python -m deployment.field.identity says which)"
        )
    if named.site_token_sha256 is None:
        return
    if token is None:
        raise InputError(f"{where} is for a site with a token; give --site-token FILE")
    if token_sha256(token) != named.site_token_sha256:
        raise InputError(f"{where} is for another site: its token is not the one in {token}; take this site's")


async def engine_id(reader: Reader) -> str | None:
    """The controller's snmpEngineID in hexadecimal, asked for by the session's own credentials; None: it has none.

    Raises:
        Unreachable, Refused: there is no answer.
    """
    name = oids.SNMP_ENGINE_ID.name
    found = (await reader.get({name: oids.SNMP_ENGINE_ID.at()}))[name]  # wherever a vendor's profile has its scalars
    return found.hex() if isinstance(found, bytes) else None


def _stranger(manifest: Manifest, form: Form, found: str | None) -> str:
    """How a controller with this engine id differs from the one that a manifest names, or an empty string."""
    named = manifest.controller
    if named is None or named.engine_id is None or named.engine_id == found:
        return ""
    return f"its snmpEngineID is {found or 'missing'}, the {form.noun} names {named.engine_id}"


def token_sha256(file: Path) -> str:
    """The digest of a site's secret, in hexadecimal.

    Raises:
        InputError: it cannot be read, others can read it, too, or it is so short that its digest tells it.
    """
    token = secret(f"file:{file}", "--site-token")
    if len(token) < LEAST_TOKEN:
        raise InputError(
            f"--site-token: {file} holds fewer than {LEAST_TOKEN} characters, which its digest does not hide; make "
            f"one with python -m deployment.field.identity --new-token FILE"
        )
    return hashlib.sha256(token.encode()).hexdigest()
