"""Predictions on disk: what is written is read back, clip by clip."""

import json

import pandas as pd
import pytest
import torch
from stored import ANY

from rsvp.data.contexts import Task
from rsvp.data.predictions import STEM, Predictions, RowWriter, task_in
from rsvp.runtime import parts
from rsvp.runtime.journal import SAVE_SECONDS, forget
from rsvp.runtime.parts import PartWriter

SHAPE = (2, 3, 8, 8, 3)
CONTEXT = 4


class FakeClips:
    """Clips of a dataset, grey."""

    clip_frames, context_frames, split = CONTEXT + SHAPE[1], CONTEXT, "test"
    resolution, shape = 8, SHAPE[2:]

    def __init__(self, count):
        self.index = {"dataset": "d"}
        self.table = pd.DataFrame({"clip": [f"v@{n:06d}" for n in range(count)]})

    def frames(self, i):
        return torch.full((self.clip_frames, 8, 8, 3), 7 * i, dtype=torch.uint8)


def opened(folder, count, videos=0, **more):
    """A writer as each run of a stage opens it."""
    files = PartWriter(folder, folder / "state", ANY, STEM)
    return RowWriter(
        folder / "index.json", files, FakeClips(count), "r", "predictor", 0, 2, videos, **more
    )


def write(folder, count, seed=0, killed_before=None, videos=0):
    """Write random frames; a run that goes on begins after what an earlier one noted."""
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    writer = opened(folder, count, videos)
    for number in range(writer.done, count):
        if number == killed_before:
            raise KeyboardInterrupt
        writer.add(number, frames[number])
        writer.parts.checkpoint()
    writer.finish()
    return frames


def content(folder):
    """All files of a folder and what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")
            if "state" not in path.parts}  # fmt: skip


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files of three clips."""
    monkeypatch.setattr(parts, "PART_BYTES", 3 * 2 * 3 * 8 * 8 * 3)


@pytest.mark.parametrize("interval", [0, 10**9])
def test_killed_run_ends_as_an_undisturbed_one(tmp_path, monkeypatch, interval):
    """Killed before each clip in turn, with a checkpoint after each clip or never."""
    monkeypatch.setenv(SAVE_SECONDS, str(interval))
    write(tmp_path / "whole", 8, videos=3)
    for number in range(1, 8):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "run", 8, killed_before=number, videos=3)
        assert opened(tmp_path / "run", 8).done == (0 if interval else number)
    write(tmp_path / "run", 8, videos=3)
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert opened(tmp_path / "run", 8).done == 8  # until Snakemake knows that it is finished
    forget(tmp_path / "run/state")
    assert opened(tmp_path / "run", 8).done == 0


def test_round_trip(tmp_path):
    frames = write(tmp_path, 7, videos=2)
    read = Predictions(tmp_path / "index.json")
    assert read.clips == [f"v@{n:06d}" for n in range(7)]
    for number, (clip, found) in enumerate(read):
        assert clip == read.clips[number]
        assert torch.equal(found, frames[number])
    index = json.loads((tmp_path / "index.json").read_text())
    assert [part["items"] for part in index["parts"]] == [3, 3, 1]
    assert (index["row"], index["kind"], index["split"], index["paired"]) == (
        "r", "predictor", "test", True
    )  # fmt: skip
    assert (index["trajectories"], index["future_frames"], index["resolution"]) == (2, 3, 8)
    assert [video["clip"] for video in index["videos"]] == read.clips[:2]
    assert all((tmp_path / video["file"]).exists() for video in index["videos"])
    assert task_in(index) == Task([0, 1, 2, 3], [4, 5, 6])


def test_other_tasks_are_told(tmp_path):
    task = Task([6, 0], [1, 2, 3])
    opened(tmp_path, 1, videos=1, task=task).finish()
    index = json.loads((tmp_path / "index.json").read_text())
    assert task_in(index) == task
    assert index["context_frames"] == 2 and index["videos"] == []


def test_shorter_second_run_leaves_nothing_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 1)  # one clip in each file
    write(tmp_path, 5, videos=3)
    forget(tmp_path / "state")
    frames = write(tmp_path, 2, seed=1)
    names = {"index.json", "frames-00000.safetensors", "frames-00001.safetensors"}
    assert content(tmp_path).keys() == names
    assert torch.equal(Predictions(tmp_path / "index.json").frames(1), frames[1])


def test_failure_keeps_what_stood(tmp_path):
    frames = write(tmp_path, 2)
    forget(tmp_path / "state")
    opened(tmp_path, 2).add(0, frames[1])
    assert torch.equal(Predictions(tmp_path / "index.json").frames(1), frames[1])


def test_wrong_shape_is_refused(tmp_path):
    writer = opened(tmp_path, 2)
    for bad in (torch.zeros(SHAPE), torch.zeros(1, *SHAPE[1:], dtype=torch.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            writer.add(0, bad)
