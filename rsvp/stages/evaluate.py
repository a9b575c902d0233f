"""Score one row: frame by frame against the truth; keep the features that sets are compared by.

Works clip by clip; what is measured goes to disk on a time interval, where a killed run goes on.
All that memory holds of all clips at once are their features, at the end: 4 kB a clip and side.
What has no weights is not computed; the index says so, with the reason and what to do.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from rsvp.config.schema import size_of
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, clip_places
from rsvp.data.predictions import Predictions, task_in
from rsvp.data.splits import spread
from rsvp.metrics.features import clip_features
from rsvp.metrics.networks import Networks, load_networks, start_measuring
from rsvp.metrics.row import RowScorer, group_codes, joined_scores, measured_scores, write_row
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, sha256_of_file
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, shared_parser
from rsvp.runtime.parts import PartWriter, share_bounds


def main() -> None:
    """Read the command line and run the stage."""
    files = ("dataset", "predictions", "real", "state", "scores", "features", "index")
    run_stage(shared_parser(__doc__, *files), run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write scores, features and the index of one row, or of a share of its clips."""
    device = start_measuring(settings.compute)
    predictions = Predictions(arguments.predictions)
    task = task_in(predictions.index)
    frames = 1 + max(task.observed + task.predicted)
    horizon = frames - read_json(arguments.dataset)["context_frames"]
    test = Clips(arguments.dataset, settings.evaluation.split, horizon)
    own = test if predictions.index["paired"] else Clips(arguments.dataset, "train", horizon)
    row = RowScorer(own, predictions)
    networks = load_networks(settings.weights, device, size_of(row.index["resolution"]))
    check_real(arguments.real, arguments.dataset, settings.windows, networks, row)
    inputs = (arguments.dataset, arguments.predictions, arguments.real)
    files = (arguments.scores, arguments.features, arguments.index)
    if arguments.shares:
        shares = [(path.with_name(files[0].name), path.with_name(files[1].name))
                  for path in arguments.shares]  # fmt: skip
        write_row(row, *joined_scores(shares), networks, *files)
        return {"clips": 0, "device": str(device)}
    key = state_key(arguments.code, settings.handed, *inputs)
    parts = PartWriter(arguments.state, arguments.state, key, "row")
    real = real_side(arguments.real, test, row, networks)
    numbers = range(*share_bounds(len(row), 1, settings.share))
    others = settings.definitions or ()

    def measure(place: int) -> dict[str, np.ndarray]:
        number = numbers[place]
        return row.measure(number, real(number), settings.windows, networks, others)

    parts.fill(len(numbers), "evaluate", measure)
    write_row(row, *measured_scores(row, parts), networks, *files)
    return {"clips": len(numbers), "device": str(device)}


def check_real(
    path: Path, dataset: Path, windows: list[int | None], networks: Networks, row: RowScorer
) -> None:
    """UserError where the real features are not of what the row's are made of, and alike."""
    expected = {
        "weights": networks.hashes,
        "windows": list(windows),
        "dataset_index": sha256_of_file(dataset),
    }
    if row.prefix:  # for another context they are made from the same clips anew
        observed, future = row.index["context_frames"], row.index["future_frames"]
        expected |= {"context_frames": observed, "clip_frames": observed + future}
    index = read_json(path)
    wrong = [key for key, value in expected.items() if index.get(key) != value]
    if wrong:
        raise UserError(
            f"{path}: {' and '.join(wrong)} are not those of the row; run the stage real_features "
            "again"
        )


def real_side(
    path: Path, test: Clips, row: RowScorer, networks: Networks
) -> Callable[[int], dict[str, np.ndarray]]:
    """Return a function that gives features and group of the i-th real clip for a row.

    These are the row's own clips, or as many where it is unpaired. The features at `path` are of
    the frames after the prefix; for another context they are computed here.
    """
    real_clips = read_json(path)["clips"]
    chosen = spread(len(real_clips), len(row))
    if row.paired:
        place = {clip: number for number, clip in enumerate(real_clips)}
        try:
            chosen = [place[clip] for clip in row.index["clips"]]
        except KeyError as error:
            raise UserError(f"{path}: lacks {error}; run the stage real_features again") from None
    places = clip_places(test, [real_clips[number] for number in chosen], str(path))
    groups, kept = group_codes(test), load_file(path.with_name("features.safetensors"))

    def features(i: int) -> dict[str, np.ndarray]:
        found = {name: values[chosen[i]] for name, values in kept.items()}
        if not row.prefix:
            frames = test.frames_at(places[i], row.index["predicted"])
            found = clip_features(frames, 0, [None], networks.detectors)
        return found | {"groups": groups[places[i]]}

    return features


if __name__ == "__main__":
    main()
