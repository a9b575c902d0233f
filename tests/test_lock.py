"""One run per folder; a stage whose Snakemake has died saves and ends."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from rsvp.runtime import lock
from rsvp.runtime.code import ROOT
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import atomic_path
from rsvp.runtime.lock import (
    REQUEUE,
    RESULTS_LOCK,
    RUN,
    STARTER,
    TIME_IS_UP,
    await_orphan,
    lock_folder,
)

# A stage that works until its starter has ended; "deaf" ones never look.
STAGE = """
import sys, time
from pathlib import Path
from rsvp.runtime.lock import end_without_starter, lock_folder
held = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
while True:
    time.sleep(0.05)
    if sys.argv[2] != "deaf":
        end_without_starter()
"""

# Poses as the Snakemake that starts the stage, until its stdin ends.
SNAKEMAKE = f"""
import json, os, subprocess, sys
os.environ["{STARTER}"] = str(os.getpid())
command = json.loads(sys.stdin.readline())
print(subprocess.Popen(command, stdin=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


class Run:
    """A stage that holds a folder, and the process that started it."""

    def __init__(self, folder, manner, wrapped=False):
        self.snakemake = subprocess.Popen(
            [sys.executable, "-c", SNAKEMAKE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        command = [sys.executable, "-c", STAGE, str(folder), manner]
        if wrapped:  # by a shell that waits, and outlives a Snakemake that is killed
            command = ["sh", "-c", '"$@"; true', "sh", *command]
        print(json.dumps(command), file=self.snakemake.stdin, flush=True)
        self.child = int(self.snakemake.stdout.readline())
        assert self.snakemake.stdout.readline() == "held\n"
        self.pid = json.loads((folder / ".lock").read_text())["process"]

    def kill_snakemake(self):
        self.snakemake.kill()
        self.snakemake.wait()

    def end(self):
        for process in (self.child, self.pid):
            if lock.is_running(process):
                os.kill(process, signal.SIGKILL)
        self.kill_snakemake()
        self.snakemake.stdin.close()
        self.snakemake.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Start stages that hold the test's folder."""
    runs = []

    def start_one(*manner):
        runs.append(Run(tmp_path, *manner))
        return runs[-1]

    yield start_one
    for run in runs:
        run.end()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_stage_ends_when_its_snakemake_is_killed(tmp_path, start, caplog, wrapped):
    run = start("obedient", wrapped)
    time.sleep(0.3)
    assert lock.is_running(run.pid)
    run.kill_snakemake()
    held = lock_folder(tmp_path, patience=20.0)
    assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    held.close()
    assert "waiting for process" in caplog.text or not caplog.text


def test_a_run_waits_for_an_orphan_to_save_and_end(tmp_path, start, caplog):
    run = start("deaf")
    run.kill_snakemake()
    waiting = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {run.pid}"])
    lock_folder(tmp_path, patience=20.0).close()
    waiting.wait()
    assert f"waiting for process {run.pid} on {lock.platform.node()}" in caplog.text


def test_an_orphan_that_stays_is_named(tmp_path, start):
    run = start("deaf")
    run.kill_snakemake()
    started = time.monotonic()
    name = rf"\(process {run.pid} on {lock.platform.node()}, whose Snakemake has ended\)"
    with pytest.raises(UserError, match=name):
        lock_folder(tmp_path, patience=0.5)
    assert 0.5 <= time.monotonic() - started < 10
    assert lock.is_running(run.pid)


def test_a_run_whose_snakemake_lives_is_left_alone_and_named_at_once(tmp_path, start):
    """A stage that is run by hand beside it must not end the trainer."""
    run = start("obedient")
    with pytest.raises(UserError, match=rf"\(process {run.pid} on ") as error:
        lock_folder(tmp_path, patience=20.0)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    time.sleep(0.3)
    assert lock.is_running(run.pid)


def test_a_retry_waits_for_the_job_that_snakemake_has_given_up(tmp_path, start, monkeypatch):
    """It may still save, on another machine, when its successor begins."""
    monkeypatch.setenv(RUN, "first")
    run = start("deaf")
    with pytest.raises(
        UserError, match=rf"\(process {run.pid} on .*, whose job Snakemake has given"
    ):
        lock_folder(tmp_path, patience=0.3)
    run.end()
    lock_folder(tmp_path, patience=10.0).close()


def test_a_stage_run_by_hand_has_no_starter(monkeypatch):
    monkeypatch.delenv(STARTER, raising=False)
    assert not lock.starter_ended()
    assert not lock.is_orphan({"process": 1, "machine": lock.platform.node(), "starter": None})


def test_a_starter_is_looked_for_on_its_own_machine_alone():
    dead = subprocess.Popen(["true"])
    dead.wait()
    holder = {"process": 1, "machine": lock.platform.node(), "starter": dead.pid}
    assert lock.is_orphan(holder)
    assert not lock.is_orphan(holder | {"machine": "another"})


def test_a_process_of_another_call_of_snakemake_is_an_orphan_on_any_machine(monkeypatch):
    holder = {"process": 1, "machine": "another", "starter": 1, "run": "first"}
    assert not lock.is_orphan(holder)
    monkeypatch.setenv(RUN, "second")
    assert lock.is_orphan(holder)
    assert not lock.is_orphan(holder | {"run": "second"})
    assert not lock.is_orphan(holder | {"run": None})


def test_a_stage_ends_when_another_snakemake_takes_the_results_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN, "first")
    (tmp_path / ".snakemake").mkdir()
    for content, ended in (("", False), ("first\n", False), ("second\n", True)):
        (tmp_path / RESULTS_LOCK).write_text(content)
        lock.working_run.cache_clear()
        assert lock.starter_ended() == ended
    with pytest.raises(SystemExit) as end:
        lock.end_without_starter()
    assert end.value.code == 1


def test_a_new_call_of_snakemake_waits_for_orphans_alone(tmp_path, monkeypatch, start):
    run = start("deaf")
    await_orphan(tmp_path)  # its Snakemake lives
    await_orphan(tmp_path / "none")
    run.kill_snakemake()
    monkeypatch.setattr(lock.lock_folder, "__defaults__", (0.5,))
    with pytest.raises(UserError, match="whose Snakemake has ended"):
        await_orphan(tmp_path)


SQUEUE = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in *"--jobs 7") echo RUNNING;; *) exit 1;; esac
"""


@pytest.mark.parametrize(("job", "waits"), [("7", True), ("8", False), (None, False)])
def test_where_locks_hold_on_one_machine_alone_slurms_job_is_the_guard(
    tmp_path, monkeypatch, job, waits
):
    """The other machine's process cannot be seen from here; its lock neither."""
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text(SQUEUE)
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.1)
    holder = {"process": 5, "machine": "another", "starter": 4, "run": "r", "job": job}
    (tmp_path / ".lock").write_text(json.dumps(holder))
    if waits:
        with pytest.raises(UserError, match=r"process 5 on another in SLURM's job 7"):
            lock_folder(tmp_path, patience=0.3)
        monkeypatch.setenv("SLURM_JOB_ID", "7")  # put back into the queue, on this machine now
    lock_folder(tmp_path).close()


TIMED = """
import signal, sys, time
from pathlib import Path
from rsvp.runtime.lock import end_without_starter, starter_ended
from rsvp.runtime.main import run_stage, stage_parser

def run(parsed, settings):
    print("works", flush=True)
    while not starter_ended():
        time.sleep(0.05)
    print("saves", flush=True)
    end_without_starter()

parser = stage_parser(None)
parser.prog = "rsvp.stages.split"
sys.argv += ["--settings", "settings.json", "--record", "made/run.json"]
run_stage(parser, run)
"""


def test_a_stage_whose_time_is_up_saves_and_puts_its_job_back_into_the_queue(tmp_path):
    (tmp_path / "settings.json").write_text("{}")
    environment = os.environ | {REQUEUE: f"touch {tmp_path / 'back'}"}
    command = [sys.executable, "-c", TIMED]
    stage = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert stage.stdout.readline() == "works\n"
    stage.send_signal(TIME_IS_UP)
    assert stage.communicate()[0] == "saves\n"
    assert stage.returncode == 128 + signal.SIGUSR1
    assert (tmp_path / "back").exists()


def test_temporary_files_name_their_machine(tmp_path):
    with atomic_path(tmp_path / "index.json") as temporary:
        assert temporary.name == f".index.json.{os.getpid()}@{lock.platform.node()}.tmp"
        temporary.touch()


def test_killed_holder_leaves_nothing_to_clear_up(tmp_path, start):
    run = start("deaf")
    os.kill(run.pid, signal.SIGKILL)
    with open(tmp_path / ".lock", "a+", encoding="utf-8") as stream:
        deadline = time.monotonic() + 10
        while not lock.try_lock(stream) and time.monotonic() < deadline:
            time.sleep(0.05)
    lock_folder(tmp_path).close()


def test_half_written_files_of_dead_processes_go_when_the_folder_is_locked(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "state").mkdir()
    here = lock.platform.node()
    left = [
        tmp_path / f".index.json.{dead.pid}@{here}.tmp",
        tmp_path / "state" / f".state-000000009.safetensors.{dead.pid}@{here}.tmp",
    ]
    kept = [
        tmp_path / f".index.json.{os.getpid()}@{here}.tmp",
        tmp_path / f".index.json.{dead.pid}@another.tmp",
        tmp_path / ".mine.tmp",
    ]
    for path in left + kept:
        path.touch()
    lock_folder(tmp_path).close()
    assert [path.exists() for path in left + kept] == [False, False, True, True, True]


def test_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with pytest.raises(UserError, match=r"\.lock: cannot be locked \(No locks available\)"):
        lock_folder(tmp_path)


BECOME_ANOTHER = """
import os
if not os.geteuid():  # root may write everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""
STAGE_OF_ANOTHER = f"""
import sys
from pathlib import Path
from rsvp.runtime.main import run_stage, stage_parser
{BECOME_ANOTHER}
parser = stage_parser(None)
parser.prog = "rsvp.stages.split"
sys.argv += ["--settings", "settings.json", "--record", "run.json"]
run_stage(parser, lambda *_: Path("state/journal.json").write_text("mine"))
"""
SNAKEMAKE_OF_ANOTHER = f"""
import sys
sys.path.append({str(ROOT / "workflow")!r})
from session import hold_results
{BECOME_ANOTHER}
hold_results()
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (".lock", STAGE_OF_ANOTHER),
        ("state/journal.json", STAGE_OF_ANOTHER),
        (".snakemake/rsvp.lock", SNAKEMAKE_OF_ANOTHER),
    ],
)
def test_a_file_of_another_user_is_one_line(tmp_path, name, code):
    for folder in ("state", ".snakemake"):
        (tmp_path / folder).mkdir()
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / name).touch()
    (tmp_path / name).chmod(0o444)
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o555)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{name}: Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
