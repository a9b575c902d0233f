"""Training runs that are stopped anywhere end where one that was not stopped would have."""

import itertools
import logging
import math
import os
import random
import signal
import subprocess

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from rsvp.config.schema import Compute
from rsvp.runtime.device import make_fabric
from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import SAVE_SECONDS, StateKey
from rsvp.runtime.lock import STARTER
from rsvp.runtime.random import generator
from rsvp.training import run as run_module
from rsvp.training.ema import WeightAverage
from rsvp.training.run import TrainingRun, learning_rate, set_learning_rate
from rsvp.training.state import load_part, save_part

STEPS = 25


class Killed(Exception):
    """Stands for the end of a process in the middle of a step."""


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def signals():
    """Each test leaves the signal handlers as they were."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    kept = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, kept, strict=True):
        signal.signal(number, handler)


def train(folder, clock, steps=STEPS, key="key", hook=lambda step, run: None, seconds=50.0):
    """Train a small network on random data; `hook` is called in the middle of each step."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)
    )
    average = WeightAverage(network, 0.9)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.98))
    parts = {"network": network, "average": average, "optimizer": optimizer}
    run = TrainingRun(folder, StateKey("code", key), steps, parts)
    for step in run.steps("test"):
        set_learning_rate(optimizer, learning_rate(step, steps, 1e-2, 3))
        noise = torch.randn(16, 4, generator=generator(7, step, "test"))
        loss = (network(noise) - noise[:, :2].square()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        hook(step, run)
        if run.memory.get("stopped"):
            break
        optimizer.step()
        average.update(network)
        run.memory["seen"] = run.memory.get("seen", 0) + step
        run.log(step, loss=loss)
        clock.now += seconds
    run.history.write(folder / "history.csv")
    return run, parts


def final(run, parts):
    """All that a run ends with, but the seconds."""
    tensors = {}
    layouts = {name: save_part(part, name, tensors) for name, part in parts.items()}
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history.rows]
    return tensors, (layouts["optimizer"]["param_groups"][0]["lr"], rows, run.memory, run.done)


def assert_same(found, expected):
    (tensors, values), (other_tensors, other_values) = final(*found), final(*expected)
    assert values == other_values
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name


@pytest.fixture
def whole(tmp_path, clock):
    """The run that nothing stopped."""
    return train(tmp_path / "whole", clock)


@pytest.mark.parametrize("seed", range(4))
def test_killed_runs_end_as_the_one_that_was_not(tmp_path, clock, whole, seed):
    """Four kills in the middle of random steps; a state was saved every third step."""
    kills = random.Random(seed)
    resumed = []
    for _ in range(4):
        left = kills.randrange(1, 12)

        def kill(step, run, left=left):
            if step - run.resumed_at == left:
                raise Killed

        try:
            run, parts = train(tmp_path / "run", clock, hook=kill)
        except Killed:
            continue
        finally:
            resumed.append(max(saved_steps(tmp_path / "run"), default=0))
    run, parts = train(tmp_path / "run", clock)
    assert max(resumed) > 0
    assert_same((run, parts), whole)
    history = [pd.read_csv(tmp_path / name / "history.csv") for name in ("run", "whole")]
    history = [table.drop(columns="seconds") for table in history]
    pd.testing.assert_frame_equal(*history)
    assert history[0]["step"].tolist() == [1, 11, 21, 25]


def saved_steps(folder):
    return [int(path.stem.split("-")[1]) for path in folder.glob("state-*.safetensors")]


def test_no_more_than_the_interval_is_lost(tmp_path, clock, monkeypatch):
    monkeypatch.setenv(SAVE_SECONDS, "120")
    for last in (1, 4, 9, 17):

        def kill(step, run, last=last):
            if step == last:
                raise Killed

        with pytest.raises(Killed):
            train(tmp_path / "run", clock, hook=kill, seconds=50.0)
        saved = max(saved_steps(tmp_path / "run"), default=0)
        assert (last - saved) * 50.0 <= 120.0 + 50.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_finishes_the_step_and_saves(tmp_path, clock, whole, number):
    def send(step, run):
        if step == 7:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as error:
        train(tmp_path / "run", clock, hook=send, seconds=0.0)
    assert error.value.code == 128 + number
    assert saved_steps(tmp_path / "run") == [8]
    seen = []
    again = train(tmp_path / "run", clock, hook=lambda step, run: seen.append(step))
    assert seen == list(range(8, STEPS))
    assert_same(again, whole)


def test_second_ctrl_c_ends_at_once(tmp_path, clock):
    def send(step, run):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", clock, hook=send, seconds=0.0)


def test_signals_mean_what_they_did_after_the_last_step(tmp_path, clock):
    """A stage still validates and writes then, and should end when it is told to."""
    before = signal.getsignal(signal.SIGTERM)
    train(tmp_path / "run", clock)
    assert signal.getsignal(signal.SIGTERM) is before


def test_truncated_newest_state_costs_only_its_own_work(tmp_path, clock, whole, caplog):
    def kill(step, run):
        if step == 20:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", clock, hook=kill)
    older, newest = sorted((tmp_path / "run").glob("state-*"))
    os.truncate(newest, newest.stat().st_size - 100)
    first = []
    with caplog.at_level(logging.WARNING):
        again = train(tmp_path / "run", clock, hook=lambda step, run: first.append(step))
    assert newest.name in caplog.text
    assert first[0] == int(older.stem.split("-")[1]) > 0
    assert_same(again, whole)


def test_state_of_another_key_starts_anew(tmp_path, clock, whole, caplog):
    train(tmp_path / "run", clock, steps=10, key="other settings")
    first = []
    again = train(tmp_path / "run", clock, hook=lambda step, run: first.append(step))
    assert first[0] == 0 and "set aside" in caplog.text
    assert_same(again, whole)


def test_finished_run_does_nothing_again(tmp_path, clock, whole):
    def refuse(step, run):
        raise AssertionError(step)

    assert_same(train(tmp_path / "whole", clock, hook=refuse), whole)


def test_more_steps_continue(tmp_path, clock):
    train(tmp_path / "run", clock, steps=10)
    seen = []
    run, _ = train(tmp_path / "run", clock, steps=14, hook=lambda step, run: seen.append(step))
    assert seen == [10, 11, 12, 13]
    assert [row["step"] for row in run.history.rows] == [1, 10, 11, 14]
    assert run.memory["plans"] == [[0, 10], [10, 14]]


def test_fewer_steps_than_done_start_anew(tmp_path, clock, whole):
    """Weights of more steps than the config asks for would be passed off as of fewer."""
    train(tmp_path / "run", clock, steps=STEPS + 5, seconds=1000.0)
    assert_same(train(tmp_path / "run", clock), whole)


def test_seconds_and_rate_are_of_all_runs_together(tmp_path):
    """Of the time after the last row of the history, too."""
    run = TrainingRun(tmp_path, StateKey("code", "key"), 20, {})
    for step in run.steps("test"):
        run.log(step, loss=1.0)
        if step == 7:
            run.history.seconds_before = 1000.0  # passed since the row of the first step
            run.stop()
            break
    run, fabric = TrainingRun(tmp_path, StateKey("code", "key"), 20, {}), make_fabric(Compute())
    record = run.record(50, fabric, torch.nn.Linear(3, 2))
    assert record["device"] == "cpu" and record["parameters"] == 8
    assert record["steps"] == 7 and 1000.0 <= record["training_seconds"] < 1060.0
    assert record["samples_per_second"] == pytest.approx(7 * 50 / 1000.0, rel=0.1)


def test_a_run_whose_starter_has_ended_saves_and_ends(tmp_path, clock, monkeypatch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    monkeypatch.setenv(STARTER, str(ended.pid))
    with pytest.raises(SystemExit):
        train(tmp_path / "run", clock, seconds=1000.0)
    assert saved_steps(tmp_path / "run") == [1]


def test_stopped_run_stays_stopped(tmp_path, clock):
    def stop(step, run):
        if step == 5:
            run.stop()

    run, _ = train(tmp_path / "run", clock, hook=stop)
    assert run.done == 5  # steps that were trained
    seen = []
    run, _ = train(tmp_path / "run", clock, hook=lambda step, run: seen.append(step))
    assert seen == [] and run.done == 5


@pytest.mark.parametrize("bad", [0, 3, 10, 13, 24])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_no_number_stops_and_spoils_no_state(tmp_path, clock, bad, value):
    """Also between two rows of the history, with a state due after every step."""

    def poison(step, run):
        if step == bad:
            for parameter in run.stateful["network"].parameters():
                parameter.grad.fill_(value)

    with pytest.raises(UserError) as error:
        train(tmp_path / "run", clock, hook=poison, seconds=1000.0)
    assert "learning rate" in str(error.value) and "\n" not in str(error.value)
    kept = f"the state after {bad} steps is kept in {tmp_path}" if bad else "no state was saved yet"
    assert kept in str(error.value)
    states = sorted((tmp_path / "run").glob("state-*"))
    assert max(saved_steps(tmp_path / "run"), default=0) == bad
    for tensor in itertools.chain.from_iterable(load_file(path).values() for path in states):
        assert tensor.isfinite().all()


def test_non_finite_loss_is_named_with_its_step(tmp_path, clock):
    run = TrainingRun(tmp_path, StateKey(None, ""), 30, {})
    run.log(3, loss=math.nan)  # not a row of the history
    with pytest.raises(
        UserError, match="second is nan at step 10, maybe since up to 9 steps before"
    ):
        run.log(10, first=1.0, second=torch.tensor(math.nan))


def test_parts_come_back_as_they_were():
    """Optimisers of several groups, of more than ten tensors, and with nothing in them yet."""
    torch.manual_seed(0)

    def make():
        layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(6))
        groups = [
            {"params": layers[:3].parameters(), "lr": 0.1},
            {"params": layers[3:].parameters()},
        ]
        return layers, torch.optim.AdamW(groups, lr=0.2, betas=(0.5, 0.9))

    (layers, optimizer), (_, fresh) = make(), make()
    for trained in (False, True):
        if trained:
            sum(layer(torch.ones(3)).sum() for layer in layers).backward()
            optimizer.step()
        tensors = {"optimizer2/0/exp_avg": torch.zeros(1)}  # of a part of similar name
        layout = save_part(optimizer, "optimizer", tensors)
        load_part(fresh, "optimizer", tensors, layout)
        found, expected = fresh.state_dict(), optimizer.state_dict()
        assert [g["lr"] for g in found["param_groups"]] == [0.1, 0.2]
        assert found["state"].keys() == expected["state"].keys()
        for index, values in expected["state"].items():
            for name, value in values.items():
                assert torch.equal(found["state"][index][name], value)


def test_generators_are_functions_of_seed_step_and_purpose():
    first = torch.randn(100, generator=generator(1, 2, "noise"))
    torch.manual_seed(99)
    torch.rand(5)
    assert torch.equal(first, torch.randn(100, generator=generator(1, 2, "noise")))


def test_generators_do_not_collide():
    """Over seeds, steps and purposes, also in the 32 bits that Mersenne's twister uses."""
    purposes = ("pretrain", "pretrain clips", "finetune", "diffusion", "sample", "")
    grid = itertools.product((0, 1, 2, 1_000_003), range(500), purposes)
    seeds = [generator(*place).initial_seed() for place in grid]
    assert len({seed % 2**32 for seed in seeds}) == len(seeds) == 12_000
    # Nor are neighbours alike: first draws over seeds and over steps look independent.
    steps = torch.stack([torch.randn(8, generator=generator(0, s, "x")) for s in range(2000)])
    others = torch.stack([torch.randn(8, generator=generator(s, 0, "x")) for s in range(2000)])
    for values in (steps, others):
        correlation = torch.corrcoef(torch.cat([values[:-1], values[1:]], 1).T) - torch.eye(16)
        assert correlation.abs().max() < 5 / 2000**0.5


def test_generator_is_the_same_everywhere():
    """Draws of a step must not change: kept states would continue as another run."""
    assert generator(0, 0, "pretrain").initial_seed() == PINNED


PINNED = 7725604633709365901


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 1000, 2.0, 50) for step in range(1001)]
    assert rates[0] == pytest.approx(2.0 / 50)
    assert rates[49] == rates[50] == max(rates) == pytest.approx(2.0)
    assert rates[1000] == pytest.approx(2.0 / 50)
    assert rates[525] == pytest.approx(2.0 * (0.02 + 0.98 / 2))  # half-way down
    assert all(a < b for a, b in itertools.pairwise(rates[:50]))
    assert all(a > b for a, b in itertools.pairwise(rates[50:]))
    assert learning_rate(2000, 1000, 2.0, 50) == pytest.approx(2.0 / 50)
    assert learning_rate(0, 10, 2.0, 0) == pytest.approx(2.0)
    assert learning_rate(10, 10, 2.0, 10) > 0


def test_learning_rate_reaches_all_groups():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [w], "lr": 1.0} for w in weights])
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
