"""Reasons of failed jobs, repeated below all that Snakemake prints."""

import pytest
from session import why_stopped

EARLIER = """2026-01-01 DEBUG rsvp.runtime.main: started: process 1
2026-01-01 DEBUG rsvp.runtime.main: stopped: config: x: wrong
"""
STARTED = "2026-01-02 DEBUG rsvp.runtime.main: started: process 2\n"
WORKED = "2026-01-02 INFO rsvp.training.run: continuing after 5 of 9 steps\n"
STOPPED = "2026-01-02 DEBUG rsvp.runtime.main: stopped: "


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", "see what it said above"),
        (EARLIER, "config: x: wrong"),
        (EARLIER + STARTED + WORKED + STOPPED + "no room\n", "no room"),
        # The last line, or an earlier run's reason, is no reason.
        (EARLIER + STARTED + WORKED, "killed, or crashed, without a word"),
        (STARTED, "killed, or crashed, without a word"),
    ],
)
def test_reason_is_what_the_last_run_said(log, reason):
    assert why_stopped(log).startswith(reason)
