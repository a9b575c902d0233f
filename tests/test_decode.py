"""The decode stage as Snakemake runs it: its files, its index, and what it says on the terminal."""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from dying import stage_dies_at
from here import run_here
from PIL import Image
from safetensors.numpy import load_file

from rsvp.config.stages import read_settings
from rsvp.data import decoding
from rsvp.data.frames import read_frame_cache
from rsvp.data.hashing import content_hash, source_state, sources_digest
from rsvp.data.sources import list_sources, share_of, share_within
from rsvp.runtime import parts
from rsvp.runtime.files import read_json
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.stages import decode as stage
from rsvp.stages.decode import below, run


def picture(path, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-f", "lavfi", "-i"]
    command += [f"testsrc=size=48x40:rate=10:duration={seconds}", "-c:v", "mpeg4", str(path)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Six good videos of 1.0 to 1.5 s, names with spaces among them."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(6):
        picture(root / f"class {number % 2}" / f"v {number}.avi", 1 + number / 10)
    return root


def settings(folder, path, **values):
    file = folder / "settings.json"
    dataset = {"path": path and str(path), "resolution": 32, "decode_jobs": 2, **values}
    file.write_text(json.dumps({"name": "d", "dataset": dataset}))
    return file


def command(folder, videos, share, *more, **values):
    """The flags of the stage."""
    index = folder / "frames" / str(share) / "index.json"
    flags = ["--settings", settings(folder, videos, **values), "--share", share, "--index", index]
    flags += ["--state", index.parent / "state", "--record", folder / "run.json"]
    return [*map(str, [*flags, "--log", folder / "log.txt", *more])]


def decode(folder, videos, share, *more, **values):
    """Run the stage; returns (exit code, what it wrote to the terminal, where its index is)."""
    code, terminal = run_here(stage, *command(folder, videos, share, *more, **values))
    return code, terminal, folder / "frames" / str(share) / "index.json"


def lines(terminal):
    """Terminal lines without the progress bar's."""
    return [line for line in terminal.splitlines() if line.startswith("rsvp")]


def test_shares_hold_each_video_once(tmp_path, videos):
    found = []
    for share in (0, 1):
        code, terminal, path = decode(tmp_path, videos, share)
        assert (code, lines(terminal)) == (0, [])
        index, frames = read_frame_cache(path)
        assert len(frames) == sum(video["frames"] for video in index["videos"])
        stored = [load_file(path.parent / part["file"])["frames"] for part in index["parts"]]
        assert np.array_equal(np.concatenate(stored), frames.frames(range(len(frames))))
        for video in index["videos"]:
            assert share_of(video["id"], 2) == share
            assert video["frames"] == 10 + int(video["id"][-1])
            assert video["class"] == video["id"].split("/")[0]
            assert video["path"] == f"{video['id']}.avi"
            first = frames.frames([video["offset"]])[0]
            assert first.shape == (32, 32, 3) and first.std() > 20
        found += [video["id"] for video in index["videos"]]
    assert sorted(found) == [f"class {n % 2}/v {n}" for n in (0, 2, 4, 1, 3, 5)]


def test_same_bytes_again(tmp_path, videos):
    indices = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        indices.append(decode(tmp_path / name, videos, 0)[2].read_bytes())
    assert indices[0] == indices[1]


def test_share_that_dies_while_it_finishes_ends_as_an_undisturbed_one(
    tmp_path, videos, monkeypatch
):
    """Killed at each change of the disk, from the first video to the run record."""
    monkeypatch.setenv(SAVE_SECONDS, "0")
    given = {"videos": videos / "class 0", "share": 0, "decode_jobs": 1}
    for name in ("whole", "run"):
        (tmp_path / name).mkdir()
    whole = decode(tmp_path / "whole", **given)[2].parent
    expected = {path.name: path.read_bytes() for path in whole.glob("[!.]*.*")}
    flags = command(tmp_path / "run", **given)
    for call in itertools.count():
        died = stage_dies_at(call, stage.__name__, flags)
        code, terminal, path = decode(tmp_path / "run", **given)
        assert (code, lines(terminal)) == (0, []), call
        assert {path.name: path.read_bytes() for path in path.parent.glob("[!.]*.*")} == expected
        if not died:
            break
        shutil.rmtree(path.parent)
    assert call > 20


def test_bad_videos_are_one_line_each_and_do_not_move_others(tmp_path, videos):
    root = tmp_path / "videos"
    for path in sorted(videos.rglob("*.avi")):
        target = root / path.relative_to(videos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (root / "class 0" / "u empty.avi").touch()
    (root / "class 1" / "u\ntext.avi").write_text("no video\n" * 99)
    code, terminal, path = decode(tmp_path, root, 0, decode_jobs=1)
    assert code == 0
    assert "Traceback" not in terminal
    said = [line for line in terminal.replace("\r", "\n").splitlines() if "rejected" in line]
    assert len(said) == 2
    assert said[0].startswith("rsvp decode: rejected class 0/u empty.avi: an empty file")
    assert said[1].startswith("rsvp decode: rejected class 1/u\\ntext.avi: cannot be opened")
    log = (tmp_path / "log.txt").read_text()
    assert "rejected class 0/u empty.avi" in log
    index, _ = read_frame_cache(path)
    assert [row["id"] for row in index["rejected"]] == ["class 0/u empty", "class 1/u\\ntext"]
    assert [video["offset"] for video in index["videos"]] == [0, 10, 22, 36, 47, 60]


def test_frames_of_a_video_that_is_rejected_late_are_taken_back(tmp_path):
    """Frame folders a, b, c; the last image of b is broken, so b's first frames were written."""
    for place, name in enumerate("abc"):
        (tmp_path / "v" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (40, 40), (50 * place + 10 * number,) * 3)
            image.save(tmp_path / "v" / name / f"{number}.png")
    broken = tmp_path / "v" / "b" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code, terminal, path = decode(tmp_path, tmp_path / "v", 0, source="frames", decode_jobs=1)
    assert code == 0
    assert "rejected b: only 3 of 4 images could be decoded" in terminal
    index, frames = read_frame_cache(path)
    assert [(video["id"], video["offset"]) for video in index["videos"]] == [("a", 0), ("c", 4)]
    means = frames.frames(range(len(frames))).mean((1, 2, 3))
    assert np.array_equal(means, [0, 10, 20, 30, 100, 110, 120, 130])


def test_small_files_and_leftovers(tmp_path, videos, monkeypatch):
    """A leftover of a larger share goes; a file holds at most its bytes and one chunk of frames."""
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 3 * 2**16)
    monkeypatch.setattr(parts, "PART_BYTES", 2**20)
    folder = tmp_path / "frames" / "0"
    folder.mkdir(parents=True)
    for name in ("frames-00007.safetensors", "other.txt"):
        (folder / name).touch()
    values = read_json(settings(tmp_path, videos, decode_jobs=1, resolution=128))
    arguments = argparse.Namespace(
        share=0, sources=None, videos_index=None, index=folder / "index.json",
        state=folder / "state", code=None,
    )  # fmt: skip
    assert run(arguments, read_settings(values))["frames"] == 75
    index, frames = read_frame_cache(folder / "index.json")
    assert len(index["parts"]) == 4
    names = {"index.json", "other.txt", "state"} | {part["file"] for part in index["parts"]}
    assert {path.name for path in folder.iterdir()} == names
    assert all((folder / part["file"]).stat().st_size <= 2**20 + 200 for part in index["parts"])
    assert len(frames) == 75


def test_videos_that_changed_after_planning_are_refused(tmp_path, videos):
    share = [s for s in list_sources(videos, "videos") if share_of(s.id, 2) == 0]
    digest = sources_digest({source.id: content_hash(source) for source in share})
    names = [[*source.row(str(videos)), content_hash(source), ""] for source in share]
    planned = tmp_path / "planned.json"
    planned.write_text(json.dumps({"digest": digest, "videos": names}))
    later = next(name for name in "abcdef" if share_of(name, 2) == 0)  # nobody looks for others
    shutil.copy(share[0].path, videos / f"{later}.mp4")
    code, _, path = decode(tmp_path, videos, 0, "--sources", planned)
    (videos / f"{later}.mp4").unlink()
    assert code == 0
    index, _ = read_frame_cache(path)
    assert [video["id"] for video in index["videos"] + index["rejected"]] == [s.id for s in share]
    planned.write_text(json.dumps({"digest": "0" * 64, "videos": names}))
    code, terminal, _ = decode(tmp_path, videos, 0, "--sources", planned)
    assert code == 2
    assert len(terminal.splitlines()) == 1 and "videos changed" in terminal


def test_planned_videos_are_neither_listed_nor_hashed(tmp_path, videos, monkeypatch):
    """Unless somebody wrote to one since: it is hashed again, and equal content is decoded."""
    root = shutil.copytree(videos, tmp_path / "videos")
    listed = list_sources(root, "videos")
    hashes = {source.id: content_hash(source) for source in listed}
    names = [[*s.row(str(root)), hashes[s.id], source_state(s)]
             for s in listed]  # fmt: skip
    planned = tmp_path / "planned.json"
    planned.write_text(json.dumps({"digest": sources_digest(hashes), "videos": names}))
    os.utime(listed[2].path, (1e9, 1e9))
    read = []
    monkeypatch.setattr(stage, "list_sources", lambda *_: pytest.fail("the folder was listed"))
    monkeypatch.setattr(
        stage, "content_hash", lambda source, _: read.append(source.id) or content_hash(source)
    )
    values = read_json(settings(tmp_path, root, decode_jobs=1))
    folder = tmp_path / "frames"
    arguments = argparse.Namespace(
        share=0, sources=planned, videos_index=None, index=folder / "index.json",
        state=folder / "state", code=None,
    )  # fmt: skip
    assert stage.run(arguments, read_settings(values))["frames"] == 75
    assert read == [listed[2].id]
    index, _ = read_frame_cache(folder / "index.json")
    assert {video["id"]: video["sha256"] for video in index["videos"]} == hashes


def decoded(folder, root, monkeypatch, **values):
    """Decode in this process; returns the index and the ids of the videos that were decoded."""
    read = []
    handled = stage.Decoding
    monkeypatch.setattr(
        stage, "Decoding", lambda source, *o: read.append(source.id) or handled(source, *o)
    )
    arguments = argparse.Namespace(
        share=0, sources=None, videos_index=None, index=folder / "index.json",
        state=folder / "state", code=None,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    stage.run(arguments, read_settings(read_json(settings(folder, root, decode_jobs=1, **values))))
    monkeypatch.undo()
    return read_frame_cache(folder / "index.json"), sorted(read)


def test_job_decodes_again_only_the_shares_that_changed(tmp_path, videos, monkeypatch):
    root, folder = shutil.copytree(videos, tmp_path / "videos"), tmp_path / "frames"
    (one, frames), read = decoded(tmp_path / "one", root, monkeypatch)
    assert len(read) == 6
    (index, shared), read = decoded(folder, root, monkeypatch, decode_shares=3)
    assert len(read) == 6
    assert len(index["parts"]) == len({share_within(name, 3) for name in read})
    for video in one["videos"]:
        (same,) = (other for other in index["videos"] if other["id"] == video["id"])
        rows = np.arange(video["frames"])
        expected = frames.frames(rows + video["offset"])
        assert np.array_equal(shared.frames(rows + same["offset"]), expected)
    shutil.copy(root / "class 0/v 0.avi", root / "new.avi")
    for journal in (folder / "state").glob("*.journal.json"):
        journal.unlink()  # as the workflow does when its call ends
    (again, _), read = decoded(folder, root, monkeypatch, decode_shares=3)
    mine = [v["id"] for v in again["videos"] if share_within(v["id"], 3) == share_within("new", 3)]
    assert read == sorted(mine) and 0 < len(mine) < 7
    whole, _ = decoded(tmp_path / "whole", root, monkeypatch, decode_shares=3)
    assert again == whole[0]
    for journal in (folder / "state").glob("*.journal.json"):
        journal.unlink()
    assert len(decoded(folder, root, monkeypatch, decode_shares=3)[1]) == 7  # it was forced


def test_killed_job_keeps_its_finished_shares(tmp_path, videos, monkeypatch):
    """A journal shows that a run was under way: all shares are there, the job's index is not."""
    folder = tmp_path / "frames"
    (index, _), _ = decoded(folder, videos, monkeypatch, decode_shares=3)
    (folder / "index.json").unlink()
    again, read = decoded(folder, videos, monkeypatch, decode_shares=3)
    assert (again[0], read) == (index, [])


@pytest.mark.parametrize("kind", ["videos", "frames"])
def test_planned_videos_are_those_that_listing_finds(tmp_path, videos, kind):
    for number in (1, 2, 10):
        path = tmp_path / f"images/a clip/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    root = videos if kind == "videos" else tmp_path / "images"
    listed = list_sources(root, kind)
    assert listed
    rows = [[*source.row(str(root)), "hash", "state"] for source in listed]
    assert not any(str(root) in json.dumps(row) for row in rows)
    assert list(below(str(root), rows)) == [(source, ("hash", "state")) for source in listed]


@pytest.mark.parametrize(("name", "words"), [("gone", "no folder"), ("empty", "no video in it")])
def test_missing_and_empty_folders_are_one_line(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    code, terminal, index = decode(tmp_path, tmp_path / name, 0)
    assert code == 2
    assert len(terminal.splitlines()) == 1
    assert words in terminal and name in terminal
    assert not index.exists()


def test_share_without_videos(tmp_path, videos):
    code, _, path = decode(tmp_path, videos, 50, decode_jobs=51)
    index, frames = read_frame_cache(path)
    assert code == 0
    assert len(frames) == len(index["videos"]) == len(index["parts"]) == 0


def test_generated_set_lies_beside_its_index(tmp_path, videos):
    (videos / "index.json").write_text("{}")
    more = ["--videos-index", videos / "index.json"]
    code, _, path = decode(tmp_path, None, 0, *more, source="generated", decode_jobs=1)
    assert code == 0
    assert len(read_frame_cache(path)[0]["videos"]) == 6


def test_interrupted_run_leaves_no_index(tmp_path, videos):
    killer = tmp_path / "killer"
    killer.write_text(f'#!/bin/sh\n[ "$1" = -version ] && exec {imageio_ffmpeg.get_ffmpeg_exe()}'
                      ' -version\nkill -9 $$\n')  # fmt: skip
    killer.chmod(0o755)
    code, terminal, path = decode(tmp_path, videos, 0, decode_jobs=1, ffmpeg=str(killer))
    assert code == 2
    assert any("ffmpeg was killed" in line for line in terminal.splitlines())
    assert list(path.parent.glob("*")) == []


def test_decoding_loads_no_torch():
    code = "import sys, rsvp.stages.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
