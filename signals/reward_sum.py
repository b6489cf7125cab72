"""A reward as a weighted sum of terms, such as `"time_loss + 0.1*pressure_veh"`; terms may come from outside."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError, did_you_mean, printable
from plumbing.outside import absolute, is_outside, load_outside
from signals.layout import Layout
from signals.rewards import COMPARING, REWARDS, Reward
from signals.snapshot import Snapshot

FloatArray = npt.NDArray[np.float64]
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.:/])")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NAMES = [
    re.compile(pattern)
    for pattern in (
        rf"(?:{'|'.join(re.escape(name) for name in sorted(REWARDS, key=len, reverse=True))})(?![\w.:/])",
        r"[^\s'\"+*]*?\.py:[\w.]+|\w[\w.]*:[\w.]+",
        r"[^\W\d][\w-]*",
    )
]
"""A name of ours, which may hold a minus; one from outside; one that there is not."""
FORM = "NAME, package.module:NAME, path/to/file.py:NAME, or a sum of these such as 'time_loss + 0.1*pressure_veh'"


@dataclass(frozen=True)
class Term:
    """One summand."""

    label: str
    """What it is called in `info["reward_terms"]`."""
    name: str
    """As `terms_of` takes it, with a file's absolute path; "" for an object."""
    weight: float
    reward: Any
    """What is called, or its class."""

    @property
    def ours(self) -> bool:
        """Whether it is one of `REWARDS`."""
        return self.name in REWARDS

    @property
    def compares(self) -> bool:
        """Whether it looks at the earlier moment."""
        return not self.ours or self.name in COMPARING


Terms = tuple[Term, ...]


def terms_of(reward: str | Reward | Terms) -> Terms:
    """The terms of a reward: a name, an expression, a callable, or a class of callables; none for "".

    Code from outside that it names is loaded: a run directory's word passes `plumbing.outside.check_allowed` first.

    Raises:
        InputError: it is not well formed, or names what is not there.
    """
    if isinstance(reward, tuple):
        return reward
    if not isinstance(reward, str):
        _check_callable(reward, repr(reward))
        label = getattr(reward, "__name__", type(reward).__name__)
        return (Term("reward" if label == "<lambda>" else label, "", 1.0, reward),)
    weights = _parsed(reward)
    labels = Counter(_label(name) for name in weights)
    return tuple(
        Term(_label(name) if labels[_label(name)] == 1 else name, name, weight, _loaded(name))
        for name, weight in weights.items()
    )


def outside_names(reward: str) -> list[str]:
    """The names of code from outside in an expression; none of it is loaded.

    Raises:
        InputError: it is not well formed.
    """
    return [name for name in _parsed(reward) if is_outside(name)]


def text_of(terms: Terms) -> str:
    """The expression that gives these terms again, in any folder.

    Raises:
        InputError: one of them is an object, which has no name.
    """
    said = ""
    for term in terms:
        if not term.name:
            raise InputError(
                f"the reward {term.label} is an object; only one with a name can be written down: {FORM}"
            )
        name = term.name if re.fullmatch(r"[\w./:]+", term.name) or term.ours else _quoted(term.name)
        weight = "" if abs(term.weight) == 1.0 else f"{abs(term.weight)!r}*"
        said += (" - " if said else "-") if term.weight < 0 else (" + " if said else "")
        said += f"{weight}{name}"
    return said


class RewardSum:
    """Computes the terms of one simulation and their sum."""

    def __init__(self, terms: Terms, layout: Layout) -> None:
        self.terms, self._layout = terms, layout
        self._rewards = [_made(term) for term in terms]
        self.compares = any(term.compares for term in terms)
        """Whether the earlier snapshot has to be one of its own."""

    def begin(self, simulation: Any) -> None:
        """An episode has begun: tell those who read more than snapshots.

        Raises:
            InputError: a term from outside fails.
        """
        for term, reward in zip(self.terms, self._rewards, strict=True):
            if not hasattr(reward, "begin"):
                continue
            try:
                reward.begin(simulation)
            except Exception as error:  # whatever it does
                if term.ours:
                    raise
                raise _failed(term, error, "its begin is called with the simulation") from error

    def write(self, before: Snapshot, after: Snapshot, total: FloatArray, each: FloatArray | None) -> None:
        """Compute the reward of a step.

        Args:
            total: [S] where the weighted sum goes.
            each: [T, S] where the terms go, without their weights.

        Raises:
            InputError: a term from outside fails, or gives something else than [S] finite values.
        """
        for n, (term, reward) in enumerate(zip(self.terms, self._rewards, strict=True)):
            if term.ours:
                values = reward(self._layout, before, after)
            else:
                values = _checked(term, reward, self._layout, before, after, len(total))
            if each is not None:
                each[n] = values
            if n:
                total += term.weight * values
            else:
                total[:] = term.weight * values


def is_plain(terms: Terms) -> bool:
    """Whether the sum is its only term."""
    return len(terms) == 1 and terms[0].weight == 1.0


def sumo_options(terms: Terms) -> list[tuple[str, ...]]:
    """The further options of SUMO's that each reward asks for."""
    return [tuple(getattr(term.reward, "sumo_options", ())) for term in terms]


def _parsed(text: str) -> dict[str, float]:
    """The weight of each name; a name that is there twice has the sum."""
    if is_outside(text) and os.path.isfile(absolute(text).rpartition(":")[0]):
        return {absolute(text): 1.0}
    found: dict[str, float] = {}
    rest = text.strip()
    while rest:
        sign = 1.0
        if rest[0] in "+-":
            sign, rest = (-1.0 if rest[0] == "-" else 1.0), rest[1:].lstrip()
        elif found:
            raise _malformed(text, f"before {printable(rest, 40)!r} a + or - is missing")
        weight = _NUMBER.match(rest)
        if weight is not None:
            rest = rest[weight.end() :].lstrip()
            if not rest.startswith("*"):
                raise _malformed(text, f"after the weight {weight[0]} there is no *NAME")
            rest = rest[1:].lstrip()
        name, rest = _next_name(text, rest)
        found[name] = found.get(name, 0.0) + sign * (float(weight[0]) if weight is not None else 1.0)
    if not np.isfinite(list(found.values())).all():
        raise _malformed(text, "a weight is not finite")
    return found


def _next_name(text: str, rest: str) -> tuple[str, str]:
    quoted = _QUOTED.match(rest)
    if quoted is not None:
        name, rest = quoted[1] or quoted[2] or "", rest[quoted.end() :]
    else:
        match = next((found for pattern in _NAMES if (found := pattern.match(rest))), None)
        if match is None:
            raise _malformed(text, f"{printable(rest, 40)!r} is no name" if rest else "it ends without a name")
        name, rest = match[0], rest[match.end() :]
    if is_outside(name):
        name = absolute(name)
    elif name not in REWARDS:
        raise InputError(
            f"unknown reward {printable(name)!r}; choose one of {', '.join(REWARDS)}, or {FORM}."
            f"{did_you_mean(name, REWARDS)}"
        )
    return name, rest.lstrip()


def _malformed(text: str, why: str) -> InputError:
    return InputError(f"reward {printable(text)!r}: {why}; write {FORM}")


def _loaded(name: str) -> Any:
    known = REWARDS.get(name)
    if known is not None and not isinstance(known, str):
        return known
    found = load_outside(known or name, "reward")
    _check_callable(found, printable(name))
    return found


def _check_callable(reward: object, name: str) -> None:
    if not callable(reward):
        raise InputError(
            f"reward {name} is a {type(reward).__name__}, which cannot be called; give a function of "
            "(layout, before, after)"
        )


def _label(name: str) -> str:
    return name.rpartition(":")[2]


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"


def _made(term: Term) -> Reward:
    if not isinstance(term.reward, type):
        made: Reward = term.reward
        return made
    try:
        made = term.reward()
    except Exception as error:  # whatever it does
        raise _failed(term, error, "its class is called with nothing") from error
    return made


def _checked(
    term: Term, reward: Reward, layout: Layout, before: Snapshot, after: Snapshot, signals: int
) -> FloatArray:
    try:
        values = np.asarray(reward(layout, before, after), float)
    except Exception as error:  # whatever it does
        raise _failed(term, error, "it is called with (layout, before, after)") from error
    if values.shape != (signals,):
        raise InputError(
            f"reward {printable(term.name or term.label)!r} gives an array of shape {values.shape}; give [S], "
            f"here ({signals},): one value for each signal"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"reward {printable(term.name or term.label)!r} is not finite for signal "
            f"{layout.tls_ids[int(np.argmin(np.isfinite(values)))]} at {after.time_s[0]:g} s; give finite values"
        )
    return values


def _failed(term: Term, error: Exception, how: str) -> InputError:
    return InputError(
        f"reward {printable(term.name or term.label)!r} fails ({type(error).__name__}: {printable(error)}); {how}"
    )
