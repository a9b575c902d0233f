"""Distances between distributions: known answers, edge cases, and coverage of their intervals."""

import json
from pathlib import Path

import numpy as np
import pytest

from rsvp.metrics.distribution import (
    diagonal_frechet_distance,
    frechet_distance,
    jackknife,
    kernel_distance,
)
from rsvp.runtime.errors import UserError


@pytest.mark.parametrize(("clips", "dimensions"), [(64, 400), (512, 400), (2048, 16)])
def test_frechet_known_answers(shared: Path, clips: int, dimensions: int) -> None:
    answers = json.loads((shared / "reference" / "frechet_known_answers.json").read_text())
    first = np.random.RandomState(1).randn(clips, dimensions)
    second = np.random.RandomState(2).randn(clips, dimensions) * 1.2 + 0.3
    distance = frechet_distance(first, second)
    for expected in answers[f"N{clips}_D{dimensions}"].values():
        assert distance == pytest.approx(expected, rel=1e-6)


def test_frechet_of_two_clips_and_of_constant_features() -> None:
    # Rank one and rank zero: one dimension has the closed form (m1 - m2)² + (s1 - s2)².
    first, second = np.array([[1.0], [3.0]]), np.array([[10.0], [10.0]])
    assert frechet_distance(first, second) == pytest.approx(64 + 2)
    assert diagonal_frechet_distance(first, second) == pytest.approx(64 + 2)
    constant = np.zeros((5, 7))
    assert frechet_distance(constant, constant + 2) == pytest.approx(28)
    features = np.random.RandomState(0).randn(6, 20)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, diagonal_frechet_distance])
def test_the_undefined_is_refused(distance) -> None:
    several = np.random.RandomState(0).randn(5, 3)
    for pair in ((several[:1], several), (several, several[:0])):
        with pytest.raises(UserError, match="2 clips or more"):
            distance(*pair)
    with pytest.raises(UserError, match="NaN"):
        distance(several, several * np.nan)


def test_kernel_distance_against_its_definition() -> None:
    random = np.random.RandomState(0)
    first, second = random.randn(5, 3), random.randn(4, 3) + 0.5

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    expected = (
        np.mean([kernel(x, y) for i, x in enumerate(first) for j, y in enumerate(first) if i != j])
        + np.mean(
            [kernel(x, y) for i, x in enumerate(second) for j, y in enumerate(second) if i != j]
        )
        - 2 * np.mean([kernel(x, y) for x in first for y in second])
    )
    assert kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_is_unbiased_and_grows_with_a_shift() -> None:
    random = np.random.RandomState(0)
    same = [kernel_distance(random.randn(20, 8), random.randn(20, 8)) for _ in range(300)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(same))
    first, second = random.randn(100, 8), random.randn(100, 8)
    shifted = [kernel_distance(first, second + shift) for shift in (0.0, 0.3, 0.6, 1.2)]
    assert shifted == sorted(shifted) and shifted[3] > 10 * abs(shifted[0])


def test_kernel_distance_is_unbiased_for_clips_that_resemble_their_group() -> None:
    """Predictions resemble their own clip, clips of one group each other: all one distribution."""
    random = np.random.RandomState(0)
    groups = np.repeat(np.arange(8), [1, 2, 3, 4, 1, 2, 3, 4])
    naive, grouped = [], []
    for _ in range(300):
        common = random.randn(8, 6)[groups]
        first = 0.8 * common + 0.6 * random.randn(20, 6)
        second = 0.7 * first + 0.51**0.5 * random.randn(20, 6)
        naive.append(kernel_distance(first, second))
        grouped.append(kernel_distance(first, second, groups, groups))
    error = np.std(grouped) / np.sqrt(len(grouped))
    assert abs(np.mean(grouped)) < 3 * error
    assert abs(np.mean(naive)) > 6 * np.std(naive) / np.sqrt(len(naive))


def test_kernel_distance_of_groups_against_its_definition() -> None:
    random = np.random.RandomState(0)
    first, second = random.randn(5, 3), random.randn(4, 3) + 0.5
    groups, others = list("aabbc"), list("abcd")

    def mean(x: np.ndarray, y: np.ndarray, mine: list[str], theirs: list[str]) -> float:
        return np.mean([
            (float(a @ b) / 3 + 1) ** 3
            for a, g in zip(x, mine, strict=True) for b, h in zip(y, theirs, strict=True) if g != h
        ])  # fmt: skip

    expected = (
        mean(first, first, groups, groups) + mean(second, second, others, others)
        - 2 * mean(first, second, groups, others)
    )  # fmt: skip
    assert kernel_distance(first, second, groups, others) == pytest.approx(expected)
    with pytest.raises(UserError, match="two groups or more"):
        kernel_distance(first, second, ["a"] * 5, others)


def test_kernel_interval_covers_zero_for_equal_distributions() -> None:
    random = np.random.RandomState(1)
    covered = 0
    for _ in range(100):
        first, second = random.randn(40, 8), random.randn(40, 8)
        estimate = jackknife(kernel_distance, first, second, range(40), range(40))
        covered += estimate.low <= 0 <= estimate.high
    assert covered >= 90


def test_frechet_interval_covers_the_expected_distance_at_this_n() -> None:
    random = np.random.RandomState(2)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        return random.randn(60, 4), random.randn(60, 4) * 1.3 + 0.5

    expected = np.mean([frechet_distance(*draw()) for _ in range(2000)])
    covered = 0
    for _ in range(100):
        estimate = jackknife(frechet_distance, *draw(), range(60), range(60))
        covered += estimate.low <= expected <= estimate.high
    assert covered >= 88


def test_jackknife_of_a_mean_is_the_standard_error() -> None:
    features = np.random.RandomState(0).randn(20, 1)
    estimate = jackknife(lambda x, y: float(x.mean()), features, features, range(20))
    standard_error = features.std(ddof=1) / np.sqrt(20)
    margin = 2.0930 * standard_error  # t quantile of 19 degrees of freedom
    assert estimate.high - estimate.value == pytest.approx(margin, rel=1e-4)
    assert estimate.blocks == 20


def test_jackknife_deletes_whole_groups() -> None:
    random = np.random.RandomState(0)
    effect = np.repeat(random.randn(10), 8)[:, None]  # clips of one group are equal
    groups = np.repeat(np.arange(10), 8)

    def mean(x: np.ndarray, _: np.ndarray) -> float:
        return float(x.mean())

    by_group = jackknife(mean, effect, effect, groups)
    by_clip = jackknife(mean, effect, effect, range(80))
    assert by_group.high - by_group.low > 2 * (by_clip.high - by_clip.low)
    assert by_group.blocks == 10


def test_one_group_has_a_value_and_no_interval() -> None:
    features = np.random.RandomState(0).randn(6, 2)
    estimate = jackknife(frechet_distance, features, features + 1, ["g"] * 6)
    assert estimate.value == pytest.approx(2) and np.isnan(estimate.low)
