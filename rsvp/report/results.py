"""The layout of results: which numbers stand in which table and column, from the headline down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from rsvp.config.schema import FETCH
from rsvp.metrics.distribution import COMPARABLE_CLIPS
from rsvp.metrics.intervals import TAIL, holm
from rsvp.report.distances import few_clips, measures_of
from rsvp.report.estimates import NAN, ONE_TRAJECTORY, UNKNOWN_OUTLINES, Estimate
from rsvp.report.measures import DEFINED, ENSEMBLE, FVD, FVD_CONTEXT, MEASURES, MOTION, PAIRED
from rsvp.report.printing import (
    MINUS,
    UNKNOWN,
    Cell,
    Column,
    Table,
    TableFile,
    frame_of,
    number,
    text,
)
from rsvp.report.quarters import YARDSTICK, by_quarter, quarters, signs
from rsvp.report.rows import ResultRow
from rsvp.report.tables import (
    Pair,
    Quantity,
    Tables,
    basis,
    frame_measures,
    intervals_text,
    measured_by,
    protocol_text,
    protocol_texts,
    sample_text,
)

HOLM = "†"  # marks what stays after Holm's correction
HORIZON_FRAMES = 6  # columns of the table over the horizon, at most; the CSV has all


def headline(tables: Tables) -> list[Quantity]:
    """The quantities that say most, each under the protocol that stands for it.

    A row is a forecast distribution: first scores of all trajectories, then of one, then of their
    mean.
    """
    distance = next(filter(tables.known, (FVD, MOTION)), FVD_CONTEXT)
    chosen = [tables.quantity(*key) for key in tables.headline]
    if tables.frame_protocols and not tables.own_protocols:
        chosen = [tables.quantity(measure) for measure in DEFINED]
    return [key for key in (*chosen, tables.quantity(distance))
            if any(counts(tables, row, key) for row in tables.rows)]  # fmt: skip


def counts(tables: Tables, row: ResultRow, key: Quantity) -> bool:
    """Check for a number of its own: one trajectory is no mean, but is the best of one."""
    return (tables.shown if key.sampling == "best" else tables.cell)(row, key).known


def details(tables: Tables) -> list[tuple[str, str, list[Quantity]]]:
    """(name, title, quantities) of all that was measured and stands in no headline."""
    above, parts = headline(tables), []
    for name, protocol in tables.protocols.items():
        # One trajectory alone has no mean and no best.
        ways = ("mean", "best") if tables.trajectories(name) > 1 else ()
        groups = {}
        if not protocol.own:
            keys = [tables.quantity(m, None, name) for m in frame_measures(protocol)]
            groups[f"As {protocol.definition} defines them"] = keys
        elif protocol.of_frames:
            groups = {
                "Frame by frame": [Quantity(m, "single", name) for m in PAIRED],
                "Mean of the trajectories, and the best": [
                    Quantity(m, sampling, name) for m in PAIRED for sampling in ways
                ],
                "All trajectories of a clip together": [Quantity(m, "all", name) for m in ENSEMBLE],
            }
        groups["As sets of videos"] = [Quantity(m, "single", name) for m in measures_of(protocol)]
        for place, (title, keys) in enumerate(groups.items()):
            if shown := [key for key in keys if key not in above
                         and any(counts(tables, row, key) for row in tables.rows)]:  # fmt: skip
                parts.append((f"{name}-{place}", f"{title}, {name}", shown))
    return parts


def sampled(tables: Tables, key: Quantity) -> str:
    """ "best of 3" and the like; empty where trajectories count one by one, or all at once."""
    if key.sampling not in ("mean", "best"):
        return ""
    return f"{key.sampling} of {tables.trajectories(key.protocol)}"


def column(tables: Tables, key: Quantity, protocol: bool = False) -> Column:
    """The head of a quantity's column; `protocol`: whether it names its protocol."""
    measure, network, way = key.measure, tables.network(key), sampled(tables, key)
    network = "" if network == "motion statistic" else network
    name = measure.label + (f" of {network}" if network else "") + (f", {way}" if way else "")
    unit = f" ({measure.unit})" if measure.unit else ""
    made = Column(name, measure.label, [*filter(None, (measure.unit, network, way))],
                  key.protocol if protocol else "", measure.better)  # fmt: skip
    notes = (tables.shown(row, key).note for row in tables.rows)
    warning = "not comparable" if any("not comparable" in note for note in notes) else ""
    return replace(made, head=f"{name}{unit} {made.arrow}".rstrip(), warning=warning)


def cells_of(tables: Tables, keys: Sequence[Quantity]) -> dict[ResultRow, list[Cell]]:
    """The cells of each row that has any number; the best predictors or baselines stand out.

    One that stands alone, or beside equal ones alone, is better than none.
    """
    kinds = ("predictor", "baseline")
    ranked, best = tables.of_kind(*kinds), []
    for key in keys:
        known = {cell.value for row in ranked if (cell := tables.shown(row, key)).known}
        winner = tables.best(key, *kinds)
        best.append(tables.shown(winner, key).value if winner and len(known) > 1 else None)
    cells = {
        row: [number(key.measure, cell, best=row in ranked and cell.value == value)
              for key, value in zip(keys, best, strict=True)
              for cell in [tables.shown(row, key)]]
        for row in tables.rows
    }  # fmt: skip
    return {row: line for row, line in cells.items() if any(cell.known for cell in line)}


def result_table(tables: Tables, name: str, title: str, keys: list[Quantity]) -> Table:
    """A table of rows by quantities."""
    cells = cells_of(tables, keys)
    lines = [[text(row.name, row.label), text(row.kind), *line] for row, line in cells.items()]
    remarks = notes(tables, keys)
    judged = next((key for key in keys if any(signs(tables, row, key) for row in cells)), None)
    protocols = protocol_texts(tables, keys)
    caption = (
        f"{title}. {'; '.join(protocols)}. {sample_text(tables)} "
        f"{intervals_text(tables)} Bold: the best predictor or baseline of a column."
    ) if keys else f"{title}. No row has a number under {', '.join(tables.protocols)}."  # fmt: skip
    heads = [column(tables, key, protocol=len(protocols) > 1) for key in keys]
    if judged:
        remarks.append(f"By motion: {judged_by_motion(tables, judged)}")
        heads.append(Column("by motion", "By motion", [f"{judged.measure.label}, {YARDSTICK}"]))
        for row, line in zip(cells, lines, strict=True):
            line.append(text(signs(tables, row, judged) or UNKNOWN))
    starts = [i for i in range(1, len(lines)) if lines[i][1] != lines[i - 1][1]]
    return Table(name, caption, [Column("row"), Column("kind"), *heads], lines,
                 remarks, starts, title, protocols,
                 context=tables.rows[0].context)  # fmt: skip


def results(tables: Tables) -> TableFile:
    """Every number, known or not; people get the headline first, and then the details."""
    frame = [
        line(tables, row, key, estimate, sampling=key.sampling,
             trajectories=min(row.index["trajectories"], tables.trajectories(key.protocol)))
        for row, key, estimate in tables.numbers
    ]  # fmt: skip
    top = result_table(tables, "results", "Results", headline(tables))
    missing = [f"Not computed: {names}: {reason}" for names, reason in absent(tables)]
    below = [result_table(tables, *part) for part in details(tables)]
    return TableFile("results", frame_of(frame, ["row", "metric", "value"]),
                     [replace(top, notes=[*top.notes, *missing]), *below])  # fmt: skip


def judged_by_motion(tables: Tables, key: Quantity) -> str:
    """The meaning of the four signs of `quarters.signs`."""
    return (
        f"{column(tables, key).label} against {YARDSTICK} in each quarter of the clips, from the "
        f"least motion of the truth to the most; + better, {MINUS} worse, = no difference found, "
        "? no interval."
    )


def motion(tables: Tables) -> TableFile:
    """Rows minus copy-last by quarters of the truth's motion; a table of each headline measure."""
    frame, printed = [], []
    for key in headline(tables):
        lines = []
        for row in tables.rows:
            if not (compared := by_quarter(tables, row, key)):
                continue
            cells = [number(key.measure, item.estimate, sign=True, best=item.side == "better")
                     for _, item in compared]  # fmt: skip
            lines.append([text(row.name, row.label), *cells])
            frame += [
                line(tables, row, key, item.estimate, sampling=key.sampling, quarter=quarter.name,
                     motion_low=quarter.low, motion_high=quarter.high, verdict=item.verdict)
                for quarter, item in compared
            ]  # fmt: skip
        if lines:
            printed.append(motion_table(tables, key, lines))
    return TableFile("motion", frame_of(frame, ["row", "metric", "quarter", "value"]), printed)


def motion_table(tables: Tables, key: Quantity, lines: list[list[Cell]]) -> Table:
    """A measure's differences to copy-last, a column per quarter of the clips."""
    parts = quarters(next(scored for (_, name), scored in tables.scored.items()
                          if name == key.protocol and not isinstance(scored, str)))  # fmt: skip
    heads = [f"{part.name}: {part.low:.1f} to {part.high:.1f}" for part in parts]
    caption = (
        f"{column(tables, key).head}: each row minus {YARDSTICK}, by quarters of the clips. Motion "
        "is the mean difference of neighbouring true frames, in grey levels. "
        f"{basis(tables, [key])} {intervals_text(tables)} Bold: better, as the interval excludes 0."
    )
    return Table(f"motion-{key.measure.key}-{key.sampling}", caption,
                 [Column(head) for head in ("row", *heads)], lines,
                 title=column(tables, key).head)  # fmt: skip


def of_contexts(subject: Callable[[Tables], TableFile], contexts: Sequence[Tables]) -> TableFile:
    """A subject of several contexts in one file."""
    files = [subject(tables) for tables in contexts]
    printed = [
        replace(table, name=table.name + (f"-context{number}" if number else ""))
        for number, file in enumerate(files) for table in file.tables
    ]  # fmt: skip
    frame = pd.concat([file.frame for file in files], ignore_index=True)
    return TableFile(files[0].name, frame, printed)


def line(
    tables: Tables, row: ResultRow, key: Quantity, estimate: Estimate, **more: Any
) -> dict[str, Any]:
    """One number for machines, with all that it depends on."""
    others = row.index["protocol"].get("choice") or "training clips"
    floor = f"; {others} in place of predictions" if row.kind == "floor" else ""
    return {
        "protocol": protocol_text(key.protocol, tables, [key.measure]) + floor,
        "row": row.name, "kind": row.kind, "seed_numbers": row.seeds, "metric": key.measure.key,
        **more, "unit": key.measure.unit, "better": key.measure.better, **estimate.columns,
    }  # fmt: skip


def comparisons(tables: Tables) -> TableFile:
    """Each predictor minus every other row; people get a table of each predictor's headline.

    `p` is of a true difference of 0, `p_holm` corrected for all comparisons that people get.
    """
    corrected = holm_corrected(tables)
    frame = [
        {
            "protocol": protocol_text(item.quantity.protocol, tables, [item.quantity.measure]),
            "predictor": item.predictor.name, "other": item.other.name,
            "seed_numbers": item.predictor.seeds, "kind": item.other.kind,
            "metric": item.quantity.measure.key, "sampling": item.quantity.sampling,
            "best_baseline": item.best_baseline, "unit": item.quantity.measure.unit,
            "better": item.quantity.measure.better, **item.estimate.columns,
            "clips_better": item.clips_better, "median": item.median,
            "p": item.estimate.p, "p_holm": corrected.get(item.pair, NAN), "verdict": item.verdict,
        }
        for item in tables.comparisons
    ]  # fmt: skip
    predictors = dict.fromkeys(item.predictor for item in tables.comparisons)
    return TableFile("comparisons", frame_of(frame, ["predictor", "other", "metric", "value"]),
                     [compared(tables, row, corrected) for row in predictors
                      if headline(tables)])  # fmt: skip


def holm_corrected(tables: Tables) -> dict[Pair, float]:
    """The p of the headline's comparisons that have an interval, after Holm's correction."""
    keys = set(headline(tables))
    found = {
        item.pair: item.estimate.p for item in tables.comparisons
        if item.quantity in keys and item.estimate.has_interval
    }  # fmt: skip
    return dict(zip(found, holm(list(found.values())), strict=True))


def chance_text(tables: Tables, corrected: Mapping[Pair, float]) -> str:
    """The number of comparisons that chance alone would decide, and of those that stay."""
    decided = {item.pair for item in tables.comparisons if item.decided} & corrected.keys()
    stay = sum(p < 2 * TAIL for p in corrected.values())
    return (
        f"Of these {len(corrected)} comparisons, chance alone would make "
        f"{TAIL * len(corrected):.2g} look better, and as many worse, if no methods differed. "
        f"{len(decided)} look better or worse; {stay} of them, marked {HOLM}, stay after Holm's "
        f"correction for all {len(corrected)}."
    )


def compared(tables: Tables, first: ResultRow, corrected: Mapping[Pair, float]) -> Table:
    """A predictor minus each other row, under the measures of the headline.

    corrected: `holm_corrected`.
    """
    shown = headline(tables)
    keys = [key for key in shown if key.measure.ranked]
    lines: dict[ResultRow, dict[Quantity, Cell]] = {}
    for item in tables.comparisons:
        if item.predictor is first:
            lines.setdefault(item.other, {})[item.quantity] = number(
                item.quantity.measure, item.estimate, sign=True, best=item.side == "better",
                verdict=item.side, scope=item.scope if item.decided else "",
                hardest=item.best_baseline,
                mark=HOLM if corrected.get(item.pair, 1.0) < 2 * TAIL else "",
            )  # fmt: skip
    caption = (
        f"{first.name} minus each other row, on the same clips. {basis(tables, shown)} "
        f"{intervals_text(tables)} Bold: better, as the interval excludes 0."
    )
    return Table(
        f"comparisons-{first.name}", caption,
        [Column(f"{first.name} against"), *(column(tables, key) for key in keys)],
        [[text(other.name, other.label, other.kind), *map(cells.get, keys)]
         for other, cells in lines.items()],
        [chance_text(tables, corrected)] if corrected else [],
        title=first.label, basis=basis(tables, shown), context=first.context,
    )  # fmt: skip


def horizon(tables: Tables) -> TableFile:
    """Numbers by future frame; people get a table of some frames for each measure."""
    frame = [
        line(tables, row, key, estimate, sampling=key.sampling, frame=frame)
        for (row, key), estimates in tables.horizon.items()
        for frame, estimate in enumerate(estimates, start=1)
    ]  # fmt: skip
    printed = [horizon_table(tables, key) for key in tables.over_frames(MEASURES)]
    return TableFile("horizon", frame_of(frame, ["row", "metric", "frame", "value"]), printed)


def horizon_table(tables: Tables, key: Quantity) -> Table:
    """One quantity at some of the future frames: all are too many for a page."""
    future = tables.rows[0].index["future_frames"]
    chosen = sorted({round(place) for place in np.linspace(1, future, HORIZON_FRAMES)})
    cells = cells_of(tables, [replace(key, frame=frame) for frame in chosen])
    caption = (
        f"{column(tables, key).head} by future frame, of {future}. {basis(tables, [key])} "
        f"{intervals_text(tables)} Bold: the best predictor or baseline of a frame."
    )
    heads = ["row", *(f"frame {frame}" for frame in chosen)]
    return Table(f"horizon-{key.measure.key}", caption, [Column(head) for head in heads],
                 [[text(row.name), *line] for row, line in cells.items()])  # fmt: skip


def curves(tables: Tables) -> TableFile:
    """Distances between sets of videos by the number of clips.

    `value` is the mean over random subsets of `clips` clips, `deviation` their standard deviation.
    All clips have no subset but an interval, that of results.csv.
    """
    sizes = sorted({point.clips for curve in tables.curves.values() for point in curve})
    frame, lines = [], []
    for (row, key), curve in tables.curves.items():
        first = replace(row, runs=row.runs[:1])
        frame += [
            line(tables, first, key, replace(point, seed_std=NAN), deviation=point.seed_std)
            for point in curve
        ]
        cells = dict.fromkeys(sizes, text(UNKNOWN))
        cells |= {point.clips: number(key.measure, point) for point in curve}
        heads = (key.measure.label, row.name, key.protocol)
        lines.append([*map(text, heads), *cells.values()])
    caption = (
        "By the number of clips: mean ± standard deviation over random subsets of them; of all "
        f"clips with the 95 % interval. {curves_basis(tables)}"
    )
    columns = [Column(head) for head in ("measure", "row", "protocol", *map(str, sizes))]
    return TableFile("curves", frame_of(frame, ["row", "metric", "clips", "value"]),
                     [Table("curves", caption, columns, lines)])  # fmt: skip


def curves_basis(tables: Tables) -> str:
    """All that the curves over the number of clips stand on; empty where there are none."""
    if not tables.curves:
        return ""
    seeds = sorted({row.index["seed"] for row in tables.rows} - {None})
    said = basis(tables, dict.fromkeys(key for _, key in tables.curves))
    if seeds:
        said += f" Of each row’s first seed only ({', '.join(map(str, seeds))})."
    points = [(key.measure, p.clips) for (_, key), curve in tables.curves.items() for p in curve]
    if any(few_clips(*point) for point in points):
        said += f" FVD below {COMPARABLE_CLIPS} clips is not comparable with published values."
    return said


def absent(tables: Tables) -> list[tuple[str, str]]:
    """(names, reason) of the measures without any value, and of protocols without any.

    Those that no protocol measures, or that nobody could know of these clips, were not asked for.
    """
    reasons: dict[str, list[str]] = {}
    asked = {measure for protocol in tables.protocols.values() for measure in measured_by(protocol)}
    for measure in MEASURES:
        if measure in asked and not tables.known(measure):
            cells = [tables.estimate(row, measure) for row in tables.rows]
            reason = first_note(cells) or "nothing was scored"
            if reason in (UNKNOWN_OUTLINES, ONE_TRAJECTORY):
                continue
            if FETCH in reason:  # of several files, one command
                reason = "their weights are not there yet; make weights downloads them"
            reasons.setdefault(reason, []).append(measure.label)
    for name in tables.protocols:
        cells = [cell for _, key, cell in tables.numbers if key.protocol == name]
        if cells and not any(cell.known for cell in cells):
            reason = first_note(cells) or "nothing was scored"
            reasons.setdefault(reason, []).append(f"protocol {name}")
    return [(", ".join(names), reason) for reason, names in reasons.items()]


def first_note(cells: Sequence[Estimate]) -> str:
    """The first reason for a missing number, without the words that its heading already says."""
    notes = (cell.note for cell in cells if cell.note)
    return next(notes, "").removeprefix("not computed: ")


def notes(tables: Tables, keys: Sequence[Quantity]) -> list[str]:
    """Remarks on numbers of these quantities, each once, with its measures and rows."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for key in keys:
        for row in tables.rows:
            cell = tables.shown(row, key)
            if cell.known and cell.note:
                measures, rows = found.setdefault(cell.note, ({}, {}))
                measures[key.measure.label] = rows[row.label] = None
    texts = [equal for key in keys if (equal := equal_rows(tables, key))]
    for note, (measures, rows) in found.items():
        of = f" of {', '.join(rows)}" if len(rows) < len(tables.rows) / 2 else ""
        texts.append(f"{', '.join(measures)}{of}: {note}.")
    return texts


def equal_rows(tables: Tables, key: Quantity) -> str:
    """A note on rows that have the very same motion distance; empty where none have."""
    values: dict[float, list[str]] = {}
    for row in tables.rows if key.measure is MOTION else ():
        if (cell := tables.shown(row, key)).known:
            values.setdefault(cell.value, []).append(row.label)
    same = max(values.values(), key=len, default=[])
    if len(same) < 2:
        return ""
    return f"{MOTION.label} of {', '.join(same)} is one number, since their frames stand still."
