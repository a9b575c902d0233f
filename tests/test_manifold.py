"""Precision, recall, density and coverage against brute force and cases with known answers."""

import numpy as np
import pytest

from rsvp.metrics.manifold import coverage, density, neighbourhoods, precision, recall
from rsvp.runtime.errors import UserError

SCORES = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}


def brute_force(predicted: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """The definitions, clip by clip."""

    def radius(point: int, features: np.ndarray, neighbours: int) -> float:
        others = [np.linalg.norm(features[point] - x) for i, x in enumerate(features) if i != point]
        return sorted(others)[neighbours - 1]

    def inside(clip: np.ndarray, features: np.ndarray, neighbours: int) -> list[bool]:
        return [
            np.linalg.norm(clip - centre) <= radius(i, features, neighbours)
            for i, centre in enumerate(features)
        ]

    return {
        "precision": np.mean([any(inside(clip, real, 3)) for clip in predicted]),
        "recall": np.mean([any(inside(clip, predicted, 3)) for clip in real]),
        "density": np.mean([sum(inside(clip, real, 5)) / 5 for clip in predicted]),
        "coverage": np.mean([
            any(np.linalg.norm(clip - centre) <= radius(i, real, 5) for clip in predicted)
            for i, centre in enumerate(real)
        ]),
    }  # fmt: skip


def test_brute_force_and_deleted_rows_agree() -> None:
    random = np.random.default_rng(0)
    predicted, real = random.normal(1.6, 1, (14, 3)), random.normal(0, 1, (12, 3))
    keep, keep_real = np.arange(14) % 4 > 0, np.arange(12) % 3 > 0
    sets = neighbourhoods(predicted, real)
    expected = brute_force(predicted, real)
    fewer = brute_force(predicted[keep], real[keep_real])
    assert all(0 < value < 1 for value in expected.values())
    for name, score in SCORES.items():
        assert score(sets) == pytest.approx(expected[name])
        assert score(sets.without(keep, keep_real)) == pytest.approx(fewer[name])


def test_known_cases() -> None:
    random = np.random.default_rng(1)
    real = random.normal(size=(200, 4))
    same = neighbourhoods(real, real)
    assert (precision(same), recall(same), coverage(same)) == (1, 1, 1)
    far = neighbourhoods(real + 100, real)
    assert [score(far) for score in SCORES.values()] == [0, 0, 0, 0]
    collapsed = neighbourhoods(np.repeat(real[:1], 200, axis=0), real)
    assert precision(collapsed) == 1 and coverage(collapsed) < 0.1 and recall(collapsed) < 0.1


def test_density_is_one_for_one_distribution() -> None:
    random = np.random.default_rng(2)
    values = [
        density(neighbourhoods(random.normal(size=(100, 4)), random.normal(size=(100, 4))))
        for _ in range(40)
    ]
    assert np.mean(values) == pytest.approx(1, abs=0.03)  # Naeem et al. 2020, equation 8


def test_one_far_real_clip_spoils_precision_more_than_density() -> None:
    random = np.random.default_rng(3)
    real = np.vstack([random.normal(size=(60, 2)), [[40.0, 40.0]]])
    between = random.uniform(8, 20, size=(60, 2))  # where no real clip is
    sets = neighbourhoods(between, real)
    assert precision(sets) > 0.9 and density(sets) < 0.25


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(UserError, match="of 6 to 4096 clips on each side, not of 5 and 9"):
        neighbourhoods(np.zeros((5, 2)), np.zeros((9, 2)))
