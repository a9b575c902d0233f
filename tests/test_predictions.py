"""Predictions on disk: what is written is read back, clip by clip."""

import json

import pytest
import torch

from rsvp.data import predictions
from rsvp.data.predictions import Predictions, PredictionWriter

SHAPE = (2, 3, 8, 8, 3)
HEADER = {"row": "r", "kind": "predictor", "seed": 0, "dataset": "d", "split": "test",
          "paired": True, "context_frames": 4}  # fmt: skip


def write(folder, count, seed=0):
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    with PredictionWriter(folder / "index.json", HEADER, SHAPE) as writer:
        for number, clip in enumerate(frames):
            writer.append(f"v@{number:06d}", clip)
        writer.finish([{"clip": "v@000000", "file": "videos/a.mp4"}])
    return frames


def test_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "SHARD_BYTES", 3 * 2 * 3 * 8 * 8 * 3)  # three clips
    frames = write(tmp_path, 7)
    read = Predictions(tmp_path / "index.json")
    assert read.clips == [f"v@{n:06d}" for n in range(7)]
    for number, (clip, found) in enumerate(read):
        assert clip == read.clips[number]
        assert torch.equal(found, frames[number])
    index = json.loads((tmp_path / "index.json").read_text())
    assert [shard["clips"] for shard in index["shards"]] == [3, 3, 1]
    assert {key: index[key] for key in HEADER} == HEADER
    assert (index["trajectories"], index["future_frames"], index["resolution"]) == (2, 3, 8)


def test_shorter_second_run_leaves_nothing_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "SHARD_BYTES", 1)  # one clip in each file
    write(tmp_path, 5)
    frames = write(tmp_path, 2, seed=1)
    names = {"index.json", "frames-00000.safetensors", "frames-00001.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert torch.equal(Predictions(tmp_path / "index.json").frames(1), frames[1])


def test_failure_keeps_what_stood(tmp_path):
    frames = write(tmp_path, 2)
    with (
        pytest.raises(RuntimeError),
        PredictionWriter(tmp_path / "index.json", HEADER, SHAPE) as writer,
    ):
        writer.append("x", frames[0])
        raise RuntimeError
    assert torch.equal(Predictions(tmp_path / "index.json").frames(1), frames[1])


def test_wrong_shape_is_refused(tmp_path):
    with PredictionWriter(tmp_path / "index.json", HEADER, SHAPE) as writer:
        for bad in (torch.zeros(SHAPE), torch.zeros(1, *SHAPE[1:], dtype=torch.uint8)):
            with pytest.raises(ValueError, match="expected uint8"):
                writer.append("x", bad)
