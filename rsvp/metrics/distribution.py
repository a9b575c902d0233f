"""Distances between two sets of features: Fréchet (FVD) and kernel (KVD), with intervals.

Features are (N, D) arrays, one row per clip; all statistics are float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rsvp.errors import UserError

COMPARABLE_CLIPS = 256  # an FVD on fewer clips is not comparable with published ones
_BLOCKS = 32  # at most this many deletions per jackknife


@dataclass(frozen=True)
class Estimate:
    """A distance with its jackknife interval."""

    value: float
    low: float
    high: float
    blocks: int  # of the jackknife; per side where the sides are not paired


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


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel (x·y / D + 1)³ (Bińkowski et al. 2018; KVD).

    Its expectation does not depend on N; it is 0 for equal distributions, so it may be negative.
    """
    first, second = _check(first, second)
    return float(_within(first) + _within(second) - 2 * _kernel(first, second).mean())


def paired_kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """`kernel_distance` where row i of both is the same clip (Gretton et al. 2012, equation 4).

    A prediction resembles the real future of its own clip more than that of another, so the
    pairs i, i are left out of the mixed term too; with them it would be biased downwards.
    """
    first, second = _check(first, second)
    if len(first) != len(second):
        raise ValueError(f"features: as many rows on both sides, not {len(first)}, {len(second)}")
    return float(_within(first) + _within(second) - 2 * _off_diagonal_mean(_kernel(first, second)))


def jackknife(
    distance: Callable[[np.ndarray, np.ndarray], float],
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[object],
    second_groups: Sequence[object] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """A distance and its interval by deleting groups of clips (Busing et al. 1999).

    groups: of the rows of `first`. Without `second_groups` the sets are paired: row i of both is
    the same clip and is deleted from both. With it, each set's groups are deleted on their own
    and the variances add up. Groups are merged to at most 32 blocks. The naive bootstrap is not
    used: resampled duplicates bias a Fréchet distance upwards. The interval is that of the
    distance at this N; N's bias stays in it. NaN bounds where there are fewer than 2 groups.
    """
    value = distance(first, second)
    blocks = _blocks(groups)
    if second_groups is None:
        sides = [(blocks, lambda keep: distance(first[keep], second[keep]))]
    else:
        sides = [
            (blocks, lambda keep: distance(first[keep], second)),
            (_blocks(second_groups), lambda keep: distance(first, second[keep])),
        ]
    count = min(int(side.max()) + 1 for side, _ in sides)
    if count < 2:
        return Estimate(value, float("nan"), float("nan"), count)
    variance = sum(_jackknife_variance(value, side, deleted) for side, deleted in sides)
    margin = stats.t.ppf(0.5 + confidence / 2, count - 1) * np.sqrt(variance)
    return Estimate(value, float(value - margin), float(value + margin), count)


def _jackknife_variance(
    value: float, blocks: np.ndarray, deleted: Callable[[np.ndarray], float]
) -> float:
    """Delete-m_j jackknife variance: blocks may differ in size. blocks: block number per row."""
    sizes = np.bincount(blocks)
    ratio = len(blocks) / sizes
    without = np.array([deleted(blocks != block) for block in range(len(sizes))])
    pseudo = ratio * value - (ratio - 1) * without
    centre = len(sizes) * value - np.sum((1 - 1 / ratio) * without)
    return float(np.mean((pseudo - centre) ** 2 / (ratio - 1)))


def _blocks(groups: Sequence[object]) -> np.ndarray:
    """A block number per row: groups are dealt, largest first, to the smallest of 32 blocks.

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


def _within(features: np.ndarray) -> float:
    return _off_diagonal_mean(_kernel(features, features))


def _off_diagonal_mean(matrix: np.ndarray) -> float:
    count = len(matrix)
    return (matrix.sum() - np.trace(matrix)) / (count * (count - 1))


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
