"""Coverage of the report's 95 % intervals, on simulated clips in groups.

Each draw makes clips whose features or scores share an effect within their group, as clips of one
source video do, and a number with its interval as the report makes it. The truth is known, or the
mean of the number over many draws: the interval of a Fréchet distance is that of the distance at
this many clips, whose bias stays in it. Beside it stands the coverage of the interval that takes
clips for independent. Of a method, both clips and trainings are drawn, and beside it stands the
interval of these weights. Then many methods that do not differ are compared: how many look better,
and how often any does after Holm's correction.

    python -m benchmarks.coverage
"""

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from rsvp.metrics import manifold
from rsvp.metrics.distribution import (
    frechet_distance,
    kernel_distance,
    mean_replicates,
    replicates,
)
from rsvp.metrics.intervals import (
    RESAMPLES,
    TAIL,
    group_interval,
    holm,
    method_interval,
    paired_interval,
    ratio_interval,
)
from rsvp.metrics.motion import motion_distance
from rsvp.report.estimates import Estimate, difference, estimate_mean

Span = tuple[float, float]  # the ends of an interval
TRUTH_DRAWS = 2000


@dataclass(frozen=True)
class Clips:
    """Two sets of features of the same clips, (N, D), and the group of each clip.

    Of a method `predicted` has a first axis of trainings.
    """

    predicted: np.ndarray
    real: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Case:
    """A number on simulated clips. truth: None where the mean over draws stands for it."""

    name: str
    draw: Callable[[np.random.Generator], Clips]
    value: Callable[[Clips], float]
    span: Callable[[Clips], Span]
    truth: float | None = None
    narrow: Callable[[Clips], Span] | None = None  # in place of that of independent clips


@dataclass(frozen=True)
class Coverage:
    """The result of a case."""

    name: str
    truth: float
    covered: float  # share of intervals that hold the truth
    narrow: float  # the same with each clip its own group, or of these weights alone
    width: float  # mean of the intervals
    draws: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=400, help="intervals per case")
    draws = parser.parse_args().draws
    print(f"{draws} draws per case; nominal coverage 95 %\n")
    print("| number | truth | coverage | clips, or trainings, left out | mean width |")
    print("|---|---:|---:|---:|---:|")
    for case in cases():
        found = simulate(case, draws)
        print(
            f"| {found.name} | {found.truth:.3f} | {found.covered:.1%} | {found.narrow:.1%} "
            f"| {found.width:.3f} |",
            flush=True,
        )
    print("\n| comparisons of equal methods | look better | any after Holm's correction |")
    print("|---|---:|---:|")
    for seeds in (1, 3):
        better, after = chance(seeds, draws)
        print(f"| {METHODS * MEASURES}, seeds: {seeds} | {better:.2%} | {after:.1%} |", flush=True)


def simulate(case: Case, draws: int, seed: int = 0, truth_draws: int = TRUTH_DRAWS) -> Coverage:
    """Coverage of a case's intervals over `draws` draws."""
    random = np.random.default_rng(seed)
    truth = case.truth
    if truth is None:
        truth = float(np.mean([case.value(case.draw(random)) for _ in range(truth_draws)]))
    covered = narrow = width = 0.0
    for _ in range(draws):
        clips = case.draw(random)
        low, high = case.span(clips)
        covered += low <= truth <= high
        width += high - low
        alone = Clips(clips.predicted, clips.real, np.arange(len(clips.groups)))
        low, high = case.narrow(clips) if case.narrow else case.span(alone)
        narrow += low <= truth <= high
    return Coverage(case.name, truth, covered / draws, narrow / draws, width / draws, draws)


def cases() -> list[Case]:
    """The report's numbers, from means of scores to distances between sets."""
    scores = [
        Case(f"mean of a score, {groups} groups", scored(groups), mean_score, mean_span, 0.0)
        for groups in (5, 8, 13, 30)
    ]
    return [
        *scores,
        Case("paired difference of two rows, 13 groups", scored(13, 0.3), mean_difference,
             difference_span, 0.3),
        Case("spread / skill, 13 groups", ensembles(13), spread_skill, spread_skill_span, 1.0),
        *(distance_case(*item) for item in DISTANCES),
        *(method_case(*item) for item in itertools.product((13, 30), (3, 5), (0.0, 1.0, 3.0))),
        Case("difference of two methods, 13 groups, 3 seeds", trained(13, 3, 1.0, pairs=2),
             two_methods, two_methods_span, 0.0, two_methods_narrow),
        Case("spread / skill of a method, 13 groups, 3 seeds", several(ensembles(13), 3),
             trained_ratio, trained_ratio_span, 1.0, trained_ratio_narrow),
        Case("FVD of a method, 30 groups, 8 dimensions, 3 seeds", trained_features(30, 8, 3),
             trained_distance, trained_distance_span, None, trained_distance_narrow),
    ]  # fmt: skip


def group_sizes(random: np.random.Generator, groups: int) -> np.ndarray:
    """The group of each clip: three to seven clips each."""
    return np.repeat(np.arange(groups), random.integers(3, 8, groups))


def scored(groups: int, shift: float = 0.0) -> Callable[[np.random.Generator], Clips]:
    """Scores of two rows on clips whose difficulty both share; the first is `shift` better."""

    def draw(random: np.random.Generator) -> Clips:
        of_clip = group_sizes(random, groups)
        difficulty = random.normal(size=groups)[of_clip] + 0.5 * random.normal(size=len(of_clip))
        skill = 0.3 * random.normal(size=groups)[of_clip]
        noise = 0.2 * random.normal(size=len(of_clip))
        return Clips((difficulty + skill + noise + shift)[:, None], difficulty[:, None], of_clip)

    return draw


def mean_score(clips: Clips) -> float:
    return float(clips.real.mean())


def mean_span(clips: Clips) -> Span:
    interval = group_interval(clips.real[:, 0], clips.groups)
    return interval.low, interval.high


def mean_difference(clips: Clips) -> float:
    return float((clips.predicted - clips.real).mean())


def difference_span(clips: Clips) -> Span:
    interval = paired_interval(clips.predicted[:, 0], clips.real[:, 0], clips.groups)
    return interval.low, interval.high


def ensembles(groups: int, trajectories: int = 4) -> Callable[[np.random.Generator], Clips]:
    """Expected squared error of the mean, and the found one, of calibrated trajectories."""

    def draw(random: np.random.Generator) -> Clips:
        of_clip = group_sizes(random, groups)
        unsure = np.exp(0.5 * random.normal(size=groups))[of_clip, None]  # differs by group
        truth = unsure * random.normal(size=(len(of_clip), 30))
        drawn = unsure * random.normal(size=(trajectories, len(of_clip), 30))
        expected = (trajectories + 1) / trajectories * drawn.var(axis=0, ddof=1).mean(axis=1)
        error = ((drawn.mean(axis=0) - truth) ** 2).mean(axis=1)
        return Clips(expected[:, None], error[:, None], of_clip)

    return draw


def spread_skill(clips: Clips) -> float:
    return math.sqrt(clips.predicted.mean() / clips.real.mean())


def spread_skill_span(clips: Clips) -> Span:
    interval = ratio_interval(clips.predicted[:, 0], clips.real[:, 0], clips.groups)
    return math.sqrt(interval.low), math.sqrt(interval.high)


def featured(
    groups: int, dimensions: int, shift: float, resemblance: float = 0.6, clips: int | None = None
) -> Callable[[np.random.Generator], Clips]:
    """Features of real clips and of their predictions, which resemble their own clip.

    Both have variance 1 and share an effect within a group; predictions are moved by `shift`.
    """

    def draw(random: np.random.Generator) -> Clips:
        of_clip = group_sizes(random, groups) if clips is None else np.arange(clips) % groups

        def side() -> np.ndarray:
            common = random.normal(size=(groups, dimensions))[of_clip]
            return 0.6 * common + 0.8 * random.normal(size=(len(of_clip), dimensions))

        real = side()
        predicted = resemblance * real + math.sqrt(1 - resemblance**2) * side()
        return Clips(predicted + shift, real, of_clip)

    return draw


Distance = Callable[[np.ndarray, np.ndarray], float]
Draw = Callable[[np.random.Generator], Clips]
# Name, distance, how clips are drawn, whether row i of both sets is one clip, truth if known.
DISTANCES: list[tuple[str, Distance, Draw, bool, float | None]] = [
    ("FVD, 60 independent clips, 8 dimensions", frechet_distance, featured(60, 8, 0.5, clips=60),
     True, None),
    ("FVD, 30 groups, 8 dimensions", frechet_distance, featured(30, 8, 0.5), True, None),
    ("FVD, 13 groups, 8 dimensions", frechet_distance, featured(13, 8, 0.5), True, None),
    ("FVD, 64 groups of 256 clips, 64 dimensions", frechet_distance,
     featured(64, 64, 0.3, clips=256), True, None),
    ("FVD, equal distributions, 30 groups, 8 dimensions", frechet_distance,
     featured(30, 8, 0.0), True, None),
    ("FVD of the floor (other clips), 30 groups, 8 dimensions", frechet_distance,
     featured(30, 8, 0.0, 0.0), False, None),
    ("KVD, equal distributions, 60 independent clips", kernel_distance,
     featured(60, 8, 0.0, clips=60), True, 0.0),
    ("KVD, equal distributions, 30 groups", kernel_distance, featured(30, 8, 0.0), True, 0.0),
    ("KVD, equal distributions, 13 groups", kernel_distance, featured(13, 8, 0.0), True, 0.0),
    ("KVD of the floor (other clips), 30 groups", kernel_distance, featured(30, 8, 0.0, 0.0), False,
     0.0),
    ("KVD, shifted, 30 groups", kernel_distance, featured(30, 8, 0.5), True, None),
    ("KVD, shifted, 13 groups", kernel_distance, featured(13, 8, 0.5), True, None),
    ("motion distance, 30 groups, 32 dimensions", motion_distance, featured(30, 32, 0.3), True,
     None),
    ("precision, 30 groups", lambda p, r: manifold.precision(manifold.neighbourhoods(p, r)),
     featured(30, 4, 1.0), True, None),
    ("recall, 30 groups", lambda p, r: manifold.recall(manifold.neighbourhoods(p, r)),
     featured(30, 4, 1.0), True, None),
    ("density, 30 groups", lambda p, r: manifold.density(manifold.neighbourhoods(p, r)),
     featured(30, 4, 1.0), True, None),
    ("coverage, 30 groups", lambda p, r: manifold.coverage(manifold.neighbourhoods(p, r)),
     featured(30, 4, 1.0), True, None),
]  # fmt: skip


def distance_case(
    name: str, distance: Distance, draw: Draw, paired: bool,
    truth: float | None,
) -> Case:  # fmt: skip
    """A distance between sets with its jackknife interval."""

    def statistic(clips: Clips, keep: np.ndarray, kept: np.ndarray) -> float:
        predicted, real = clips.predicted[keep], clips.real[kept]
        if distance is not kernel_distance:
            return distance(predicted, real)
        others = clips.groups if paired else -1 - clips.groups
        return kernel_distance(predicted, real, clips.groups[keep], others[kept])

    def value(clips: Clips) -> float:
        everything = np.ones(len(clips.groups), dtype=bool)
        return statistic(clips, everything, everything)

    def span(clips: Clips) -> Span:
        groups = [clips.groups.tolist()] * (1 if paired else 2)
        jackknifed = replicates(lambda keep, kept: statistic(clips, keep, kept), *groups)
        interval = jackknifed.interval()
        return interval.low, interval.high

    return Case(name, draw, value, span, truth)


METHODS, MEASURES = 8, 5  # of the page whose comparisons are simulated


def trained(
    groups: int, seeds: int, ratio: float, pairs: int = 1
) -> Callable[[np.random.Generator], Clips]:
    """Scores (seeds · pairs, N) of trainings on the same clips, whose true mean is 0.

    ratio: the standard error of the mean by trainings over that by groups. A training is better or
    worse at all clips, and also by group. Pairs: methods, one after the other.
    """

    def draw(random: np.random.Generator) -> Clips:
        of_clip = group_sizes(random, groups)
        shared = random.normal(size=groups)[of_clip] + 0.5 * random.normal(size=len(of_clip))
        spread = ratio * math.sqrt(seeds / groups)
        whole = spread * random.normal(size=(seeds * pairs, 1))
        by_group = 0.5 * random.normal(size=(seeds * pairs, groups))[:, of_clip]
        noise = 0.2 * random.normal(size=(seeds * pairs, len(of_clip)))
        return Clips(shared + whole + by_group + noise, shared[:, None], of_clip)

    return draw


def method_case(groups: int, seeds: int, ratio: float) -> Case:
    """The mean of a method's scores."""
    spread = {0.0: "none", 1.0: "that of clips", 3.0: "3 times that of clips"}[ratio]
    name = f"mean of a method, {groups} groups, {seeds} seeds, their error {spread}"
    return Case(name, trained(groups, seeds, ratio), lambda clips: float(clips.predicted.mean()),
                lambda clips: ends(estimated(clips)), 0.0,
                lambda clips: ends(estimated(clips, of_method=False)))  # fmt: skip


def estimated(clips: Clips, of_method: bool = True) -> Estimate:
    """The mean of all trainings as the report has it; or as of one row of these weights."""
    values = pd.DataFrame(clips.predicted.T)
    values = values if of_method else values.mean(axis=1).to_frame()
    return estimate_mean(values, pd.Series(clips.groups), RESAMPLES)


def ends(estimate: Estimate) -> Span:
    return estimate.low, estimate.high


def halves(clips: Clips, of_method: bool = True) -> Estimate:
    """The difference of two methods."""
    sides = [estimated(Clips(side, clips.real, clips.groups), of_method)
             for side in np.split(clips.predicted, 2)]  # fmt: skip
    return difference(*sides, pd.Series(clips.groups), RESAMPLES)


def two_methods(clips: Clips) -> float:
    return halves(clips).value


def two_methods_span(clips: Clips) -> Span:
    return ends(halves(clips))


def two_methods_narrow(clips: Clips) -> Span:
    return ends(halves(clips, of_method=False))


def several(draw: Draw, seeds: int) -> Callable[[np.random.Generator], Clips]:
    """Trainings whose expected errors are off by a factor each, whose mean is 1."""

    def drawn(random: np.random.Generator) -> Clips:
        clips = draw(random)
        factors = np.exp(0.1 * random.normal(size=(seeds, 1, 1)) - 0.005)
        return Clips(clips.predicted * factors, clips.real, clips.groups)

    return drawn


def trained_ratio(clips: Clips) -> float:
    return math.sqrt(clips.predicted.mean() / clips.real.mean())


def trained_ratio_narrow(clips: Clips) -> Span:
    mean = clips.predicted.mean(axis=0)[:, 0]
    interval = ratio_interval(mean, clips.real[:, 0], clips.groups)
    return math.sqrt(interval.low), math.sqrt(interval.high)


def trained_ratio_span(clips: Clips) -> Span:
    by_seed = np.sqrt(clips.predicted.mean(axis=(1, 2)) / clips.real.mean())
    return method_interval(trained_ratio(clips), *trained_ratio_narrow(clips), by_seed)


def trained_features(
    groups: int, dimensions: int, seeds: int
) -> Callable[[np.random.Generator], Clips]:
    """Features of the predictions of several trainings, each moved by its own shift.

    Their FVD deviate from each other by a third of their mean.
    """

    def draw(random: np.random.Generator) -> Clips:
        of_clip = group_sizes(random, groups)
        real = random.normal(size=(groups, dimensions))[of_clip]
        real = 0.6 * real + 0.8 * random.normal(size=real.shape)
        noise = 0.8 * random.normal(size=(seeds, *real.shape))
        shifts = 0.5 + 0.1 * random.normal(size=(seeds, 1, 1))
        return Clips(0.6 * real + noise + shifts, real, of_clip)

    return draw


def trained_distance(clips: Clips) -> float:
    return float(np.mean([frechet_distance(side, clips.real) for side in clips.predicted]))


def jackknifed_mean(clips: Clips) -> tuple[Span, list[float]]:
    """The interval of these weights, and the distances of the trainings."""
    each = [
        replicates(lambda keep, _, side=side: frechet_distance(side[keep], clips.real[keep]),
                   clips.groups.tolist())
        for side in clips.predicted
    ]  # fmt: skip
    interval = mean_replicates(each).interval()
    return (interval.low, interval.high), [item.value for item in each]


def trained_distance_narrow(clips: Clips) -> Span:
    return jackknifed_mean(clips)[0]


def trained_distance_span(clips: Clips) -> Span:
    (low, high), by_seed = jackknifed_mean(clips)
    return method_interval(float(np.mean(by_seed)), low, high, by_seed)


def chance(seeds: int, draws: int) -> tuple[float, float]:
    """Comparisons of methods with a baseline that none differs from, `METHODS` by `MEASURES`.

    Return the share that looks better, and the share of pages with any error after Holm's
    correction. Half of a method's skill is common to its measures.
    """
    random = np.random.default_rng(0)
    better = after = 0
    for _ in range(draws):
        of_clip = group_sizes(random, 13)
        groups = pd.Series(of_clip)

        def noise(*shape: int, of_clip: np.ndarray = of_clip) -> np.ndarray:
            by_group = random.normal(size=(*shape, 13))[..., of_clip]
            return by_group + 0.5 * random.normal(size=(*shape, len(of_clip)))

        skill = noise(METHODS, 1, 1) + noise(METHODS, MEASURES, 1)
        if seeds > 1:
            trainings = random.normal(size=(METHODS, MEASURES, seeds, 1))
            skill = skill + 0.5 * trainings + 0.3 * noise(METHODS, MEASURES, seeds)
        nothing = replace(estimate_mean(pd.DataFrame(np.zeros(len(of_clip))), groups, 1),
                          by_seed=None)  # fmt: skip
        found = [
            difference(estimate_mean(pd.DataFrame(values.T), groups, 1), nothing, groups, RESAMPLES)
            for values in skill.reshape(METHODS * MEASURES, -1, len(of_clip))
        ]
        better += sum(item.low > 0 for item in found)
        after += min(holm([item.p for item in found])) < 2 * TAIL
    return better / (draws * METHODS * MEASURES), after / draws


if __name__ == "__main__":
    main()
