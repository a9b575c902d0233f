"""Intervals over clips whose groups are not independent, and over trainings; their tests.

Clips of one group (the `gNN` of UCF-101) resemble each other, so groups are resampled and a group
brings all its clips. With the 13 groups of the small real set, intervals over clips would be four
times too narrow. Such an interval holds of these weights. One of the method adds the trainings:
both clips and seeds are drawn anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from rsvp.metrics.groups import effective_number

TAIL = (1 - 0.95) / 2  # of all intervals, on each side
SEEDS = 3  # trainings from which on an interval holds of the method
LEAST_TAIL = 1e-12  # of a test: a smaller one is not told
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
    effective: float = float("nan")  # groups, as `effective_number` counts them


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
    effective = effective_number(weights)
    return Interval(mean, float(low), float(high), len(values), count, effective)


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


def method_interval(
    value: float, low: float, high: float, by_seed: Sequence[float]
) -> tuple[float, float]:
    """Ends of a method's interval around `value`, the mean of the trainings' values `by_seed`.

    low, high: its interval over clips. Clips and trainings are independent draws, so the reaches of
    this interval and of Student's t over trainings add up as squares (Zou & Donner 2008, MOVER).
    What differs by training and group at once is in both: the interval is rather too wide.
    """
    reach = standard_error(by_seed) * -special.stdtrit(len(by_seed) - 1, TAIL)
    return value - math.hypot(value - low, reach), value + math.hypot(high - value, reach)


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of two independent values or more."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def p_value(
    value: float, reach: float, freedom: float, by_seed: Sequence[float] | None = None
) -> float:
    """Two-sided p of a true difference of 0: the interval with the level 1 - p ends at 0.

    reach: how far the 95 % interval over clips goes from `value`, on its longer side, since the
    far tail of a bootstrap is too light on the shorter one; `freedom`: its degrees of freedom.
    by_seed: as in `method_interval`; None where the interval is that over clips.
    """
    errors = [reach / -special.stdtrit(freedom, TAIL)]
    freedoms = [freedom]
    if by_seed is not None:
        errors.append(standard_error(by_seed))
        freedoms.append(len(by_seed) - 1)

    def excess(logarithm: float) -> float:
        quantiles = special.stdtrit(freedoms, math.exp(logarithm))
        return math.hypot(*(errors * quantiles)) - abs(value)

    least, most = math.log(LEAST_TAIL), math.log(0.5)
    if excess(least) <= 0:
        return 2 * LEAST_TAIL
    return 2 * math.exp(optimize.brentq(excess, least, most)) if value else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979): any error below 0.05 at a chance of 5 %.

    Whatever their dependence: the smallest of m counts m times, the next m - 1 times, and none
    less than a smaller one.
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    steps = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def verdict(low: float, high: float, goal: float) -> str:
    """Return "met" or "missed" where the interval lies on one side of a goal, else "not shown"."""
    if low >= goal:
        return "met"
    return "missed" if high < goal else "not shown"
