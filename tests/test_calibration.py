"""Seconds become steps: the timed parts of a training, and how many steps fit."""

import json
import time
from argparse import Namespace
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from rsvp.config.load import load
from rsvp.config.stages import read_settings, stage_settings
from rsvp.runtime.journal import StateKey
from rsvp.stages import (
    cache_latents,
    finetune_autoencoder,
    pretrain_autoencoder,
    train_diffusion,
)
from rsvp.training import calibration
from rsvp.training.calibration import Timing, planned_steps, steps_within, time_training
from rsvp.training.processes import Processes
from tests import squares

CPU = torch.device("cpu")


class Clock:
    """Seconds that pass only when something is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.steps = 0.0, 0
        clock = SimpleNamespace(perf_counter=lambda: self.now, process_time=lambda: 0.0)
        monkeypatch.setattr(calibration, "time", clock)

    def step(self, seconds):
        """A training step that takes `seconds(number)`."""

        def step(number):
            self.steps += 1
            self.now += seconds(number)

        return step

    def validate(self):
        self.now += 3.0


def test_median_leaves_out_what_a_busy_machine_and_the_first_steps_add(monkeypatch):
    clock = Clock(monkeypatch)
    step = clock.step(lambda n: 50.0 if n in (0, 1, 2) else 0.2 + 2.0 * (n % 5 == 0))
    timing = time_training(step, clock.validate, CPU, Processes())
    assert timing.step == timing.fast == pytest.approx(0.2)
    assert timing.slow == pytest.approx(2.2)
    assert timing.timed_steps == clock.steps - 3 == calibration.MOST
    assert timing.start == pytest.approx(150.0 - 3 * 0.2)  # as compilation takes


def test_waiting_for_the_device_is_part_of_a_step(monkeypatch):
    clock = Clock(monkeypatch)

    def synchronize(device):
        clock.now += 0.25

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    timing = time_training(
        clock.step(lambda n: 0.5), clock.validate, torch.device("cuda"), Processes()
    )
    assert timing.step == pytest.approx(0.75)
    assert timing.validation == pytest.approx(3.25)


def test_slow_steps_are_timed_a_few_times_only(monkeypatch):
    clock = Clock(monkeypatch)
    timing = time_training(clock.step(lambda n: 100.0), clock.validate, CPU, Processes())
    assert replace(timing, cpu_step=0.0, cpu_validation=0.0) == Timing(
        100.0, 100.0, 100.0, 3.0, calibration.LEAST
    )


def test_processor_seconds_of_steps_and_validations(monkeypatch):
    """Counted over all threads; sleeping takes none, and steps that are not timed do not count."""
    monkeypatch.setattr(calibration, "MOST", 5)
    monkeypatch.setattr(calibration, "TRIAL_STEPS", calibration.WARM_UP + 5)

    def burn(seconds):
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    def step(number):
        worker = Thread(target=burn, args=(0.2 if number < calibration.WARM_UP else 0.02,))
        worker.start()
        worker.join()
        time.sleep(0.02)

    timing = time_training(step, lambda: burn(0.05), CPU, Processes())
    assert timing.cpu_step == pytest.approx(0.02, rel=0.3)
    assert timing.cpu_validation == pytest.approx(0.05, rel=0.3)


@pytest.mark.parametrize("every", [None, 1, 25])
@pytest.mark.parametrize("start", [0.0, 15.0])
@pytest.mark.parametrize("seconds", [20.0, 100.0, 3600.0])
def test_the_start_steps_and_their_validations_fill_the_seconds(seconds, start, every):
    timing = Timing(step=0.3, fast=0.2, slow=0.4, validation=2.0, timed_steps=20, start=start)

    def spent(steps):
        return start + steps * 0.3 + 2.0 * (1 + (steps / every if every else 0))

    steps = steps_within(seconds, timing, every)
    assert spent(steps) <= seconds < spent(steps + 1)


def test_there_is_a_step_at_least_and_an_end():
    assert steps_within(0.1, Timing(1.0, 1.0, 1.0, 5.0, 5), 10) == 1
    assert steps_within(1e9, Timing(1e-4, 1e-4, 1e-4, 0.0, 5), None) == calibration.MOST_STEPS


def calibrated(folder, clock, seconds, stateful=None, step=None, code="code"):
    """Calibrate steps of two seconds."""
    step = step or clock.step(lambda n: 2.0)
    steps, entry = planned_steps(
        7,
        seconds,
        folder,
        StateKey(code, "work"),
        stateful or {},
        lambda number, rate, batch: step(batch),
        lambda number: number,
        clock.validate,
        10,
        Fabric(accelerator="cpu", devices=1),
        Processes(),
    )
    assert steps == entry["calibration"]["steps"]
    return entry["calibration"]


def test_steps_are_the_configs_without_seconds(tmp_path):
    assert planned_steps(7, None, tmp_path / "state", *[None] * 8) == (7, {})
    assert not list(tmp_path.iterdir())


def test_too_few_seconds_are_said(tmp_path, monkeypatch, caplog):
    assert calibrated(tmp_path, Clock(monkeypatch), 4.0)["steps"] == 1
    assert "4 seconds are less than one step and a validation take (5 s)" in caplog.text


def test_spread_of_the_steps_is_said(tmp_path, monkeypatch, caplog):
    clock = Clock(monkeypatch)
    found = calibrated(tmp_path, clock, 50.0, step=clock.step(lambda n: 2.0 + (n % 2)))
    assert (found["timing"]["fast"], found["timing"]["slow"]) == (2.0, 3.0)
    assert "a step takes 3 s (2 to 3 s: 10 % and 90 % quantiles of 13)" in caplog.text


def test_steps_are_found_once_for_a_key_and_its_seconds(tmp_path, monkeypatch):
    """A resumed run, also on a slower machine, has the steps of the first one; so has a branch that
    is taken up again."""
    clock = Clock(monkeypatch)
    first = calibrated(tmp_path, clock, 50.0)
    made = clock.steps
    assert made > 0
    slower = clock.step(lambda n: 5.0)
    assert calibrated(tmp_path, clock, 50.0, step=slower) == first and clock.steps == made
    for other in ({"seconds": 100.0}, {"seconds": 50.0, "code": "other"}):
        assert calibrated(tmp_path, clock, step=slower, **other) != first
    assert calibrated(tmp_path, clock, 50.0, step=slower) == first
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"] * 3


def test_what_is_trained_and_random_numbers_are_left_as_they_were(tmp_path, monkeypatch):
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)

    def step(number):
        loss = network(torch.randn(4, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for trained in (False, True):
        if trained:
            step(0)
        stateful = {"network": network, "optimizer": optimizer}
        before = json.dumps(plain([item.state_dict() for item in stateful.values()]))
        random = torch.random.get_rng_state()
        calibrated(tmp_path / str(trained), Clock(monkeypatch), 50.0, stateful, step)
        assert json.dumps(plain([item.state_dict() for item in stateful.values()])) == before
        assert torch.equal(torch.random.get_rng_state(), random)


def plain(value):
    """Tensors as lists."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


CONTEXT, FUTURE, SIZE = 2, 6, 32
SPLITS = ["train"] * 6 + ["validation"] * 2


def run(stage, folder, budget, name="a", **files):
    """Run a stage as its rule does; return its folder and its record."""
    dataset = {"path": "videos", "resolution": SIZE, "clip_frames": CONTEXT + FUTURE}
    training = budget | {"batch_size": 2}
    pretrain = training | {"target_frames": 3}
    finetune = pretrain | {"validate_every": 2, "discriminator_width": 8, "augment": "ada"}
    autoencoder = {"dataset": "d", "width": 16, "pretrain": pretrain, "finetune": finetune}
    predictor = {"autoencoder": "a"} | training
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
    given |= {"weights": home / "weights.safetensors", "history": home / "history.csv"} | files
    settings = read_settings(stage_settings(config, stage_name, name))
    return home, stage.run(Namespace(**given, shares=[], watched=()), settings)


def test_seconds_that_are_calibrated_to_steps_train_as_those_steps(tmp_path, monkeypatch):
    """Weights and states are equal, bit for bit."""
    for name in ("WARM_UP", "LEAST", "MOST"):
        monkeypatch.setattr(calibration, name, 1)
    monkeypatch.setattr(calibration, "TRIAL_STEPS", 2)
    monkeypatch.setattr(calibration, "steps_within", lambda *_: 3)
    dataset = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)
    files, names = {"dataset": dataset}, {train_diffusion: "p"}
    stages = (pretrain_autoencoder, finetune_autoencoder, cache_latents, train_diffusion)
    for stage in stages:
        found = {}
        for kind, budget in (("steps", {"steps": 3}), ("seconds", {"seconds": 30.0})):
            if stage is cache_latents and kind == "seconds":
                continue
            name = names.get(stage, "a")
            home, record = run(stage, tmp_path / kind, budget, name, **files)
            if stage is cache_latents:
                files = {"latents": home / "index.json"}
                continue
            states = max((home / "state").glob("state-*"))
            found[kind] = load_file(home / "weights.safetensors"), load_file(states)
            assert record["steps"] == 3 and ("calibration" in record) == (kind == "seconds")
            if kind == "seconds":
                assert record["calibration"]["seconds"] == 30.0
                assert record["calibration"]["timing"]["validation"] > 0
        for mine, other in zip(*found.values(), strict=True) if found else ():
            assert mine.keys() == other.keys()
            for name, tensor in mine.items():
                assert torch.equal(tensor, other[name]), (stage, name)
        if stage is pretrain_autoencoder:
            files |= {"pretrained": tmp_path / "steps/pretrain_autoencoder/index.json"}
        if stage is finetune_autoencoder:
            files = {"dataset": dataset, "autoencoder": home.parents[1] /
                     "steps/finetune_autoencoder/index.json"}  # fmt: skip
