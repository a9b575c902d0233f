"""Seconds become steps: what is timed, and how many steps fit."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric

from rsvp.config.load import load
from rsvp.config.stages import read_settings, stage_settings
from rsvp.runtime.files import read_json
from rsvp.stages import (
    cache_latents,
    calibrate_diffusion,
    calibrate_finetuning,
    calibrate_pretraining,
    pretrain_autoencoder,
)
from rsvp.training import calibration
from rsvp.training.calibration import Timing, calibrate, steps_within, time_training
from tests import squares


class Clock:
    """Seconds that pass only when something is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: self.now))


class Steps:
    """A training whose step, wait for data and validation take known seconds."""

    validate_every = 10

    def __init__(self, clock: Clock, seconds, wait: float = 0.0) -> None:
        self.clock, self.seconds, self.wait, self.made = clock, seconds, wait, 0

    def batches(self, first):
        while True:
            self.clock.now += self.wait
            yield None

    def step(self, step, batch):
        self.clock.now += self.seconds(step)
        self.made += 1
        return {"loss": torch.zeros(())}

    def validate(self):
        self.clock.now += 3.0


def test_median_leaves_out_what_a_busy_machine_and_the_first_steps_add(monkeypatch):
    clock = Clock(monkeypatch)
    disturbed = Steps(
        clock, lambda step: 50.0 if step in (0, 1, 2) else 0.2 + 2.0 * (step % 5 == 0)
    )
    timing = time_training(disturbed, lambda: None)
    assert timing.step == pytest.approx(0.2)
    assert timing.timed_steps == disturbed.made - 3 == calibration.MOST


def test_waiting_for_data_and_for_the_device_is_part_of_a_step(monkeypatch):
    clock = Clock(monkeypatch)

    def finish():
        clock.now += 0.25

    timing = time_training(Steps(clock, lambda step: 0.5, wait=0.125), finish)
    assert timing.step == pytest.approx(0.875)
    assert timing.validation == pytest.approx(3.25)


def test_slow_steps_are_timed_a_few_times_only(monkeypatch):
    timing = time_training(Steps(Clock(monkeypatch), lambda step: 100.0), lambda: None)
    assert timing == Timing(100.0, 3.0, calibration.LEAST)


@pytest.mark.parametrize("every", [None, 1, 25])
@pytest.mark.parametrize("seconds", [20.0, 100.0, 3600.0])
def test_steps_and_their_validations_fill_the_seconds(seconds, every):
    timing = Timing(step=0.3, validation=2.0, timed_steps=20)

    def spent(steps):
        return steps * 0.3 + 2.0 * (1 + (steps / every if every else 0))

    steps = steps_within(seconds, timing, every)
    assert spent(steps) <= seconds < spent(steps + 1)


def test_there_is_a_step_at_least_and_an_end():
    assert steps_within(0.1, Timing(1.0, 5.0, 5), 10) == 1
    assert steps_within(1e9, Timing(1e-4, 0.0, 5), None) == calibration.MOST_STEPS


def test_too_few_seconds_are_said(monkeypatch, caplog):
    fabric = Fabric(accelerator="cpu", devices=1)
    found = calibrate(Steps(Clock(monkeypatch), lambda step: 2.0), fabric, 4.0)
    assert found["steps"] == 1
    assert "4 seconds are less than one step and a validation take (5 s)" in caplog.text


CONTEXT, FUTURE, SIZE = 2, 6, 32
SPLITS = ["train"] * 6 + ["validation"] * 2
BUDGET = {"seconds": 30.0, "batch_size": 2, "target_frames": 3}


def run(stage, folder, name="a", **files):
    """Run a stage as its rule does; returns its index and its record."""
    dataset = {"path": "videos", "resolution": SIZE, "clip_frames": CONTEXT + FUTURE}
    finetune = BUDGET | {"validate_every": 5, "discriminator_width": 8}
    autoencoder = {"dataset": "d", "width": 16, "pretrain": BUDGET, "finetune": finetune}
    predictor = {"autoencoder": "a", "seconds": 30.0, "batch_size": 2}
    predictor |= {"denoiser": {"width": 32, "depth": 1, "heads": 2, "frames_per_token": 2}}
    config = load({
        "datasets": {"d": dataset | {"context_frames": CONTEXT}},
        "autoencoders": {"a": autoencoder},
        "predictors": {"p": predictor},
        "compute": {"device": "cpu", "threads": 1},
        "report": {"predictors": ["p"]},
    })  # fmt: skip
    stage_name = stage.__name__.removeprefix("rsvp.stages.")
    home = folder / stage_name
    given = {"code": None, "state": home / "state", "index": home / "index.json"}
    given |= {"weights": home / "weights.safetensors", "history": home / "history.csv"}
    given |= {"calibration": home / "index.json"} | files
    settings = read_settings(stage_settings(config, stage_name, name))
    record = stage.run(Namespace(**given), settings)
    return home / "index.json", record


def test_each_training_is_calibrated_and_takes_its_steps(tmp_path, monkeypatch):
    for name in ("WARM_UP", "LEAST", "MOST"):
        monkeypatch.setattr(calibration, name, 1)
    for stage in (calibrate_pretraining, calibrate_finetuning, calibrate_diffusion):
        monkeypatch.setattr(stage, "TRIAL_STEPS", 2)
    monkeypatch.setattr(calibration, "TRIAL_STEPS", 2)
    dataset = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)
    found, record = run(calibrate_pretraining, tmp_path, dataset=dataset)
    values = read_json(found)
    assert values["seconds"] == 30.0 and values["device"] == "cpu" and values["threads"] == 1
    assert record == {"device": "cpu", "calibration": values}
    # Two steps are enough for a test.
    found.write_text(found.read_text().replace(f'"steps": {values["steps"]}', '"steps": 2'))
    pretrained, record = run(pretrain_autoencoder, tmp_path, dataset=dataset, calibration=found)
    assert record["steps"] == 2 and record["calibration"]["steps"] == 2
    found, _ = run(calibrate_finetuning, tmp_path, dataset=dataset, pretrained=pretrained)
    assert read_json(found)["validate_every"] == 5
    assert read_json(found)["seconds_per_validation"] > 0
    latents, _ = run(cache_latents, tmp_path, dataset=dataset, autoencoder=pretrained)
    found, _ = run(calibrate_diffusion, tmp_path, name="p", latents=latents)
    assert read_json(found)["steps"] > 1
