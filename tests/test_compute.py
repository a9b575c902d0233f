"""Device, precision and threads of a stage."""

import os

import pytest
import torch

from rsvp.config.schema import Compute
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.errors import UserError


@pytest.fixture(autouse=True)
def threads():
    """Each test leaves the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_cpu_when_asked_for():
    fabric = make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert (fabric.device.type, device_name(fabric)) == ("cpu", "cpu")
    assert fabric._precision.precision == "32-true"
    assert torch.get_num_threads() == 1
    drawn = torch.rand(3)
    make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert torch.equal(torch.rand(3), drawn)


def test_deterministic_is_set_before_cuda_starts(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen = []

    def is_available():
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    try:
        make_fabric(Compute(threads=1, deterministic=True))
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
