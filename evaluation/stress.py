"""How delay grows as conditions get worse. (Filled in below.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.statistics import Interval


@dataclass(frozen=True)
class StressCurve:
    """One kind of hardship, level by level."""

    kind: str
    title: str
    unit: str
    levels: Sequence[float]
    delay_s: Mapping[str, Sequence[Interval]]
    gridlocked_runs: Mapping[str, Sequence[int]]
    runs: int
