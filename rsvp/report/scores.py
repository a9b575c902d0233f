"""Estimates from the score tables: means over clips, curves over the horizon, differences."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from rsvp.metrics.intervals import Interval, group_interval, ratio_interval
from rsvp.report.estimates import NAN, NO_SPREAD, ONE_GROUP, Estimate
from rsvp.report.measures import ENSEMBLE, OBJECT_PSNR, OF_LPIPS, SAMPLINGS, SPREAD_SKILL, Measure
from rsvp.report.rows import ResultRow


def samplings(row: ResultRow, measure: Measure) -> list[str]:
    """The ways in which a row's trajectories count; a single one has one way."""
    if measure in ENSEMBLE:
        return ["all"]
    return ["single", "mean", "best"] if row.index["trajectories"] > 1 else ["single"]


def clip_values(scores: pd.DataFrame, measure: Measure, sampling: str) -> pd.Series:
    """One value per clip: averaged over frames first, then over (or best of) trajectories.

    Frames without a value (no object in view) are left out; a clip without any is NaN.
    """
    of_future = _chosen(scores, sampling).groupby(["clip", "trajectory"])[measure.key].mean()
    groups = of_future.groupby("clip")
    if sampling == "best":
        return groups.max() if measure.higher_is_better else groups.min()
    return groups.mean()


def frame_values(scores: pd.DataFrame, measure: Measure, sampling: str) -> pd.DataFrame:
    """(clips, future frames): one value each, averaged over trajectories."""
    values = _chosen(scores, sampling).groupby(["clip", "frame"])[measure.key].mean()
    return values.unstack("frame")


def _chosen(scores: pd.DataFrame, sampling: str) -> pd.DataFrame:
    """The lines of the trajectories, or of all of them together."""
    together = scores["trajectory"] < 0
    return scores[together if sampling in ("mean", "all") else ~together]


def clip_groups(row: ResultRow) -> pd.Series:
    """The group of each clip."""
    return row.runs[0].scores.drop_duplicates("clip").set_index("clip")["group"].astype(str)


def seed_values(row: ResultRow, measure: Measure, sampling: str) -> pd.DataFrame:
    """(clips, seeds): one value per clip and seed."""
    return pd.DataFrame(
        {run.index["seed"]: clip_values(run.scores, measure, sampling) for run in row.runs}
    )


def clip_estimate(row: ResultRow, measure: Measure, sampling: str, resamples: int) -> Estimate:
    """The mean over clips (and seeds) with its interval, or the reason why there is none."""
    if measure is SPREAD_SKILL:
        return spread_skill(row, resamples)
    values = seed_values(row, measure, sampling)
    if values.isna().all(axis=None):
        return Estimate(note=f"not computed: {missing_reason(row, measure, sampling)}")
    return estimate_mean(values, clip_groups(row), resamples)


def missing_reason(row: ResultRow, measure: Measure, sampling: str) -> str:
    """Return the reason for an empty column of the scores."""
    if row.index["trajectories"] == 1 and measure in ENSEMBLE:
        return "one trajectory per clip"
    if measure in OF_LPIPS:
        return row.index.get("lpips", {}).get("reason") or "no LPIPS weights"
    if measure is OBJECT_PSNR:
        return "true object outlines are known for generated videos only"
    return f"evaluate kept no {SAMPLINGS[sampling]}"


def estimate_mean(values: pd.DataFrame, groups: pd.Series, resamples: int) -> Estimate:
    """Mean of (clips, seeds) values: over seeds within a clip, then over clips."""
    per_clip = values.mean(axis=1).dropna()
    of_clip = groups.reindex(per_clip.index)
    interval = group_interval(per_clip.to_numpy(), of_clip.to_numpy(), resamples)
    seeds = values.shape[1]
    return Estimate(
        value=interval.mean, low=interval.low, high=interval.high,
        clips=interval.clips, groups=interval.groups,
        seeds=seeds, seed_std=float(values.mean().std(ddof=1)) if seeds > 1 else NAN,
        note=interval_note(interval),
    )  # fmt: skip


def interval_note(interval: Interval) -> str:
    """Return the reason for a missing interval; empty where there is one."""
    if not math.isnan(interval.low):
        return ""
    return NO_SPREAD if interval.groups > 1 else ONE_GROUP


def spread_skill(row: ResultRow, resamples: int, frame: int | None = None) -> Estimate:
    """Spread over skill of a row's trajectories; of one future frame where it is named.

    Where truth and K trajectories come from one distribution, the expected squared error of their
    mean is (K + 1) / K times their variance (Fortin et al. 2014, equation 15). So spread is the
    root of the mean of that, skill the root of the mean squared error. Means are over frames,
    clips and seeds.
    """
    count = row.index["trajectories"]
    if count < 2:
        return Estimate(note=f"not computed: {missing_reason(row, SPREAD_SKILL, 'all')}")
    spreads, errors = [], []
    for run in row.runs:
        lines = _chosen(run.scores, "all")
        lines = lines if frame is None else lines[lines["frame"] == frame]
        # Half the mean squared difference of two trajectories is their unbiased variance.
        expected = (count + 1) / count * lines["diversity"] ** 2 / 2
        spreads.append(expected.groupby(lines["clip"]).mean())
        errors.append(lines["mean_error"].groupby(lines["clip"]).mean())
    groups = clip_groups(row)
    spread, error = (pd.concat(side, axis=1).mean(axis=1).reindex(groups.index)
                     for side in (spreads, errors))  # fmt: skip
    if spread.isna().all():
        return Estimate(note=f"not computed: {missing_reason(row, SPREAD_SKILL, 'all')}")
    interval = ratio_interval(spread.to_numpy(), error.to_numpy(), groups.to_numpy(), resamples)
    by_seed = [math.sqrt(s.mean() / e.mean()) for s, e in zip(spreads, errors, strict=True)]
    return Estimate(
        math.sqrt(interval.mean), float(np.sqrt(interval.low)), float(np.sqrt(interval.high)),
        interval.clips, interval.groups, seeds=len(by_seed),
        seed_std=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else NAN,
        note=interval_note(interval),
    )  # fmt: skip


def frame_estimates(
    row: ResultRow, measure: Measure, sampling: str, resamples: int
) -> list[Estimate]:
    """One estimate per future frame."""
    frames = sorted(row.runs[0].scores["frame"].unique())
    if measure is SPREAD_SKILL:
        return [spread_skill(row, resamples, frame) for frame in frames]
    by_seed = {run.index["seed"]: frame_values(run.scores, measure, sampling) for run in row.runs}
    groups = clip_groups(row)
    estimates = []
    for frame in frames:
        values = pd.DataFrame({seed: table[frame] for seed, table in by_seed.items()})
        if values.isna().all(axis=None):
            estimates.append(Estimate(note="not computed: no clip has a value at this frame"))
        else:
            estimates.append(estimate_mean(values, groups, resamples))
    return estimates


def clip_differences(first: ResultRow, other: ResultRow, measure: Measure) -> pd.Series:
    """first - other of each clip that has both; its values are averaged over the row's seeds."""
    mine, theirs = (
        seed_values(row, measure, measure.sampling).mean(axis=1) for row in (first, other)
    )
    return (mine - theirs).dropna()


def difference(differences: pd.Series, first: ResultRow, resamples: int) -> Estimate:
    """The mean of the differences of clips, with its interval."""
    estimate = estimate_mean(differences.to_frame(), clip_groups(first), resamples)
    return replace(estimate, seeds=len(first.runs))
