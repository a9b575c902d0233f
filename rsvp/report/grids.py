"""Tables for people: cells with intervals in reading order, which Markdown and LaTeX print."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rsvp.report.costs import Cost
from rsvp.report.estimates import Estimate
from rsvp.report.measures import ENSEMBLE, MEASURES, PAIRED, Measure
from rsvp.report.parts import Column, Part, absent, details, headline, notes
from rsvp.report.records import count, duration
from rsvp.report.rows import Row
from rsvp.report.tables import Tables, curve_points, curves_basis, horizon_basis, sample_text

HORIZON_FRAMES = 6  # columns of the table over the horizon, at most; the CSV has all
UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell: a number with its interval, or a text."""

    text: str
    interval: str = ""
    number: bool = True
    best: bool = False  # of its column


@dataclass(frozen=True)
class Grid:
    """A table as it is printed."""

    name: str  # for references: results
    caption: str
    heads: list[str]
    lines: list[list[Cell]]
    starts: list[int] = field(default_factory=list)  # lines that begin a new part
    notes: list[str] = field(default_factory=list)

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether it holds a number: then it stands right."""
        return [any(line[i].number for line in self.lines) for i in range(len(self.heads))]


def number(measure: Measure, estimate: Estimate, sign: bool = False, best: bool = False) -> Cell:
    """A number with its 95 % interval, and ± over seeds where there are several."""
    if not estimate.known:
        return Cell(UNKNOWN, number=False)
    text = measure.text(estimate.value, sign)
    if not math.isnan(estimate.seed_std):
        text += f" ± {measure.text(estimate.seed_std)}"
    if not estimate.has_interval:
        return Cell(text, best=best)
    low, high = (measure.text(end, sign) for end in (estimate.low, estimate.high))
    return Cell(text, f"[{low}, {high}]", best=best)


def result_grids(tables: Tables) -> list[Grid]:
    """The headline table, and the tables of details."""
    parts = [headline(tables), *details(tables)]
    return [result_grid(tables, part) for part in parts]


def result_grid(tables: Tables, part: Part) -> Grid:
    """One table of results; the best predictor or baseline of each column stands out."""
    best = [column.best(tables) for column in part.columns]
    lines, starts, kind = [], [], ""
    for row in part.rows(tables):
        if kind and row.kind != kind:
            starts.append(len(lines))
        kind = row.kind
        cells = [Cell(row.name, number=False), Cell(row.kind, number=False)]
        for column, winner in zip(part.columns, best, strict=True):
            shown = column.estimate(tables, row)
            cells.append(number(column.measure, shown, best=row is winner))
        lines.append(cells)
    remarks = notes(tables, part.columns)
    if part.name == "results":
        remarks += [f"Not computed: {names}: {reason}" for names, reason in absent(tables)]
    return Grid(
        part.name,
        f"{part.title}. {'; '.join(part.protocols)}. {sample_text(tables)} Brackets: 95 % "
        "intervals. Bold: the best predictor or baseline of a column.",
        ["row", "kind", *(column.heading(tables) for column in part.columns)],
        lines, starts, remarks,
    )  # fmt: skip


def comparison_grids(tables: Tables) -> list[Grid]:
    """For each predictor its differences from every other row, measure by measure."""
    part = headline(tables)
    columns = [column for column in part.columns if column.measure.ranked]
    cells: dict[tuple[str, str], dict[Column, Cell]] = {}
    for item in tables.comparisons:
        column = Column(item.measure, item.measure.sampling, item.protocol)
        cells.setdefault((item.predictor.name, item.other.name), {})[column] = number(
            item.measure, item.estimate, sign=True, best=item.verdict == "better"
        )
    unknown = Cell(UNKNOWN, number=False)
    return [
        Grid(
            f"comparisons-{predictor}",
            f"{predictor} minus each other row, on the same clips. {'; '.join(part.protocols)}. "
            f"{sample_text(tables)} Brackets: 95 % intervals. Bold: better, "
            "as the interval excludes 0.",
            [f"{predictor} against", *(column.heading(tables) for column in columns)],
            [
                [Cell(other, number=False), *(line.get(column, unknown) for column in columns)]
                for (first, other), line in cells.items()
                if first == predictor
            ],
        )
        for predictor in dict.fromkeys(first for first, _ in cells)
    ]


def horizon_grids(tables: Tables) -> list[Grid]:
    """For each measure its rows at some of the future frames: all are too many for a page."""
    future = tables.rows[0].index["future_frames"]
    chosen = sorted({round(place) for place in np.linspace(1, future, HORIZON_FRAMES)})
    grids = []
    for measure in (*PAIRED, *ENSEMBLE):
        curves = [
            (row, estimates) for row in tables.rows
            if (estimates := tables.horizon.get((row.name, measure.key, measure.sampling)))
        ]  # fmt: skip
        best = {frame: best_at(measure, curves, frame) for frame in chosen}
        lines = [
            [Cell(row.name, number=False),
             *(number(measure, estimates[frame - 1], best=row is best[frame]) for frame in chosen)]
            for row, estimates in curves
        ]  # fmt: skip
        if lines:
            protocol = tables.frame_protocols[0]
            heading = Column(measure, measure.sampling, protocol).heading(tables)
            caption = (
                f"{heading} by future frame, of {future}. {horizon_basis(tables, [measure])} "
                "Brackets: 95 % intervals. Bold: the best predictor or baseline of a frame."
            )
            frames = [f"frame {frame}" for frame in chosen]
            grids.append(Grid(f"horizon-{measure.key}", caption, ["row", *frames], lines))
    return grids


def best_at(measure: Measure, curves: list[tuple[Row, list[Estimate]]], frame: int) -> Row | None:
    """The best predictor or baseline at a future frame; None where none is better than another."""
    known = [
        (estimates[frame - 1].value, row) for row, estimates in curves
        if row.kind in ("predictor", "baseline") and estimates[frame - 1].known
    ]  # fmt: skip
    if not known or not measure.ranked:
        return None
    best = max if measure.higher_is_better else min
    return best(known, key=lambda item: item[0])[1]


def curves_grid(tables: Tables) -> Grid:
    """How distances between sets of videos change with the number of clips."""
    sizes = sorted({clips for curve in tables.curves.values() for clips, _, _ in curve})
    lines = []
    for name, key, protocol in tables.curves:
        row = next(row for row in tables.rows if row.name == name)
        measure = next(measure for measure in MEASURES if measure.key == key)
        points = {
            estimate.clips: number(measure, replace(estimate, seed_std=deviation))
            for estimate, deviation in curve_points(tables, row, measure, protocol)
        }
        names = [Cell(text, number=False) for text in (measure.label, name, protocol)]
        unknown = Cell(UNKNOWN, number=False)
        lines.append([*names, *(points.get(size, unknown) for size in sizes)])
    caption = (
        "By the number of clips: mean ± standard deviation over random subsets of them; of all "
        f"clips with the 95 % interval. {curves_basis(tables)}"
    )
    return Grid("curves", caption, ["measure", "row", "protocol", *map(str, sizes)], lines)


def cost_grid(lines: Sequence[Cost]) -> Grid:
    """The cost table."""
    body = []
    for line in lines:
        texts = [line.stage.replace("_", " "), line.of]
        numbers = [
            count(line.jobs), duration(line.seconds), count(line.peak_memory_mb),
            count(line.parameters), line.operations, line.rate, count(line.network_evaluations),
        ]  # fmt: skip
        body.append(
            [Cell(text, number=False) for text in texts]
            + [Cell(text or UNKNOWN) for text in numbers]
            + [Cell(line.device or UNKNOWN, number=False)]
        )
    heads = ["stage", "of", "jobs", "time", "peak memory (MB)", "parameters",
             "FLOPs per clip", "samples per second", "NFE", "device"]  # fmt: skip
    return Grid("cost", "Cost of every stage, from the run records.", heads, body)
