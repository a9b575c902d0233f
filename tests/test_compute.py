"""Device, precision and threads of a stage."""

import pytest
import torch

from rsvp.config import Compute
from rsvp.errors import UserError
from rsvp.training.compute import device_name, loader_workers, make_fabric


@pytest.fixture(autouse=True)
def threads():
    """Each test leaves the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_cpu_when_asked_for():
    fabric = make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert (fabric.device.type, device_name(fabric), loader_workers(fabric)) == ("cpu", "cpu", 0)
    assert fabric._precision.precision == "32-true"
    assert torch.get_num_threads() == 1
    drawn = torch.rand(3)
    make_fabric(Compute(device="cpu", threads=1), seed=5)
    assert torch.equal(torch.rand(3), drawn)


def test_missing_gpu_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"compute.device: 'cuda'.*allowed here: auto, cpu"):
        make_fabric(Compute(device="cuda"))
    assert make_fabric(Compute(device="auto", threads=1)).device.type == "cpu"
