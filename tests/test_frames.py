"""Bounded files of frames: what is written is what is read, by our reader and by safetensors."""

import hashlib
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file

from rsvp.data.frames import ShardReader, ShardWriter, read_frame_cache
from rsvp.runtime.errors import UserError

SHAPE = (6, 6, 3)


def some_frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def write(folder, frames, per_shard=7, chunk=5):
    with ShardWriter(folder, SHAPE, per_shard) as writer:
        for start in range(0, len(frames), chunk):
            writer.append(frames[start : start + chunk])
        return writer.finish()


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 14, 50])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_safetensors_reads_what_was_written(tmp_path, count, chunk):
    frames = some_frames(count)
    shards = write(tmp_path, frames, chunk=chunk)
    assert [shard["items"] for shard in shards] == [7] * (count // 7) + [count % 7] * (
        count % 7 > 0
    )
    parts = [load_file(tmp_path / shard["file"])["frames"] for shard in shards]
    assert np.array_equal(np.concatenate([frames[:0], *parts]), frames)
    for shard in shards:
        content = (tmp_path / shard["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
    assert len(list(tmp_path.iterdir())) == len(shards)


@pytest.mark.parametrize("written", [0, 3, 7, 9, 14, 21, 30])
@pytest.mark.parametrize("kept", [0, 3, 7, 9, 14])
def test_rollback_forgets_exactly_the_rest(tmp_path, written, kept):
    frames, wrong, more = some_frames(kept), some_frames(written, 1), some_frames(11, 2)
    with ShardWriter(tmp_path, SHAPE, 7) as writer:
        writer.append(frames)
        writer.append(wrong)
        writer.rollback(kept)
        writer.append(more)
        shards = writer.finish()
    read = ShardReader(tmp_path, shards)
    assert np.array_equal(read.rows(range(len(read))), np.concatenate([frames, more]))
    for shard in shards:
        assert (
            hashlib.sha256((tmp_path / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
        )
    assert len(list(tmp_path.iterdir())) == len(shards)


def test_rows_in_any_order_and_repeated(tmp_path):
    frames = some_frames(30)
    read = ShardReader(tmp_path, write(tmp_path, frames))
    rows = [29, 0, 7, 6, 6, 13, 14]
    assert np.array_equal(read.rows(rows), frames[rows])
    for bad in ([-1], [30], []):
        with pytest.raises(IndexError):
            read.rows(bad)


def test_failure_leaves_nothing_under_a_final_name(tmp_path):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, SHAPE, 7) as writer:
        writer.append(some_frames(20))
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part"] == []
    ShardWriter(tmp_path, SHAPE, 7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 3, 7, 10, 14, 20])
def test_later_writer_goes_on_after_a_checkpoint(tmp_path, kept):
    """Frames that the first one wrote beyond it, even whole files of them, do not count."""
    frames = some_frames(30)
    first = ShardWriter(tmp_path, SHAPE, 7)
    first.append(frames[:kept])
    checkpoint = json.loads(json.dumps(first.checkpoint()))
    first.append(some_frames(9, 1))
    del first  # as if killed: nothing is finished
    with ShardWriter(tmp_path, SHAPE, 7, resume=checkpoint) as writer:
        assert writer.length == kept
        writer.append(frames[kept:])
        shards = writer.finish()
    assert shards == write(tmp_path / "whole", frames, per_shard=7)
    read = ShardReader(tmp_path, shards)
    assert np.array_equal(read.rows(range(30)), frames)


def test_writer_killed_while_it_names_its_files(tmp_path):
    frames = some_frames(20)
    first = ShardWriter(tmp_path, SHAPE, 7)
    first.append(frames[:14])
    checkpoint = first.checkpoint()
    first.temporary(0).rename(tmp_path / first.closed[0]["file"])
    with ShardWriter(tmp_path, SHAPE, 7, resume=checkpoint) as writer:
        writer.append(frames[14:])
        shards = writer.finish()
    assert np.array_equal(ShardReader(tmp_path, shards).rows(range(20)), frames)


def test_wrong_items_are_refused(tmp_path):
    with ShardWriter(tmp_path, SHAPE, 7) as writer:
        for bad in (some_frames(2)[:, :5], some_frames(2).astype(np.float32)):
            with pytest.raises(ValueError, match="expected uint8"):
                writer.append(bad)


def test_broken_files_are_named(tmp_path):
    shards = write(tmp_path, some_frames(10))
    first, second = (tmp_path / shard["file"] for shard in shards)
    first.write_bytes(first.read_bytes()[:600])
    second.unlink()
    read = ShardReader(tmp_path, shards)
    for row, path, words in ((0, first, "not a whole"), (9, second, "no such file")):
        with pytest.raises(UserError, match=words) as caught:
            read.rows([row])
        assert str(path) in str(caught.value)


def test_index_and_file_must_agree(tmp_path):
    shards = write(tmp_path, some_frames(5))
    shards[0]["items"] = 6
    with pytest.raises(UserError, match="holds 5 items, its index says 6"):
        ShardReader(tmp_path, shards).rows([0])


def test_reader_goes_to_other_processes_without_the_frames(tmp_path):
    frames = some_frames(3000)
    read = ShardReader(tmp_path, write(tmp_path, frames, per_shard=2000))
    read.rows([0, 2999])
    sent = pickle.dumps(read)
    assert len(sent) < 5000
    assert np.array_equal(pickle.loads(sent).rows([2999]), frames[[2999]])


def test_memory_stays_bounded(tmp_path):
    chunk = some_frames(100)
    tracemalloc.start()
    with ShardWriter(tmp_path, SHAPE, 10_000) as writer:
        for _ in range(500):
            writer.append(chunk)
        shards = writer.finish()
    read = ShardReader(tmp_path, shards)
    read.rows(range(0, 50_000, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    total = len(read) * chunk[0].nbytes
    assert total > 5_000_000
    assert peak < total / 5


def test_frame_cache_of_an_index(tmp_path):
    frames = some_frames(10)
    shards = [
        {"file": s["file"], "sha256": s["sha256"], "frames": s["items"]}
        for s in write(tmp_path, frames)
    ]
    (tmp_path / "index.json").write_text(json.dumps({"shards": shards}))
    _, read = read_frame_cache(tmp_path / "index.json")
    assert np.array_equal(read.rows(range(10)), frames)
