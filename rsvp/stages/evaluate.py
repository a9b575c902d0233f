"""Score one row: frame by frame against the truth, and as a distribution of videos.

Works clip by clip; what is measured goes to disk on a time interval, where a killed run goes on.
All that memory holds of all clips at once are their features, at the end: 4 kB a clip and side.
What has no weights is not computed; the index says so, with the reason and what to do.
"""

import argparse
from dataclasses import astuple
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, clip_places
from rsvp.data.predictions import Predictions, task_in
from rsvp.data.splits import spread
from rsvp.metrics.features import clip_features
from rsvp.metrics.networks import Networks, load_networks, start_measuring
from rsvp.metrics.row import RealSide, RowScorer, group_codes, write_row
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, sha256_of_file
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter, batches


def main() -> None:
    """Read the command line and run the stage."""
    files = ("dataset", "predictions", "real", "state", "scores", "features", "index")
    run_stage(stage_parser(__doc__, *files), run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write scores, features and the index of one row."""
    device = start_measuring(settings.compute)
    predictions = Predictions(arguments.predictions)
    frames = 1 + max(max(places, default=0) for places in astuple(task_in(predictions.index)))
    horizon = frames - read_json(arguments.dataset)["context_frames"]
    test = Clips(arguments.dataset, "test", horizon)
    own = test if predictions.index["paired"] else Clips(arguments.dataset, "train", horizon)
    row = RowScorer(own, predictions)
    networks = load_networks(settings.weights, row.index["resolution"], device)
    inputs = (arguments.dataset, arguments.predictions, arguments.real)
    check_real(arguments.real, arguments.dataset, settings.windows, networks, row)
    key = state_key(arguments.code, settings.handed, *inputs)
    real_parts = PartWriter(arguments.state, arguments.state, key, "real")
    real = real_side(arguments.real, test, row, networks, real_parts)
    parts = PartWriter(arguments.state, arguments.state, key, "row")
    for number in batches(parts.items, len(row), 1, "evaluate"):
        parts.append(row.measure(number, settings.windows, networks))
        parts.checkpoint()
    parts.finish()
    write_row(row, parts, real, networks, arguments.scores, arguments.features, arguments.index)
    return {"clips": len(row), "device": str(device)}


def check_real(
    path: Path, dataset: Path, windows: list[int | None], networks: Networks, row: RowScorer
) -> None:
    """UserError where the real features are not of what the row's are made of, and alike."""
    index = read_json(path)
    expected = {
        "weights": (networks.detectors.hashes, "made with other detectors"),
        "windows": (list(windows), "of other protocols' frames"),
        "dataset_index": (sha256_of_file(dataset), f"of another {dataset}"),
    }
    if row.prefix:  # for another context they are made from the same clips anew
        observed, future = row.index["context_frames"], row.index["future_frames"]
        what = f"not of {observed} observed and {future} future frames"
        expected |= {"context_frames": (observed, what), "clip_frames": (observed + future, what)}
    for key, (value, what) in expected.items():
        if index.get(key) != value:
            raise UserError(f"{path}: {what}; run the stage real_features again")


def real_side(
    path: Path, test: Clips, row: RowScorer, networks: Networks, parts: PartWriter
) -> RealSide:
    """Return the real features for a row: of its own clips, or of as many where it is unpaired.

    Those at `path` are of the frames after the prefix. For another context they are computed here,
    and kept in `parts`.
    """
    real_clips, clips = read_json(path)["clips"], row.index["clips"]
    if row.index["paired"]:
        place = {clip: number for number, clip in enumerate(real_clips)}
        missing = [clip for clip in clips if clip not in place]
        if missing:
            raise UserError(f"{path}: lacks {missing[0]}; run the stage real_features again")
        chosen = [place[clip] for clip in clips]
    else:
        chosen = spread(len(real_clips), len(clips))
    places = clip_places(test, [real_clips[number] for number in chosen], str(path))
    groups = group_codes(test)[places]
    if row.prefix:
        kept = load_file(path.with_name("features.safetensors"))
        return RealSide({name: values[chosen] for name, values in kept.items()}, groups)
    for number in batches(parts.items, len(places), 1, "real features"):
        frames = test.frames_at(places[number], row.index["predicted"])
        features = clip_features(frames, 0, [None], networks.detectors.present)
        parts.append({name: value[None] for name, value in features.items()})
        parts.checkpoint()
    parts.finish()
    return RealSide(parts.stacked(), groups)


if __name__ == "__main__":
    main()
