"""Distances between two sets of features: Fréchet (FVD) and kernel (KVD), with intervals.

Features are (N, D) arrays, one row per clip; all statistics are float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from rsvp.metrics.groups import effective_number
from rsvp.runtime.errors import UserError

COMPARABLE_CLIPS = 256  # an FVD on fewer clips is not comparable with published ones
SUBSETS = 8  # random ones of each size, in a curve over the number of clips
_BLOCKS = 32  # at most this many deletions per jackknife


@dataclass(frozen=True)
class JackknifeInterval:
    """A distance with its interval, NaN where there is none."""

    value: float
    low: float
    high: float
    blocks: int  # of the jackknife; per side where the sides are not paired


@dataclass(frozen=True)
class Side:
    """A statistic without each block of one side."""

    sizes: np.ndarray  # rows of each block
    without: np.ndarray  # the statistic without each block


@dataclass(frozen=True)
class Replicates:
    """A statistic and its delete-a-group jackknife; differences and means of them are again one."""

    value: float
    sides: tuple[Side, ...]  # one where deleting takes both sets' rows, else one per set

    def __sub__(self, other: "Replicates") -> "Replicates":
        """The difference of two statistics of the same clips, block by block."""
        return combined([self, other], lambda parts: parts[0] - parts[1])

    @property
    def effective(self) -> float:
        """The smaller number of blocks of a side, as `effective_number` counts them."""
        return min(effective_number(side.sizes) for side in self.sides)

    def interval(self) -> JackknifeInterval:
        """Return the 95 % interval around the value.

        Its bounds are NaN where a side has fewer than 2 blocks, and where deleting changes nothing.
        """
        count = min(len(side.sizes) for side in self.sides)
        if count < 2 or all(
            np.allclose(side.without, self.value, rtol=1e-12, atol=0) for side in self.sides
        ):
            return JackknifeInterval(self.value, float("nan"), float("nan"), count)
        variance = sum(_jackknife_variance(self.value, side) for side in self.sides)
        margin = float(special.stdtrit(count - 1, 0.5 + 0.95 / 2) * np.sqrt(variance))
        return JackknifeInterval(self.value, self.value - margin, self.value + margin, count)


def mean_replicates(several: Sequence[Replicates]) -> Replicates:
    """The mean of statistics of the same clips: of the seeds of one row."""
    return combined(several, lambda parts: sum(parts) / len(parts))


def combined(several: Sequence[Replicates], merge: Callable[[list], Any]) -> Replicates:
    """Merge statistics of the same clips: their values, and those without each block."""
    sides = []
    for parts in zip(*(each.sides for each in several), strict=True):
        if not all(np.array_equal(part.sizes, parts[0].sizes) for part in parts):
            raise ValueError("the statistics are not of the same clips in the same groups")
        sides.append(Side(parts[0].sizes, merge([part.without for part in parts])))
    return Replicates(merge([each.value for each in several]), tuple(sides))


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of Gaussians fitted to two sets of features (Heusel et al. 2017).

    |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½) with unbiased covariances. With the centred features
    as A = X1 / √(n1 - 1) and B likewise, tr (S1 S2)^½ is the sum of the singular values of A Bᵀ;
    so no covariance and no matrix root is formed, and fewer clips than dimensions are no problem.
    QR keeps that product at D×D or smaller. Not unbiased: it falls as N grows, so N is part of it.
    """
    first, second = _check(first, second)
    root_1, root_2 = _root(first), _root(second)
    shared = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    mean = first.mean(axis=0) - second.mean(axis=0)
    return float(mean @ mean + np.sum(root_1**2) + np.sum(root_2**2) - 2 * shared)


def diagonal_frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """`frechet_distance` of Gaussians with diagonal covariance: |m1 - m2|² + |s1 - s2|²."""
    first, second = _check(first, second)
    mean = first.mean(axis=0) - second.mean(axis=0)
    deviation = first.std(axis=0, ddof=1) - second.std(axis=0, ddof=1)
    return float(mean @ mean + deviation @ deviation)


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    first_groups: Sequence[object] | None = None,
    second_groups: Sequence[object] | None = None,
) -> float:
    """Unbiased squared MMD with the kernel (x·y / D + 1)³ (Bińkowski et al. 2018; KVD).

    Its expectation does not depend on N; it is 0 for equal distributions, so it may be negative.
    groups: one name per row; rows of one group are no independent draws, also where one is a
    prediction and the other the real future of its own clip. So such pairs are left out of every
    mean (as Gretton et al. 2012, equation 4, leave out i, i), else it would be biased. Without
    groups every row is its own.
    """
    first, second = _check(first, second)
    groups = np.asarray(range(len(first)) if first_groups is None else first_groups)
    others = np.asarray(range(-len(second), 0) if second_groups is None else second_groups)
    if min(len(np.unique(groups)), len(np.unique(others))) < 2:
        raise UserError("the kernel distance needs clips of two groups or more on each side")
    return float(
        _mean_over_groups(_kernel(first, first), groups, groups)
        + _mean_over_groups(_kernel(second, second), others, others)
        - 2 * _mean_over_groups(_kernel(first, second), groups, others)
    )


def jackknife(
    distance: Callable[[np.ndarray, np.ndarray], float],
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[object],
    second_groups: Sequence[object] | None = None,
) -> JackknifeInterval:
    """Return a distance and its interval by deleting groups of clips: `replicates`, of features."""

    def statistic(keep: np.ndarray, second_keep: np.ndarray) -> float:
        return distance(first[keep], second[second_keep])

    return replicates(statistic, groups, second_groups).interval()


def replicates(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    groups: Sequence[object],
    second_groups: Sequence[object] | None = None,
) -> Replicates:
    """Evaluate a statistic of two sets of clips, and without each group (Busing et al. 1999).

    statistic: of two masks, the rows of each set to keep. groups: of the rows of the first set.
    Without `second_groups` the sets are paired: row i of both is the same clip and is deleted from
    both. With it, each set's groups are deleted on their own and the variances add up. Groups are
    merged to at most 32 blocks. The naive bootstrap is not used: resampled duplicates bias a
    Fréchet distance upwards. The interval is that of the statistic at this N; N's bias stays in it.
    """
    blocks = _blocks(groups)
    others = blocks if second_groups is None else _blocks(second_groups)
    all_blocks, all_others = blocks >= 0, others >= 0
    if second_groups is None:
        sides = [_side(blocks, lambda keep: statistic(keep, keep))]
    else:
        sides = [
            _side(blocks, lambda keep: statistic(keep, all_others)),
            _side(others, lambda keep: statistic(all_blocks, keep)),
        ]
    return Replicates(statistic(all_blocks, all_others), tuple(sides))


def _side(blocks: np.ndarray, deleted: Callable[[np.ndarray], float]) -> Side:
    """Delete each block, given by its number per row; one block alone cannot be deleted."""
    sizes = np.bincount(blocks)
    without = [deleted(blocks != block) for block in range(len(sizes))] if len(sizes) > 1 else []
    return Side(sizes, np.array(without))


def _jackknife_variance(value: float, side: Side) -> float:
    """Delete-m_j jackknife variance: blocks may differ in size."""
    ratio = side.sizes.sum() / side.sizes
    pseudo = ratio * value - (ratio - 1) * side.without
    centre = len(ratio) * value - np.sum((1 - 1 / ratio) * side.without)
    return float(np.mean((pseudo - centre) ** 2 / (ratio - 1)))


def distance_curve(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    clips: int,
    sizes: Sequence[int],
    subsets: int = SUBSETS,
    seed: int = 0,
) -> list[tuple[int, float, float]]:
    """(N, mean, standard deviation) of a statistic over random subsets of N of the `clips` clips.

    statistic: as for `replicates`; row i of both sets is taken together. All clips at once are one
    subset; its deviation is NaN.
    """
    random = np.random.default_rng(seed)
    curve = []
    for size in sizes:
        draws = subsets if size < clips else 1
        chosen = [np.isin(np.arange(clips), random.choice(clips, size, replace=False))
                  for _ in range(draws)]  # fmt: skip
        values = [statistic(keep, keep) for keep in chosen]
        deviation = float(np.std(values, ddof=1)) if draws > 1 else float("nan")
        curve.append((size, float(np.mean(values)), deviation))
    return curve


def _blocks(groups: Sequence[object]) -> np.ndarray:
    """Deal groups, largest first, to the smallest of 32 blocks: a block number per row.

    A block holds less than half of the rows wherever the groups allow it.
    """
    names, index, counts = np.unique(
        np.array([str(group) for group in groups]), return_inverse=True, return_counts=True
    )
    count = min(len(names), _BLOCKS)
    filled = np.zeros(count, dtype=int)
    block_of_group = np.zeros(len(names), dtype=int)
    for group in np.argsort(-counts, kind="stable"):
        block_of_group[group] = np.argmin(filled)
        filled[block_of_group[group]] += counts[group]
    return block_of_group[index]


def _root(features: np.ndarray) -> np.ndarray:
    """R with RᵀR = the unbiased covariance; at most D rows."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.linalg.qr(centred, mode="r")


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _mean_over_groups(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """The mean over pairs of different groups."""
    return float(kernel.mean(where=rows[:, None] != columns))


def _check(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64; UserError where the distance is undefined."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features: (N, D) twice, not {first.shape} and {second.shape}")
    if min(len(first), len(second)) < 2:
        raise UserError(
            f"a distance between distributions needs 2 clips or more on each side, not "
            f"{len(first)} and {len(second)}; score more test clips"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UserError("a distance between distributions needs finite features; some are NaN")
    return first, second
