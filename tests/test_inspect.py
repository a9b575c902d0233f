"""`rsvp inspect`: what it says of videos whose faults are known, and the config that it writes."""

import argparse
import os
import re
import shutil
import time

import numpy as np
import pytest
import webdataset
import yaml
from PIL import Image
from plan import Plan
from tiny import write_lossless

from rsvp.commands.inspect import run
from rsvp.config.schema import Generated
from rsvp.data.generated import generate_video
from rsvp.data.sources import Source, list_sources
from rsvp.data.suggestion import best_shape, suggested
from rsvp.data.survey import Header, Look, read_headers
from rsvp.runtime.errors import UserError
from tests.test_decoding import ffmpeg, picture
from tests.test_formats import lerobot, moving, mp4_bytes


def inspect(path, **options):
    """Run the command in this process."""
    given = {"config": None, "deep": False, "sample": 32, "source": None, "camera": None,
             "axes": None} | options  # fmt: skip
    run(argparse.Namespace(path=path, **given))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Eight films, of which some are damaged, short, copied, shown twice or cut."""
    folder = tmp_path_factory.mktemp("films")
    made = [generate_video(Generated(), (64, 64), seed, 30).frames for seed in range(6)]
    for number, frames in enumerate(made[:3]):
        write_lossless(folder / f"plain{number}.mkv", frames)
    shutil.copy(folder / "plain0.mkv", folder / "copy.mkv")
    ffmpeg("-i", folder / "plain1.mkv", "-vf", "scale=96:96,fps=15", "-c:v", "libx264",
           "-pix_fmt", "yuv420p", folder / "smaller.mp4")  # fmt: skip
    write_lossless(folder / "twice.mkv", made[3].repeat(2, axis=0))
    write_lossless(folder / "cut.mkv", np.concatenate([made[4] // 3, 255 - made[5] // 3]))
    write_lossless(folder / "short.mkv", made[5][:7])
    (folder / "broken.mp4").write_bytes(b"no video")
    for name in ("notes.txt", "labels.csv", "more.TXT", ".hidden.doc"):
        (folder / name).write_text("no video")
    return folder


def test_faults_that_were_made_are_found(films, capsys):
    inspect(films, deep=True)
    said = capsys.readouterr().out
    for line in (
        "not used: .txt (2), .csv (1)", "9 videos, ",
        "64x64        7", "96x96        1", "  25        7", "  15        1",
        "cannot be used: 1", "broken: cannot be opened as a video",
        "equal files: 2 videos in 1 group", "  copy = plain0",
        "nearly equal: 2 videos in 1 group", "  plain1 = smaller",
        "in 1 video", "cuts from shot to shot: 1, in 1 video",
        "too short for a clip of 16 frames: 1", "  short: 7 frames",
        "skip_repeated: true", "cut_shots: true",
    ):  # fmt: skip
        assert line in said, said
    assert f"frames equal to the one before: {30 / 265:.1%}" in said


def test_videos_of_a_stated_sample_are_decoded_and_deep_says_how_long_the_others_take(
    films, capsys
):
    inspect(films, sample=3)
    assert "3 of 9 videos decoded" in capsys.readouterr().out
    inspect(films, sample=3, deep=True)
    said = capsys.readouterr().out
    assert "decoding the other 5 videos takes about" in said and "8 of 9 videos decoded" in said


def planned(config, monkeypatch):
    """The plan of a config, as snakemake makes it, and its one dataset."""
    monkeypatch.chdir(config.parent)
    plan = Plan(yaml.safe_load(config.read_text()), str(config.parent))
    assert {"decode", "split", "report"} <= {job.stage for job in plan.jobs}
    (dataset,) = plan.config.datasets.values()
    return dataset


def grey_arrays(folder):
    """Videos (8, 30, 48, 48) of floats in one file."""
    clips = [
        generate_video(Generated(), (48, 48), seed, 30).frames.mean(axis=-1) for seed in range(8)
    ]
    np.save(folder / "clips.npy", np.stack(clips).astype(np.float32) / 255)
    return folder / "clips.npy"


def phone_films(folder):
    """Films of 16:9 that lie or stand, at rates of their own."""
    (folder / "phone").mkdir()
    for number, rate in enumerate((29, 30, 30, 30, 24)):
        film = picture(folder / "film.mov", size="320x180", rate=rate, seconds=3 + number / 9)
        turn = ["-display_rotation", "90"] if number == 1 else []
        ffmpeg(*turn, "-i", film, "-c", "copy", "-f", "mov", folder / f"phone/IMG_{number}.MOV")
    return folder / "phone"


def robot(folder):
    """Episodes of LeRobot v3.0, all in one file."""
    return lerobot(folder / "robot", "v3.0", lengths=(40, 45, 50))


def test_files_that_are_taken_out_of_an_archive_are_looked_at(tmp_path, capsys):
    with webdataset.TarWriter(str(tmp_path / "0.tar")) as writer:
        for number in range(3):
            frames = generate_video(Generated(), (32, 32), number, 20).frames
            writer.write({"__key__": f"film{number}", "mp4": mp4_bytes(frames)})
    inspect(tmp_path / "0.tar")
    said = capsys.readouterr().out
    assert "3 of 3 videos decoded, 60 frames" in said and "split: {kind: groups}" in said


def test_moving_mnist_is_looked_at(tmp_path, monkeypatch):
    """Its training videos are made, by keys of a dataset."""
    (tmp_path / "digits").mkdir()
    np.save(tmp_path / "digits/mnist_test_seq.npy", moving(6, 20).swapaxes(0, 1))
    head = bytes([0, 0, 8, 3]) + np.array([1, 28, 28], ">i4").tobytes()
    (tmp_path / "digits/train-images-idx3-ubyte").write_bytes(head + bytes(range(196)) * 4)
    inspect(tmp_path / "digits", config=tmp_path / "mine.yaml")
    dataset = planned(tmp_path / "mine.yaml", monkeypatch)
    assert (dataset.source, dataset.channels) == ("moving_mnist", "gray")
    assert dataset.split.kind == "folders"


def test_folders_with_gaps_are_split_by_the_config(tmp_path, monkeypatch, capsys):
    for video in range(6):
        (tmp_path / f"cars/{video}").mkdir(parents=True)
        frames = generate_video(Generated(), (64, 64), video, 60).frames
        for number, frame in enumerate(frames):
            if number != 30:
                Image.fromarray(frame).save(tmp_path / f"cars/{video}/{number}.png")
    inspect(tmp_path / "cars", config=tmp_path / "mine.yaml")
    said = capsys.readouterr().out
    assert "frame numbers are missing in 6 folders; gaps: split" in said and "12 videos" in said
    assert planned(tmp_path / "mine.yaml", monkeypatch).gaps == "split"


def test_videos_that_a_crop_cuts_apart_are_counted(tmp_path, capsys):
    """Those that players turn, too."""
    inspect(phone_films(tmp_path))
    said = capsys.readouterr().out
    assert "crop leaves less than half of the picture of 1 of the decoded videos" in said


def test_shape_is_that_of_videos_as_players_turn_them(tmp_path, monkeypatch):
    """Upright films of a phone are stored lying, and headers do not tell."""
    (tmp_path / "phone").mkdir()
    film = picture(tmp_path / "film.mov", size="320x180", rate=30, seconds=3)
    for number in range(8):
        ffmpeg("-display_rotation", "90", "-i", film, "-c", "copy", "-metadata",
               f"title={number}", "-f", "mov", tmp_path / f"phone/IMG_{number}.MOV")  # fmt: skip
    inspect(tmp_path / "phone", config=tmp_path / "mine.yaml", sample=2)
    assert planned(tmp_path / "mine.yaml", monkeypatch).resolution == [80, 48]


SETS = {"arrays": grey_arrays, "videos": phone_films, "lerobot": robot}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("arrays", {"clip_frames": 30, "context_frames": 10, "frame_stride": 1,
                    "channels": "gray", "resolution": 64}),
        ("videos", {"clip_frames": 16, "context_frames": 4, "target_fps": 12.0,
                    "channels": "rgb", "resolution": [48, 80]}),
        ("lerobot", {"clip_frames": 16, "context_frames": 4, "frame_stride": 1}),
    ],
)  # fmt: skip
def test_config_fits_and_is_planned_without_an_edit(tmp_path, monkeypatch, kind, expected):
    inspect(SETS[kind](tmp_path), config=tmp_path / "mine.yaml")
    dataset = planned(tmp_path / "mine.yaml", monkeypatch)
    assert dataset.source == kind
    assert {key: getattr(dataset, key) for key in expected} == expected


def test_range_fits_arrays_of_numbers(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    clips = np.stack(
        [generate_video(Generated(), (48, 48), n, 20).frames[..., 0] for n in range(6)]
    )
    np.save(tmp_path / "clips.npy", 4.0 + 0.1 * (clips + rng.normal(0, 0.1, clips.shape)))
    inspect(tmp_path / "clips.npy", config=tmp_path / "mine.yaml")
    dataset = planned(tmp_path / "mine.yaml", monkeypatch)
    assert dataset.range == ["0.1%", "99.9%"]
    said = capsys.readouterr().out
    found = re.search("values: most lie between (.*) and (.*)\n", said)
    expected = 4.0 + 0.1 * np.percentile(clips, [0.1, 99.9])
    assert np.array(found.groups(), float) == pytest.approx(expected, abs=0.1)
    assert "6 of 6 videos decoded, 120 frames" in said


def test_results_lie_outside_of_the_videos(films, tmp_path, monkeypatch):
    shutil.copytree(films, tmp_path / "films")
    monkeypatch.chdir(tmp_path / "films")
    inspect(tmp_path / "films", config=tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path / "films")
    plan = Plan(yaml.safe_load((tmp_path / "mine.yaml").read_text()), os.getcwd())
    assert plan.results == str(tmp_path / "films-results")


def test_what_cannot_be_done_is_one_line(films, tmp_path):
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(UserError, match=r"mine\.yaml is there already"):
        inspect(films, config=tmp_path / "mine.yaml")
    with pytest.raises(UserError, match=r"^--axes: 'Q' is not possible; allowed: letters of"):
        inspect(films, axes="Q")
    with pytest.raises(UserError, match="--sample: 0; allowed: 1 or more"):
        inspect(films, sample=0)
    (tmp_path / "one").mkdir()
    shutil.copy(films / "short.mkv", tmp_path / "one")
    with pytest.raises(UserError, match="too few or too short to be divided"):
        inspect(tmp_path / "one", config=tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [(1.0, (64, 64)), (16 / 9, (48, 80)), (9 / 16, (80, 48)), (4 / 3, (48, 64)), (2.4, (48, 112))],
)
def test_shapes_keep_aspect_and_pixels(aspect, shape):
    assert best_shape(aspect) == shape
    height, width = shape
    assert abs(np.log(width / height / aspect)) < 0.1 and 0.7 < height * width / 64**2 < 1.4


def headers_of(names, frames=100, fps=25.0):
    """Headers of videos that are not there."""
    return [Header(Source(name, f"{name}.avi"), frames, fps, 64, 64) for name in names]


@pytest.mark.parametrize(
    ("names", "split"),
    [
        ([f"{side}/v{n}" for side in ("train", "val", "test") for n in range(3)],
         {"kind": "folders"}),
        ([f"a/person{n:02d}_{k}" for n in range(5) for k in "xyz"],
         {"kind": "groups", "group_pattern": r"person(\d+)"}),
        ([f"v{n}" for n in range(9)], {"kind": "groups"}),
        (["long"], {"kind": "time", "gap_seconds": 2.0}),
    ],
)  # fmt: skip
def test_split_is_the_first_that_fits(names, split):
    headers = headers_of(names, frames=1000 if names == ["long"] else 100)
    looks = [Look(headers[0].source, changes=np.ones(100, np.float32))]
    assert suggested(headers, looks, "videos")["split"] == split


def test_clips_fit_nine_of_ten_videos_and_the_rest_may_be_rejected():
    headers = headers_of([f"v{n}" for n in range(20)], frames=40)
    headers[3] = Header(headers[3].source, 9, 25.0, 64, 64)
    headers[4] = Header(headers[4].source, reason="an empty file (0 bytes)")
    looks = [Look(header.source, changes=np.ones(40, np.float32)) for header in headers[:3]]
    keys = suggested(headers, looks, "videos")
    assert (keys["clip_frames"], keys["frame_stride"]) == (16, 2)
    assert 0.1 < keys["max_rejected_fraction"] < 0.2


@pytest.mark.soak
def test_ten_thousand_headers_take_less_than_a_minute(tmp_path):
    path = picture(tmp_path / "a.mp4", size="320x240", seconds=5)
    for number in range(10_000):
        os.link(path, tmp_path / f"{number}.mp4")
    began = time.monotonic()
    headers = read_headers(list_sources(tmp_path, "videos"))
    assert len(headers) == 10_001 and not any(header.reason for header in headers)
    assert time.monotonic() - began < 60


def test_folders_of_images_are_compared_by_content(tmp_path, capsys):
    for name, colour in (("a", 10), ("b", 10), ("c", 90)):
        for number in range(20):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (64, 64), (colour + number, 0, 0)).save(
                tmp_path / name / f"{number}.png"
            )
    inspect(tmp_path)
    said = capsys.readouterr().out
    assert "equal files: 2 videos in 1 group" in said and "  a = b" in said
