"""The installed package: the workflow runs from it in a folder that holds a config alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from tiny import CONFIG, moving_squares, write_lossless

ROOT = Path(__file__).parents[2]
SHAPES = {
    "source": "generated",
    "generated": {"train_videos": 4, "validation_videos": 2, "test_videos": 2, "frames": 8,
                  "held_out_frames": 8},
    "path": None,
    "split": {"kind": "folders"},
}  # fmt: skip


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder that holds what pip would install."""
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps",
               "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path)]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_a_wheel_runs_the_pipeline_in_a_folder_with_a_config(site, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    tiny = CONFIG["datasets"]["tiny"]
    config = CONFIG | {"schema": 2, "datasets": {"tiny": tiny | SHAPES}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    before = sorted(site.rglob("*"))

    def rsvp(*arguments: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-m", "rsvp.commands.main", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert answer.returncode == 0, answer.stdout
        return answer.stdout

    rsvp("run", "--configfile", "mine.yaml")
    assert (folder / "results/report/report.html").exists()
    bundle = folder / "results/predictors/rsvp-m/seed0/bundle"
    write_lossless(folder / "a.avi", moving_squares(1))
    made = rsvp("predict", "a.avi", "--predictor", str(bundle), "--out", "out")
    assert "out/a.mp4" in made and (folder / "out/a.mp4").exists()
    assert "Nothing to be done" in rsvp("why", "--configfile", "mine.yaml")
    assert "Nothing is orphaned" in rsvp("orphans", "--configfile", "mine.yaml")
    assert sorted(site.rglob("*")) == before
