"""The installed package: the workflow runs from it in a folder that holds a config alone."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from projects import PARTS, ROOT
from tiny import CONFIG, moving_squares, write_lossless

SHAPES = {
    "source": "generated",
    "generated": {"train_videos": 4, "validation_videos": 2, "test_videos": 2, "frames": 8,
                  "held_out_frames": 8},
    "path": None,
    "split": {"kind": "folders"},
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder that holds what pip would install; nothing is written there."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps",
               "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def rsvp(site, tmp_path) -> Callable[..., str]:
    """Runs the installed command in the folder `mine`, and returns what it prints."""
    (tmp_path / "mine").mkdir()
    before = files_of(site)

    def call(*arguments: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-m", "rsvp.commands.main", *arguments],
            cwd=tmp_path / "mine",
            env=os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
        )
        assert answer.returncode == 0, answer.stdout
        return answer.stdout

    yield call
    assert files_of(site) == before


def files_of(folder: Path) -> set[str]:
    """The paths of all files below a folder, without compiled modules."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def test_the_wheel_holds_the_package_and_the_workflow(site):
    expected = {f"rsvp/{name}" for name in files_of(ROOT / "rsvp")}
    for part in set(PARTS) - {"rsvp"}:
        names = {f"{part}/{name}" for name in files_of(ROOT / part)} or {part}
        expected |= {f"rsvp/pipeline/{name}" for name in names}
    found = files_of(site)
    assert {name for name in found if ".dist-info/" not in name} == expected
    for name in expected:
        source = ROOT / (name.removeprefix("rsvp/pipeline/") if "/pipeline/" in name else name)
        assert (site / name).read_bytes() == source.read_bytes(), name


def generated() -> dict:
    """The tiny config on generated videos."""
    tiny = CONFIG["datasets"]["tiny"]
    return CONFIG | {"schema": 2, "datasets": {"tiny": tiny | SHAPES}}


def test_a_wheel_runs_the_pipeline_in_a_folder_with_a_config(rsvp, tmp_path):
    folder = tmp_path / "mine"
    (folder / "mine.yaml").write_text(yaml.safe_dump(generated()))
    rsvp("run", "--configfile", "mine.yaml")
    assert (folder / "results/report/report.html").exists()
    bundle = folder / "results/predictors/rsvp-m/seed0/bundle"
    write_lossless(folder / "a.avi", moving_squares(1))
    made = rsvp("predict", "a.avi", "--predictor", str(bundle), "--out", "out")
    assert "out/a.mp4" in made and (folder / "out/a.mp4").exists()
    assert "Nothing to be done" in rsvp("why", "--configfile", "mine.yaml")
    assert "Nothing is orphaned" in rsvp("orphans", "--configfile", "mine.yaml")


@pytest.mark.soak
def test_the_demo_runs_from_a_wheel_in_an_empty_folder(rsvp, site, tmp_path):
    rsvp("run", "--configfile", str(site / "rsvp/pipeline/config.yaml"))
    table = pd.read_csv(tmp_path / "mine/results/report/tables/results.csv")
    crps = table[table["metric"] == "crps"].groupby("row")["value"].min()
    assert crps["rsvp-m"] < crps.drop(["rsvp-m", "rsvp.reconstruction"]).min()
