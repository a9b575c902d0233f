"""Listing and sharing of videos."""

import hashlib
import os
from pathlib import Path

import pytest

from rsvp.data import sources
from rsvp.data.formats.detect import detect
from rsvp.data.hashing import UNREADABLE, content_hash
from rsvp.data.sources import list_sources, share_of
from rsvp.runtime.errors import UserError
from tests.another_user import said_to_another_user
from tests.test_decoding import picture
from tests.trees import make

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


def ids(root, kind="videos", **options):
    return [source.id for source in list_sources(root, kind, **options)]


def test_videos_by_suffix_and_id(tmp_path):
    make(
        tmp_path, "B/two.MP4", "B/one.avi", "a.webm", "C/D/x.y.mkv", "n.txt", ".hid.avi", ".h/a.avi"
    )
    found = list_sources(tmp_path, "videos")
    assert [source.id for source in found] == ["B/one", "B/two", "C/D/x.y", "a"]
    assert [source.class_name for source in found] == ["B", "B", "D", ""]


def test_what_begins_as_a_video_is_one_whatever_it_is_called(tmp_path):
    kinds = {"mp4": "mov", "avi": "avi", "mkv": "matroska", "flv": "flv", "y4m": "yuv4mpegpipe",
             "mpg": "mpeg", "ts": "mpegts", "wmv": "asf"}  # fmt: skip
    for name, kind in kinds.items():
        picture(tmp_path / name, "-pix_fmt", "yuv420p", "-f", kind, rate=25, seconds=0.2)
    picture(tmp_path / "film.divx", "-f", "avi")
    picture(tmp_path / "film.mp4")
    picture(tmp_path / "low.LRV", "-f", "mp4")  # beside the films of some cameras
    make(tmp_path, "labels.json", "sound.m4a", content=b"\0\0\0\x20ftypM4A ")
    make(tmp_path, "photo.x", content=b"\0\0\0\x20ftypheic")
    os.mkfifo(tmp_path / "pipe")
    assert set(ids(tmp_path)) == {*kinds, "film.divx", "film"}
    assert detect(str(tmp_path))[0] == "videos"


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
    assert {content_hash(source) for source in found} == {UNREADABLE}


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


def test_folders_of_images_are_parts_of_one_video_by_a_number(tmp_path):
    """A folder of a class holds videos that begin with its name, too."""
    named = ("sky_1", "sky_02", "sky_anna", "sky_3b", "sky_", "cloud_4")
    make(tmp_path, *(f"sky/{name}/{n}.png" for name in named for n in range(2)))
    groups = {source.id: source.group for source in list_sources(tmp_path, "frames")}
    assert groups == {f"sky/{name}": "sky" * (name in ("sky_1", "sky_02")) for name in named}


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
