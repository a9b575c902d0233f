"""Reasons of failed jobs, repeated below all that Snakemake prints."""

import os
from types import SimpleNamespace

import pytest
import session
from session import print_failures, why_stopped

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


def test_job_that_failed_on_a_node_before_its_stage_began_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(session.START, str(tmp_path))
    said = "Building DAG\nrsvp: config.yaml: no such file\nshutting down\n"
    for name in ("3.log", "2.log"):
        path = tmp_path / "slurm_logs/rule_decode/tiny_0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said)
    os.utime(path, (0, 0))  # of an earlier call
    print_failures(SimpleNamespace(known={}))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"rsvp: config.yaml: no such file (log: {path.with_name('3.log')})"
