"""What vouches for a bundle: the digest of every file, from when to when it is valid, and an Ed25519 signature.

Keys are PEM files and the signature is over the manifest's bytes, so that anybody can check one without this project:
`openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in manifest.json -sigfile manifest.sig`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deployment.codec import decode, encode
from deployment.private import private_bytes
from scenarios.command import write_whole
from signals.errors import InputError
from signals.plain import parse

KIND = "intergreen policy bundle"
FORMAT = 2
"""Of a bundle; one of another format is refused."""
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a bundle, for which signal, and how long it may be used."""

    kind: str
    format: int
    intergreen: str
    """Version that wrote it."""
    tls_id: str
    scenario: str
    network_sha256: str
    """Of the network file that it was trained on."""
    scenario_files: dict[str, str]
    """SHA-256 of each of the scenario's files, the network's too."""
    sensing: str
    simulation_only: bool
    opset: int
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
        return (json.dumps(encode(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The files' digests."""
    return {name: FileEntry(hashlib.sha256(files[name]).hexdigest(), len(files[name])) for name in sorted(files)}


def validity(now: datetime, days: int) -> tuple[str, str]:
    """From now on, for so many days.

    Raises:
        InputError: not even a day, or more than ten years.
    """
    if not 1 <= days <= 3660:
        raise InputError(f"--valid-days is {days}; give 1 to 3660")
    begin = now.astimezone(UTC).replace(microsecond=0)
    return _stamp(begin), _stamp(begin + timedelta(days=days))


def read_manifest(content: bytes, where: Path) -> Manifest:
    """The manifest of these bytes.

    Raises:
        InputError: it is none, or of another format.
    """
    try:
        found = parse(content)
        kind, written = found["kind"], found["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} is no manifest of a bundle; export the policy again") from error
    if kind != KIND or written != FORMAT:
        raise InputError(
            f"{where} is of format {written} ({kind}), this version reads format {FORMAT}; "
            f"use the version that wrote it ({found.get('intergreen', 'unknown')}) or export the policy again"
        )
    try:
        manifest = decode(Manifest, found)
        valid = manifest.valid_from < manifest.valid_until
    except ValueError as error:
        raise InputError(f"{where} is damaged ({error}); export the policy again") from error
    if not valid:
        raise InputError(f"{where}: not_after is not later than not_before; export the policy again")
    return manifest


def check_dates(manifest: Manifest, now: datetime, where: Path) -> None:
    """Raises InputError for a bundle that has expired or is not valid yet."""
    if now < manifest.valid_from:
        raise InputError(
            f"bundle {where} is not valid before {manifest.not_before}, and it is {_stamp(now)}; "
            f"wait, or check this machine's clock"
        )
    if now >= manifest.valid_until:
        raise InputError(
            f"bundle {where} expired at {manifest.not_after}, and it is {_stamp(now)}; "
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as private:
            private.write(private_pem)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from error
    write_whole(public, lambda partial: partial.write_bytes(public_pem))
    return public


def sign(content: bytes, key: Path) -> bytes:
    """The signature of these bytes.

    Raises:
        InputError: the file holds no private Ed25519 key, or is not private (`private_bytes`).
    """
    try:
        loaded = serialization.load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key} is no private key; make one with export.py --new-key {key.name}") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise InputError(f"{key} is no Ed25519 key; make one with export.py --new-key FILE")
    private_bytes(key, "signing key")  # only now: nobody has to protect what is no private key
    return loaded.sign(content)


def public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a file.

    Raises:
        InputError: it holds none.
    """
    try:
        loaded = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is no public key; give the .pub file that export.py --new-key wrote") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise InputError(f"{path} is no Ed25519 key; give the .pub file that export.py --new-key wrote")
    return loaded


def verify(content: bytes, signature: bytes, key: Path, where: Path) -> None:
    """Raises InputError where the signature is not this key's over these bytes."""
    try:
        public_key(key).verify(signature, content)
    except InvalidSignature as error:
        raise InputError(
            f"bundle {where} was changed after it was signed, or signed with another key than {key}; do not use it"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read key {path}: {error.strerror}") from error


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
