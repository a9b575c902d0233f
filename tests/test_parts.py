"""Measured rows on disk: whole whenever a run dies."""

import itertools

import numpy as np
import pytest
from dying import dies_at

from rsvp.data import parts as module
from rsvp.data.parts import Parts
from rsvp.runtime.journal import Journal, StateKey, forget

KEY = StateKey("code", "work")


def item(number: int) -> dict[str, np.ndarray]:
    return {"scores/a": np.arange(number + 1.0), "features/b": np.full((1, 3), number)}


def test_a_later_run_goes_on_after_the_last_saved_item(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PENDING", 2)
    killed = Parts(Journal(tmp_path, KEY))
    for number in range(5):
        killed.append(item(number))  # the fifth is in memory only
    parts = Parts(Journal(tmp_path, KEY))
    assert parts.items == 4
    for number in range(parts.items, 7):
        parts.append(item(number))
    parts.save()
    expected = np.concatenate([np.arange(number + 1.0) for number in range(7)])
    np.testing.assert_array_equal(parts.stacked("scores/")["a"], expected)
    np.testing.assert_array_equal(parts.stacked("features/")["b"][:, 0], np.arange(7))
    assert len(list(parts)) == 4
    assert Parts(Journal(tmp_path, KEY)).items == 7  # until Snakemake knows that it is finished
    forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("full", [False, True])
def test_runs_that_die_anywhere_go_on(tmp_path, monkeypatch: pytest.MonkeyPatch, full):
    """Killed, or the disk full, at each change of the disk, up to when all is forgotten."""
    monkeypatch.setattr(module, "PENDING", 2)

    def measure() -> dict[str, np.ndarray]:
        parts = Parts(Journal(tmp_path / "state", KEY))
        for number in range(parts.items, 7):
            parts.append(item(number))
        parts.save()
        stacked = parts.stacked()
        forget(tmp_path / "state")
        return stacked

    expected = measure()
    for call in itertools.count():
        died = dies_at(call, measure, full)
        for name, rows in measure().items():
            np.testing.assert_array_equal(rows, expected[name])
        assert list((tmp_path / "state").glob("*.safetensors")) == []
        if not died:
            break
    assert call > 8


def test_parts_that_are_gone_are_measured_again(tmp_path, caplog: pytest.LogCaptureFixture):
    first = Parts(Journal(tmp_path, KEY))
    first.append(item(0))
    first.save()
    first.path(0).unlink()
    assert Parts(Journal(tmp_path, KEY)).items == 0
    assert "are missing; starting anew" in caplog.text


def test_other_work_starts_anew(tmp_path):
    first = Parts(Journal(tmp_path, KEY))
    first.append(item(0))
    first.save()
    other = Parts(Journal(tmp_path, StateKey("code", "other")))
    assert other.items == 0
    other.append(item(3))
    other.save()
    assert len(other.stacked("scores/")["a"]) == 4
