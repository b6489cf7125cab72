"""One policy chosen among trainings and their validations, by `agents.judgement`, and written as a run directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.judgement import RULE, Judgement
from agents.run import POLICY, SETTINGS, is_run, load_tensors, read_settings, validated_steps, weights_file
from agents.run_names import split_steps
from plumbing.errors import InputError
from plumbing.plain import json_bytes
from plumbing.whole import Draft, check_movable

CHOICE = "choice.json"
_CURVES = ("progress.csv", "validation.csv")


@dataclass(frozen=True)
class Candidate:
    """A policy that can be chosen: a run's, as it was at a validation or at the end."""

    name: str
    """As commands take it: RUN_DIR or RUN_DIR@STEPS."""
    judgement: Judgement


def candidates_of(names: Sequence[str]) -> list[str]:
    """The names, each run directory followed by its kept validations that had other weights than its last; a name
    given twice stands once."""
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        run, steps = split_steps(name)
        if steps is None and is_run(run):
            last = load_tensors(weights_file(run, None))["scorer"]
            found.update(
                (f"{name}@{each}", None)
                for each in validated_steps(run)
                if not _equal(load_tensors(weights_file(run, each))["scorer"], last)
            )
    return list(found)


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def is_candidate(name: str) -> bool:
    """Whether a run directory could be written of it."""
    return is_run(split_steps(name)[0])


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The best by the rule; of equals the one that is named first.

    Raises:
        InputError: there is none.
    """
    if not candidates:
        raise InputError("--choose: none of --controllers is a run directory; give some, such as runs/a runs/b")
    return min(candidates, key=lambda each: each.judgement)


def write_choice(out: Path, candidates: Sequence[Candidate], scenario: str, seeds: Sequence[int]) -> Candidate:
    """Write the chosen policy as a run directory, with all that it was chosen from in choice.json.

    Raises:
        InputError: there is no candidate, or nothing can be written there.
    """
    chosen = choose(candidates)
    run, steps = split_steps(chosen.name)
    told: dict[str, Any] = {
        "rule": RULE,
        "scenario": scenario,
        "seeds": list(seeds),
        "chosen": chosen.name,
        "candidates": [{"policy": each.name, **asdict(each.judgement)} for each in candidates],
    }
    trainings = len({split_steps(each.name)[0].resolve() for each in candidates})
    settings = {**read_settings(run), "chosen": f"{len(candidates)} policies of {trainings} trainings, {RULE}"}
    with Draft(out) as draft:
        draft.path.mkdir()
        (draft.path / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
        shutil.copyfile(weights_file(run, steps), draft.path / POLICY)
        for name in _CURVES:
            if (run / name).is_file():
                shutil.copyfile(run / name, draft.path / name)
        (draft.path / CHOICE).write_bytes(json_bytes(told))
        draft.take_place()
    return chosen


def check_choice(out: Path) -> None:
    """Whether a choice may be written there: where nothing is, or an older choice.

    Raises:
        InputError: something else is there.
    """
    if out.exists():
        if not (out / CHOICE).is_file() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--choose {out} is there already and holds no earlier choice; give another folder")
        check_movable(out)


def how_chosen(settings: Mapping[str, Any]) -> str:
    """How the policy of a run directory was chosen, in a line; "" where it is the last one of its training."""
    text = settings.get("chosen", "")
    return f"chosen from {text}" if text else ""
