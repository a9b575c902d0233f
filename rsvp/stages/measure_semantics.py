"""Measure the meaning of scene, object and motion of an autoencoder, and show them.

On test clips. Where the truth behind the frames is known, against it; everywhere by replacing one
latent at a time (rsvp/metrics/semantics.py). Writes:

scores.parquet: a row per scored clip: "intact_<measure>" of the reconstruction,
    "<latent>_<replaced by>_<measure>" that it loses, and every measure against the truth.
index.json: "goals": of some measures; "ablations": [{"latent", "replaced_by", "how"}];
    "protocol"; "legend": a PNG of the colours of motion; "views": [{"clip", "scene", "mask",
    "motion", "motion_pixels"}] of the clips that the report may show: PNGs of the scene image, of
    the object mask of the last observed frame, and of the motion of its content to the last frame;
    "motion_pixels" is the length, in pixels, of the fullest colour.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.images import colours_of_motion, motion_legend, write_image
from rsvp.metrics import semantics
from rsvp.metrics.networks import Loaded, load_perceptual
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.autoencoders.rsvp import Context, DecodedFrames, RsvpAutoencoder
from rsvp.runtime.device import device_name, full_precision, start_inference
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import atomic_path, fresh_folder, read_json, sha256_of_file, write_json
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.progress import Bar

BATCH = 8
MEASURED_CLIPS = 32  # of the test split, at most, spread evenly


def main() -> None:
    """Read the command line and run the stage."""
    run_stage(stage_parser(__doc__, "dataset", "autoencoder", "latents", "scores", "index"), run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write scores, views and the index of one autoencoder."""
    inference = start_inference(settings.compute, settings.seed)
    torch.backends.cuda.matmul.allow_tf32 = False  # training allows it
    clips = Clips(arguments.dataset, settings.evaluation.split)
    autoencoder = load_autoencoder(arguments.autoencoder).to(inference.device)
    if not set(semantics.LATENTS) <= set(autoencoder.scopes):
        raise UserError(
            f"{arguments.autoencoder}: its latents are {', '.join(autoencoder.scopes)}; only an "
            "autoencoder of scene, object and motion is measured"
        )
    loaded = load_perceptual(settings.weights, clips.shape[:2], inference.device)
    means = {
        kind: torch.tensor(values["mean"], device=inference.device).view(-1, 1, 1)
        for kind, values in read_json(arguments.latents)["statistics"].items()
    }
    indices = evaluation_clips(clips, MEASURED_CLIPS)
    predicted = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    shown = evaluation_clips(predicted, settings.evaluation.max_clips)
    folder = fresh_folder(arguments.index.parent / "views")
    with full_precision():
        table = measure(autoencoder, clips, indices, means, loaded.network)
        views = write_views(autoencoder, clips, shown, folder, inference.device)
    with atomic_path(arguments.scores) as path:
        table.to_parquet(path, index=False)
    index = {
        "autoencoder": settings.name,
        "seed": settings.seed,
        "dataset": clips.index["dataset"],
        "truth": clips.index["truth"] is not None,
        "goals": semantics.GOALS,
        "ablations": [
            {"latent": latent, "replaced_by": replacement, "how": how}
            for (latent, replacement), how in semantics.ABLATIONS.items()
        ],
        "protocol": protocol(clips, table, loaded, semantics.has_future(autoencoder)),
        **views,
        "files": {arguments.scores.name: sha256_of_file(arguments.scores)},
    }
    write_json(arguments.index, index)
    return {"clips": len(indices), "device": device_name(inference)}


def measure(
    autoencoder: RsvpAutoencoder,
    clips: Clips,
    indices: list[int],
    means: dict[str, Tensor],
    perceptual: PerceptualDistance | None,
) -> pd.DataFrame:
    """Measure the clips at `indices`: a row each, with every measure that the clips allow."""
    count = -(-len(indices) // BATCH)
    rows: list[dict[str, Any]] = []
    for first in Bar(range(count), desc="measure semantics", unit="batch"):
        # Neighbours are often of one group, and clips of several are to be mixed.
        batch = indices[first::count]
        names = clips.table[["clip", "group"]].iloc[batch].to_dict("records")
        measured = semantics.measure_clips(
            autoencoder,
            torch.stack([clips.frames(i) for i in batch]),
            clips.context_frames,
            [name["group"] for name in names],
            [clips.truth(i) for i in batch],
            means,
            perceptual,
        )
        rows += [name | measures for name, measures in zip(names, measured, strict=True)]
    return pd.DataFrame(rows)


def write_views(
    autoencoder: RsvpAutoencoder, clips: Clips, shown: list[int], folder: Path, device: torch.device
) -> dict[str, Any]:
    """Write the pictures of clips; return their index entries, with paths from the index."""
    write_image(folder / "legend.png", motion_legend())
    views = []
    for first in Bar(range(0, len(shown), BATCH), desc="write views", unit="batch"):
        batch = shown[first : first + BATCH]
        frames = torch.stack([clips.frames(i) for i in batch]).to(device)
        last = [clips.clip_frames - 1]
        own = semantics.encode(autoencoder, frames, clips.context_frames, last)
        decoded = autoencoder.decode(own.future, own.context)
        for place, clip in enumerate(batch):
            pictures, pixels = draw(own.context, decoded, place)
            view: dict[str, Any] = {"clip": clips.table["clip"].iloc[clip]}
            for name, picture in pictures.items():
                file = folder / f"{first + place:05d}-{name}.png"
                write_image(file, picture)
                view[name] = f"{folder.name}/{file.name}"
            views.append(view | {"motion_pixels": pixels})
    return {"legend": f"{folder.name}/legend.png", "views": views}


def draw(
    context: Context, decoded: DecodedFrames, place: int
) -> tuple[dict[str, np.ndarray], float]:
    """Draw one clip: uint8 pictures by name, and the length in pixels of the fullest colour.

    Motion is that of the mask's content, to the last decoded frame.
    """
    mask = context.mask[place]
    displacement = decoded.displacement[place, -1:].float()
    displacement = F.interpolate(displacement, context.frames.shape[-2:], mode="bilinear")
    motion, pixels = colours_of_motion((mask * displacement[0]).cpu())
    scene = semantics.as_bytes(context.background[place]).numpy()
    outline = (255.0 * mask[0]).round().byte().cpu().numpy()
    return {"scene": scene, "mask": outline, "motion": motion}, pixels


def protocol(
    clips: Clips, table: pd.DataFrame, perceptual: Loaded[PerceptualDistance], future: bool
) -> dict[str, Any]:
    """Return all that the numbers depend on; `future`: there are scene and object of it, too."""
    return {
        "split": clips.split,
        "clips": len(table),
        "groups": table["group"].nunique(),
        "context_frames": clips.context_frames,
        "scored_frames": semantics.scored_frames(clips.context_frames, clips.clip_frames),
        "resolution": clips.resolution,
        "lpips": f"v0.1, {perceptual.network.backbone}" if perceptual.network else None,
        "weights": perceptual.hashes,
        "mask_threshold": semantics.MASK_THRESHOLD,
        "another_clip": "of another group, of the same batch of 8",
        "motion": "encoded from the true future",
        "scene_and_object": "of the context and of the true future" if future else None,
    }


if __name__ == "__main__":
    main()
