"""Continue videos with a trained predictor; they need not be of its dataset.

Each video is made as small as the predictor's frames are. Its last frames are observed, or those up
to a time of it. A predictor between given frames observes the video's first and last ones, and one
that generates from nothing takes no video. Nothing is trained.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rsvp.data.folders import write_clip
from rsvp.data.observed import observed, observed_ends
from rsvp.data.predictions import VIDEO_RATE
from rsvp.data.sources import Source, named_sources
from rsvp.data.videos import panels_side_by_side, write_animation, write_video
from rsvp.diffusion.bundle import Predictor
from rsvp.runtime.errors import UserError
from rsvp.runtime.main import run_command

FORMATS = ("mp4", "gif", "webp", "npy", "frames")
GENERATED = "generated"  # the outputs' name where no video is given


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "videos", type=Path, nargs="*", metavar="VIDEO",
        help="video, folder of one video's images, or folder of videos",
    )  # fmt: skip
    parser.add_argument(
        "--predictor", required=True, metavar="FOLDER",
        help="a predictor's `bundle`, or the name of a repository on the Hugging Face Hub",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--format", choices=FORMATS, nargs="+", default=["mp4", "npy"],
        help="mp4, gif, webp: all trajectories side by side, an orange bar below predicted frames;"
        " npy, frames: each trajectory's own, arrays or images (default: mp4 npy)",
    )  # fmt: skip
    parser.add_argument("--trajectories", type=int, default=4, help="of each video; default: 4")
    parser.add_argument("--frames", type=int, help="of each trajectory; default: as in training")
    parser.add_argument("--seed", type=int, default=0, help="of the noise; default: 0")
    parser.add_argument(
        "--at", type=float, metavar="SECONDS", help="where the future begins; default: at the end"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto"
    )
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Continue each video, and print the path of what shows it."""
    check_numbers(arguments)
    predictor = Predictor.from_pretrained(arguments.predictor, device=arguments.device)
    read = reader(predictor, arguments.at)
    if not predictor.context_frames:
        if arguments.videos:
            raise UserError(f"{arguments.videos[0]}: this predictor observes nothing; name none")
        sources: dict[str, Source | None] = {GENERATED: None}
    elif not arguments.videos:
        raise UserError("no VIDEO; name one or more")
    else:
        sources = dict(named_sources(arguments.videos))
    check_out(arguments.out, sources, arguments.format)
    for name, source in tqdm(sources.items(), desc="predict", unit="video", delay=2, disable=None):
        seen, rate = read(source) if source else (None, VIDEO_RATE)
        made = predictor.predict(
            seen,
            trajectories=arguments.trajectories,
            future_frames=arguments.frames,
            seed=arguments.seed,
        )
        for path in write(arguments.out, name, predictor, seen, made, rate, arguments.format):
            tqdm.write(str(path))


def check_numbers(arguments: argparse.Namespace) -> None:
    """UserError for a number that makes no sense."""
    for flag in ("trajectories", "frames"):
        given = getattr(arguments, flag)
        if given is not None and given < 1:
            raise UserError(f"--{flag}: {given}; allowed: 1 or more")
    if arguments.at is not None and not 0.0 <= arguments.at < math.inf:
        raise UserError(f"--at: {arguments.at}; allowed: seconds from the video's start")


def check_out(out: Path, sources: Mapping[str, Source | None], formats: Sequence[str]) -> None:
    """UserError where an output would take the place of a video, or stand among older ones."""
    for name, source in sources.items():
        for kind in formats:
            if source and os.path.realpath(out / f"{name}.{kind}") == os.path.realpath(source.path):
                raise UserError(f"--out: {source.path} would be overwritten; name another folder")
    older = sorted(out.glob("trajectory*"))
    if older and {"npy", "frames"} & set(formats):
        raise UserError(f"--out: {older[0]} is there already; name another folder")


def reader(predictor: Predictor, at: float | None) -> Callable[[Source], tuple[np.ndarray, float]]:
    """Return the function that reads what a predictor observes of a video, and its rate."""
    first, last = predictor.context.first, predictor.context.last
    if not last:
        return lambda source: observed(source, predictor.dataset, first, at)
    if at is not None:
        raise UserError("--at: this predictor observes both ends of a video; leave --at out")
    return lambda source: observed_ends(source, predictor.dataset, first, last)


def write(
    out: Path,
    name: str,
    predictor: Predictor,
    observed: np.ndarray | None,
    trajectories: np.ndarray,
    rate: float,
    formats: list[str],
) -> list[Path]:
    """Write trajectories (K, F, R, R, 3) in each format; return the paths that show all of them."""
    before = predictor.context.first
    seen = trajectories[0, :0] if observed is None else observed
    shown = panels_side_by_side(seen[:before], list(trajectories), seen[before:])
    written = []
    for kind in formats:
        path = out / f"{name}.{kind}"
        if kind == "mp4":
            write_video(path, shown, rate)
        elif kind in ("gif", "webp"):
            write_animation(path, shown, rate)
        else:
            write_trajectories(out, name, trajectories, kind)
            continue
        written.append(path)
    return written


def write_trajectories(out: Path, name: str, trajectories: np.ndarray, kind: str) -> None:
    """Write `trajectory<k>/<name>.npy` of each, or a folder of images of that name."""
    for number, trajectory in enumerate(trajectories):
        write_clip(out / f"trajectory{number}" / name, trajectory, kind, VIDEO_RATE)


if __name__ == "__main__":
    main()
