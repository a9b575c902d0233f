"""Continue videos with a trained predictor; they need not be of its dataset.

Each video is made as small as the predictor's frames are. Its last frames are observed, or those up
to a time of it. A predictor between given frames observes the video's first and last ones, and one
that generates from nothing takes no video. Nothing is trained.
"""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rsvp.data.fitting import in_colours
from rsvp.data.folders import write_clip
from rsvp.data.observed import in_own_size
from rsvp.data.predictions import VIDEO_RATE
from rsvp.data.sources import Source, named_sources
from rsvp.data.videos import draw_panels, panels_side_by_side, write_animation, write_video
from rsvp.diffusion.bundle import Predictor
from rsvp.runtime.errors import UserError
from rsvp.runtime.main import run_command

FORMATS = ("mp4", "gif", "webp", "npy", "frames")
APART = ("npy", "frames")  # of each trajectory, not of all side by side
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
    parser.add_argument(
        "--size", choices=("model", "original"), default="model",
        help="original: at the video's own size, with its last observed frame around what is"
        " predicted, and each trajectory as a video of its own; default: model",
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
    if not predictor.context_frames:
        if arguments.videos:
            raise UserError(f"{arguments.videos[0]}: this predictor observes nothing; name none")
        sources: dict[str, Source | None] = {GENERATED: None}
    elif not arguments.videos:
        raise UserError("no VIDEO; name one or more")
    else:
        sources = dict(named_sources(arguments.videos))
    check_out(arguments.out, sources, arguments.format, arguments.size)
    for name, source in tqdm(sources.items(), desc="predict", unit="video", delay=2, disable=None):
        for path in continue_video(predictor, name, source, arguments):
            tqdm.write(str(path))


def continue_video(
    predictor: Predictor, name: str, source: Source | None, arguments: argparse.Namespace
) -> list[Path]:
    """Write what a video may become, or what is generated; return the paths that show it."""
    seen = predictor.observe(source, arguments.at) if source else None
    made = predictor.predict(
        seen and seen.frames,
        trajectories=arguments.trajectories,
        future_frames=arguments.frames,
        seed=arguments.seed,
    )
    frames, rate = (seen.frames, seen.rate) if seen else (made[0, :0], VIDEO_RATE)
    own_size = bool(seen) and arguments.size == "original"
    if own_size:
        frames = in_colours(in_own_size(source, seen.numbers), made.shape[-1])
        made = predictor.pasted(made, frames[-1])
    before = predictor.context.first
    target = arguments.out, name, frames[:before], made, frames[before:], rate
    return write(*target, arguments.format, apart=own_size)


def check_numbers(arguments: argparse.Namespace) -> None:
    """UserError for a number that makes no sense."""
    for flag in ("trajectories", "frames"):
        given = getattr(arguments, flag)
        if given is not None and given < 1:
            raise UserError(f"--{flag}: {given}; allowed: 1 or more")
    if arguments.at is not None and not 0.0 <= arguments.at < math.inf:
        raise UserError(f"--at: {arguments.at}; allowed: seconds from the video's start")


def check_out(
    out: Path, sources: Mapping[str, Source | None], formats: Sequence[str], size: str
) -> None:
    """UserError where an output is there already, a video say, or stands among older ones."""
    sides = [name for name, source in sources.items() if not (source and size == "original")]
    shown = [out / f"{name}.{kind}" for name in sides for kind in formats if kind not in APART]
    older = [*sorted(out.glob("trajectory*")), *filter(os.path.lexists, shown)]
    if older:
        raise UserError(f"--out: {older[0]} is there already; name another folder")


def write(
    out: Path,
    name: str,
    before: np.ndarray,
    trajectories: np.ndarray,
    after: np.ndarray,
    rate: float,
    formats: Sequence[str],
    apart: bool = False,
) -> list[Path]:
    """Write trajectories (K, F, H, W, C) in each format; return the paths that show them.

    before, after: observed frames (n, H, W, C). apart: each trajectory is a video of its own, not
    enlarged, in place of all side by side.
    """
    own = [(out / f"trajectory{k}" / name, one) for k, one in enumerate(trajectories)]
    if apart:
        shown = {path: draw_panels([[np.concatenate([before, one, after])]], len(before),
                                   after=len(after)) for path, one in own}  # fmt: skip
    else:
        shown = {out / name: panels_side_by_side(before, list(trajectories), after)}
    written = []
    for kind in formats:
        if kind in APART:
            for path, one in own:
                write_clip(path, one, kind, VIDEO_RATE)
            continue
        for path, frames in shown.items():
            written.append(Path(f"{path}.{kind}"))
            if kind == "mp4":
                write_video(written[-1], frames, rate)
            else:
                write_animation(written[-1], frames, rate)
    return written


if __name__ == "__main__":
    main()
