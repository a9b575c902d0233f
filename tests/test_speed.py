"""What benchmarks/speed.py counts and times, at its smallest."""

from argparse import Namespace

import pytest

from benchmarks.speed import LIMITS, METHODS, PHASES, config_at, operations, times

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


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_is_timed(phase, tmp_path):
    small = tmp_path / "small.yaml"
    small.write_text(
        "autoencoders: {frames: {width: 16, pretrain: {batch_size: 2, target_frames: 1}, "
        "finetune: {batch_size: 2, target_frames: 1, discriminator_width: 8, "
        "validation_clips: 2}}}\n"
        "predictors: {frame-ldm: {batch_size: 2, denoiser: {width: 32, depth: 1, heads: 2}}}\n"
    )
    arguments = command([METHODS, small], profile="operators.csv")
    line, operators = times(arguments, "frame-ldm", 64, phase, {"32-true": 1e9})
    assert line["clips"] > 0 and line["seconds"] > 0 and line["peak_memory_mb"] > 0
    assert line["compiled"] is False
    assert line["share_of_matmul"] == pytest.approx(line["gflop"] / line["seconds"])
    assert 0 <= line["data_wait"] < 1
    assert sum(operator["share"] for operator in operators) == pytest.approx(1.0, abs=0.01)
