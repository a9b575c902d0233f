"""The resumable writer: files that appear whole, and end the same whenever a run dies."""

import itertools
import json
import shutil
import tracemalloc

import numpy as np
import pytest
from dying import dies_at
from safetensors.numpy import load_file

from rsvp.runtime import lock, parts
from rsvp.runtime.files import sha256_of_file
from rsvp.runtime.journal import SAVE_SECONDS, StateKey, forget
from rsvp.runtime.parts import PartWriter

KEY = StateKey("code", "work")
ITEMS = 8
FEW = 5  # of two files
BYTES = 24  # of "features/b" of one item


def item(number):
    """Arrays of which one has another number of rows for each item."""
    return {"scores/a": np.arange(number % 2 + 1.0), "features/b": np.full((1, 3), number, float)}


def opened(folder, key=KEY):
    """A writer as each run of a stage opens it."""
    return PartWriter(folder, folder / "state", key, "part")


def write(folder, killed_before=None, count=ITEMS):
    """Write items; a run that goes on begins after what an earlier one saved."""
    writer = opened(folder)
    writer.note = writer.note or {"numbers": []}
    for number in range(writer.items, count):
        if number == killed_before:
            raise KeyboardInterrupt
        writer.append(item(number))
        writer.note["numbers"].append(number)
        writer.checkpoint()
    (folder / "index.json").write_text(json.dumps([writer.finish(), writer.note]))
    return writer


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files of three items."""
    monkeypatch.setattr(parts, "PART_BYTES", 3 * BYTES + 5 * 8)


def content(folder):
    """All files of a folder and what is in them, but for what the next stage clears up."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".tmp"]
    return {path.name: path.read_bytes() for path in files}


def test_what_is_written_is_read(tmp_path):
    writer = write(tmp_path)
    assert [part["items"] for part in writer.parts] == [3, 3, 2]
    for part in writer.parts:
        assert sha256_of_file(tmp_path / part["file"]) == part["sha256"]
    expected = np.concatenate([item(number)["scores/a"] for number in range(ITEMS)])
    np.testing.assert_array_equal(writer.stacked("scores/")["a"], expected)
    np.testing.assert_array_equal(writer.stacked("features/")["b"][:, 0], np.arange(ITEMS))
    whole = [load_file(tmp_path / part["file"])["scores/a"] for part in writer.parts]
    np.testing.assert_array_equal(np.concatenate(whole), expected)


@pytest.mark.parametrize("interval", [0, 10**9])
def test_killed_run_ends_as_an_undisturbed_one(tmp_path, monkeypatch, interval):
    """Killed before each item in turn, saved after each or never: no file tells of it."""
    monkeypatch.setenv(SAVE_SECONDS, str(interval))
    write(tmp_path / "whole")
    for number in range(1, ITEMS):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "run", killed_before=number)
        again = opened(tmp_path / "run")
        assert again.items == (0 if interval else number)
        assert again.note == ({} if interval else {"numbers": list(range(number))})
    write(tmp_path / "run")
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert opened(tmp_path / "run").items == ITEMS  # until Snakemake knows that it is finished
    forget(tmp_path / "run/state")
    assert opened(tmp_path / "run").items == 0


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("interval", [0, 10**9])
def test_runs_that_die_anywhere_end_as_an_undisturbed_one(tmp_path, monkeypatch, interval, full):
    """Killed, or the disk full, at each change of the disk."""
    monkeypatch.setenv(SAVE_SECONDS, str(interval))
    write(tmp_path / "whole", count=FEW)
    for call in itertools.count():
        if not dies_at(call, lambda: write(tmp_path / "run", count=FEW), full):
            break
        write(tmp_path / "run", count=FEW)
        assert content(tmp_path / "run") == content(tmp_path / "whole"), call
        shutil.rmtree(tmp_path / "run")
    assert call > 8


@pytest.mark.parametrize("interval", [0, 10**9])
@pytest.mark.parametrize("written", [0, 2, 3, 4, 7, 11])
@pytest.mark.parametrize("kept", [0, 1, 3, 5, 6])
def test_rollback_forgets_exactly_the_rest(tmp_path, monkeypatch, written, kept, interval):
    monkeypatch.setenv(SAVE_SECONDS, str(interval))
    writer = opened(tmp_path / "run")
    for number in range(kept):
        writer.append(item(number))
        writer.checkpoint()
    mark = writer.mark()
    for _ in range(written):
        writer.append(item(99))
    writer.rollback(mark)
    for number in range(kept, ITEMS):
        writer.append(item(number))
    assert writer.finish() == write(tmp_path / "whole").parts
    del content(tmp_path / "whole")["index.json"]
    whole = content(tmp_path / "whole")
    assert {name: whole[name] for name in whole if name != "index.json"} == content(
        tmp_path / "run"
    )


@pytest.mark.parametrize("lost", ["part-00001.safetensors", "part-00002.safetensors"])
@pytest.mark.parametrize("how", ["gone", "broken"])
def test_work_that_is_not_whole_any_more_is_done_again(tmp_path, monkeypatch, caplog, lost, how):
    """A full file, and the last one, which still grows."""
    monkeypatch.setenv(SAVE_SECONDS, "0")
    write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "run", killed_before=7)
    path = tmp_path / "run" / lost
    path.unlink() if how == "gone" else path.write_bytes(b"of another run")
    assert opened(tmp_path / "run").items == 0
    assert "starting anew" in caplog.text
    write(tmp_path / "run")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


@pytest.mark.parametrize("key", [StateKey("code", "other"), StateKey("other", "work")])
def test_other_work_starts_anew(tmp_path, caplog, key):
    write(tmp_path)
    assert opened(tmp_path, key).items == 0
    assert "of other settings, code or inputs; starting anew" in caplog.text
    # The files get written over: their journal must not speak of them later.
    assert opened(tmp_path).items == 0
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}"])
def test_broken_journal_starts_anew(tmp_path, caplog, broken):
    write(tmp_path)
    (tmp_path / "state/part.journal.json").write_text(broken)
    assert opened(tmp_path).items == 0
    assert "starting anew" in caplog.text


def test_work_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch):
    """A part that another user owns, or a file system that is away, is no reason to do it again."""
    write(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched, pytest.raises(PermissionError):
        patched.setattr(parts, "sha256_of_file", refuse)
        opened(tmp_path)
    assert opened(tmp_path).items == ITEMS


def test_smaller_second_run_leaves_nothing_of_the_first(tmp_path):
    write(tmp_path)
    forget(tmp_path / "state")
    writer = write(tmp_path, count=2)
    assert content(tmp_path).keys() == {"index.json", "part-00000.safetensors"}
    assert len(writer.stacked()["features/b"]) == 2


def test_an_old_index_does_not_stand_beside_new_files(tmp_path):
    write(tmp_path)
    forget(tmp_path / "state")
    writer = opened(tmp_path)
    writer.append(item(5))
    assert (tmp_path / "index.json").exists()
    writer.save()
    assert not (tmp_path / "index.json").exists()


def test_saving_waits_for_the_interval(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    monkeypatch.setenv(SAVE_SECONDS, "30")
    writer = opened(tmp_path)
    writer.append(item(0))
    for seconds, items in ((29, 0), (1, 1)):
        now[0] += seconds
        writer.checkpoint()
        assert opened(tmp_path).items == items


def test_a_stage_whose_starter_has_ended_saves_and_ends(tmp_path, monkeypatch):
    """At the next item: a new run waits a minute for it, not as long as the interval."""
    monkeypatch.setenv(SAVE_SECONDS, "3600")
    for module in (lock, parts):
        monkeypatch.setattr(module, "starter_ended", lambda: True)
    writer = opened(tmp_path)
    writer.append(item(0))
    with pytest.raises(SystemExit):
        writer.checkpoint()
    assert opened(tmp_path).items == 1


def test_memory_that_was_handed_may_be_used_again(tmp_path):
    buffer = np.zeros((1, 3))
    writer = opened(tmp_path)
    for number in range(ITEMS):
        buffer[:] = number
        writer.append({"b": buffer})
    writer.finish()
    np.testing.assert_array_equal(writer.stacked()["b"][:, 0], np.arange(ITEMS))


@pytest.mark.parametrize("count", [1, 2])
def test_other_orders_in_memory_are_written_as_they_read(tmp_path, count):
    """As latents of channels-last networks come."""
    array = np.arange(48.0).reshape(1, 4, 4, 3).transpose(0, 3, 1, 2)
    writer = opened(tmp_path)
    for _ in range(count):
        writer.append({"b": array})
    writer.finish()
    np.testing.assert_array_equal(writer.stacked()["b"], np.concatenate([array] * count))


def test_memory_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 200_000)
    chunk = np.zeros((100, 108), np.uint8)
    tracemalloc.start()
    writer = opened(tmp_path)
    for _ in range(500):
        writer.append({"frames": chunk}, len(chunk))
    writer.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert writer.items == 50_000
    assert peak < 500 * chunk.nbytes / 5


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("shares", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("count", [0, 1, 8, 9, 100])
def test_shares_are_of_whole_batches_and_hold_each_item_once(count, shares, size):
    bounds = [parts.share_bounds(count, size, (number, shares)) for number in range(shares)]
    assert [item for bound in bounds for item in range(*bound)] == list(range(count))
    assert all(first % size == 0 for first, last in bounds if first < last)
    batches = [-(-(last - first) // size) for first, last in bounds]
    assert max(batches) - min(batches) <= 1
    assert parts.share_bounds(count, size, None) == (0, count)
