"""The doctor's lines: the scheduler's answers and the file system are pretended."""

import argparse
from pathlib import Path

import pytest
import torch
import yaml

from rsvp.commands import doctor

ROOT = Path(__file__).parents[1]


def commands(folder: Path, monkeypatch, **scripts: str) -> None:
    """Let these commands be all that PATH leads to."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}")


def found(lines) -> dict[str, tuple[bool, str]]:
    return {about: (works, text) for works, about, text in lines}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("infinite", float("inf")), ("30", 0.5), ("30:00", 30), ("2:30:00", 150), ("1-00:00:00", 1440),
     ("2-12", 3600), ("1-00:30", 1470)],
)  # fmt: skip
def test_times_of_slurm_in_minutes(limit, expected):
    """https://slurm.schedmd.com/sbatch.html#OPT_time"""
    assert doctor.minutes(limit) == expected


def test_without_a_scheduler_nothing_is_wrong(tmp_path, monkeypatch):
    commands(tmp_path, monkeypatch)
    ((works, about, text),) = doctor.scheduler()
    assert works and about == "SLURM" and "none here" in text


def test_partitions_and_the_way_to_ask_for_states(tmp_path, monkeypatch):
    listed = "echo 'gpu*|1-00:00:00|512000|gpu:a100:4|up'; echo 'short|30:00|64000|(null)|up'"
    commands(tmp_path, monkeypatch, sbatch="", sacct="exit 1", sinfo=listed)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    plugin, states, long, short = doctor.scheduler()
    assert not plugin[0] and "pip install" in plugin[2]
    assert "slurm-status-command: squeue" in states[2]
    assert long[2] == "gpu*: at most 1-00:00:00, 512000 MB a node, gres gpu:a100:4, up"
    assert short[2].endswith("need a `runtime` of 30 or less in the profile")


def test_locks_and_room_of_the_results_folder(tmp_path, monkeypatch):
    lines = found(doctor.storage(tmp_path / "not there yet"))
    assert lines["locks"][0] and lines["locks"][1].endswith(": work")
    monkeypatch.setattr(doctor, "file_system", lambda place: ("lustre", ["rw", "localflock"]))
    monkeypatch.setattr(doctor, "LITTLE_GB", 1e9)
    lines = found(doctor.storage(tmp_path))
    assert not lines["locks"][0] and "on each machine alone (localflock)" in lines["locks"][1]
    assert not lines["disk"][0] and "make room" in lines["disk"][1]


def test_file_system_is_that_of_the_nearest_mount(tmp_path, monkeypatch):
    mounts = f"a / ext4 rw 0 0\nb {tmp_path} nfs4 rw,local_lock=none 0 0\nc /pro tmpfs rw 0 0\n"
    monkeypatch.setattr(doctor.Path, "read_text", lambda *_, **__: mounts)
    assert doctor.file_system(tmp_path / "results") == ("nfs4", ["rw", "local_lock=none"])
    assert doctor.file_system(Path("/elsewhere")) == ("ext4", ["rw"])


def test_gpu_that_pytorch_does_not_see_is_wrong(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "visible_gpus", lambda: ["0"])
    ((works, _, text),) = doctor.gpu()
    assert not works and "PyTorch finds none" in text
    monkeypatch.setattr(doctor, "visible_gpus", list)
    ((works, _, text),) = doctor.gpu()
    assert works


def test_it_ends_with_1_where_something_is_to_be_done(tmp_path, monkeypatch, capsys):
    values = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"results": str(tmp_path)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    arguments = argparse.Namespace(config=tmp_path / "config.yaml")
    doctor.run(arguments)
    assert "BAD" not in capsys.readouterr().out
    monkeypatch.setattr(doctor, "LITTLE_GB", 1e9)
    with pytest.raises(SystemExit) as end:
        doctor.run(arguments)
    assert end.value.code == 1
    assert "BAD  disk" in capsys.readouterr().out
