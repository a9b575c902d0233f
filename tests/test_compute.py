"""Device, precision and threads of a stage."""

import os
import subprocess
import sys
from types import SimpleNamespace

import lightning_fabric
import pytest
import torch

from rsvp.config.schema import Compute
from rsvp.runtime.device import device_name, full_precision, make_fabric, start_inference
from rsvp.runtime.errors import UserError


@pytest.fixture(autouse=True)
def as_it_was():
    """Each test leaves the number of threads, and the use of TF32, as they were."""
    threads, products = torch.get_num_threads(), torch.backends.cuda.matmul
    allowed = products.allow_tf32
    yield
    torch.set_num_threads(threads)
    products.allow_tf32 = allowed


def test_cpu_when_asked_for():
    fabric = make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert (fabric.device.type, device_name(fabric)) == ("cpu", "cpu")
    assert fabric._precision.precision == "32-true"
    assert torch.get_num_threads() == 1
    drawn = torch.rand(3)
    make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert torch.equal(torch.rand(3), drawn)


def test_inference_is_set_up_as_training():
    inference = start_inference(Compute(device="cpu", threads=1), seed=5)
    assert (inference.device, device_name(inference)) == (torch.device("cpu"), "cpu")
    assert torch.get_num_threads() == 1
    drawn = torch.rand(3)
    fabric = make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert torch.equal(torch.rand(3), drawn)
    assert fabric._precision.precision == inference.precision


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_inference_rounds_as_training(precision):
    compute = Compute(device="cpu", threads=1, precision=precision)
    one, other = torch.rand(2, 3, 3)
    products = []
    for started in (make_fabric(compute), start_inference(compute)):
        with started.autocast():
            products.append(one @ other)
    assert products[0].dtype == products[1].dtype
    assert (products[1].dtype == torch.float32) == (precision == "32-true")
    assert torch.equal(*products)


@pytest.mark.parametrize("start", [make_fabric, start_inference])
def test_deterministic_is_set_before_cuda_starts(start, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen = []

    def is_available():
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    try:
        start(Compute(threads=1, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    assert seen and set(seen) == {":4096:8"}
    assert not torch.backends.cudnn.benchmark


def test_missing_gpu_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"compute.device: 'cuda'.*allowed here: auto, cpu"):
        make_fabric(Compute(device="cuda"))
    assert make_fabric(Compute(device="auto", threads=1)).device.type == "cpu"


@pytest.mark.parametrize(("generation", "expected"), [(7, "32-true"), (8, "bf16-mixed")])
def test_bf16_is_for_gpus_that_compute_in_it(generation, expected, monkeypatch):
    """Those before Ampere (V100, T4, RTX 20) emulate it."""
    properties = SimpleNamespace(major=generation, minor=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: properties)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda *_: True)
    made = []
    fabric = SimpleNamespace(launch=lambda: None)
    monkeypatch.setattr(lightning_fabric, "Fabric", lambda **given: made.append(given) or fabric)
    make_fabric(Compute(threads=1))
    assert (made[0]["accelerator"], made[0]["precision"]) == ("cuda", expected)
    used: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    inference = start_inference(Compute(threads=1))
    assert inference.device == torch.device("cuda", 0) and used == [inference.device]
    assert inference.precision == expected


def test_full_precision_leaves_cudnn_on():
    cudnn = torch.backends.cudnn
    before = cudnn.enabled, cudnn.allow_tf32
    with full_precision():
        assert cudnn.enabled and not cudnn.allow_tf32
    assert (cudnn.enabled, cudnn.allow_tf32) == before == (True, True)


def test_stages_that_train_nothing_start_fast():
    """Fabric takes as long to import as torch, and torchvision longer."""
    stages = ("evaluate", "predict_baseline", "report", "predict", "reconstruct", "cache_latents",
              "measure_semantics", "predict_simvp")  # fmt: skip
    code = f"""
import sys
from rsvp.config.schema import Compute
from rsvp.runtime.device import start_inference
from rsvp.stages import {", ".join(stages)}
start_inference(Compute(device="cpu", threads=1))
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lightning_fabric", "torchvision", "torch._dynamo"} & set(done.stdout.split())
