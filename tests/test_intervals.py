"""Intervals: coverage on simulated groups, pairing, determinism, edge cases."""

import tracemalloc

import numpy as np
import pytest

from rsvp.metrics import intervals
from rsvp.metrics.intervals import (
    group_interval,
    mean_over_seeds,
    paired_interval,
    resampled_ratios,
    verdict,
)


def simulate(random: np.random.RandomState, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips with mean 0 in groups of different sizes that share an effect."""
    sizes = random.randint(3, 8, groups)
    index = np.repeat(np.arange(groups), sizes)
    return random.randn(groups)[index] + 0.5 * random.randn(len(index)), index


@pytest.mark.parametrize("groups", [8, 13, 30])
def test_coverage_of_the_95_percent_interval(groups: int) -> None:
    random = np.random.RandomState(groups)
    covered = over_clips = 0
    for _ in range(400):
        values, index = simulate(random, groups)
        interval = group_interval(values, index, resamples=600)
        covered += interval.low <= 0 <= interval.high
        naive = group_interval(values, np.arange(len(values)), resamples=600)
        over_clips += naive.low <= 0 <= naive.high
    assert 0.92 <= covered / 400 <= 0.98
    assert over_clips / 400 < 0.75  # why groups are resampled


def test_pairing_removes_what_both_share() -> None:
    random = np.random.RandomState(0)
    values, index = simulate(random, 13)
    difference = paired_interval(values + 0.3 + 0.01 * random.randn(len(values)), values, index)
    assert difference.mean == pytest.approx(0.3, abs=0.01)
    assert difference.low > 0 and difference.high - difference.low < 0.02
    assert paired_interval(values, values + 0.3, index).mean == pytest.approx(-0.3)


def test_an_interval_repeats() -> None:
    values, index = simulate(np.random.RandomState(0), 10)
    assert group_interval(values, index) == group_interval(values, index)


@pytest.mark.parametrize("draws", [1, 70, 10_000])
def test_resamples_do_not_depend_on_the_blocks_they_are_drawn_in(
    monkeypatch: pytest.MonkeyPatch, draws: int
) -> None:
    random = np.random.RandomState(0)
    sums, weights = random.randn(33), random.rand(33) + 1
    drawn = np.random.default_rng(0).integers(33, size=(201, 33))
    expected = sums[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    monkeypatch.setattr(intervals, "DRAWS", draws)
    assert np.array_equal(resampled_ratios(sums, weights, 201), expected)


def test_memory_does_not_grow_with_the_resamples() -> None:
    values = np.random.RandomState(0).randn(100_000)
    tracemalloc.start()
    group_interval(values, np.arange(len(values)), resamples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20  # all resamples at once took 500 MB


def test_unknown_values_are_left_out() -> None:
    interval = group_interval([1.0, np.nan, 3.0], ["a", "a", "b"])
    assert (interval.mean, interval.clips, interval.groups) == (2.0, 2, 2)
    nothing = group_interval([np.nan], ["a"])
    assert np.isnan(nothing.mean) and nothing.clips == 0


def test_one_group_has_no_interval() -> None:
    interval = group_interval([1.0, 3.0], ["a", "a"])
    assert interval.mean == 2 and np.isnan(interval.low)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one each per clip"):
        group_interval([1.0, 2.0], ["a"])


def test_mean_over_seeds() -> None:
    assert mean_over_seeds([1.0, 2.0, 3.0]) == (2.0, 1.0)
    mean, deviation = mean_over_seeds([4.0])
    assert mean == 4 and np.isnan(deviation)


def test_verdict_needs_the_whole_interval():
    assert verdict(0.61, 0.7, 0.6) == "met"
    assert verdict(0.5, 0.59, 0.6) == "missed"
    assert verdict(0.5, 0.7, 0.6) == "not shown"
    assert verdict(float("nan"), float("nan"), 0.6) == "not shown"
