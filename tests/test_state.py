"""Training state on disk: whole or not at all, of one key; the newest and the best stay."""

import os

import pytest
import torch

from rsvp.runtime.journal import StateKey
from rsvp.runtime.record import USAGE, running_versions, save_usage
from rsvp.training.state import StateFolder

KEY = StateKey("code", "work")
OTHER_WORK = StateKey("code", "other work")
OTHER_CODE = StateKey("other code", "work")


def tensors(value):
    return {"weight": torch.full((64, 64), float(value)), "count": torch.tensor(value)}


@pytest.fixture
def folder(tmp_path):
    return StateFolder(tmp_path / "state", KEY)


def reopened(states, key=KEY):
    """The same folder as a new run would open it."""
    return StateFolder(states.folder, key)


def steps(states):
    return [int(path.stem.removeprefix("state-")) for path in states.files()]


def truncate(path, share=0.5):
    os.truncate(path, int(path.stat().st_size * share))


def test_nothing_to_load_at_first(folder):
    assert folder.load(10**9) is None


def test_round_trip(folder):
    values = {"step": 3, "history": [{"loss": 0.1}], "memory": {"best": float("inf")}}
    folder.save(3, tensors(3), values)
    found, read = reopened(folder).load(10**9)
    assert read == values
    assert found.keys() == tensors(3).keys()
    for key, value in tensors(3).items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype


def test_newest_two_stay(folder):
    for step in (2, 10, 9_999, 100_000):
        folder.save(step, tensors(step), {"step": step})
    assert steps(folder) == [9_999, 100_000]
    assert reopened(folder).load(10**9)[1] == {"step": 100_000}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_broken_state_falls_back_with_a_warning(folder, caplog, share):
    for step in (1, 2):
        folder.save(step, tensors(step), {"step": step})
    truncate(folder.files()[-1], share)
    found, read = reopened(folder).load(10**9)
    assert read == {"step": 1} and found["count"] == 1
    assert "state-000000002" in caplog.text and "one before it" in caplog.text


def test_broken_states_never_crowd_out_whole_ones(folder):
    """A run that starts anew under two broken states of later steps keeps what it saves."""
    for step in (30, 40):
        folder.save(step, tensors(step), {"step": step})
    for path in folder.files():
        truncate(path)
    again = reopened(folder)
    assert again.load(10**9) is None
    for step in (10, 20):
        again.save(step, tensors(step), {"step": step})
    assert reopened(again).load(10**9)[1] == {"step": 20}
    truncate(next(path for path in again.files() if "20" in path.name))
    assert reopened(again).load(10**9)[1] == {"step": 10}


@pytest.mark.parametrize(
    ("key", "reason"), [(OTHER_WORK, "other settings or inputs"), (OTHER_CODE, "other code")]
)
def test_state_of_another_key_is_set_aside(folder, caplog, key, reason):
    for step in (1, 2):
        folder.save(step, tensors(step), {"step": step})
    save_usage(folder.folder)
    other = reopened(folder, key)
    assert other.load(10**9) is None
    assert not (folder.folder / USAGE).exists()  # time and memory of other work
    assert f"is of {reason}; set aside" in caplog.text
    assert steps(other) == []
    aside = list(other.folder.glob("aside-*state-*"))
    assert len(aside) == 2 and all(path.stat().st_size for path in aside)
    other.save(1, tensors(7), {"step": 1})
    assert reopened(other, key).load(10**9)[0]["count"] == 7


def test_state_of_more_steps_than_wanted_is_set_aside(folder, caplog):
    for step in (5, 9):
        folder.save(step, tensors(step), {"step": step})
    assert reopened(folder).load(7)[1] == {"step": 5}
    assert "9 steps, more than 7" in caplog.text


@pytest.mark.parametrize("other", [OTHER_WORK, OTHER_CODE])
def test_states_set_aside_are_taken_up_when_their_key_is_back(folder, other):
    for step in (3, 8):
        folder.save(step, tensors(step), {"step": step})
    usage = folder.folder / USAGE
    usage.write_text("of this work")
    branch = reopened(folder, other)
    assert branch.load(10**9) is None
    branch.save(20, tensors(20), {"step": 20})
    usage.write_text("of the branch")
    back = reopened(folder)
    assert back.load(10**9)[1] == {"step": 8}
    assert usage.read_text() == "of this work"
    assert steps(back) == [3, 8]
    # A whole one before a broken one came back with it.
    truncate(back.files()[-1])
    assert reopened(folder).load(10**9)[1] == {"step": 3}
    assert reopened(folder, other).load(10**9)[1] == {"step": 20}


def test_states_of_more_steps_are_taken_up_when_they_are_wanted_again(folder):
    for step in (5, 9):
        folder.save(step, tensors(step), {"step": step})
    assert reopened(folder).load(7)[1] == {"step": 5}
    assert reopened(folder).load(9)[1] == {"step": 9}


def test_state_of_other_versions_is_gone_on_from_with_a_warning(folder, caplog, monkeypatch):
    folder.save(1, tensors(1), {"step": 1})
    reopened(folder).load(10)
    assert caplog.text == ""
    versions = running_versions()
    later = versions | {"torch": "99.0"}
    monkeypatch.setattr("rsvp.training.state.running_versions", lambda: later)
    assert reopened(folder).load(10)[1] == {"step": 1}
    assert f"made with torch {versions['torch']} (now 99.0); remove its folder" in caplog.text


def test_failed_save_keeps_what_stood(folder, monkeypatch):
    folder.save(1, tensors(1), {"step": 1})

    def full(*arguments):
        arguments[1].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rsvp.training.state.save_file", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(2, tensors(2), {"step": 2})
    assert [path.name for path in folder.folder.iterdir()] == ["state-000000001.safetensors"]
    assert reopened(folder).load(10**9)[1] == {"step": 1}
