"""Distances between a row's videos and the real ones, from the features that evaluate kept."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from rsvp.errors import UserError
from rsvp.metrics.distribution import (
    COMPARABLE_CLIPS,
    frechet_distance,
    jackknife,
    kernel_distance,
    paired_kernel_distance,
)
from rsvp.metrics.intervals import mean_over_seeds
from rsvp.metrics.motion import motion_distance
from rsvp.reporting.estimates import NAN, Estimate
from rsvp.reporting.measures import FVD, FVD_CONTEXT, KVD, MOTION, Measure
from rsvp.reporting.rows import Row, Run

SIDES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    MOTION.key: ("motion", motion_distance),
    FVD.key: ("i3d", frechet_distance),
    FVD_CONTEXT.key: ("i3d_context", frechet_distance),
    KVD.key: ("i3d", kernel_distance),
}


def row_distances(row: Row) -> dict[str, Estimate]:
    """The distances of a row by measure key, each with a value or the reason why not."""
    features = [read_features(run.folder / "features.safetensors") for run in row.runs]
    return {
        measure.key: over_seeds(
            [run_distance(measure, run, kept) for run, kept in zip(row.runs, features, strict=True)]
        )
        for measure in (MOTION, FVD, FVD_CONTEXT, KVD)
    }


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Feature matrices (n, d) by name; none where evaluate kept none."""
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except Exception as error:
        raise UserError(f"{path}: not readable ({error}); run the stage evaluate again") from None


def run_distance(measure: Measure, run: Run, features: dict[str, np.ndarray]) -> Estimate:
    """One distance under one seed with its jackknife interval, or the reason why there is none."""
    prefix, distance = SIDES[measure.key]
    predicted, real = features.get(f"{prefix}_predicted"), features.get(f"{prefix}_real")
    if predicted is None or real is None:
        return Estimate(note=f"not computed: {missing_reason(measure, run)}")
    clips = min(len(predicted), len(real))
    if clips < 2:
        return Estimate(note="not computed: a distance between sets needs two clips or more")
    notes = []
    if prefix != "motion" and clips < COMPARABLE_CLIPS:
        notes.append(
            f"{clips} clips, below {COMPARABLE_CLIPS}: not comparable with published values"
        )
    # The floor compares other clips on each side, and evaluate keeps no groups of them.
    paired = run.scores is not None
    if paired and measure is KVD:
        distance = paired_kernel_distance
    if not paired and run.index["groups"] < clips:
        notes.append(
            f"the interval takes the {clips} clips of {run.index['groups']} groups for independent "
            "and is too narrow"
        )
    groups = clip_groups(run, len(predicted)) if paired else list(range(len(predicted)))
    value, low, high = distance(predicted, real), NAN, NAN
    if clips - max(Counter(groups).values()) < 2:
        notes.append("too few clips outside one group: no interval")
    else:
        others = None if paired else range(len(real))
        estimate = jackknife(distance, predicted, real, groups, others)
        low, high = estimate.low, estimate.high
    return Estimate(
        value, low, high, clips=clips, groups=run.index["groups"], seeds=1, note="; ".join(notes)
    )


def clip_groups(run: Run, clips: int) -> list[str]:
    """The group of each row of the features, which stand in the order of the scores' clips."""
    groups = run.scores.drop_duplicates("clip")["group"].astype(str).tolist()
    if len(groups) != clips:
        raise UserError(
            f"{run.folder}: features of {clips} clips beside scores of {len(groups)}; "
            "run the stage evaluate again"
        )
    return groups


def missing_reason(measure: Measure, run: Run) -> str:
    """Why the features of a measure are absent."""
    if measure is MOTION:
        return "evaluate kept no motion features"
    return run.index.get("detector", {}).get("reason") or "no I3D weights"


def over_seeds(estimates: list[Estimate]) -> Estimate:
    """The mean over seeds; the interval is the mean of the seeds' intervals."""
    known = [item for item in estimates if item.known]
    if len(known) < 2:
        return known[0] if known else estimates[0]
    value, deviation = mean_over_seeds([item.value for item in known])
    return Estimate(
        value=value,
        low=float(np.mean([item.low for item in known])),
        high=float(np.mean([item.high for item in known])),
        clips=known[0].clips, groups=known[0].groups, seeds=len(known),
        seed_std=deviation, note=known[0].note,
    )  # fmt: skip
