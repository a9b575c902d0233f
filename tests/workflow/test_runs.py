"""Real runs of the data stages on small videos: what is made, what is rejected."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import session
from tiny import write_config

from rsvp.data.videos import write_video

INDEX = "datasets/tiny/index.json"
CONFIG = {
    "datasets": {
        "tiny": {
            "path": "videos",
            "resolution": 32,
            "clip_frames": 6,
            "context_frames": 2,
            "clip_stride": 6,
            "decode_jobs": 3,
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


@pytest.mark.parametrize("flags", [[], ["-n"]], ids=["run", "dry"])
def test_second_call_does_nothing_and_loads_nothing_heavy(moved, flags):
    """benchmarks/second_call.py measures how quick that is."""
    for package in ("torch", "scipy", "lightning_fabric"):
        # Found before the real one, since it lies where snakemake starts.
        (moved.folder / f"{package}.py").write_text(f"raise SystemExit('{package} was loaded')\n")
    answer = moved.snakemake(*flags)
    assert answer.code == 0, answer.text
    assert "Nothing to be done" in answer.text


def test_bad_files_are_named_and_the_rest_goes_on(project):
    write_config(project, CONFIG)
    videos = project.folder / "videos"
    make_videos(videos)
    (videos / "class0/text_g20.avi").write_text("this is no video\n")
    (videos / "class0/empty_g21.mp4").write_bytes(b"")
    write_noise(videos / "class1/short_g22.mp4", frames=3)
    for name in ("class0/b.txt", "class1/a.TXT", "README", ".hidden"):
        (videos / name).write_text("of no video\n")
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    for name in ("text_g20", "empty_g21", "short_g22"):
        lines = [line for line in answer.errors if name in line]
        assert len(lines) == 1, answer.text
    assert "Traceback" not in answer.text
    rejected = (project.folder / "results/datasets/tiny/rejected.csv").read_text().splitlines()
    assert len(rejected) == 1 + 3 + 2
    unused = "no video and no part of one: not used"
    assert f"*.txt,class0/b.txt,{unused}; 2 .txt files in all" in rejected
    assert f"*,README,{unused}; 1 files without a suffix in all" in rejected
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


def test_frames_and_states_lie_in_the_scratch_folder(project, tmp_path):
    write_config(project, CONFIG | {"scratch": str(tmp_path / "large disk")})
    make_videos(project.folder / "videos")
    assert project.snakemake(INDEX).code == 0
    frames = project.folder / "results/datasets/tiny/frames/0"
    state = project.folder / "results/predictors/rsvp-m/seed0/state"
    (folder,) = (tmp_path / "large disk").iterdir()
    assert frames.resolve() == folder / "datasets/tiny/frames/0"
    assert list(frames.glob("frames-*.safetensors"))
    assert state.resolve() == folder / "predictors/rsvp-m/seed0/state" and state.is_dir()
    assert "Nothing to be done" in project.snakemake(INDEX).text
    shutil.rmtree(folder)
    answer = project.snakemake(INDEX, "--forcerun", "decode")
    assert answer.code == 0 and answer.rules == {"decode": 3, "split": 1}, answer.text
    assert list(frames.glob("frames-*.safetensors"))


def test_a_link_into_another_scratch_folder_is_refused(tmp_path, monkeypatch, capsys):
    """A copied project would write into what belongs to the original."""
    monkeypatch.chdir(tmp_path)
    known = {"frames/0": SimpleNamespace(stage="decode", folder="frames/0")}
    Path("frames").mkdir()
    Path("frames/0").symlink_to(tmp_path / "a/frames/0")
    with pytest.raises(SystemExit):
        session.use_scratch(SimpleNamespace(scratch=str(tmp_path / "b"), known=known))
    assert f"leads to {tmp_path}/a/frames/0, not into {tmp_path}/b" in capsys.readouterr().err
    session.use_scratch(SimpleNamespace(scratch=str(tmp_path / "a"), known=known))
    assert Path("frames/0").is_dir()
