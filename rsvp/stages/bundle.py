"""Gather a trained predictor in one folder that works by itself, with its model card.

The folder may be copied, zipped or uploaded; `rsvp.Predictor` and `rsvp predict` use it.
"""

import argparse
from pathlib import Path
from typing import Any

from rsvp.config.schema import ObservedFrames, size_of
from rsvp.config.stages import Settings
from rsvp.data.contexts import PREFIX, observed_frames
from rsvp.diffusion.bundle import save_predictor
from rsvp.report.card import card, write_examples
from rsvp.report.results import results
from rsvp.report.rows import read_rows
from rsvp.report.tables import by_context
from rsvp.runtime.files import fresh_folder, read_json, write_text
from rsvp.runtime.main import run_stage, stage_parser

METRICS, EXAMPLES = "metrics.csv", "examples.webp"


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "dataset", "autoencoder", "denoiser", "predictions", "lock")
    parser.add_argument(
        "--evaluations", type=Path, nargs="+", required=True,
        help="index.json of this predictor's scores, and of the rows beside it on the card",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, help="JSON to write")
    parser.add_argument("--card", type=Path, required=True, help="Markdown to write")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the folder around `arguments.config` anew: what else lies there is handed on, too."""
    folder, dataset = fresh_folder(arguments.config.parent), read_json(arguments.dataset)
    if limits := dataset.get("range"):
        settings.dataset.range = [limits["low"], limits["high"]]  # percentiles, too, are values now
    rows = read_rows(arguments.evaluations, [settings.name])
    resamples, resize = settings.evaluation.bootstrap, settings.dataset.resize
    (tables,) = by_context(rows, settings.protocols, resamples, resize)
    numbers = results(tables)
    write_text(folder / METRICS, numbers.frame.to_csv(index=False))
    write_examples(folder / EXAMPLES, arguments.dataset, arguments.predictions)
    layout = read_json(arguments.denoiser)["layout"]
    context = ObservedFrames(**layout["contexts"][settings.predictor.context or PREFIX])
    text = card(
        name=settings.name,
        seed=settings.seed,
        size=size_of(settings.dataset.resolution),
        observed=observed_frames(context, layout["frames"]),
        clip_frames=layout["frames"],
        rate=rate_text(settings),
        dataset=dataset,
        metrics=numbers.frame,
        table=numbers.tables[0],
        split=tables.split,
        animation=EXAMPLES,
    )
    write_text(arguments.card, text)
    save_predictor(
        folder,
        arguments.autoencoder,
        arguments.denoiser,
        name=settings.name,
        seed=settings.seed,
        dataset=settings.dataset,
        sampler=settings.predictor.sampler,
        guidance=settings.predictor.guidance,
        context=settings.predictor.context or PREFIX,
    )
    return {"rows": [row.name for row in rows]}


def rate_text(settings: Settings) -> str:
    """Return the rate of the frames that the predictor was trained on, in words."""
    dataset = settings.dataset
    if dataset.target_fps:
        return f"{dataset.target_fps:g} per second"
    if dataset.frame_stride > 1:
        return f"one of {dataset.frame_stride} frames of a video"
    return "each frame of a video"


if __name__ == "__main__":
    main()
