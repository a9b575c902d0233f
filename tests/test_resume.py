"""One run per folder, and journals that a killed stage goes on from."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from rsvp.config import schema, stages
from rsvp.config.schema import DetectorProgram
from rsvp.config.stages import Settings, read_settings
from rsvp.runtime import journal as journal_module
from rsvp.runtime import lock
from rsvp.runtime.code import ROOT
from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import SAVE_SECONDS, Journal, StateKey, forget, state_key
from rsvp.runtime.lock import hold

KEY = StateKey("code", "work")


def trained(**values):
    """The settings of `train_diffusion` as the workflow hands them on."""
    predictor = {"autoencoder": "a", "learning_rate": 0.1, "steps": 5, "seconds": 60.0}
    return {"name": "p", "seed": 0, "predictor": predictor | values, "compute": {"threads": 1}}


def key(values, *inputs, code="a"):
    settings = Settings(handed=values)
    return state_key(code, settings, *inputs)


def test_state_key_is_of_code_settings_and_inputs_but_not_of_steps(tmp_path):
    file = tmp_path / "index.json"
    file.write_text("1")
    start = key(trained(), file)
    assert key(trained(steps=99, seconds=1.0), file) == start
    assert key(trained(learning_rate=0.5), file) != start
    assert key(trained(sampler={"steps": 2}), file) != key(trained(sampler={"steps": 3}), file)
    assert key(trained() | {"seed": 1}, file) != start
    assert key(trained(), file, code="b") != start
    file.write_text("2")
    assert key(trained(), file) != start


@pytest.mark.parametrize("part", ["pretrain", "finetune"])
def test_state_key_of_an_autoencoder_is_not_of_its_steps(part):
    def of(**values):
        values = {"width": 8, part: {"learning_rate": 0.1, "steps": 5} | values}
        return state_key("a", Settings(handed={"autoencoder": values}))

    assert of(steps=9) == of()
    assert of(learning_rate=0.2) != of()


def test_state_key_is_of_what_was_handed_alone(monkeypatch):
    """Not of defaults: an option of the report that a later rsvp adds resets no training."""
    values = {"predictor": {"steps": 3}, "seed": 1}
    start = state_key("a", read_settings(values))
    report = dataclasses.make_dataclass(
        "Report", [("new", int, dataclasses.field(default=1))], bases=(schema.Report,)
    )
    later = dataclasses.make_dataclass(
        "Settings",
        [("report", report, dataclasses.field(default_factory=report))],
        bases=(Settings,),
    )
    monkeypatch.setattr(stages, "Settings", later)
    settings = stages.read_settings(values)
    assert settings.report.new == 1
    assert state_key("a", settings) == start
    assert values == {"predictor": {"steps": 3}, "seed": 1}


def test_files_that_settings_name_count_by_content(tmp_path):
    program, values = tmp_path / "detector.py", Settings()
    program.write_text("1")
    values.weights.detectors = {"mine": DetectorProgram(program=str(program))}
    start = state_key("a", values)
    program.write_text("2")
    assert state_key("a", values) != start


def test_bars_are_drawn_as_often_as_the_environment_says():
    """The workflow sets it, for terminals and log files; tqdm takes an argument before it."""
    shown = "from rsvp.resume import batches; print(batches(0, 3, 1, 'test').mininterval)"
    environment = os.environ | {"TQDM_MININTERVAL": "10"}
    command = [sys.executable, "-c", shown]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "10.0\n", done.stderr
    sources = [path for path in (ROOT / "rsvp").rglob("*.py") if "mininterval" in path.read_text()]
    assert sources == []


def test_journal_holds_what_was_saved_last(tmp_path):
    journal = Journal(tmp_path, KEY)
    assert journal.done is None
    journal.save({"clips": 1})
    journal.save({"clips": 2})
    assert Journal(tmp_path, KEY).done == {"clips": 2}
    forget(tmp_path)
    assert Journal(tmp_path, KEY).done is None


@pytest.mark.parametrize("key", [StateKey("code", "other"), StateKey("other", "work")])
def test_journal_of_another_key_is_not_gone_on_from(tmp_path, caplog, key):
    Journal(tmp_path, KEY).save({"clips": 1})
    (tmp_path / "part-00000.safetensors").touch()
    assert Journal(tmp_path, key).done is None
    assert "starting anew" in caplog.text
    # The other work's files get written over: its journal must not speak of them later.
    assert Journal(tmp_path, KEY).done is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_broken_journal_starts_anew(tmp_path, caplog, content):
    (tmp_path / "journal.json").write_text(content)
    assert Journal(tmp_path, KEY).done is None
    assert "starting anew" in caplog.text


def test_journal_is_due_after_the_interval(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: now[0])
    monkeypatch.setenv(SAVE_SECONDS, "30")
    journal = Journal(tmp_path, KEY)
    now[0] += 29
    assert not journal.due
    now[0] += 1
    assert journal.due
    journal.save({})
    assert not journal.due


# A process whose command line names a stage, as one that Snakemake started does.
HOLDER = """
import signal, sys, time
from pathlib import Path
from rsvp.resume import hold
if sys.argv[3] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = hold(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


# Poses as the Snakemake that starts it, until its stdin ends.
STARTER = """
import json, subprocess, sys
command = json.loads(sys.stdin.readline())
print(subprocess.Popen(command, stdin=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that holds a folder, and the one that started it."""

    def __init__(self, folder, stage, manner):
        self.starter = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        command = [
            sys.executable,
            "-c",
            HOLDER,
            str(folder),
            stage,
            manner,
            f"-m rsvp.stages.{stage}",
        ]
        # As Snakemake does it, through a shell that waits.
        shell = ["sh", "-c", '"$@"; true', "sh", *command]
        print(json.dumps(shell), file=self.starter.stdin, flush=True)
        self.shell = int(self.starter.stdout.readline())
        assert self.starter.stdout.readline() == "held\n"
        self.pid = json.loads((folder / ".lock").read_text())["process"]

    def leave(self):
        """Let the starter die."""
        self.starter.kill()
        self.starter.wait()
        return self

    def alive(self):
        return lock.command_line(self.pid) != ""

    def end(self):
        for process in (self.shell, self.pid):
            if lock.command_line(process):
                os.kill(process, signal.SIGKILL)
        self.leave()
        self.starter.stdin.close()
        self.starter.stdout.close()


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold a folder."""
    started = []

    def start(stage, manner="obedient"):
        started.append(Holder(tmp_path, stage, manner))
        return started[-1]

    yield start
    for process in started:
        process.end()


def test_another_stage_in_the_folder_is_left_alone_and_named(tmp_path, holder):
    process = holder("split").leave()
    with pytest.raises(UserError) as error:
        hold(tmp_path, "decode", patience=0.5)
    assert f"(process {process.pid} on " in str(error.value)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert process.alive()


def test_run_of_a_snakemake_that_lives_is_left_alone_and_named(tmp_path, holder):
    """A stage that is run by hand beside it must not end the trainer."""
    process = holder("decode")
    with pytest.raises(UserError, match=rf"\(process {process.pid} on "):
        hold(tmp_path, "decode", patience=0.5)
    time.sleep(0.3)
    assert process.alive()


def test_run_left_behind_is_asked_to_end_and_followed(tmp_path, holder, caplog):
    process = holder("decode").leave()
    held = hold(tmp_path, "decode", patience=20.0)
    assert not process.alive()
    assert f"process {process.pid} of an earlier run" in caplog.text
    assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    held.close()


def test_run_left_behind_that_stays_is_named(tmp_path, holder):
    process = holder("decode", "deaf").leave()
    started = time.monotonic()
    with pytest.raises(UserError, match=f"process {process.pid} on "):
        hold(tmp_path, "decode", patience=0.5)
    assert time.monotonic() - started < 10
    assert process.alive()


def test_killed_holder_leaves_nothing_to_clear_up(tmp_path, holder):
    process = holder("decode")
    os.kill(process.pid, signal.SIGKILL)
    while process.alive():
        time.sleep(0.05)
    hold(tmp_path, "decode", patience=5.0).close()


def test_half_written_files_of_dead_processes_go_when_the_folder_is_held(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "state").mkdir()
    left = [
        tmp_path / f".index.json.{dead.pid}.tmp",
        tmp_path / "state" / f".state-000000009.safetensors.{dead.pid}.tmp",
    ]
    kept = [tmp_path / f".index.json.{os.getpid()}.tmp", tmp_path / ".mine.tmp"]
    for path in left + kept:
        path.touch()
    hold(tmp_path, "decode").close()
    assert [path.exists() for path in left + kept] == [False, False, True, True]


def test_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", refuse)
    with pytest.raises(UserError, match=r"\.lock: cannot be locked \(No locks available\)"):
        hold(tmp_path, "decode")


def test_number_of_a_dead_holder_may_be_anybodys(tmp_path):
    """Nobody is signalled because of what an old lock file says."""
    entry = {"process": os.getpid(), "machine": lock.platform.node(), "stage": "decode"}
    assert not lock.left_behind(entry, "decode")
