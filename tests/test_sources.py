"""Listing, sharing and hashing of videos."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from rsvp.data import sources
from rsvp.data.sources import content_hash, content_hashes, list_sources, share_of, sources_digest
from rsvp.runtime.errors import UserError
from tests.another_user import said_to_another_user

STRANGE = [
    "-i",
    "it's",
    'say "hi"',
    "two\nlines",
    "日本語 émoji 🎬",
    "a%05d",
    "x:y",
    "sp ace",
    "[0]",
]


def make(root, *paths, content=b"x"):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def settle(root):
    """Date files back, so that their hashes count as settled."""
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(folder, name), (1e9, 1e9))


def ids(root, kind="videos", **options):
    return [source.id for source in list_sources(root, kind, **options)]


def test_videos_by_suffix_and_id(tmp_path):
    make(
        tmp_path, "B/two.MP4", "B/one.avi", "a.webm", "C/D/x.y.mkv", "n.txt", ".hid.avi", ".h/a.avi"
    )
    found = list_sources(tmp_path, "videos")
    assert [source.id for source in found] == ["B/one", "B/two", "C/D/x.y", "a"]
    assert [source.class_name for source in found] == ["B", "B", "D", ""]


def test_strange_names(tmp_path):
    make(tmp_path, *(f"{name}/{name}.mp4" for name in STRANGE))
    expected = [name.replace("\n", "\\n") for name in STRANGE]  # an id is one line of a table
    assert sorted(ids(tmp_path)) == sorted(f"{name}/{name}" for name in expected)


def test_name_that_is_not_utf8(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.avi")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (source,) = list_sources(tmp_path, "videos")
    assert source.id == "caf\\xe9"
    assert os.path.exists(source.path)
    assert share_of(source.id, 4) in range(4)


def test_links_in_a_circle_end_and_folders_come_once(tmp_path):
    make(tmp_path, "real/one.mp4")
    (tmp_path / "a_link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    assert ids(tmp_path) == ["real/one"]


def test_link_to_itself_is_listed_and_has_a_digest(tmp_path):
    (tmp_path / "a.mp4").symlink_to("a.mp4")
    (tmp_path / "b.mp4").symlink_to("c.mp4")
    (tmp_path / "c.mp4").symlink_to("b.mp4")
    found = list_sources(tmp_path, "videos")
    assert [source.id for source in found] == ["a", "b", "c"]
    assert {content_hash(source) for source in found} == {sources.UNREADABLE}


def test_linked_folder_outside_is_followed(tmp_path):
    make(tmp_path, "outside/one.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "link").symlink_to(tmp_path / "outside")
    assert ids(tmp_path / "videos") == ["link/one"]


def test_folder_above_a_link_is_that_of_its_target(tmp_path):
    make(tmp_path, "disk/here/x", "disk/videos/right.mp4", "videos/wrong.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "disk/here")
    assert ids(f"{tmp_path}/link/../videos") == ["right"]
    assert [s.id for s in sources.sources_at(Path(f"{tmp_path}/link/../videos"))] == ["right"]
    assert sources.absolute(f"{tmp_path}/videos/../link") == f"{tmp_path}/link"


@pytest.mark.parametrize("name", ["lost+found", "private"])
def test_folder_of_another_user_is_left_out(open_folder, name, caplog):
    make(open_folder, "a.mp4", f"{name}/b.mp4")
    (open_folder / name).chmod(0)

    def list_and_tell():
        found = ids(open_folder)
        raise UserError(f"{found} {[record.getMessage() for record in caplog.records]}")

    said = said_to_another_user(list_and_tell)
    assert said.startswith("['a']")
    assert ("private: Permission denied; left out" in said) == (name == "private")


def test_what_is_no_video_is_not_listed(tmp_path):
    make(tmp_path, "a.mp4", ".DS_Store", "._a.mp4", "Thumbs.db", "desktop.ini", ".b/c.mp4")
    assert ids(tmp_path) == ["a"]


def test_typescript_is_no_video(tmp_path):
    make(tmp_path, "app.ts", content=b"import { readFile } from 'fs';\n")
    make(tmp_path, "empty.ts", content=b"")
    make(tmp_path, "good.ts", content=b"\x47\x40\x11\x10\0" + b"\xff" * 183)
    make(tmp_path, "late.ts", content=b"\xff\0\xff")
    assert ids(tmp_path) == ["empty", "good", "late"]


@pytest.mark.parametrize(
    "suffix",
    [".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".ogv", ".MTS"],
)
def test_every_video_is_found(tmp_path, suffix):
    make(tmp_path, "a.mp4", f"b{suffix}", content=b"\0")
    assert ids(tmp_path) == ["a", "b"]


def test_frame_folders_in_natural_order(tmp_path):
    make(
        tmp_path,
        *(f"train/v/frame{n}.png" for n in (10, 9, 100, 1)),
        "train/w/a.jpg",
        "train/x.mp4",
    )
    found = list_sources(tmp_path, "frames")
    assert [source.id for source in found] == ["train/v", "train/w"]
    names = [os.path.basename(path) for path in found[0].files]
    assert names == ["frame1.png", "frame9.png", "frame10.png", "frame100.png"]


@pytest.mark.parametrize("kind", ["videos", "frames"])
def test_missing_empty_or_file(tmp_path, kind):
    make(tmp_path, "file.mp4")
    (tmp_path / "empty").mkdir()
    for path, words in (("gone", "no folder"), ("file.mp4", "is a file"), ("empty", "in it")):
        with pytest.raises(UserError, match=words) as caught:
            list_sources(tmp_path / path, kind)
        assert "\n" not in str(caught.value)
        assert path in str(caught.value)


def test_two_videos_of_one_id(tmp_path):
    make(tmp_path, "a.avi", "a.mp4")
    with pytest.raises(UserError, match=r"a\.avi and .*a\.mp4: two videos have the id 'a'"):
        ids(tmp_path)


def test_shares_follow_the_contract():
    for name in ("Punch/v_Punch_g01_c01", "日本"):
        expected = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 5
        assert share_of(name, 5) == expected


def test_max_videos_keeps_most_when_one_is_added(tmp_path):
    make(tmp_path, *(f"v{n:02d}.mp4" for n in range(40)))
    before = ids(tmp_path, max_videos=20)
    make(tmp_path, "new.mp4")
    after = ids(tmp_path, max_videos=20)
    assert len(before) == len(after) == 20
    assert before == sorted(before)
    assert before != sorted(f"v{n:02d}" for n in range(20))
    assert len(set(before) - set(after)) <= 1


def test_hash_is_of_content(tmp_path):
    make(tmp_path, "a.mp4", content=b"hello")
    (source,) = list_sources(tmp_path, "videos")
    assert content_hash(source) == hashlib.sha256(b"hello").hexdigest()


def digest(root, cache, kind="videos"):
    found = list_sources(root, kind)
    return sources_digest(found, content_hashes(found, cache))


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
    hashing = sources.sha256_of_file
    monkeypatch.setattr(sources, "sha256_of_file", lambda path: read.append(path) or hashing(path))
    assert digest(root, cache) != first
    assert [os.path.basename(path) for path in read] == ["b.mp4"]


def test_fresh_file_is_hashed_again(tmp_path, monkeypatch):
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
    assert content_hash(found[1]) == content_hash(found[2]) == sources.UNREADABLE


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
