"""A job of a cluster, whose snakemake runs on another machine: it looks at nothing but its job."""

import json
import os
import re
import shutil
import subprocess
import sys

import plan
import pytest
import yaml
from plan import Plan
from projects import Answer, Project

from rsvp.runtime.lock import RESULTS_LOCK, RUN

SPLIT = ["--target-jobs", "split:dataset=tiny", "--allowed-rules", "split"]
TABLE = "results/datasets/tiny/clips.csv"


def as_on_a_node(project: Project, *flags: str, **environment: str) -> Answer:
    """Run snakemake as a scheduler's job does, from another folder than the user's."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(project.folder / "Snakefile"),
               "--mode", "remote", "--cores", "1", "--force", "--nolock", "--ignore-incomplete",
               "--executor", "local", "--no-hooks", *flags]  # fmt: skip
    env = os.environ | {"RSVP_START": str(project.folder)} | environment
    folder = project.folder / "results"
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    return Answer(done.returncode, done.stdout + done.stderr)


def test_job_neither_lists_nor_hashes(moved, monkeypatch):
    config = yaml.safe_load((moved.folder / "config.yaml").read_text())
    whole = Plan(config, str(moved.folder))
    jobs = [(job.stage, job.folder, job.inputs) for job in whole.jobs]
    for name in ("list_sources", "content_hashes", "sha256_of_file", "closure_of"):
        monkeypatch.setattr(plan, name, lambda *_, name=name: pytest.fail(f"{name} was called"))
    monkeypatch.setattr(plan.Results, "hash", lambda *_: pytest.fail("an input was hashed"))
    node = Plan(config, str(moved.folder), looks=False)
    assert [(job.stage, job.folder, job.inputs) for job in node.jobs] == jobs
    for share in "01":
        names = {"dataset": "tiny", "share": share}
        listed = moved.folder / "results" / whole.state.list_file(whole.job("decode", **names))
        planned = whole.sources_of("tiny", whole.videos["tiny"][int(share)])
        written = json.loads(listed.read_text())
        for videos in (planned["videos"], written["videos"]):
            for video in videos:
                video.pop()  # the state of its file, which is another one in a copy
        assert written["videos"] == planned["videos"]
        handed = node.handed("decode")(names)
        assert handed["settings"] == f".snakemake/rsvp/datasets/tiny/frames/{share}.json"


def test_job_runs_where_the_videos_cannot_be_seen(moved):
    shutil.rmtree(moved.folder / "videos")
    before = (moved.folder / TABLE).read_bytes()
    answer = as_on_a_node(moved, *SPLIT)
    assert answer.code == 0, answer.text
    assert (moved.folder / TABLE).read_bytes() == before
    assert "started" in (moved.folder / "results/datasets/tiny/log.txt").read_text()


def test_job_of_a_snakemake_that_is_gone_touches_nothing(moved):
    """It may have waited in the queue while another one finished the work."""
    (moved.folder / "results" / RESULTS_LOCK).write_text("process 7 on another, since today\n")
    before = (moved.folder / "results/datasets/tiny/log.txt").stat()
    answer = as_on_a_node(moved, *SPLIT, **{RUN: "process 6 on another, since yesterday"})
    assert answer.code == 2
    assert "another snakemake works here since this job was submitted" in answer.errors[-1]
    assert "Traceback" not in answer.text
    assert (moved.folder / TABLE).exists()
    assert (moved.folder / "results/datasets/tiny/log.txt").stat() == before


def test_snakemake_counts_the_gpus_that_are_left_and_a_job_locks_one(moved, monkeypatch):
    """Pretended ones: PyTorch finds none, and goes on on the CPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    target = "autoencoders/rsvp/seed0/pretrained/index.json"
    answer = moved.snakemake(target, "--verbose", "--config", "compute={device: auto}")
    assert answer.code == 0, answer.text
    assert re.search(r"Provided resources: gpu=\D*2\b", answer.text), answer.text
    log = (moved.folder / "results/autoencoders/rsvp/seed0/pretrained/log.txt").read_text()
    assert re.findall(r"rsvp\.runtime\.gpus: GPU (\S+)", log) == ["4"]
