"""Make the generated videos: files as a user would have them, and the truth behind them."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from rsvp.config.schema import Generated, size_of
from rsvp.config.stages import Settings
from rsvp.data.generated import generate_video
from rsvp.data.videos import write_video
from rsvp.runtime.files import atomic_path, sha256_of_file, write_json
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.progress import Bar

# Files this close to lossless, with full colour resolution, keep the truth true.
CRF, PIXEL_FORMAT = 8, "yuv444p"
SEEDS_PER_SPLIT = 1_000_000
TRUTH = ("alpha", "background", "positions")  # beside each video


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "index")
    parser.add_argument("--jobs", type=int, default=1, help="videos made side by side")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    generated = settings.dataset.generated
    folder = arguments.index.parent
    jobs = list_videos(generated)
    make = partial(make_video, settings, folder)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        made = pool.map(make, jobs, chunksize=8)
        videos = list(Bar(made, total=len(jobs), desc="generate videos", unit="video"))
    remove_others(folder, {folder / video["path"] for video in videos})
    write_json(arguments.index, {"videos": videos})
    return {"videos": len(videos)}


def make_video(settings: Settings, folder: Path, job: tuple[str, int, int]) -> dict[str, Any]:
    """Write one video, and beside it the truth; return its line of the index."""
    video_id, seed, frames = job
    dataset = settings.dataset
    video = generate_video(dataset.generated, size_of(dataset.resolution), seed, frames)
    path, truth = (folder / f"{video_id}{suffix}" for suffix in (".mp4", ".safetensors"))
    write_video(path, video.frames, dataset.fps, crf=CRF, pixel_format=PIXEL_FORMAT)
    with atomic_path(truth) as temporary:
        save_file({name: getattr(video, name) for name in TRUTH}, temporary)
    return {
        "id": video_id,
        "path": f"{video_id}.mp4",
        "sha256": sha256_of_file(path),
        "truth": sha256_of_file(truth),
        "frames": frames,
    }


def list_videos(generated: Generated) -> list[tuple[str, int, int]]:
    """List id, seed and frames of every video; more videos leave the others as they are."""
    counts = (
        ("train", generated.train_videos, generated.frames),
        ("validation", generated.validation_videos, generated.held_out_frames),
        ("test", generated.test_videos, generated.held_out_frames),
    )
    jobs = []
    for number, (split, count, frames) in enumerate(counts):
        first = (3 * generated.seed + number) * SEEDS_PER_SPLIT
        jobs += [(f"{split}/shapes/{i:05d}", first + i, frames) for i in range(count)]
    return jobs


def remove_others(folder: Path, keep: set[Path]) -> None:
    """Delete the videos of an earlier, larger set, and their truth."""
    for path in folder.rglob("*.mp4"):
        if path not in keep:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
