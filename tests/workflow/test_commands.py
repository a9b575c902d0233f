"""`make why` and `make orphans` on a finished project."""

import json
import os
import re
import time

import pytest
import yaml
from in_process import run_jobs
from projects import Project
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
    assert re.search(r"^report: .*because evaluate .* and \d more run again$", lines[-1])


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
    kept = json.loads((moved.folder / "results/.snakemake/rsvp/hashes/tiny.json").read_text())
    assert len(kept) == len(list(moved.folder.glob("videos/*/*")))


def test_a_finished_stage_keeps_its_journal_until_the_call_of_snakemake_ends(moved, monkeypatch):
    """A Snakemake that dies before finds the work done; --forcerun later does it again."""
    index = f"{PREDICTED}/index.json"
    force = ["--forcerun", index, "--", index]
    journal = moved.folder / "results" / PREDICTED / "state/frames.journal.json"
    frames = moved.folder / "results" / PREDICTED / "frames-00000.safetensors"
    run_jobs(moved, monkeypatch, *force)
    assert journal.exists()
    written = frames.stat().st_mtime_ns
    answer = moved.snakemake(*force)
    assert (answer.code, answer.rules) == (0, {"predict": 1}), answer.text
    assert frames.stat().st_mtime_ns == written
    assert not journal.exists()
    run_jobs(moved, monkeypatch, *force)
    assert frames.stat().st_mtime_ns > written


def test_orphans_are_listed(moved):
    values = changed_config()
    values["predictors"] = {"b": values["predictors"]["rsvp-m"]}
    values["report"]["predictors"] = ["b"]
    write_config(moved, values)
    listed = moved.tool("orphans")
    assert listed.code == 0, listed.text
    for folder in (TRAINED, PREDICTED, "evaluation/rsvp-m/seed0"):
        assert re.search(rf"^ +[\d.]+ k?M?B  {folder}$", listed.text, re.MULTILINE), listed.text
    assert "another one may use the same results folder" in listed.text
    assert len(listed.text.splitlines()) == 1 + 3 + 1


def test_nothing_is_orphaned(moved):
    assert "Nothing is orphaned" in moved.tool("orphans").text


@pytest.mark.parametrize("tool", ["why", "orphans"])
def test_bad_config_is_one_line(project, tool):
    project.edit("config.yaml", "resolution: 64", "resolution: 65")
    answer = project.tool(tool)
    assert answer.code == 2
    assert "datasets.shapes.resolution" in answer.errors[0]
    assert "Traceback" not in answer.text
