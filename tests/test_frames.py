"""Bounded files of frames: what is written is what is read, by our reader and by safetensors."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from stored import write_frames

from rsvp.data.frames import PartReader, read_frame_cache
from rsvp.runtime import parts
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json

SHAPE = (6, 6, 3)


def some_frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files of seven frames, each with its time and its change."""
    monkeypatch.setattr(parts, "PART_BYTES", 7 * (6 * 6 * 3 + 8 + 4))


def write(folder, frames):
    return read_json(write_frames(folder, (frame[None] for frame in frames)))["parts"]


@pytest.mark.parametrize("count", [1, 6, 7, 8, 14, 50])
def test_safetensors_reads_what_was_written(tmp_path, count):
    frames = some_frames(count)
    files = write(tmp_path, frames)
    assert [part["items"] for part in files] == [7] * (count // 7) + [count % 7] * (count % 7 > 0)
    stored = [load_file(tmp_path / part["file"])["frames"] for part in files]
    assert np.array_equal(np.concatenate(stored), frames)


def test_rows_in_any_order_and_repeated(tmp_path):
    frames = some_frames(30)
    read = PartReader(tmp_path, write(tmp_path, frames))
    rows = [29, 0, 7, 6, 6, 13, 14]
    assert np.array_equal(read.frames(rows), frames[rows])
    for bad in ([-1], [30], []):
        with pytest.raises(IndexError):
            read.frames(bad)


def test_broken_files_are_named(tmp_path):
    files = write(tmp_path, some_frames(10))
    first, second = (tmp_path / shard["file"] for shard in files)
    first.write_bytes(first.read_bytes()[:600])
    second.unlink()
    read = PartReader(tmp_path, files)
    for row, path, words in ((0, first, "not a whole"), (9, second, "no such file")):
        with pytest.raises(UserError, match=words) as caught:
            read.frames([row])
        assert str(path) in str(caught.value)


def test_index_and_file_must_agree(tmp_path):
    files = write(tmp_path, some_frames(5))
    files[0]["items"] = 6
    with pytest.raises(UserError, match="does not hold 6 items, as its index says"):
        PartReader(tmp_path, files).frames([0])


def test_frame_cache_of_an_index(tmp_path):
    frames = some_frames(10)
    write(tmp_path, frames)
    _, read = read_frame_cache(tmp_path / "index.json")
    assert np.array_equal(read.frames(range(10)), frames)
