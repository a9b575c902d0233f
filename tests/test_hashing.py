"""Hashing of videos: by content, in parallel, and kept."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from rsvp.data import hashing as hashing_module
from rsvp.data.hashing import (
    UNREADABLE,
    content_hash,
    content_hashes,
    hash_file,
    source_state,
    sources_digest,
)
from rsvp.data.sources import list_sources
from rsvp.runtime.files import read_json, sha256_of_file
from tests.trees import make, settle


def test_hash_is_of_content(tmp_path):
    make(tmp_path, "a.mp4", content=b"hello")
    (source,) = list_sources(tmp_path, "videos")
    assert content_hash(source) == hashlib.sha256(b"hello").hexdigest()


def digest(root, cache, kind="videos"):
    found = list_sources(root, kind)
    found = content_hashes(found, cache)
    return sources_digest({name: content.sha256 for name, content in found.items()})


def test_digest_sees_content_and_names_not_times(tmp_path):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, "a.mp4", "b.mp4")
    settle(root)
    first = digest(root, cache)
    os.utime(root / "a.mp4")
    assert digest(root, cache) == first
    make(root, "a.mp4", content=b"y")  # same size
    changed = digest(root, cache)
    assert changed != first
    make(root, "a.mp4", content=b"x")
    assert digest(root, cache) == first
    (root / "b.mp4").rename(root / "c.mp4")
    assert digest(root, cache) != first


def test_digest_of_frame_folder_sees_names(tmp_path):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, "v/1.png", "v/2.png")
    first = digest(root, cache, "frames")
    (root / "v/2.png").rename(root / "v/3.png")
    assert digest(root, cache, "frames") != first


def test_cache_spares_reading(tmp_path, monkeypatch):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, "a.mp4", "b.mp4", "c.mp4")
    settle(root)
    first = digest(root, cache)
    make(root, "b.mp4", content=b"other")
    os.utime(root / "b.mp4", (1e9 + 5, 1e9 + 5))
    read = []
    hashing = hash_file
    monkeypatch.setattr(
        hashing_module, "hash_file", lambda path: read.append(path) or hashing(path)
    )
    assert digest(root, cache) != first
    assert [os.path.basename(path) for path in read] == ["b.mp4"]


def test_fresh_file_is_hashed_again(tmp_path):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, "a.mp4", content=b"one")
    status = (root / "a.mp4").stat()
    first = digest(root, cache)
    (root / "a.mp4").write_bytes(b"two")  # in place, same size, within the clock's granularity
    os.utime(root / "a.mp4", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest(root, cache) != first


def test_content_that_changed_under_its_old_time_is_seen(tmp_path):
    """As `rsync --inplace --times` or an editor that sets times back leave it."""
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    root.mkdir()
    (root / "a.mp4").write_bytes(b"before")
    os.utime(root / "a.mp4", (1e9, 1e9))
    first = digest(root, cache)
    (root / "a.mp4").write_bytes(b"after!")
    os.utime(root / "a.mp4", (1e9, 1e9))
    assert digest(root, cache) != first


@pytest.mark.parametrize("content", ["", "nonsense", "[1]", '{"a": 1}'])
def test_broken_cache_is_rebuilt(tmp_path, content):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, "a.mp4")
    settle(root)
    first = digest(root, cache)
    cache.write_text(content)
    assert digest(root, cache) == first
    assert "a.mp4" in cache.read_text()


def test_unreadable_files_have_a_digest(tmp_path):
    root = tmp_path / "videos"
    make(root, "a.mp4")
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "pipe.mp4")
    found = list_sources(root, "videos")
    assert len(found) == 3
    assert content_hash(found[1]) == content_hash(found[2]) == UNREADABLE


def test_second_call_over_thousands_of_files_is_fast(tmp_path):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, *(f"c{n % 50}/v{n}.mp4" for n in range(3000)))
    settle(root)
    first = digest(root, cache)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert digest(root, cache) == first
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


@pytest.mark.parametrize("size", [0, 1, 2**17 - 1, 2**17, 2**17 + 1, 2**20])
def test_hash_of_a_file_is_its_sha256(tmp_path, size):
    """Files of up to 128 kB are read at once, larger ones piece by piece."""
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_state_changes_with_any_write(tmp_path):
    make(tmp_path, "v/1.png", "v/2.png")
    settle(tmp_path)
    (source,) = list_sources(tmp_path, "frames")
    (content,) = content_hashes([source], tmp_path / "cache.json").values()
    assert content == (content_hash(source), source_state(source))
    make(tmp_path, "v/2.png", content=b"y")
    os.utime(tmp_path / "v/2.png", (1e9, 1e9))
    assert source_state(source) != content.state
    (tmp_path / "v/2.png").unlink()
    assert source_state(source) == ""


# Each file is told of.
SLOW = """
import pathlib, signal, sys, threading
from rsvp.data import hashing
from rsvp.data.sources import list_sources
hashing.SAVE_SECONDS, hashing.SAVING_SHARE, hashing.BATCH_FILES = 0.0, 0.0, 4  # save each batch
hashed, asked = hashing.hash_file, threading.Event()
held_at = int(sys.argv[3])  # from this file on it waits to be killed
def end(number, frame):
    asked.set()
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, end)
def slowly(path):
    if int(pathlib.Path(path).stem[1:]) >= held_at:  # v080.mp4 is number 80
        asked.wait(30)
    sys.stdout.write(f"{path}\\n")
    sys.stdout.flush()
    return hashed(path)
hashing.hash_file = slowly
hashing.content_hashes(list_sources(sys.argv[1], "videos"), sys.argv[2])
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_hashing_goes_on(tmp_path, kill):
    root, cache = tmp_path / "videos", tmp_path / "cache.json"
    make(root, *(f"v{n:03d}.mp4" for n in range(120)))
    settle(root)
    command = [sys.executable, "-c", SLOW, root, cache]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen([*command, "80"], **quiet)
    deadline = time.monotonic() + 30
    while not cache.exists() or len(read_json(cache)) <= 20:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(kill)
    first.wait(timeout=10)
    kept = set(read_json(cache))
    assert 20 < len(kept) < 120
    again = subprocess.run([*command, "120"], capture_output=True, text=True, timeout=30)
    assert set(again.stdout.split()) == {str(path) for path in root.iterdir()} - kept
