"""The arithmetic of `rsvp plan`, on costs that are made up, and the config of its trial."""

from types import SimpleNamespace

import pytest
import yaml
from estimate import duration, line, scaled, training_seconds
from jobs import Job
from plan import Plan
from tiny import CONFIG, write_config, write_videos
from trial import HELD_OUT, Cost, Size, Trial, size_of_dataset, trial_config

from tests.workflow.projects import ROOT, Project

SIZE = Size(100, 1600.0, {"train": 80, "validation": 40, "test": 32})


def test_line_meets_both_sizes_of_the_trial_and_goes_on():
    few, many = Cost(10.0, 800.0, 5.0), Cost(18.0, 2400.0, 6.0)
    at = [line(few, many, count) for count in (HELD_OUT["validation"], HELD_OUT["test"], 256)]
    assert at[0][:2] == few[:2] and at[1] == many
    assert at[2].seconds == pytest.approx(10.0 + 248 * 0.5)
    assert at[2].disk == pytest.approx(256 * 100.0)
    assert line(many, few, 1000) == Cost(10.0, 800.0, 6.0)  # noise: it does not fall


def test_work_is_scaled_and_the_start_is_not():
    assert scaled(Cost(7.0, 10.0, 3.0), 20.0, 4.0) == Cost(4.0 + 3.0 * 20, 200.0, 3.0)
    assert scaled(Cost(3.0, 10.0, 3.0), 20.0, 4.0).seconds == 4.0


def trained(stage, settings):
    """The seconds of a training; in the trial steps took 0.5 s, validations 2 s, the rest 6 s."""
    first = 2 if stage == "finetune_autoencoder" else 1
    timing = {"step": 0.25, "validation": 1.0, "cpu_step": 0.5, "cpu_validation": 2.0,
              "timed_steps": 10}  # fmt: skip
    took = 6.0 + (3 + 10 + 1) * 0.5 + (2 + first) * 2.0
    record = {"calibration": {"timing": timing}, "steps": 1, "cpu_seconds": took}
    trial = SimpleNamespace(clock="cpu_seconds", record=lambda job: record)
    job = Job(stage, "x", "folder", settings, (), {}, {}, {})
    return training_seconds(trial, job, SIZE, 4.0)


def test_seconds_of_trainings_are_those_of_their_steps_and_validations():
    section = {"predictor": {"steps": 1000}}
    # A validation each 100 steps and one at the end, of 40 clips where the trial had 8.
    assert trained("train_diffusion", section) == pytest.approx(6 + 500 + 11 * 5 * 2)
    section = {"autoencoder": {"pretrain": {"steps": 1000}}}
    assert trained("pretrain_autoencoder", section) == pytest.approx(6 + 500 + 32 / 8 * 2)
    finetune = {"steps": 100, "validate_every": 20, "validation_clips": 16}
    section = {"autoencoder": {"finetune": finetune}}
    # 24 clips choose no weights; both networks reconstruct them.
    watched = 2 + 100 // 20 + 2 * 24 / 16
    assert trained("finetune_autoencoder", section) == pytest.approx(6 + 50 + watched * 2 * 2)
    section = {"predictor": {"seconds": 100.0}}  # of which each is two of processors
    assert trained("train_diffusion", section) == pytest.approx(6 + 200)


def test_sizes_of_a_generated_set_are_counted():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    plan = Plan(config, str(ROOT), looks=False)
    size, cost = size_of_dataset(plan, "shapes")
    assert cost is None
    # 600 videos of 24 frames have two clips each, 8 frames apart; held-out ones have 16 frames.
    assert size.clips == {"train": 1200, "validation": 192, "test": 64}
    assert (size.videos, size.frames) == (856, 600 * 24 + 256 * 16)


@pytest.mark.parametrize("name", ["config.yaml", "configs/methods.yaml"])
def test_trial_trains_the_same_networks_on_few_clips(name, tmp_path):
    config = yaml.safe_load((ROOT / name).read_text())
    plan = Plan(config, str(tmp_path), looks=False)
    tried = Plan(trial_config(plan.config, "trial"), str(tmp_path), looks=False)
    assert tried.results == str(tmp_path / "trial")
    for stage in ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion", "predict"):
        jobs = [job for job in plan.jobs if job.stage == stage and "seed 0" in job.name]
        made = [job for job in tried.jobs if job.stage == stage]
        assert [job.name for job in jobs] == [job.name for job in made]
        for job, other in zip(jobs, made, strict=True):
            assert same(job.settings) == same(other.settings)


def same(values):
    """Settings without how long a training is, and how much is evaluated."""
    if not isinstance(values, dict):
        return values
    left_out = ("steps", "seconds", "evaluation", "init_from")
    sampler = values.get("sampler", {})
    kept = {key: same(value) for key, value in values.items() if key not in left_out}
    return kept | {"sampler": sampler}


def test_each_job_has_its_like_in_the_trial(tmp_path):
    project = Project(tmp_path)
    config = CONFIG | {"compute": {"device": "cpu", "shares": 2}}
    config["report"] = {"predictors": ["rsvp-m"], "seeds": [0, 1]}
    write_config(project, config)
    write_videos(project, 4)
    plan = Plan(config, str(tmp_path))
    trial = Trial(plan)
    for side, split in (("test", "test"), ("validation", "validation")):
        values = trial.values | {"evaluation": trial.values["evaluation"] | {"split": split}}
        folders = {job.folder for job in Plan(values, str(tmp_path), looks=False).jobs}
        assert {trial.place(job, side) for job in plan.jobs} == folders - {"datasets/tiny/videos"}


def test_durations():
    assert [duration(s) for s in (42.4, 99, 600, 7500)] == ["42 s", "99 s", "10 min", "2 h 05 min"]
