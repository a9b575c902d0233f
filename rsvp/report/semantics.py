"""The table of scene, object and motion: their meaning in each autoencoder."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rsvp.metrics.intervals import verdict
from rsvp.report.estimates import Estimate, estimate_mean
from rsvp.report.measures import LPIPS, PSNR, SSIM, Measure
from rsvp.report.printing import (
    UNKNOWN,
    Cell,
    Column,
    Table,
    TableFile,
    frame_of,
    number,
    table_of,
    text,
)
from rsvp.runtime.files import read_json

AGAINST_TRUTH = (
    Measure("scene_psnr", "Scene PSNR", "dB", True, 2,
            "The scene image against the true background, everywhere."),
    Measure("scene_psnr_seen", "Scene PSNR, seen", "dB", True, 2,
            "The same where some observed frame shows the background."),
    Measure("scene_psnr_hidden", "Scene PSNR, hidden", "dB", True, 2,
            "The same where objects hide the background in all observed frames."),
    Measure("median_psnr", "Context median PSNR", "dB", True, 2,
            "For comparison: the median of the observed frames against the true background."),
    Measure("object_iou", "Object IoU", "", True, 3,
            "Overlap of the object mask with the true outlines in the last observed frame: "
            "intersection over union, 1 is perfect."),
    Measure("object_iou_future", "Object IoU, future", "", True, 3,
            "The same in future frames, once the true motion has moved the mask."),
    Measure("motion_error", "Motion error", "px", False, 2,
            "How far from its true place the motion takes the objects' content."),
    Measure("motion_error_still", "Motion error, still", "px", False, 2,
            "For comparison: the same error if nothing moved."),
    Measure("swap_psnr", "Swap PSNR", "dB", True, 2,
            "The scene of one clip with objects and motion of another, against the frames that "
            "should come out."),
    Measure("swap_object_psnr", "Swap PSNR in objects", "dB", True, 2,
            "The same inside the true outlines of the objects."),
    Measure("swap_margin", "Swap margin", "dB", True, 2,
            "How much nearer the swapped frames are to what should come out than to the best of "
            "what should not: no objects, objects that stand still, or the old scene."),
    Measure("swap_object_margin", "Swap margin in objects", "dB", True, 2,
            "The same inside the true outlines of the objects."),
    Measure("swap_right", "Swaps right", "", True, 2,
            "Share of the swaps with a margin above zero."),
)  # fmt: skip
IDLE_DB = 0.1  # a latent whose loss costs less than this much PSNR carries next to nothing
ABLATED = (
    PSNR, SSIM, LPIPS,
    Measure("motion", "Motion statistics", "", False, 3,
            "Root mean square difference of the motion statistics from those of the real future."),
)  # fmt: skip


@dataclass(frozen=True)
class SemanticsScore:
    """One number about one autoencoder, over its seeds.

    Against the truth, or (where `latent` is named) what the reconstruction loses in `measure` once
    that latent is replaced: more is worse, whatever the measure.
    """

    autoencoder: str
    measure: Measure
    estimate: Estimate
    latent: str = ""  # scene, object or motion
    replaced_by: str = ""  # mean, frozen or other
    how: str = ""  # the ablation in words
    goal: float | None = None
    verdict: str = ""
    protocol: str = ""  # what it depends on, in one line
    seed_numbers: str = ""


def read_semantics(paths: Iterable[Path], resamples: int) -> list[SemanticsScore]:
    """All scores of all autoencoders, from semantics/<autoencoder>/seed<n>/index.json.

    Without a value (other latents, no truth, no LPIPS weights, nothing to mix with) they are left
    out.
    """
    runs: dict[str, list[tuple[dict[str, Any], pd.DataFrame]]] = {}
    for path in paths:
        index = read_json(path)
        if not index.get("reason"):
            table = pd.read_parquet(Path(path).with_name("scores.parquet")).set_index("clip")
            runs.setdefault(index["autoencoder"], []).append((index, table))
    return [score for those in runs.values() for score in semantics_scores(those, resamples)]


def semantics_scores(
    runs: Sequence[tuple[dict[str, Any], pd.DataFrame]], resamples: int
) -> Iterator[SemanticsScore]:
    """The scores of one autoencoder: against the truth, then the loss of each replaced latent.

    runs: index and scores of each seed.
    """
    index, first = runs[0]
    seeds = ", ".join(str(own["seed"]) for own, _ in runs)

    def score(measure: Measure, column: str, **more: Any) -> Iterator[SemanticsScore]:
        having = {own["seed"]: table[column] for own, table in runs if column in table}
        values = pd.DataFrame(having)
        if values.isna().all(axis=None):
            return
        estimate, goal = estimate_mean(values, first["group"], resamples), more.get("goal")
        held = "" if goal is None else verdict(estimate.low, estimate.high, goal)
        yield SemanticsScore(
            index["autoencoder"], measure, estimate, verdict=held, protocol=protocol_text(index),
            seed_numbers=seeds, **more,
        )  # fmt: skip

    for measure in AGAINST_TRUTH:
        yield from score(measure, measure.key, goal=index["goals"].get(measure.key))
    for entry in index["ablations"]:
        replaced = {key: entry[key] for key in ("latent", "replaced_by", "how")}
        for measure in ABLATED:
            column = f"{entry['latent']}_{entry['replaced_by']}_{measure.key}"
            yield from score(measure, column, **replaced)


def protocol_text(index: dict[str, Any]) -> str:
    """All that the numbers of one autoencoder depend on."""
    parts = dict(index["protocol"])
    start = f"semantics: {index['dataset']} {parts.pop('split')} split, {parts.pop('clips')} clips"
    parts.pop("weights", None)
    known = (f"{name.replace('_', ' ')} {value}" for name, value in parts.items() if value)
    return ", ".join([start, *known])


def decomposition(scores: Sequence[SemanticsScore]) -> TableFile:
    """One line per score; people get what is against the truth, and what replaced latents cost."""
    frame = [
        {
            "protocol": score.protocol, "autoencoder": score.autoencoder,
            "seed_numbers": score.seed_numbers, "measure": score.measure.key,
            "latent": score.latent, "replaced_by": score.replaced_by, "unit": score.measure.unit,
            **score.estimate.columns, "goal": score.goal, "verdict": score.verdict,
        }
        for score in scores
    ]  # fmt: skip
    tables = [table for table in (truth_table(scores), ablation_table(scores)) if table.lines]
    names = {score.autoencoder for score in scores}
    if len(names) == 1:  # the first column says the same in each line
        tables = [
            replace(table, caption=f"{min(names)}. {table.caption}", columns=table.columns[1:],
                    lines=[line[1:] for line in table.lines])
            for table in tables
        ]  # fmt: skip
    return TableFile("decomposition", frame_of(frame, ["autoencoder", "measure", "value"]), tables)


def truth_table(scores: Sequence[SemanticsScore]) -> Table:
    """The measures against the truth."""
    columns = {
        "autoencoder": lambda score: score.autoencoder,
        "measure": lambda score: with_unit(score.measure),
        "value": lambda score: number(score.measure, score.estimate),
        "clips": lambda score: Cell(str(score.estimate.clips)),
        "goal": lambda s: Cell("" if s.goal is None else s.measure.text(s.goal)),
        "": lambda score: score.verdict,
    }
    truth = [score for score in scores if not score.latent]
    notes = list(dict.fromkeys(f"{s.measure.label}: {s.measure.meaning}" for s in truth))
    caption = (
        "Scene, object and motion against the truth behind generated videos."
        f" {protocols_text(scores)}."
    )
    return table_of("decomposition", caption, columns, truth, notes)


def ablation_table(scores: Sequence[SemanticsScore]) -> Table:
    """The loss of each replaced latent in each measure."""
    losses: dict[tuple[str, str, str], dict[Measure, Cell]] = {}
    for score in scores:
        if score.latent:
            cell = number(score.measure, score.estimate, sign=True)
            name = (score.autoencoder, score.latent, score.replaced_by)
            losses.setdefault(name, {})[score.measure] = cell
    measures = [m for m in ABLATED if any(m in line for line in losses.values())]
    unknown = text(UNKNOWN)
    lines = [[*map(text, name), *(line.get(measure, unknown) for measure in measures)]
             for name, line in losses.items()]  # fmt: skip
    heads = ["autoencoder", "latent", "replaced by", *map(with_unit, measures)]
    caption = (
        f"What the reconstruction loses when a latent is replaced; more is worse."
        f" {protocols_text(scores)}."
    )
    notes = list(dict.fromkeys(f"{s.latent}, {s.replaced_by}: {s.how}" for s in scores if s.latent))
    return Table("ablations", caption, [Column(head) for head in heads], lines, notes)


def with_unit(measure: Measure) -> str:
    """The label of a measure with its unit."""
    return f"{measure.label} ({measure.unit})" if measure.unit else measure.label


def protocols_text(scores: Sequence[SemanticsScore]) -> str:
    """The protocol of all scores, or those that there are, each with its autoencoders."""
    names: dict[str, dict[str, None]] = {}
    for score in scores:
        names.setdefault(score.protocol, {})[score.autoencoder] = None
    if len(names) < 2:
        return "".join(names)
    return "; ".join(f"{', '.join(having)}: {protocol}" for protocol, having in names.items())


def conclusions(scores: Sequence[SemanticsScore]) -> list[str]:
    """Conclusions from the numbers, in sentences."""
    sentences = []
    for name in dict.fromkeys(score.autoencoder for score in scores):
        losses = {
            score.latent: score.estimate.value
            for score in scores
            if score.autoencoder == name and score.measure is PSNR and score.replaced_by == "mean"
        }
        idle = [latent for latent, loss in losses.items() if loss < IDLE_DB]
        used = [latent for latent in losses if latent not in idle]
        if idle and used:
            costs = ", ".join(f"{PSNR.text(losses[latent])} dB" for latent in idle)
            sentences.append(
                f"{name}: to put the training mean in the place of the {' or '.join(idle)} latent "
                f"costs next to nothing ({costs}), of the {' or '.join(used)} latent "
                f"{', '.join(f'{PSNR.text(losses[latent])} dB' for latent in used)}. So what those "
                "look like reaches the decoder through the observed frames themselves, which it "
                "may copy from, and hardly through their latents."
            )
    return sentences
