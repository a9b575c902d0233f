"""All rows and all their numbers, computed once: what the report's other modules ask for values.

`estimates.py` and `distances.py` compute each; `results.py` lays them out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rsvp.config.schema import Protocol
from rsvp.metrics.definitions import DEFINITIONS
from rsvp.metrics.intervals import SEEDS
from rsvp.report.distances import measures_of, row_curves, row_distances
from rsvp.report.estimates import (
    NAN,
    Estimate,
    clip_estimate,
    clip_groups,
    difference,
    frame_estimates,
    missing,
    samplings,
)
from rsvp.report.measures import (
    DEFINED,
    ENSEMBLE,
    HEADLINE,
    MOTION,
    NEIGHBOURS,
    OF_LPIPS,
    PAIRED,
    POINT_FORECAST,
    Measure,
)
from rsvp.report.printing import pixels
from rsvp.report.rows import ResultRow, under_protocol
from rsvp.runtime.progress import Bar

STATISTIC = "motion statistic"  # in place of a network
OF_FRAMES = PAIRED + ENSEMBLE  # measures; the others are of sets of videos
BACKBONES = {"alex": "AlexNet", "squeeze": "SqueezeNet", "vgg": "VGG"}  # of LPIPS


@dataclass(frozen=True)
class Quantity:
    """A measure under one protocol and one way of sampling: a column of the results."""

    measure: Measure
    sampling: str
    protocol: str
    frame: int | None = None  # the future frame, counted from 1; None for all of them


Pair = tuple[frozenset[ResultRow], Quantity]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The difference of one quantity on the same clips: predictor minus other row."""

    predictor: ResultRow
    other: ResultRow
    quantity: Quantity
    estimate: Estimate
    best_baseline: bool  # the other row is the baseline with the best mean of this measure

    @property
    def pair(self) -> Pair:
        """The rows, whichever is named first, and the quantity."""
        return frozenset((self.predictor, self.other)), self.quantity

    @property
    def decided(self) -> bool:
        """True where one is better."""
        return self.side in ("better", "worse")

    @property
    def scope(self) -> str:
        """Of what alone it holds: "this training"; empty where it holds of the method."""
        if self.estimate.of_method:
            return ""
        count = self.estimate.seeds
        return "this training" if count == 1 else f"these {count} trainings"

    @property
    def verdict(self) -> str:
        """The side, and of which trainings alone it was found."""
        return f"{self.side} of {self.scope}" if self.decided and self.scope else self.side

    @property
    def side(self) -> str:
        """ "better" or "worse" where the interval excludes 0, else that no difference was found."""
        if not self.estimate.known:
            return "not computed"
        if not self.estimate.has_interval:
            return "no interval"
        sign = 1 if self.quantity.measure.higher_is_better else -1
        low, high = sorted([sign * self.estimate.low, sign * self.estimate.high])
        return "better" if low > 0 else "worse" if high < 0 else "no difference found"

    @property
    def clips_better(self) -> int | None:
        """On how many clips the predictor is better; None for sets."""
        clips = self.estimate.clip_values
        if clips is None:
            return None
        return int((clips > 0 if self.quantity.measure.higher_is_better else clips < 0).sum())

    @property
    def median(self) -> float:
        """The median of the clips' differences; NaN for sets."""
        clips = self.estimate.clip_values
        return NAN if clips is None else float(clips.median())


@dataclass(eq=False)
class Tables:
    """Everything that the report says in numbers, computed when it is asked for first."""

    rows: list[ResultRow]
    protocols: dict[str, Protocol]
    resamples: int  # of groups, for an interval
    resize: str = ""  # the filter by which the dataset's frames were made; empty if not known
    headline: Sequence[tuple[Measure, str]] = HEADLINE  # what says most, and its sampling
    cells: dict[tuple[ResultRow, Quantity], Estimate] = field(default_factory=dict)
    by_motion: dict[tuple[ResultRow, Quantity], list] = field(default_factory=dict)  # `quarters`

    @property
    def frame_protocols(self) -> list[str]:
        """The protocols that score frame by frame."""
        return [name for name, item in self.protocols.items() if item.of_frames]

    @property
    def own_protocols(self) -> list[str]:
        """Those of rsvp's own definitions."""
        return [name for name in self.frame_protocols if self.protocols[name].own]

    @property
    def index(self) -> dict[str, Any]:
        """The evaluation index of the first predictor, or of the first row."""
        return next(iter(self.of_kind("predictor")), self.rows[0]).index

    @property
    def split(self) -> str:
        """The split that the rows are of; "whole" where there is none."""
        return self.index["protocol"].get("split", "test")

    def of_kind(self, *kinds: str) -> list[ResultRow]:
        """The rows of these kinds."""
        return [row for row in self.rows if row.kind in kinds]

    def trajectories(self, name: str) -> int:
        """K: how many trajectories of each clip count under a protocol."""
        protocol = self.protocols[name]
        if not protocol.of_frames:
            return 1  # sets are made of the first trajectories
        return protocol.trajectories or self.sampled

    @property
    def sampled(self) -> int:
        """The largest number of trajectories of a clip that any row has."""
        return max(row.index["trajectories"] for row in self.rows)

    def clips(self, name: str) -> int:
        """N: how many clips count under a protocol."""
        clips = self.protocols[name].clips
        return self.index["clips"] if clips is None else clips

    @cached_property
    def scored(self) -> dict[tuple[ResultRow, str], ResultRow | str]:
        """By (row, protocol of frames), the scores that count, or why there are none."""
        return {
            (row, name): under_protocol(row, self.protocols[name])
            for row in self.rows for name in self.frame_protocols
        }  # fmt: skip

    @cached_property
    def distances(self) -> dict[tuple[ResultRow, Measure, str], Estimate]:
        """By (row, measure, protocol), the distances between sets of videos."""
        return {
            (row, measure, name): estimate
            for row in Bar(self.rows, desc="distances", unit="row", delay=2, disable=None)
            for (measure, name), estimate in row_distances(row, self.protocols).items()
        }

    def keys(self, row: ResultRow) -> list[Quantity]:
        """The quantities that a row has, known or not."""
        return [
            *(Quantity(measure, sampling, name) for name in self.frame_protocols
              for measure in frame_measures(self.protocols[name])
              for sampling in self.ways(row, measure, name)),
            *(Quantity(measure, "single", name) for name, protocol in self.protocols.items()
              for measure in measures_of(protocol)),
        ]  # fmt: skip

    def ways(self, row: ResultRow, measure: Measure, name: str) -> list[str]:
        """The ways in which a row's trajectories count under a protocol of frames."""
        return samplings(row, measure)[0 if self.protocols[name].own else -1 :]

    @cached_property
    def numbers(self) -> list[tuple[ResultRow, Quantity, Estimate]]:
        """All numbers over all future frames, known or not."""
        return [(row, key, self.cell(row, key))
                for row in Bar(self.rows, desc="tables", unit="row", delay=2, disable=None)
                for key in self.keys(row)]  # fmt: skip

    def cell(self, row: ResultRow, key: Quantity) -> Estimate:
        """A number of a row, without value where it has none."""
        if (row, key) not in self.cells:
            of_frames = key.measure in OF_FRAMES and key.protocol in self.frame_protocols
            made = self.score if of_frames else self.distance
            self.cells[row, key] = made(row, key)
        return self.cells[row, key]

    def distance(self, row: ResultRow, key: Quantity) -> Estimate:
        """A distance, with a note where it is of another number of clips than the others."""
        estimate = self.distances.get((row, key.measure, key.protocol), Estimate())
        if not estimate.known or estimate.clips == (clips := self.clips(key.protocol)):
            return estimate
        return estimate.with_note(f"{estimate.clips} clips, the others {clips}: not at equal N")

    def score(self, row: ResultRow, key: Quantity) -> Estimate:
        """An estimate under a protocol of frames, or the reason why there is none."""
        if key.sampling not in samplings(row, key.measure):
            return Estimate()
        scored = self.scored[row, key.protocol]
        if isinstance(scored, str):
            return missing(scored)
        fewer = self.trajectories(key.protocol) < self.sampled
        if fewer and key.sampling in ("mean", "all"):
            return missing(f"it is kept for all {self.sampled} trajectories of a clip only")
        if key.frame is not None:
            known = self.horizon.get((row, replace(key, frame=None)), [])
            return known[key.frame - 1] if known else Estimate()
        estimate = clip_estimate(scored, key.measure, key.sampling, self.resamples)
        return estimate.with_note(self.remark(row, key)) if estimate.known else estimate

    def remark(self, row: ResultRow, key: Quantity) -> str:
        """A note on a row that has another number of trajectories than its column says."""
        count = row.index["trajectories"]
        if row.index.get("point_forecast") and key.measure in ENSEMBLE:
            return "one trajectory is taken as a point forecast, with its error"
        if key.sampling in ("mean", "best", "all") and 1 < count < self.trajectories(key.protocol):
            return f"of {count} trajectories"
        return ""

    @cached_property
    def horizon(self) -> dict[tuple[ResultRow, Quantity], list[Estimate]]:
        """The known numbers at each future frame, under the first protocol of frames.

        Without the clips' values, which would be many.
        """
        known = [
            (row, key) for row in self.rows for key in self.keys(row)
            if key.protocol in self.own_protocols[:1] and key.measure in OF_FRAMES
            and key.sampling != "best" and self.cell(row, key).known
        ]  # fmt: skip
        return {
            (row, key): [
                replace(estimate, clip_values=None) for estimate in self.at_frames(row, key)
            ]
            for row, key in Bar(known, desc="future frames", unit="number", delay=2, disable=None)
        }

    def at_frames(self, row: ResultRow, key: Quantity) -> list[Estimate]:
        """A number of a row at each future frame."""
        scored = self.scored[row, key.protocol]
        return frame_estimates(scored, key.measure, key.sampling, self.resamples)

    def over_frames(self, measures: Iterable[Measure]) -> list[Quantity]:
        """The quantities of these measures that have numbers at each future frame."""
        keys = {key.measure: key for _, key in self.horizon if key.sampling == key.measure.sampling}
        return [keys[measure] for measure in measures if measure in keys]

    @cached_property
    def curves(self) -> dict[tuple[ResultRow, Quantity], list[Estimate]]:
        """The fall of each distance with the number of clips: `row_curves`.

        All clips have the interval of the whole, where it is of one seed.
        """
        curves = {}
        for row in Bar(self.rows, desc="curves", unit="row", delay=2, disable=None):
            for (measure, name), (*subsets, last) in row_curves(row, self.protocols).items():
                key = Quantity(measure, "single", name)
                whole = self.cell(row, key)
                if whole.seeds == 1:
                    last = replace(last, low=whole.low, high=whole.high, by_seed=whole.by_seed)
                curves[row, key] = [*subsets, replace(last, note=whole.note)]
        return curves

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Each predictor against every other predictor, baseline and ceiling, by measure.

        The floor is real video of other clips: nothing to pair with.
        """
        return [
            Comparison(first, other, key, self.difference(first, other, key), other is hardest)
            for first in self.of_kind("predictor")
            for name in self.protocols
            for key in self.compared(name)
            for hardest in [self.best(key, "baseline")]
            for other in self.rows if other is not first and other.kind != "floor"
        ]  # fmt: skip

    def compared(self, name: str) -> list[Quantity]:
        """The quantities of a protocol that rows are compared by."""
        protocol = self.protocols[name]
        keys = [self.quantity(measure, None, name) for measure in measured_by(protocol)]
        if protocol.of_frames and protocol.own and self.trajectories(name) > 1:
            keys += [Quantity(measure, "mean", name) for measure in POINT_FORECAST]
        return [key for key in keys if key.measure.ranked]

    def difference(self, first: ResultRow, other: ResultRow, key: Quantity) -> Estimate:
        """first - other on the same clips."""
        scored = self.scored.get((first, key.protocol), "")
        sets = key.measure not in OF_FRAMES or isinstance(scored, str)
        groups = None if sets else clip_groups(scored)
        return difference(self.shown(first, key), self.shown(other, key), groups, self.resamples)

    def protocol_of(self, measure: Measure) -> str:
        """The protocol that stands for a measure: the last named one with a value, else the first.

        So a number under a strict protocol goes before one that is labelled. A floor alone, which
        may have fewer clips than a protocol asks for, stands for none.
        """
        having = [name for name, item in self.protocols.items() if measure in measured_by(item)]
        having = [name for name in having if self.protocols[name].own] or having  # before others'
        known = {key.protocol for row, key, estimate in self.numbers
                 if key.measure is measure and estimate.known and row.kind != "floor"}  # fmt: skip
        return next((name for name in reversed(having) if name in known), [*having, ""][0])

    def quantity(
        self, measure: Measure, sampling: str | None = None, protocol: str | None = None
    ) -> Quantity:
        """A quantity; by default as the measure stands in the headline."""
        name = protocol or self.protocol_of(measure)
        taken = measure.sampling
        if name and not self.protocols[name].own and measure in PAIRED and self.sampled > 1:
            taken = DEFINITIONS[self.protocols[name].definition].over
        return Quantity(measure, sampling or taken, name)

    def estimate(
        self, row: ResultRow, measure: Measure, sampling: str | None = None,
        protocol: str | None = None,
    ) -> Estimate:  # fmt: skip
        """One number; by default as it stands in the headline."""
        return self.cell(row, self.quantity(measure, sampling, protocol))

    def shown(self, row: ResultRow, key: Quantity) -> Estimate:
        """The cell of a row; a single trajectory is also the mean and the best of all."""
        one = row.index["trajectories"] == 1 and key.sampling in ("mean", "best")
        return self.cell(row, replace(key, sampling="single") if one else key)

    def known(self, measure: Measure) -> bool:
        """True where any row has a value of the measure as it stands in the headline."""
        return any(self.estimate(row, measure).known for row in self.rows)

    def best(self, key: Quantity, *kinds: str) -> ResultRow | None:
        """The row of these kinds with the best mean.

        None where none has one, where none is better than another, and for a choice that looks at
        the truth.
        """
        measure = key.measure
        if not measure.ranked or key.sampling == "best":
            return None
        cells = {row: self.shown(row, key) for row in self.of_kind(*kinds)}
        values = {row: cell.value for row, cell in cells.items() if cell.known}
        return (max if measure.higher_is_better else min)(values, key=values.get, default=None)

    def network(self, key: Quantity) -> str:
        """The network that a measure sees frames with; empty for pixels and where none is."""
        protocol, measure = self.protocols[key.protocol], key.measure
        if measure in OF_LPIPS:
            return BACKBONES.get(self.index.get("lpips", {}).get("backbone", ""), "")
        if measure in OF_FRAMES:
            return ""
        detector = protocol.detector
        computed = self.index.get("detectors", {}).get(detector, {}).get("computed")
        if measure is MOTION or (measure in NEIGHBOURS and not computed):
            return STATISTIC
        return {"i3d": "I3D"}.get(detector, detector) if computed else ""


def by_context(
    rows: list[ResultRow], protocols: dict[str, Protocol], resamples: int, resize: str
) -> list[Tables]:
    """The tables of each context that there are rows of; that of the first frames comes first.

    Where nothing is observed, no prediction is meant to be one clip's truth.
    """
    contexts: dict[str, list[ResultRow]] = {"": []}
    for row in rows:
        contexts.setdefault(row.context, []).append(row)
    sets = {name: item for name, item in protocols.items() if not item.of_frames}
    return [
        Tables(those, protocols if those[0].index["context_frames"] else sets, resamples, resize)
        for those in contexts.values()
        if those
    ]


def measured_by(protocol: Protocol) -> list[Measure]:
    """The measures of a protocol."""
    return [*frame_measures(protocol), *measures_of(protocol)]


def frame_measures(protocol: Protocol) -> list[Measure]:
    """The measures of predicted frames under a protocol."""
    if not protocol.of_frames:
        return []
    return [*PAIRED, *ENSEMBLE] if protocol.own else [*DEFINED]


def protocol_text(name: str, tables: Tables, measures: Sequence[Measure] = ()) -> str:
    """A protocol in one line: all that its numbers, or those of `measures` alone, depend on."""
    protocol, index = tables.protocols[name], tables.index
    observed = index["context_frames"]
    future = (protocol.frames or observed + index["future_frames"]) - observed
    if protocol.of_frames:
        scored = f"future frames only, K = {tables.trajectories(name)}"
        if not protocol.own:
            own = DEFINITIONS[protocol.definition]
            scored += f", as {protocol.definition} defines them ({own.text}; {own.over} of K)"
    else:
        scored = (
            "first trajectory of each clip; future frames only, or where it says so with context"
        )
    grey = index["protocol"].get("channels", 3) == 1
    thrice = " (which sees grey as RGB of three equal channels)" if grey else ""
    networks = dict.fromkeys(
        f"{measure.label}: {network}{thrice if network != STATISTIC else ''}"
        for measure in measures or measured_by(protocol)
        if (network := tables.network(tables.quantity(measure, None, name)))
    )
    resized = f" ({tables.resize})" if tables.resize else ""
    context = f" ({tables.rows[0].context})" if tables.rows[0].context else ""
    side = "" if tables.split == "whole" else f" {tables.split} split"
    return "; ".join([
        f"{name}: {index['dataset']}{side}, "
        f"{tables.clips(name)} clips{index['protocol'].get('choice', ' spread evenly')}, "
        f"{observed} observed + {future} predicted frames{context}, "
        f"{pixels(index['resolution'])}{', grey' if grey else ''}{resized}, {scored}",
        *networks,
    ])  # fmt: skip


def protocol_texts(tables: Tables, keys: Iterable[Quantity]) -> list[str]:
    """The protocols of these quantities in words, each with the networks of its measures."""
    measures: dict[str, list[Measure]] = {}
    for key in keys:
        measures.setdefault(key.protocol, []).append(key.measure)
    return [protocol_text(name, tables, those) for name, those in measures.items()]


def scored_cells(tables: Tables) -> list[Estimate]:
    """The known numbers but the floor's, whose clips are of the training side."""
    return [cell for row, _, cell in tables.numbers if cell.known and row.kind != "floor"]


def sample_text(tables: Tables) -> str:
    """The numbers of clips, groups and seeds below all others."""
    cells = scored_cells(tables)
    if not cells:
        return "Nothing was scored."
    most = max(cells, key=lambda cell: (cell.clips, cell.groups))
    counts = {"clip": most.clips, "group": most.groups, "seed": max(c.seeds for c in cells)}
    clips, groups, seeds = (f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())
    return f"{clips} in {groups}{f', {seeds}' if tables.rows[0].seeds else ''}."


def intervals_text(tables: Tables) -> str:
    """Of what the intervals hold: of these weights, or of the methods."""
    seeds = [len(row.runs) for row in tables.rows if row.trained] or [SEEDS]
    method = f"of the method, whose clips and trainings (≥ {SEEDS} seeds) are drawn anew"
    weights = "of these weights, whose clips alone are drawn anew"
    held = weights if max(seeds) < SEEDS else method
    if min(seeds) < SEEDS <= max(seeds):
        held = f"{method}, or {weights}"
    return f"Brackets: 95 % intervals {held}."


def basis(tables: Tables, keys: Iterable[Quantity]) -> str:
    """All that numbers of these quantities stand on: protocols, clips, groups and seeds."""
    return f"{'; '.join(protocol_texts(tables, keys))}. {sample_text(tables)}"
