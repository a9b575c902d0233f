"""Budgets in seconds: calibrated once, kept, and gone on from when there is more to spend."""

import copy
import json
import shutil

from in_process import run_jobs
from projects import Project
from tiny import CONFIG, write_config

from rsvp.training import calibration
from rsvp.training.calibration import Timing

PRETRAINED = "autoencoders/rsvp/seed0/pretrained"
INDEX = f"{PRETRAINED}/index.json"
PRETRAIN = "Pretrain the autoencoder rsvp (seed 0)"


def with_pretraining(**budget: float) -> dict:
    """Return CONFIG with another budget of pretraining."""
    config = copy.deepcopy(CONFIG)
    pretrain = config["autoencoders"]["rsvp"]["pretrain"]
    del pretrain["steps"]
    pretrain |= budget
    return config


def record(project: Project) -> dict:
    return json.loads((project.folder / "results" / PRETRAINED / "run.json").read_text())


def test_calibration_is_kept_and_more_seconds_continue_the_run(moved, planned, monkeypatch, caplog):
    state = moved.folder / "results" / PRETRAINED / "state"
    shutil.rmtree(state)
    write_config(moved, with_pretraining(seconds=1))
    log = moved.folder / "calibration.log"
    answer = moved.snakemake(INDEX, guard_log=log)
    assert answer.code == 0, answer.text
    assert "a step takes" in answer.text and "steps in 1 s" in answer.text
    watched = log.read_text(encoding="utf-8").splitlines()
    assert "watched by -m rsvp.stages.pretrain_autoencoder" in watched
    assert [line for line in watched if not line.startswith("watched by ")] == []
    made = record(moved)
    found = made["calibration"]
    assert found["seconds"] == 1.0 and found["device"] == "cpu"
    assert made["steps"] == found["steps"] >= 1
    (kept,) = state.glob("calibration-*.json")
    assert json.loads(kept.read_text()) == found
    assert "pretrain_autoencoder" not in {job.stage for job in planned(moved)}
    # More seconds, by a clock that is as busy as the machine was.
    longer = Timing(10 / (found["steps"] + 20), 0.0, 0.0, 0.0, 5)
    monkeypatch.setattr(calibration, "time_training", lambda *_: longer)
    write_config(moved, with_pretraining(seconds=10))
    assert run_jobs(moved, monkeypatch, INDEX) == [PRETRAIN]
    assert "a step takes" in caplog.text
    steps = record(moved)["calibration"]["steps"]
    assert record(moved)["steps"] == steps > found["steps"]
    assert record(moved)["plans"] == [[0, found["steps"]], [found["steps"], steps]]
    # Steps in place of seconds are the same training, planned otherwise.
    caplog.clear()
    write_config(moved, with_pretraining(steps=steps + 1))
    assert run_jobs(moved, monkeypatch, INDEX) == [PRETRAIN]
    assert "a step takes" not in caplog.text
    assert record(moved)["steps"] == steps + 1 and len(record(moved)["plans"]) == 3
    assert "calibration" not in record(moved)
