"""A sealed folder: files, a manifest that lists them with their digests, and a signature over the manifest.

Bundles and plans both are; what each has to hold beside says its `Form`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from deployment.bundle import manifest as manifests
from deployment.bundle.manifest import MANIFEST, SIGNATURE, Form, Manifest
from plumbing.errors import InputError
from plumbing.held import bring_back
from plumbing.whole import Draft, check_movable

MOST_BYTES = 64 * 2**20
"""A file that is larger is no part of a sealed folder."""


def read_manifest(path: Path, form: Form, key: Path | None, now: datetime | None) -> Manifest:
    """The manifest of a sealed folder, checked before anything else in it is read.

    Args:
        key: public, of whoever may sign; None: the signature is not looked at.
        now: the time that its validity is held against; None: its dates are not looked at.

    Raises:
        InputError: there is none, or anything is wrong with it.
    """
    where = f"{form.noun} {path}"
    bring_back(path)
    if not path.is_dir():
        raise InputError(f"{where} is no directory; give one that export.py wrote")
    sealed = _file(path, MANIFEST, form)
    if key is not None:
        if not (path / SIGNATURE).is_file():
            raise InputError(f"{where} is not signed; export it with --key FILE")
        manifests.verify(sealed, _file(path, SIGNATURE, form), key, where)
    found = manifests.read_manifest(sealed, path / MANIFEST, form)
    if now is not None:
        manifests.check_dates(found, now, where)
    return found


def read_files(path: Path, form: Form, found: Manifest) -> dict[str, bytes]:
    """Every file that the manifest lists, digests checked; nothing else may lie beside them.

    Raises:
        InputError: one is missing, changed, or no part of such a folder.
    """
    missing = [name for name in form.required if name not in found.files]
    strange = [name for name in found.files if name not in (*form.required, *form.optional)]
    if missing or strange:
        what = f"lacks {missing[0]}" if missing else f"holds {strange[0]!r}, which is no part of one"
        raise InputError(f"{form.noun} {path} {what}; export it again")
    beside = {entry.name for entry in path.iterdir()} - set(found.files) - {MANIFEST, SIGNATURE}
    if beside:
        raise InputError(
            f"{form.noun} {path} holds {sorted(beside)[0]!r}, which its manifest does not list; remove it"
        )
    contents = {}
    for name, entry in found.files.items():
        content = _file(path, name, form)
        if len(content) != entry.bytes:
            raise InputError(f"{path / name} has {len(content)} bytes, not {entry.bytes}: cut off or changed")
        if manifests.entries({name: content})[name] != entry:
            raise InputError(
                f"{path / name} was changed: its SHA-256 is not the manifest's; do not use the {form.noun}"
            )
        contents[name] = content
    return contents


def write_sealed(
    out: Path,
    form: Form,
    files: Mapping[str, bytes],
    manifest: bytes,
    signature: bytes | None,
    *,
    overwrite: bool = False,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a sealed folder, whole or not at all.

    Args:
        files: name to content, without manifest and signature.
        signature: of the manifest's bytes; None leaves it unsigned.
        overwrite: whether one that is there is replaced.
        check: called with the written directory before it takes its place; what it raises, prevents that.

    Raises:
        InputError: there is something already, or it cannot be written.
    """
    check_room(out, form, overwrite)
    with Draft(out) as draft:
        draft.path.mkdir()
        sealed = {**files, MANIFEST: manifest} | ({SIGNATURE: signature} if signature is not None else {})
        for name, content in sealed.items():
            (draft.path / name).write_bytes(content)
        if check is not None:
            check(draft.path)
        draft.take_place()


def check_room(out: Path, form: Form, overwrite: bool) -> None:
    """Raises InputError where such a folder may not be written."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out {out} is a file; give a directory")
    check_movable(out)
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise InputError(f"--out {out} is not empty and no {form.noun}; give another directory")
    if not overwrite:
        raise InputError(f"{out} holds a {form.noun} already; replace it with --overwrite or give another --out")


def folder_name(tls_id: str) -> str:
    """A name for a signal's folder: its id; other characters become _, and a part of its digest is added."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in tls_id).lstrip(".")[:80]
    return plain if plain == tls_id else f"{plain}-{hashlib.sha256(tls_id.encode()).hexdigest()[:8]}"


def _file(path: Path, name: str, form: Form) -> bytes:
    file = path / name
    try:
        if file.is_symlink() or not file.is_file():
            raise InputError(f"{form.noun} {path} has no {name}; export it again")
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file} is larger than {MOST_BYTES >> 20} MiB: no part of a {form.noun}")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
