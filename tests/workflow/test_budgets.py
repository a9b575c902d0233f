"""Budgets in seconds: calibrated once, kept, and gone on from when there is more to spend."""

import copy
import json

from projects import GUARD_LOG, Project
from tiny import CONFIG, tiny_project, write_config

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


def test_calibration_is_kept_and_more_seconds_continue_the_run(tmp_path):
    project = tiny_project(tmp_path / "project")
    write_config(project, with_pretraining(seconds=1))
    log = project.folder / GUARD_LOG
    answer = project.snakemake(INDEX, guard_log=log)
    assert answer.code == 0, answer.text
    assert "a step takes" in answer.text and "steps in 1 s" in answer.text
    watched = log.read_text(encoding="utf-8").splitlines()
    assert "watched by -m rsvp.stages.pretrain_autoencoder" in watched
    assert [line for line in watched if not line.startswith("watched by ")] == []
    made = record(project)
    found = made["calibration"]
    assert found["seconds"] == 1.0 and found["device"] == "cpu"
    assert made["steps"] == found["steps"] >= 1
    state = project.folder / "results" / PRETRAINED / "state"
    (kept,) = state.glob("calibration-*.json")
    assert json.loads(kept.read_text()) == found
    assert "Nothing to be done" in project.snakemake(INDEX).text
    # Far more seconds, so that there are more steps however busy the machine is.
    write_config(project, with_pretraining(seconds=10))
    answer = project.snakemake("-n", INDEX)
    assert answer.jobs == [PRETRAIN], answer.text
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    steps = record(project)["calibration"]["steps"]
    assert record(project)["steps"] == steps > found["steps"]
    assert record(project)["plans"] == [[0, found["steps"]], [found["steps"], steps]]
    # Steps in place of seconds are the same training, planned otherwise.
    write_config(project, with_pretraining(steps=steps + 1))
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert "a step takes" not in answer.text
    assert record(project)["steps"] == steps + 1 and len(record(project)["plans"]) == 3
    assert "calibration" not in record(project)
