"""Fidelity and coverage of a set of videos, told apart, by nearest neighbours of features.

A clip's ball reaches to its k-th nearest neighbour in its own set, the clip itself not counted;
the balls of a set cover its videos. All need more than k clips on each side.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from rsvp.runtime.errors import UserError

PRECISION_NEIGHBOURS = 3  # as in Kynkäänniemi et al. 2019
DENSITY_NEIGHBOURS = 5  # as in Naeem et al. 2020
MINIMUM_CLIPS = DENSITY_NEIGHBOURS + 1
MOST_CLIPS = 4096  # three float64 matrices of this size take 400 MB


@dataclass(frozen=True)
class Neighbourhoods:
    """All distances between two sets of features, N predicted and M real clips."""

    predicted: np.ndarray  # (N, N)
    real: np.ndarray  # (M, M)
    between: np.ndarray  # (N, M)

    def without(self, predicted: np.ndarray, real: np.ndarray) -> "Neighbourhoods":
        """Keep only the clips where a mask holds."""
        return Neighbourhoods(
            self.predicted[np.ix_(predicted, predicted)],
            self.real[np.ix_(real, real)],
            self.between[np.ix_(predicted, real)],
        )


def neighbourhoods(predicted: np.ndarray, real: np.ndarray) -> Neighbourhoods:
    """Measure two sets of features, (N, D) and (M, D); UserError for too few or too many clips."""
    predicted, real = np.asarray(predicted, np.float64), np.asarray(real, np.float64)
    counts = len(predicted), len(real)
    if min(counts) < MINIMUM_CLIPS or max(counts) > MOST_CLIPS:
        raise UserError(
            f"neighbours of features are computed of {MINIMUM_CLIPS} to {MOST_CLIPS} clips on each "
            f"side, not of {counts[0]} and {counts[1]}; score as many test clips"
        )
    return Neighbourhoods(cdist(predicted, predicted), cdist(real, real), cdist(predicted, real))


def precision(sets: Neighbourhoods) -> float:
    """Share of predicted clips inside any real ball, 0 to 1 (Kynkäänniemi et al. 2019)."""
    inside = sets.between <= _radii(sets.real, PRECISION_NEIGHBOURS)
    return float(inside.any(axis=1).mean())


def recall(sets: Neighbourhoods) -> float:
    """Share of real clips inside any ball of predicted clips, 0 to 1 (Kynkäänniemi et al. 2019)."""
    inside = sets.between <= _radii(sets.predicted, PRECISION_NEIGHBOURS)[:, None]
    return float(inside.any(axis=0).mean())


def density(sets: Neighbourhoods) -> float:
    """Real balls that a predicted clip is in, over k; about 1 for equal sets (Naeem et al. 2020).

    Unlike in `precision`, one real outlier with a large ball hardly counts.
    """
    inside = sets.between <= _radii(sets.real, DENSITY_NEIGHBOURS)
    return float(inside.sum(axis=1).mean() / DENSITY_NEIGHBOURS)


def coverage(sets: Neighbourhoods) -> float:
    """Share of real clips with a predicted clip in their ball, 0 to 1 (Naeem et al. 2020)."""
    inside = sets.between <= _radii(sets.real, DENSITY_NEIGHBOURS)
    return float(inside.any(axis=0).mean())


def _radii(distances: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row; nearest of all is the row itself."""
    return np.partition(distances, neighbours, axis=1)[:, neighbours]
