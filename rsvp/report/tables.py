"""The numbers of the report: estimates with intervals, and comparisons of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tqdm import tqdm

from rsvp.config.schema import Protocol, Scores
from rsvp.report.distances import (
    Distance,
    distance_difference,
    measures_of,
    row_curves,
    row_distances,
)
from rsvp.report.estimates import NAN, Estimate
from rsvp.report.measures import ENSEMBLE, MOTION, NEIGHBOURS, OF_LPIPS, PAIRED, Measure
from rsvp.report.rows import ResultRow, under_protocol
from rsvp.report.scores import (
    clip_differences,
    clip_estimate,
    difference,
    frame_estimates,
    samplings,
)

BACKBONES = {"alex": "AlexNet", "squeeze": "SqueezeNet", "vgg": "VGG"}  # of LPIPS


@dataclass(frozen=True)
class Quantity:
    """A measure under one protocol and one way of sampling: a column of the results."""

    measure: Measure
    sampling: str
    protocol: str


@dataclass(frozen=True)
class Comparison:
    """The difference of one quantity on the same clips: predictor minus other row."""

    predictor: ResultRow
    other: ResultRow
    quantity: Quantity
    estimate: Estimate
    best_baseline: bool  # the other row is the baseline with the best mean of this measure
    clips_better: int | None = None  # on how many clips the predictor is better; None for sets
    median: float = NAN  # of the clips' differences

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where the interval excludes 0, else that no difference was found."""
        if not self.estimate.known:
            return "not computed"
        if not self.estimate.has_interval:
            return "no interval"
        sign = 1 if self.quantity.measure.higher_is_better else -1
        low, high = sorted([sign * self.estimate.low, sign * self.estimate.high])
        return "better" if low > 0 else "worse" if high < 0 else "no difference found"


@dataclass
class Tables:
    """Everything that the report says in numbers.

    cells: by (row, quantity). horizon: the same for each future frame, under the first protocol of
    frames. curves: by (row, quantity), how a distance falls with the number of clips: (clips, mean,
    deviation over subsets).
    """

    rows: list[ResultRow]
    protocols: dict[str, Protocol]
    resize: str = ""  # the filter by which the dataset's frames were made; empty if not known
    cells: dict[tuple[str, Quantity], Estimate] = field(default_factory=dict)
    horizon: dict[tuple[str, Quantity], list[Estimate]] = field(default_factory=dict)
    curves: dict[tuple[str, Quantity], list[tuple[int, float, float]]] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def frame_protocols(self) -> list[str]:
        """The protocols that score frame by frame."""
        return [name for name, item in self.protocols.items() if item.scores is Scores.frames]

    @property
    def index(self) -> dict[str, Any]:
        """The evaluation index of the first predictor, or of the first row."""
        return next(iter(self.of_kind("predictor")), self.rows[0]).index

    def of_kind(self, *kinds: str) -> list[ResultRow]:
        """The rows of these kinds."""
        return [row for row in self.rows if row.kind in kinds]

    def row(self, name: str) -> ResultRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def trajectories(self, name: str) -> int:
        """K: how many trajectories of each clip count under a protocol."""
        protocol = self.protocols[name]
        if protocol.scores is not Scores.frames:
            return 1  # sets are made of the first trajectories
        return protocol.trajectories or max(row.index["trajectories"] for row in self.rows)

    def clips(self, name: str) -> int:
        """N: how many clips count under a protocol."""
        clips = self.protocols[name].clips
        return self.index["clips"] if clips is None else clips

    def protocol_of(self, measure: Measure) -> str:
        """The protocol that stands for a measure: the last named one with a value, else the first.

        So a number under a strict protocol goes before one that is labelled.
        """
        having = [name for name, item in self.protocols.items() if measure in measured_by(item)]
        known = {key.protocol for (_, key), cell in self.cells.items()
                 if key.measure is measure and cell.known}  # fmt: skip
        return next((name for name in reversed(having) if name in known), [*having, ""][0])

    def quantity(
        self, measure: Measure, sampling: str | None = None, protocol: str | None = None
    ) -> Quantity:
        """A quantity; by default as the measure stands in the headline."""
        return Quantity(
            measure, sampling or measure.sampling, protocol or self.protocol_of(measure)
        )

    def estimate(
        self, row: ResultRow, measure: Measure, sampling: str | None = None,
        protocol: str | None = None,
    ) -> Estimate:  # fmt: skip
        """One number; by default as it stands in the headline."""
        key = self.quantity(measure, sampling, protocol)
        return self.cells.get((row.name, key), Estimate())

    def shown(self, row: ResultRow, key: Quantity) -> Estimate:
        """The cell of a row; a single trajectory is also the mean and the best of all."""
        one = row.index["trajectories"] == 1 and key.sampling in ("mean", "best")
        key = replace(key, sampling="single") if one else key
        return self.cells.get((row.name, key), Estimate())

    def known(self, measure: Measure) -> bool:
        """True where any row has a value of the measure as it stands in the headline."""
        return any(self.estimate(row, measure).known for row in self.rows)

    def best(
        self, rows: Iterable[ResultRow], measure: Measure, protocol: str | None = None
    ) -> ResultRow | None:
        """The row with the best mean; None where no row has one or none is better than another."""
        values = {
            row: cell.value for row in rows
            if measure.ranked and (cell := self.estimate(row, measure, None, protocol)).known
        }  # fmt: skip
        return (max if measure.higher_is_better else min)(values, key=values.get, default=None)

    def best_baseline(self, measure: Measure, protocol: str | None = None) -> ResultRow | None:
        """The baseline with the best mean of a measure on these clips: the hardest to beat."""
        return self.best(self.of_kind("baseline"), measure, protocol)

    def network(self, key: Quantity) -> str:
        """The network that a measure sees frames with; empty for pixels and where none is."""
        protocol, measure = self.protocols[key.protocol], key.measure
        if measure in OF_LPIPS:
            return BACKBONES.get(self.index.get("lpips", {}).get("backbone", ""), "")
        if protocol.scores is Scores.frames:
            return ""
        detector = protocol.detector
        computed = self.index.get("detectors", {}).get(detector, {}).get("computed")
        if measure is MOTION or (measure in NEIGHBOURS and not computed):
            return "motion statistic"
        return {"i3d": "I3D"}.get(detector, detector) if computed else ""

    @property
    def main_comparisons(self) -> list[Comparison]:
        """Those of the first predictor under the protocol that stands for each measure."""
        return [
            item for item in self.comparisons
            if item.predictor is self.comparisons[0].predictor
            and item.quantity.protocol == self.protocol_of(item.quantity.measure)
        ]  # fmt: skip


def by_context(
    rows: list[ResultRow], resamples: int, protocols: dict[str, Protocol], resize: str
) -> list[Tables]:
    """The tables of each context beside the first frames that there are rows of.

    Where nothing is observed, no prediction is meant to be one clip's truth.
    """
    contexts: dict[str, list[ResultRow]] = {}
    for row in rows:
        contexts.setdefault(row.context, []).append(row)
    contexts.pop("", None)
    sets = {name: item for name, item in protocols.items() if item.scores is not Scores.frames}
    return [
        make_tables(
            those, resamples, protocols if those[0].index["context_frames"] else sets, resize
        )
        for those in contexts.values()
    ]


def measured_by(protocol: Protocol) -> list[Measure]:
    """The measures of a protocol."""
    return [*PAIRED, *ENSEMBLE] if protocol.scores is Scores.frames else measures_of(protocol)


def make_tables(
    rows: list[ResultRow], resamples: int, protocols: dict[str, Protocol], resize: str = ""
) -> Tables:
    """All estimates and comparisons of `rows`; `resamples` of groups make an interval."""
    tables = Tables(rows, protocols, resize)
    distances = {row.name: row_distances(row, protocols) for row in rows}
    scored = {
        (row.name, name): under_protocol(row, protocols[name])
        for row in rows
        for name in tables.frame_protocols
    }
    for row in tqdm(rows, desc="tables", unit="row", delay=2):
        for name in tables.frame_protocols:
            add_scores(tables, row, scored[row.name, name], name, resamples)
        for (measure, name), distance in distances[row.name].items():
            cell = labelled(distance.estimate, tables.clips(name))
            tables.cells[row.name, Quantity(measure, "single", name)] = cell
        for (measure, name), curve in row_curves(row, protocols).items():
            tables.curves[row.name, Quantity(measure, "single", name)] = curve
    tables.comparisons = compare(tables, scored, distances, resamples)
    return tables


def labelled(estimate: Estimate, clips: int) -> Estimate:
    """A distance with a note where it is of another number of clips than the others, `clips`."""
    if not estimate.known or estimate.clips == clips:
        return estimate
    note = f"{estimate.clips} clips, the others {clips}: not at equal N"
    return replace(estimate, note="; ".join(filter(None, (estimate.note, note))))


def add_scores(
    tables: Tables, row: ResultRow, scored: ResultRow | str, name: str, resamples: int
) -> None:
    """A row's estimates under one protocol of frames, or the reason why there are none."""
    sampled = max(other.index["trajectories"] for other in tables.rows)
    fewer = tables.trajectories(name) < sampled
    for measure in (*PAIRED, *ENSEMBLE):
        for sampling in samplings(row, measure):
            cell = row.name, Quantity(measure, sampling, name)
            reason = scored if isinstance(scored, str) else ""
            if fewer and sampling in ("mean", "all"):
                reason = reason or f"it is kept for all {sampled} trajectories of a clip only"
            if reason:
                tables.cells[cell] = Estimate(note=f"not computed: {reason}")
                continue
            tables.cells[cell] = estimate = clip_estimate(scored, measure, sampling, resamples)
            if sampling != "best" and name == tables.frame_protocols[0] and estimate.known:
                tables.horizon[cell] = frame_estimates(scored, measure, sampling, resamples)


def compare(
    tables: Tables,
    scored: dict[tuple[str, str], ResultRow | str],
    distances: dict[str, dict[tuple[Measure, str], Distance]],
    resamples: int,
) -> list[Comparison]:
    """Each predictor against every other predictor, baseline and ceiling, measure by measure.

    The floor is real video of other clips: nothing to pair with.
    """

    def against(first: ResultRow, other: ResultRow, measure: Measure, name: str) -> dict[str, Any]:
        if name not in tables.frame_protocols:
            sides = (distances[row.name][measure, name] for row in (first, other))
            return {"estimate": distance_difference(*sides)}
        for row in (first, other):
            cell = tables.estimate(row, measure, None, name)
            if not cell.known:
                return {"estimate": Estimate(note=cell.note)}
        clips = clip_differences(scored[first.name, name], scored[other.name, name], measure)
        return {
            "estimate": difference(clips, first, resamples),
            "clips_better": int((clips > 0 if measure.higher_is_better else clips < 0).sum()),
            "median": float(clips.median()),
        }

    comparisons = []
    for first in tables.of_kind("predictor"):
        others = [row for row in tables.rows if row is not first and row.kind != "floor"]
        for name, protocol in tables.protocols.items():
            for measure in filter(lambda measure: measure.ranked, measured_by(protocol)):
                hardest = tables.best_baseline(measure, name)
                key = tables.quantity(measure, None, name)
                comparisons += [
                    Comparison(first, other, key, best_baseline=other is hardest,
                               **against(first, other, measure, name))
                    for other in others
                ]  # fmt: skip
    return comparisons


def protocol_text(name: str, tables: Tables, measures: Sequence[Measure] = ()) -> str:
    """A protocol in one line: all that its numbers, or those of `measures` alone, depend on."""
    protocol, index = tables.protocols[name], tables.index
    observed = index["context_frames"]
    future = (protocol.frames or observed + index["future_frames"]) - observed
    if protocol.scores is Scores.frames:
        scored = f"future frames only, K = {tables.trajectories(name)}"
    else:
        scored = (
            "first trajectory of each clip; future frames only, or where it says so with context"
        )
    networks = dict.fromkeys(
        f"{measure.label}: {network}"
        for measure in measures or measured_by(protocol)
        if (network := tables.network(tables.quantity(measure, None, name)))
    )
    resized = f" ({tables.resize})" if tables.resize else ""
    context = f" ({tables.rows[0].context})" if tables.rows[0].context else ""
    return "; ".join([
        f"{name}: {index['dataset']} {index['protocol'].get('split', 'test')} split, "
        f"{tables.clips(name)} clips spread evenly, "
        f"{observed} observed + {future} predicted frames{context}, "
        f"{index['resolution']} px{resized}, {scored}",
        *networks,
    ])  # fmt: skip


def protocol_texts(tables: Tables, keys: Iterable[Quantity]) -> list[str]:
    """The protocols of these quantities in words, each with the networks of its measures."""
    measures: dict[str, list[Measure]] = {}
    for key in keys:
        measures.setdefault(key.protocol, []).append(key.measure)
    return [protocol_text(name, tables, those) for name, those in measures.items()]


def sample_text(tables: Tables) -> str:
    """The numbers of clips, groups and seeds below all others."""
    cells = scored_cells(tables)
    if not cells:
        return "Nothing was scored."
    most = max(cells, key=lambda cell: (cell.clips, cell.groups))
    counts = {"clip": most.clips, "group": most.groups, "seed": max(c.seeds for c in cells)}
    clips, groups, seeds = (f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())
    return f"{clips} in {groups}{f', {seeds}' if tables.rows[0].seeds else ''}."


def scored_cells(tables: Tables) -> list[Estimate]:
    """The known numbers but the floor's, whose clips are of the training side."""
    floors = {row.name for row in tables.of_kind("floor")}
    return [cell for (row, _), cell in tables.cells.items() if cell.known and row not in floors]


def basis(tables: Tables, keys: Iterable[Quantity]) -> str:
    """All that numbers of these quantities stand on: protocols, clips, groups and seeds."""
    return f"{'; '.join(protocol_texts(tables, keys))}. {sample_text(tables)}"
