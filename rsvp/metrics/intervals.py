"""Intervals of means over clips whose groups are not independent, and spread over seeds.

Clips of one group (the `gNN` of UCF-101) resemble each other, so groups are resampled and a group
brings all its clips. With the 13 groups of the small real set, intervals over clips would be four
times too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

TAIL = (1 - 0.95) / 2  # of all intervals, on each side
RESAMPLES = 2000  # of groups, where nothing else is asked for
DRAWS = 1 << 20  # groups drawn at once, at least one resample of them; 8 MB per array


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    The bounds are NaN where fewer than 2 groups carry a value, and where all groups have the same
    mean, since resampling tells nothing then.
    """

    mean: float
    low: float
    high: float
    clips: int  # that carry a value
    groups: int


def group_interval(
    values: Sequence[float], groups: Sequence[object], resamples: int = RESAMPLES
) -> Interval:
    """Mean of `values`, one per clip, and its bootstrap interval over groups.

    NaN values are left out. The quantiles are widened for few groups (Hesterberg 2015, section
    5.3, "expanded percentile": a percentile interval of g groups is too narrow by
    √((g - 1) / g) and by normal against t).
    """
    return ratio_interval(values, np.ones(len(values)), groups, resamples)


def ratio_interval(
    values: Sequence[float],
    others: Sequence[float],
    groups: Sequence[object],
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean of `values` over the mean of `others`, one each per clip, as `group_interval`."""
    values, others = (np.asarray(side, dtype=np.float64) for side in (values, others))
    names = np.array([str(group) for group in groups])
    if not values.shape == others.shape == names.shape or values.ndim != 1:
        raise ValueError(f"values {values.shape} and groups {names.shape}: one each per clip")
    known = ~np.isnan(values) & ~np.isnan(others)
    values, others, names = values[known], others[known], names[known]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    index = np.unique(names, return_inverse=True)[1]
    sums, weights = (np.bincount(index, weights=side) for side in (values, others))
    mean, count = float(sums.sum() / weights.sum()), len(sums)
    if count < 2 or np.allclose(sums, mean * weights, rtol=1e-12, atol=0):
        return Interval(mean, float("nan"), float("nan"), len(values), count)
    ratios = resampled_ratios(sums, weights, resamples)
    tail = special.ndtr(np.sqrt(count / (count - 1)) * special.stdtrit(count - 1, TAIL))
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), len(values), count)


def resampled_ratios(sums: np.ndarray, weights: np.ndarray, resamples: int) -> np.ndarray:
    """Ratios (resamples,) of the totals of groups drawn with replacement, a block at a time.

    The drawn numbers are those of one draw of all resamples.
    """
    random = np.random.default_rng(0)
    count, rows = len(sums), max(1, DRAWS // len(sums))
    blocks = []
    for first in range(0, resamples, rows):
        drawn = random.integers(count, size=(min(rows, resamples - first), count))
        blocks.append(sums[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    return np.concatenate(blocks)


def paired_interval(
    first: Sequence[float], second: Sequence[float], groups: Sequence[object]
) -> Interval:
    """`group_interval` of first - second, clip by clip; a clip counts where both are known."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return group_interval(difference, groups)


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; NaN deviation for a single seed."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else float("nan")


def verdict(low: float, high: float, goal: float) -> str:
    """Return "met" or "missed" where the interval lies on one side of a goal, else "not shown"."""
    if low >= goal:
        return "met"
    return "missed" if high < goal else "not shown"
