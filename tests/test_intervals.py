"""Intervals and tests: coverage on simulated groups, pairing, peers, determinism, edge cases."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from rsvp.metrics import intervals
from rsvp.metrics.groups import effective_number
from rsvp.metrics.intervals import (
    group_interval,
    holm,
    method_interval,
    p_value,
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


def test_a_method_has_the_interval_of_its_clips_or_of_its_seeds_where_the_other_is_none() -> None:
    assert method_interval(2.0, 1.5, 3.0, [2.0, 2.0, 2.0]) == (1.5, 3.0)
    seeds = [1.0, 2.0, 4.5]
    expected = stats.t.interval(0.95, 2, np.mean(seeds), stats.sem(seeds))
    assert method_interval(2.5, 2.5, 2.5, seeds) == pytest.approx(expected)


def test_the_reaches_of_clips_and_seeds_add_up_as_squares() -> None:
    reach = stats.t.interval(0.95, 2, 0, stats.sem([1.0, 2.0, 3.0]))[1]
    low, high = method_interval(2.0, 1.0, 5.0, [1.0, 2.0, 3.0])
    assert (2 - low) ** 2 == pytest.approx(1 + reach**2)
    assert (high - 2) ** 2 == pytest.approx(9 + reach**2)


def test_p_is_that_of_the_t_test() -> None:
    values = np.random.RandomState(0).randn(9) + 0.5
    mean, error = values.mean(), stats.sem(values)
    reach = stats.t.interval(0.95, 8, 0, error)[1]
    expected = stats.ttest_1samp(values, 0).pvalue
    assert p_value(mean, reach, 8) == pytest.approx(expected)
    assert p_value(-mean, reach, 8) == pytest.approx(expected)
    assert p_value(mean, 0.0, 20, values) == pytest.approx(expected)
    assert p_value(0.0, reach, 8) == 1 and p_value(1e9, reach, 8) < 1e-11


def test_groups_of_one_size_count_each_and_others_less() -> None:
    assert effective_number(np.full(7, 3)) == pytest.approx(7)
    assert effective_number(np.array([5, 1e-9, 1e-9])) == pytest.approx(1)
    assert 1 < effective_number(np.array([5, 1, 1])) < 3


def test_p_is_below_a_twentieth_where_the_interval_excludes_zero() -> None:
    random, sides = np.random.RandomState(0), set()
    for _ in range(200):
        seeds, reach = 1 + 0.5 * random.randn(3), abs(random.randn())
        value = float(seeds.mean())
        low, high = method_interval(value, value - reach, value + reach, seeds)
        excluded = low > 0 or high < 0
        assert (p_value(value, reach, 12, seeds) < 0.05) == excluded
        sides.add(excluded)
    assert sides == {True, False}


def test_holm_gives_published_values() -> None:
    """The example of Wikipedia's page on the method, and that of R's p.adjust by hand."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.001, 0.6]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([]) == []


def test_verdict_needs_the_whole_interval():
    assert verdict(0.61, 0.7, 0.6) == "met"
    assert verdict(0.5, 0.59, 0.6) == "missed"
    assert verdict(0.5, 0.7, 0.6) == "not shown"
    assert verdict(float("nan"), float("nan"), 0.6) == "not shown"
