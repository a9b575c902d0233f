"""Ctrl-C, orphans, full disks, losses that are no numbers; more steps, and other starts."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from in_process import FINETUNED, LATENTS, PREDICTOR, PRETRAINED, run_jobs, train
from kills import VARYING, PausedRun, Run, progress, saved
from projects import Project
from safetensors.numpy import load_file, save_file
from tiny import CONFIG

from rsvp.runtime.errors import UserError

INDEX = f"{PREDICTOR}/index.json"
TRAIN = "Train the predictor rsvp-m (seed 0)"
SHORT = CONFIG["predictors"]["rsvp-m"]["steps"]
LONG = 40


def change(project: Project, finetune: dict | None = None, **values) -> None:
    """Set values of the predictor, and of the fine-tuning, in config.yaml."""
    path = project.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["autoencoders"]["rsvp"]["finetune"] |= finetune or {}
    config["predictors"]["rsvp-m"] |= values
    path.write_text(yaml.safe_dump(config))


def record(project: Project) -> dict:
    return json.loads((project.folder / "results" / PREDICTOR / "run.json").read_text())


def test_ctrl_c_saves_and_the_same_command_continues_with_more_steps(moved, monkeypatch, caplog):
    change(moved, steps=LONG)
    run = PausedRun(moved, targets=(INDEX,), step=SHORT + 5)
    os.killpg(run.process.pid, signal.SIGINT)
    run.release()
    assert run.wait() != 0
    assert "Traceback" not in run.text
    # The finished run's steps were continued, and the step that ran at Ctrl-C was saved.
    assert progress(run.text, "train_diffusion")[0] == (SHORT, LONG)
    left = saved(moved, "train_diffusion")[0]
    assert SHORT + 5 <= left <= SHORT + 6
    assert run_jobs(moved, monkeypatch, INDEX) == [TRAIN]
    assert f"continuing after {left} of {LONG} steps" in caplog.text
    assert record(moved)["steps"] == LONG
    assert record(moved)["plans"] == [[0, SHORT], [SHORT, LONG]]


def test_trainer_whose_snakemake_died_is_waited_for(moved):
    """It saves at its next step, whatever the interval, and the next run goes on from there."""
    change(moved, steps=LONG)
    run = PausedRun(moved, targets=(INDEX,), step=SHORT + 2)
    (orphan,) = run.processes("train_diffusion")
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    assert run.processes("train_diffusion") == [orphan]
    second = Run(moved, 0.0, (INDEX,))
    while f"waiting for process {orphan}" not in second.text:
        assert second.process.poll() is None, second.text
        time.sleep(0.05)
    run.release()
    assert second.wait() == 0, second.text
    assert "Traceback" not in second.text
    assert progress(second.text, "train_diffusion")[0][0] > SHORT
    assert run.processes("train_diffusion") == []
    assert record(moved)["steps"] == LONG


def test_second_run_on_the_same_results_is_refused_with_the_first_ones_number(moved):
    change(moved, steps=LONG)
    run = PausedRun(moved, targets=(INDEX,), step=SHORT + 1)
    answer = moved.snakemake(INDEX)
    assert answer.code == 2
    assert f"another snakemake (process {run.process.pid} on " in answer.errors[-1]
    # A plan with another config does not change what its jobs are handed.
    files = moved.folder.glob("results/.snakemake/rsvp/**/*.json")
    handed = {path: path.read_bytes() for path in files}
    other = ["--config", "predictors={rsvp-m: {learning_rate: 0.5}}"]
    planned = moved.snakemake("-n", INDEX, *other)
    assert planned.code == 0 and "train_diffusion" in planned.rules, planned.text
    assert handed
    assert [path for path, content in handed.items() if path.read_bytes() != content] == []
    assert run.process.poll() is None
    os.killpg(run.process.pid, signal.SIGKILL)
    run.wait()


def test_state_of_another_config_is_set_aside_with_the_reason(moved, monkeypatch, caplog):
    made = train(moved, "train_diffusion", monkeypatch, learning_rate=1e-4)
    assert "is of other settings or inputs; set aside" in caplog.text
    assert made["plans"] == [[0, SHORT]]


def test_loss_that_is_no_number_spoils_no_state_and_the_run_can_go_on(moved, monkeypatch):
    """More steps on latents that are spoilt on disk, which only the loss can tell."""
    results = moved.folder / "results"
    shard = next((results / LATENTS).glob("train-*.safetensors"))
    whole, spoilt = shard.read_bytes(), load_file(shard)
    save_file({name: np.full_like(value, np.nan) for name, value in spoilt.items()}, shard)
    (good,) = (results / PREDICTOR / "state").glob("state-*.safetensors")
    before = good.read_bytes()
    with pytest.raises(UserError, match=r"not finite| is nan at step") as caught:
        train(moved, "train_diffusion", monkeypatch, steps=LONG)
    assert f"the state after {SHORT} steps is kept in {PREDICTOR}/state; lower" in str(caught.value)
    assert good.read_bytes() == before
    shard.write_bytes(whole)
    made = train(moved, "train_diffusion", monkeypatch, steps=LONG)
    assert made["steps"] == LONG and made["plans"] == [[0, SHORT], [SHORT, LONG]]


def test_loss_that_is_no_number_ends_the_stage_in_one_line(moved):
    change(moved, steps=LONG, learning_rate=1e9)
    answer = moved.snakemake(INDEX)
    assert answer.code != 0 and "Traceback" not in answer.text
    line = answer.errors[-1]
    assert line.startswith("rsvp train_diffusion: "), answer.text
    assert "not finite" in line or " is nan at step" in line
    assert "no state was saved yet" in line
    assert not list((moved.folder / "results" / PREDICTOR / "state").glob("state-*"))


def test_fine_tuning_that_diverges_goes_back_to_its_best_weights(moved, monkeypatch, caplog):
    changes = {"learning_rate": 1e9, "steps": 12, "validate_every": 6}
    train(moved, "finetune_autoencoder", monkeypatch, **changes)
    assert "went back to the best weights, of step 0" in caplog.text
    results = moved.folder / "results"
    index = json.loads((results / FINETUNED / "index.json").read_text())
    assert index["stopped_by"] == "diverged"
    kept, start = (load_file(results / f / "weights.safetensors") for f in (FINETUNED, PRETRAINED))
    assert all((kept[key] == start[key]).all() for key in start)


def difference(first: Path, second: Path) -> float:
    """The largest difference between the weights in two folders."""
    old, new = (load_file(folder / "weights.safetensors") for folder in (first, second))
    assert old.keys() == new.keys()
    return max(float(abs(new[key] - old[key]).max()) for key in old)


def test_training_starts_from_a_finished_predictor(finished, tmp_path, monkeypatch):
    """A learning rate of next to nothing leaves it where it started."""
    old = tmp_path / "old"
    shutil.copytree(finished.folder / "results" / PREDICTOR, old)
    start = {"init_from": str(old), "learning_rate": 1e-12, "weight_decay": 0.0, "ema_decay": 0.0}
    train(finished, "train_diffusion", monkeypatch, tmp_path / "new", **start)
    assert difference(old, tmp_path / "new") < 1e-6
    start["denoiser"] = {"width": 64, "depth": 1, "heads": 2}
    with pytest.raises(UserError, match=r"built otherwise: width 32 instead of 64"):
        train(finished, "train_diffusion", monkeypatch, tmp_path / "other", **start)


def test_what_a_training_starts_from_counts(moved, planned):
    """By the content of its index; UserError where there is none."""
    shutil.copytree(moved.folder / "results" / PREDICTOR, moved.folder / "old")
    change(moved, init_from="old")
    why = {str(job): words for job, words in planned(moved).items()}[
        "train_diffusion rsvp-m seed 0"
    ]
    assert "added: predictors.rsvp-m.init_from" in why
    index = moved.folder / "old/index.json"
    index.unlink()
    with pytest.raises(UserError, match=r"predictors\.rsvp-m\.init_from: no file"):
        planned(moved)


def test_autoencoder_starts_from_a_finished_one_on_other_data(
    finished, tmp_path, monkeypatch, caplog
):
    """A learning rate of next to nothing leaves it where it started, whatever it is shown."""
    old = finished.folder / "results" / FINETUNED
    start = {"init_from": str(old), "learning_rate": 1e-12, "weight_decay": 0.0}
    shutil.copytree(finished.folder / "results" / PRETRAINED, tmp_path / "new")
    shutil.copytree(finished.folder / "results/datasets/tiny", tmp_path / "other")
    for shard in tmp_path.glob("other/frames/*/frames-*.safetensors"):
        save_file({name: 255 - value for name, value in load_file(shard).items()}, shard)
    other = {"dataset": tmp_path / "other/index.json"}
    train(finished, "pretrain_autoencoder", monkeypatch, tmp_path / "new", other, **start)
    assert "is of other settings or inputs; set aside" in caplog.text
    assert difference(old, tmp_path / "new") < 1e-6


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
def test_full_disk_is_one_line_and_costs_nothing_that_stood(moved, small_disk, what, monkeypatch):
    place = {"frames": "datasets/tiny/frames/0", "state": f"{PREDICTOR}/state"}[what]
    target = {"frames": "datasets/tiny/frames/0/index.json", "state": INDEX}[what]
    folder = moved.folder / "results" / place
    change(moved, steps=LONG)
    if what == "state":
        undisturbed = Project(shutil.copytree(moved.folder, moved.folder.with_name("undisturbed")))
        run_jobs(undisturbed, monkeypatch, target)
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
    run_jobs(moved, monkeypatch, target)
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


def test_history_is_whole_after_more_steps(moved, monkeypatch):
    train(moved, "train_diffusion", monkeypatch, steps=LONG)
    history = pd.read_csv(moved.folder / "results" / PREDICTOR / "history.csv")
    assert history["step"].is_monotonic_increasing and history["step"].iloc[-1] == LONG
