"""How export.py seals bundles and plans: who signs, for which controllers, from when to when, with which serial."""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature

from deployment.bundle.manifest import (
    FORMAT,
    MANIFEST,
    MOST_SERIAL,
    SIGNATURE,
    Form,
    Identity,
    Manifest,
    PolicyNeeds,
    entries,
    private_key,
    read_manifest,
    sign,
    validity,
)
from deployment.bundle.sealed import check_room, folder_name, write_sealed
from deployment.bundle.sealed_plans import PLAN
from plumbing.command import say
from plumbing.errors import InputError, did_you_mean
from plumbing.plain import parse
from scenarios.scenario import Scenario

_WORD = re.compile("(?:(?P<tls>.+)=)?(?P<by>engine|site):(?P<hex>[0-9A-Fa-f]+)", re.DOTALL)


def add_seal_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how bundles and plans are sealed."""
    s = parser.add_argument_group("seal")
    s.add_argument(
        "--key", type=Path, metavar="FILE", help="private key to sign with; unsigned, no controller gets it"
    )
    s.add_argument(
        "--controller", action="append", default=[], metavar="[TLS=]engine:HEX|site:HEX",
        help="the controller that may be commanded, as python -m deployment.field.identity prints it; again for "
        "each of several signals, and for both names of one. Without it, a bundle can only watch",
    )  # fmt: skip
    s.add_argument("--serial", type=int, metavar="N", help="greater than what ran before (default: the time, UTC)")
    s.add_argument("--valid-days", type=int, default=365, metavar="N", help="from now on (default: 365)")


@dataclass(frozen=True)
class Seal:
    """What the manifests of one export have in common."""

    key: Path | None
    serial: int
    not_before: str
    not_after: str
    controllers: Mapping[str, Identity]
    """By signal."""
    scenario: Scenario
    network_sha256: str

    @staticmethod
    def of(arguments: argparse.Namespace, tls_ids: Sequence[str], scenario: Scenario, network_sha256: str) -> Seal:
        """The seal that the options of `add_seal_arguments` ask for.

        Raises:
            InputError: an option is out of range, names no signal of these, or its key cannot sign.
        """
        now = datetime.now(UTC)
        begin, end = validity(now, arguments.valid_days)
        serial = int(now.strftime("%Y%m%d%H%M%S")) if arguments.serial is None else arguments.serial
        if not 1 <= serial <= MOST_SERIAL:
            raise InputError(f"--serial is {serial}; give 1 to 2^63 - 1")
        if arguments.key is not None:
            private_key(arguments.key)  # a wrong key is better known now
        controllers = controllers_of(arguments.controller, tls_ids)
        return Seal(arguments.key, serial, begin, end, controllers, scenario, network_sha256)

    @property
    def text(self) -> str:
        """The first and the last day, for people."""
        return f"{self.not_before[:10]} to {self.not_after[:10]}"

    def write(
        self,
        out: Path,
        form: Form,
        tls_id: str,
        needs: PolicyNeeds | None,
        files: Mapping[str, bytes],
        *,
        overwrite: bool,
        check: Callable[[Path], object] | None = None,
    ) -> None:
        """Seal these files and write them as `deployment.bundle.sealed.write_sealed` does."""
        manifest = Manifest(
            form.kind, FORMAT, importlib.metadata.version("intergreen"), tls_id, self.scenario.name,
            self.network_sha256, self.scenario.hashes(), needs, self.controllers.get(tls_id), self.serial,
            self.not_before, self.not_after, entries(files),
        ).text()  # fmt: skip
        signature = sign(manifest, self.key) if self.key is not None else None
        write_sealed(out, form, files, manifest, signature, overwrite=overwrite, check=check)

    def told(self, tls_id: str) -> str:
        """Whether a signal's folder is signed and for whom, in words for the command's output."""
        if self.key is None:
            return "not signed, so no controller gets it: export with --key FILE"
        named = self.controllers.get(tls_id)
        if named is None:
            return f"signed, serial {self.serial}; it names no controller, so it commands none: --controller does"
        by = ("engine id", named.engine_id), ("site token", named.site_token_sha256)
        return f"signed, serial {self.serial}, for one controller by its {' and '.join(n for n, v in by if v)}"


def plan_seal(seal: Seal, tls_ids: Sequence[str], out: Path) -> Callable[[str, Mapping[str, bytes]], Path]:
    """A function (tls id, files) that seals a signal's plans in a folder below `out`, and returns that folder.

    Raises:
        InputError: there is something else in such a folder's place: it is better known before a long search.
    """
    places = {tls_id: out / "controllers" / folder_name(tls_id) for tls_id in tls_ids}
    for place in places.values():
        check_room(place, PLAN, overwrite=True)

    def write(tls_id: str, files: Mapping[str, bytes]) -> Path:
        seal.write(places[tls_id], PLAN, tls_id, None, files, overwrite=True)
        say(f"{places[tls_id]}: {seal.told(tls_id)}")
        return places[tls_id]

    return write


def controllers_of(words: Iterable[str], tls_ids: Sequence[str]) -> dict[str, Identity]:
    """The controller of each signal, from the words `[TLS=]engine:HEX` and `[TLS=]site:HEX`.

    Raises:
        InputError: a word is none of these, names no signal, or one that has such a name, or what is signed for one
            signal's controller would command another's, too.
    """
    named: dict[str, dict[str, str]] = {}
    for word in words:
        found = _WORD.fullmatch(word)
        if found is None:
            raise InputError(f"--controller is {word!r}; give [TLS=]engine:HEX or [TLS=]site:HEX")
        tls_id, by = found["tls"], found["by"]
        if tls_id is None and len(tls_ids) > 1:
            raise InputError(f"--controller {word}: say which signal's it is of {', '.join(tls_ids[:8])}: TLS={word}")
        tls_id = tls_ids[0] if tls_id is None else tls_id
        if tls_id not in tls_ids:
            raise InputError(f"--controller {word}: no signal {tls_id!r} is exported.{did_you_mean(tls_id, tls_ids)}")
        if by in named.setdefault(tls_id, {}):
            raise InputError(f"--controller {word}: signal {tls_id!r} has such a name already; give one of each")
        named[tls_id][by] = found["hex"].lower()
    try:
        result = {tls_id: Identity(names.get("engine"), names.get("site")) for tls_id, names in named.items()}
    except ValueError as error:
        raise InputError(f"--controller: {error}") from error
    for a, b in itertools.combinations(result, 2):
        if not _apart(result[a], result[b]):
            raise InputError(
                f"--controller: what is signed for {a!r} would command the controller of {b!r}, too; give each its "
                f"own engine id, or each its own site token"
            )
    return result


def _apart(a: Identity, b: Identity) -> bool:
    engines, sites = {a.engine_id, b.engine_id}, {a.site_token_sha256, b.site_token_sha256}
    return any(len(names) == 2 and None not in names for names in (engines, sites))


def revoke(folder: Path, forms: Iterable[Form], key: Path, out: Path) -> str:
    """Withdraw a bundle or plan on the computers that have run it; returns what was done, in words.

    Raises:
        InputError: it was not signed with this key, names no controller, or the revocation cannot be written.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        signature = (folder / SIGNATURE).read_bytes()
        private_key(key).public_key().verify(signature, content)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}; give a signed bundle or plan") from error
    except InvalidSignature as error:
        raise InputError(
            f"{folder} was not signed with {key}, or changed since; withdraw it with its own key"
        ) from error
    kinds = {form.kind: form for form in forms}
    form = kinds.get(parse(content).get("kind", ""))  # it is signed
    if form is None:
        raise InputError(f"{folder} is of something else than a bundle or plan; give one")
    found = read_manifest(content, folder / MANIFEST, form)
    if found.controller is None:
        raise InputError(
            f"{form.noun} {folder} names no controller, so none has run it; there is nothing to withdraw"
        )
    withdrawn = replace(found, kind=form.withdrawn.kind, files={})
    write_sealed(out, form.withdrawn, {}, withdrawn.text(), sign(withdrawn.text(), key))
    return f"{out} withdraws serial {found.serial} of signal {found.tls_id!r}: give it as --revocation"
