"""A change runs exactly the stages again that it reaches."""

import ast
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from projects import Project, copy_project
from tiny import moving_squares, write_config, write_lossless

from rsvp.data.sources import share_of

Edit = Callable[[Project], None]
JOBS = 2  # of decoding
AUTOENCODER = "rsvp/models/autoencoders/rsvp.py"


def nothing(project: Project) -> None:
    """No change at all."""


def append(path: str, text: str = "NEW = 1\n") -> Edit:
    """Adds lines to a file."""

    def edit(project: Project) -> None:
        with open(project.folder / path, "a", encoding="utf-8") as stream:
            stream.write(text)

    return edit


def replace(path: str, old: str, new: str) -> Edit:
    """Replaces text in a file."""
    return lambda project: project.edit(path, old, new)


def set_values(**sections: dict) -> Edit:
    """Merges values into config.yaml."""

    def merge(values: dict, changes: dict) -> dict:
        for key, value in changes.items():
            values[key] = merge(values.get(key, {}), value) if isinstance(value, dict) else value
        return values

    def edit(project: Project) -> None:
        values = yaml.safe_load((project.folder / "config.yaml").read_text())
        write_config(project, merge(values, sections))

    return edit


def reformat(project: Project) -> None:
    """Another layout of the same code: no comments, other quotes, other line breaks."""
    path = project.folder / AUTOENCODER
    text = path.read_text(encoding="utf-8")
    path.write_text(ast.unparse(ast.parse(text)), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text


def touch_everything(project: Project) -> None:
    """Gives every file another time, newest first."""
    files = [path for path in sorted(project.folder.rglob("*")) if path.is_file()]
    for age, path in enumerate(files):
        moment = path.stat().st_mtime - 1000 - age
        os.utime(path, (moment, moment))


def renew_backwards(project: Project) -> None:
    """Gives every file a time of now, the results first: all they were made of is newer."""
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    began = time.time() - len(files)
    for number, path in enumerate(files):
        os.utime(path, (began + number, began + number))
    report, video = (
        next(project.folder.glob(place)).stat().st_mtime
        for place in ("results/report/report.html", "videos/*/*")
    )
    assert report < video


def write_video(number: int, content: int) -> Edit:
    """Adds a video, or replaces one."""
    path = f"videos/squares/v_g{number:02d}_c01.mkv"
    return lambda project: write_lossless(project.folder / path, moving_squares(content))


def other_branch_and_back(project: Project) -> None:
    """Checks out a branch with other code, and the first one again: both rewrite files."""

    def git(*arguments: str) -> None:
        author = ["-c", "user.name=rsvp", "-c", "user.email=rsvp@localhost"]
        subprocess.run(["git", *author, *arguments], cwd=project.folder, check=True)

    git("init", "--quiet")
    git("add", "rsvp", "workflow", "Snakefile", "config.yaml")
    git("commit", "--quiet", "--message", "first")
    git("checkout", "--quiet", "-b", "other")
    append(AUTOENCODER)(project)
    git("commit", "--quiet", "--all", "--message", "second")
    before = (project.folder / AUTOENCODER).stat().st_mtime_ns
    git("checkout", "--quiet", "-")
    assert (project.folder / AUTOENCODER).stat().st_mtime_ns != before


def decode(video: str) -> str:
    """The job that decodes a video."""
    return f"decode tiny share {share_of(video, JOBS)}"


REPORT = ["report"]
TABLES = ["bundle rsvp-m seed 0", *REPORT]
SCORED = ["evaluate rsvp-m seed 0", *TABLES]
COPIES = "check_memorisation tiny"
PREDICTED = ["predict rsvp-m seed 0", COPIES, *SCORED]
TRAINED = ["train_diffusion rsvp-m seed 0", *PREDICTED]
SEMANTICS = "measure_semantics rsvp seed 0"
RECONSTRUCTION = "evaluate rsvp.reconstruction seed 0"
FINETUNED = [
    SEMANTICS,
    "finetune_autoencoder rsvp seed 0",
    "cache_latents rsvp seed 0",
    "reconstruct rsvp seed 0",
    RECONSTRUCTION,
    *TRAINED,
]
PRETRAINED = ["pretrain_autoencoder rsvp seed 0", *FINETUNED]
BASELINES = [
    *[f"predict_baseline tiny {name}" for name in ("copy-last", "real")],
    *[f"evaluate tiny.{name} seed 0" for name in ("copy-last", "real")],
]
FEATURES = "real_features tiny"
DIVIDED = ["split tiny", FEATURES, *BASELINES, *PRETRAINED]
DECODED = [*[f"decode tiny share {share}" for share in range(JOBS)], *DIVIDED]
SECOND_SEED = [job.replace("seed 0", "seed 1") for job in PRETRAINED]
CHANGES: dict[str, tuple[Edit, list[str]]] = {
    "nothing": (nothing, []),
    # Code
    "comment in a model": (append(AUTOENCODER, "# a comment\n"), []),
    "docstring in a model": (replace(AUTOENCODER, '"""The ', '"""One '), []),
    "formatting of a model": (reformat, []),
    "a model": (append(AUTOENCODER), PRETRAINED),
    "another kind of autoencoder": (append("rsvp/models/autoencoders/triplane.py"), []),
    "intervals": (append("rsvp/metrics/intervals.py"), [COPIES, *TABLES]),
    "the loss table": (append("rsvp/training/history.py"), []),
    "the counter of operations": (append("rsvp/training/cost.py"), []),
    "run records and locks": (
        lambda project: [append(f"rsvp/runtime/{n}.py")(project) for n in ("record", "lock")],
        [],
    ),
    "the sampler": (append("rsvp/diffusion/samplers.py"), PREDICTED),
    "a metric": (
        append("rsvp/metrics/scoring.py"),
        [*SCORED, *BASELINES[2:], RECONSTRUCTION, SEMANTICS],
    ),
    "the decoder": (append("rsvp/data/decoding.py"), DECODED),
    "the split": (append("rsvp/stages/split.py"), DIVIDED),
    "the report's tables": (append("rsvp/report/tables.py"), TABLES),
    "the report": (append("rsvp/report/page.py"), REPORT),
    "a template of the report": (append("rsvp/report/page.html.jinja", "<p>\n"), REPORT),
    "a style of the report": (append("rsvp/report/page.css", "p { margin: 0 }\n"), REPORT),
    # The config
    "comment in the config": (append("config.yaml", "# a comment\n"), []),
    "learning rate of the predictor": (
        set_values(predictors={"rsvp-m": {"learning_rate": 1e-4}}),
        TRAINED,
    ),
    "steps of the sampler": (
        set_values(predictors={"rsvp-m": {"sampler": {"steps": 3}}}),
        PREDICTED,
    ),
    "patience of the early stop": (
        set_values(autoencoders={"rsvp": {"finetune": {"patience": 9}}}),
        FINETUNED,
    ),
    "stride between clips": (
        set_values(datasets={"tiny": {"clip_stride": 3}}),
        DIVIDED,
    ),
    "a longer horizon": (
        set_values(evaluation={"horizon": 9}),
        [
            *[FEATURES, *BASELINES, SEMANTICS, "reconstruct rsvp seed 0"],
            *[RECONSTRUCTION, *PREDICTED],
        ],
    ),
    "interval between states": (set_values(compute={"save_seconds": 7.0}), []),
    "title of the report": (
        set_values(report={"title": "other"}),
        REPORT,
    ),
    "a predictor that shares the autoencoder": (
        set_values(
            predictors={"b": {"autoencoder": "rsvp"}}, report={"predictors": ["rsvp-m", "b"]}
        ),
        [
            "train_diffusion b seed 0",
            "predict b seed 0",
            COPIES,
            "evaluate b seed 0",
            "bundle b seed 0",
            *REPORT,
        ],
    ),
    "a seed": (set_values(report={"seeds": [0, 1]}), SECOND_SEED),
    # Files
    "a new video": (write_video(90, 90), [decode("squares/v_g90_c01"), *DIVIDED]),
    "a video's content": (write_video(1, 91), [decode("squares/v_g01_c01"), *DIVIDED]),
    "times of all files": (touch_everything, []),
    "all files are new, the oldest newest": (renew_backwards, []),
    "another branch and back": (other_branch_and_back, []),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_runs_again_after(moved, planned, change):
    edit, expected = CHANGES[change]
    edit(moved)
    assert sorted(map(str, planned(moved))) == sorted(expected)


DRY = {
    "nothing that counts": ("formatting of a model", "another kind of autoencoder",
                            "all files are new, the oldest newest"),
    "code": ("the sampler",),
    "config": ("a predictor that shares the autoencoder",),
    "a video": ("a new video",),
    "a style": ("a style of the report",),
}  # fmt: skip


@pytest.mark.parametrize("changes", DRY.values(), ids=DRY)
def test_snakemake_plans_the_same(moved, planned, changes):
    """A dry run makes, changes and deletes nothing outside of .snakemake."""
    for change in changes:
        CHANGES[change][0](moved)
    stale = planned(moved)
    before = content(moved.folder)
    answer = moved.snakemake("-n")
    assert answer.code == 0, answer.text
    assert answer.rules == Counter(job.stage for job in stale), answer.text
    assert bool(answer.errors) == bool(stale)
    assert all(any(job.folder in line for job in stale) for line in answer.errors)
    assert content(moved.folder) == before


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The time and content of every file that is not Snakemake's own, nor Python's."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not {".snakemake", "__pycache__", ".git"} & set(path.parts)
    }


def test_a_new_option_reaches_only_the_stages_that_are_handed_it(moved):
    """One of the report's, and one of predictors that nobody sets."""
    for old, new in (
        ("    title: Text", "new: int = 1"),
        ("    ema_decay: ShareBelowOne = 0.995", "new: int | None = None"),
    ):
        moved.edit("rsvp/config/schema.py", old, f"    {new}\n{old}")
    answer = moved.snakemake("-n")
    assert answer.code == 0, answer.text
    assert answer.rules == {"report": 1}


def test_touch_does_not_make_stale_results_fresh(moved, planned):
    """Code that comes back makes them so, despite plans in between."""
    source = moved.folder / "rsvp/models/denoiser.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(f"{text}NEW = 1\n", encoding="utf-8")
    assert moved.snakemake("--touch").code == 0
    answer = moved.snakemake("-n")
    assert answer.rules == Counter(job.split()[0] for job in TRAINED)
    bundle = "predictors/rsvp-m/seed0/bundle"
    line = f"3 stages (predictors/rsvp-m/seed0, predictions/rsvp-m/seed0, {bundle}): code changed: "
    assert answer.errors == [f"rsvp: {line}rsvp/models/denoiser.py"]
    source.write_text(text, encoding="utf-8")
    assert planned(moved) == {}


def test_a_stale_result_that_was_made_again_is_current(moved, planned):
    append("rsvp/report/tables.py")(moved)
    assert sorted(map(str, planned(moved))) == sorted(TABLES)
    target = "predictors/rsvp-m/seed0/bundle/config.json"
    assert moved.snakemake("--touch", target).code == 0
    answer = moved.snakemake(target)
    assert answer.code == 0 and answer.rules == {"bundle": 1}, answer.text
    assert list(map(str, planned(moved))) == REPORT
    assert "Nothing to be done" in moved.snakemake("-n", target).text


def clone(finished: Project, folder: Path) -> Project:
    """A fresh copy of the project, to which videos and results are copied: all times are new."""
    project = copy_project(folder)
    for name in ("config.yaml", "videos", "results"):
        source = finished.folder / name
        if source.is_dir():
            shutil.copytree(source, folder / name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, folder / name)
    return project


def test_clone_with_provenance_is_current(finished, planned, tmp_path):
    project = clone(finished, tmp_path / "clone")
    assert planned(project) == {}
    answer = project.snakemake("-n")
    assert "Nothing to be done" in answer.text
    assert answer.errors == []


def test_results_without_provenance_are_reported_and_never_fresh(moved, planned):
    (moved.folder / "results/predictions/rsvp-m/seed0/run.json").unlink()
    stale = {str(job): words for job, words in planned(moved).items()}
    assert sorted(stale) == sorted(PREDICTED)
    assert stale["predict rsvp-m seed 0"] == ["no provenance: no run.json says how it came about"]
    answer = moved.snakemake("-n")
    assert answer.rules == Counter(job.split()[0] for job in PREDICTED)
    line = "rsvp: 1 stage (predictions/rsvp-m/seed0): no provenance: no run.json says how it came"
    assert answer.errors == [f"{line} about"]


def test_results_that_another_config_made_are_never_fresh(moved, planned):
    """Also when they are copied without .snakemake, where Snakemake goes by times alone."""
    shutil.rmtree(moved.folder / "results/.snakemake")
    set_values(predictors={"rsvp-m": {"sampler": {"steps": 3}}})(moved)
    stale = {str(job): words for job, words in planned(moved).items()}
    assert stale["predict rsvp-m seed 0"] == ["setting predictor.sampler.steps: 2 -> 3"]
    assert sorted(stale) == sorted(PREDICTED)
    assert moved.snakemake("-n").rules == Counter(job.split()[0] for job in PREDICTED)


def test_an_input_that_was_replaced_by_hand_is_noticed(moved, planned):
    index = moved.folder / "results/autoencoders/rsvp/seed0/latents/index.json"
    index.write_text(index.read_text() + "\n")
    stale = {str(job): words for job, words in planned(moved).items()}
    assert stale["train_diffusion rsvp-m seed 0"] == [
        "input changed: autoencoders/rsvp/seed0/latents/index.json"
    ]


def test_a_missing_output_is_named(moved, planned):
    (moved.folder / "results/predictors/rsvp-m/seed0/history.csv").unlink()
    stale = {str(job): words for job, words in planned(moved).items()}
    assert stale["train_diffusion rsvp-m seed 0"] == [
        "missing: predictors/rsvp-m/seed0/history.csv"
    ]


def test_edit_while_an_earlier_job_runs_never_counts_as_fresh(moved, planned):
    """The job refuses code that it was not planned with, and is still to do when that is undone."""
    split = moved.folder / "rsvp/stages/split.py"
    text = split.read_text(encoding="utf-8")
    edit = f"open({str(split)!r}, 'a').write('NEW = 1\\n')"
    moved.edit("rsvp/stages/decode.py", '"__main__":\n', f'"__main__":\n    {edit}\n')
    answer = moved.snakemake("datasets/tiny/index.json")
    assert answer.code != 0
    assert (
        "rsvp split: the code of rsvp.stages.split changed after this job was planned"
        in answer.text
    )
    split.write_text(text, encoding="utf-8")
    assert "split tiny" in set(map(str, stale := planned(moved)))
    assert "decode" not in {job.stage for job in stale}


def test_other_versions_warn_and_nothing_runs(moved):
    """A run record that tells of another torch and another Python minor version."""
    record = moved.folder / "results/predictors/rsvp-m/seed0/run.json"
    values = json.loads(record.read_text())
    values["versions"] |= {"torch": "1.0.0", "python": "3.10.1"}
    record.write_text(json.dumps(values))
    answer = moved.snakemake("-n")
    assert "Nothing to be done" in answer.text
    torch, python = sorted(answer.errors, reverse=True)
    assert "1 stage (predictors/rsvp-m/seed0) ran with torch 1.0.0, now it is " in torch
    assert "ran with python 3.10, now it is 3." in python
