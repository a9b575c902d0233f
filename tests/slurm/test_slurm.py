"""The tiny pipeline as jobs of a real SLURM that interrupts them; the bits of a local run.

`make test-slurm`. Needs root and Debian's packages; about ten minutes.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kills import compare, saved
from one_node import HOST, OneNode, one_node, processes_of, unpack
from projects import ROOT, Answer, Project
from tiny import CONFIG, tiny_project

pytestmark = pytest.mark.slurm
STAGE = "train_diffusion"
STEPS = 6000  # so that there is a middle to be interrupted in
# Keys of a site, and less patience, since all is on one disk.
SITE = {"latency-wait": 5}
SITES = {
    "slurm": {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 3},
    "cluster-generic": {},
}
PATIENCE = 600  # seconds; on a machine that others use


@pytest.fixture(scope="module")
def slurm():
    """A SLURM that runs while this module's tests do, with Snakemake's plugins beside it."""
    folder = Path(tempfile.mkdtemp(prefix="rsvp-slurm-"))
    try:
        if reason := unpack(folder):
            pytest.skip(reason)
        pins = re.findall(
            r"^snakemake-executor-plugin\S+", (ROOT / "envs/constraints.txt").read_text(), re.M
        )
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*command, str(folder / "plugins"), *pins], check=True)
        with one_node(folder) as node:
            node.environment["PYTHONPATH"] = str(folder / "plugins")
            yield node
        assert not list(processes_of(folder))
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Project:
    """The project whose results a run on this machine alone made."""
    project = tiny_project(tmp_path_factory.mktemp("local") / "project")
    values = yaml.safe_load(yaml.safe_dump(CONFIG))
    values["compute"] |= {"device": "auto", "save_seconds": 2}
    values["predictors"]["rsvp-m"]["steps"] = STEPS
    (project.folder / "config.yaml").write_text(yaml.safe_dump(values))
    for profile, keys in SITES.items():
        path = project.folder / f"profiles/{profile}/config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | SITE | keys))
    shutil.copytree(project.folder, project.folder.with_name("untouched"))
    answer = project.snakemake()
    assert answer.code == 0, answer.text
    return project


class Call:
    """A call of snakemake that submits to SLURM from the project's folder."""

    def __init__(self, node: OneNode, project: Project, profile: str, *flags: str) -> None:
        # A shell in the background ignores Ctrl-C, and so would all that it starts.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "snakemake",
                   "--workflow-profile", profile, *flags]  # fmt: skip
        self.output = project.folder / f"output-{time.monotonic_ns()}.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=project.folder, env=node.environment, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait(self) -> Answer:
        """Return the exit code and the output when the call has ended."""
        code = self.process.wait(900)
        return Answer(code, self.output.read_text())


class Training:
    """The training that is interrupted: the newest job of its rule, and what it saved."""

    def __init__(self, node: OneNode, project: Project, call: Call) -> None:
        self.node, self.project, self.call, self.done = node, project, call, 0

    @property
    def job(self) -> str:
        """The number of the newest job; "" while there is none."""
        lines = self.node.ask("squeue", "--states=all", "-ho", "%i %k").splitlines()
        return max((line.split()[0] for line in lines if STAGE in line), key=int, default="")

    def advance(self) -> str:
        """Wait until it has saved more steps than before; return its job."""
        self.wait_for(lambda: saved(self.project, STAGE)[0] > self.done)
        self.done = saved(self.project, STAGE)[0]
        assert self.done < STEPS, "it ended before it could be interrupted"
        return self.job

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, as long as snakemake works."""
        self.node.wait_for(lambda: condition() or self.call.process.poll() is not None, PATIENCE)
        assert self.call.process.poll() is None, self.call.wait().text

    def restart(self, job: str) -> None:
        """Let a job that was put back into the queue start now, not after two minutes."""
        self.wait_for(lambda: self.node.state(job) == "PENDING")
        self.node.ask("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=60")


def requeue(training: Training) -> None:
    """A person puts a job back."""
    job = training.advance()
    training.node.ask("scontrol", "requeue", job)
    training.restart(job)


def preempt(training: Training) -> None:
    """A job that goes before takes the whole node."""
    job = training.advance()
    urgent = ["--partition=urgent", "--exclusive", f"--chdir={training.node.folder}"]
    training.node.ask("sbatch", *urgent, "--wrap=true")
    training.restart(job)


def meet_the_limit(training: Training) -> None:
    """SLURM says that the time is nearly up; the stage puts its job back."""
    job = training.advance()
    training.node.ask("scontrol", "update", f"JobId={job}", "TimeLimit=3")
    training.restart(job)


def lose_the_node(training: Training) -> None:
    """The node goes down, and comes back."""
    job = training.advance()
    training.node.ask("scontrol", "update", f"NodeName={HOST}", "State=DOWN", "Reason=test")
    training.wait_for(lambda: training.node.state(job) == "PENDING")
    training.node.ask("scontrol", "update", f"NodeName={HOST}", "State=RESUME")
    training.restart(job)


def cancel(training: Training) -> None:
    """A person cancels the job; Snakemake tries again."""
    job = training.advance()
    training.node.ask("scancel", job)
    training.wait_for(lambda: int(training.job) > int(job))


def interrupt(training: Training) -> None:
    """Ctrl-C ends the call and its jobs; another call goes on."""
    job = training.advance()
    training.call.process.send_signal(signal.SIGINT)
    answer = training.call.wait()
    assert answer.code != 0 and "Traceback" not in answer.text, answer.text
    training.node.wait_for(lambda: training.node.state(job) == "CANCELLED", PATIENCE)
    training.call = Call(training.node, training.project, "slurm")


def kill_the_call(training: Training) -> None:
    """The call dies, and its job works on; another call goes on."""
    job = training.advance()
    training.call.process.kill()
    training.call = Call(training.node, training.project, "slurm")
    training.wait_for(lambda: training.node.state(job) in ("FAILED", "COMPLETED"))


INTERRUPTIONS = (
    requeue, preempt, meet_the_limit, lose_the_node, cancel, interrupt, kill_the_call,
)  # fmt: skip


def test_pipeline_that_slurm_interrupts_ends_with_the_bits_of_a_local_run(slurm, local):
    project = Project(local.folder.with_name("untouched"))
    training = Training(slurm, project, Call(slurm, project, "slurm"))
    for play in INTERRUPTIONS:
        play(training)
    answer = training.call.wait()
    assert answer.code == 0, answer.text
    assert "Traceback" not in answer.text
    assert compare(project.folder / "results", local.folder / "results") > 50
    logs = [path.read_text() for path in project.folder.glob("results/**/log.txt")]
    assert set(re.findall(r"rsvp\.runtime\.gpus: GPU (\S+)", "".join(logs))) == {"0", "1"}
    assert "Nothing to be done" in project.snakemake("-n").text


def test_commands_of_another_scheduler(slurm, local, tmp_path):
    project = Project(shutil.copytree(local.folder, tmp_path / "generic"))
    shutil.rmtree(project.folder / "results")
    answer = Call(slurm, project, "cluster-generic", "datasets/tiny/index.json").wait()
    assert answer.code == 0, answer.text
    for name in ("clips.csv", "index.json"):
        made, expected = (p.folder / "results/datasets/tiny" / name for p in (project, local))
        assert made.read_bytes() == expected.read_bytes()


def test_reason_of_a_failed_job_stands_at_the_end(slurm, local, tmp_path):
    project = Project(shutil.copytree(local.folder, tmp_path / "failing"))
    flags = ["--retries", "0", "--config", "predictors={rsvp-m: {learning_rate: 1.0e+9}}"]
    answer = Call(slurm, project, "slurm", "predictors/rsvp-m/seed0/index.json", *flags).wait()
    assert answer.code != 0
    assert "not finite" in answer.errors[-1] or " is nan at step" in answer.errors[-1], answer.text


def test_trainings_over_two_nodes_end_with_the_bits_of_one_process(slurm, local, tmp_path):
    """All three trainings. The last one's time is nearly up in its middle."""
    values = yaml.safe_load((local.folder / "config.yaml").read_text())
    values["compute"] |= {"device": "cpu", "micro_batches": 2}
    values["predictors"]["rsvp-m"]["steps"] = 1000
    alone, spread = (Project(shutil.copytree(local.folder, tmp_path / n)) for n in ("one", "two"))
    shared = values["compute"] | {"processes": 2, "nodes": 2}
    trained = "predictors/rsvp-m/seed0/index.json"
    for project, compute in ((alone, values["compute"]), (spread, shared)):
        shutil.rmtree(project.folder / "results")
        text = yaml.safe_dump(values | {"compute": compute})
        (project.folder / "config.yaml").write_text(text)
    answer = alone.snakemake(trained)
    assert answer.code == 0, answer.text
    profile = spread.folder / "profiles/slurm/config.yaml"
    keys = yaml.safe_load(profile.read_text())
    keys["default-resources"]["slurm_partition"] = "both"
    profile.write_text(yaml.safe_dump(keys))
    training = Training(slurm, spread, Call(slurm, spread, "slurm", trained))
    meet_the_limit(training)
    answer = training.call.wait()
    assert answer.code == 0, answer.text
    weights = sorted(alone.folder.glob("results/**/weights.safetensors"))
    assert len(weights) >= 3
    for path in weights:
        other = spread.folder / path.relative_to(alone.folder)
        assert other.read_bytes() == path.read_bytes(), path
        assert json.loads((other.parent / "run.json").read_text())["training_processes"] == 2
