"""The page: one HTML file that carries its tables, plots and videos, and names no address."""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rsvp.config.schema import size_of
from rsvp.report.estimates import Estimate
from rsvp.report.examples import Gallery
from rsvp.report.measures import (
    DRAWN,
    EXPLAINED_ROWS,
    MEASURES,
    PSNR,
    SAMPLINGS,
    SPREAD_SKILL,
    Measure,
)
from rsvp.report.plots import curves_plot, horizon_plot, inline_svg, learning_plot
from rsvp.report.printing import Table, number
from rsvp.report.records import (
    SPLITS,
    Record,
    StageHistory,
    autoencoder_of,
    count,
    made_by,
    provenance,
    sampler_of,
)
from rsvp.report.results import curves_basis, details, headline, sampled
from rsvp.report.rows import ResultRow
from rsvp.report.tables import (
    Comparison,
    Tables,
    basis,
    intervals_text,
    protocol_text,
    sample_text,
    scored_cells,
)
from rsvp.report.verdict import Verdict
from rsvp.runtime.words import listed

SECTIONS = ("results", "comparisons", "motion", "decomposition", "memorisation", "budgets", "cost")
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
    "undecided": "how far the object mask is from 0 and 1: 1 where it is 0.5 everywhere",
    "content": "mean square of the content that motion and the latents of the future carry",
    "tracks": "how far the motion strays from tracks in the frames",
    "latents": "how far the layers of scene and object latents alone are from those of the frames",
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


@dataclass(frozen=True)
class PageContent:
    """All that the page shows."""

    title: str
    tables: Tables  # of the predictions from the first frames
    rows: Sequence[ResultRow]  # of all contexts
    printed: Mapping[str, Sequence[Table]]  # by the name of their file
    galleries: Sequence[Gallery]
    numbers: str  # the file or folder beside the page that holds all numbers
    # Of predictions that were made elsewhere no more is known.
    verdict: Verdict | None = None  # on the first predictor
    histories: Sequence[StageHistory] = ()
    records: Sequence[Record] = ()
    conclusions: Sequence[str] = ()  # of the decomposition, in sentences
    nearest: str = ""  # SVG of predictions above their nearest training clips
    datasets: Sequence[dict[str, Any]] = ()  # their indexes: `read_dataset`


def render(report: PageContent) -> str:
    """The whole page as HTML text."""
    environment = Environment(
        loader=PackageLoader("rsvp.report", ""),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "json": json_text, "figure": figure}
    environment.globals["inline"] = lambda name: Markup(
        environment.loader.get_source(environment, name)[0]
    )
    tables, rows = report.tables, report.rows
    printed = dict.fromkeys(SECTIONS, ()) | report.printed
    drawn = tables.over_frames(DRAWN)
    return environment.get_template("page.html.jinja").render(
        report=replace(report, printed=printed),
        tables=tables,
        introduction=introduction(tables, playing=any(item.examples for item in report.galleries)),
        summary=summary(tables),
        findings=findings(tables, report.records),
        horizon=[(key.measure, horizon_plot(tables, [key])) for key in drawn],
        horizon_basis=basis(tables, drawn),
        curves=curves_plot(tables) if tables.curves else "",
        curves_basis=curves_basis(tables),
        learning=learning_figures(report.histories),
        side=side(tables),
        several_seeds=any(len(row.runs) > 1 for row in tables.rows),
        curve_names=curve_names(report.histories),
        sample=sample_text(tables),
        intervals=intervals_text(tables),
        protocol_texts=[(name, protocol_text(name, tables)) for name in tables.protocols],
        protocols=distinct((json_text(row.index["protocol"]), row.label) for row in rows),
        samplers=[(row.label, text) for row in rows if row.kind == "predictor"
                  if (text := sampler_of(row.name, report.records))],
        provenance=provenance(report.records),
        made_by=made_by(),
        settings=distinct(
            ((record.get("stage", "unknown"), json_text(record.get("settings"))), record["label"])
            for record in report.records
        ),
        measures=sorted(MEASURES, key=lambda measure: not tables.known(measure)),
        samplings=explained_samplings(tables),
        explained_rows={row.method: EXPLAINED_ROWS[row.method] for row in rows
                        if row.method in EXPLAINED_ROWS},
        splits=SPLITS,
        version=metadata.version("rsvp"),
    )  # fmt: skip


def introduction(tables: Tables, playing: bool) -> str:
    """The subject of the page and the meaning of its words, in a few sentences."""
    predictors = tables.of_kind("predictor")
    index, kinds = tables.index, {row.kind for row in tables.rows}
    subject = listed([row.label for row in predictors]) or "Every method"
    sampled = [row for row in predictors if not row.index.get("point_forecast")]
    made = []
    if sampled:
        count = max(row.index["trajectories"] for row in sampled)
        made.append(f"sampled {count} {'trajectory' if count == 1 else 'trajectories'}")
    if forecasts := [row.label for row in predictors if row not in sampled]:
        made.append(f"made one forecast ({', '.join(forecasts)})")
    observed = index["context_frames"]
    saw = f"saw the first {observed} frames of each {side(tables)}clip and " if observed else ""
    shown = "; the videos under Examples play them beside the truth" if playing else ""
    ceiling = ", and the ceiling is what the autoencoder alone loses on the true future"
    return (
        f"{subject} {saw}{' or '.join(made) or 'made a prediction'} of {index['future_frames']} "
        f"frames{shown}. A trajectory is one sampled continuation of a clip, a group is a set of "
        "clips that resemble each other (of one video or one scene), a baseline learns nothing"
        f"{ceiling if 'ceiling' in kinds else ''}."
    )


def side(tables: Tables) -> str:
    """The side of a dataset that the clips are of, before their name; empty where there is none."""
    return "" if tables.split == "whole" else f"{tables.split} "


def explained_samplings(tables: Tables) -> dict[str, str]:
    """The meanings of "mean of 4" and "best of 4" in the heads of columns, and of neither."""
    keys = [*headline(tables), *(key for _, _, keys in details(tables) for key in keys)]
    found = {way: SAMPLINGS[key.sampling] for key in keys if (way := sampled(tables, key))}
    return {"no suffix": SAMPLINGS["single"]} | found if found else {}


def curve_names(histories: Sequence[StageHistory]) -> list[tuple[str, str]]:
    """(name, meaning) of the training curves."""
    curves = dict.fromkeys(curve for history in histories for curve in history.curves)
    return [(name.replace("_", " "), CURVES[name]) for name in curves if name in CURVES]


def summary(tables: Tables) -> list[tuple[str, str]]:
    """The strip under the title: what was done to what."""
    index = tables.rows[0].index
    most = max(scored_cells(tables), key=lambda cell: cell.clips, default=Estimate())
    seeds = sorted({run.index["seed"] for row in tables.rows for run in row.runs} - {None})
    found = [
        ("dataset", index["dataset"]),
        ("observed → predicted", f"{index['context_frames']} → {index['future_frames']} frames"),
        ("resolution", " × ".join(map(str, size_of(index["resolution"]))) + " px"),
        (f"{side(tables)}clips", f"{most.clips} in {most.groups} groups"),
        ("trajectories per clip", str(max(row.index["trajectories"] for row in tables.rows))),
    ]
    name = "seed" if len(seeds) == 1 else "seeds"
    return [*found, (name, ", ".join(map(str, seeds)))] if seeds else found


def findings(tables: Tables, records: Sequence[Record]) -> list[tuple[str, Measure, str]]:
    """(verdict, measure, sentence) of the first predictor.

    Against the best baselines under the measures of the headline; then the room to the ceiling, and
    a spread of trajectories that is not what their errors ask for.
    """
    first = next(iter(tables.of_kind("predictor")), None)
    if first is None:
        return []
    found = [
        (item.verdict, key.measure, difference_text(item))
        for key in headline(tables) for item in tables.comparisons
        if item.predictor is first and item.quantity == key and item.best_baseline
    ]  # fmt: skip
    own = f"{autoencoder_of(first.name, records)}.reconstruction"
    mine = tables.estimate(first, PSNR)
    for ceiling in (row for row in tables.rows if row.name == own):
        top = tables.estimate(ceiling, PSNR)
        if top.known and mine.known:
            text = (
                f"The ceiling ({ceiling.label}) reaches {PSNR.text(top.value)} dB, "
                f"{PSNR.text(top.value - mine.value)} dB above {first.label}."
            )
            found.append(("room left", PSNR, text))
    ratio = tables.estimate(first, SPREAD_SKILL)
    if ratio.has_interval and not ratio.low <= 1 <= ratio.high:
        cell, under = number(SPREAD_SKILL, ratio), ratio.high < 1
        text = (
            f"The trajectories of {first.label} differ from each other by {cell.value} of what "
            f"their errors ask for ({cell.span}; 1 is right): "
            + ("they show less of what may happen than they should." if under
               else "they scatter too far.")
        )  # fmt: skip
        found.append((f"{'under' if under else 'over'}-dispersed", SPREAD_SKILL, text))
    return found


def difference_text(item: Comparison) -> str:
    """A comparison with the best baseline as a sentence."""
    measure, mine, other = item.quantity.measure, item.predictor.label, item.other.label
    if item.quantity.sampling == "mean":
        mine = f"The mean of the trajectories of {mine}"
    clips = item.estimate.clip_values
    if clips is not None and not clips.any():
        return f"{mine} scores as the best baseline, {other}, on all clips."
    unit = f" {measure.unit}" if measure.unit else ""
    amount = measure.text(abs(item.estimate.value)) + unit
    side = "above" if item.estimate.value > 0 else "below"
    text = f"{mine} is {amount} {side} the best baseline, {other}"
    if item.estimate.has_interval:
        text += f" (difference {number(measure, item.estimate, sign=True).span}{unit})"
    if item.side == "no difference found":
        chosen = "clips and trainings" if item.estimate.of_method else "clips alone"
        text += f"; the interval holds 0, so the choice of {chosen} could explain it"
    if item.clips_better is not None:
        text += f"; better on {item.clips_better} of {item.estimate.clips} clips, median "
        text += f"{measure.text(item.median, sign=True)}{unit}"
    return text + "."


def figure(svg: str, title: str, prefix: str) -> Markup:
    """A plot as an element of the page."""
    return Markup(inline_svg(svg, title, prefix))


def learning_figures(histories: Sequence[StageHistory]) -> list[tuple[str, str]]:
    """(stage, SVG) of each training stage."""
    stages: dict[str, list[StageHistory]] = {}
    for history in histories:
        if history.curves:
            stages.setdefault(history.stage, []).append(history)
    return [(stage, learning_plot(mine)) for stage, mine in stages.items()]


def json_text(value: Any) -> str:
    """`value` as people read JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def distinct(items: Iterable[tuple[Hashable, str]]) -> dict[Hashable, list[str]]:
    """Each different item once, with the labels of all that have it."""
    found: dict[Hashable, list[str]] = {}
    for item, label in items:
        found.setdefault(item, []).append(label)
    return found
