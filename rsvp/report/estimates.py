"""One number with its interval: the mean of a row's scores, or the difference of two rows."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from rsvp.metrics.distribution import Replicates
from rsvp.metrics.intervals import (
    SEEDS,
    Interval,
    group_interval,
    method_interval,
    p_value,
    ratio_interval,
)
from rsvp.report.measures import ENSEMBLE, OBJECT_PSNR, OF_LPIPS, SAMPLINGS, SPREAD_SKILL, Measure
from rsvp.report.rows import ResultRow
from rsvp.report.scores import Scores, known_mean

NAN = float("nan")
ONE_GROUP = "one group: no interval can be given"
ONE_TRAJECTORY = "one trajectory per clip"
UNKNOWN_OUTLINES = "true object outlines are known for generated videos only"
NO_ERROR = "the trajectories are the truth, without an error"
NO_SPREAD = "the same value in all groups: no interval can be given"


@dataclass(frozen=True)
class Estimate:
    """A number with what it depends on; `value` is NaN where `note` says why there is none."""

    value: float = NAN
    low: float = NAN  # 95 % interval; `interval_of` says of what it holds
    high: float = NAN
    clips: int = 0
    groups: int = 0
    seeds: int = 0
    seed_std: float = NAN  # over seeds of the value; NaN for one seed
    note: str = ""
    # Differences between two rows are taken of these: one value per clip, or the jackknife.
    clip_values: pd.Series | None = field(default=None, repr=False, compare=False)
    replicates: Replicates | None = field(default=None, repr=False, compare=False)
    # The value of each training by seed; None where nothing is trained.
    by_seed: Mapping[Hashable, float] | None = field(default_factory=dict, compare=False)
    p: float = NAN  # of a difference, against a true one of 0

    @property
    def known(self) -> bool:
        """True where there is a value."""
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """True where there is an interval: it takes two groups or more that differ."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def of_method(self) -> bool:
        """True where the interval holds of the method, and not of these weights alone."""
        return self.by_seed is None or len(self.by_seed) >= SEEDS

    @property
    def interval_of(self) -> str:
        """Of what the interval holds; empty where there is none."""
        if not self.has_interval:
            return ""
        return "the method" if self.of_method else "these weights"

    @property
    def columns(self) -> dict[str, Any]:
        """The part of it that tables hold."""
        kept = {column.name: getattr(self, column.name) for column in fields(self)[:8]}
        return kept | {"interval_of": self.interval_of}

    def within(self, possible: tuple[float, float]) -> "Estimate":
        """The same with its interval cut to the values that are possible."""
        low, high = (min(max(end, possible[0]), possible[1]) for end in (self.low, self.high))
        return replace(self, low=low, high=high) if self.has_interval else self

    def with_note(self, note: str) -> "Estimate":
        """The same with one more remark; nothing is added where `note` is empty."""
        return replace(self, note="; ".join(filter(None, (self.note, note))))


def missing(reason: str) -> Estimate:
    """No value, and why."""
    return Estimate(note=f"not computed: {reason}")


def samplings(row: ResultRow, measure: Measure) -> list[str]:
    """The ways in which a row's trajectories count; a single one has one way."""
    if measure in ENSEMBLE:
        return ["all"]
    return ["single", "mean", "best"] if row.index["trajectories"] > 1 else ["single"]


def line_values(scores: Scores, column: str, sampling: str) -> np.ndarray:
    """A column (clips, trajectories, frames): of each trajectory, or of all of them together."""
    return scores.values(column, together=sampling in ("mean", "all"))


def clip_values(scores: Scores, measure: Measure, sampling: str) -> pd.Series:
    """One value per clip: averaged over frames first, then over (or best of) trajectories.

    Frames without a value (no object in view) are left out; a clip without any is NaN.
    """
    values = known_mean(line_values(scores, measure.key, sampling), axis=2)
    if sampling == "best":
        best = (np.fmax if measure.higher_is_better else np.fmin).reduce(values, axis=1)
        return pd.Series(best, scores.clips)
    return pd.Series(known_mean(values, axis=1), scores.clips)


def frame_values(scores: Scores, measure: Measure, sampling: str) -> pd.DataFrame:
    """(clips, future frames): one value each, averaged over trajectories."""
    values = known_mean(line_values(scores, measure.key, sampling), axis=1)
    return pd.DataFrame(values, scores.clips, scores.frames)


def clip_groups(row: ResultRow) -> pd.Series:
    """The group of each clip."""
    scores = row.runs[0].scores
    return pd.Series(scores.groups, scores.clips)


def clip_estimate(row: ResultRow, measure: Measure, sampling: str, resamples: int) -> Estimate:
    """The mean over clips (and seeds) with its interval, or the reason why there is none."""
    if measure is SPREAD_SKILL:
        return spread_skill(row, resamples)
    values = {run.index["seed"]: clip_values(run.scores, measure, sampling) for run in row.runs}
    reason = missing_reason(row, measure, sampling)
    return estimate_mean(pd.DataFrame(values), clip_groups(row), resamples, reason, row.trained)


def frame_estimates(
    row: ResultRow, measure: Measure, sampling: str, resamples: int
) -> list[Estimate]:
    """One estimate per future frame."""
    frames = row.runs[0].scores.frames
    if measure is SPREAD_SKILL:
        return [spread_skill(row, resamples, frame) for frame in frames]
    by_seed = {run.index["seed"]: frame_values(run.scores, measure, sampling) for run in row.runs}
    groups, reason = clip_groups(row), "no clip has a value at this frame"
    tables = (pd.DataFrame({seed: t[frame] for seed, t in by_seed.items()}) for frame in frames)
    return [estimate_mean(values, groups, resamples, reason, row.trained) for values in tables]


def missing_reason(row: ResultRow, measure: Measure, sampling: str) -> str:
    """Return the reason for an empty column of the scores."""
    if row.index["trajectories"] == 1 and measure in ENSEMBLE:
        return ONE_TRAJECTORY
    if measure in OF_LPIPS:
        return row.index.get("lpips", {}).get("reason") or "no LPIPS weights"
    if measure is OBJECT_PSNR:
        return UNKNOWN_OUTLINES
    return f"evaluate kept no {SAMPLINGS[sampling]}"


def estimate_mean(
    values: pd.DataFrame, groups: pd.Series, resamples: int, reason: str = "", trained: bool = True
) -> Estimate:
    """Mean of (clips, seeds) values: over seeds within a clip, then over clips.

    reason: why there is none, where no clip has a value. trained: seeds are those of trainings.
    """
    per_clip = values.mean(axis=1).dropna()
    if per_clip.empty:
        return missing(reason)
    of_clip = groups.reindex(per_clip.index)
    interval = group_interval(per_clip.to_numpy(), of_clip.to_numpy(), resamples)
    by_seed = values.mean().to_dict() if trained else None
    return replace(of_trainings(bootstrapped(interval), by_seed), clip_values=per_clip)


def bootstrapped(interval: Interval) -> Estimate:
    """An interval over clips as an estimate."""
    note = NO_SPREAD if interval.groups > 1 else ONE_GROUP
    return Estimate(
        interval.mean, interval.low, interval.high, interval.clips, interval.groups,
        note=note if math.isnan(interval.low) else "",
    )  # fmt: skip


def of_trainings(found: Estimate, by_seed: Mapping[Hashable, float] | None) -> Estimate:
    """The same with its deviation over seeds; of three or more it has the interval of the method.

    found: with its interval over clips. by_seed: as in an estimate.
    """
    values = list(by_seed.values()) if by_seed else []
    deviation = pd.Series(values, dtype=float).std()
    found = replace(found, by_seed=by_seed, seeds=len(values) or 1, seed_std=deviation)
    if len(values) < SEEDS or not found.has_interval:
        return found
    low, high = method_interval(found.value, found.low, found.high, values)
    return replace(found, low=low, high=high)


def spread_skill(row: ResultRow, resamples: int, frame: int | None = None) -> Estimate:
    """Spread over skill of a row's trajectories; of one future frame where it is named.

    Where truth and K trajectories come from one distribution, the expected squared error of their
    mean is (K + 1) / K times their variance (Fortin et al. 2014, equation 15). So spread is the
    root of the mean of that, skill the root of the mean squared error. Means are over frames,
    clips and seeds.
    """
    count = row.index["trajectories"]
    spreads, errors = [], []
    for run in row.runs:
        at = slice(None) if frame is None else [run.scores.frames.index(frame)]
        diversity, error = (line_values(run.scores, column, "all")[..., at]
                            for column in ("diversity", "mean_error"))  # fmt: skip
        # Half the mean squared difference of two trajectories is their unbiased variance.
        expected = (count + 1) / count * diversity**2 / 2
        for values, found in ((expected, spreads), (error, errors)):
            found.append(pd.Series(known_mean(values, axis=(1, 2)), run.scores.clips))
    groups = clip_groups(row)
    spread, error = (pd.concat(side, axis=1).mean(axis=1).reindex(groups.index)
                     for side in (spreads, errors))  # fmt: skip
    if count < 2 or spread.isna().all():
        return missing(missing_reason(row, SPREAD_SKILL, "all"))
    if not error.any():
        return missing(NO_ERROR)
    interval = ratio_interval(spread.to_numpy(), error.to_numpy(), groups.to_numpy(), resamples)
    value, low, high = np.sqrt([interval.mean, interval.low, interval.high]).tolist()
    by_seed = {
        run.index["seed"]: math.sqrt(spread.mean() / error.mean())
        for run, spread, error in zip(row.runs, spreads, errors, strict=True)
    }
    return of_trainings(replace(bootstrapped(interval), value=value, low=low, high=high), by_seed)


def difference(
    first: Estimate, other: Estimate, groups: pd.Series | None, resamples: int
) -> Estimate:
    """first - other on the same clips, or the reason why there is none.

    groups: of the clips, where the estimates are means of one value per clip.
    """
    for side in (first, other):
        if not side.known:
            return Estimate(note=side.note)
    if groups is not None:
        clips = (first.clip_values - other.clip_values).dropna()
        interval = group_interval(clips, groups.reindex(clips.index), resamples)
        found = replace(bootstrapped(interval), clip_values=clips)
        effective = interval.effective
    else:
        found, effective = distance_difference(first, other)
    merged = of_trainings(found, seed_differences(first, other))
    if not found.has_interval:
        return merged
    reach = max(found.value - found.low, found.high - found.value)
    seeds = list(merged.by_seed.values()) if merged.by_seed and merged.of_method else None
    # Where one group outweighs the others, its degrees of freedom would come near 0.
    return replace(merged, p=p_value(found.value, reach, max(1.0, effective - 1), seeds))


def distance_difference(first: Estimate, other: Estimate) -> tuple[Estimate, float]:
    """The difference of two distances with its jackknife interval, and its effective blocks."""
    found = Estimate(first.value - other.value, clips=first.clips, groups=first.groups,
                     note=first.note)  # fmt: skip
    if first.replicates is None or other.replicates is None:
        return found, 0.0
    replicates = first.replicates - other.replicates
    interval = replicates.interval()
    return replace(found, low=interval.low, high=interval.high), replicates.effective


def seed_differences(first: Estimate, other: Estimate) -> dict[Hashable, float] | None:
    """By seed, the difference of two rows whose trainings of one seed are a pair.

    They may share an autoencoder, or all of a training. One side where nothing is trained stands
    beside each training of the other.
    """
    if first.by_seed is None or other.by_seed is None:
        trained, sign = (other, -1.0) if first.by_seed is None else (first, 1.0)
        fixed = first.value if first.by_seed is None else other.value
        if trained.by_seed is None:
            return None
        return {seed: sign * (value - fixed) for seed, value in trained.by_seed.items()}
    return {
        seed: value - other.by_seed[seed]
        for seed, value in first.by_seed.items() if seed in other.by_seed
    }  # fmt: skip
