"""The folder of a model of days: `generator.json`, the arrays that it consists of, and the table of its detectors."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from demand.counts.gather import LARGEST_COUNT
from demand.counts.schema import DETECTORS
from demand.counts.store import check_zone
from demand.counts.timeline import Numbers
from demand.generation.days import TYPES
from demand.generation.fitting import Generator
from demand.generation.models import MODELS, VAE, Course, model_of
from demand.generation.vae_draw import Vae
from plumbing.digest import file_sha256, plain_bytes
from plumbing.errors import InputError, printable
from plumbing.plain import json_bytes, listed, misfit, one_of, parse, record, text, whole
from plumbing.whole import Draft, check_replaceable

FORMAT = "intergreen days 1"
ABOUT, ARRAYS, TABLE = "generator.json", "arrays.npz", "detectors.csv"
_SHAPE = record(
    {
        "format": one_of(FORMAT),
        "model": one_of(*MODELS),
        "seed": whole(0, 2**32 - 1),
        "detectors": listed(text(), 1, 100_000),
        "interval_s": whole(1, 3600),
        "zone": text(100),
        "last_date": whole(0, 47_000),  # 1970 to 2098
        "days": whole(1, 100_000),
        "sha256": text(64, "[0-9a-f]{64}"),
    }
)


@dataclass(frozen=True)
class SavedModel:
    """What a folder holds."""

    generator: Generator
    detectors: tuple[str, ...]
    interval_s: int
    zone: str
    last_date: int
    """Of the days that it was made from [days since 1970-01-01]."""
    table: pl.DataFrame
    """Of detectors, with the columns of `DETECTORS`."""
    sha256: str
    """Of the arrays: what made days say they were made by."""


def check_place(out: Path) -> None:
    """Raises InputError for a folder that holds something else than an earlier model of days."""
    check_replaceable(out, "a model of days", ABOUT, (ARRAYS, TABLE))


def write_generator(out: Path, generator: Generator, table: pl.DataFrame, told: Mapping[str, Any]) -> None:
    """Write a folder, whole or not at all.

    Args:
        told: `seed`, `detectors`, `interval_s`, `zone`, `last_date`, `days`, and what else should be kept, such as
            how the models were judged.
    """
    with Draft(out) as draft:
        draft.path.mkdir()
        course = generator.course
        arrays = {f"model_{name}": of for name, of in generator.model.arrays().items()}
        with (draft.path / ARRAYS).open("wb") as stream:
            np.savez(stream, allow_pickle=False, course_mean=course.mean, course_spread=course.spread, **arrays)
        table.write_csv(draft.path / TABLE)
        digest = file_sha256(draft.path / ARRAYS)
        content = {"format": FORMAT, "model": generator.name, **told, "sha256": digest}
        (draft.path / ABOUT).write_bytes(json_bytes(content))
        draft.take_place()


def read_generator(folder: Path) -> SavedModel:
    """Open a folder.

    Raises:
        InputError: it is no such folder, or something in it is not what it has to be.
    """
    file = folder / ABOUT
    try:
        found = parse(plain_bytes(file))
        misfit(_SHAPE, found)
        if file_sha256(folder / ARRAYS) != found["sha256"]:
            raise ValueError(f"{ARRAYS} is not the file that was written")
        arrays = _arrays(folder / ARRAYS)
        table = pl.read_csv(plain_bytes(folder / TABLE), schema=dict(DETECTORS))
        names, told = found["detectors"], table["detector"]
        if len(set(names)) < len(names) or set(names) - set(told) or told.is_duplicated().any():
            raise ValueError(f"{TABLE} does not name each of its detectors once")
        generator = _generator(found, arrays)
    except OSError as error:
        raise InputError(
            f"{folder} is no model of days ({Path(str(error.filename)).name}: {error.strerror}); "
            "make one with python -m demand generate COUNTS_DIR --out MODEL"
        ) from error
    except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise InputError(f"{file}: {printable(error)}; make the model again") from error
    check_zone(found["zone"])
    return SavedModel(
        generator, tuple(found["detectors"]), found["interval_s"], found["zone"], found["last_date"], table,
        found["sha256"],
    )  # fmt: skip


def _arrays(file: Path) -> dict[str, Numbers]:
    """All arrays of a file. Raises ValueError, or what zipfile raises, where they are not of finite numbers."""
    with zipfile.ZipFile(file) as stored:
        found = {
            name.removesuffix(".npy"): np.load(io.BytesIO(stored.read(name)), allow_pickle=False)
            for name in stored.namelist()
        }
    for name, array in found.items():
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds what is no number")
    return found


def _generator(found: Mapping[str, Any], arrays: Mapping[str, Numbers]) -> Generator:
    """The model of arrays, which has made a day of each type to show that it can.

    Raises:
        ValueError: it cannot.
    """
    slots, detectors = 86_400 // found["interval_s"], len(found["detectors"])
    try:
        mean, spread = arrays["course_mean"], arrays["course_spread"]
        if mean.shape != (len(TYPES), slots, detectors) or spread.shape != (detectors,) or (spread < 0).any():
            raise ValueError(f"the course is not of {detectors} detectors every {found['interval_s']} s")
        inner = {name.removeprefix("model_"): of for name, of in arrays.items() if name.startswith("model_")}
        model = Vae(inner) if found["model"] == VAE else model_of(found["model"], inner)
        generator = Generator(found["model"], Course(slots, mean, spread), model)
        counts = generator.counts(np.arange(len(TYPES)), np.random.default_rng(0))
        if counts.shape != mean.shape or counts.max() > LARGEST_COUNT:
            raise ValueError("what it makes are no days of its detectors")
    except Exception as error:  # whatever numpy finds wrong with arrays of other shapes
        reason = f"{type(error).__name__}: {printable(error)}"
        raise ValueError(f"{ARRAYS} is no model {found['model']} of its detectors ({reason})") from error
    return generator
