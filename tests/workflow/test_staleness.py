"""What runs again after a change: exactly the stages that the change reaches."""

import ast
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from projects import Project, copy_project
from tiny import moving_squares, write_config, write_lossless

from rsvp.data.sources import share_of

Edit = Callable[[Project], None]
JOBS = 2  # of decoding
AUTOENCODER = "rsvp/models/autoencoder.py"


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
    return f"Decode share {share_of(video, JOBS)} of tiny"


def settings(stage: str, name: str) -> str:
    """The job that writes a stage's settings."""
    return f"Settings of {stage} for {name}"


REPORT = ["Write the report"]
SCORED = ["Evaluate rsvp-m (seed 0)", *REPORT]
COPIES = "Check predictions on tiny for copies"
PREDICTED = ["Predict with rsvp-m (seed 0)", COPIES, *SCORED]
TRAINED = ["Train the predictor rsvp-m (seed 0)", *PREDICTED]
SEMANTICS = "Measure the semantics of rsvp (seed 0)"
FINETUNED = [
    SEMANTICS,
    "Fine-tune the autoencoder rsvp (seed 0)",
    "Cache the latents of rsvp (seed 0)",
    "Reconstruct with rsvp (seed 0)",
    "Evaluate rsvp.reconstruction (seed 0)",
    *TRAINED,
]
PRETRAINED = ["Pretrain the autoencoder rsvp (seed 0)", *FINETUNED]
BASELINES = [
    *[f"Predict tiny by {name}" for name in ("copy-last", "real")],
    *[f"Evaluate tiny.{name} (seed 0)" for name in ("copy-last", "real")],
]
FEATURES = "Compute features of the real clips of tiny"
DIVIDED = ["Split tiny and cut clips", FEATURES, *BASELINES, *PRETRAINED]
DECODED = [*[f"Decode share {share} of tiny" for share in range(JOBS)], *DIVIDED]
SECOND_SEED = [job.replace("seed 0", "seed 1") for job in PRETRAINED]
SECOND_SEED_SETTINGS = [
    *[settings(stage, "rsvp/seed1") for stage in
      ("pretrain_autoencoder", "finetune_autoencoder", "cache_latents", "reconstruct",
       "measure_semantics")],
    *[settings(stage, "rsvp-m/seed1") for stage in ("train_diffusion", "predict")],
    settings("report", "report"),
]  # fmt: skip
CHANGES: dict[str, tuple[Edit, list[str]]] = {
    "nothing": (nothing, []),
    # Code
    "comment in a model": (append(AUTOENCODER, "# a comment\n"), []),
    "docstring in a model": (replace(AUTOENCODER, '"""The ', '"""One '), []),
    "formatting of a model": (reformat, []),
    "a model": (append(AUTOENCODER), PRETRAINED),
    "the sampler": (append("rsvp/diffusion/samplers.py"), PREDICTED),
    "a metric": (
        append("rsvp/metrics/scoring.py"),
        [*SCORED, *BASELINES[2:], "Evaluate rsvp.reconstruction (seed 0)", SEMANTICS],
    ),
    "the decoder": (append("rsvp/data/decoding.py"), DECODED),
    "the split": (append("rsvp/stages/split.py"), DIVIDED),
    "the report": (append("rsvp/report/tables.py"), REPORT),
    "a template of the report": (append("rsvp/report/page.html.jinja", "<p>\n"), REPORT),
    "a style of the report": (append("rsvp/report/page.css", "p { margin: 0 }\n"), REPORT),
    # The config
    "a new option of the report": (
        replace("rsvp/config/schema.py", "    title: Text", "    new: int = 1\n    title: Text"),
        [settings("report", "report"), *REPORT],
    ),
    "a new option of predictors that nobody sets": (
        replace(
            "rsvp/config/schema.py",
            "    ema_decay: ",
            "    new: int | None = None\n    ema_decay: ",
        ),
        [],
    ),
    "comment in the config": (append("config.yaml", "# a comment\n"), []),
    "learning rate of the predictor": (
        set_values(predictors={"rsvp-m": {"learning_rate": 1e-4}}),
        [settings("train_diffusion", "rsvp-m/seed0"), *TRAINED],
    ),
    "steps of the sampler": (
        set_values(predictors={"rsvp-m": {"sampler": {"steps": 3}}}),
        [settings("predict", "rsvp-m/seed0"), *PREDICTED],
    ),
    "patience of the early stop": (
        set_values(autoencoders={"rsvp": {"finetune": {"patience": 9}}}),
        [settings("finetune_autoencoder", "rsvp/seed0"), *FINETUNED],
    ),
    "stride between clips": (
        set_values(datasets={"tiny": {"clip_stride": 3}}),
        [settings("split", "tiny"), *DIVIDED],
    ),
    "a longer horizon": (
        set_values(evaluation={"horizon": 9}),
        [
            *[settings(stage, "rsvp/seed0") for stage in ("reconstruct", "measure_semantics")],
            *[settings(stage, "tiny") for stage in ("predict_baseline", "real_features")],
            settings("predict", "rsvp-m/seed0"),
            *[FEATURES, *BASELINES, SEMANTICS, "Reconstruct with rsvp (seed 0)"],
            *["Evaluate rsvp.reconstruction (seed 0)", *PREDICTED],
        ],
    ),
    "interval between states": (set_values(compute={"save_seconds": 7.0}), []),
    "title of the report": (
        set_values(report={"title": "other"}),
        [settings("report", "report"), *REPORT],
    ),
    "a predictor that shares the autoencoder": (
        set_values(
            predictors={"b": {"autoencoder": "rsvp"}}, report={"predictors": ["rsvp-m", "b"]}
        ),
        [
            *[settings(stage, "b/seed0") for stage in ("train_diffusion", "predict")],
            settings("report", "report"),
            "Train the predictor b (seed 0)",
            "Predict with b (seed 0)",
            COPIES,
            "Evaluate b (seed 0)",
            *REPORT,
        ],
    ),
    "a seed": (set_values(report={"seeds": [0, 1]}), [*SECOND_SEED_SETTINGS, *SECOND_SEED]),
    # Files
    "a new video": (write_video(90, 90), [decode("squares/v_g90_c01"), *DIVIDED]),
    "a video's content": (write_video(1, 91), [decode("squares/v_g01_c01"), *DIVIDED]),
    "times of all files": (touch_everything, []),
    "all files are new, the oldest newest": (renew_backwards, []),
    "another branch and back": (other_branch_and_back, []),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_runs_again_after(moved, change):
    edit, expected = CHANGES[change]
    edit(moved)
    answer = moved.snakemake("-n")
    assert answer.code == 0, answer.text
    assert answer.jobs == sorted(expected), answer.text
    assert answer.errors == []


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


def test_clone_with_provenance_is_current(finished, tmp_path):
    answer = clone(finished, tmp_path / "clone").snakemake("-n")
    assert "Nothing to be done" in answer.text
    assert answer.errors == []


def test_results_without_provenance_are_never_fresh(finished, tmp_path):
    project = clone(finished, tmp_path / "clone")
    provenance, kept = project.folder / "results/.snakemake", tmp_path / "kept"
    provenance.rename(kept)
    answer = project.snakemake("-n")
    assert [job for job in answer.jobs if not job.startswith("Settings")] == sorted(DECODED)
    assert len(answer.errors) == 1
    assert f"does not say how {len(DECODED)} stages (datasets/tiny/frames/0, " in answer.errors[0]
    # One result without its record among others that have theirs: it, and what stands on it.
    shutil.copytree(kept, provenance, dirs_exist_ok=True)
    lost = project.folder / "results/predictions/rsvp-m/seed0/index.json"
    snakemake = ["--cleanup-metadata", str(lost.relative_to(project.folder / "results"))]
    assert project.snakemake(*snakemake).code == 0
    answer = project.snakemake("-n")
    assert answer.jobs == sorted(PREDICTED), answer.text
    assert "1 stage (predictions/rsvp-m/seed0)" in answer.errors[0]
    # Back with its record it is current.
    shutil.copytree(kept, provenance, dirs_exist_ok=True)
    assert "Nothing to be done" in project.snakemake("-n").text


def test_edit_while_an_earlier_job_runs_never_counts_as_fresh(moved):
    """The job refuses code that it was not planned with, and is still to do when that is undone."""
    split = moved.folder / "rsvp/stages/split.py"
    planned = split.read_text(encoding="utf-8")
    edit = f"open({str(split)!r}, 'a').write('NEW = 1\\n')"
    moved.edit("rsvp/stages/decode.py", '"__main__":\n', f'"__main__":\n    {edit}\n')
    answer = moved.snakemake("datasets/tiny/index.json")
    assert answer.code != 0
    assert (
        "rsvp split: the code of rsvp.stages.split changed after this job was planned"
        in answer.text
    )
    split.write_text(planned, encoding="utf-8")
    answer = moved.snakemake("-n", "datasets/tiny/index.json")
    assert answer.jobs == ["Split tiny and cut clips"]


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
