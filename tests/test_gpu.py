"""benchmarks/gpu.py on a CPU, at toy size: each check runs, and a wrong answer fails."""

import json
import math
import sys
import time

import pandas as pd
import pytest
import torch

from benchmarks import gpu, speed
from tests.together import forkserver

ROW, SIZE = "frame-ldm", 32


@pytest.fixture(autouse=True)
def as_it_was():
    """Each test leaves what checks set, which run in processes of their own, as it was."""
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def arguments(monkeypatch, tmp_path):
    # New processes need not import all anew, as with CUDA, which does not outlive a fork.
    for module in (gpu, speed):
        monkeypatch.setattr(module, "get_context", lambda kind: forkserver())
    command = ["gpu", "--toy", "--device", "cpu", "--threads", "1", "--rows", ROW]
    command += ["--json", str(tmp_path / "gpu.json"), "--csv", str(tmp_path / "gpu.csv")]
    monkeypatch.setattr(sys, "argv", command)
    return gpu.parse()


def within(found):
    """Values by check; each is within its bound."""
    assert all(gpu.judged(value, bound) == "PASS" for _, value, bound, _ in found), found
    return {check: value for check, value, _, _ in found}


def test_agreement(arguments):
    found = within(gpu.agreement(arguments, ROW, SIZE))
    assert len(found) == 3 * len(gpu.TRAINING) + 2
    # The same device gives the same numbers, and bfloat16 others.
    assert found["predictions"] == 0.0 < found["predictions in bfloat16"]


def test_what_differs_fails(arguments, monkeypatch):
    """Weights that are moved in one of the passes, as by a GPU that computes otherwise."""
    passes, stir = [], gpu.stir

    def other(network):
        passes.append(network)
        for _ in passes:
            stir(network)

    monkeypatch.setattr(gpu, "stir", other)
    monkeypatch.setattr(gpu, "TRAINING", ())
    found = {check: (value, bound) for check, value, bound, _ in
             gpu.agreement(arguments, ROW, SIZE)}  # fmt: skip
    assert gpu.judged(*found["predictions"]) == "FAIL"


def test_metrics(arguments):
    assert {"LPIPS", "I3D", "sliced Wasserstein"} <= set(within(gpu.metrics(arguments, SIZE)))


def test_determinism(arguments):
    found = within(gpu.determinism(arguments, ROW, SIZE, "finetune"))
    assert found["tensors that differ"] == 0.0 < found["time of a step"]


def test_a_killed_training_is_resumed(arguments):
    found = within(gpu.resumption(arguments, ROW, SIZE, "denoise"))
    assert set(found.values()) == {0.0}


def test_two_processes(arguments):
    assert within(gpu.two_processes(arguments, ROW, SIZE))["gradient"] < 1e-5


def test_speed(arguments):
    found = within(gpu.speed(arguments, ROW, SIZE))
    assert len(found) == 3 * 5 and all(value >= 0.0 for value in found.values())


def test_a_phase_that_fails_leaves_the_others(arguments, monkeypatch):
    def failing(setup):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setitem(speed.PHASES, "pretrain", failing)
    for phase in ("finetune", "cache", "denoise"):
        monkeypatch.delitem(speed.PHASES, phase)
    found = gpu.speed(arguments, ROW, SIZE)
    assert len(found) == 1 + 3 and found[0][3] == "OutOfMemoryError: CUDA out of memory."
    assert gpu.judged(*found[0][1:3]) == "FAIL"


def test_command_writes_what_it_found(arguments, monkeypatch, capsys, tmp_path):
    small = [("metrics", "short", short, (math.inf,)), ("metrics", "lacking", lacking, ())]
    monkeypatch.setattr(gpu, "checks", lambda arguments: iter(small))
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "PASS metrics, short: same: 0 (at most 1)" in said
    assert "FAIL metrics, short: other: inf (at most 1); as asked" in said
    assert "SKIP metrics, lacking: needs the package nowhere" in said
    assert "3 checks: 1 failed, 1 skipped." in said
    kept = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert [line["status"] for line in kept] == ["PASS", "FAIL", "SKIP"]
    assert [line["value"] for line in kept] == [0.0, None, None]
    assert pd.read_csv(tmp_path / "gpu.csv")["status"].tolist() == ["PASS", "FAIL", "SKIP"]


def short(arguments, value):
    return [("same", 0.0, 1.0, ""), ("other", value, 1.0, "as asked")]


def lacking(arguments):
    import nowhere  # noqa: F401


def endless(arguments):
    time.sleep(600)


def test_what_does_not_fit_is_skipped(arguments):
    assert gpu.run("speed", "a", short, (arguments, 3), 1.0)[0].note == "no time left"
    assert gpu.in_time(endless, (arguments,), 0.5) == ("late", "took longer than 0 s")


def test_checks_are_of_the_sections_that_are_chosen(arguments):
    assert {section for section, *_ in gpu.checks(arguments)} == set(gpu.SECTIONS)
    arguments.sections, arguments.toy = ["speed"], False
    names = [name for _, name, _, _ in gpu.checks(arguments)]
    assert names == [f"{ROW}, {size} px" for size in (64, 128, 256)]
