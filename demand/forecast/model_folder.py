"""The folder of a trained forecast: `forecast.json`, which says what it forecasts from what, and its ONNX files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demand.counts.store import check_zone
from demand.counts.timeline import FLOW, OCCUPANCY, Numbers
from demand.forecast.kinds import METHODS, QUANTILES
from plumbing.digest import file_sha256, plain_bytes
from plumbing.errors import InputError
from plumbing.plain import json_bytes, listed, misfit, named, number, one_of, parse, record, text, whole
from plumbing.whole import Draft

FORMAT = "intergreen forecast 1"
ABOUT, RESULT, CALIBRATION, BEST = "forecast.json", "result.json", "calibration.npy", "best.json"
_MOST = 100_000
_SHAPE = record(
    {
        "format": one_of(FORMAT),
        "quantity": one_of(FLOW, OCCUPANCY),
        "method": one_of(*METHODS),
        "seed": whole(0, 2**32 - 1),
        "detectors": listed(text(), 1, _MOST),
        "sites": listed(whole(0, _MOST), 1, _MOST),
        "interval_s": whole(1, 3600),
        "zone": text(100),
        "steps": listed(whole(1, 1000), 1, 100),
        "quantiles": listed(number(0, 1), len(QUANTILES), len(QUANTILES)),
        "level": listed(number(), 1, _MOST),
        "offsets": listed(listed(number(), 1, 100), 1, _MOST),
        "files": named(text(64, "[0-9a-f]{64}"), name=text(60, r"[a-z0-9-]+\.onnx")),
        "fingerprint": text(64, "[0-9a-f]{64}"),
    }
)


@dataclass(frozen=True)
class ModelAbout:
    """What `forecast.json` holds."""

    quantity: str
    method: str
    seed: int
    detectors: tuple[str, ...]
    """In the order of the model's inputs."""
    sites: tuple[int, ...]
    interval_s: int
    zone: str
    steps: tuple[int, ...]
    """Intervals ahead of each forecast."""
    level: tuple[float, ...]
    """Mean of each detector on the stabilised scale, over the days learned from."""
    offsets: tuple[tuple[float, ...], ...]
    """By detector and step: by how much calibration widened the interval."""
    fingerprint: str
    """SHA-256 over the counts and the settings that it was trained with."""


def write_model(
    out: Path, about: ModelAbout, files: Mapping[str, bytes], result: Mapping[str, Any], calibration: Numbers
) -> None:
    """Write a model's folder, whole or not at all.

    Args:
        result: what it scored.
        calibration: (N, D, H, 3) residuals on the calibration days, of which an ensemble makes its own.
    """
    stored = io.BytesIO()  # numpy reports a full disk without saying so
    np.save(stored, calibration.astype(np.float32), allow_pickle=False)
    with Draft(out) as draft:
        draft.path.mkdir()
        for name, content in files.items():
            (draft.path / name).write_bytes(content)
        told = dataclasses.asdict(about)
        content_of = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        whole_about = {"format": FORMAT, **told, "quantiles": list(QUANTILES), "files": content_of}
        (draft.path / ABOUT).write_bytes(json_bytes(_plain(whole_about)))
        (draft.path / RESULT).write_bytes(json_bytes(dict(result)))
        (draft.path / CALIBRATION).write_bytes(stored.getvalue())
        draft.take_place()


def read_model(folder: Path) -> tuple[ModelAbout, dict[str, bytes]]:
    """What a folder says of its model, and the ONNX files, which are those that were written.

    Raises:
        InputError: it is no such folder, or something in it is not what it has to be.
    """
    file = folder / ABOUT
    try:
        found = parse(plain_bytes(file))
        misfit(_SHAPE, found)
        detectors, steps = len(found["detectors"]), len(found["steps"])
        if not len(found["sites"]) == len(found["level"]) == len(found["offsets"]) == detectors:
            raise ValueError("sites, level and offsets are not as many as the detectors")
        if any(len(row) != steps for row in found["offsets"]):
            raise ValueError("offsets are not as many as the steps")
        if len(set(found["detectors"])) < detectors or max(found["sites"]) >= detectors:
            raise ValueError("a detector is there twice, or there are more sites than detectors")
        if found["steps"] != sorted(set(found["steps"])):
            raise ValueError("steps are not in order")
        files = {}
        for name, digest in found["files"].items():
            if file_sha256(folder / name) != digest:
                raise ValueError(f"{name} is not the file that was written")
            files[name] = (folder / name).read_bytes()
    except OSError as error:
        raise InputError(
            f"{folder} is no forecast ({Path(str(error.filename)).name}: {error.strerror}); "
            "make one with python -m demand forecast"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: {error}; make the forecast again") from error
    check_zone(found["zone"])
    names = [field.name for field in dataclasses.fields(ModelAbout)]
    return ModelAbout(**{name: _frozen(found[name]) for name in names}), files


def best_of(folder: Path, quantity: str = FLOW) -> Path:
    """The model's folder that a forecast's `--out` names as the best of a quantity; a model's folder is its own best.

    Raises:
        InputError: there is none.
    """
    if (folder / ABOUT).is_file():
        return folder
    file = folder / BEST
    try:
        found = parse(plain_bytes(file))
        misfit(named(text(60, r"[a-z_]+-seed-\d+")), found)
    except OSError as error:
        raise InputError(
            f"{folder} is no forecast ({BEST}: {error.strerror}); make one with python -m demand forecast"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: {error}; make the forecast again") from error
    if quantity not in found:
        raise InputError(f"{folder} holds no forecast of {quantity}, only of {', '.join(found)}")
    return folder / quantity / str(found[quantity])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(of) for name, of in value.items()}
    return [_plain(of) for of in value] if isinstance(value, (tuple, list)) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(of) for of in value) if isinstance(value, list) else value
