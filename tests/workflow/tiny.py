"""A project so small that its whole pipeline runs in a minute."""

from pathlib import Path

import av
import numpy as np
import yaml
from projects import Project, copy_project

CONTEXT, FRAMES = 3, 8
CONFIG = {
    "datasets": {
        "tiny": {
            "source": "videos",
            "path": "videos",
            "resolution": 32,
            "clip_frames": FRAMES,
            "context_frames": CONTEXT,
            "clip_stride": FRAMES,
            "decode_jobs": 2,
            "split": {"validation_fraction": 0.3},
        }
    },
    "autoencoders": {
        "rsvp": {
            "dataset": "tiny",
            "width": 16,
            "pretrain": {"steps": 3, "batch_size": 2},
            "finetune": {
                "steps": 2,
                "batch_size": 2,
                "validate_every": 1,
                "discriminator_width": 8,
            },
        }
    },
    "predictors": {
        "rsvp-m": {
            "autoencoder": "rsvp",
            "denoiser": {"width": 32, "depth": 1, "heads": 2},
            "sampler": {"steps": 2},
            "steps": 3,
            "batch_size": 2,
        }
    },
    "weights": {"i3d": "https://example.invalid/i3d.tar.gz#sha256=" + "0123abcd" * 8},
    "compute": {"device": "cpu", "threads": 1},
    "evaluation": {"trajectories": 2, "bootstrap": 20, "videos": 1, "baselines": ["copy-last"]},
    "report": {"predictors": ["rsvp-m"], "examples": 1},
}


def write_lossless(path: Path, frames: np.ndarray) -> None:
    """Frames (T, H, W, 3) uint8 as a video in which each frame stands alone, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving_squares(seed: int) -> np.ndarray:
    """A bright square that moves over a dark texture: (FRAMES, 40, 48, 3) uint8."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 100, (1, 40, 48, 3), dtype=np.uint8), FRAMES, axis=0)
    row, column, speed = rng.integers(0, 20), rng.integers(0, 20), rng.integers(1, 3)
    for time, frame in enumerate(frames):
        place = column + speed * time
        frame[row : row + 12, place : place + 12] = 200
    return frames


def write_config(project: Project, config: dict) -> None:
    """Replace the project's config.yaml."""
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config))


def write_videos(project: Project, count: int = 12) -> None:
    """Videos of so many groups, in the folder that CONFIG names."""
    for number in range(count):
        path = project.folder / f"videos/squares/v_g{number:02d}_c01.mkv"
        write_lossless(path, moving_squares(number))


def tiny_project(folder: Path) -> Project:
    """A copy of the project with CONFIG and its videos, and no results."""
    project = copy_project(folder)
    write_config(project, CONFIG)
    write_videos(project)
    return project
