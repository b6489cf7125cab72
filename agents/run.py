"""A run directory: what a training leaves behind, and the controller that comes out of it.

| file | content |
|---|---|
| settings.json | agent, its settings, scenario with hashes, timing, sensing, seed, versions |
| policy.pt | the network's weights, nothing else |
| checkpoint.pt | everything that resuming needs: optimiser, replay buffer, counters, random states, decisions |
| progress.csv, validation.csv | the learning curve |
| validated/STEPS.pt | the weights at each validation, which `RUN_DIR@STEPS` names |
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agents.code import code_of
from agents.job import SETTINGS as SHAPE
from agents.registry import agent_settings, algorithm, encoder_class
from agents.settings import Settings
from controllers.base import Phases, choose
from plumbing.command import check_text
from plumbing.errors import InputError, printable
from plumbing.held import bring_back
from plumbing.outside import check_allowed, is_outside
from plumbing.plain import misfit, parse
from plumbing.whole import write_whole
from scenarios.foresight import Remembered
from scenarios.xmlfile import require_file
from signals.intersection import Intersection
from signals.layout import Layout
from signals.observation_names import find_observation
from signals.observations import NAMED, OBSERVATIONS, ObservationShape, PhaseObservation, observation_for
from signals.snapshot import Snapshot

FORMAT = 2
"""Of a run directory; one of another format is refused."""
SETTINGS, POLICY, CHECKPOINT = "settings.json", "policy.pt", "checkpoint.pt"
VALIDATED = "validated"
OWN = (SETTINGS, POLICY, CHECKPOINT, "progress.csv", "validation.csv", "tensorboard", VALIDATED, "choice.json")
"""All that a training writes into it."""


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of tensors and plain values, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_whole(path, lambda partial: partial.write_bytes(buffer.getbuffer()))


def keep_validated(run: Path, steps: int, scorer: torch.nn.Module) -> None:
    """Keep the weights as they are at this validation."""
    folder = run / VALIDATED
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / f"{steps}.pt", {"scorer": scorer.state_dict()})


def validated_steps(run: Path) -> list[int]:
    """The steps at which a run keeps the weights of a validation, in order."""
    return sorted(int(path.stem) for path in (run / VALIDATED).glob("*.pt") if path.stem.isdecimal())


def weights_file(run: Path, steps: int | None) -> Path:
    """The weights of a run: the last ones, or those of a validation.

    Raises:
        InputError: there was no validation then.
    """
    if steps is None:
        return run / POLICY
    known = validated_steps(run)
    if steps not in known:
        told = ", ".join(map(str, known)) or "none"
        raise InputError(f"run {run} keeps no weights of step {steps}; it does of {told}")
    return run / VALIDATED / f"{steps}.pt"


def write_settings(run: Path, settings: Mapping[str, Any]) -> None:
    """Write settings.json with this format's number.

    Raises:
        InputError: a value is none that `read_settings` takes.
    """
    content = {"format": FORMAT, **settings}
    try:
        misfit(SHAPE, json.loads(json.dumps(content)))
    except ValueError as error:
        raise InputError(f"{run / SETTINGS} could not be read again: {error}; give another value there") from error
    text = json.dumps(content, indent=2) + "\n"
    write_whole(run / SETTINGS, lambda path: path.write_text(text))


def is_run(path: Path) -> bool:
    """Whether a path looks like a run directory."""
    return (path / SETTINGS).is_file()


def read_settings(run: Path) -> dict[str, Any]:
    """The settings of a run.

    Raises:
        InputError: it is no run directory, or one of another version.
    """
    check_text(run)
    path = run / SETTINGS
    bring_back(run)
    if not run.exists():
        raise InputError(f"run directory {run} does not exist; train one with train.py --out {run}")
    if not path.is_file():
        raise InputError(f"{run} is no run directory: it has no {SETTINGS}; give the --out of a training")
    try:
        content = parse(path.read_bytes(), finite=False)
        written = content["format"]
        if written == FORMAT:
            misfit(SHAPE, content)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path} is not the settings file of a run ({error}); train the run anew") from error
    if written != FORMAT:
        versions = content.get("versions")
        wrote = versions.get("intergreen", "unknown") if isinstance(versions, dict) else "unknown"
        raise InputError(
            f"run {run} has format {written}, this version reads format {FORMAT}; "
            f"use the version that wrote it ({wrote}) or train it anew"
        )
    result: dict[str, Any] = content
    return result


def run_sha256(run: Path, steps: int | None = None) -> str:
    """The digest of what a run directory's controller is made of: its settings and weights."""
    digest = hashlib.sha256()
    for path in (run / SETTINGS, weights_file(run, steps)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def load_tensors(path: Path) -> dict[str, Any]:
    """A file of tensors and plain values; nothing else is unpickled, so that loading runs no code.

    Raises:
        InputError: it is missing, damaged, or holds something else.
    """
    if path.exists():
        require_file(path, "saved state")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the training has not saved yet; resume it or train anew") from error
    except Exception as error:  # whatever a file makes of the code that reads it
        raise InputError(f"{path} is damaged or was written by another version; train the run anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no saved state; train the run anew")
    return content


@dataclass(frozen=True)
class Network:
    """What a policy's weights are loaded into."""

    agent: str
    """A name of `agents.registry.AGENTS`, or `module:Class`."""
    settings: Settings
    encoder: str = ""
    """`module:Class`, "" for ours."""

    _classes: tuple[Any, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # loaded once: a file that is edited later is of no matter to this network
        object.__setattr__(self, "_classes", (algorithm(self.agent), encoder_class(self.encoder)))

    @property
    def probabilities(self) -> bool:
        """Whether scores are log-odds."""
        found: bool = self._classes[0].probabilities
        return found

    def fit(self, shape: ObservationShape) -> torch.nn.Module:
        """The network for rows that are cut so."""
        learner, encoder = self._classes
        made: torch.nn.Module = learner.network(self.settings, shape, encoder)
        return made


class LearnedController:
    """A trained policy: the best-scored phase of every signal, in one forward pass for all."""

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        network: Network,
        observation: str | type[PhaseObservation],
        forecast: Remembered | None = None,
    ) -> None:
        """See the class.

        Args:
            observation: what its network reads: a class, or that of a sensing level.
            forecast: that it was trained with; whoever runs it sees to it (`scenarios.from_counts.as_wanted`).
        """
        self.observation = OBSERVATIONS[observation] if isinstance(observation, str) else observation
        self.sensing, self.network, self.forecast = self.observation.sensing, network, forecast
        self.weights = dict(weights)
        self._observe: PhaseObservation | None = None
        self._scorer: Any = None
        self._memory: Any = None
        self.last_scores: npt.NDArray[np.float64] | None = None

    def again(self) -> LearnedController:
        """The same policy, for another episode at the same time."""
        return LearnedController(self.weights, self.network, self.observation, self.forecast)

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Fit the network to these intersections; its weights know neither their number nor their size."""
        del intersections, seed
        self._observe = observation_for(self.observation, layout)
        self._scorer = fitted(self.network, self._observe.shape, self.weights)
        self._memory = self._scorer.begin(layout.shape[0]) if hasattr(self._scorer, "begin") else None

    def shape_for(self, phases: int, movements: int) -> ObservationShape:
        """How a row is cut that has room for so many."""
        return self.observation.shape_for(phases, movements)

    def scores(self, snapshot: Snapshot) -> npt.NDArray[np.float64]:
        """[S, P] what the policy thinks of each phase. One with a memory remembers having been asked."""
        assert self._observe is not None, "call reset first"
        return self.scores_of(self._observe(snapshot))

    def scores_of(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The same of [S, size] observations."""
        with torch.inference_mode():
            if self._memory is None:
                scored = self._scorer(torch.from_numpy(rows))
            else:
                scored, self._memory = self._scorer(torch.from_numpy(rows), self._memory)
        scores: npt.NDArray[np.float64] = scored.numpy().astype(np.float64)
        return scores

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the best phase that may be chosen.

        Raises:
            ArithmeticError: a score is not finite.
        """
        scores = self.scores(snapshot)
        if not np.isfinite(scores).all():
            raise ArithmeticError("the policy's scores are not finite; its weights are damaged")
        self.last_scores = scores
        return choose(scores, snapshot)


def fitted(network: Network, shape: ObservationShape, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A policy's network, ready to be asked. Raises RuntimeError where the weights do not fit."""
    scorer = network.fit(shape)
    scorer.load_state_dict(dict(weights))
    return scorer.eval()


def load_controller(
    run: Path,
    *,
    steps: int | None = None,
    allow_code: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> LearnedController:
    """The trained policy of a run directory.

    Args:
        steps: the validation whose weights are wanted; None for the last ones.
        settings: of the run, where they have been read already.
        allow_code: whether code from outside that the run names may be executed.

    Raises:
        InputError: it is none, of another version, or damaged; or it needs code that is not allowed.
    """
    settings = read_settings(run) if settings is None else settings
    check_allowed(code_of(settings, policy=True), allow_code, run / SETTINGS)
    observation = _observation_of(settings, run)
    file = weights_file(run, steps)
    content = load_tensors(file)
    agent, encoder = str(settings.get("agent")), str(settings.get("network", ""))
    try:
        weights = content["scorer"]
        network = Network(agent, agent_settings(agent, settings["agent_settings"]), encoder)
        fitted(network, observation.shape_for(1, 1), weights)  # enough to check that they fit
    except Exception as error:  # weights are whatever tensors and names a file holds
        raise InputError(f"{file} does not fit {run / SETTINGS}; train the run anew") from error
    if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
        raise InputError(f"{file} holds weights that are not finite; train the run anew")
    said = settings.get("forecast")
    forecast = Remembered(said["folder"], said["model"], said["identity"]) if said else None
    return LearnedController(weights, network, observation, forecast)


class Ensemble:
    """Several policies that decide together: the phase with the best mean value or, of policies that were trained as
    distributions (PPO), the best mean probability."""

    def __init__(self, members: Sequence[LearnedController], probabilities: bool) -> None:
        self.sensing, self.forecast = members[0].sensing, members[0].forecast
        self._members, self._probabilities = tuple(members), probabilities
        self.last_scores: npt.NDArray[np.float64] | None = None

    def reset(self, intersections: Sequence[Intersection], layout: Layout, seed: int) -> None:
        """Fit every member to these intersections."""
        for member in self._members:
            member.reset(intersections, layout, seed)

    def scores(self, snapshot: Snapshot) -> npt.NDArray[np.float64]:
        """[S, P] the members' mean; as a probability, 0 for phases that may not be chosen.

        Raises:
            ArithmeticError: a member's score is not finite.
        """
        each = np.array([member.scores(snapshot) for member in self._members])
        if not np.isfinite(each).all():
            raise ArithmeticError("a policy's scores are not finite; its weights are damaged")
        if self._probabilities:
            each = np.where(snapshot.mask, each, -np.inf)
            each = np.exp(each - each.max(axis=2, keepdims=True))
            each /= each.sum(axis=2, keepdims=True)
        mean: npt.NDArray[np.float64] = each.mean(axis=0)
        return mean

    def decide(self, snapshot: Snapshot) -> Phases:
        """[S] the best phase that may be chosen."""
        self.last_scores = self.scores(snapshot)
        return choose(self.last_scores, snapshot)


def load_ensemble(runs: Sequence[Path], *, allow_code: bool = False) -> Ensemble:
    """The trained policies of several run directories as one controller.

    Raises:
        InputError: one cannot be loaded, or they are of different kinds.
    """
    return joined([load_controller(run, allow_code=allow_code) for run in runs], runs)


def joined(members: Sequence[LearnedController], runs: Sequence[Path]) -> Ensemble:
    """Policies of these runs as one controller.

    Raises:
        InputError: they are of different kinds.
    """
    kinds = {member.network.agent for member in members}
    if len(kinds) > 1 or len({member.observation for member in members}) > 1:
        raise InputError(
            f"ensemble {'+'.join(map(str, runs))}: the runs differ in agent or observation "
            f"({', '.join(sorted(kinds))}); values and probabilities have no common mean, so join runs of one kind"
        )
    if len({member.forecast and member.forecast.model for member in members}) > 1:
        raise InputError(
            f"ensemble {'+'.join(map(str, runs))}: the runs have different forecasts; join runs with one"
        )
    return Ensemble(members, probabilities=members[0].network.probabilities)


def _observation_of(settings: Mapping[str, Any], run: Path) -> type[PhaseObservation]:
    """What the policy's network reads; code from outside is loaded."""
    name, sensing = settings.get("observation", "phases"), settings.get("sensing")
    if sensing not in OBSERVATIONS or (name not in NAMED and not is_outside(name)):
        raise InputError(f"{run / SETTINGS}: there is no such sensing or observation; train the run anew")
    found = find_observation(name, sensing)
    if not issubclass(found, PhaseObservation):
        raise InputError(
            f"{run / SETTINGS}: observation {printable(name)!r} is no PhaseObservation; train the run anew"
        )
    return found
