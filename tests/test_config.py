"""The config refuses what cannot work, and hands each stage only its own part."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from rsvp.config import Config, SourceKind, load, read_settings, stage_settings
from rsvp.errors import UserError

ROOT = Path(__file__).parents[1]


def demo() -> dict:
    """The demo's config as plain values."""
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def changed(path: str, value: object) -> dict:
    """The demo's config with one value set, by its dotted path."""
    config = demo()
    *sections, key = path.split(".")
    section = config
    for name in sections:
        section = section.setdefault(name, {})
    section[key] = value
    return config


@pytest.mark.parametrize("file", ["config.yaml", "configs/ucf101-mini.yaml"])
def test_shipped_configs_load(file):
    config = load(yaml.safe_load((ROOT / file).read_text(encoding="utf-8")))
    assert config.report.predictors == ["rsvp-m"]


def test_demo_shows_every_key():
    """Each key of the definition stands in config.yaml, set or in a comment."""
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    missing = [key for key in sorted(all_keys(Config)) if not re.search(rf"\b{key}:", text)]
    assert missing == []


def all_keys(kind: type) -> set[str]:
    """The names of all fields of a dataclass and of those that it holds."""
    keys = set()
    for name, type_ in get_type_hints(kind).items():
        keys.add(name)
        for inner in (type_, *get_args(type_)):
            if dataclasses.is_dataclass(inner):
                keys |= all_keys(inner)
    return keys


REFUSED = {
    "unknown top-level key": ("dataset", {}, "dataset: unknown key; did you mean 'datasets'?"),
    "unknown nested key": (
        "predictors.rsvp-m.sampler.step",
        4,
        "predictors.rsvp-m.sampler.step: unknown key; did you mean 'steps'?",
    ),
    "word for a number": ("compute.threads", "two", "compute.threads: "),
    "unknown choice": ("datasets.shapes.resize", "nearest", "datasets.shapes.resize: "),
    "scalar for a section": ("datasets.shapes", 3, "datasets.shapes: expected keys and values"),
    "empty section": ("evaluation", None, "evaluation: expected keys and values, got None"),
    "resolution": ("datasets.shapes.resolution", 40, "datasets.shapes."),
    "more context than clip": (
        "datasets.shapes.context_frames",
        16,
        "context_frames: 16 is not possible; allowed: 1 to 15 (clip_frames - 1)",
    ),
    "zero steps": ("predictors.rsvp-m.steps", 0, "predictors.rsvp-m.steps: 0 is not possible"),
    "negative rate": ("predictors.rsvp-m.learning_rate", -1.0, "learning_rate: -1.0 is not"),
    "heads that do not divide": ("predictors.rsvp-m.denoiser.heads", 5, "denoiser.width: 128"),
    "path out of the results": ("datasets.../out", {}, "datasets."),
    "undefined dataset": (
        "autoencoders.rsvp.dataset",
        "shape",
        "autoencoders.rsvp.dataset: 'shape' is not defined; did you mean 'shapes'?",
    ),
    "undefined baseline": (
        "evaluation.baselines",
        ["copy_last"],
        "evaluation.baselines: 'copy_last' is not defined; did you mean 'copy-last'?",
    ),
    "repeated seed": ("report.seeds", [1, 1], "report.seeds: [1, 1] is not possible"),
    "no predictors": ("report.predictors", [], "report.predictors: empty"),
    "group pattern": ("datasets.shapes.split.group_pattern", "(", "group_pattern: not a pattern"),
    "schema": ("schema", 2, "schema: 2 is not supported; this rsvp reads schema 1"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_misfits_are_refused_in_one_line(case):
    path, value, message = case
    with pytest.raises(UserError) as caught:
        load(changed(path, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith("config: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../out", "a/b", "a.b", "", "-x", "a b", "x" * 65])
def test_names_stay_below_the_results_folder(name):
    config = demo()
    config["datasets"][name] = config["datasets"]["shapes"]
    with pytest.raises(UserError, match="a name has letters"):
        load(config)


def test_videos_need_a_path():
    with pytest.raises(UserError, match=r"datasets\.shapes\.path: missing"):
        load(changed("datasets.shapes.source", "videos"))


STAGES = {
    "generate_videos": "shapes",
    "decode": "shapes",
    "split": "shapes",
    "pretrain_autoencoder": "rsvp",
    "finetune_autoencoder": "rsvp",
    "cache_latents": "rsvp",
    "reconstruct": "rsvp",
    "train_diffusion": "rsvp-m",
    "predict": "rsvp-m",
    "predict_baseline": "shapes",
    "evaluate": "shapes",
    "report": "report",
}
# For each change of the config, the stages whose own part of it changes.
DEPENDS = {
    ("report.title", "other"): {"report"},
    ("report.examples", 2): {"report"},
    ("predictors.rsvp-m.sampler.steps", 3): {"predict"},
    ("predictors.rsvp-m.learning_rate", 1e-4): {"train_diffusion"},
    ("predictors.rsvp-m.denoiser.depth", 2): {"train_diffusion"},
    ("autoencoders.rsvp.pretrain.steps", 7): {"pretrain_autoencoder"},
    ("autoencoders.rsvp.finetune.patience", 7): {"finetune_autoencoder"},
    ("datasets.shapes.clip_stride", 3): {"split"},
    ("datasets.shapes.resize", "area"): {"decode", "split"},
    ("datasets.shapes.generated.seed", 5): {"generate_videos", "decode", "split"},
    ("evaluation.trajectories", 2): {"predict"},
    ("evaluation.bootstrap", 100): {"report"},
    ("weights.i3d", "i3d.safetensors"): {"evaluate"},
    ("results", "elsewhere"): set(),
}


@pytest.mark.parametrize("change", DEPENDS, ids=lambda change: change[0])
def test_a_change_reaches_the_stages_that_depend_on_it(change):
    before, after = load(demo()), load(changed(*change))
    stages = {
        stage
        for stage, name in STAGES.items()
        if stage_settings(before, stage, name) != stage_settings(after, stage, name)
    }
    assert stages == DEPENDS[change]


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_read_back_with_types(stage):
    values = stage_settings(load(demo()), stage, STAGES[stage], seed=3)
    settings = read_settings(values)
    assert settings.name == STAGES[stage]
    assert settings.seed == values.get("seed", 0)
    if "dataset" in values:
        assert settings.dataset.source is SourceKind.generated


def test_config_loads_without_torch():
    """Else `snakemake -n` would take seconds more."""
    loads = (
        "import sys, rsvp.config, rsvp.code, rsvp.data.sources; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", loads], cwd=ROOT).returncode == 0
