"""Continuing videos with what a finished project trained."""

import subprocess
import sys

import av
import numpy as np
import pandas as pd
import pytest
from projects import Project
from tiny import CONTEXT, FRAMES, moving_squares, write_lossless

from rsvp.data.predictions import Predictions


def continued(project: Project, *arguments: str) -> subprocess.CompletedProcess:
    """Run the command in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", "rsvp.commands.continue_videos", *arguments],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_futures_are_those_of_the_predict_stage(finished, tmp_path):
    """For the frames of a test clip, whose noise is that of the first clip."""
    predictions = Predictions(finished.folder / "results/predictions/rsvp-m/seed0/index.json")
    clips = pd.read_csv(finished.folder / "results/datasets/tiny/clips.csv")
    clip = clips[clips["split"] == "test"].iloc[0]
    assert clip["clip"] == predictions.clips[0]
    (video,) = (finished.folder / "videos").rglob(f"{clip['video']}.*")
    with av.open(str(video)) as container:
        rate = float(container.streams.video[0].average_rate)
    at = (clip["start"] + CONTEXT) / rate
    answer = continued(finished, str(video), "--out", str(tmp_path), "--at", str(at))
    assert answer.returncode == 0, answer.stderr
    made = [np.load(tmp_path / f"trajectory{k}" / f"{video.stem}.npy") for k in range(2)]
    expected = predictions.frames(0).numpy()
    # Batches of other sizes may round otherwise.
    difference = np.abs(np.stack(made).astype(int) - expected.astype(int))
    assert difference.max() <= 1 and difference.mean() < 0.01
    assert len(np.unique(expected[0] - expected[1])) > 1


def test_videos_of_no_dataset_go_on_from_their_end(finished, tmp_path):
    video = tmp_path / "of $(mine) 'x'.avi"
    write_lossless(video, moving_squares(1)[: CONTEXT + 2])
    out = tmp_path / "out"
    arguments = [str(video), "--out", str(out), "--trajectories", "3", "--frames", str(2 * FRAMES)]
    answer = continued(finished, *arguments)
    assert answer.returncode == 0, answer.stderr
    trajectories = [np.load(out / f"trajectory{k}" / f"{video.stem}.npy") for k in range(3)]
    assert all(made.shape == (2 * FRAMES, 32, 32, 3) for made in trajectories)
    assert answer.stdout.splitlines() == [str(out / f"{video.stem}.mp4")]
    with av.open(str(out / f"{video.stem}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == CONTEXT + 2 * FRAMES


@pytest.mark.parametrize("name", ["missing.mp4", "short.avi"])
def test_bad_videos_are_refused_in_one_line(finished, tmp_path, name):
    write_lossless(tmp_path / "short.avi", moving_squares(1)[: CONTEXT - 1])
    answer = continued(finished, str(tmp_path / name), "--out", str(tmp_path / "out"))
    assert answer.returncode == 2
    assert name in answer.stderr and len(answer.stderr.strip().splitlines()) == 1
