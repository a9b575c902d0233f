"""A GPU for each job, tried with pretended devices: the environment says which there are."""

import os
import subprocess
import sys

import pytest

from rsvp.runtime import gpus
from rsvp.runtime.errors import UserError
from rsvp.runtime.gpus import VISIBLE, hold_gpus, visible_gpus

HOLD = """
import os, sys
from rsvp.runtime.gpus import hold_gpus
held = hold_gpus(int(sys.argv[1]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    """Locks that no other test has."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus.tempfile, "tempdir", None)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


class Job:
    """A process that holds GPUs until it is let go."""

    def __init__(self, count=1):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def has(self):
        return self.process.stdout.readline().strip()

    def end(self):
        return self.process.communicate()[1]


@pytest.mark.parametrize(
    ("value", "names"),
    [("0,1", ["0", "1"]), ("GPU-a, MIG-b", ["GPU-a", "MIG-b"]), ("", []), ("-1", []),
     ("2,-1,3", ["2"]), ("NoDevFiles", [])],
)  # fmt: skip
def test_gpus_are_those_that_the_environment_leaves(monkeypatch, value, names):
    monkeypatch.setenv(VISIBLE, value)
    assert visible_gpus() == names


def test_without_a_word_of_the_environment_all_gpus_of_the_machine_count(monkeypatch, tmp_path):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path / "dev")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho '  MIG'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert visible_gpus() == ["0"]
    for name in ("nvidia3", "nvidia5", "nvidia7", "nvidiactl"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    (tmp_path / "dev/nvidia7").unlink()
    (tmp_path / "dev/nvidia7").mkdir()  # cannot be opened: as one that is another job's
    assert visible_gpus() == ["0", "1"]


def test_each_job_gets_a_gpu_of_its_own_and_the_third_waits(monkeypatch):
    monkeypatch.setenv(VISIBLE, "4,GPU-b")
    first, second = Job(), Job()
    assert {first.has, second.has} == {"4", "GPU-b"}
    third = Job()
    assert "waiting for a free GPU of 4, GPU-b" in third.process.stderr.readline()
    second.process.kill()  # a lock dies with its process
    assert third.has in ("4", "GPU-b")
    for job in (first, second, third):
        job.end()


def test_a_training_over_processes_gets_as_many(monkeypatch):
    monkeypatch.setenv(VISIBLE, "0,1,2")
    one = Job()
    taken = one.has
    two = Job(2)
    assert set(two.has.split(",")) | {taken} == {"0", "1", "2"}
    one.end()
    two.end()
    with pytest.raises(UserError, match=r"over 4 processes .* here 3 can be used \(0, 1, 2\)"):
        hold_gpus(4)


def test_two_jobs_of_a_scheduler_do_not_wait_for_each_other(monkeypatch):
    """There the same number may mean two GPUs."""
    monkeypatch.setenv(VISIBLE, "0")
    first = Job()
    assert first.has == "0"
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    second = Job()
    assert second.has == "0"
    first.end()
    second.end()


def test_nothing_is_held_or_hidden_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv(VISIBLE, "")
    assert hold_gpus(1) == []
    assert os.environ[VISIBLE] == ""


STAGES = """
import sys
import torch
asked = []
for name in ("is_available", "device_count"):
    setattr(torch.cuda, name, lambda: asked.append(name))
torch._C._cuda_getDeviceCount = lambda: asked.append("count")
for name in sys.argv[1:]:
    __import__(f"rsvp.stages.{name}")
print(asked)
"""


def test_no_stage_looks_for_gpus_before_it_is_handed_its_own():
    """CUDA reads the environment once."""
    stages = ["pretrain_autoencoder", "finetune_autoencoder", "cache_latents", "train_diffusion"]
    stages += ["predict", "reconstruct", "evaluate", "real_features", "measure_semantics"]
    command = [sys.executable, "-c", STAGES, *stages, "check_memorisation"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
