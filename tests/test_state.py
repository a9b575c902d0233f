"""Training state on disk: whole or not at all, of one key, one run at a time."""

import os
import subprocess
import sys

import pytest
import torch

from rsvp.errors import UserError
from rsvp.training.state import StateFolder, lock


def tensors(value):
    return {"weight": torch.full((64, 64), float(value)), "count": torch.tensor(value)}


@pytest.fixture
def folder(tmp_path):
    return reopened(StateFolder(tmp_path / "state", "key"))


def reopened(states, key="key"):
    """The same folder as a new run would open it."""
    states.lock.close()
    return StateFolder(states.folder, key)


def steps(states):
    return [int(path.stem.removeprefix("state-")) for path in states.files()]


def truncate(path, share=0.5):
    os.truncate(path, int(path.stat().st_size * share))


def test_nothing_to_load_at_first(folder):
    assert folder.load() is None


def test_round_trip(folder):
    values = {"step": 3, "history": [{"loss": 0.1}], "memory": {"best": float("inf")}}
    folder.save(3, tensors(3), values)
    found, read = reopened(folder).load()
    assert read == values
    assert found.keys() == tensors(3).keys()
    for key, value in tensors(3).items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype


def test_newest_two_stay(folder):
    for step in (2, 10, 9_999, 100_000):
        folder.save(step, tensors(step), {"step": step})
    assert steps(folder) == [9_999, 100_000]
    assert reopened(folder).load()[1] == {"step": 100_000}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_broken_state_falls_back_with_a_warning(folder, caplog, share):
    for step in (1, 2):
        folder.save(step, tensors(step), {"step": step})
    truncate(folder.files()[-1], share)
    found, read = reopened(folder).load()
    assert read == {"step": 1} and found["count"] == 1
    assert "state-000000002" in caplog.text and "one before it" in caplog.text


def test_broken_states_never_crowd_out_whole_ones(folder):
    """A run that starts anew under two broken states of later steps keeps what it saves."""
    for step in (30, 40):
        folder.save(step, tensors(step), {"step": step})
    for path in folder.files():
        truncate(path)
    again = reopened(folder)
    assert again.load() is None
    for step in (10, 20):
        again.save(step, tensors(step), {"step": step})
    assert reopened(again).load()[1] == {"step": 20}
    truncate(next(path for path in again.files() if "20" in path.name))
    assert reopened(again).load()[1] == {"step": 10}


def test_state_of_another_key_is_set_aside(folder, caplog):
    for step in (1, 2):
        folder.save(step, tensors(step), {"step": step})
    other = reopened(folder, "other")
    assert other.load() is None
    assert "set aside" in caplog.text
    assert steps(other) == []
    aside = [path for path in other.folder.iterdir() if path.name.startswith("aside-key")]
    assert len(aside) == 2 and all(path.stat().st_size for path in aside)
    other.save(1, tensors(7), {"step": 1})
    assert reopened(other, "other").load()[0]["count"] == 7


def test_failed_save_keeps_what_stood(folder, monkeypatch):
    folder.save(1, tensors(1), {"step": 1})

    def full(*arguments):
        arguments[1].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rsvp.training.state.save_file", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(2, tensors(2), {"step": 2})
    assert {path.name for path in folder.folder.iterdir()} == {
        "lock",
        "state-000000001.safetensors",
    }
    assert reopened(folder).load()[1] == {"step": 1}


HOLDER = """
import sys, time
from pathlib import Path
from rsvp.training.state import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_second_process_is_refused_with_the_first_ones_number(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UserError) as error:
                lock(path, patience=0.3)
            assert f"(process {holder.pid})" in str(error.value)
            assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
        finally:
            holder.kill()
    # A killed holder leaves nothing to clear up.
    lock(path, patience=5.0)
    assert path.read_text() == str(os.getpid())
