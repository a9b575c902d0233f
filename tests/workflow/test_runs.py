"""Real runs of the data stages on small videos: what is made, what reruns, what is rejected."""

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from projects import Project, copy_project

from rsvp.data.sources import share_of
from rsvp.data.videos import write_video

JOBS = 3
INDEX = "datasets/tiny/index.json"
CONFIG = {
    "datasets": {
        "tiny": {
            "path": "videos",
            "resolution": 32,
            "clip_frames": 6,
            "context_frames": 2,
            "clip_stride": 6,
            "decode_jobs": JOBS,
            "max_rejected_fraction": 0.5,
        }
    },
    "autoencoders": {"rsvp": {"dataset": "tiny"}},
    "predictors": {"rsvp-m": {"autoencoder": "rsvp"}},
    "report": {"predictors": ["rsvp-m"]},
}


def write_noise(path: Path, frames: int = 12, seed: int = 0) -> None:
    """A small video of noise."""
    rng = np.random.default_rng(seed)
    write_video(path, rng.integers(0, 256, (frames, 32, 48, 3), dtype=np.uint8), 25)


def make_videos(folder: Path, count: int = 8) -> None:
    """Videos of `count` groups in two classes."""
    for number in range(count):
        write_noise(folder / f"class{number % 2}/v_g{number:02d}_c01.mp4", seed=number)


def write_config(project: Project, config: dict) -> None:
    """Replace the project's config.yaml."""
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project whose small dataset is decoded and split."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    write_config(project, CONFIG)
    make_videos(project.folder / "videos")
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert answer.rules == {"settings": 2, "decode": JOBS, "split": 1}
    return project


@pytest.fixture
def moved(finished, tmp_path) -> Project:
    """The finished project, copied elsewhere with its videos and results."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Project(folder)


def set_value(*path_and_value: object):
    """An edit that sets one value in config.yaml."""

    def edit(project: Project) -> None:
        config = yaml.safe_load((project.folder / "config.yaml").read_text())
        *sections, key, value = path_and_value
        section = config
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
        write_config(project, config)

    return edit


def append(path: str, text: str):
    """An edit that adds lines to a source file."""

    def edit(project: Project) -> None:
        with open(project.folder / path, "a", encoding="utf-8") as stream:
            stream.write(text)

    return edit


def touch_everything(project: Project) -> None:
    """Give every file of the project another time, newest first."""
    files = [path for path in sorted(project.folder.rglob("*")) if path.is_file()]
    for age, path in enumerate(files):
        moment = path.stat().st_mtime - 1000 - age
        os.utime(path, (moment, moment))


def add_video(project: Project) -> None:
    write_noise(project.folder / "videos/class0/v_g90_c01.mp4", seed=90)


def replace_video(project: Project) -> None:
    write_noise(project.folder / "videos/class1/v_g01_c01.mp4", seed=91)


def decode_of(video: str) -> str:
    """The message of the job that decodes a video."""
    return f"Decode share {share_of(video, JOBS)} of tiny"


ALL = [f"Decode share {share} of tiny" for share in range(JOBS)]
SPLIT = "Split tiny and cut clips"
CHANGES = {
    "nothing": (lambda project: None, []),
    "times of all files": (touch_everything, []),
    "a comment in the config": (append("config.yaml", "# a comment\n"), []),
    "a comment in the code": (append("rsvp/data/decoding.py", "# a comment\n"), []),
    "a template of the report": (append("rsvp/reporting/page.css", "p { margin: 0 }\n"), []),
    "the predictor's learning rate": (
        set_value("predictors", "rsvp-m", "learning_rate", 1e-4),
        [],
    ),
    "the decoder's code": (append("rsvp/data/decoding.py", "NEW = 1\n"), [*ALL, SPLIT]),
    "the code of split": (append("rsvp/split.py", "NEW = 1\n"), [SPLIT]),
    "the stride between clips": (
        set_value("datasets", "tiny", "clip_stride", 3),
        ["Settings of split for tiny", SPLIT],
    ),
    "the filter of the resize": (
        set_value("datasets", "tiny", "resize", "area"),
        [*ALL, "Settings of decode for tiny", "Settings of split for tiny", SPLIT],
    ),
    "a new video": (add_video, [decode_of("class0/v_g90_c01"), SPLIT]),
    "a video's content": (replace_video, [decode_of("class1/v_g01_c01"), SPLIT]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_stale_after(moved, change):
    edit, expected = CHANGES[change]
    edit(moved)
    answer = moved.snakemake("-n", INDEX)
    assert answer.code == 0, answer.text
    assert answer.jobs == sorted(expected), answer.text


@pytest.mark.parametrize("flags", [[], ["-n"]], ids=["run", "dry"])
def test_second_call_does_nothing_and_is_quick(moved, flags):
    """In seconds of this process's CPU, so that a busy machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = moved.snakemake(*flags, INDEX)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.code == 0
    assert "Nothing to be done" in answer.text
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0


def test_bad_files_are_named_and_the_rest_goes_on(project):
    write_config(project, CONFIG)
    videos = project.folder / "videos"
    make_videos(videos)
    (videos / "class0/text_g20.avi").write_text("this is no video\n")
    (videos / "class0/empty_g21.mp4").write_bytes(b"")
    write_noise(videos / "class1/short_g22.mp4", frames=3)
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    for name in ("text_g20", "empty_g21", "short_g22"):
        lines = [line for line in answer.errors if name in line]
        assert len(lines) == 1, answer.text
    assert "Traceback" not in answer.text
    rejected = (project.folder / "results/datasets/tiny/rejected.csv").read_text()
    assert len(rejected.splitlines()) == 1 + 3
    clips = (project.folder / "results/datasets/tiny/clips.csv").read_text()
    assert len(clips.splitlines()) == 1 + 8 * 2  # twelve frames hold two clips of six


def test_too_many_bad_files_stop_the_run_with_one_line_at_the_end(project):
    set_low = CONFIG["datasets"]["tiny"] | {"max_rejected_fraction": 0.1}
    write_config(project, CONFIG | {"datasets": {"tiny": set_low}})
    make_videos(project.folder / "videos")
    for number in range(3):
        (project.folder / f"videos/class0/text_g{number}.avi").write_text("no video\n")
    answer = project.snakemake(INDEX)
    assert answer.code != 0
    assert answer.errors[-1].startswith("rsvp split: "), answer.text
    assert "max_rejected_fraction" in answer.errors[-1]
    assert "Traceback" not in answer.text
