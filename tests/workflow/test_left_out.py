"""Modules that the digest of a training's code leaves out change no weight."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import TRAININGS, train
from projects import Project
from safetensors.torch import load_file

from rsvp.metrics.intervals import Interval
from rsvp.runtime import code
from rsvp.training.ema import WeightAverage
from rsvp.training.history import History

# Other values of functions, by module.
CHANGES: dict[str, dict[str, Any]] = {
    "rsvp.runtime.code": {"code_digest": lambda *roots: "other"},
    "rsvp.runtime.errors": {"one_line": lambda text: ""},
    "rsvp.runtime.files": {"sha256_of_text": lambda text: "other"},
    "rsvp.runtime.followers": {"follow": lambda: None},
    "rsvp.runtime.gpus": {"visible_gpus": lambda: ["7"]},
    "rsvp.runtime.journal": {"save_seconds": lambda: 0.0},
    "rsvp.runtime.lock": {"lock_folder": lambda folder: None},
    "rsvp.runtime.main": {"terminal_line": lambda message: ""},
    "rsvp.runtime.progress": {"note": lambda folder, bar: None},
    "rsvp.runtime.record": {"running_versions": dict},
    "rsvp.training.cost": {"forward_flops": lambda forward: 7},
    "rsvp.training.history": {},  # a class, whose method is replaced
    "rsvp.training.watching": {"watched": lambda clips: []},
    "rsvp.metrics.intervals": {
        "paired_interval": lambda *values, **options: Interval(7.0, 7.0, 7.0, 7, 7)
    },
    "rsvp.metrics.groups": {"effective_number": lambda sizes: 7.0},  # imported by intervals alone
}
EMPTY = {"rsvp.runtime", "rsvp.stages"}  # packages that define nothing for stages


def change(monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, Any]]) -> None:
    """Give functions other values, wherever they were imported."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("rsvp.")]
    for name, values in changes.items():
        for function, value in values.items():
            old = getattr(import_module(name), function)
            for module in loaded:
                for key, held in list(vars(module).items()):
                    if held is old:
                        monkeypatch.setattr(module, key, value)


def same(folder: Path, project: Project, stage: str) -> bool:
    """Compare the weights in a folder with those of the finished project, bit for bit."""
    finished = project.folder / "results" / TRAININGS[stage][0]
    weights, expected = (load_file(f / "weights.safetensors") for f in (folder, finished))
    assert weights.keys() == expected.keys()
    return all(torch.equal(weights[key], expected[key]) for key in expected)


@pytest.mark.parametrize("stage", TRAININGS)
def test_what_is_left_out_changes_no_weight(finished, tmp_path, monkeypatch, stage):
    import_module(f"rsvp.stages.{stage}")
    change(monkeypatch, CHANGES)
    monkeypatch.setattr(History, "add", lambda self, step, **values: None)
    train(finished, stage, monkeypatch, tmp_path)
    assert same(tmp_path, finished, stage)


def test_what_is_in_changes_weights(finished, tmp_path, monkeypatch):
    stage = "train_diffusion"
    import_module(f"rsvp.stages.{stage}")
    monkeypatch.setattr(WeightAverage, "update", lambda *values: None)
    train(finished, stage, monkeypatch, tmp_path)
    assert not same(tmp_path, finished, stage)


def test_every_module_that_is_left_out_is_changed(monkeypatch):
    stages = [f"rsvp.stages.{stage}" for stage in TRAININGS]
    counted = {stage: code.import_closure(stage) for stage in stages}
    drawn = code.import_closure(*code.read_module("rsvp.training.watching").imports)
    monkeypatch.setattr(code, "LEFT_OUT", {"rsvp"})
    monkeypatch.setattr(code, "LEFT_OUT_OF_TRAININGS", set())
    left_out = set().union(*(code.import_closure(stage) - counted[stage] for stage in stages))
    # These are imported for the count of operations by one training, and count in the others.
    left_out -= {name for name in left_out if name.startswith("rsvp.models")}
    left_out -= drawn
    assert left_out - EMPTY == CHANGES.keys()
