"""Which files below the results folder `make orphans` takes for rsvp's own."""

import pytest
from orphans import LEFTOVER, MADE

STATE = "state-000000007.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        ".index.json.123.tmp",
        f"state/{STATE}",
        f"state/old-aside-0123abcd-none-{STATE}",
        "state/row-00000.safetensors",
        "state/features-row0-00000.safetensors",
        "state/frames.journal.json",
        "state/usage.json",
        f"state/.{STATE}.77.tmp",
    ],
)
def test_what_stages_leave_is_removed(name):
    assert MADE.fullmatch(name)


@pytest.mark.parametrize("name", ["notes.txt", "frames.part", "state/mine.safetensors", "x.part"])
def test_what_they_do_not_leave_stays(name):
    assert not MADE.fullmatch(name)


@pytest.mark.parametrize("kind", ["aside-0123abcd-none-", "broken-", "old-", "old-broken-"])
def test_states_that_nothing_goes_on_from_are_leftovers(kind):
    assert LEFTOVER.fullmatch(f"state/{kind}{STATE}") and MADE.fullmatch(f"state/{kind}{STATE}")
    assert not LEFTOVER.fullmatch(f"state/{STATE}")
