"""The page: one HTML file that carries its tables, plots and videos, and names no address."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rsvp.report.costs import Cost
from rsvp.report.estimates import Estimate
from rsvp.report.examples import Gallery
from rsvp.report.grids import Grid
from rsvp.report.measures import EXPLAINED_ROWS, MEASURES, PSNR, SAMPLINGS, SPREAD_SKILL, Measure
from rsvp.report.parts import Column, Part, absent, details, headline, notes
from rsvp.report.plots import curves_plot, horizon_measures, horizon_plot, inline_svg, learning_plot
from rsvp.report.records import (
    DatasetFacts,
    History,
    autoencoder_of,
    count,
    duration,
    made_by,
    provenance,
    sampler_of,
)
from rsvp.report.rows import Row
from rsvp.report.tables import (
    Comparison,
    Tables,
    curves_basis,
    horizon_basis,
    protocol_text,
    sample_text,
    scored_cells,
)

CURVES = {  # columns of histories
    "loss": "what is minimised: the sum of the others with their weights, where there are any",
    "validation_loss": "the same on the validation clips",
    "validation_psnr": "PSNR of reconstructions of the validation clips, in dB",
    "validation_lpips": "LPIPS of them",
    "validation_sliced_wasserstein": "how far their local patterns are from real ones",
    "reconstruction": "what the reconstructions miss, perceptual terms included",
    "l1": "mean absolute error of the reconstructed pixels",
    "l2": "mean squared error of the reconstructed pixels",
    "layers": "mean absolute error of the composed layers alone, also at a quarter of the size",
    "mask": "the mean of the object mask: how much of the picture it takes",
    "content": "mean square of the content that motion and the future’s latents carry",
    "tracks": "how far the motion strays from tracks in the frames",
    "adversarial": "how well the discriminator tells reconstructions from real frames",
    "features": "how far its features of reconstructions are from those of real frames",
    "discriminator": "the discriminator’s own loss",
    "adaptive_weight": "what the adversarial loss is multiplied by, to pull as hard as asked",
    "r1": "the penalty on its gradient at real frames",
    "overfit": "mean sign of its logits of real frames: towards 1 it knows them by heart",
    "augmented": "the probability that what it sees is transformed",
    "patches": "how far local patterns of reconstructions are from those of their frames",
    "lpips": "LPIPS of the reconstructions",
    "regulariser": "what bounds the latents: KL’s divergence, or VQ’s commitment",
}
CLASSES = {"better": "better", "worse": "worse"}  # of a verdict; others stay quiet
EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    title: str
    tables: Tables
    histories: Sequence[History]
    records: Sequence[dict[str, Any]]
    costs: Sequence[Cost]
    budgets: Sequence[Grid]
    galleries: Sequence[Gallery]
    decomposition: Sequence[Grid]
    conclusions: Sequence[str]  # of it, in sentences
    memorisation: Sequence[Grid]
    nearest: str  # SVG of predictions above their nearest training clips
    datasets: Sequence[DatasetFacts]
    resamples: int


def render(report: Report) -> str:
    """The whole page as HTML text."""
    environment = Environment(
        loader=PackageLoader("rsvp.report", ""),
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
    top, below = headline(tables), details(tables)
    return environment.get_template("page.html.jinja").render(
        title=report.title,
        introduction=introduction(tables),
        facts=facts(tables),
        findings=findings(tables, report.records),
        headline=result_part(tables, top),
        details=[result_part(tables, part) for part in below],
        absent=absent(tables),
        comparisons=comparison_parts(tables),
        horizon=horizon_figures(tables),
        horizon_basis=horizon_basis(tables, horizon_measures(tables)),
        curves=curves_figure(tables),
        curves_basis=curves_basis(tables),
        galleries=report.galleries,
        decomposition=report.decomposition,
        conclusions=report.conclusions,
        memorisation=report.memorisation,
        nearest=Markup(inline_svg(report.nearest, "Predictions above the training clips that are "
                                  "nearest to them", "copies")) if report.memorisation else "",
        learning=learning_figures(report.histories),
        several_seeds=any(len(row.runs) > 1 for row in tables.rows),
        costs=report.costs,
        budgets=report.budgets,
        on_gpu=any(cost.gpu_peak_memory_mb for cost in report.costs),
        curve_names=curve_names(report.histories),
        datasets=report.datasets,
        sample=sample_text(tables),
        protocol_texts=[(name, protocol_text(name, tables)) for name in tables.protocols],
        protocols=protocols(tables.rows),
        samplers=[(row.label, text) for row in tables.rows if row.kind == "predictor"
                  if (text := sampler_of(row.name, report.records))],
        provenance=provenance(list(report.records)),
        made_by=made_by(),
        settings=stage_settings(report.records),
        measures=[m for m in MEASURES if tables.measured(m)] + [
            m for m in MEASURES if not tables.measured(m)],
        samplings=explained_samplings(tables, [top, *below]),
        explained_rows=[(method, EXPLAINED_ROWS[method])
                        for method in dict.fromkeys(row.method for row in tables.rows)
                        if method in EXPLAINED_ROWS],
        resamples=report.resamples,
        version=metadata.version("rsvp"),
    )  # fmt: skip


def introduction(tables: Tables) -> str:
    """What this is about and what its words mean, in a few sentences."""
    names = [row.label for row in tables.rows if row.kind == "predictor"]
    index = tables.index
    subject = " and ".join(names) or "Every method"
    future = "future" if index["trajectories"] == 1 else "futures"
    return (
        f"{subject} saw the first {index['context_frames']} frames of each test clip and sampled "
        f"{index['trajectories']} {future} of {index['future_frames']} frames; the videos under "
        "Examples play them beside the truth. A future is one sampled continuation of a clip, a "
        "group is a set of clips that resemble each other (of one video or one scene), a baseline "
        "learns nothing, and the ceiling is what the autoencoder alone loses on the true future."
    )


def explained_samplings(tables: Tables, parts: Sequence[Part]) -> dict[str, str]:
    """What "mean of 4" and "best of 4" in the heads of columns mean, and none of them."""
    found = {
        sampled: SAMPLINGS[column.sampling]
        for part in parts
        for column in part.columns
        if (sampled := column.sampled(tables))
    }
    return {"no suffix": SAMPLINGS["single"]} | found if found else {}


def curve_names(histories: Sequence[History]) -> list[tuple[str, str]]:
    """(name, meaning) of the training curves."""
    curves = dict.fromkeys(curve for history in histories for curve in history.curves)
    return [(name.replace("_", " "), CURVES[name]) for name in curves if name in CURVES]


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


def findings(tables: Tables, records: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The main comparisons in words: against the best baseline, and the room to the ceiling."""
    sentences = []
    for column in headline(tables).columns:
        for item in tables.main_comparisons:
            if item.measure is column.measure and item.best_baseline:
                sentences.append(finding(item))
    first = next((row for row in tables.rows if row.kind == "predictor"), None)
    own = first and f"{autoencoder_of(first.name, records)}.reconstruction"
    ceiling = next((row for row in tables.rows if row.name == own), None)
    if ceiling and first:
        top, mine = tables.estimate(ceiling, PSNR), tables.estimate(first, PSNR)
        if top.known and mine.known:
            room = PSNR.text(top.value - mine.value)
            sentences.append({
                "class": "", "verdict": "room left", "measure": PSNR.label,
                "text": f"The ceiling ({ceiling.label}) reaches {PSNR.text(top.value)} dB, "
                f"{room} dB above {first.label}.",
            })  # fmt: skip
    return [*sentences, *(surety(tables, first) if first else [])]


def surety(tables: Tables, row: Row) -> list[dict[str, str]]:
    """Whether a row's futures are as unsure as their errors ask for, where that is known."""
    ratio = tables.estimate(row, SPREAD_SKILL)
    if not ratio.has_interval or ratio.low <= 1 <= ratio.high:
        return []
    sure = ratio.high < 1
    text = (
        f"The futures of {row.label} differ from each other by {SPREAD_SKILL.text(ratio.value)} of "
        f"what their errors ask for ({span(SPREAD_SKILL, ratio)}; 1 is right): "
        + ("it shows less of what may happen than it should." if sure else "they scatter too far.")
    )
    verdict = "too sure" if sure else "too unsure"
    return [{"class": "worse", "verdict": verdict, "measure": SPREAD_SKILL.label, "text": text}]


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
    if item.clips_better is not None:
        text += f"; better on {item.clips_better} of {item.estimate.clips} clips, median "
        text += f"{measure.text(item.median, sign=True)}{unit}"
    return {
        "class": CLASSES.get(item.verdict, ""), "verdict": item.verdict,
        "measure": measure.label, "text": text + ".",
    }  # fmt: skip


def span(measure: Measure, estimate: Estimate, sign: bool = False) -> str:
    """An interval as text: `23.55 – 24.60`, or `+0.10 to +0.30` where signs would confuse."""
    low, high = measure.text(estimate.low, sign), measure.text(estimate.high, sign)
    between = " to " if sign or MINUS in low + high else f"\N{THIN SPACE}{EN_DASH}\N{THIN SPACE}"
    return low + between + high


def column_head(tables: Tables, column: Column, several: bool) -> dict[str, Any]:
    """A header of a table of results; `several`: whether its columns differ in protocol."""
    measure = column.measure
    cells = [column.estimate(tables, row) for row in tables.rows]
    return {
        "label": measure.label,
        "details": [*filter(None, (measure.unit, column.network(tables), column.sampled(tables)))],
        "protocol": column.protocol if several else "",
        "better": measure.better,
        "arrow": measure.arrow,
        "warning": "not comparable" if any("not comparable" in c.note for c in cells) else "",
    }


def result_part(tables: Tables, part: Part) -> dict[str, Any]:
    """One table of results: its columns, its rows, and ceiling and floor below them."""
    best = [column.best(tables) for column in part.columns]

    def lines(*kinds: str) -> list[dict[str, Any]]:
        return [
            {"name": row.name, "label": row.label, "kind": row.kind, "cells": [
                cell(column.measure, column.estimate(tables, row)) | {"best": row is winner}
                for column, winner in zip(part.columns, best, strict=True)
            ]}
            for row in part.rows(tables) if row.kind in kinds
        ]  # fmt: skip

    several = len(part.protocols) > 1
    return {
        "title": part.title,
        "protocols": part.protocols,
        "columns": [column_head(tables, column, several) for column in part.columns],
        "body": lines("predictor", "baseline"),
        "reference": lines("ceiling", "floor"),
        "notes": notes(tables, part.columns),
    }


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


def comparison_parts(tables: Tables) -> list[dict[str, Any]]:
    """One table per predictor: one line per other row, one cell per measure."""
    measures = [column.measure for column in headline(tables).columns]
    parts: dict[str, dict[str, Any]] = {}
    for item in tables.comparisons:
        if item.measure in measures and item.protocol == tables.protocol_of(item.measure):
            part = parts.setdefault(
                item.predictor.name, {"first": item.predictor.label, "lines": {}}
            )
            shown = cell(item.measure, item.estimate, sign=True)
            shown |= {"verdict": item.verdict, "class": CLASSES.get(item.verdict, "none")}
            line = part["lines"].setdefault((item.other.label, item.other.kind), {})
            line[item.measure.key] = shown | {"best": item.best_baseline}
    for part in parts.values():
        part["measures"] = [
            m for m in measures if any(m.key in line for line in part["lines"].values())
        ]
    return list(parts.values())


def horizon_figures(tables: Tables) -> list[tuple[str, Markup]]:
    """(caption, SVG) of each measure over the horizon."""
    figures = []
    for measure in horizon_measures(tables):
        title = f"{measure.label} per future frame, one line per row"
        drawing = inline_svg(horizon_plot(tables, [measure]), title, f"horizon-{measure.key}")
        figures.append((measure.meaning, Markup(drawing)))
    return figures


def curves_figure(tables: Tables) -> Markup | None:
    """Distances between sets by the number of clips; None where none was computed."""
    if not tables.curves:
        return None
    title = "Distances between sets of videos by the number of clips, one line per row"
    return Markup(inline_svg(curves_plot(tables), title, "curves"))


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
