"""Stages of the tiny project in this process: jobs by their command lines, trainings by `run`.

A process of their own imports torch, which takes most of their time.
"""

import argparse
import json
import re
import shlex
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from here import run_here
from projects import Project

from rsvp.config.stages import read_settings

DATASET = "datasets/tiny/index.json"
PRETRAINED = "autoencoders/rsvp/seed0/pretrained"
FINETUNED = "autoencoders/rsvp/seed0/finetuned"
LATENTS = "autoencoders/rsvp/seed0/latents"
PREDICTOR = "predictors/rsvp-m/seed0"
TRAININGS: dict[str, tuple[str, dict[str, str]]] = {  # folder, and inputs by flag
    "pretrain_autoencoder": (PRETRAINED, {"dataset": DATASET}),
    "finetune_autoencoder": (
        FINETUNED,
        {"dataset": DATASET, "pretrained": f"{PRETRAINED}/index.json"},
    ),
    "train_diffusion": (PREDICTOR, {"latents": f"{LATENTS}/index.json"}),
}
FILES = {"weights": "weights.safetensors", "index": "index.json", "history": "history.csv",
         "record": "run.json", "state": "state"}  # fmt: skip


def train(
    project: Project,
    stage: str,
    monkeypatch: Any,
    out: Path | None = None,
    inputs: Mapping[str, Path] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Run a training as the finished one ran, with other values of its section of the config.

    In its own folder, from its own state, or in the folder `out`. Returns what the record gets.
    """
    folder, named = TRAININGS[stage]
    monkeypatch.chdir(project.folder / "results")
    record = json.loads(Path(folder, "run.json").read_text())
    section = record["settings"]["predictor" if "diffusion" in stage else "autoencoder"]
    part = {"pretrain_autoencoder": "pretrain", "finetune_autoencoder": "finetune"}.get(stage)
    for key, value in changes.items():
        (section[part] if part and key in section[part] else section)[key] = value
    files = {flag: Path(out or folder, name) for flag, name in FILES.items()}
    read = {flag: Path(path) for flag, path in named.items()} | dict(inputs or {})
    watched = [Path(DATASET), Path(FINETUNED, "index.json")]
    arguments = argparse.Namespace(**files, **read, code=record["code"], log=None, watched=watched)
    threads = torch.get_num_threads()
    try:
        run = import_module(f"rsvp.stages.{stage}").run
        return run(arguments, read_settings(record["settings"]))
    finally:
        torch.set_num_threads(threads)


def run_jobs(project: Project, monkeypatch: Any, *flags: str) -> list[str]:
    """Run what a dry run of snakemake plans, each job by its own command line and in its order.

    Returns the jobs' messages, sorted. The project's code is that of the tests.
    """
    answer = project.snakemake("-n", "--verbose", "--printshellcmds", *flags)
    assert answer.code == 0, answer.text
    told = re.findall(r"^Job \d+: (.*)$", answer.text, re.MULTILINE)
    commands = re.findall(r'^Shell command: exec "\$PYTHON" -m (.*)$', answer.text, re.MULTILINE)
    assert len(commands) == len(told) > 0, answer.text
    monkeypatch.chdir(project.folder / "results")
    for command in commands:
        stage, *flags = shlex.split(command)
        code, terminal = run_here(import_module(stage), *flags)
        assert code == 0, terminal
    return sorted(told)
