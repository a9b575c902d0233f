"""The numbers of the report: estimates with intervals, comparisons, their CSV and Markdown."""

import math
from dataclasses import dataclass, field

import pandas as pd

from rsvp.metrics.intervals import group_interval
from rsvp.reporting.distances import row_distances
from rsvp.reporting.estimates import NAN, Estimate
from rsvp.reporting.measures import DISTANCES, MEASURES, PAIRED, SAMPLINGS, Measure
from rsvp.reporting.rows import Row


@dataclass(frozen=True)
class Comparison:
    """The paired difference of one measure: predictor minus other row, clip by clip."""

    predictor: Row
    other: Row
    measure: Measure
    estimate: Estimate
    best_baseline: bool  # the other row is the baseline with the best mean of this measure

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
    """Everything that the report says in numbers."""

    rows: list[Row]
    protocol: str
    headline: dict[tuple[str, str, str], Estimate] = field(default_factory=dict)
    horizon: dict[tuple[str, str, str], list[Estimate]] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)

    def estimate(self, row: Row, measure: Measure, sampling: str = "single") -> Estimate:
        """One cell of the headline table."""
        return self.headline.get((row.name, measure.key, sampling), Estimate())

    def best_baseline(self, measure: Measure) -> Row | None:
        """The baseline with the best mean of a measure on these clips: the hardest to beat."""
        return best_row([row for row in self.rows if row.kind == "baseline"], measure, self)

    def measured(self, measure: Measure, sampling: str = "single") -> bool:
        """Whether any row has a value."""
        return any(self.estimate(row, measure, sampling).known for row in self.rows)

    def reason(self, measure: Measure) -> str:
        """Why no row has a value of the measure."""
        notes = [self.estimate(row, measure).note for row in self.rows]
        return next((note for note in notes if note), "no row was scored on it")


def make_tables(rows: list[Row], resamples: int) -> Tables:
    """All estimates and comparisons of `rows`; `resamples` of groups make an interval."""
    tables = Tables(rows, protocol_text(rows))
    for row in rows:
        for measure in PAIRED:
            for sampling in samplings(row):
                cell = (row.name, measure.key, sampling)
                tables.headline[cell] = clip_estimate(row, measure, sampling, resamples)
                if sampling != "best" and tables.headline[cell].known:
                    tables.horizon[cell] = frame_estimates(row, measure, sampling, resamples)
        for key, value in row_distances(row).items():
            tables.headline[row.name, key, "single"] = value
    tables.comparisons = compare(tables, resamples)
    return tables


def samplings(row: Row) -> list[str]:
    """One future says it all where a row has only one."""
    return list(SAMPLINGS) if row.index["trajectories"] > 1 else ["single"]


def clip_values(scores: pd.DataFrame, measure: Measure, sampling: str) -> pd.Series:
    """One value per clip: averaged over frames first, then over (or best of) trajectories.

    Frames without a value (no object in view) are left out; a clip without any is NaN.
    """
    return _over_trajectories(
        _chosen(scores, sampling).groupby(["clip", "trajectory"])[measure.key].mean(),
        measure, sampling, ["clip"],
    )  # fmt: skip


def frame_values(scores: pd.DataFrame, measure: Measure, sampling: str) -> pd.DataFrame:
    """(clips, future frames): one value each, averaged over trajectories."""
    values = _chosen(scores, sampling).groupby(["clip", "frame"])[measure.key].mean()
    return values.unstack("frame")


def _chosen(scores: pd.DataFrame, sampling: str) -> pd.DataFrame:
    mean = scores["trajectory"] < 0
    return scores[mean if sampling == "mean" else ~mean]


def _over_trajectories(
    values: pd.Series, measure: Measure, sampling: str, by: list[str]
) -> pd.Series:
    groups = values.groupby(by)
    if sampling == "best":
        return groups.max() if measure.higher_is_better else groups.min()
    return groups.mean()


def clip_groups(row: Row) -> pd.Series:
    """The group of each clip."""
    return row.runs[0].scores.drop_duplicates("clip").set_index("clip")["group"].astype(str)


def seed_values(row: Row, measure: Measure, sampling: str) -> pd.DataFrame:
    """(clips, seeds): one value per clip and seed."""
    return pd.DataFrame(
        {run.index["seed"]: clip_values(run.scores, measure, sampling) for run in row.runs}
    )


def clip_estimate(row: Row, measure: Measure, sampling: str, resamples: int) -> Estimate:
    """The mean over clips (and seeds) with its interval, or the reason why there is none."""
    if row.runs[0].scores is None:
        return Estimate(note="not computed: its clips are no predictions of the test clips")
    values = seed_values(row, measure, sampling)
    if values.isna().all(axis=None):
        return Estimate(note=f"not computed: {missing_reason(row, measure, sampling)}")
    return estimate_mean(values, clip_groups(row), resamples)


def missing_reason(row: Row, measure: Measure, sampling: str) -> str:
    """Why a column of the scores is empty."""
    if measure.key == "lpips":
        return row.index.get("lpips", {}).get("reason") or "no LPIPS weights"
    if measure.key == "object_psnr":
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
        note="" if interval.groups > 1 else "one group: no interval",
    )  # fmt: skip


def frame_estimates(row: Row, measure: Measure, sampling: str, resamples: int) -> list[Estimate]:
    """One estimate per future frame."""
    by_seed = {run.index["seed"]: frame_values(run.scores, measure, sampling) for run in row.runs}
    groups = clip_groups(row)
    estimates = []
    for frame in range(1, row.index["future_frames"] + 1):
        values = pd.DataFrame({seed: table.get(frame) for seed, table in by_seed.items()})
        if values.empty or values.isna().all(axis=None):
            estimates.append(Estimate(note="not computed: no clip has a value at this frame"))
        else:
            estimates.append(estimate_mean(values, groups, resamples))
    return estimates


def best_row(rows: list[Row], measure: Measure, tables: Tables) -> Row | None:
    """The row with the best single-sample mean; None where no row has one."""
    known = [row for row in rows if tables.estimate(row, measure).known]
    sign = 1 if measure.higher_is_better else -1
    return max(known, key=lambda row: sign * tables.estimate(row, measure).value, default=None)


def compare(tables: Tables, resamples: int) -> list[Comparison]:
    """The first predictor against every other predictor and baseline, measure by measure.

    Single samples; each clip's value is averaged over the row's seeds before the difference.
    """
    predictors = [row for row in tables.rows if row.kind == "predictor"]
    if not predictors:
        return []
    first = predictors[0]
    others = predictors[1:] + [row for row in tables.rows if row.kind == "baseline"]
    comparisons = []
    for measure in PAIRED:
        hardest = tables.best_baseline(measure)
        for other in others:
            estimate = difference(first, other, measure, tables, resamples)
            comparisons.append(Comparison(first, other, measure, estimate, other is hardest))
    return comparisons


def difference(
    first: Row, other: Row, measure: Measure, tables: Tables, resamples: int
) -> Estimate:
    """Mean over clips of first - other."""
    for row in (first, other):
        cell = tables.estimate(row, measure)
        if not cell.known:
            return Estimate(note=cell.note)
    mine, theirs = (seed_values(row, measure, "single").mean(axis=1) for row in (first, other))
    values = (mine - theirs).to_frame()
    estimate = estimate_mean(values, clip_groups(first), resamples)
    return Estimate(
        estimate.value, estimate.low, estimate.high, estimate.clips, estimate.groups,
        seeds=len(first.runs), note=estimate.note,
    )  # fmt: skip


def protocol_text(rows: list[Row]) -> str:
    """What every number of these rows depends on, in one line."""
    index = next((row.index for row in rows if row.kind == "predictor"), rows[0].index)
    protocol = index["protocol"]
    name = protocol.get("name", "prediction") if isinstance(protocol, dict) else str(protocol)
    return (
        f"{name}: {index['dataset']} {index.get('split', 'test')} split, "
        f"{index['context_frames']} observed + {index['future_frames']} predicted frames, "
        f"{index['resolution']} px, future frames only, K = {index['trajectories']}"
    )


def results_table(tables: Tables) -> pd.DataFrame:
    """results.csv: one line per row, metric and sampling, known or not."""
    lines = []
    for (name, key, sampling), estimate in tables.headline.items():
        row = next(row for row in tables.rows if row.name == name)
        measure = next(measure for measure in MEASURES if measure.key == key)
        lines.append(
            _row_columns(tables, row)
            | {"metric": key, "sampling": sampling, "trajectories": row.index["trajectories"]}
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
                _row_columns(tables, row)
                | {"metric": key, "sampling": sampling, "frame": frame}
                | _measure_columns(measure)
                | _estimate_columns(estimate)
            )
    return pd.DataFrame(lines, columns=None if lines else ["row", "metric", "frame", "value"])


def comparisons_table(tables: Tables) -> pd.DataFrame:
    """comparisons.csv: one line per other row and metric; value = predictor - other."""
    lines = [
        {
            "protocol": tables.protocol,
            "predictor": item.predictor.name,
            "other": item.other.name,
            "kind": item.other.kind,
            "metric": item.measure.key,
            "sampling": "single",
            "best_baseline": item.best_baseline,
        }
        | _measure_columns(item.measure)
        | _estimate_columns(item.estimate)
        | {"verdict": item.verdict}
        for item in tables.comparisons
    ]
    return pd.DataFrame(lines, columns=None if lines else ["predictor", "other", "metric", "value"])


def _row_columns(tables: Tables, row: Row) -> dict[str, object]:
    return {"protocol": tables.protocol, "row": row.name, "kind": row.kind}


def _measure_columns(measure: Measure) -> dict[str, object]:
    return {"unit": measure.unit, "better": "higher" if measure.higher_is_better else "lower"}


def _estimate_columns(estimate: Estimate) -> dict[str, object]:
    return {
        "value": estimate.value, "low": estimate.low, "high": estimate.high,
        "clips": estimate.clips, "groups": estimate.groups, "seeds": estimate.seeds,
        "seed_std": estimate.seed_std, "note": estimate.note,
    }  # fmt: skip


def headline_columns(tables: Tables) -> list[tuple[Measure, str]]:
    """(measure, sampling) of the columns that hold at least one value, in reading order."""
    columns = [(measure, "single") for measure in PAIRED]
    columns += [(measure, sampling) for measure in PAIRED[:1] for sampling in ("mean", "best")]
    columns += [(measure, "single") for measure in DISTANCES]
    return [column for column in columns if tables.measured(*column)]


def column_label(measure: Measure, sampling: str, trajectories: int) -> str:
    """The header of a column, with K where it matters."""
    suffix = {
        "single": "",
        "mean": f", mean of {trajectories}",
        "best": f", best of {trajectories}",
    }
    return measure.label + suffix[sampling]


def results_markdown(tables: Tables, title: str) -> str:
    """results.md: the headline table, what it depends on, and what was not computed."""
    columns = headline_columns(tables)
    trajectories = max(row.index["trajectories"] for row in tables.rows)
    heads = [
        f"{column_label(*column, trajectories)}{f' ({column[0].unit})' if column[0].unit else ''} "
        f"{'↑' if column[0].higher_is_better else '↓'}"
        for column in columns
    ]
    lines = [
        f"# {_markdown(title)}", "", f"Protocol: {_markdown(tables.protocol)}.", "",
        f"{sample_text(tables)} Brackets: 95 % interval, groups resampled.", "",
        "| row | kind | " + " | ".join(heads) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]  # fmt: skip
    for row in tables.rows:
        cells = [cell_text(column[0], tables.estimate(row, *column)) for column in columns]
        lines.append(f"| {_markdown(row.name)} | {row.kind} | " + " | ".join(cells) + " |")
    absent = [measure for measure in MEASURES if not tables.measured(measure)]
    if absent:
        lines += ["", "Not computed:", ""]
        lines += [f"- {m.label}: {_markdown(plain_reason(tables.reason(m)))}" for m in absent]
    notes = sorted({tables.estimate(row, *c).note for row in tables.rows for c in columns} - {""})
    if any(not note.startswith("not computed") for note in notes):
        lines += ["", "Notes:", ""]
        lines += [f"- {_markdown(note)}" for note in notes if not note.startswith("not computed")]
    return "\n".join(lines) + "\n"


def scored_cells(tables: Tables) -> list[Estimate]:
    """The headline's numbers but the floor's, whose clips are of the training side."""
    floors = {row.name for row in tables.rows if row.kind == "floor"}
    return [cell for (row, *_), cell in tables.headline.items() if cell.known and row not in floors]


def sample_text(tables: Tables) -> str:
    """How many clips, groups and seeds the numbers stand on."""
    cells = scored_cells(tables)
    if not cells:
        return "Nothing was scored."
    most = max(cells, key=lambda cell: (cell.clips, cell.groups))
    seeds = max(cell.seeds for cell in cells)
    return (
        f"{most.clips} clip{'s' * (most.clips != 1)} in {most.groups} "
        f"group{'s' * (most.groups != 1)}, {seeds} seed{'s' * (seeds != 1)}."
    )


def cell_text(measure: Measure, estimate: Estimate) -> str:
    """`24.10 [23.50, 24.70]`, with ± over seeds where there are several."""
    if not estimate.known:
        return "–"
    text = measure.text(estimate.value)
    if estimate.has_interval:
        text += f" [{measure.text(estimate.low)}, {measure.text(estimate.high)}]"
    if not math.isnan(estimate.seed_std):
        text += f" ± {measure.text(estimate.seed_std)}"
    return text


def plain_reason(note: str) -> str:
    """A note without the words that its heading already says."""
    return note.removeprefix("not computed: ")


def _markdown(text: str) -> str:
    """`text` with what Markdown and HTML would take for markup made harmless."""
    for character in "\\`*_[]|":
        text = text.replace(character, "\\" + character)
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
