"""Distances between a row's videos and the real ones, from the features that evaluate kept."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from rsvp.config.schema import Protocol, Scores, SeenFrames
from rsvp.data.splits import spread
from rsvp.metrics import distribution, manifold
from rsvp.metrics.distribution import COMPARABLE_CLIPS, Replicates
from rsvp.metrics.features import MOTION as MOTION_FEATURES
from rsvp.metrics.features import feature_name, missing_features
from rsvp.metrics.intervals import mean_over_seeds
from rsvp.metrics.motion import MINIMUM_FRAMES, motion_distance, standardised
from rsvp.report.estimates import NO_SPREAD, ONE_GROUP, Estimate
from rsvp.report.measures import DISTANCES, FVD, FVD_CONTEXT, KVD, MOTION, NEIGHBOURS, Measure
from rsvp.report.rows import FIRST_FRAMES, ResultRow, Run, too_few_clips
from rsvp.runtime.errors import UserError

FUNCTIONS: dict[Measure, Callable[[np.ndarray, np.ndarray], float]] = {
    MOTION: motion_distance,
    FVD: distribution.frechet_distance,
    FVD_CONTEXT: distribution.frechet_distance,
}
FRECHET = tuple(FUNCTIONS)  # fall with the number of clips; KVD does not
SMALLEST_SUBSET = 16  # clips: where curves over N begin


@dataclass(frozen=True)
class Distance:
    """A distance of a row, with the replicates of its interval, for differences between rows."""

    estimate: Estimate
    replicates: Replicates | None = None


@dataclass(frozen=True)
class Sets:
    """Features of the predicted and the real clips, (N, D) each, and the groups of their rows."""

    predicted: np.ndarray
    real: np.ndarray
    predicted_groups: np.ndarray
    real_groups: np.ndarray
    paired: bool  # row i of both is the same clip
    note: str

    @cached_property
    def neighbourhoods(self) -> manifold.Neighbourhoods:
        """Of the two sets; UserError where there are too few clips, or too many."""
        return manifold.Neighbourhoods(self.predicted, self.real)


class RunFeatures:
    """The features that evaluate kept of one row under one seed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.arrays = read_features(run.folder / "features.safetensors")
        self.chosen: dict[tuple[str, int | None, bool], Sets] = {}

    def sets(self, name: str, clips: int | None, scaled: bool, note: str) -> Sets:
        """So many evenly spread clips (None: all); the same object for the same clips and features.

        scaled: in the real clips' standard deviations.
        """
        try:
            parts = [self.arrays[f"{part}_{side}"] for part in (name, "groups")
                     for side in ("predicted", "real")]  # fmt: skip
        except KeyError as error:
            raise UserError(
                f"{self.run.folder}: features.safetensors lacks {error}; run the stage evaluate "
                "again"
            ) from None
        count = min(map(len, parts))
        key = (name, min(clips or count, count), scaled)
        if key not in self.chosen:
            predicted, real, *groups = (part[spread(count, clips)] for part in parts)
            if scaled:
                predicted, real = standardised(predicted, real)
            paired = self.run.scores is not None
            self.chosen[key] = Sets(predicted, real, *groups, paired, note)
        return self.chosen[key]


def row_distances(
    row: ResultRow, protocols: dict[str, Protocol]
) -> dict[tuple[Measure, str], Distance]:
    """The distances of a row by (measure, protocol), each with a value or the reason why."""
    kept = [RunFeatures(run) for run in row.runs]
    found: dict[tuple[Measure, str], Distance] = {}
    known: dict[tuple, Distance] = {}  # two protocols may come to the same clips and frames
    for name, protocol in protocols.items():
        for measure in measures_of(protocol):
            sets = [select(measure, protocol, features) for features in kept]
            key = (measure.key, *(item if isinstance(item, str) else id(item) for item in sets))
            if key not in known:
                known[key] = over_seeds(measure, [run_distance(measure, item) for item in sets])
            found[measure, name] = known[key]
    return found


def measures_of(protocol: Protocol) -> list[Measure]:
    """The measures of a protocol between sets of videos."""
    if protocol.scores is not Scores.distribution:
        return []
    future = [MOTION, FVD, KVD, *NEIGHBOURS] if SeenFrames.predicted in protocol.columns else []
    context = [FVD_CONTEXT] if SeenFrames.context in protocol.columns else []
    return [measure for measure in (*DISTANCES, *NEIGHBOURS) if measure in (*future, *context)]


def read_features(path: Path) -> dict[str, np.ndarray]:
    """Feature matrices (n, d) by name; none where evaluate kept none."""
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except Exception as error:
        raise UserError(f"{path}: not readable ({error}); run the stage evaluate again") from None


def select(measure: Measure, protocol: Protocol, features: RunFeatures) -> Sets | str:
    """The features that a measure compares under a protocol, or why there are none."""
    index = features.run.index
    detector = index.get("detectors", {}).get(protocol.detector, {})
    computed, least = detector.get("computed", False), detector.get("minimum_frames")
    source = protocol.detector
    if measure is MOTION or (measure in NEIGHBOURS and not computed):
        source, least = MOTION_FEATURES, MINIMUM_FRAMES
    elif not computed:
        return detector.get("reason") or f"no weights of {source}"
    column = SeenFrames.context if measure is FVD_CONTEXT else SeenFrames.predicted
    context = index["context_frames"]
    if "predicted" in index["protocol"]:  # not of the frames after the first ones
        if column is SeenFrames.context:
            return "predicted frames alone are compared in this context"
        if protocol.frames is not None:
            return FIRST_FRAMES
        context = 0
    length = context + index["future_frames"]
    if reason := missing_features(source, least, column, protocol.frames, length, context):
        return reason
    if reason := too_few_clips(protocol, index["clips"]):
        return reason
    scaled = measure in NEIGHBOURS and source == MOTION_FEATURES
    note = "on the motion statistic's features" if scaled else ""
    if source not in (MOTION_FEATURES, "i3d"):
        note = f"on the features of {source}, not of I3D"
    name = feature_name(source, column, protocol.frames, length)
    return features.sets(name, protocol.clips, scaled, note)


def run_distance(measure: Measure, sets: Sets | str) -> Distance:
    """One distance under one seed with its jackknife interval, or the reason why there is none."""
    if isinstance(sets, str):
        return Distance(Estimate(note=f"not computed: {sets}"))
    clips = len(sets.predicted)
    notes = [sets.note] if sets.note else []
    if few := few_clips(measure, clips):
        notes.append(few)
    groups = [sets.predicted_groups] if sets.paired else [sets.predicted_groups, sets.real_groups]
    missing = no_interval(measure, groups)
    if missing:
        groups = [np.zeros_like(side) for side in groups]  # one block: nothing is deleted
        notes.append(missing)
    try:
        found = distribution.replicates(
            statistic_of(measure, sets), *(side.tolist() for side in groups)
        )
    except UserError as error:
        return Distance(Estimate(note=f"not computed: {error}"))
    interval = found.interval()
    if not missing and np.isnan(interval.low):
        notes.append(NO_SPREAD)
    estimate = Estimate(
        interval.value, interval.low, interval.high, clips=clips,
        groups=len(np.unique(sets.predicted_groups)), seeds=1, note="; ".join(notes),
    )  # fmt: skip
    return Distance(estimate.within(measure.possible), None if missing else found)


def few_clips(measure: Measure, clips: int) -> str:
    """Return the reason why a distance compares with no published one; empty without one."""
    if measure not in (FVD, FVD_CONTEXT) or clips >= COMPARABLE_CLIPS:
        return ""
    return f"{clips} clips, below {COMPARABLE_CLIPS}: not comparable with published values"


def no_interval(measure: Measure, groups: list[np.ndarray]) -> str:
    """Return the reason why a side has no group to delete; empty without one."""
    counts = [np.unique(side, return_counts=True)[1] for side in groups]
    least = manifold.MINIMUM_CLIPS if measure in NEIGHBOURS else 2
    if min(len(side) for side in counts) < 2:
        return ONE_GROUP
    # A mean over pairs of groups needs two of them still.
    too_few = measure is KVD and min(len(side) for side in counts) < 3
    if too_few or min(side.sum() - side.max() for side in counts) < least:
        return "too few clips outside one group: no interval can be given"
    return ""


def statistic_of(measure: Measure, sets: Sets) -> Callable[[np.ndarray, np.ndarray], float]:
    """The measure as a function of the rows to keep of each side."""
    if measure in NEIGHBOURS:
        # Each function is called like the key of its measure.
        around, function = sets.neighbourhoods, getattr(manifold, measure.key)
        return lambda keep, real: function(around.without(keep, real))
    if measure is KVD:
        # Groups of an unpaired row are of two splits: a code of one is no code of the other.
        others = sets.real_groups if sets.paired else -1 - sets.real_groups
        return lambda keep, real: distribution.kernel_distance(
            sets.predicted[keep], sets.real[real], sets.predicted_groups[keep], others[real]
        )
    distance = FUNCTIONS[measure]
    return lambda keep, real: distance(sets.predicted[keep], sets.real[real])


def over_seeds(measure: Measure, distances: list[Distance]) -> Distance:
    """The mean over seeds; its interval is of the mean, all seeds losing the same group at once."""
    known = [item for item in distances if item.estimate.known]
    if len(known) < 2:
        return known[0] if known else distances[0]
    value, deviation = mean_over_seeds([item.estimate.value for item in known])
    first = known[0].estimate
    merged = replace(first, value=value, seeds=len(known), seed_std=deviation)
    if any(item.replicates is None for item in known):
        return Distance(replace(merged, low=float("nan"), high=float("nan")))
    mean = distribution.mean_replicates([item.replicates for item in known])
    interval = mean.interval()
    merged = replace(merged, low=interval.low, high=interval.high)
    return Distance(merged.within(measure.possible), mean)


def distance_difference(first: Distance, second: Distance) -> Estimate:
    """first - second on the same clips, or the reason why there is none."""
    for item in (first, second):
        if not item.estimate.known:
            return Estimate(note=item.estimate.note)
    mine, theirs = first.estimate, second.estimate
    estimate = replace(
        mine, value=mine.value - theirs.value, low=float("nan"), high=float("nan"),
        seed_std=float("nan"),
    )  # fmt: skip
    if first.replicates is None or second.replicates is None:
        return estimate
    interval = (first.replicates - second.replicates).interval()
    return replace(estimate, low=interval.low, high=interval.high)


def row_curves(
    row: ResultRow, protocols: dict[str, Protocol]
) -> dict[tuple[Measure, str], list[tuple[int, float, float]]]:
    """(N, mean, deviation over subsets) by (measure, protocol): how a distance falls with N.

    Under the row's first seed; N doubles from 16 up to all clips.
    """
    features = RunFeatures(row.runs[0])
    curves = {}
    for name, protocol in protocols.items():
        for measure in measures_of(protocol):
            sets = select(measure, protocol, features) if measure in FRECHET else ""
            if isinstance(sets, str) or len(sets.predicted) < SMALLEST_SUBSET:
                continue
            clips = len(sets.predicted)
            curves[measure, name] = distribution.distance_curve(
                statistic_of(measure, sets), clips, subset_sizes(clips)
            )
    return curves


def subset_sizes(clips: int) -> Sequence[int]:
    """16, 32, 64, … and all clips."""
    doubled = (SMALLEST_SUBSET << power for power in itertools.count())
    return [*itertools.takewhile(lambda size: size < clips, doubled), clips]
