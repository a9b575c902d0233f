"""Write clips of the pipeline's for other programs: a dataset's, or the predictions of a row.

Clips become arrays (npy, uint8 (frames, height, width, 3)), folders of images, or videos, all
without loss, called as in clips.csv. Those of a dataset are whole. A row's hold the predicted
frames alone, in a folder per trajectory where there are several. `rsvp compare` reads them all.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rsvp.data.clips import Clips
from rsvp.data.folders import EXPORTS, row_index, row_trajectories, write_clip
from rsvp.data.predictions import VIDEO_RATE
from rsvp.data.splits import SIDES, spread
from rsvp.runtime.errors import UserError
from rsvp.runtime.main import run_command


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source", type=Path, metavar="SOURCE",
        help="a dataset's index.json, or a row's folder: predictions/<row>/seed<n>",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--format", choices=EXPORTS, default="npy", help="default: %(default)s")
    parser.add_argument(
        "--split", choices=SIDES, default="test", help="of a dataset; default: %(default)s"
    )
    parser.add_argument(
        "--clips", type=int,
        help="as many of a dataset's, spread evenly, as evaluation.max_clips does; default: all",
    )  # fmt: skip
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Write the clips, and print their folder."""
    out = arguments.out
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out: {out} is not empty; name a new folder")
    if arguments.clips is not None and arguments.clips < 1:
        raise UserError(f"--clips: {arguments.clips}; allowed: 1 or more")
    if row_index(arguments.source):
        clips, rate = row_clips(arguments.source), VIDEO_RATE
    elif arguments.source.is_file():
        dataset = Clips(arguments.source, arguments.split)
        clips, rate = dataset_clips(dataset, arguments.clips), dataset.index["frame_rate"]
    else:
        raise UserError(f"{arguments.source}: no index.json of a dataset, and no row's folder")
    for name, frames in tqdm(clips, desc="export", unit="clip", delay=2, disable=None):
        write_clip(out / below(name), frames, arguments.format, rate)
    print(out)


def below(name: str) -> Path:
    """Return a clip's name as a path that stays below a folder: a table may name any file."""
    parts = ("_" if part == ".." else part for part in Path(name).parts if part != "/")
    return Path(*parts)


def dataset_clips(clips: Clips, most: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and frames, uint8 (T, H, W, C), of clips that are spread evenly."""
    for i in spread(len(clips), most):
        yield clips.table["clip"].iloc[i], clips.frames(i).numpy()


def row_clips(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and predicted frames, uint8 (F, H, W, C), of each trajectory of each clip."""
    trajectories = row_trajectories(folder)
    for number, trajectory in enumerate(trajectories):
        prefix = f"trajectory{number}/" if len(trajectories) > 1 else ""
        for name in trajectory.names:
            yield f"{prefix}{name}", trajectory.frames(name)


if __name__ == "__main__":
    main()
