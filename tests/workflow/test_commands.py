"""`make why` and `make orphans` on a finished project."""

import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from projects import Project
from snakemake.io import IOFile
from snakemake.persistence.file import FilePersistence
from tiny import CONFIG, moving_squares, write_config, write_lossless

from rsvp.data.sources import share_of

TRAINED = "predictors/rsvp-m/seed0"
PREDICTED = "predictions/rsvp-m/seed0"
NEVER = "train_diffusion rsvp-m seed 0: never run"


def append(project: Project, path: str) -> None:
    """Change a source file."""
    with open(project.folder / path, "a", encoding="utf-8") as stream:
        stream.write("NEW = 1\n")


def changed_config(**predictor: object) -> dict:
    """CONFIG with other values of its predictor."""
    values = yaml.safe_load(yaml.safe_dump(CONFIG))
    values["predictors"]["rsvp-m"] |= predictor
    return values


def record(project: Project, folder: str) -> dict:
    """A stage's run record."""
    return json.loads((project.folder / "results" / folder / "run.json").read_text())


def test_why_says_that_all_is_current(moved):
    answer = moved.tool("why")
    assert (answer.code, answer.text) == (0, "Nothing to be done: all results are current.\n")


def test_why_names_the_file_that_changed(moved):
    append(moved, "rsvp/metrics/scoring.py")
    lines = moved.tool("why").text.splitlines()
    assert "evaluate rsvp-m seed 0: code changed: rsvp/metrics/scoring.py" in lines
    assert re.search(r"^report: because evaluate .* and \d more run again$", lines[-1])


def test_why_names_settings_videos_and_stages(moved):
    values = changed_config(learning_rate=0.0001)
    values["predictors"]["b"] = values["predictors"]["rsvp-m"]
    values["report"]["predictors"].append("b")
    write_config(moved, values)
    added = "squares/v_g90_c01"
    write_lossless(moved.folder / f"videos/{added}.mkv", moving_squares(90))
    # A file of the last seconds may still be written to, so its hash would not be kept.
    hour_ago = time.time() - 3600
    os.utime(moved.folder / f"videos/{added}.mkv", (hour_ago, hour_ago))
    lines = moved.tool("why").text.splitlines()
    job = f"decode tiny share {share_of(added, 2)}"
    for line in (
        f"{job}: a video was added: {added}",
        f"split tiny: because {job} runs again",
        "train_diffusion rsvp-m seed 0: setting predictor.learning_rate: 0.001 -> 0.0001;"
        " because cache_latents rsvp seed 0 runs again",
        "train_diffusion b seed 0: never run",
    ):
        assert line in lines, "\n".join(lines)
    # Nor does the next call hash the other share's videos again.
    kept = json.loads((moved.folder / "results/.hashes/tiny.json").read_text())
    assert len(kept) == len(list(moved.folder.glob("videos/*/*")))


def test_stage_whose_snakemake_died_at_its_very_end_finds_its_work_done(moved, monkeypatch):
    """Killed when the run record stood, but before Snakemake noted that."""
    results = moved.folder / "results"
    index, frames = (
        results / PREDICTED / "index.json",
        results / PREDICTED / "frames-00000.safetensors",
    )
    assert moved.snakemake("--forcerun", f"{PREDICTED}/index.json").code == 0
    before, journal = index.read_bytes(), results / PREDICTED / "state/frames.journal.json"
    assert journal.exists()
    written = frames.stat().st_mtime_ns
    monkeypatch.chdir(results)
    store = FilePersistence(path=Path(".snakemake").absolute())
    for name in ("index.json", "run.json"):
        store.cleanup_metadata(IOFile(f"{PREDICTED}/{name}"))
        store._mark_incomplete(f"{PREDICTED}/{name}", None)
    answer = moved.snakemake(f"{PREDICTED}/index.json")
    assert answer.code == 0, answer.text
    assert answer.rules == {"predict": 1}
    assert (index.read_bytes(), frames.stat().st_mtime_ns) == (before, written)
    # Now it is noted, and the journal goes: --forcerun would do all the work again.
    assert journal.exists()
    moved.snakemake("-n")
    assert not journal.exists()


def files(folder: Path) -> set[str]:
    """All files and links below the results folder but Snakemake's own, and hashes of videos.

    Those of young videos are not kept, since a file may change twice within a clock's tick.
    """
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and not {".snakemake", ".hashes"} & set(path.parts)
    }


def without_row(project: Project) -> None:
    """Replace the predictor by one of another name on the same autoencoder."""
    values = changed_config()
    values["predictors"] = {"b": values["predictors"]["rsvp-m"]}
    values["report"]["predictors"] = ["b"]
    write_config(project, values)


def test_orphans_are_listed(moved):
    without_row(moved)
    results = moved.folder / "results"
    aside = "autoencoders/rsvp/seed0/pretrained/state/aside-ab-state-000000001.safetensors"
    (results / aside).write_text("x" * 1500)
    before = files(results)
    listed = moved.tool("orphans")
    assert listed.code == 0, listed.text
    for folder in (TRAINED, PREDICTED, "evaluation/rsvp-m/seed0", "settings"):
        assert re.search(rf"^ +[\d.]+ k?M?B  {folder}$", listed.text, re.MULTILINE), listed.text
    assert "   1.5 kB  autoencoders/rsvp/seed0/pretrained  (states set aside" in listed.text
    assert "another one may use the same results folder" in listed.text
    assert files(results) == before


def test_orphans_want_the_whole_plan(moved):
    answer = moved.tool("orphans", "datasets/tiny/index.json")
    assert answer.code == 2
    assert "name no targets" in answer.errors[0]


@pytest.mark.parametrize("tool", ["why", "orphans"])
def test_bad_config_is_one_line(project, tool):
    project.edit("config.yaml", "resolution: 64", "resolution: 65")
    answer = project.tool(tool)
    assert answer.code == 2
    assert "datasets.shapes.resolution" in answer.errors[0]
    assert "Traceback" not in answer.text
