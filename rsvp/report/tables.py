"""The numbers of the report: estimates with intervals, comparisons, and tables for machines."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from tqdm import tqdm

from rsvp.config.schema import Protocol, Scores
from rsvp.metrics.distribution import COMPARABLE_CLIPS, SUBSETS
from rsvp.report.distances import (
    Distance,
    distance_difference,
    few_clips,
    measures_of,
    row_curves,
    row_distances,
)
from rsvp.report.estimates import NAN, Estimate
from rsvp.report.measures import (
    ENSEMBLE,
    LPIPS,
    LPIPS_DIVERSITY,
    MEASURES,
    MOTION,
    NEIGHBOURS,
    PAIRED,
    Measure,
)
from rsvp.report.rows import Row, under_protocol
from rsvp.report.scores import (
    clip_differences,
    clip_estimate,
    difference,
    frame_estimates,
    samplings,
)

BACKBONES = {"alex": "AlexNet", "squeeze": "SqueezeNet", "vgg": "VGG"}  # of LPIPS


@dataclass(frozen=True)
class Comparison:
    """The difference of one measure on the same clips: predictor minus other row."""

    predictor: Row
    other: Row
    measure: Measure
    protocol: str
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
        sign = 1 if self.measure.higher_is_better else -1
        ends = sorted([sign * self.estimate.low, sign * self.estimate.high])
        if ends[0] > 0:
            return "better"
        return "worse" if ends[1] < 0 else "no difference found"


@dataclass
class Tables:
    """Everything that the report says in numbers.

    headline: by (row, measure key, sampling, protocol). horizon: by (row, measure key, sampling),
    under the first protocol of frames. curves: by (row, measure key, protocol), how a distance
    falls with the number of clips: (clips, mean, deviation over subsets).
    """

    rows: list[Row]
    protocols: dict[str, Protocol]
    resize: str = ""  # the filter by which the dataset's frames were made; empty if not known
    headline: dict[tuple[str, str, str, str], Estimate] = field(default_factory=dict)
    horizon: dict[tuple[str, str, str], list[Estimate]] = field(default_factory=dict)
    curves: dict[tuple[str, str, str], list[tuple[int, float, float]]] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def frame_protocols(self) -> list[str]:
        """The protocols that score frame by frame."""
        return [name for name, item in self.protocols.items() if item.scores is Scores.frames]

    def futures(self, name: str) -> int:
        """K: how many futures of each clip count under a protocol."""
        protocol = self.protocols[name]
        if protocol.scores is not Scores.frames:
            return 1  # sets are made of the first futures
        return protocol.trajectories or max(row.index["trajectories"] for row in self.rows)

    def clips(self, name: str) -> int:
        """N: how many clips count under a protocol."""
        clips = self.protocols[name].clips
        return self.index["clips"] if clips is None else clips

    def protocol_of(self, measure: Measure) -> str:
        """The protocol that stands for a measure: the last named one with a value, else the first.

        So a number under a strict protocol goes before one that is labelled.
        """
        having = [name for name in self.protocols if measure in measured_by(self.protocols[name])]
        known = {key[3] for key, cell in self.headline.items()
                 if key[1] == measure.key and cell.known}  # fmt: skip
        return next((name for name in reversed(having) if name in known), [*having, ""][0])

    def estimate(
        self, row: Row, measure: Measure, sampling: str | None = None, protocol: str | None = None
    ) -> Estimate:
        """One cell of the headline table; by default as the measure stands there."""
        name = protocol or self.protocol_of(measure)
        return self.headline.get(
            (row.name, measure.key, sampling or measure.sampling, name), Estimate()
        )

    def best_baseline(self, measure: Measure, protocol: str | None = None) -> Row | None:
        """The baseline with the best mean of a measure on these clips: the hardest to beat."""
        baselines = [row for row in self.rows if row.kind == "baseline"]
        return best_row(baselines, measure, self, protocol)

    def measured(self, measure: Measure, sampling: str | None = None) -> bool:
        """Whether any row has a value."""
        return any(self.estimate(row, measure, sampling).known for row in self.rows)

    def reason(self, measure: Measure) -> str:
        """Why no row has a value of the measure."""
        notes = [self.estimate(row, measure).note for row in self.rows]
        return next((note for note in notes if note), "no protocol in the report measures it")

    @property
    def index(self) -> dict[str, Any]:
        """The evaluation index of the first predictor, or of the first row."""
        return next((row.index for row in self.rows if row.kind == "predictor"), self.rows[0].index)

    def network(self, measure: Measure, protocol: Protocol) -> str:
        """What a measure looks at frames with; empty for pixels, and where there is no network."""
        if measure in (LPIPS, LPIPS_DIVERSITY):
            return BACKBONES.get(self.index.get("lpips", {}).get("backbone", ""), "")
        if protocol.scores is Scores.frames:
            return ""
        detector = protocol.detector
        if self.index.get("detectors", {}).get(detector, {}).get("computed"):
            own = "motion statistic" if measure is MOTION else ""
            return own or ("I3D" if detector == "i3d" else detector)
        return "motion statistic" if measure in (MOTION, *NEIGHBOURS) else ""

    @property
    def main_comparisons(self) -> list[Comparison]:
        """Those of the first predictor under the protocol that stands for each measure."""
        return [
            item for item in self.comparisons
            if item.predictor is self.comparisons[0].predictor
            and item.protocol == self.protocol_of(item.measure)
        ]  # fmt: skip


def measured_by(protocol: Protocol) -> list[Measure]:
    """What a protocol measures."""
    return [*PAIRED, *ENSEMBLE] if protocol.scores is Scores.frames else measures_of(protocol)


def make_tables(
    rows: list[Row], resamples: int, protocols: dict[str, Protocol], resize: str = ""
) -> Tables:
    """All estimates and comparisons of `rows`; `resamples` of groups make an interval."""
    tables = Tables(rows, protocols, resize)
    distances = {row.name: row_distances(row, protocols) for row in rows}
    scored = {
        (row.name, name): under_protocol(row, protocol)
        for row in rows
        for name, protocol in protocols.items()
        if protocol.scores is Scores.frames
    }
    for row in tqdm(rows, desc="tables", unit="row", delay=2):
        for name in tables.frame_protocols:
            add_scores(tables, row, scored[row.name, name], name, resamples)
        for (key, name), distance in distances[row.name].items():
            cell = (row.name, key, "single", name)
            tables.headline[cell] = labelled(distance.estimate, tables.clips(name))
        for (key, name), curve in row_curves(row, protocols).items():
            tables.curves[row.name, key, name] = curve
    tables.comparisons = compare(tables, scored, distances, resamples)
    return tables


def labelled(estimate: Estimate, clips: int) -> Estimate:
    """A distance with a note where it is of another number of clips than the others, `clips`."""
    if not estimate.known or estimate.clips == clips:
        return estimate
    note = f"{estimate.clips} clips, the others {clips}: not at equal N"
    return replace(estimate, note="; ".join(filter(None, (estimate.note, note))))


def add_scores(tables: Tables, row: Row, scored: Row | str, name: str, resamples: int) -> None:
    """A row's estimates under one protocol of frames, or the reason why there are none."""
    sampled = max(other.index["trajectories"] for other in tables.rows)
    fewer = tables.futures(name) < sampled
    for measure in (*PAIRED, *ENSEMBLE):
        for sampling in samplings(row, measure):
            cell = (row.name, measure.key, sampling)
            reason = scored if isinstance(scored, str) else ""
            if fewer and sampling in ("mean", "all"):
                reason = reason or f"it is kept for all {sampled} futures of a clip only"
            if reason:
                tables.headline[*cell, name] = Estimate(note=f"not computed: {reason}")
                continue
            estimate = clip_estimate(scored, measure, sampling, resamples)
            tables.headline[*cell, name] = estimate
            if sampling != "best" and name == tables.frame_protocols[0] and estimate.known:
                tables.horizon[cell] = frame_estimates(scored, measure, sampling, resamples)


def best_row(
    rows: list[Row], measure: Measure, tables: Tables, protocol: str | None = None
) -> Row | None:
    """The row with the best mean; None where no row has one or none is better than another."""
    known = [row for row in rows if tables.estimate(row, measure, None, protocol).known]
    if not measure.ranked:
        return None
    sign = 1 if measure.higher_is_better else -1
    return max(
        known, key=lambda row: sign * tables.estimate(row, measure, None, protocol).value,
        default=None,
    )  # fmt: skip


def compare(
    tables: Tables,
    scored: dict[tuple[str, str], Row | str],
    distances: dict[str, dict[tuple[str, str], Distance]],
    resamples: int,
) -> list[Comparison]:
    """Each predictor against every other predictor, baseline and ceiling, measure by measure.

    The floor is real video of other clips: nothing to pair with.
    """

    def against(first: Row, other: Row, measure: Measure, name: str) -> dict[str, Any]:
        if name not in tables.frame_protocols:
            key = (measure.key, name)
            sides = (distances[row.name][key] for row in (first, other))
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
    for first in (row for row in tables.rows if row.kind == "predictor"):
        others = [row for row in tables.rows if row is not first and row.kind != "floor"]
        for name, protocol in tables.protocols.items():
            for measure in filter(lambda measure: measure.ranked, measured_by(protocol)):
                hardest = tables.best_baseline(measure, name)
                comparisons += [
                    Comparison(first, other, measure, name, best_baseline=other is hardest,
                               **against(first, other, measure, name))
                    for other in others
                ]  # fmt: skip
    return comparisons


def protocol_text(name: str, tables: Tables, measures: Sequence[Measure] = ()) -> str:
    """What numbers under a protocol depend on, in one line: those of `measures`, by default all."""
    protocol, index = tables.protocols[name], tables.index
    observed = index["context_frames"]
    future = (protocol.frames or observed + index["future_frames"]) - observed
    if protocol.scores is Scores.frames:
        scored = f"future frames only, K = {tables.futures(name)}"
    else:
        scored = "first future of each clip; future frames only, or where it says so with context"
    networks = dict.fromkeys(
        f"{measure.label}: {network}"
        for measure in measures or measured_by(protocol)
        if (network := tables.network(measure, protocol))
    )
    resized = f" ({tables.resize})" if tables.resize else ""
    return "; ".join([
        f"{name}: {index['dataset']} {index['protocol'].get('split', 'test')} split, "
        f"{tables.clips(name)} clips spread evenly, "
        f"{observed} observed + {future} predicted frames, "
        f"{index['resolution']} px{resized}, {scored}",
        *networks,
    ])  # fmt: skip


def results_table(tables: Tables) -> pd.DataFrame:
    """results.csv: one line per row, metric and sampling, known or not."""
    lines = []
    for (name, key, sampling, protocol), estimate in tables.headline.items():
        row = next(row for row in tables.rows if row.name == name)
        measure = next(measure for measure in MEASURES if measure.key == key)
        futures = min(row.index["trajectories"], tables.futures(protocol))
        lines.append(
            _row_columns(tables, row, protocol, measure)
            | {"metric": key, "sampling": sampling, "trajectories": futures}
            | _measure_columns(measure)
            | _estimate_columns(estimate)
        )
    return pd.DataFrame(lines)


def horizon_table(tables: Tables) -> pd.DataFrame:
    """horizon.csv: one line per row, metric, sampling and future frame (1 is the first)."""
    lines = []
    for (name, key, sampling), estimates in tables.horizon.items():
        row = next(row for row in tables.rows if row.name == name)
        measure = next(measure for measure in MEASURES if measure.key == key)
        for frame, estimate in enumerate(estimates, start=1):
            lines.append(
                _row_columns(tables, row, tables.frame_protocols[0], measure)
                | {"metric": key, "sampling": sampling, "frame": frame}
                | _measure_columns(measure)
                | _estimate_columns(estimate)
            )
    return pd.DataFrame(lines, columns=None if lines else ["row", "metric", "frame", "value"])


def comparisons_table(tables: Tables) -> pd.DataFrame:
    """comparisons.csv: a line per predictor, other row and metric; value = predictor - other."""
    lines = [
        {
            "protocol": protocol_text(item.protocol, tables, [item.measure]),
            "predictor": item.predictor.name,
            "other": item.other.name,
            "seed_numbers": seed_numbers(item.predictor),
            "kind": item.other.kind,
            "metric": item.measure.key,
            "sampling": item.measure.sampling,
            "best_baseline": item.best_baseline,
        }
        | _measure_columns(item.measure)
        | _estimate_columns(item.estimate)
        | {"clips_better": item.clips_better, "median": item.median, "verdict": item.verdict}
        for item in tables.comparisons
    ]
    return pd.DataFrame(lines, columns=None if lines else ["predictor", "other", "metric", "value"])


def curves_table(tables: Tables) -> pd.DataFrame:
    """curves.csv: how each distance changes with the number of clips; a line per row and number.

    `value` is the mean over random subsets of `clips` clips, `deviation` their standard deviation.
    All clips have no subset but an interval, that of results.csv. Subsets have so many groups at
    most.
    """
    lines = []
    for name, key, protocol in tables.curves:
        row = next(row for row in tables.rows if row.name == name)
        measure = next(measure for measure in MEASURES if measure.key == key)
        for estimate, deviation in curve_points(tables, row, measure, protocol):
            lines.append(
                _row_columns(tables, row, protocol, measure)
                | {"seed_numbers": seed_numbers(row, runs=1), "metric": key, "deviation": deviation}
                | _measure_columns(measure)
                | _estimate_columns(estimate)
            )
    return pd.DataFrame(lines, columns=None if lines else ["row", "metric", "clips", "value"])


def curve_points(
    tables: Tables, row: Row, measure: Measure, protocol: str
) -> list[tuple[Estimate, float]]:
    """(estimate, deviation over subsets) at each number of clips, all clips last."""
    whole = tables.headline[row.name, measure.key, "single", protocol]
    points = []
    for clips, value, deviation in tables.curves[row.name, measure.key, protocol]:
        last = clips == whole.clips
        subsets = f"mean over {SUBSETS} random subsets of all clips"
        low, high = (whole.low, whole.high) if last and whole.seeds == 1 else (NAN, NAN)
        note = "; ".join(filter(None, (subsets, few_clips(measure, clips))))
        estimate = replace(
            whole, value=value, low=low, high=high, clips=clips, groups=min(clips, whole.groups),
            seeds=1, seed_std=NAN, note=whole.note if last else note,
        )  # fmt: skip
        points.append((estimate, deviation))
    return points


def _row_columns(tables: Tables, row: Row, protocol: str, measure: Measure) -> dict[str, object]:
    text = protocol_text(protocol, tables, [measure])
    if row.kind == "floor":
        text += "; training clips in place of predictions"
    return {
        "protocol": text, "row": row.name, "kind": row.kind,
        "seed_numbers": seed_numbers(row),
    }  # fmt: skip


def seed_numbers(row: Row, runs: int | None = None) -> str:
    """Which seeds a row has, or its first `runs`: "0, 1"; empty where nobody knows."""
    seeds = (run.index["seed"] for run in row.runs[:runs])
    return ", ".join(str(seed) for seed in seeds if seed is not None)


def _measure_columns(measure: Measure) -> dict[str, object]:
    return {"unit": measure.unit, "better": measure.better}


def _estimate_columns(estimate: Estimate) -> dict[str, object]:
    return {
        "value": estimate.value, "low": estimate.low, "high": estimate.high,
        "clips": estimate.clips, "groups": estimate.groups, "seeds": estimate.seeds,
        "seed_std": estimate.seed_std, "note": estimate.note,
    }  # fmt: skip


def scored_cells(tables: Tables) -> list[Estimate]:
    """The headline's numbers but the floor's, whose clips are of the training side."""
    floors = {row.name for row in tables.rows if row.kind == "floor"}
    return [cell for (row, *_), cell in tables.headline.items() if cell.known and row not in floors]


def basis(tables: Tables, measures: dict[str, list[Measure]]) -> str:
    """What numbers stand on: protocols, of which `measures` are shown, clips, groups and seeds."""
    protocols = [protocol_text(name, tables, those) for name, those in measures.items()]
    return f"{'; '.join(protocols)}. {sample_text(tables)}"


def horizon_basis(tables: Tables, measures: Sequence[Measure]) -> str:
    """What the measures per future frame stand on."""
    return basis(tables, {name: list(measures) for name in tables.frame_protocols[:1]})


def curves_basis(tables: Tables) -> str:
    """What the curves over the number of clips stand on; empty where there are none."""
    if not tables.curves:
        return ""
    measures: dict[str, list[Measure]] = {}
    for _, key, name in tables.curves:
        measure = next(measure for measure in MEASURES if measure.key == key)
        if measure not in measures.setdefault(name, []):
            measures[name].append(measure)
    seeds = sorted({row.index["seed"] for row in tables.rows})
    text = (
        f"{basis(tables, measures)} Of each row’s first seed only ({', '.join(map(str, seeds))})."
    )
    points = ((key, clips) for (_, key, _), curve in tables.curves.items() for clips, *_ in curve)
    by_key = {measure.key: measure for those in measures.values() for measure in those}
    if any(few_clips(by_key[key], clips) for key, clips in points):
        text += f" FVD below {COMPARABLE_CLIPS} clips is not comparable with published values."
    return text


def sample_text(tables: Tables) -> str:
    """How many clips, groups and seeds the numbers stand on."""
    cells = scored_cells(tables)
    if not cells:
        return "Nothing was scored."
    most = max(cells, key=lambda cell: (cell.clips, cell.groups))
    seeds = max(cell.seeds for cell in cells)
    known = f", {seeds} seed{'s' * (seeds != 1)}" if seed_numbers(tables.rows[0]) else ""
    return (
        f"{most.clips} clip{'s' * (most.clips != 1)} in {most.groups} "
        f"group{'s' * (most.groups != 1)}{known}."
    )


def plain_reason(note: str) -> str:
    """A note without the words that its heading already says."""
    return note.removeprefix("not computed: ")
