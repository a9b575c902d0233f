"""Lines of a run on the terminal, from what Snakemake tells its handlers."""

import io
import logging

import pytest
import terminal
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent
from terminal import JobLines, show_jobs

TRAIN = {"event": LogEvent.JOB_INFO, "jobid": 7, "rule_name": "train_diffusion",
         "wildcards": {"predictor": "a", "seed": "0"}, "rule_msg": "Train a (seed 0)",
         "reason": "Updated input files: " + ", ".join(["results/input.json"] * 200)}  # fmt: skip
TARGET = {**TRAIN, "jobid": 9, "rule_name": "all", "rule_msg": None}
STATS = {
    "event": LogEvent.RUN_INFO,
    "stats": {"decode": 2, "train_diffusion": 1, "all": 1, "total": 4},
}


def shown(*events, is_dry=False, why="never run"):
    """The lines that come out of these events."""
    plain = logging.StreamHandler(io.StringIO())
    handler = JobLines(plain, lambda stage, names: why, is_dry)
    for values in events:
        values = {"msg": None, "levelno": logging.INFO} | values
        handler.handle(logging.makeLogRecord(values))
    return plain.stream.getvalue().splitlines()


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch):
    now = iter(range(0, 10_000, 192))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(terminal, "clock", lambda: "12:00:00")


def test_a_run_has_a_line_for_each_start_and_end_of_a_job():
    end = [{"event": LogEvent.JOB_FINISHED, "job_id": 7},
           {"event": LogEvent.PROGRESS, "done": 1, "total": 4},
           TARGET, {"event": LogEvent.JOB_FINISHED, "job_id": 9},
           {"event": LogEvent.PROGRESS, "done": 4, "total": 4}]  # fmt: skip
    chatter = [{"msg": "Select jobs to execute..."}, {"event": LogEvent.SHELLCMD, "msg": "exec"}]
    assert shown(STATS, *chatter, TRAIN, *end) == [
        "jobs to do: 3 (2 decode, 1 train_diffusion)",
        "12:00:00 start  Train a (seed 0): never run",
        "12:00:00 done   Train a (seed 0): 3 min 12 s  [######--------------] 1 of 3",
    ]


def test_a_dry_run_lists_the_jobs_and_then_their_number():
    assert shown(STATS, TRAIN, TARGET, STATS, is_dry=True) == [
        "would run Train a (seed 0): never run", "jobs to do: 3 (2 decode, 1 train_diffusion)"
    ]  # fmt: skip


def test_a_failed_job_and_what_else_snakemake_says_are_shown():
    failed = {"event": LogEvent.JOB_ERROR, "jobid": 7, "log": ["a/log.txt"]}
    said = {"msg": "Trying to restart job 7."}
    assert shown(TRAIN, failed, said)[1:] == [
        "12:00:00 failed Train a (seed 0): 3 min 12 s; see a/log.txt", "Trying to restart job 7."
    ]  # fmt: skip


def test_a_message_that_comes_again_and_again_is_shown_once():
    ending, other = {"msg": "Will exit after finishing currently running jobs."}, {"msg": "Bye."}
    assert shown(*[ending] * 9, other) == [ending["msg"], other["msg"]]


def test_a_reason_is_shortened():
    (line,) = shown(TRAIN, why="; ".join(f"setting a.b.c{n}: 1 -> 2" for n in range(100)))
    assert 200 < len(line) < 260 and line.endswith("[...]")


def test_a_reason_that_the_plan_has_not_is_snakemakes_without_its_files():
    assert shown(TRAIN, why="") == ["12:00:00 start  Train a (seed 0): updated input files"]


def test_a_plugin_and_verbose_keep_their_lines(monkeypatch):
    default, plugin = logging.StreamHandler(), logging.StreamHandler()
    default.set_name(terminal.DEFAULT)
    monkeypatch.setattr(logger, "handlers", [default, plugin])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    show_jobs(lambda stage, names: "", False)
    assert logger.handlers == [default, plugin]
    monkeypatch.setattr(logger, "level", logging.INFO)
    show_jobs(lambda stage, names: "", False)
    assert isinstance(logger.handlers[1], JobLines) and logger.handlers[0] is plugin
