"""`make why`, `make accept` and `make orphans` on a finished project."""

import fcntl
import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from accept import restored_on_error
from projects import Project
from snakemake.io import IOFile
from snakemake.persistence.file import FilePersistence
from tiny import CONFIG, moving_squares, write_config, write_lossless

from rsvp.data.sources import share_of
from rsvp.runtime.errors import UserError

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


def test_accepted_results_are_current_and_training_goes_on(moved):
    append(moved, "rsvp/models/denoiser.py")
    before = record(moved, TRAINED)
    answer = moved.tool("accept", "--results", TRAINED, "--why", 'it\'s $5 "new"')
    assert answer.code == 0, answer.text
    (note,) = record(moved, TRAINED)["accepted"]
    assert note["from"] == before["code"] != note["to"]
    assert note["why"] == 'it\'s $5 "new"'
    assert note["by"] and note["when"]
    state = moved.folder / "results" / TRAINED / "state"
    assert json.loads((state / "accepted.json").read_text()) == [note]
    # Prediction runs the changed code as well, and was not named; nothing else is touched.
    jobs = moved.snakemake("-n").jobs
    assert "Predict with rsvp-m (seed 0)" in jobs
    assert not any("Train" in job or "train" in job or "latents" in job for job in jobs)
    assert moved.tool("accept", "--results", f"results/{PREDICTED}/", "--why", "same").code == 0
    assert "Nothing to be done" in moved.snakemake("-n").text
    # More steps go on from the accepted state.
    write_config(moved, changed_config(steps=5))
    answer = moved.snakemake(f"{TRAINED}/index.json")
    assert answer.code == 0, answer.text
    assert "set aside" not in answer.text
    history = (moved.folder / "results" / TRAINED / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["step", "1", "3", "5"]


def refused(project: Project, folder: str, reason: str) -> None:
    """Accepting fails in one line, and notes nothing."""
    before = record(project, PREDICTED)
    answer = project.tool("accept", "--results", folder, "--why", "same")
    assert answer.code == 2, answer.text
    assert len(answer.errors) == 1
    assert reason in answer.errors[0]
    assert record(project, PREDICTED) == before


def test_more_than_code_is_not_accepted(moved):
    refused(moved, PREDICTED, f"{PREDICTED}: is not planned to run: nothing to accept")
    append(moved, "rsvp/diffusion/samplers.py")
    refused(moved, "predictions/other/seed0", "no such result")
    frames = moved.folder / "results" / PREDICTED / "frames-00000.safetensors"
    frames.rename(frames.with_suffix(".kept"))
    refused(moved, PREDICTED, "frames-00000.safetensors: missing")
    frames.with_suffix(".kept").rename(frames)
    write_config(moved, changed_config(sampler={"steps": 3}))
    refused(moved, PREDICTED, "setting predictor.sampler.steps: 2 -> 3; only a change of code can")
    write_config(moved, changed_config(learning_rate=1e-4))
    refused(moved, PREDICTED, "train_diffusion rsvp-m seed 0 runs before it (setting predictor.le")


def test_accept_wants_results_and_a_reason(project):
    for arguments, missing in ((["--why", "x"], "RESULTS"), (["--results", "x"], "WHY")):
        answer = project.tool("accept", *arguments)
        assert answer.code == 2
        assert answer.errors == [answer.text.strip()]
        assert f"{missing}: missing" in answer.text


def test_accepting_is_undone_where_it_fails(tmp_path):
    record, new = tmp_path / "run.json", tmp_path / "state/accepted.json"
    record.write_text("before")
    new.parent.mkdir()
    with pytest.raises(UserError), restored_on_error([record, new]):
        record.write_text("after")
        new.write_text("after")
        raise UserError("snakemake --touch failed")
    assert record.read_text() == "before" and list(new.parent.iterdir()) == []


def test_results_are_made_anew_from_their_start_when_asked(moved):
    """A training goes on from no state, and what stands on it follows."""
    assert "no result of this config" in moved.tool("anew", "--results", "x/y").errors[0]
    assert "Nothing to be done" in moved.snakemake("-n").text
    answer = moved.tool("anew", "--results", TRAINED)
    assert answer.code == 0, answer.text
    assert "train_diffusion rsvp-m seed 0: asked for by make anew" in moved.tool("why").text
    jobs = moved.snakemake("-n").jobs
    assert "Train the predictor rsvp-m (seed 0)" in jobs and "Write the report" in jobs
    assert not any("autoencoder" in job or "latents" in job for job in jobs)
    before = (moved.folder / "results" / TRAINED / "weights.safetensors").read_bytes()
    log = moved.folder / "results" / TRAINED / "log.txt"
    log.write_text("")
    answer = moved.snakemake(f"{TRAINED}/index.json")
    assert answer.code == 0, answer.text
    assert "continuing after" not in log.read_text()
    assert (moved.folder / "results" / TRAINED / "weights.safetensors").read_bytes() == before
    listed = moved.tool("orphans").text
    assert re.search(rf"B  {TRAINED}  \(states set aside, put away or broken\)$", listed, re.M)
    # That was it: it is not made anew once more.
    assert not any("Train" in job for job in moved.snakemake("-n").jobs)


def test_stage_whose_snakemake_died_at_its_very_end_finds_its_work_done(moved, monkeypatch):
    """Killed when the run record stood, but before Snakemake noted that."""
    results = moved.folder / "results"
    index, frames = (
        results / PREDICTED / "index.json",
        results / PREDICTED / "frames-00000.safetensors",
    )
    assert moved.tool("anew", "--results", PREDICTED).code == 0
    assert moved.snakemake(f"{PREDICTED}/index.json").code == 0
    before, journal = index.read_bytes(), results / PREDICTED / "state/journal.json"
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


def test_orphans_are_listed_and_removed_and_nothing_else(moved, tmp_path):
    without_row(moved)
    results = moved.folder / "results"
    outside = tmp_path / "outside.safetensors"
    outside.write_text("of the user")
    (results / "notes.txt").write_text("of the user")
    (results / PREDICTED / "notes.txt").write_text("of the user")
    (results / PREDICTED / "frames-00009.safetensors").symlink_to(outside)
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
    assert moved.tool("orphans", "--remove").code == 0
    gone = before - files(results)
    assert {name for name in before if "/rsvp-m/seed0" in name} - gone == {
        f"{PREDICTED}/notes.txt",
        f"{PREDICTED}/frames-00009.safetensors",
    }
    assert gone - {aside} == {name for name in gone if "/rsvp-m/seed0" in name}
    assert outside.read_text() == "of the user"
    assert not (results / TRAINED).parent.exists()
    assert "Nothing is orphaned" in moved.tool("orphans").text
    # Nothing is remembered of them: with the row back they are made as for the first time.
    write_config(moved, CONFIG)
    assert moved.tool("why", f"{TRAINED}/index.json").text == f"{NEVER}\n"


def test_orphans_know_every_file_that_stages_leave(moved):
    """With a config of other names nothing that is there is needed."""
    dataset = {"source": "generated", "split": {"kind": "folders"}}
    other = {"datasets": {"other": dataset}, "autoencoders": {"small": {"dataset": "other"}}}
    other |= {"predictors": {"mine": {"autoencoder": "small"}}, "report": {"predictors": ["mine"]}}
    write_config(moved, other)
    answer = moved.tool("orphans", "--remove")
    assert answer.code == 0, answer.text
    kept = {name for name in files(moved.folder / "results") if "report/" not in name}
    assert kept == set()


def test_orphans_are_not_removed_while_a_run_holds_the_results(moved):
    without_row(moved)
    before = files(moved.folder / "results")
    with open(moved.folder / "results/.snakemake/rsvp.lock", "w") as stream:
        stream.write("4321\n")
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        answer = moved.tool("orphans", "--remove")
    assert answer.code == 2
    assert "another snakemake (process 4321)" in answer.errors[0]
    assert files(moved.folder / "results") == before


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
