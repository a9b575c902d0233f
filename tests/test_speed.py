"""Counts and times of benchmarks/speed.py, at its smallest."""

import os
from argparse import Namespace

import pandas as pd
import pytest

from benchmarks.speed import (
    LIMITS,
    METHODS,
    PHASES,
    config_at,
    in_own_process,
    missed_floors,
    operations,
    speed_lines,
    times,
)

GPU = [METHODS, METHODS.with_name("methods-gpu.yaml"), METHODS.with_name("methods-256px.yaml")]


def command(configs, **values):
    given = {"device": "cpu", "precision": "auto", "threads": 1, "repeats": 1, "compile": False}
    given |= {"return_memory": True, "profile": None}
    return Namespace(configs=configs, **given | values)


@pytest.mark.parametrize("configs", [GPU[:1], GPU], ids=["methods", "256px"])
@pytest.mark.parametrize("row", ["rsvp-m", "rsvp-s", "pvdm", "frame-ldm"])
def test_operations_at_256_pixels_stay_within_the_limits(configs, row):
    counted = operations(config_at(command(configs), 256), row)
    for part, limit in LIMITS.items():
        assert 0 < counted[f"{part}_gflop"] <= limit
    assert counted["network_evaluations"] <= 25


@pytest.mark.parametrize("frames", [8, 16, 32, 64, 128])
def test_clips_of_any_length_have_a_config(frames):
    datasets = config_at(command(GPU[:1], frames=frames), 64).datasets.values()
    assert {dataset.clip_frames for dataset in datasets} == {frames}


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_is_timed(phase, tmp_path):
    small = tmp_path / "small.yaml"
    small.write_text(
        "autoencoders: {frames: {width: 16, pretrain: {batch_size: 2, target_frames: 1}, "
        "finetune: {batch_size: 2, target_frames: 1, discriminator_width: 8, "
        "validation_clips: 2}}}\n"
        "predictors: {frame-ldm: {batch_size: 2, augment_latents: true, "
        "denoiser: {width: 32, depth: 1, heads: 2}}}\n"
    )
    arguments = command([METHODS, small], profile="operators.csv", frames=8)
    line, operators = times(arguments, "frame-ldm", "32x48", phase)
    assert line["clips"] > 0 and line["seconds"] > 0 and line["peak_memory_mb"] > 0
    assert line["compiled"] is False
    rate = line["matmul_gflop_per_second"]
    assert line["share_of_matmul"] == pytest.approx(line["gflop"] / line["seconds"] / rate)
    assert 0 <= line["data_wait"] < 1
    assert sum(operator["share"] for operator in operators) == pytest.approx(1.0, abs=0.01)


def test_the_failure_of_a_phase_is_a_line():
    """The process ends as the kernel ends one that takes too much memory."""
    line, operators = in_own_process(os._exit, 9)  # imported at once
    assert line["error"].startswith("BrokenProcessPool: ") and operators == []


LINE = {
    "row": "rsvp-m",
    "resolution": 256,
    "frames": 16,
    "phase": "denoise",
    "precision": "bf16-mixed",
}
GOOD = {"share_of_matmul": 0.4, "data_wait": 0.01, "peak_memory_mb": 20000.0}


def test_missed_floors_are_named():
    def said(on_gpu=True, **values):
        return " ".join(missed_floors(pd.DataFrame([LINE | GOOD | values]), on_gpu))

    assert said() == said(phase="cache", data_wait=0.5) == "Every timed phase keeps to its floors."
    assert "34.0% of the rate of matrix products, less than 35%" in said(share_of_matmul=0.34)
    assert "less than" not in said(share_of_matmul=0.34, phase="pretrain")
    assert "40.0% of the rate of matrix products, less than 50%" in said(False, phase="pretrain")
    assert "3.0% of a step waits for data" in said(data_wait=0.03)
    assert "30000 MB of memory, more than 24576" in said(peak_memory_mb=3e4, phase="finetune")
    failed = pd.DataFrame([LINE | {"error": "OutOfMemoryError: 30 GiB"}])
    assert missed_floors(failed, True) == ["rsvp-m, 256 px, denoise: failed."]
    assert list(speed_lines(failed)["error"]) == ["OutOfMemoryError: 30 GiB"]
