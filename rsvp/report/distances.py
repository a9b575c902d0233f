"""Distances between a row's videos and the real ones, from the features that evaluate kept.

The formulas are in `rsvp.metrics`; here their clips, protocols and intervals are chosen.
"""

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from rsvp.config.schema import Protocol
from rsvp.data.splits import spread
from rsvp.metrics import distribution, manifold
from rsvp.metrics.definitions import DEFINITIONS
from rsvp.metrics.distribution import COMPARABLE_CLIPS
from rsvp.metrics.features import EACH, feature_name, missing_features
from rsvp.metrics.features import MOTION as MOTION_FEATURES
from rsvp.metrics.motion import MINIMUM_FRAMES, motion_distance, standardised
from rsvp.report.estimates import (
    NAN,
    NO_SPREAD,
    ONE_GROUP,
    Estimate,
    missing,
    of_trainings,
)
from rsvp.report.measures import (
    DISTANCES,
    FVD,
    FVD_BEST,
    FVD_CONTEXT,
    KVD,
    MOTION,
    NEIGHBOURS,
    Measure,
)
from rsvp.report.rows import (
    FIRST_FRAMES,
    UNPAIRED,
    ResultRow,
    Run,
    too_few_clips,
    too_few_trajectories,
)
from rsvp.runtime.errors import UserError

# Fréchet distances, which fall with the number of clips; KVD does not.
FUNCTIONS: dict[Measure, Callable[[np.ndarray, np.ndarray], float]] = {
    MOTION: motion_distance,
    FVD: distribution.frechet_distance,
    FVD_CONTEXT: distribution.frechet_distance,
    FVD_BEST: distribution.frechet_distance,
}
SMALLEST_SUBSET = 16  # clips: where curves over N begin
ORACLE = "the nearest trajectory of each clip, chosen by the truth"
SUBSET = f"mean over {distribution.SUBSETS} random subsets of all clips"


@dataclass(frozen=True)
class Sets:
    """Features of the predicted and the real clips, (N, D) each, and the groups of their rows.

    Those of all trajectories are (N, K, D).
    """

    predicted: np.ndarray
    real: np.ndarray
    predicted_groups: np.ndarray
    real_groups: np.ndarray
    paired: bool  # row i of both is the same clip
    note: str

    @cached_property
    def neighbourhoods(self) -> manifold.Neighbourhoods:
        """Of the two sets; UserError where there are too few clips, or too many."""
        return manifold.neighbourhoods(self.predicted, self.real)


class RunFeatures:
    """The features that evaluate kept of one row under one seed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.arrays = read_features(run.folder / "features.safetensors")
        self.chosen: dict[tuple[str, int | None, bool, int | None], Sets] = {}

    def sets(
        self, name: str, clips: int | None, scaled: bool, note: str, each: int | None = None
    ) -> Sets:
        """So many evenly spread clips (None: all); the same object for the same clips and features.

        scaled: in the real clips' standard deviations. each: so many trajectories of each clip.
        """
        names = [f"{name}{EACH if each else ''}_predicted", f"{name}_real"]
        names += [f"groups_{side}" for side in ("predicted", "real")]
        if lacking := [each for each in names if each not in self.arrays]:
            raise UserError(
                f"{self.run.folder}: features.safetensors lacks {', '.join(lacking)}; "
                "run the stage evaluate again"
            )
        parts = [self.arrays[each] for each in names]
        count = min(map(len, parts))
        key = (name, min(clips or count, count), scaled, each)
        if key not in self.chosen:
            predicted, real, *groups = (part[spread(count, clips)] for part in parts)
            predicted = predicted[:, :each] if each else predicted
            if scaled:
                predicted, real = standardised(predicted, real)
            paired = self.run.scores is not None
            self.chosen[key] = Sets(predicted, real, *groups, paired, note)
        return self.chosen[key]


def row_distances(
    row: ResultRow, protocols: dict[str, Protocol]
) -> dict[tuple[Measure, str], Estimate]:
    """The distances of a row by (measure, protocol), each with a value or the reason why."""
    kept = [RunFeatures(run) for run in row.runs]
    found: dict[tuple[Measure, str], Estimate] = {}
    known: dict[tuple, Estimate] = {}  # two protocols may come to the same clips and frames
    for name, protocol in protocols.items():
        for measure in measures_of(protocol):
            sets = [select(measure, protocol, features) for features in kept]
            key = (measure.key, *(item if isinstance(item, str) else id(item) for item in sets))
            if key not in known:
                by_seed = {run.index["seed"]: run_distance(measure, item)
                           for run, item in zip(row.runs, sets, strict=True)}  # fmt: skip
                known[key] = over_seeds(measure, by_seed, row.trained)
            found[measure, name] = known[key]
    return found


def measures_of(protocol: Protocol) -> list[Measure]:
    """The measures of a protocol between sets of videos."""
    if not protocol.of_sets:
        return []
    future = [MOTION, FVD, KVD, *NEIGHBOURS] if "predicted" in protocol.columns else []
    context = [FVD_CONTEXT] if "context" in protocol.columns else []
    if not protocol.own:
        return [FVD_CONTEXT, FVD_BEST] if protocol.definition == "extdm" else [FVD_CONTEXT]
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
    column = "context" if measure in (FVD_CONTEXT, FVD_BEST) else "predicted"
    context = index["context_frames"]
    if "predicted" in index["protocol"]:  # not of the frames after the first ones
        if column == "context":
            return "predicted frames alone are compared in this context"
        if protocol.frames is not None:
            return FIRST_FRAMES
        context = 0
    length = context + index["future_frames"]
    if reason := missing_features(source, least, column, protocol.frames, length, context):
        return reason
    # A floor of fewer clips is better than none: it is labelled.
    if (reason := too_few_clips(protocol, index["clips"])) and index["kind"] != "floor":
        return reason
    scaled = measure in NEIGHBOURS and source == MOTION_FEATURES
    note = "on the motion statistic's features" if scaled else ""
    if source not in (MOTION_FEATURES, "i3d"):
        note = f"on the features of {source}, not of I3D"
    name = feature_name(source, column, protocol.frames, length)
    each = None
    if measure is FVD_BEST and features.run.scores is None:
        return UNPAIRED
    if DEFINITIONS[protocol.definition].sets == "each" and index["trajectories"] > 1:
        each = protocol.trajectories or index["trajectories"]
        if index["trajectories"] < each:
            return too_few_trajectories(each, index["trajectories"])
        note = f"mean of {each} sets, one of each trajectory" if measure is FVD_CONTEXT else ORACLE
    return features.sets(name, protocol.clips, scaled, note, each)


def run_distance(measure: Measure, sets: Sets | str) -> Estimate:
    """One distance under one seed with its jackknife interval, or the reason why there is none."""
    if isinstance(sets, str):
        return missing(sets)
    groups = [sets.predicted_groups] if sets.paired else [sets.predicted_groups, sets.real_groups]
    reason = no_interval(measure, groups)
    # One block alone: nothing is deleted.
    blocks = [np.zeros_like(side) for side in groups] if reason else groups
    try:
        found = distribution.replicates(
            statistic_of(measure, sets), *(side.tolist() for side in blocks)
        )
    except UserError as error:
        return missing(str(error))
    clips, interval = len(sets.predicted), found.interval()
    if not reason and np.isnan(interval.low):
        reason = NO_SPREAD
    notes = filter(None, (sets.note, few_clips(measure, clips), reason))
    return Estimate(
        interval.value, interval.low, interval.high, clips, len(np.unique(sets.predicted_groups)),
        seeds=1, note="; ".join(notes), replicates=found if blocks is groups else None,
    )  # fmt: skip


def few_clips(measure: Measure, clips: int) -> str:
    """Return the reason why a distance compares with no published one; empty without one."""
    if measure not in (FVD, FVD_CONTEXT, FVD_BEST) or clips >= COMPARABLE_CLIPS:
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
    if sets.predicted.ndim == 3 and measure is FVD_BEST:
        sets = replace(sets, predicted=nearest(sets.predicted, sets.real))
    elif sets.predicted.ndim == 3:
        return lambda keep, real: float(np.mean([
            distance(predicted[keep], sets.real[real])
            for predicted in sets.predicted.swapaxes(0, 1)
        ]))  # fmt: skip
    return lambda keep, real: distance(sets.predicted[keep], sets.real[real])


def nearest(predicted: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Choose of each clip's trajectories (N, K, D) the one nearest to the truth: (N, D).

    By the sum of absolute differences of features (N, D), as ExtDM.
    """
    chosen = np.abs(predicted - real[:, None]).sum(axis=2).argmin(axis=1)
    return predicted[np.arange(len(predicted)), chosen]


def over_seeds(measure: Measure, by_seed: Mapping[Hashable, Estimate], trained: bool) -> Estimate:
    """The mean over seeds. Over clips, all seeds lose the same group at once.

    trained: seeds are those of trainings.
    """
    known = {seed: item for seed, item in by_seed.items() if item.known}
    if not known:
        return next(iter(by_seed.values()))
    first, *others = known.values()
    if others:
        value = float(np.mean([item.value for item in known.values()]))
        first = replace(first, value=value, low=NAN, high=NAN, replicates=None)
        if all(item.replicates is not None for item in known.values()):
            mean = distribution.mean_replicates([item.replicates for item in known.values()])
            interval = mean.interval()
            first = replace(first, low=interval.low, high=interval.high, replicates=mean)
    values = {seed: item.value for seed, item in known.items()} if trained else None
    return of_trainings(first, values).within(measure.possible)


def row_curves(
    row: ResultRow, protocols: dict[str, Protocol]
) -> dict[tuple[Measure, str], list[Estimate]]:
    """The mean of each distance over subsets of N clips, by (measure, protocol).

    Under the row's first seed; N doubles from 16 up to all clips, which are one subset. The
    deviation is that over subsets.
    """
    features = RunFeatures(row.runs[0])
    curves = {}
    for name, protocol in protocols.items():
        for measure in measures_of(protocol):
            sets = select(measure, protocol, features) if measure in FUNCTIONS else ""
            if isinstance(sets, str) or len(sets.predicted) < SMALLEST_SUBSET:
                continue
            clips, groups = len(sets.predicted), len(np.unique(sets.predicted_groups))
            curves[measure, name] = [
                Estimate(value, clips=size, groups=min(size, groups), seeds=1, seed_std=deviation,
                         note=SUBSET).with_note(few_clips(measure, size))
                for size, value, deviation in distribution.distance_curve(
                    statistic_of(measure, sets), clips, subset_sizes(clips)
                )
            ]  # fmt: skip
    return curves


def subset_sizes(clips: int) -> Sequence[int]:
    """16, 32, 64, … and all clips."""
    doubled = (SMALLEST_SUBSET << power for power in itertools.count())
    return [*itertools.takewhile(lambda size: size < clips, doubled), clips]
