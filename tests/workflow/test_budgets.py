"""Budgets in seconds: calibrated once, kept, and gone on from when there is more to spend."""

import copy
import json

import orphans
import pytest
from projects import GUARD_LOG, Project
from tiny import CONFIG, tiny_project, write_config

PRETRAINED = "autoencoders/rsvp/seed0/pretrained"
INDEX = f"{PRETRAINED}/index.json"
CALIBRATE = "Calibrate the pretraining of rsvp (seed 0)"
PRETRAIN = "Pretrain the autoencoder rsvp (seed 0)"
SETTINGS = "Settings of calibrate_pretraining for rsvp/seed0"


def with_seconds(**seconds: float) -> dict:
    """CONFIG with seconds in place of steps for some of pretrain, finetune and predictor."""
    config = copy.deepcopy(CONFIG)
    sections = {"predictor": config["predictors"]["rsvp-m"], **config["autoencoders"]["rsvp"]}
    for name, value in seconds.items():
        del sections[name]["steps"]
        sections[name]["seconds"] = value
    return config


@pytest.mark.parametrize(
    "seconds, rules",
    [
        ({}, set()),
        ({"predictor": 60}, {"calibrate_diffusion"}),
        (
            {"pretrain": 60, "finetune": 60, "predictor": 60},
            {"calibrate_pretraining", "calibrate_finetuning", "calibrate_diffusion"},
        ),
    ],
    ids=["none", "predictor", "all"],
)
def test_only_budgets_in_seconds_are_calibrated(tmp_path, seconds, rules):
    project = tiny_project(tmp_path / "project")
    write_config(project, with_seconds(**seconds))
    answer = project.snakemake("-n")
    assert answer.code == 0, answer.text
    assert {rule for rule in answer.rules if rule.startswith("calibrate")} == rules
    assert all(answer.rules[rule] == 1 for rule in rules)


@pytest.mark.parametrize("home", [PRETRAINED, "predictors/rsvp-m/seed0"])
def test_orphans_know_what_a_calibration_leaves(home):
    for name in ("index.json", "run.json", "log.txt", "benchmark.tsv", ".lock"):
        stage = orphans.STAGE.fullmatch(f"{home}/calibration/{name}")
        assert stage[1] == f"{home}/calibration"
        assert orphans.MADE.fullmatch(stage["name"])


def calibration(project: Project) -> dict:
    path = project.folder / "results" / PRETRAINED / "calibration/index.json"
    return json.loads(path.read_text())


def record(project: Project) -> dict:
    return json.loads((project.folder / "results" / PRETRAINED / "run.json").read_text())


def test_calibration_is_kept_and_more_seconds_continue_the_run(tmp_path):
    project = tiny_project(tmp_path / "project")
    write_config(project, with_seconds(pretrain=1))
    log = project.folder / GUARD_LOG
    answer = project.snakemake(INDEX, guard_log=log)
    assert answer.code == 0, answer.text
    watched = log.read_text(encoding="utf-8").splitlines()
    assert "watched by -m rsvp.stages.calibrate_pretraining" in watched
    assert [line for line in watched if not line.startswith("watched by ")] == []
    assert {CALIBRATE, PRETRAIN} <= set(answer.jobs)
    found, made = calibration(project), record(project)
    assert found["seconds"] == 1.0 and found["device"] == "cpu" and found["threads"] == 1
    assert made["steps"] == found["steps"] >= 1
    assert made["calibration"] == found
    assert "Nothing to be done" in project.snakemake(INDEX).text
    # What the training does not run, or only says, calibrates nothing again.
    for path in ("rsvp/models/autoencoder.py", "rsvp/training/calibration.py"):
        with open(project.folder / path, "a") as stream:
            stream.write("# a comment\n")
    for path in ("rsvp/training/denoising.py", "rsvp/stages/predict.py", "rsvp/stages/report.py"):
        with open(project.folder / path, "a") as stream:
            stream.write("NEW = 1\n")
    assert "Nothing to be done" in project.snakemake("-n", INDEX).text
    # Far more seconds, so that there are more steps however busy the machine is.
    write_config(project, with_seconds(pretrain=10))
    answer = project.snakemake("-n", INDEX)
    assert answer.jobs == sorted([SETTINGS, CALIBRATE, PRETRAIN]), answer.text
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    steps = calibration(project)["steps"]
    assert steps > found["steps"]
    assert record(project)["steps"] == steps
    assert record(project)["plans"] == [[0, found["steps"]], [found["steps"], steps]]
    # Steps in place of seconds are the same training, planned otherwise.
    config = with_seconds(pretrain=10)
    del config["autoencoders"]["rsvp"]["pretrain"]["seconds"]
    config["autoencoders"]["rsvp"]["pretrain"]["steps"] = steps + 1
    write_config(project, config)
    answer = project.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert CALIBRATE not in answer.jobs
    assert record(project)["steps"] == steps + 1 and len(record(project)["plans"]) == 3
    assert "calibration" not in record(project)
