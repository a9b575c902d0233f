"""Ctrl-C, orphans, full disks, losses that are no numbers; more steps, and other starts."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from kills import VARYING, Run, progress, saved
from projects import Project
from safetensors.numpy import load_file, save_file
from tiny import CONFIG, moving_squares, write_lossless

PREDICTOR = "predictors/rsvp-m/seed0"
INDEX = f"{PREDICTOR}/index.json"
PRETRAINED = "autoencoders/rsvp/seed0/pretrained"
FINETUNED = "autoencoders/rsvp/seed0/finetuned"
LATENTS = "autoencoders/rsvp/seed0/latents"
SHORT = CONFIG["predictors"]["rsvp-m"]["steps"]
LONG = 40


def change(project: Project, finetune: dict | None = None, **values) -> None:
    """Set values of the predictor, and of the fine-tuning, in config.yaml."""
    path = project.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["autoencoders"]["rsvp"]["finetune"] |= finetune or {}
    config["predictors"]["rsvp-m"] |= values
    path.write_text(yaml.safe_dump(config))


def until(run: Run, stage: str, step: int) -> None:
    """Wait until a stage's bar shows `step` or more."""
    deadline = time.monotonic() + 300
    while not any(done >= step for done, _ in progress(run.text, stage)):
        assert run.process.poll() is None and time.monotonic() < deadline, run.text
        time.sleep(0.05)


def record(project: Project) -> dict:
    return json.loads((project.folder / "results" / PREDICTOR / "run.json").read_text())


def test_ctrl_c_saves_and_the_same_command_continues_with_more_steps(moved):
    change(moved, steps=LONG)
    run = Run(moved, 6.0, (INDEX,))
    until(run, "train_diffusion", SHORT + 5)
    reached = progress(run.text, "train_diffusion")[-1][0]
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait() != 0
    assert "Traceback" not in run.text
    # The finished run's steps were continued, and the step that ran at Ctrl-C was saved.
    assert progress(run.text, "train_diffusion")[0] == (SHORT, LONG)
    assert reached <= saved(moved, "train_diffusion")[0] <= reached + 3
    answer = moved.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert answer.rules == {"train_diffusion": 1}
    assert progress(answer.text, "train_diffusion")[0][0] >= reached
    assert record(moved)["steps"] == LONG
    assert record(moved)["plans"] == [[0, SHORT], [SHORT, LONG]]


def test_trainer_whose_snakemake_died_is_taken_over(moved):
    change(moved, steps=LONG)
    run = Run(moved, 30.0, (INDEX,))  # longer than a start on a busy machine
    until(run, "train_diffusion", SHORT + 2)
    (orphan,) = run.processes("train_diffusion")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    assert run.processes("train_diffusion") == [orphan]
    answer = moved.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert f"process {orphan} of an earlier run still works" in answer.text
    assert "Traceback" not in answer.text
    assert progress(answer.text, "train_diffusion")[0][0] > SHORT
    assert run.processes("train_diffusion") == []
    assert record(moved)["steps"] == LONG


def test_second_run_on_the_same_results_is_refused_with_the_first_ones_number(moved):
    change(moved, steps=LONG)
    run = Run(moved, 12.0, (INDEX,))
    until(run, "train_diffusion", SHORT + 1)
    answer = moved.snakemake(INDEX)
    assert answer.code == 2
    assert f"another snakemake (process {run.process.pid}) works in this" in answer.errors[-1]
    assert run.process.poll() is None
    os.killpg(run.process.pid, signal.SIGKILL)
    run.wait()


def test_state_of_another_config_is_set_aside_with_the_reason(moved):
    change(moved, learning_rate=1e-4)
    answer = moved.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert "is of other settings or inputs; set aside" in answer.text
    assert record(moved)["plans"] == [[0, SHORT]]


def refused_number(answer) -> str:
    """The line by which a training says that a loss or a weight is no number."""
    assert answer.code != 0 and "Traceback" not in answer.text
    line = answer.errors[-1]
    assert line.startswith("rsvp train_diffusion: "), answer.text
    assert "not finite" in line or " is nan at step" in line
    return line


def test_loss_that_is_no_number_spoils_no_state_and_the_run_can_go_on(moved):
    """More steps on latents that are spoilt on disk, which only the loss can tell."""
    results = moved.folder / "results"
    shard = next((results / LATENTS).glob("train-*.safetensors"))
    whole, spoilt = shard.read_bytes(), load_file(shard)
    save_file({name: np.full_like(value, np.nan) for name, value in spoilt.items()}, shard)
    (good,) = (results / PREDICTOR / "state").glob("state-*.safetensors")
    before = good.read_bytes()
    change(moved, steps=LONG)
    line = refused_number(moved.snakemake(INDEX))
    assert f"the state after {SHORT} steps is kept in {PREDICTOR}/state; lower" in line
    assert good.read_bytes() == before
    shard.write_bytes(whole)
    answer = moved.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert progress(answer.text, "train_diffusion")[0] == (SHORT, LONG)
    assert record(moved)["steps"] == LONG


def test_loss_that_is_no_number_before_the_first_state_says_so(moved):
    change(moved, steps=LONG, learning_rate=1e9)
    line = refused_number(moved.snakemake(INDEX))
    assert "no state was saved yet" in line
    assert not list((moved.folder / "results" / PREDICTOR / "state").glob("state-*"))


def test_fine_tuning_that_diverges_goes_back_to_its_best_weights(moved):
    change(moved, finetune={"learning_rate": 1e9, "steps": 12, "validate_every": 6})
    target = FINETUNED + "/index.json"
    answer = moved.snakemake(target)
    assert answer.code == 0, answer.text
    assert "went back to the best weights, of step 0" in answer.text
    results = moved.folder / "results"
    assert json.loads((results / target).read_text())["stopped_by"] == "diverged"
    kept, start = (load_file(results / f / "weights.safetensors") for f in (FINETUNED, PRETRAINED))
    assert all((kept[key] == start[key]).all() for key in start)


def test_training_starts_from_a_finished_predictor(moved):
    """A learning rate of next to nothing leaves it where it started."""
    results = moved.folder / "results"
    shutil.copytree(results / PREDICTOR, moved.folder / "old")
    shutil.rmtree(moved.folder / "old/state")
    change(moved, init_from="old", learning_rate=1e-12, weight_decay=0.0, ema_decay=0.0)
    answer = moved.snakemake(INDEX)
    assert answer.code == 0, answer.text
    assert answer.rules["train_diffusion"] == 1
    old, new = (
        load_file(path / "weights.safetensors")
        for path in (moved.folder / "old", results / PREDICTOR)
    )
    assert all(abs(new[key] - old[key]).max() < 1e-6 for key in old)
    index = moved.folder / "old/index.json"
    index.write_text(index.read_text() + "\n")
    assert moved.snakemake("-n", INDEX).rules["train_diffusion"] == 1  # another start
    change(moved, denoiser={"width": 64, "depth": 1, "heads": 2})
    answer = moved.snakemake(INDEX)
    assert (
        "predictors.rsvp-m.init_from: ../old is built otherwise: width 32 instead of 64"
        in answer.errors[-1]
    )
    index.unlink()
    answer = moved.snakemake("-n", INDEX)
    assert answer.code == 2 and "predictors.rsvp-m.init_from: no file" in answer.errors[0]


def test_autoencoder_starts_from_a_finished_one_on_other_data(moved):
    """A learning rate of next to nothing leaves it where it started, whatever it is shown."""
    results = moved.folder / "results"
    shutil.copytree(results / FINETUNED, moved.folder / "old")
    for number in range(12):
        frames = moving_squares(100 + number)[:, :, ::-1]
        write_lossless(moved.folder / f"others/mirrored/v_g{number:02d}_c01.mkv", frames)
    path = moved.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["datasets"]["other"] = config["datasets"]["tiny"] | {"path": "others"}
    config["autoencoders"]["rsvp"] |= {"dataset": "other", "init_from": "old"}
    config["autoencoders"]["rsvp"]["pretrain"] |= {"learning_rate": 1e-12, "weight_decay": 0.0}
    path.write_text(yaml.safe_dump(config))
    target = f"{PRETRAINED}/index.json"
    answer = moved.snakemake(target)
    assert answer.code == 0, answer.text
    assert answer.rules["decode"] == 2 and answer.rules["pretrain_autoencoder"] == 1
    assert "is of other settings or inputs; set aside" in answer.text
    old, new = (
        load_file(folder / "weights.safetensors")
        for folder in (moved.folder / "old", results / PRETRAINED)
    )
    assert old.keys() == new.keys()
    assert all(abs(new[key] - old[key]).max() < 1e-6 for key in old)
    settings = json.loads((results / PRETRAINED / "run.json").read_text())["settings"]
    assert settings["autoencoder"]["dataset"] == "other"


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of four megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("what", ["frames", "state"])
def test_full_disk_is_one_line_and_costs_nothing_that_stood(moved, small_disk, what):
    place = {"frames": "datasets/tiny/frames/0", "state": f"{PREDICTOR}/state"}[what]
    target = {"frames": "datasets/tiny/frames/0/index.json", "state": INDEX}[what]
    folder = moved.folder / "results" / place
    change(moved, steps=LONG)
    if what == "state":
        undisturbed = Project(shutil.copytree(moved.folder, moved.folder.with_name("undisturbed")))
        assert undisturbed.snakemake(target).code == 0
    shutil.copytree(folder, small_disk / "there")
    shutil.rmtree(folder)
    folder.symlink_to(small_disk / "there")
    before = content(folder)
    if what == "frames":
        (folder / "index.json").unlink()
        shutil.rmtree(folder / "state", ignore_errors=True)  # or all would be there to go on from
    else:
        # TensorBoard's files have room, so that what fails is the state itself.
        board = moved.folder / "tensorboard"
        shutil.move(small_disk / "there/tensorboard", board)
        (folder / "tensorboard").symlink_to(board)
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"0" * (free.f_bavail * free.f_bsize - 8192))
    answer = moved.snakemake(target)
    assert answer.code != 0
    assert sum("no room on the disk" in line for line in answer.errors) >= 1, answer.text
    assert "Traceback" not in answer.text
    assert content(folder).items() <= before.items()
    (small_disk / "filler").unlink()
    answer = moved.snakemake(target)
    assert answer.code == 0, answer.text
    if what == "frames":
        assert content(folder) == before
    else:
        assert record(moved)["steps"] == LONG
        weights = f"results/{PREDICTOR}/weights.safetensors"
        found, expected = ((p.folder / weights).read_bytes() for p in (moved, undisturbed))
        assert found == expected


def content(folder) -> dict[str, bytes]:
    """The files of a folder and what is in them, but for logs and what is hidden."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    return {path.name: path.read_bytes() for path in files if path.name not in VARYING}


def test_history_is_whole_after_more_steps(moved):
    change(moved, steps=LONG)
    assert moved.snakemake(INDEX).code == 0
    history = pd.read_csv(moved.folder / "results" / PREDICTOR / "history.csv")
    assert history["step"].is_monotonic_increasing and history["step"].iloc[-1] == LONG
