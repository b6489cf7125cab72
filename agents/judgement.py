"""What validation says of a policy, and the rule by which one of several is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

RULE = "fewest gridlocked runs, then the least mean delay, on validation seeds"
"""The rule, in words: it is what `<` says between two judgements."""


@dataclass(frozen=True, order=True)
class Judgement:
    """Of a policy on validation seeds; the lesser is the better."""

    gridlocked_runs: int
    delay_s: float
    """Mean over all runs, gridlocked ones included [s]."""

    @classmethod
    def of(cls, runs: Iterable[tuple[bool, float]]) -> Judgement:
        """From whether each run gridlocked and its mean delay [s]."""
        gridlocked, delays_s = zip(*runs, strict=True)
        return cls(sum(gridlocked), fmean(delays_s))

    def __str__(self) -> str:
        stuck = f", {self.gridlocked_runs} gridlocked" if self.gridlocked_runs else ""
        return f"delay {self.delay_s:.1f} s{stuck}"
