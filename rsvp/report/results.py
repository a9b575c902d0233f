"""The results as tables: the headline, what stands below it, comparisons, horizon and curves."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from rsvp.config.schema import FETCH
from rsvp.metrics.distribution import COMPARABLE_CLIPS, SUBSETS
from rsvp.report.distances import few_clips
from rsvp.report.estimates import NAN, Estimate
from rsvp.report.measures import ENSEMBLE, FVD, HEADLINE, MEASURES, MOTION, PAIRED
from rsvp.report.printing import UNKNOWN, Cell, Column, Table, TableFile, frame_of, number, text
from rsvp.report.rows import ResultRow
from rsvp.report.tables import (
    Quantity,
    Tables,
    basis,
    measured_by,
    protocol_text,
    protocol_texts,
    sample_text,
)

HORIZON_FRAMES = 6  # columns of the table over the horizon, at most; the CSV has all
NO_INTERVALS = "Brackets: 95 % intervals."


def headline(tables: Tables) -> list[Quantity]:
    """The measures that say most, each under the protocol that stands for it."""
    distance = FVD if tables.known(FVD) else MOTION
    measures = (*HEADLINE, distance)
    return [tables.quantity(measure) for measure in measures if tables.known(measure)]


def details(tables: Tables) -> list[tuple[str, str, list[Quantity]]]:
    """(name, title, quantities) of all that was measured and stands in no headline."""
    above, parts = headline(tables), []
    for name, protocol in tables.protocols.items():
        if name in tables.frame_protocols:
            groups = {
                "Frame by frame": [Quantity(m, "single", name) for m in PAIRED],
                "Mean of the trajectories, and the best": [
                    Quantity(m, sampling, name) for m in PAIRED for sampling in ("mean", "best")
                ],
                "All trajectories of a clip together": [Quantity(m, "all", name) for m in ENSEMBLE],
            }
        else:
            groups = {
                "As sets of videos": [Quantity(m, "single", name) for m in measured_by(protocol)]
            }
        for place, (title, keys) in enumerate(groups.items()):
            shown = [key for key in keys if measured(tables, key) and key not in above]
            if shown:
                parts.append((f"{name}-{place}", f"{title}, {name}", shown))
    return parts


def measured(tables: Tables, key: Quantity) -> bool:
    """True where any row has a value; one trajectory alone has no mean and no best."""
    if key.sampling in ("mean", "best") and tables.trajectories(key.protocol) == 1:
        return False
    found = (tables.cells.get((row.name, key)) for row in tables.rows)
    return any(cell is not None and cell.known for cell in found)


def best(tables: Tables, key: Quantity) -> ResultRow | None:
    """The best predictor or baseline; None for a choice that looks at the truth."""
    if key.sampling != key.measure.sampling:
        return None
    return tables.best(tables.of_kind("predictor", "baseline"), key.measure, key.protocol)


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


def result_table(tables: Tables, name: str, title: str, keys: list[Quantity]) -> Table:
    """A table of rows by quantities; the best predictor or baseline of each stands out."""
    winners = [best(tables, key) for key in keys]
    rows = [row for row in tables.rows if any(tables.shown(row, key).known for key in keys)]
    lines = [
        [text(row.name, row.label), text(row.kind)]
        + [number(key.measure, tables.shown(row, key), best=row is winner)
           for key, winner in zip(keys, winners, strict=True)]
        for row in rows
    ]  # fmt: skip
    protocols = protocol_texts(tables, keys)
    caption = (
        f"{title}. {'; '.join(protocols)}. {sample_text(tables)} {NO_INTERVALS} "
        "Bold: the best predictor or baseline of a column."
    )
    heads = [column(tables, key, protocol=len(protocols) > 1) for key in keys]
    starts = [i for i in range(1, len(rows)) if rows[i].kind != rows[i - 1].kind]
    return Table(name, caption, [Column("row"), Column("kind"), *heads], lines,
                 notes(tables, keys), starts, title, protocols)  # fmt: skip


def results(tables: Tables) -> TableFile:
    """Every number, known or not; people get the headline first, and then the details."""
    frame = [
        line(tables, row, key, tables.cells[name, key], {
            "metric": key.measure.key, "sampling": key.sampling,
            "trajectories": min(row.index["trajectories"], tables.trajectories(key.protocol)),
        })
        for name, key in tables.cells for row in [tables.row(name)]
    ]  # fmt: skip
    top = result_table(tables, "results", "Results", headline(tables))
    missing = [f"Not computed: {names}: {reason}" for names, reason in absent(tables)]
    below = [result_table(tables, *part) for part in details(tables)]
    return TableFile("results", frame_of(frame, ["row", "metric", "value"]),
                     [replace(top, notes=[*top.notes, *missing]), *below])  # fmt: skip


def with_contexts(main: TableFile, others: Sequence[TableFile]) -> TableFile:
    """The same subject of all contexts in one file."""
    if not others:
        return main
    frame = pd.concat([main.frame, *(file.frame for file in others)], ignore_index=True)
    tables = [
        replace(table, name=f"{table.name}-context{number}")
        for number, file in enumerate(others, start=1) for table in file.tables
    ]  # fmt: skip
    return TableFile(main.name, frame, [*main.tables, *tables])


def line(
    tables: Tables, row: ResultRow, key: Quantity, estimate: Estimate, more: dict[str, Any]
) -> dict[str, Any]:
    """One number for machines, with all that it depends on."""
    floor = "; training clips in place of predictions" if row.kind == "floor" else ""
    return {
        "protocol": protocol_text(key.protocol, tables, [key.measure]) + floor,
        "row": row.name, "kind": row.kind, "seed_numbers": row.seeds, **more,
        "unit": key.measure.unit, "better": key.measure.better, **asdict(estimate),
    }  # fmt: skip


def comparisons(tables: Tables) -> TableFile:
    """Each predictor minus every other row; people get a table of each predictor's headline."""
    frame = [
        {
            "protocol": protocol_text(item.quantity.protocol, tables, [item.quantity.measure]),
            "predictor": item.predictor.name, "other": item.other.name,
            "seed_numbers": item.predictor.seeds, "kind": item.other.kind,
            "metric": item.quantity.measure.key, "sampling": item.quantity.sampling,
            "best_baseline": item.best_baseline, "unit": item.quantity.measure.unit,
            "better": item.quantity.measure.better, **asdict(item.estimate),
            "clips_better": item.clips_better, "median": item.median, "verdict": item.verdict,
        }
        for item in tables.comparisons
    ]  # fmt: skip
    keys = [key for key in headline(tables) if key.measure.ranked]
    basis_text = f"{'; '.join(protocol_texts(tables, headline(tables)))}. {sample_text(tables)}"
    lines: dict[ResultRow, dict[ResultRow, dict[Quantity, Cell]]] = {}
    for item in tables.comparisons:
        cell = number(
            item.quantity.measure, item.estimate, sign=True, best=item.verdict == "better",
            verdict=item.verdict, hardest=item.best_baseline,
        )  # fmt: skip
        lines.setdefault(item.predictor, {}).setdefault(item.other, {})[item.quantity] = cell
    printed = [
        Table(
            f"comparisons-{first.name}",
            f"{first.name} minus each other row, on the same clips. {basis_text} {NO_INTERVALS} "
            "Bold: better, as the interval excludes 0.",
            [Column(f"{first.name} against"), *(column(tables, key) for key in keys)],
            [[text(other.name, other.label, other.kind), *map(cells.get, keys)]
             for other, cells in others.items()],
            title=first.label, basis=basis_text,
        )
        for first, others in lines.items()
    ]  # fmt: skip
    return TableFile("comparisons", frame_of(frame, ["predictor", "other", "metric", "value"]),
                     printed)  # fmt: skip


def horizon_measures(tables: Tables) -> list[Quantity]:
    """The quantities that have values at each future frame."""
    keys = [Quantity(m, m.sampling, tables.frame_protocols[0])
            for m in (*PAIRED, *ENSEMBLE) if tables.frame_protocols]  # fmt: skip
    return [key for key in keys if any(found == key for _, found in tables.horizon)]


def horizon(tables: Tables) -> TableFile:
    """Numbers by future frame; people get a table of some frames for each measure."""
    frame = [
        line(tables, tables.row(name), key, estimate,
             {"metric": key.measure.key, "sampling": key.sampling, "frame": frame})
        for (name, key), estimates in tables.horizon.items()
        for frame, estimate in enumerate(estimates, start=1)
    ]  # fmt: skip
    return TableFile("horizon", frame_of(frame, ["row", "metric", "frame", "value"]),
                     [horizon_table(tables, key) for key in horizon_measures(tables)])  # fmt: skip


def horizon_table(tables: Tables, key: Quantity) -> Table:
    """One quantity at some of the future frames: all are too many for a page."""
    future, measure = tables.rows[0].index["future_frames"], key.measure
    chosen = sorted({round(place) for place in np.linspace(1, future, HORIZON_FRAMES)})
    curves = {row: tables.horizon[row.name, key] for row in tables.rows
              if (row.name, key) in tables.horizon}  # fmt: skip
    pick = max if measure.higher_is_better else min
    lines = {row: [text(row.name)] for row in curves}
    for frame in chosen:
        at = {row: estimates[frame - 1] for row, estimates in curves.items()}
        known = [row for row in tables.of_kind("predictor", "baseline")
                 if measure.ranked and row in at and at[row].known]  # fmt: skip
        winner = pick(known, key=lambda row: at[row].value, default=None)
        for row, estimate in at.items():
            lines[row].append(number(measure, estimate, best=row is winner))
    caption = (
        f"{column(tables, key).head} by future frame, of {future}. {basis(tables, [key])} "
        f"{NO_INTERVALS} Bold: the best predictor or baseline of a frame."
    )
    heads = ["row", *(f"frame {frame}" for frame in chosen)]
    return Table(f"horizon-{measure.key}", caption, [Column(head) for head in heads],
                 list(lines.values()))  # fmt: skip


def curves(tables: Tables) -> TableFile:
    """Distances between sets of videos by the number of clips.

    `value` is the mean over random subsets of `clips` clips, `deviation` their standard deviation.
    All clips have no subset but an interval, that of results.csv.
    """
    sizes = sorted({clips for curve in tables.curves.values() for clips, *_ in curve})
    frame, lines = [], []
    for name, key in tables.curves:
        row = tables.row(name)
        first = replace(row, runs=row.runs[:1])
        cells = dict.fromkeys(sizes, text(UNKNOWN))
        for estimate, deviation in curve_points(tables, name, key):
            more = {"seed_numbers": first.seeds, "metric": key.measure.key, "deviation": deviation}
            frame.append(line(tables, row, key, estimate, more))
            shown = replace(estimate, seed_std=deviation)
            cells[estimate.clips] = number(key.measure, shown)
        lines.append([text(key.measure.label), text(name), text(key.protocol), *cells.values()])
    caption = (
        "By the number of clips: mean ± standard deviation over random subsets of them; of all "
        f"clips with the 95 % interval. {curves_basis(tables)}"
    )
    heads = [Column(head) for head in ("measure", "row", "protocol", *map(str, sizes))]
    return TableFile("curves", frame_of(frame, ["row", "metric", "clips", "value"]),
                     [Table("curves", caption, heads, lines)])  # fmt: skip


def curve_points(tables: Tables, name: str, key: Quantity) -> list[tuple[Estimate, float]]:
    """(estimate, deviation over subsets) at each number of clips, all clips last."""
    whole, points = tables.cells[name, key], []
    for clips, value, deviation in tables.curves[name, key]:
        last = clips == whole.clips
        subsets = f"mean over {SUBSETS} random subsets of all clips"
        low, high = (whole.low, whole.high) if last and whole.seeds == 1 else (NAN, NAN)
        note = "; ".join(filter(None, (subsets, few_clips(key.measure, clips))))
        estimate = Estimate(value, low, high, clips, min(clips, whole.groups), seeds=1,
                            note=whole.note if last else note)  # fmt: skip
        points.append((estimate, deviation))
    return points


def curves_basis(tables: Tables) -> str:
    """All that the curves over the number of clips stand on; empty where there are none."""
    if not tables.curves:
        return ""
    seeds = sorted({row.index["seed"] for row in tables.rows})
    keys = dict.fromkeys(key for _, key in tables.curves)
    said = f"{basis(tables, keys)} Of each row’s first seed only ({', '.join(map(str, seeds))})."
    points = ((key.measure, clips) for (_, key), c in tables.curves.items() for clips, *_ in c)
    if any(few_clips(measure, clips) for measure, clips in points):
        said += f" FVD below {COMPARABLE_CLIPS} clips is not comparable with published values."
    return said


def absent(tables: Tables) -> list[tuple[str, str]]:
    """(names, reason) of the measures without any value, and of protocols without any."""
    reasons: dict[str, list[str]] = {}
    for measure in MEASURES:
        if not tables.known(measure):
            cells = [tables.estimate(row, measure).note for row in tables.rows]
            reason = next(filter(None, cells), "no protocol in the report measures it")
            if FETCH in reason:  # of several files, one command
                reason = "their weights are not there yet; make weights downloads them"
            reasons.setdefault(plain(reason), []).append(measure.label)
    for name in tables.protocols:
        cells = [cell for (_, key), cell in tables.cells.items() if key.protocol == name]
        if cells and not any(cell.known for cell in cells):
            reason = next((cell.note for cell in cells if cell.note), "nothing was scored")
            reasons.setdefault(plain(reason), []).append(f"protocol {name}")
    return [(", ".join(names), reason) for reason, names in reasons.items()]


def plain(note: str) -> str:
    """A note without the words that its heading already says."""
    return note.removeprefix("not computed: ")


def notes(tables: Tables, keys: Sequence[Quantity]) -> list[str]:
    """Remarks on numbers of these quantities, each once, with its measures and rows."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for key in keys:
        for row in tables.rows:
            note = tables.shown(row, key).note
            if note and not note.startswith("not computed"):
                measures, rows = found.setdefault(note, ({}, {}))
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
