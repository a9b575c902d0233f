"""Progress that is noted in a file, and the processes that are found at work."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from rsvp.runtime import progress
from rsvp.runtime.lock import works_here
from rsvp.runtime.progress import PROGRESS, Bar, read_progress


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of this process's stage; each drawing of a bar is noted."""
    monkeypatch.setattr(Bar, "folder", tmp_path)
    monkeypatch.setattr(progress, "LEAST_SECONDS", 0.0)
    return tmp_path


def test_bar_notes_what_it_shows(folder, capsys):
    for item in Bar(range(3, 10), initial=3, total=10, desc="train", unit="step", mininterval=0):
        noted = read_progress(folder)
        if item > 3:
            assert (noted["done"], noted["total"], noted["made"]) == (item, 10, item - 3)
    noted = read_progress(folder)
    assert (noted["done"], noted["made"]) == (10, 7)
    assert (noted["work"], noted["unit"]) == ("train", "step")
    assert 0 <= time.time() - noted["time"] < 60
    assert "train: 100%" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [PROGRESS]


def test_bar_outside_of_a_stage_and_a_silent_one_note_nothing(folder, monkeypatch):
    list(Bar(range(3), disable=True))
    monkeypatch.setattr(Bar, "folder", None)
    list(Bar(range(3), mininterval=0))
    assert list(folder.iterdir()) == []
    assert read_progress(folder) == {}


def test_folder_that_is_gone_stops_no_work(folder, monkeypatch):
    monkeypatch.setattr(Bar, "folder", folder / "gone")
    assert list(Bar(range(3), mininterval=0)) == [0, 1, 2]


def holder(folder, process, machine):
    text = json.dumps({"process": process, "machine": machine}) if process else ""
    (folder / ".lock").write_text(text)


def test_process_that_works_in_a_folder_is_found(tmp_path):
    assert not works_here(tmp_path, 0.0)
    holder(tmp_path, os.getpid(), platform.node())
    assert works_here(tmp_path, 1e9)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder(tmp_path, ended.pid, platform.node())
    assert not works_here(tmp_path, 0.0)
    holder(tmp_path, 1, "another-machine")
    assert works_here(tmp_path, 5.0) and not works_here(tmp_path, 1e6)
    holder(tmp_path, None, "")  # a stage that finished
    assert not works_here(tmp_path, 0.0)
