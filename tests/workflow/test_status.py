"""The words of `rsvp status` on stages that run, were stopped, are stale, or wait."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest
import status
from tiny import CONFIG, write_config, write_videos

from rsvp.runtime.progress import PROGRESS
from tests.workflow.projects import ROOT, Project


@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    """Ask for the status of a tiny project; returns the lines."""
    project = Project(tmp_path)
    write_config(project, CONFIG)
    write_videos(project, 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["status"])

    def ask():
        status.main()
        return capsys.readouterr().out.splitlines()

    return ask


def stage(tmp_path, path, process=None, **progress):
    """Write what a stage leaves: its lock, and its progress."""
    folder = tmp_path / "results" / path
    folder.mkdir(parents=True)
    holder = {"process": process, "machine": platform.node()} if process else {}
    (folder / ".lock").write_text(json.dumps(holder))
    (folder / PROGRESS).write_text(json.dumps({"time": time.time(), "unit": "step"} | progress))


def test_nothing_ran(asked):
    lines = asked()
    assert lines[0].endswith("results: no snakemake works here")
    assert "decode                 2 to do" in lines
    total = sum(int(line.split()[1]) for line in lines[1:-1])
    assert lines[-1] == f"0 of {total} jobs are done"


def test_running_stopped_and_stale(asked, tmp_path):
    trained = {"work": "pretrain", "done": 40, "total": 100, "made": 20, "seconds": 10.0}
    stage(tmp_path, "autoencoders/rsvp/seed0/pretrained", os.getpid(), **trained)
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    stage(tmp_path, "datasets/tiny/frames/1", killed.pid,
          work="decode", done=3, total=7, made=3, seconds=1.0)  # fmt: skip
    index = tmp_path / "results/real_features/tiny/index.json"
    index.parent.mkdir(parents=True)
    index.write_text("{}")
    lines = asked()
    at = lines.index("pretrain_autoencoder   1 running")
    # 60 steps at 2 a second, less the time since the note was written.
    words = "    rsvp seed 0: running, pretrain, 40 of 100 steps, 2 a second, "
    assert lines[at + 1] in [f"{words}{left} s left" for left in (30, 29, 28)]
    at = lines.index("decode                 1 to do, 1 stopped")
    assert lines[at + 1] == "    tiny share 1: stopped, decode, 3 of 7 steps"
    at = lines.index("real_features          1 stale")
    assert "no provenance" in lines[at + 1]


def test_status_loads_no_torch(tmp_path):
    code = "import sys, status; sys.exit('torch' in sys.modules)"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "workflow")])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0
