"""The config refuses what cannot work, and hands each stage only its own part."""

import copy
import math
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from rsvp.config.docs import config_page, sections
from rsvp.config.load import load, load_measuring
from rsvp.config.schema import (
    PROTOCOLS,
    Autoencoder,
    Config,
    ObservedFrames,
    limits,
    to_plain,
)
from rsvp.config.stages import read_settings, stage_settings
from rsvp.runtime.errors import UserError

ROOT = Path(__file__).parents[1]


def demo() -> dict:
    """The demo's config as plain values."""
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def changed(path: str, value: object) -> dict:
    """The demo's config with one value set, by its dotted path."""
    config = demo()
    set_value(config, path, value)
    return config


def set_value(values: dict, path: str, value: object) -> None:
    """Set what a dotted path names."""
    *sections, key = path.split(".")
    for name in sections:
        values = values.setdefault(name, {})
    values[key] = value


@pytest.mark.parametrize("file", ["config", "configs/ucf101-mini", "configs/ucf101-three"])
def test_shipped_configs_load(file):
    config = load(yaml.safe_load((ROOT / f"{file}.yaml").read_text(encoding="utf-8")))
    assert config.report.predictors[0] == "rsvp-m"


@pytest.mark.parametrize("after", ["", "ucf101-mini", "gpu", "ucf101-mini gpu", "gpu 256px"])
def test_methods_are_of_four_kinds_and_a_regression(after):
    """In each order in which their files say that they are read."""
    values: dict = {}
    for name in ("methods", *(f"methods-{part}" for part in after.split())):
        text = (ROOT / f"configs/{name}.yaml").read_text(encoding="utf-8")
        update_config(values, yaml.safe_load(text))
    rows = {"rsvp-m": "rsvp", "rsvp-s": "joint", "pvdm": "triplane", "frame-ldm": "frames"}
    config = load(values)
    assert config.report.predictors == [*rows, "simvp"]
    assert config.predictors["simvp"].kind == "simvp"
    for row, kind in rows.items():
        assert config.autoencoders[config.predictors[row].autoencoder].kind == kind


@pytest.mark.parametrize("after", ["", "ablations-ucf101-three"])
def test_ablations_differ_from_the_method_in_one_part(after):
    """All else is equal: data, budgets, networks."""
    values: dict = {}
    for name in filter(None, ("ablations", after)):
        text = (ROOT / f"configs/{name}.yaml").read_text(encoding="utf-8")
        update_config(values, yaml.safe_load(text))
    config = load(values)

    def parts(row):
        predictor = to_plain(config.predictors[row])
        autoencoder = to_plain(config.autoencoders[predictor.pop("autoencoder")])
        return {("predictor", *item) for item in flat(predictor)} | set(flat(autoencoder))

    def flat(section, path=()):
        for key, value in section.items():
            if isinstance(value, dict):
                yield from flat(value, (*path, key))
            else:
                yield (*path, key), str(value)

    whole = parts("rsvp-m")
    differing = {row: {item[-2][-1] for item in parts(row) - whole}
               for row in config.report.predictors}  # fmt: skip
    assert differing == {
        "rsvp-m": set(), "motion-only": {"hidden"}, "one-layer": {"ablation"},
        "random-mask": {"ablation"}, "rsvp-s": {"kind", "scene_channels", "object_channels"},
    }  # fmt: skip
    assert len(config.report.seeds) == 3


def test_the_page_of_keys_is_current():
    """After a change of the definition: python -m rsvp.config.docs > docs/config.md"""
    assert (ROOT / "docs/config.md").read_text(encoding="utf-8") == config_page()


def test_every_key_is_documented_in_its_section():
    """Each field has a sentence, and stands in the table of its section."""
    chapters = re.split(r"^##+ (.*)$", config_page(), flags=re.MULTILINE)
    tables = dict(zip(chapters[1::2], chapters[2::2], strict=True))
    for path, kind in SECTIONS.items():
        keys = re.findall(r"^\| `(\w+)` \| .+ \| .* \| (.+) \|$", tables[path], re.MULTILINE)
        assert all(len(meaning) > 5 for _, meaning in keys), path
        held = set(kind.model_fields) - {key for key, _ in keys}
        start = "" if path == "Top level" else f"{path}."
        assert all({f"{start}{key}", f"{start}{key}.NAME"} & SECTIONS.keys() for key in held), path


SECTIONS = {path or "Top level": kind for path, kind in sections(Config, "")}


REFUSED = {
    "unknown top-level key": ("dataset", {}, "dataset: unknown key; did you mean 'datasets'?"),
    "nearly the version": ("shema", 2, "shema: unknown key; did you mean 'schema'?"),
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
    "width that cannot be normalised": (
        "autoencoders.rsvp.width",
        50,
        "autoencoders.rsvp.width: 50 is not possible; allowed: a whole number, 16 or more",
    ),
    "more copies than symmetries": (
        "autoencoders.rsvp.latent_copies",
        9,
        "latent_copies: 9 is not possible; allowed: 1 to 8 where the dataset's augment is all",
    ),
    "nothing to turn": (
        "datasets.shapes.augment",
        "none",
        "predictors.rsvp-m.augment_latents: the dataset's augment is none, so nothing is turned;"
        " remove it, or set datasets.shapes.augment to horizontal or all",
    ),
    "mean of uniform times": (
        "predictors.rsvp-m.times",
        "uniform",
        "predictors.rsvp-m.time_mean: a key of times logit_normal, not uniform; remove it",
    ),
    "zero steps": ("predictors.rsvp-m.steps", 0, "predictors.rsvp-m.steps: 0 is not possible"),
    "no seconds": ("predictors.rsvp-m.seconds", 0, "predictors.rsvp-m.seconds: 0 is not possible"),
    "steps and seconds": (
        "autoencoders.rsvp.finetune.seconds",
        60,
        "autoencoders.rsvp.finetune.seconds: 60, but autoencoders.rsvp.finetune.steps is set too",
    ),
    "negative rate": ("predictors.rsvp-m.learning_rate", -1.0, "learning_rate: -1.0 is not"),
    "unknown objective": ("predictors.rsvp-m.objective", "x0", "predictors.rsvp-m.objective: "),
    "unknown sampler": (
        "predictors.rsvp-m.sampler.name",
        "dpm-solver++",
        "sampler.name: 'dpm-solver++' is not defined; did you mean 'dpm-solver'?",
    ),
    "more noise than there is": ("predictors.rsvp-m.sampler.eta", 1.5, "sampler.eta: 1.5 is not"),
    "noise in a sampler without": (
        "predictors.rsvp-m.sampler.eta",
        0.5,
        "sampler.eta: a key of name ddim, not heun; remove it",
    ),
    "guidance without a null condition": (
        "predictors.rsvp-m.guidance.scale",
        2.0,
        "guidance.scale: 2.0 needs a denoiser that was trained without context too; set"
        " predictors.rsvp-m.drop_context (0.1 is usual), or the scale to 1",
    ),
    "guidance nowhere": (
        "predictors.rsvp-m.guidance",
        {"low": 0.5, "high": 0.5},
        "guidance.low: 0.5 is not possible; allowed: below guidance.high, 0.5",
    ),
    "guidance beyond noise": ("predictors.rsvp-m.guidance.high", 80.0, "guidance.high: 80.0 is"),
    "no loss of frames": (
        "autoencoders.rsvp.pretrain",
        {"l1": 0.0, "l2": 0},
        "autoencoders.rsvp.pretrain.l1: 0.0 is not possible; allowed: above 0, or l2 above 0",
    ),
    "perceptual loss without its network": (
        "autoencoders.rsvp.finetune.lpips",
        0.5,
        "finetune.lpips: 0.5 needs autoencoders.rsvp.perceptual: lpips; or set it to 0",
    ),
    "key of another penalty": (
        "autoencoders.rsvp.finetune",
        {"regularisation": "none", "r1_weight": 2.0},
        "finetune.r1_weight: a key of regularisation r1, not none; remove it",
    ),
    "key of augmentation without it": (
        "autoencoders.rsvp.finetune.ada_clips",
        100,
        "finetune.ada_clips: a key of augment ada, not none; remove it",
    ),
    "sign above one": (
        "autoencoders.rsvp.finetune",
        {"augment": "ada", "ada_target": 1.5},
        "finetune.ada_target: 1.5 is not possible; allowed: a number, above 0, below 1",
    ),
    "average that never moves": (
        "autoencoders.rsvp.pretrain.ema_decay",
        1.0,
        "pretrain.ema_decay: 1.0 is not possible; allowed: a number, 0 or more, below 1",
    ),
    "unknown penalty": (
        "autoencoders.rsvp.finetune.regularisation",
        "r2",
        "autoencoders.rsvp.finetune.regularisation: ",
    ),
    "no context at all": ("predictors.rsvp-m.drop_context", 1.0, "drop_context: 1.0 is not"),
    "heads that do not divide": ("predictors.rsvp-m.denoiser.heads", 5, "denoiser.width: 256"),
    "path out of the results": ("datasets.../out", {}, "datasets."),
    "undefined protocol": (
        "evaluation.protocols",
        ["prediction", "fvd256"],
        "evaluation.protocols: 'fvd256' is not defined; did you mean 'fvd256_16f'?",
    ),
    "context that the dataset lacks": (
        "autoencoders.rsvp.contexts",
        ["ends"],
        "autoencoders.rsvp.contexts: 'ends' is not defined; defined: none",
    ),
    "context that observes all": (
        "datasets.shapes.contexts",
        {"ends": {"first": 8, "last": 8}},
        "datasets.shapes.contexts.ends: 16 is not possible; allowed: 15 observed frames",
    ),
    "context called as the prefix": (
        "datasets.shapes.contexts",
        {"prefix": {"first": 8}},
        "datasets.shapes.contexts.prefix: 'prefix' is not possible",
    ),
    "predictor from a context without training": (
        "predictors.rsvp-m.context",
        "ends",
        "predictors.rsvp-m.context: 'ends' is not defined; defined: prefix",
    ),
    "same as nothing": (
        "predictors.other",
        {"same_as": "rsvp"},
        "predictors.other.same_as: 'rsvp' is not defined; did you mean 'rsvp-m'?",
    ),
    "same as another, and not": (
        "predictors.other",
        {"same_as": "rsvp-m", "steps": 7},
        "predictors.other.steps: rsvp-m, the same_as, has it already; remove it",
    ),
    "horizon below training's": (
        "evaluation.horizon",
        8,
        "evaluation.horizon: 8 is not possible; allowed: 12 or more, the future frames of"
        " datasets.shapes",
    ),
    "horizon beyond generated videos": (
        "evaluation.horizon",
        28,
        "datasets.shapes.generated.held_out_frames: 16 is not possible; allowed: 32 or more, for"
        " evaluation.horizon",
    ),
    "generated videos shorter than a clip": (
        "datasets.shapes.generated.held_out_frames",
        8,
        "datasets.shapes.generated.held_out_frames: 8 is not possible; allowed: 16 or more, for a",
    ),
    "generated videos shorter than a slower clip": (
        "datasets.shapes.target_fps",
        12.5,
        "datasets.shapes.generated.held_out_frames: 16 is not possible; allowed: 31 or more",
    ),
    "made videos of digits shorter than a clip": (
        "datasets.shapes",
        {"source": "moving_mnist", "path": ".", "generated": {"frames": 15}},
        "datasets.shapes.generated.frames: 15 is not possible; allowed: 16 or more, for a clip",
    ),
    "more generated videos than seeds": (
        "datasets.shapes.generated.train_videos",
        10**6 + 1,
        "train_videos: 1000001 is not possible; allowed: a whole number, above 0, 1000000 at most",
    ),
    "lists of another split": (
        "datasets.shapes.split",
        {"lists": "lists"},
        "datasets.shapes.split.lists: a key of kind official, not groups; remove it",
    ),
    "number of another split": (
        "datasets.shapes.split.number",
        2,
        "a key of kind official, not folders",
    ),
    "part of the lists of another split": (
        "datasets.shapes.split.every",
        10,
        "a key of kind official, not folders",
    ),
    "groups of another split": (
        "datasets.shapes.split",
        {"kind": "time", "test_groups": ["a"]},
        "datasets.shapes.split.test_groups: a key of kind groups, not time; remove it",
    ),
    "validation groups of another split": (
        "datasets.shapes.split",
        {"kind": "folders", "validation_groups": ["a"]},
        "split.validation_groups: a key of kind groups, not folders; remove it",
    ),
    "group on two sides": (
        "datasets.shapes.split",
        {"kind": "groups", "test_groups": ["a", "b"], "validation_groups": ["b", "c"]},
        "datasets.shapes.split.validation_groups: b: in test_groups, too; a group is on one side",
    ),
    "gap of another split": (
        "datasets.shapes.split.gap_seconds",
        1.0,
        "split.gap_seconds: a key of kind time, not folders; remove it",
    ),
    "share of another split": (
        "datasets.shapes.split",
        {"kind": "folders", "test_fraction": 0.5},
        "split.test_fraction: a key of kind groups or time, not folders; remove it",
    ),
    "seed of a split without choice": (
        "datasets.shapes.split",
        {"kind": "time", "seed": 1},
        "split.seed: a key of kind official or folders or groups, not time; remove it",
    ),
    "gaps of another source": (
        "datasets.shapes.gaps",
        "split",
        "datasets.shapes.gaps: a key of source frames, not generated; remove it",
    ),
    "camera of another source": (
        "datasets.shapes.camera",
        "top",
        "datasets.shapes.camera: a key of source lerobot, not generated; remove it",
    ),
    "protocol named twice": ("evaluation.protocols", ["prediction"] * 2, "each name once"),
    "built-in protocol changed": (
        "protocols.fvd2048_16f",
        {"clips": 20},
        "protocols.fvd2048_16f: built in and the same everywhere; take another name",
    ),
    "distance of one clip": (
        "protocols.mine",
        {"scores": "distribution", "clips": 1},
        "protocols.mine.clips: 1 is not possible; allowed: 2 or more",
    ),
    "distance over trajectories": (
        "protocols.mine",
        {"scores": "distribution", "trajectories": 4},
        "protocols.mine.trajectories: a key of scores frames or both, not distribution; remove it",
    ),
    "unknown detector": (
        "protocols.mine",
        {"scores": "distribution", "detector": "i2d"},
        "did you mean 'i3d'?",
    ),
    "unknown column": ("protocols.mine", {"columns": ["future"]}, "protocols.mine.columns"),
    "URL without its sum": (
        "weights.i3d",
        "https://example.org/i3d.tar.gz",
        "weights.i3d: a URL needs its file's SHA-256; write #sha256= and the sum behind it",
    ),
    "sum that is none": (
        "weights.i3d",
        "https://example.org/i3d.tar.gz#sha256=0123",
        "weights.i3d: '0123' is not possible; allowed: 64 hexadecimal digits behind #sha256=",
    ),
    "half of LPIPS": (
        "weights.lpips_linear",
        None,
        "weights.lpips_linear: missing; LPIPS needs both lpips_backbone and lpips_linear",
    ),
    "detector without a program": (
        "weights.detectors",
        {"mine": {}},
        "weights.detectors.mine.program: missing; name the detector's Python file",
    ),
    "detector called as the built-in one": (
        "weights.detectors",
        {"i3d": {"program": "mine.py"}},
        "weights.detectors.i3d: 'i3d' is not possible; allowed: another name",
    ),
    "detector called as a part of its features": (
        "weights.detectors",
        {"mine_context": {"program": "mine.py"}},
        "weights.detectors.mine_context: 'mine_context' is not possible; allowed: a name without _",
    ),
    "key of another kind": (
        "autoencoders.rsvp.channels",
        8,
        "autoencoders.rsvp.channels: a key of kind triplane or frames, not rsvp; remove it",
    ),
    "key of rsvp elsewhere": (
        "autoencoders.other",
        {"dataset": "shapes", "kind": "frames", "motion_channels": 8},
        "autoencoders.other.motion_channels: a key of kind rsvp or joint, not frames; remove it",
    ),
    "key of another regulariser": (
        "autoencoders.other",
        {"dataset": "shapes", "kind": "frames", "regulariser": {"codes": 8}},
        "autoencoders.other.regulariser.codes: a key of kind vq, not tanh; remove it",
    ),
    "levels that are not one per channel": (
        "autoencoders.other",
        {"dataset": "shapes", "kind": "frames", "channels": 3, "regulariser": {"kind": "fsq"}},
        "regulariser.levels: [8, 5, 5, 5] is not possible; allowed: 3 whole numbers from 3 to 256",
    ),
    "too few levels": (
        "autoencoders.other",
        {
            "dataset": "shapes",
            "kind": "frames",
            "channels": 2,
            "regulariser": {"kind": "fsq", "levels": [2, 4]},
        },
        "regulariser.levels: [2, 4] is not possible",
    ),
    "codes that never move": (
        "autoencoders.other",
        {"dataset": "shapes", "kind": "frames", "regulariser": {"kind": "vq", "codes_decay": 1.0}},
        "regulariser.codes_decay: 1.0 is not possible; allowed: a number, above 0, below 1",
    ),
    "unknown kind": ("autoencoders.rsvp.kind", "images", "autoencoders.rsvp.kind: "),
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
    "nan": ("predictors.rsvp-m.learning_rate", math.nan, "learning_rate: nan is not possible"),
    "infinity": ("predictors.rsvp-m.time_std", math.inf, "time_std: inf is not possible"),
    "nan where negative is allowed": (
        "predictors.rsvp-m.time_mean",
        math.nan,
        "time_mean: nan is not possible; allowed: a number, -1000000000 or more",
    ),
    "no multiple of 16": (
        "datasets.shapes.resolution",
        65,
        "32 or more, 2048 at most, a multiple of 16",
    ),
    "a side of a rectangle": (
        "datasets.shapes.resolution",
        [80, 140],
        "resolution: [80, 140] is not possible; allowed: a whole number, 32 or more, 2048 at most,"
        " a multiple of 16; or [height, width] of two",
    ),
    "three sides": ("datasets.shapes.resolution", [64, 64, 3], "[64, 64, 3] is not possible"),
    "turns of rectangles": (
        "datasets.shapes",
        {"source": "generated", "resolution": [80, 144], "augment": "all"},
        "shapes.augment: all, but a turn by 90 degrees needs a square, and resolution is [80, 144];"
        " take horizontal or none",
    ),
    "black above white": (
        "datasets.shapes.range",
        [1, 0],
        "range: [1, 0] is not possible; allowed: two numbers, or two percentiles as 0.1%, the first"
        " below the second",
    ),
    "a range of drawn videos": (
        "datasets.shapes.range",
        ["0.1%", "99.9%"],
        "shapes.range: a key of source arrays or hdf5, not generated; remove it",
    ),
    "axes without height": (
        "datasets.shapes.axes",
        "NTWC",
        "axes: 'NTWC' is not possible; allowed: letters of N, T, H, W and C, each once, with T, H",
    ),
    "percentiles the wrong way round": (
        "datasets.shapes.range",
        ["9.5%", "9.4%"],
        "range: ['9.5%', '9.4%'] is not possible; allowed: two numbers, or two percentiles",
    ),
    "more than all": ("datasets.shapes.range", ["1%", "100.5%"], "is not possible"),
    "a number and a percentile": ("datasets.shapes.range", [0, "99%"], "is not possible"),
    "one percentile": ("datasets.shapes.range", ["99%"], "is not possible"),
    "no pixels": (
        "datasets.shapes.resolution",
        0,
        "resolution: 0 is not possible; allowed: a whole",
    ),
    "negative pixels": ("datasets.shapes.resolution", -64, "resolution: -64 is not possible"),
    "more pixels than memory": (
        "datasets.shapes.resolution",
        160000,
        "allowed: a whole number, 32 or more, 2048 at most",
    ),
    "more jobs than a plan holds": (
        "datasets.shapes.decode_jobs",
        10**9,
        "allowed: a whole number, above 0, 1000 at most",
    ),
    "more threads than machines": (
        "compute.threads",
        10**12,
        "allowed: a whole number, above 0, 1024 at most",
    ),
    "more steps than years": (
        "predictors.rsvp-m.steps",
        10**10,
        "allowed: a whole number, above 0, 1000000000 at most",
    ),
    "seed of too many bits": (
        "report.seeds",
        [2**32],
        "seeds[0]: 4294967296 is not possible",
    ),
    "broken number": ("datasets.shapes.clip_frames", 7.9, "datasets.shapes.clip_frames: "),
    "truth for a number": ("datasets.shapes.clip_frames", True, "datasets.shapes.clip_frames: "),
    "number for a list": ("report.seeds", 3, "report.seeds: expected a list, got 3"),
    "text for a list": ("report.predictors", "rsvp-m", "expected a list, got 'rsvp-m'"),
    "mapping for a list": ("report.seeds", {"a": 1}, "expected a list, got {'a': 1}"),
    "list in a list": ("report.predictors", [["rsvp-m"]], "predictors[0]: expected text or a num"),
    "list for text": ("report.title", ["a"], "report.title: expected text or a number, got ['a']"),
    "date for text": ("report.title", date(2026, 1, 1), "expected text or a number, got datetime"),
    "nothing for text": ("report.title", None, "report.title: "),
    "no results folder": ("results", " ", "results: ' ' is not possible"),
    "zero byte in a path": ("results", "a\0b", "results: 'a\\x00b' holds characters that are no"),
    "half a character": ("results", "\ud800", "results: '\\ud800' holds characters that are no"),
    "line break in a key": ("repo\nrt", {}, "repo\\nrt: unknown key; did you mean 'report'?"),
    "line break in a name": ("datasets.a\nb", {}, "datasets.a\\nb: a name has letters"),
    "number for a name": ("datasets", {5: {}}, "datasets: the name 5 is no text; put it in quotes"),
    "no for a name": ("datasets", {False: {}}, "the name False is no text"),
    "other address": ("weights.i3d", "s3://a/b", "allowed: a path, or an http(s) address"),
    "unknown interpolation": ("report.title", "${nothing}", "report.title: "),
    "processes without a part": (
        "compute.processes",
        2,
        "compute.processes: 2 is not possible; allowed: 1 (compute.micro_batches, which trains",
    ),
    "nodes that cannot be alike": (
        "compute.nodes",
        2,
        "compute.nodes: 2 is not possible; allowed: 1, or what divides compute.processes (1)",
    ),
    "parts without a clip": (
        "compute.micro_batches",
        5,
        "autoencoders.rsvp.pretrain.batch_size: 4 is not possible; allowed: 5 or more",
    ),
    "schema": ("schema", 3, "schema: 3 is not supported; write schema: 2, which this"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_misfits_are_refused_in_one_line(case):
    path, value, message = case
    with pytest.raises(UserError) as caught:
        load(changed(path, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith("config: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_patch_divides_both_sides_of_a_rectangle():
    values = changed("predictors.rsvp-m.denoiser.patch", 4)
    values["datasets"]["shapes"] |= {"resolution": [64, 160], "augment": "horizontal"}
    assert load(values).datasets["shapes"].resolution == [64, 160]
    values["datasets"]["shapes"]["resolution"] = [64, 144]
    with pytest.raises(UserError, match="allowed: a divisor of the latent's 8 and 18 cells"):
        load(values)


def test_a_rectangle_of_equal_sides_is_a_square():
    assert load(changed("datasets.shapes.resolution", [64, 64])) == load(demo())


SCHEMA_1 = {
    "datasets.shapes.generated.size": (64, "gone; videos are as large as the dataset's resolution"),
    "datasets.shapes.generated.turn": (0.3, "gone; it is 0.3"),
    "datasets.shapes.generated.spin": (0.4, "gone; it is 0.4"),
    "datasets.shapes.shard_mb": (64, "gone; it is 64"),
    "autoencoders.rsvp.pretrain.scale_equivariance": (0.0, "gone; it is 0"),
    "autoencoders.rsvp.finetune.lecam_weight": (0.01, "gone; regularisation is none or r1"),
    "autoencoders.rsvp.finetune.regularisation": ("lecam", "gone; regularisation is none or r1"),
    "predictors.rsvp-m.weighting": ("none", "gone; it is none"),
    "weights.i3d_sha256": ("0" * 64, "new spelling: #sha256=… at the end of i3d"),
    "weights.detectors.mine.weights_sha256": ("", "new spelling: #sha256=… at the end of weights"),
    "evaluation.semantics_clips": (32, "gone; it is 32"),
}


@pytest.mark.parametrize("reads", [load, load_measuring])
def test_a_file_without_keys_is_refused(reads):
    for values in ([], None, "text"):
        with pytest.raises(UserError, match="the file: expected keys and values, got"):
            reads(values)


@pytest.mark.parametrize("schema", [1, 2])
def test_keys_of_schema_1_end_in_a_line_each(schema):
    values = demo() | {"schema": schema}
    for path, (value, _) in SCHEMA_1.items():
        set_value(values, path, value)
    with pytest.raises(UserError) as caught:
        load(values)
    lines = str(caught.value).splitlines()
    expected = [f"config: {path}: {now}" for path, (_, now) in SCHEMA_1.items()]
    if schema == 1:
        expected.append(
            "config: schema: 1 is not supported; write schema: 2, which this rsvp reads"
        )
    assert sorted(lines) == sorted(expected)
    kept = demo()
    kept["autoencoders"]["rsvp"]["finetune"]["regularisation"] = "r1"
    assert load(kept)


def nested(depth: int) -> list:
    """Ten to the power of `depth` texts, as YAML's anchors write them in `depth` lines."""
    value: list = ["x"] * 10
    for _ in range(depth - 1):
        value = [value] * 10
    return value


@pytest.mark.parametrize("path", ["report.title", "report.predictors", "datasets.shapes.split"])
def test_anchors_that_nest_without_end_are_refused_at_once(path):
    circle: list = []
    circle.append(circle)
    for value in (nested(9), circle, {"kind": nested(9)}):
        with pytest.raises(UserError) as caught:
            load(changed(path, value))
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name",
    ["../out", "..", ".", "/a", "a/b", "a.b", "", "-x", "a b", "a\0", "é", "x" * 65, "x" * 9999],
    ids=lambda name: ascii(name[:66]),
)
def test_names_stay_below_the_results_folder(name):
    config = demo()
    config["datasets"][name] = config["datasets"]["shapes"]
    with pytest.raises(UserError, match="a name has letters"):
        load(config)


def test_training_with_lpips_needs_its_weights():
    config = demo()
    config["weights"] = {}
    config["autoencoders"]["rsvp"]["perceptual"] = "lpips"
    with pytest.raises(UserError, match=r"autoencoders\.rsvp\.perceptual: lpips needs weights\."):
        load(config)


def test_protocols_may_name_an_own_detector():
    config = changed("weights.detectors.mine.program", "mine.py")
    config["protocols"] = {"mine_16f": {"scores": "distribution", "detector": "mine"}}
    assert load(config).protocols["mine_16f"].detector == "mine"


def test_stages_are_handed_local_files():
    config = load(demo())
    weights = stage_settings(config, "evaluate")["weights"]
    assert weights["i3d"] == "weights/i3d-bafe29bb.safetensors"
    assert weights["lpips_backbone"] == "weights/lpips_backbone-7be5be79.safetensors"
    assert stage_settings(config, "pretrain_autoencoder", "rsvp")["weights"] == {}
    config = load(changed("autoencoders.rsvp.perceptual", "lpips"))
    assert stage_settings(config, "finetune_autoencoder", "rsvp")["weights"] == {
        "lpips_backbone": weights["lpips_backbone"],
        "lpips_linear": "weights/lpips_linear-df73285e.safetensors",
    }


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
    "real_features": "shapes",
    "evaluate": "shapes",
    "check_memorisation": "shapes",
    "measure_semantics": "rsvp",
    "report": "report",
}
I3D = demo()["weights"]["i3d"].partition("#sha256=")[2]
# For each change of the config, the stages whose own part of it changes.
DEPENDS = {
    ("report.title", "other"): {"report"},
    ("report.examples", 2): {"report"},
    ("predictors.rsvp-m.sampler.steps", 3): {"predict"},
    ("predictors.rsvp-m.guidance.low", 0.1): {"predict"},
    ("predictors.rsvp-m.objective", "edm"): {"train_diffusion"},
    ("predictors.rsvp-m.drop_context", 0.1): {"train_diffusion"},
    ("predictors.rsvp-m.augment_latents", False): {"train_diffusion"},
    ("predictors.rsvp-m.learning_rate", 1e-4): {"train_diffusion"},
    ("predictors.rsvp-m.denoiser.depth", 3): {"train_diffusion"},
    ("autoencoders.rsvp.pretrain.steps", 7): {"pretrain_autoencoder"},
    ("autoencoders.rsvp.pretrain.l1", 2.0): {"pretrain_autoencoder", "finetune_autoencoder"},
    ("autoencoders.rsvp.pretrain.ema_decay", 0.9): {"pretrain_autoencoder"},
    ("autoencoders.rsvp.finetune.patience", 7): {"finetune_autoencoder"},
    ("autoencoders.rsvp.finetune.augment", "ada"): {"finetune_autoencoder"},
    ("datasets.shapes.clip_stride", 3): {"split"},
    ("datasets.shapes.resize", "area"): {"decode", "split"},
    ("datasets.shapes.generated.seed", 5): {"generate_videos", "decode", "split"},
    ("evaluation.trajectories", 2): {"predict"},
    ("evaluation.horizon", 12): {
        "predict", "predict_baseline", "reconstruct", "real_features", "measure_semantics"
    },
    ("evaluation.split", "validation"): {
        "predict", "predict_baseline", "reconstruct", "real_features", "measure_semantics",
        "evaluate", "check_memorisation",
    },
    ("evaluation.bootstrap", 100): {"check_memorisation", "report"},
    ("weights.i3d", "i3d.safetensors"): {"real_features", "evaluate", "check_memorisation"},
    ("compute.save_seconds", 7.0): set(),
    ("compute.watch", 0): set(),
    ("compute.compile", True): {"train_diffusion", "predict"},
    ("compute.micro_batches", 2): {
        "pretrain_autoencoder", "finetune_autoencoder", "train_diffusion"
    },
    ("weights.lpips_backbone", "alex.safetensors"): {"evaluate", "measure_semantics"},
    ("weights.detectors.mine.program", "mine.py"): {"real_features", "evaluate"},
    ("weights.i3d", f"https://example.org/mirror#sha256={I3D}"): set(),
    ("weights.required", True): set(),
    ("autoencoders.rsvp.perceptual", "lpips"): {"pretrain_autoencoder", "finetune_autoencoder"},
    ("results", "elsewhere"): set(),
}  # fmt: skip


@pytest.mark.parametrize("change", DEPENDS, ids=lambda change: change[0])
def test_a_change_reaches_the_stages_that_depend_on_it(change):
    before, after = load(demo()), load(changed(*change))
    stages = {
        stage
        for stage, name in STAGES.items()
        if stage_settings(before, stage, name) != stage_settings(after, stage, name)
    }
    assert stages == DEPENDS[change]


@pytest.mark.parametrize("kind", ["triplane", "frames"])
def test_a_mask_is_decided_where_there_is_one(kind):
    values = {
        "datasets": {"d": {"path": "videos"}},
        "autoencoders": {"a": {"dataset": "d", "kind": kind, "pretrain": {"decided": 0.03}}},
        "predictors": {"p": {"autoencoder": "a"}},
        "report": {"predictors": ["p"]},
    }
    with pytest.raises(UserError, match=rf"decided: 0\.03 .* allowed: 0 for kind {kind}"):
        load(values)
    values["autoencoders"]["a"]["kind"] = "rsvp"
    assert load(values).autoencoders["a"].pretrain.decided == 0.03


@pytest.mark.parametrize("kind", ["triplane", "frames"])
def test_latents_are_hidden_where_there_are_such(kind):
    values = changed("predictors.rsvp-m.hidden", ["object"])
    assert load(values).predictors["rsvp-m"].hidden == ["object"]
    values["autoencoders"]["rsvp"] = {"dataset": "shapes", "kind": kind}
    with pytest.raises(UserError, match=rf"hidden: .*object.* allowed: nothing for kind {kind}"):
        load(values)
    set_value(values, "predictors.rsvp-m.hidden", ["motion"])
    with pytest.raises(UserError, match="hidden"):
        load(values)


def test_the_number_of_processes_is_no_setting():
    alone = changed("compute.micro_batches", 2)
    shared = copy.deepcopy(alone)
    set_value(shared, "compute.processes", 2)
    set_value(shared, "compute.nodes", 2)
    alone, shared = load(alone), load(shared)
    for stage, name in STAGES.items():
        assert stage_settings(alone, stage, name) == stage_settings(shared, stage, name)


BUDGETS = {
    "autoencoders.rsvp.pretrain": ("pretrain_autoencoder", "autoencoder.pretrain", "rsvp"),
    "autoencoders.rsvp.finetune": ("finetune_autoencoder", "autoencoder.finetune", "rsvp"),
    "predictors.rsvp-m": ("train_diffusion", "predictor", "rsvp-m"),
}


@pytest.mark.parametrize("section", BUDGETS)
def test_seconds_reach_the_training_in_place_of_steps(section):
    stage, place, name = BUDGETS[section]

    def found(seconds):
        values = changed(f"{section}.seconds", seconds)
        holder = values
        for key in section.split("."):
            holder = holder[key]
        holder.pop("steps")
        return stage_settings(load(values), stage, name)

    assert found(60) != found(120)
    holder, read = found(60), read_settings(found(60))
    for key in place.split("."):
        holder, read = holder[key], getattr(read, key)
    assert "steps" not in holder and holder["seconds"] == read.seconds == 60.0


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_read_back_with_types(stage):
    values = stage_settings(load(demo()), stage, STAGES[stage], seed=3)
    settings = read_settings(values)
    assert settings.name == STAGES[stage]
    assert settings.seed == values.get("seed", 0)
    if "dataset" in values:
        assert settings.dataset.source == "generated"


def test_autoencoders_depend_on_the_keys_of_their_kind_only():
    values = changed("autoencoders.other", {"dataset": "shapes", "kind": "frames"})
    for stage in ("pretrain_autoencoder", "finetune_autoencoder"):
        found = [
            stage_settings(load(values), stage, name)["autoencoder"] for name in ("rsvp", "other")
        ]
        assert "channels" not in found[0] and "regulariser" not in found[0]
        assert "motion_channels" not in found[1] and found[1]["regulariser"]["kind"] == "tanh"


def test_modules_of_the_snakefile_load_without_torch():
    """Else `snakemake -n` would take seconds more."""
    places, modules = [".", "workflow"], "config_file, jobs, plan, session"
    loads = f"import sys; sys.path[:0] = {places}; import {modules}; "
    loads += "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", loads], cwd=ROOT).returncode == 0


def test_protocols_reach_the_stages_that_depend_on_them():
    values = changed("protocols.mine", {"scores": "distribution", "frames": 12, "clips": 50})
    values["evaluation"]["protocols"] = ["fvd2048_16f", "distribution", "mine", "prediction"]
    config = load(values)
    report = read_settings(stage_settings(config, "report"))
    assert list(report.protocols) == values["evaluation"]["protocols"]
    assert report.protocols["fvd2048_16f"] == PROTOCOLS["fvd2048_16f"]
    assert report.protocols["mine"].columns == ["predicted", "context"]
    evaluate = stage_settings(config, "evaluate")
    assert read_settings(evaluate).windows == [None, 12, 16]
    values["protocols"]["mine"]["clips"] = 60
    assert stage_settings(load(values), "evaluate") == evaluate, "clips are chosen in the report"


def with_contexts(**predictor):
    """The demo with two more contexts, one of which its autoencoder is trained for."""
    values = demo()
    contexts = {"ends": {"first": 2, "last": 2}, "none": {}}
    values["datasets"]["shapes"]["contexts"] = contexts
    values["autoencoders"]["rsvp"]["contexts"] = ["ends"]
    values["predictors"]["ends"] = {"same_as": "rsvp-m", "context": "ends"} | predictor
    return values


def test_a_context_reaches_what_is_trained_for_it():
    before, after = load(demo()), load(with_contexts())
    stages = {
        stage
        for stage, name in STAGES.items()
        if stage_settings(before, stage, name) != stage_settings(after, stage, name)
    }
    trained = {"pretrain_autoencoder", "finetune_autoencoder"}
    assert stages == trained | {"cache_latents"}
    for stage in trained | {"cache_latents"}:
        settings = read_settings(stage_settings(after, stage, "rsvp"))
        assert settings.contexts == {"ends": ObservedFrames(first=2, last=2)}, stage
    # Defined, and named by nobody.
    values = with_contexts()
    values["datasets"]["shapes"]["contexts"]["short"] = {"first": 1}
    for stage, name in STAGES.items():
        assert stage_settings(load(values), stage, name) == stage_settings(after, stage, name)


def test_a_row_shares_the_training_of_another_and_has_its_own_context_and_sampler():
    config = load(with_contexts(sampler={"name": "euler", "steps": 3}))
    own, other = config.predictors["ends"], config.predictors["rsvp-m"]
    assert own.denoiser == other.denoiser and own.autoencoder == "rsvp"
    assert (own.sampler.steps, own.guidance) == (3, other.guidance)
    settings = stage_settings(config, "predict", "ends")["predictor"]
    assert settings["context"] == "ends" and settings["sampler"]["name"] == "euler"
    assert "context" not in stage_settings(config, "predict", "rsvp-m")["predictor"]


def test_decoders_that_copy_from_the_context_need_one():
    values = with_contexts()
    values["autoencoders"]["rsvp"]["contexts"] = ["ends", "none"]
    with pytest.raises(UserError, match=r"contexts: none observes nothing, and kind rsvp makes"):
        load(values)
    for key in limits(Autoencoder):
        values["autoencoders"]["rsvp"].pop(key, None)
    values["autoencoders"]["rsvp"]["kind"] = "triplane"
    load(values)


def test_the_report_has_rows_of_other_contexts_too():
    values = with_contexts()
    values["report"]["predictors"] = ["rsvp-m", "ends"]
    assert load(values).report.predictors == ["rsvp-m", "ends"]


def test_a_report_is_of_one_dataset():
    values = demo()
    values["datasets"]["real"] = {"path": "videos"}
    values["autoencoders"]["other"] = {"dataset": "real"}
    values["predictors"]["other"] = {"autoencoder": "other"}
    assert load(values)
    values["report"]["predictors"] = ["rsvp-m", "other"]
    both = "rsvp-m predicts datasets.shapes, and other datasets.real; a report is of one dataset"
    with pytest.raises(UserError, match=both):
        load(values)


def test_values_stand_for_those_of_other_keys():
    """Also for defaults, and in numbers."""
    values = changed("predictors.rsvp-m.batch_size", "${autoencoders.rsvp.finetune.batch_size}")
    values["report"]["title"] = "on ${datasets.shapes.resolution} pixels, ${compute.device}"
    del values["compute"]["device"]
    config = load(values)
    assert config.predictors["rsvp-m"].batch_size == 6
    assert config.report.title == "on 64 pixels, auto"
    values["datasets"]["shapes"]["split"] = nested(9)
    with pytest.raises(UserError, match=r"datasets\.shapes\.split: expected keys and values"):
        load(values)


def test_unset_options_leave_no_trace_in_settings():
    """So a new option that nobody sets retrains nothing; None in place of a default stays."""
    values = demo()
    values["evaluation"]["max_clips"] = None
    config = load(values)
    assert "max_videos" not in stage_settings(config, "decode", "shapes")["dataset"]
    settings = stage_settings(config, "reconstruct", "rsvp")
    assert settings["evaluation"] == {"split": "test", "max_clips": None}
    assert read_settings(settings).evaluation.max_clips is None
