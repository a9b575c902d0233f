"""Predictions on disk: what is written is read back, clip by clip."""

import itertools
import json
import shutil

import pytest
import torch
from dying import dies_at

from rsvp.data import predictions
from rsvp.data.predictions import Predictions, PredictionWriter
from rsvp.runtime.journal import SAVE_SECONDS, Journal, StateKey, forget

SHAPE = (2, 3, 8, 8, 3)
HEADER = {"row": "r", "kind": "predictor", "seed": 0, "dataset": "d", "split": "test",
          "paired": True, "context_frames": 4}  # fmt: skip


def opened(folder):
    """A writer as each run of a stage opens it."""
    journal = Journal(folder / "state", StateKey("code", "work"))
    return PredictionWriter(folder / "index.json", HEADER, SHAPE, journal)


def write(folder, count, seed=0, killed_before=None):
    """Write random frames; a run that goes on begins after what an earlier one noted."""
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    with opened(folder) as writer:
        for number in range(len(writer.clips), count):
            if number == killed_before:
                raise KeyboardInterrupt
            writer.append(f"v@{number:06d}", frames[number])
            writer.checkpoint()
        writer.finish()
    return frames


def content(folder):
    """All files of a folder and what is in them, but for what the next stage clears up."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".tmp"]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("interval", [0, 10**9])
def test_killed_run_ends_as_an_undisturbed_one(tmp_path, monkeypatch, interval):
    """Killed before each clip in turn, with a checkpoint after each clip or never."""
    monkeypatch.setenv(SAVE_SECONDS, str(interval))
    monkeypatch.setattr(predictions, "SHARD_BYTES", 3 * 2 * 3 * 8 * 8 * 3)  # three clips
    write(tmp_path / "whole", 8)
    for number in range(1, 8):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "run", 8, killed_before=number)
        assert len(opened(tmp_path / "run").clips) == (0 if interval else number)
    write(tmp_path / "run", 8)
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert len(opened(tmp_path / "run").clips) == 8  # until Snakemake knows that it is finished
    forget(tmp_path / "run/state")
    assert opened(tmp_path / "run").clips == []


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("interval", [0, 10**9])
def test_runs_that_die_while_they_finish_end_as_an_undisturbed_one(
    tmp_path, monkeypatch, interval, full
):
    """Killed, or the disk full, at each change of the disk; a file is unfinished in the journal."""
    monkeypatch.setenv(SAVE_SECONDS, str(interval))
    monkeypatch.setattr(predictions, "SHARD_BYTES", 3 * 2 * 3 * 8 * 8 * 3)  # three clips
    write(tmp_path / "whole", 8)
    for call in itertools.count():
        if not dies_at(call, lambda: write(tmp_path / "run", 8), full):
            break
        write(tmp_path / "run", 8)
        assert content(tmp_path / "run") == content(tmp_path / "whole"), call
        shutil.rmtree(tmp_path / "run")
    assert call > 8


@pytest.mark.parametrize("lost", ["frames-00001.safetensors", "index.json"])
def test_finished_work_that_is_not_whole_any_more_is_done_again(tmp_path, monkeypatch, lost):
    monkeypatch.setattr(predictions, "SHARD_BYTES", 3 * 2 * 3 * 8 * 8 * 3)  # three clips
    write(tmp_path / "whole", 8)
    write(tmp_path / "run", 8)
    (tmp_path / "run" / lost).write_bytes(b"of another run")
    write(tmp_path / "run", 8)
    assert content(tmp_path / "run") == content(tmp_path / "whole")


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
    forget(tmp_path / "state")
    frames = write(tmp_path, 2, seed=1)
    names = {"index.json", "frames-00000.safetensors", "frames-00001.safetensors"}
    assert content(tmp_path).keys() == names
    assert torch.equal(Predictions(tmp_path / "index.json").frames(1), frames[1])


def test_failure_keeps_what_stood(tmp_path):
    frames = write(tmp_path, 2)
    forget(tmp_path / "state")
    with pytest.raises(RuntimeError), opened(tmp_path) as writer:
        writer.append("x", frames[0])
        raise RuntimeError
    assert torch.equal(Predictions(tmp_path / "index.json").frames(1), frames[1])


def test_wrong_shape_is_refused(tmp_path):
    with opened(tmp_path) as writer:
        for bad in (torch.zeros(SHAPE), torch.zeros(1, *SHAPE[1:], dtype=torch.uint8)):
            with pytest.raises(ValueError, match="expected uint8"):
                writer.append("x", bad)
