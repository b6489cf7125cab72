"""Before a training begins: whether there is room for its run, and the weights that it starts from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from agents.learner import Learner
from agents.registry import AGENTS, algorithm
from agents.run import CHECKPOINT, OWN, POLICY, is_run, load_tensors, read_settings
from plumbing.errors import InputError
from plumbing.occupied import occupied
from plumbing.whole import Draft, check_movable


def check_room(run: Path, overwrite: bool) -> None:
    """Whether a new run may be written there.

    Raises:
        InputError: something is there that must not go.
    """
    if is_run(run):
        if not overwrite and (run / CHECKPOINT).exists():  # else it has ended before there was anything to keep
            raise InputError(f"{run} holds a run already; go on with --resume, replace it with --overwrite")
        check_movable(run)
    elif run.is_dir() and any(run.iterdir()):
        raise InputError(f"{run} is not empty and no run directory; give another --out")


@contextlib.contextmanager
def replacing(run: Path) -> Iterator[tuple[Path, Callable[[], Path]]]:
    """Where a run goes until its first checkpoint, and what then puts it in the place of an older one."""
    with Draft(run) as draft:
        draft.path.mkdir()

        def arrive() -> Path:
            draft.keep_all_but(OWN)
            draft.take_place()
            return run

        with occupied(draft.path):  # it is the --out that others ask for from then on
            yield draft.path, arrive


def start_from(learner: Learner, source: Path) -> None:
    """Give a learner the weights of a run.

    Raises:
        InputError: they are damaged, or for another network.
    """
    agent = str(read_settings(source).get("agent"))
    misfit = InputError(
        f"--from {source}: its network does not fit this one; choose the same units, sensing, observation and "
        f"network, and an agent of the same kind (that one is of {agent})"
    )
    if agent in AGENTS and algorithm(agent).probabilities != learner.probabilities:
        raise misfit
    try:
        weights = load_tensors(source / POLICY)["scorer"]
        finite = all(bool(torch.isfinite(weight).all()) for weight in weights.values())
        learner.begin_with(weights)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise misfit from error
    if not finite:
        raise InputError(f"--from {source}: its weights are not finite; start from another run")
