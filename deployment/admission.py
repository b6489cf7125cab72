"""Who may command a controller: the one place that decides it, for bundles and plans alike.

Signature, digests and dates are checked as a sealed folder is read (`deployment.sealed`). Here: that the controller
is the one that the manifest names, that nothing newer has run on it, and that the validity has not ended meanwhile.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deployment import oids
from deployment.manifest import Form, Manifest, key_sha256, public_key, stamp
from deployment.ntcip import Reader
from deployment.ntcip_profile import secret
from deployment.sealed import read_manifest
from deployment.serials import Accepted, Serials, recall, remember, state_folder
from signals.errors import InputError


class Admission:
    """What lets one bundle or plan command one controller, and nothing else does."""

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
        self._began_s, self._began_wall_s = time.monotonic(), time.time()
        self._revocation: Manifest | None = None
        self._serials: Serials | None = None
        self._admitted: str | None = None
        """Engine id of the controller that was admitted, where it has one."""
        if not commands:
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
        """As the options of `add_admission_arguments` have it.

        Raises:
            InputError: as the class.
        """
        return Admission(
            form, path, manifest, arguments.public_key, site_token=arguments.site_token, state=arguments.state,
            revocation=arguments.revocation, accept_older=arguments.accept_older, commands=commands,
        )  # fmt: skip

    def over(self) -> str:
        """Why it must not be used any more, or an empty string. A wall clock that is set back lengthens nothing."""
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
        if self._admitted is None and (named is None or named.engine_id is None):
            return ""
        found = await engine_id(reader)
        problem = _stranger(self.manifest, self.form, found)
        if not problem and self._admitted not in (None, found):  # a site's token names no controller on the link
            return f"its snmpEngineID is {found or 'missing'}, it was {self._admitted}"
        return problem

    async def admit(self, reader: Reader) -> str:
        """Hold it against the controller that answers and against what has run there.

        Returns:
            What an operator has accepted, for the log; mostly empty.

        Raises:
            InputError: it may not command this controller.
            Unreachable, Refused: the controller does not say who it is.
        """
        where = f"{reader.session.host}:{reader.session.port}"
        found, named = await engine_id(reader), self.manifest.controller
        if problem := _stranger(self.manifest, self.form, found):
            raise InputError(
                f"{self._where} is not for the controller at {where}: {problem}; take that controller's own"
            )
        assert named is not None  # checked at the beginning
        # one manifest may name the engine id and the next only the site: the controller itself is what counts
        controller = f"engine:{found}" if found else f"site:{named.site_token_sha256}"
        serials = recall(self._state, self.form.kind, self._key_sha256, controller)
        if (gone := self._revocation) is not None:
            if problem := _stranger(gone, self.form.withdrawn, found):
                raise InputError(f"--revocation is not for the controller at {where}: {problem}; take the right one")
            serials = serials.with_withdrawn(gone.serial)
        told = ""
        if self.manifest.serial in serials.withdrawn:
            raise InputError(
                f"{self._where} was withdrawn: a signed revocation names serial {self.manifest.serial}; take another"
            )
        if self.manifest.serial < serials.least:
            serials, told = self._older(serials)
        self._serials, self._admitted = serials.with_run(self.manifest.serial), found
        return told

    def _older(self, serials: Serials) -> tuple[Serials, str]:
        """Let an older serial run if an operator has said so."""
        serial, reason = self.manifest.serial, self._accept_older
        if reason is None:
            raise InputError(
                f"{self._where} has serial {serial}, and {serials.least} has run on this controller; export it anew, "
                f"withdraw the newer one (export.py --revoke), or say --accept-older REASON"
            )
        act = Accepted(serial, reason, stamp(datetime.now(UTC)))
        told = f"serial {serial} was accepted although {serials.least} has run: {reason}"
        return replace(serials, accepted=(*serials.accepted, act)), told

    def remember(self) -> None:
        """Keep that it runs on this controller; to be called after `admit` and before the first write.

        Raises:
            InputError: it cannot be kept.
        """
        assert self._serials is not None, "call admit first"
        remember(self._state, self._serials)


def _check_site(manifest: Manifest, where: str, token: Path | None) -> None:
    """Raises InputError where a manifest names no controller, or a site with another token."""
    named = manifest.controller
    if named is None:
        raise InputError(
            f"{where} names no controller, so it commands none; export it with --controller engine:HEX or site:HEX "
            f"(python -m deployment.identity says which)"
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
    found = (await reader.get({name: reader.profile.oid(oids.SNMP_ENGINE_ID)}))[name]
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
        InputError: it cannot be read, or others can read it, too.
    """
    return hashlib.sha256(secret(f"file:{file}", "--site-token").encode()).hexdigest()
