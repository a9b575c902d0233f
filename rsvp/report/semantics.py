"""The table of scene, object and motion: their meaning in each autoencoder."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rsvp.metrics.intervals import verdict
from rsvp.report.estimates import Estimate, estimate_mean
from rsvp.report.measures import LPIPS, PSNR, SSIM, Measure
from rsvp.report.printing import UNKNOWN, Cell, Table, TableFile, frame_of, number, table_of
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
    Measure("latent_scene_psnr", "Scene PSNR, latent", "dB", True, 2,
            "The scene image from the scene latent alone, without the frames, against the true "
            "background."),
    Measure("latent_object_psnr", "Object PSNR, latents", "dB", True, 2,
            "The last observed frame from scene and object latents alone, against the true one, "
            "inside the true outlines of the objects."),
    Measure("latent_swap_right", "Swaps right, latents", "", True, 2,
            "Share of the swaps that are right where frames come from latents alone."),
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
    protocol: str = ""  # what it depends on, in one line
    seed_numbers: str = ""

    @property
    def verdict(self) -> str:
        """Judge the goal by the interval; empty where there is none."""
        found = self.estimate
        return "" if self.goal is None else verdict(found.low, found.high, self.goal)


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
    scores = [score for those in runs.values() for score in semantics_scores(those, resamples)]
    return [score for score in scores if score.estimate.known]


def semantics_scores(
    runs: Sequence[tuple[dict[str, Any], pd.DataFrame]], resamples: int
) -> Iterator[SemanticsScore]:
    """The scores of one autoencoder: against the truth, then the loss of each replaced latent.

    runs: index and scores of each seed.
    """
    index, first = runs[0]
    seeds = ", ".join(str(own["seed"]) for own, _ in runs)
    columns = [(m, m.key, {"goal": index["goals"].get(m.key)}) for m in AGAINST_TRUTH]
    columns += [
        (measure, f"{entry['latent']}_{entry['replaced_by']}_{measure.key}",
         {key: entry[key] for key in ("latent", "replaced_by", "how")})
        for entry in index["ablations"] for measure in ABLATED
    ]  # fmt: skip
    for measure, column, more in columns:
        values = {own["seed"]: table[column] for own, table in runs if column in table}
        yield SemanticsScore(
            index["autoencoder"], measure,
            estimate_mean(pd.DataFrame(values), first["group"], resamples),
            protocol=protocol_text(index), seed_numbers=seeds, **more,
        )  # fmt: skip


def protocol_text(index: dict[str, Any]) -> str:
    """All that the numbers of one autoencoder depend on."""
    parts = dict(index["protocol"])
    start = f"semantics: {index['dataset']} {parts.pop('split')} split, {parts.pop('clips')} clips"
    parts.pop("weights", None)
    known = (f"{name.replace('_', ' ')} {value}" for name, value in parts.items() if value)
    return ", ".join([start, *known])


def decomposition(scores: Sequence[SemanticsScore]) -> TableFile:
    """One line per score; people get, of each autoencoder, what is against the truth, and what
    replaced latents cost."""
    frame = [
        {
            "protocol": score.protocol, "autoencoder": score.autoencoder,
            "seed_numbers": score.seed_numbers, "measure": score.measure.key,
            "latent": score.latent, "replaced_by": score.replaced_by, "unit": score.measure.unit,
            **score.estimate.columns, "goal": score.goal, "verdict": score.verdict,
        }
        for score in scores
    ]  # fmt: skip
    names = dict.fromkeys(score.autoencoder for score in scores)
    own = [[score for score in scores if score.autoencoder == name] for name in names]
    tables = [make(those) for those in own for make in (truth_table, ablation_table)]
    return TableFile("decomposition", frame_of(frame, ["autoencoder", "measure", "value"]),
                     [table for table in tables if table.lines])  # fmt: skip


def truth_table(scores: Sequence[SemanticsScore]) -> Table:
    """The measures of one autoencoder against the truth."""
    columns = {
        "measure": lambda score: score.measure.titled,
        "value": lambda score: number(score.measure, score.estimate),
        "clips": lambda score: Cell(str(score.estimate.clips)),
        "goal": lambda s: Cell("" if s.goal is None else s.measure.text(s.goal)),
        "": lambda score: score.verdict,
    }
    truth = [score for score in scores if not score.latent]
    notes = [f"{score.measure.label}: {score.measure.meaning}" for score in truth]
    name = scores[0].autoencoder
    caption = (
        f"{name}. Scene, object and motion against the truth behind generated videos. "
        f"{scores[0].protocol}."
    )
    return table_of(f"decomposition-{name}", caption, columns, truth, notes)


def ablation_table(scores: Sequence[SemanticsScore]) -> Table:
    """The loss of each replaced latent of one autoencoder in each measure."""
    losses: dict[tuple[str, str], dict[Measure, Cell]] = {}
    for score in scores:
        if score.latent:
            line = losses.setdefault((score.latent, score.replaced_by), {})
            line[score.measure] = number(score.measure, score.estimate, sign=True)
    measures = [m for m in ABLATED if any(m in line for line in losses.values())]
    columns = {
        "latent": lambda line: line[0][0],
        "replaced by": lambda line: line[0][1],
        **{m.titled: lambda line, m=m: line[1].get(m, UNKNOWN) for m in measures},
    }
    notes = dict.fromkeys(f"{s.latent}, {s.replaced_by}: {s.how}" for s in scores if s.latent)
    name = scores[0].autoencoder
    caption = (
        f"{name}. What the reconstruction loses when a latent is replaced; more is worse. "
        f"{scores[0].protocol}."
    )
    return table_of(f"ablations-{name}", caption, columns, list(losses.items()), list(notes))


def conclusions(scores: Sequence[SemanticsScore]) -> list[str]:
    """Conclusions from the numbers, in sentences."""
    sentences = []
    for name in dict.fromkeys(score.autoencoder for score in scores):
        losses = {
            score.latent: (score.estimate.value, f"{PSNR.text(score.estimate.value)} dB")
            for score in scores
            if score.autoencoder == name and score.measure is PSNR and score.replaced_by == "mean"
        }
        idle = {latent: text for latent, (loss, text) in losses.items() if loss < IDLE_DB}
        used = {latent: text for latent, (loss, text) in losses.items() if loss >= IDLE_DB}
        if idle and used:
            sentences.append(
                f"{name}: to put the training mean in the place of the {' or '.join(idle)} latent "
                f"costs next to nothing ({', '.join(idle.values())}), of the {' or '.join(used)} "
                f"latent {', '.join(used.values())}. So what those "
                "look like reaches the decoder through the observed frames themselves, which it "
                "may copy from, and hardly through their latents."
            )
    return sentences
