"""The whole pipeline on small videos: what comes out, what reruns, and that no future leaks."""

import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from projects import Project, copy_project
from safetensors.torch import load_file

from rsvp.data.clips import Clips

CONTEXT, FRAMES = 3, 8
PREDICTIONS = "predictions/rsvp-m/seed0/index.json"
CONFIG = {
    "datasets": {
        "tiny": {
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project that ran up to its report."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    (project.folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for number in range(12):
        path = project.folder / f"videos/squares/v_g{number:02d}_c01.mkv"
        write_lossless(path, moving_squares(number))
    answer = project.snakemake()
    assert answer.code == 0, answer.text
    return project


@pytest.fixture
def moved(finished, tmp_path) -> Project:
    """The finished project, copied elsewhere with its videos and results."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Project(folder)


def test_report_tables_and_provenance_come_out(finished):
    results = finished.folder / "results"
    table = pd.read_csv(results / "report/tables/results.csv")
    rows = {"rsvp-m", "tiny.copy-last", "rsvp.reconstruction", "tiny.real"}
    assert set(table["row"]) == rows
    assert (results / "report/report.html").stat().st_size > 10_000
    for stage in ("datasets/tiny", "predictors/rsvp-m/seed0", "evaluation/rsvp-m/seed0", "report"):
        assert (results / stage / "run.json").exists()
        assert (results / stage / "log.txt").exists()


def test_snakemake_packs_its_own_report(finished):
    answer = finished.snakemake("--report", "packed.zip")
    assert answer.code == 0, answer.text
    assert (finished.folder / "results/packed.zip").exists()


EVALUATED = ["Evaluate rsvp-m (seed 0)", "Write the report"]
PREDICTED = ["Predict with rsvp-m (seed 0)", *EVALUATED]
TRAINED = ["Train the predictor rsvp-m (seed 0)", *PREDICTED]
CHANGES = {
    "nothing": ({}, []),
    "title of the report": ({"report": {"title": "other"}}, ["Write the report"]),
    "steps of the sampler": (
        {"predictors": {"rsvp-m": {"sampler": {"steps": 3}}}},
        PREDICTED,
    ),
    "learning rate of the predictor": (
        {"predictors": {"rsvp-m": {"learning_rate": 1e-4}}},
        TRAINED,
    ),
    "patience of the early stop": (
        {"autoencoders": {"rsvp": {"finetune": {"patience": 9}}}},
        [
            "Fine-tune the autoencoder rsvp (seed 0)",
            "Cache the latents of rsvp (seed 0)",
            "Reconstruct with rsvp (seed 0)",
            "Evaluate rsvp.reconstruction (seed 0)",
            *TRAINED,
        ],
    ),
    "a predictor that shares the autoencoder": (
        {"predictors": {"b": {"autoencoder": "rsvp"}}, "report": {"predictors": ["rsvp-m", "b"]}},
        [
            "Train the predictor b (seed 0)",
            "Predict with b (seed 0)",
            "Evaluate b (seed 0)",
            "Write the report",
        ],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_stale_after(moved, change):
    values, expected = CHANGES[change]
    (moved.folder / "change.yaml").write_text(yaml.safe_dump(values))
    answer = moved.snakemake("-n", "--configfile", "config.yaml", "change.yaml")
    assert answer.code == 0, answer.text
    jobs = [job for job in answer.jobs if not job.startswith("Settings of ")]
    assert jobs == sorted(expected), answer.text


def test_predictions_do_not_see_the_future(finished, moved):
    """Other future frames in the test videos leave all that is made of the context as it was."""
    clips = pd.read_csv(finished.folder / "results/datasets/tiny/clips.csv")
    videos = clips[clips["split"] == "test"]["video"]
    assert len(videos)
    for number, video in enumerate(videos):
        path = moved.folder / f"videos/{video}.mkv"
        frames = moving_squares(int(video.split("_g")[1][:2]))
        frames[CONTEXT:] = np.random.default_rng(number).integers(0, 256, frames[CONTEXT:].shape)
        write_lossless(path, frames)
    answer = moved.snakemake(PREDICTIONS, "evaluation/rsvp-m/seed0/index.json")
    assert answer.code == 0, answer.text
    before, after = (stored(project.folder / "results") for project in (finished, moved))
    for key in ("observed frames", "scene", "object", "observed motion", "predictions"):
        assert torch.equal(before[key], after[key]), key
    for key in ("future frames", "future motion"):
        changed = (before[key] != after[key]).flatten(1).any(1)
        assert changed.all(), key  # of every clip


def stored(results: Path) -> dict[str, torch.Tensor]:
    """The test clips' frames, latents and predictions as they lie on disk."""
    clips = Clips(results / "datasets/tiny/index.json", "test")
    seen = torch.stack([clips.frames(i) for i in range(len(clips))])
    latents = load_file(results / "autoencoders/rsvp/seed0/latents/test-00000.safetensors")
    frames = load_file(results / "predictions/rsvp-m/seed0/frames-00000.safetensors")["frames"]
    return {
        "observed frames": seen[:, :CONTEXT],
        "future frames": seen[:, CONTEXT:],
        "scene": latents["scene"],
        "object": latents["object"],
        "observed motion": latents["motion"][:, :CONTEXT],
        "future motion": latents["motion"][:, CONTEXT:],
        "predictions": frames,
    }
