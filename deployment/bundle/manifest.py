"""What vouches for a bundle or a plan: the digest of every file, the controller that it is for, its serial, from when
to when it is valid, and an Ed25519 signature over all of that.

Keys are PEM files and the signature is over the manifest's bytes, so that anybody can check one without this project:
`openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in manifest.json -sigfile manifest.sig`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deployment.nema.codec import decode, encode
from plumbing.errors import InputError
from plumbing.plain import json_bytes, parse
from plumbing.private import private_bytes, write_secret
from plumbing.whole import write_whole

FORMAT = 4
"""Format of a manifest; any other is refused."""
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MOST_SERIAL = 2**63 - 1
_ENGINE_ID, _SHA256 = re.compile("([0-9a-f]{2}){5,32}"), re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Form:
    """What a folder with a manifest may hold."""

    kind: str
    """The manifest's `kind`."""
    noun: str
    """Its name in messages."""
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def withdrawn(self) -> Form:
        """A revocation: the manifest of what it withdraws under another kind, signed anew, and no files."""
        return Form(f"withdrawn: {self.kind}", "revocation")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file that a manifest vouches for."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Identity:
    """The controller that a bundle or plan is for. Where both names are given, both must match."""

    engine_id: str | None
    """SNMP engine id of its agent (RFC 3411): 5 to 32 octets, in lower-case hexadecimal."""
    site_token_sha256: str | None
    """SHA-256 of the secret that is installed on the controller's computer, in lower-case hexadecimal."""

    def __post_init__(self) -> None:
        """Raises ValueError for what names no controller."""
        if self.engine_id is None and self.site_token_sha256 is None:
            raise ValueError("neither an engine id nor a site token is named")
        if self.engine_id is not None and not _ENGINE_ID.fullmatch(self.engine_id):
            raise ValueError(f"{self.engine_id!r} is no engine id: it has 5 to 32 octets, in lower-case hexadecimal")
        if self.site_token_sha256 is not None and not _SHA256.fullmatch(self.site_token_sha256):
            raise ValueError(f"{self.site_token_sha256!r} is no SHA-256 in lower-case hexadecimal")


@dataclass(frozen=True, slots=True)
class PolicyNeeds:
    """What running a policy takes."""

    sensing: str
    simulation_only: bool
    opset: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a bundle or a plan, for which signal and controller, and how long it may be used."""

    kind: str
    format: int
    intergreen: str
    """The version of this project that wrote it."""
    tls_id: str
    scenario: str
    network_sha256: str
    """Digest of the network file that the policy was trained on."""
    scenario_files: dict[str, str]
    """SHA-256 of each of the scenario's files, the network's too."""
    policy: PolicyNeeds | None
    """None in a plan."""
    controller: Identity | None
    """None: it commands no controller; a bundle may still watch one."""
    serial: int
    """1 to 2^63 - 1. A controller's computer refuses less than it has run."""
    not_before: str
    """UTC, as 2026-11-22T12:00:00Z."""
    not_after: str
    files: dict[str, FileEntry]

    @property
    def valid_from(self) -> datetime:
        return _moment(self.not_before)

    @property
    def valid_until(self) -> datetime:
        return _moment(self.not_after)

    def text(self) -> bytes:
        """The bytes that are signed."""
        return json_bytes(encode(self))


def entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The files' digests."""
    return {name: FileEntry(hashlib.sha256(files[name]).hexdigest(), len(files[name])) for name in sorted(files)}


def validity(now: datetime, days: int) -> tuple[str, str]:
    """First and last moment of a validity of `days` days from `now`.

    Raises:
        InputError: not even a day, or more than ten years.
    """
    if not 1 <= days <= 3660:
        raise InputError(f"--valid-days is {days}; give 1 to 3660")
    begin = now.astimezone(UTC).replace(microsecond=0)
    return stamp(begin), stamp(begin + timedelta(days=days))


def read_manifest(content: bytes, where: Path, form: Form) -> Manifest:
    """The manifest of these bytes.

    Raises:
        InputError: it is none, or of another kind or format.
    """
    try:
        found = parse(content)
        kind, written = found["kind"], found["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} is no manifest of a {form.noun}; export it again") from error
    if kind != form.kind:
        raise InputError(f"{where} is of something else ({kind}); give a {form.noun} that export.py wrote")
    if written != FORMAT:
        raise InputError(
            f"{where} is of format {written} ({kind}), this version reads format {FORMAT}; "
            f"use the version that wrote it ({found.get('intergreen', 'unknown')}) or export it again"
        )
    try:
        manifest = decode(Manifest, found)
        valid = manifest.valid_from < manifest.valid_until
        if not 1 <= manifest.serial <= MOST_SERIAL:
            raise ValueError(f"its serial {manifest.serial} is not within 1 to 2^63 - 1")
    except ValueError as error:
        raise InputError(f"{where} is damaged ({error}); export it again") from error
    if not valid:
        raise InputError(f"{where}: not_after is not later than not_before; export it again")
    return manifest


def check_dates(manifest: Manifest, now: datetime, where: str) -> None:
    """Raises InputError for a manifest that has expired or is not valid yet; `where` names it in the message."""
    if now < manifest.valid_from:
        raise InputError(
            f"{where} is not valid before {manifest.not_before}, and it is {stamp(now)}; "
            f"wait, or check this machine's clock"
        )
    if now >= manifest.valid_until:
        raise InputError(
            f"{where} expired at {manifest.not_after}, and it is {stamp(now)}; "
            f"judge the policy again and export it anew"
        )


def new_key(path: Path) -> Path:
    """A new private key, which only its owner can read, and beside it its public key; returns the latter's path.

    Raises:
        InputError: one of them exists already, or cannot be written.
    """
    public = path.with_name(path.name + ".pub")
    for file in (path, public):
        if file.exists():
            raise InputError(f"{file} exists already; a key is not overwritten, so choose another name")
    key = Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    private_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public_pem = key.public_key().public_bytes(serialization.Encoding.PEM, spki)
    write_secret(path, private_pem)
    write_whole(public, lambda partial: partial.write_bytes(public_pem))
    return public


def sign(content: bytes, key: Path) -> bytes:
    """The signature of these bytes.

    Raises:
        InputError: the file holds no private Ed25519 key, or is not private (`private_bytes`).
    """
    return private_key(key).sign(content)


def private_key(key: Path) -> Ed25519PrivateKey:
    """The private key in a file.

    Raises:
        InputError: it holds none.
    """
    try:
        loaded = serialization.load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key} is no private key; make one with export.py key {key.name}") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise InputError(f"{key} is no Ed25519 key; make one with export.py key FILE")
    private_bytes(key, "signing key")  # only now: nobody has to protect what is no private key
    return loaded


def public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a file.

    Raises:
        InputError: it holds none.
    """
    try:
        loaded = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is no public key; give the .pub file that export.py key wrote") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise InputError(f"{path} is no Ed25519 key; give the .pub file that export.py key wrote")
    return loaded


def key_sha256(key: Ed25519PublicKey) -> str:
    """The digest of a public key, in hexadecimal: by it a controller's computer keeps its keys' serials apart."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def verify(content: bytes, signature: bytes, key: Path, where: str) -> None:
    """Raises InputError where the signature is not this key's over these bytes; `where` names them in the message."""
    try:
        public_key(key).verify(signature, content)
    except InvalidSignature as error:
        raise InputError(
            f"{where} was changed after it was signed, or signed with another key than {key}; do not use it"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read key {path}: {error.strerror}") from error


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def stamp(moment: datetime) -> str:
    """A moment as manifests have it: UTC, as 2026-11-22T12:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
