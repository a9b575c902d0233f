"""The page: one HTML file that carries its tables, plots and videos, and names no address."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rsvp.reporting.estimates import Estimate
from rsvp.reporting.examples import Example
from rsvp.reporting.measures import (
    EXPLAINED_ROWS,
    LPIPS,
    MEASURES,
    OBJECT_PSNR,
    PAIRED,
    PSNR,
    SAMPLINGS,
    SSIM,
    Measure,
)
from rsvp.reporting.plots import horizon_measures, horizon_plot, inline_svg, learning_plot
from rsvp.reporting.records import (
    DatasetFacts,
    History,
    cost_lines,
    count,
    duration,
    provenance,
)
from rsvp.reporting.rows import Row
from rsvp.reporting.tables import (
    Comparison,
    Tables,
    best_row,
    headline_columns,
    plain_reason,
    sample_text,
    scored_cells,
)

CLASSES = {"better": "better", "worse": "worse"}  # of a verdict; others stay quiet
EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    title: str
    tables: Tables
    histories: Sequence[History]
    records: Sequence[dict[str, Any]]
    examples: dict[str, list[Example]]  # by the row's name
    videos: dict[str, int]  # by the row's name: clips that have one
    datasets: Sequence[DatasetFacts]
    resamples: int


def render(report: Report) -> str:
    """The whole page as HTML text."""
    environment = Environment(
        loader=PackageLoader("rsvp.reporting", ""),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "count": count}
    environment.globals["inline"] = lambda name: Markup(
        environment.loader.get_source(environment, name)[0]
    )
    tables = report.tables
    return environment.get_template("page.html.jinja").render(
        title=report.title,
        facts=facts(tables),
        findings=findings(tables),
        columns=[column(tables, *item) for item in headline_columns(tables)],
        body=[line(tables, row) for row in tables.rows if row.kind in ("predictor", "baseline")],
        reference=[line(tables, row) for row in tables.rows if row.kind in ("ceiling", "floor")],
        absent=[(m.label, plain_reason(tables.reason(m))) for m in MEASURES
                if not tables.measured(m)],
        notes=notes(tables),
        comparisons=comparison_lines(tables),
        compared=[measure for measure in PAIRED if tables.measured(measure)],
        best_baselines=[(m.label, row.label) for m in PAIRED if (row := tables.best_baseline(m))],
        horizon=horizon_figures(tables),
        examples=[
            (name, report.videos.get(name, 0), shown) for name, shown in report.examples.items()
        ],
        learning=learning_figures(report.histories),
        several_seeds=any(len(row.runs) > 1 for row in tables.rows),
        costs=cost_lines(list(report.records)),
        datasets=report.datasets,
        sample=sample_text(tables),
        protocol=tables.protocol,
        protocols=protocols(tables.rows),
        provenance=provenance(list(report.records)),
        settings=stage_settings(report.records),
        measures=[m for m in MEASURES if tables.measured(m)] + [
            m for m in MEASURES if not tables.measured(m)],
        samplings=SAMPLINGS,
        explained_rows=[(row.label, EXPLAINED_ROWS[row.label]) for row in tables.rows
                        if row.label in EXPLAINED_ROWS],
        trajectories=max(row.index["trajectories"] for row in tables.rows),
        resamples=report.resamples,
        version=metadata.version("rsvp"),
    )  # fmt: skip


def facts(tables: Tables) -> list[tuple[str, str]]:
    """The strip under the title: what was done to what."""
    index = tables.rows[0].index
    most = max(scored_cells(tables), key=lambda cell: cell.clips, default=Estimate())
    seeds = sorted({run.index["seed"] for row in tables.rows for run in row.runs})
    return [
        ("dataset", index["dataset"]),
        ("observed → predicted", f"{index['context_frames']} → {index['future_frames']} frames"),
        ("resolution", f"{index['resolution']} × {index['resolution']} px"),
        ("test clips", f"{most.clips} in {most.groups} groups"),
        ("futures per clip", str(max(row.index["trajectories"] for row in tables.rows))),
        ("seed" if len(seeds) == 1 else "seeds", ", ".join(map(str, seeds))),
    ]


def findings(tables: Tables) -> list[dict[str, str]]:
    """The main comparisons in words: against the best baseline, and the room to the ceiling."""
    sentences = []
    for measure in (PSNR, OBJECT_PSNR, SSIM, LPIPS):
        for item in tables.comparisons:
            if item.measure is measure and item.best_baseline:
                sentences.append(finding(item))
    ceiling = next((row for row in tables.rows if row.kind == "ceiling"), None)
    first = next((row for row in tables.rows if row.kind == "predictor"), None)
    if ceiling and first:
        top, mine = tables.estimate(ceiling, PSNR), tables.estimate(first, PSNR)
        if top.known and mine.known:
            room = PSNR.text(top.value - mine.value)
            sentences.append({
                "class": "", "verdict": "headroom", "measure": PSNR.label,
                "text": f"The ceiling ({ceiling.label}) reaches {PSNR.text(top.value)} dB, "
                f"{room} dB above {first.label}.",
            })  # fmt: skip
    return sentences


def finding(item: Comparison) -> dict[str, str]:
    """One comparison as a sentence with its verdict."""
    measure, mine, other = item.measure, item.predictor.label, item.other.label
    unit = f" {measure.unit}" if measure.unit else ""
    amount = measure.text(abs(item.estimate.value)) + unit
    side = "above" if item.estimate.value > 0 else "below"
    text = f"{mine} is {amount} {side} the best baseline, {other}"
    if item.estimate.has_interval:
        text += f" (difference {span(measure, item.estimate, sign=True)}{unit})"
    if item.verdict == "no difference found":
        text += "; the interval holds 0, so chance alone could explain it"
    return {
        "class": CLASSES.get(item.verdict, ""), "verdict": item.verdict,
        "measure": measure.label, "text": text + ".",
    }  # fmt: skip


def span(measure: Measure, estimate: Estimate, sign: bool = False) -> str:
    """An interval as text: `23.55 – 24.60`, or `+0.10 to +0.30` where signs would confuse."""
    low, high = measure.text(estimate.low, sign), measure.text(estimate.high, sign)
    between = " to " if sign or MINUS in low + high else f"\N{THIN SPACE}{EN_DASH}\N{THIN SPACE}"
    return low + between + high


def column(tables: Tables, measure: Measure, sampling: str) -> dict[str, Any]:
    """A header of the headline table."""
    trajectories = max(row.index["trajectories"] for row in tables.rows)
    cells = [tables.estimate(row, measure, sampling) for row in tables.rows]
    return {
        "label": measure.label,
        "detail": {"single": measure.unit}.get(sampling, f"{sampling} of {trajectories}"),
        "better": "higher" if measure.higher_is_better else "lower",
        "arrow": "↑" if measure.higher_is_better else "↓",
        "warning": "not comparable" if any("not comparable" in c.note for c in cells) else "",
    }


def line(tables: Tables, row: Row) -> dict[str, Any]:
    """A row of the headline table."""
    cells = []
    ranked = [other for other in tables.rows if other.kind in ("predictor", "baseline")]
    for measure, sampling in headline_columns(tables):
        shown = cell(measure, tables.estimate(row, measure, sampling))
        best = best_row(ranked, measure, tables) if sampling == "single" else None
        cells.append(shown | {"best": row is best})
    return {"name": row.name, "label": row.label, "kind": row.kind, "cells": cells}


def cell(measure: Measure, estimate: Estimate, sign: bool = False) -> dict[str, Any]:
    """A number with its interval, as the template prints it."""
    if not estimate.known:
        return {"known": False, "note": estimate.note or "not computed: one future per clip"}
    return {
        "known": True,
        "note": estimate.note,
        "number": repr(estimate.value),
        "value": measure.text(estimate.value, sign),
        "interval": span(measure, estimate, sign) if estimate.has_interval else "",
        "deviation": "" if math.isnan(estimate.seed_std) else measure.text(estimate.seed_std),
    }


def notes(tables: Tables) -> list[str]:
    """What qualifies numbers of the headline table, each once, with what it is about."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for measure, sampling in headline_columns(tables):
        for row in tables.rows:
            note = tables.estimate(row, measure, sampling).note
            if note and not note.startswith("not computed"):
                measures, rows = found.setdefault(note, ({}, {}))
                measures[measure.label] = rows[row.label] = None
    texts = []
    for note, (measures, rows) in found.items():
        of = f" of {', '.join(rows)}" if len(rows) < len(tables.rows) / 2 else ""
        texts.append(f"{', '.join(measures)}{of}: {note}.")
    return texts


def comparison_lines(tables: Tables) -> list[dict[str, Any]]:
    """One line per other row, one cell per measure."""
    lines: dict[str, dict[str, Any]] = {}
    for item in tables.comparisons:
        if not tables.measured(item.measure):
            continue
        entry = lines.setdefault(
            item.other.name,
            {"label": item.other.label, "first": item.predictor.label, "cells": []},
        )
        entry["cells"].append(
            cell(item.measure, item.estimate, sign=True)
            | {"verdict": item.verdict, "class": CLASSES.get(item.verdict, "none"),
               "best": item.best_baseline}
        )  # fmt: skip
    return list(lines.values())


def horizon_figures(tables: Tables) -> list[tuple[str, Markup]]:
    """(caption, SVG) of each measure over the horizon."""
    figures = []
    for measure in horizon_measures(tables):
        title = f"{measure.label} per future frame, one line per row"
        drawing = inline_svg(horizon_plot(tables, [measure]), title, f"horizon-{measure.key}")
        figures.append((measure.meaning, Markup(drawing)))
    return figures


def learning_figures(histories: Sequence[History]) -> list[tuple[str, Markup]]:
    """(stage, SVG) of each training stage."""
    figures = []
    for number, stage in enumerate(dict.fromkeys(history.stage for history in histories)):
        mine = [history for history in histories if history.stage == stage]
        if any(history.curves for history in mine):
            drawing = inline_svg(
                learning_plot(mine), f"Learning curves of {stage}", f"learning-{number}"
            )
            figures.append((stage, Markup(drawing)))
    return figures


def protocols(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(rows, protocol as JSON), each different protocol once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        text = json.dumps(row.index["protocol"], indent=2, ensure_ascii=False)
        found.setdefault(text, []).append(row.label)
    return [(", ".join(labels), text) for text, labels in found.items()]


def stage_settings(records: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(stage and what it made, its settings as JSON), the same settings of a stage once."""
    found: dict[tuple[str, str], str] = {}
    for record in records:
        text = json.dumps(record.get("settings"), indent=2, ensure_ascii=False)
        found.setdefault((record.get("stage", "unknown"), text), record["label"])
    return [(f"{stage}: {label}", text) for (stage, text), label in found.items()]
