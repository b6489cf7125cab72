"""Running a trained forecast: numpy and onnxruntime, nothing that learns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from demand.counts.timeline import FLOW, Clock, Numbers
from demand.forecast.features import HISTORY_DAYS, Features, features
from demand.forecast.kinds import (
    BOOSTING,
    ENSEMBLE,
    LAST_VALUE,
    LAST_WEEK,
    LEARNED,
    NETWORK_INPUTS,
    QUANTILES,
    Mean,
    Model,
    Naive,
    in_blocks,
    quantiles,
    tree_rows,
)  # fmt: skip
from demand.forecast.model_folder import ModelAbout, best_of, read_model
from plumbing.errors import InputError, printable
from plumbing.onnx import onnxruntime


class Forecaster:
    """A forecast of one quantity for all detectors of a place."""

    about: ModelAbout

    def __init__(self, folder: str | Path, quantity: str = FLOW) -> None:
        """Load a model's folder, or the best one of what `python -m demand forecast` has written.

        Raises:
            InputError: it cannot be loaded.
        """
        path = best_of(Path(folder), quantity)
        self.about, files = read_model(path)
        self._model = loaded(path, self.about, files)

    @classmethod
    def of(cls, about: ModelAbout, files: Mapping[str, bytes]) -> Forecaster:
        """That of a folder which has been read."""
        made = cls.__new__(cls)
        made.about = about
        made._model = loaded(Path(), about, files)
        return made

    @property
    def history(self) -> int:
        """Intervals before the moment that a forecast looks back on; fewer do, with less to go by."""
        return HISTORY_DAYS * 86_400 // self.about.interval_s

    @property
    def minutes(self) -> tuple[float, ...]:
        """[min] ahead of the end of each forecast interval, seen from the moment of the forecast."""
        return tuple(step * self.about.interval_s / 60 for step in self.about.steps)

    def forecast(self, values: Numbers, begin: int) -> Numbers:
        """What comes after the last of some intervals.

        Args:
            values: (T, D) vehicles per interval, or percent of occupancy, in the order of `about.detectors`; NaN
                where nothing is known. Only the last `history` intervals are used.
            begin: of the first interval [seconds since 1970, UTC], a whole multiple of the interval since local
                midnight.

        Returns:
            (D, H, 3) quantiles 0.1, 0.5 and 0.9 for each of `minutes`.
        """
        return np.asarray(self.forecasts(values, begin, np.array([len(values) - 1]))[0])

    def forecasts(self, values: Numbers, begin: int, moments: Numbers) -> Numbers:
        """(N, D, H, 3) the same at several moments, each seeing what came up to it: for replays and residuals.

        Args:
            moments: (N,) indices of the last interval that is known at each.

        Raises:
            InputError: the values are not of this model's detectors.
        """
        about = self.about
        if values.ndim != 2 or values.shape[1] != len(about.detectors) or not len(values):
            raise InputError(
                f"the forecast is for {len(about.detectors)} detectors; the values have the shape {values.shape}; "
                "give (intervals, detectors) in the order of its forecast.json"
            )
        cut = max(0, int(moments.min()) + 1 - self.history)
        clock = Clock(begin + cut * about.interval_s, about.interval_s, about.zone, len(values) - cut)
        given = features(values[cut:], clock, np.asarray(about.level), about.sites, about.steps, moments - cut)
        return quantiles(self._model.residuals(given), given.base, np.asarray(about.offsets), about.quantity)


def loaded(path: Path, about: ModelAbout, files: Mapping[str, bytes]) -> Model:
    """The model of a folder that has been read, which has made one forecast to show that it can.

    Raises:
        InputError: its files are no models, or not of these detectors and times ahead.
    """
    if about.method in (LAST_VALUE, LAST_WEEK):
        return Naive(about.method)
    try:
        model = _learned(about, {name: _session(content) for name, content in sorted(files.items())})
        detectors, steps = len(about.detectors), len(about.steps)
        clock = Clock(0, about.interval_s, about.zone, 1)
        tried = features(
            np.zeros((1, detectors)), clock, np.asarray(about.level), about.sites, about.steps, np.array([0])
        )
        found = model.residuals(tried)
        if found.shape != (1, detectors, steps, len(QUANTILES)) or not np.isfinite(found).all():
            raise ValueError(f"they do not answer with a number for each of {detectors} detectors and {steps} times")
        return model
    except Exception as error:  # whatever the library finds wrong with a file
        reason = f"{type(error).__name__}: {printable(error)}"
        raise InputError(f"{path}: its ONNX files cannot be run ({reason}); make the forecast again") from error


def _learned(about: ModelAbout, sessions: Mapping[str, onnxruntime.InferenceSession]) -> Model:
    networks = [name for name in LEARNED if f"{name}.onnx" in sessions]
    trees = [session for name, session in sessions.items() if name.startswith(f"{BOOSTING}-step-")]
    if about.method != ENSEMBLE and [*networks, *([BOOSTING] if trees else [])] != [about.method]:
        raise ValueError(f"they are not of the method {about.method}")
    models: list[Model] = [_Network(sessions[f"{name}.onnx"]) for name in networks]
    if trees:
        models.append(_Trees([sessions[f"{BOOSTING}-step-{n}.onnx"] for n in range(len(about.steps))]))
    return models[0] if len(models) == 1 else Mean(models)


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a forecast takes milliseconds; several run beside each other
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class _Trees:
    def __init__(self, steps: list[onnxruntime.InferenceSession]) -> None:
        self._steps = steps

    def residuals(self, given: Features) -> Numbers:
        shape = (*given.own.shape[:2], 3)
        found = [
            session.run(None, {"rows": tree_rows(given, step)})[0].reshape(shape)
            for step, session in enumerate(self._steps)
        ]
        return np.stack(found, axis=2)


class _Network:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._wanted = [given.name for given in session.get_inputs()]  # a network need not use all

    def residuals(self, given: Features) -> Numbers:
        return in_blocks(given, self._answer)

    def _answer(self, given: Features) -> Numbers:
        fed = {name: getattr(given, name) for name in NETWORK_INPUTS if name in self._wanted}
        found: Numbers = self._session.run(None, fed)[0]
        return found
