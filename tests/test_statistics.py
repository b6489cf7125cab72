"""The paired test, its correction and the probability of improvement, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from evaluation.statistics import EXACT_PAIRS, holm, paired_test, probability_of_improvement


@pytest.mark.parametrize("size", [3, 5, 10])
def test_the_paired_test_is_scipys(size: int) -> None:
    random = np.random.default_rng(size)
    one, other = random.normal(20, 3, size), random.normal(21, 3, size)
    expected = permutation_test((one - other,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert paired_test(one.tolist(), other.tolist()) == pytest.approx(expected.pvalue)


def test_five_pairs_cannot_be_significant_and_six_can() -> None:
    for pairs, least in ((5, 2 / 32), (6, 2 / 64)):
        assert paired_test([1.0] * pairs, [2.0 + n for n in range(pairs)]) == pytest.approx(least)
    assert paired_test([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert math.isnan(paired_test([1.0, math.nan], [1.0, 2.0]))


def test_many_pairs_are_drawn_and_come_close() -> None:
    random = np.random.default_rng(1)
    one = random.normal(0.0, 1.0, EXACT_PAIRS + 4)
    other = one + random.normal(0.3, 1.0, one.size)
    drawn = paired_test(one.tolist(), other.tolist())
    differences = one - other  # for so many pairs the t-test is near
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(one.size))
    assert drawn == pytest.approx(math.erfc(abs(t) / math.sqrt(2)), abs=0.06)
    assert paired_test((one - 100).tolist(), one.tolist()) == pytest.approx(1 / 100_001)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    corrected = holm([math.nan, 0.01, 0.02])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_the_probability_of_improvement_counts_pairs() -> None:
    found = probability_of_improvement([1.0, 1.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0])
    assert found.mean == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert 0 <= found.low <= found.mean <= found.high <= 1
