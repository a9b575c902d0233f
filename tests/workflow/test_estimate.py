"""The arithmetic of `rsvp plan`, on costs that are made up, and the config of its trial."""

import re
from pathlib import Path
from types import SimpleNamespace

import estimate
import jobs
import numpy as np
import pytest
import trial
import yaml
from estimate import line, scaled, training_seconds
from jobs import Job
from plan import Plan
from session import given_config
from tiny import CONFIG, write_config, write_videos
from trial import HELD_OUT, Cost, Size, Trial, sample, size_of_dataset, trial_config

from rsvp.config.load import load
from rsvp.runtime.files import write_json
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


def test_decoding_starts_once_in_a_job_and_once_in_the_sample(tmp_path, monkeypatch):
    plan = array_plan(tmp_path, decode_jobs=2)
    sampled = Cost(10.0 / 8, 3.0, 5.0)  # of eight videos, in a job that starts in 2 s
    size = Size(40, 640.0, SIZE.clips)
    monkeypatch.setattr(estimate, "size_of_dataset", lambda *_: (size, sampled))
    trial = SimpleNamespace(plan=plan, starts={False: 2.0}, values={"datasets": {"tiny": {
        "generated": dict.fromkeys(("train_videos", "validation_videos", "test_videos", "frames",
                                    "held_out_frames"), 1)}}})  # fmt: skip
    cost = estimate.estimate(trial, plan.job("decode", dataset="tiny", share="0"))
    assert cost == pytest.approx((2 + 20 * 1.0, 320 * 3.0, 5.0))


def test_sizes_of_a_generated_set_are_counted():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    plan = Plan(config, str(ROOT), looks=False)
    size, cost = size_of_dataset(plan, "shapes")
    assert cost is None
    assert size.clips == {"train": 1200, "validation": 96, "test": 256}  # one of each video
    assert (size.videos, size.frames) == (1552, 1552 * 16)


def test_training_clips_of_a_stride_of_their_own_are_counted_so(tmp_path):
    """Of 24 frames a clip of 16 begins at 0, 2, 4, 6 and 8; of held-out 16 there is one."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["datasets"]["shapes"]["training_stride"] = 2
    config["datasets"]["shapes"]["generated"]["frames"] = 24
    plan = Plan(config, str(tmp_path), looks=False)
    assert size_of_dataset(plan, "shapes")[0].clips == {
        "train": 6000, "validation": 96, "test": 256
    }  # fmt: skip


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


FILES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", [*FILES, "every_option", "every_method"])
def test_trial_of_each_config_is_one(name):
    file = ROOT / f"configs/{name}.yaml"
    file = file if file.exists() else ROOT / f"tests/{name}.yaml"
    # The first command of its head has it, behind the files that it changes.
    command = re.search(
        r"snakemake (--configfile( config\S*\.yaml)+)", file.read_text(encoding="utf-8")
    )
    flags = [str(ROOT / word) if word.endswith(".yaml") else word for word in command[1].split()
             ] if command else ["--configfile", str(file)]  # fmt: skip
    assert str(file) in flags
    config = load(given_config(flags, None))
    tried = load(trial_config(config, "trial"))
    assert tried.report.predictors == config.report.predictors
    for dataset in tried.datasets.values():
        span = dataset.context_frames + (config.evaluation.horizon or 0)
        assert min(dataset.generated.frames, dataset.generated.held_out_frames) >= span
    for row in config.report.predictors:
        for key in ("same_as", "sampler", "guidance", "context"):
            own, other = config.predictors[row], tried.predictors[row]
            assert getattr(own, key) == getattr(other, key)


def array_plan(folder, **changes):
    """The plan of a project of 16-bit arrays, black and white of which are percentiles."""
    for number in range(12):
        path = folder / f"videos/squares/v_g{number:02d}_c01.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            np.save(path, np.full((8, 32, 32), 300 + number, np.uint16))
    return Plan(of_dataset(source="arrays", range=["1%", "99%"], **changes), str(folder))


def table_plan(folder, **changes):
    """The plan of a project of videos whose sides stand in a table."""
    if not (folder / "videos").exists():
        write_videos(Project(folder), 4)
        names = [f"squares/v_g{number:02d}_c01.mkv" for number in range(4)]
        rows = [f"{name},{side}" for name, side in zip(names, ["train", "test"] * 2, strict=True)]
        (folder / "videos/metadata.csv").write_text("\n".join(["file_name,split", *rows]) + "\n")
    return Plan(of_dataset(source="table", split={"kind": "folders"}, **changes), str(folder))


def of_dataset(**changes):
    """The tiny config with other values of its dataset."""
    return CONFIG | {"datasets": {"tiny": CONFIG["datasets"]["tiny"] | changes}}


@pytest.mark.parametrize("plan_of", [array_plan, table_plan])
def test_sample_is_decoded_as_jobs_are_and_kept_while_it_is_current(plan_of, tmp_path, monkeypatch):
    rows, cost = sample(plan_of(tmp_path), "tiny")
    assert len(rows) == (8 if plan_of is array_plan else 4) and cost.seconds > 0
    assert cost.disk > 32 * 32 * 3
    # An index that nothing says to be current is not counted by.
    plan, current = plan_of(tmp_path), plan_of(tmp_path)
    current.stale = {}
    write_json(Path(plan.results, "datasets/tiny/index.json"), {"clips": {"train": 10**6}})
    assert size_of_dataset(plan, "tiny")[0].clips["train"] < 12
    assert size_of_dataset(current, "tiny")[0].clips["train"] == 10**6

    def decode(*arguments):
        raise InterruptedError

    monkeypatch.setattr(trial, "processor_seconds", decode)
    kept, again = sample(plan_of(tmp_path), "tiny")
    assert (list(kept), again) == (list(rows), cost)
    for changes in ({"resolution": 64}, {"fit": "pad"}, {"channels": "gray"}):
        with pytest.raises(InterruptedError):
            sample(plan_of(tmp_path, **changes), "tiny")
    monkeypatch.setattr(jobs, "code_of", lambda *roots: "other")
    with pytest.raises(InterruptedError):
        sample(plan_of(tmp_path), "tiny")


def test_starts_of_other_code_are_taken_again(tmp_path, monkeypatch):
    plan = array_plan(tmp_path)
    taken = []
    monkeypatch.setattr(trial, "processor_seconds", lambda words, *_: taken.append(words) or 1.5)
    assert Trial(plan).starts == Trial(plan).starts == {False: 1.5, True: 1.5}
    assert len(taken) == 2
    monkeypatch.setattr(trial, "code_of", lambda *roots: "other")
    assert Trial(plan).starts == {False: 1.5, True: 1.5} and len(taken) == 4


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
