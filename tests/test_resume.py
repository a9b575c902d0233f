"""Keys and journals of what a killed stage goes on from."""

import dataclasses
import os
import subprocess
import sys

import pytest

from rsvp.config import schema, stages
from rsvp.config.schema import DetectorProgram
from rsvp.config.stages import Settings, read_settings
from rsvp.runtime import journal as journal_module
from rsvp.runtime.code import ROOT
from rsvp.runtime.journal import SAVE_SECONDS, Journal, StateKey, forget, state_key

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
    shown = "from rsvp.runtime.journal import batches; print(batches(0, 3, 1, 'test').mininterval)"
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
