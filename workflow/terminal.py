"""The terminal of a run: one line when a job starts, with its reason, and one when it ends."""

import logging
import textwrap
import time
from collections.abc import Callable, Mapping
from typing import Any

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from rsvp.runtime.words import duration

DEFAULT = "DefaultStreamHandler"  # what Snakemake shows on the terminal where no plugin does
CHATTER = (  # that says nothing of this run; each is the beginning of a message
    "Building DAG", "Using shell", "Provided cores", "Rules claiming more threads", "Provided res",
    "Select jobs", "Execute ", "Group jobs", "Conda environments", "Reasons:", "Assuming unrestr",
    "This was a dry-run", "Complete log", "Elapsed time", "RuleException:\nCalledProcessError",
)  # fmt: skip
BAR = 20  # characters
LONGEST = 200  # characters of a reason; `make why` has them whole
Why = Callable[[str, Mapping[str, str]], str]  # of a rule and its wildcards


def show_jobs(why: Why, is_dry: bool) -> None:
    """Show jobs in our lines, where Snakemake would in its own; `why`: the reason of a job.

    A logger plugin that somebody names, and --verbose, stay as they are.
    """
    for handler in list(logger.handlers):
        if handler.name == DEFAULT and logger.level > logging.DEBUG:
            logger.removeHandler(handler)
            logger.addHandler(JobLines(handler, why, is_dry))


class JobLines(logging.StreamHandler):
    """Writes a line at each job's start and end, with a bar over all jobs.

    Other messages are written as `plain`, Snakemake's own handler, would, but for its chatter.
    """

    def __init__(self, plain: logging.StreamHandler, why: Why, is_dry: bool) -> None:
        super().__init__(plain.stream)
        self.filters = plain.filters  # --quiet
        self.setFormatter(plain.formatter)
        self.why, self.is_dry = why, is_dry
        self.running: dict[int, tuple[str, float]] = {}  # name and start of jobs
        self.ended: list[str] = []  # until Snakemake says how many are done
        self.targets = 0  # of the jobs that Snakemake counts
        self.last = ""  # line; after SIGTERM Snakemake says the same one each second
        self.set_name(DEFAULT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the lines of a record, if it has any."""
        # Progress bars of running stages have no end of line: what follows erases them.
        erase = "\r\033[K" if self.stream.isatty() else ""
        try:
            for line in self.lines(record):
                if line != self.last:
                    self.stream.write(f"{erase}{line}\n")
                self.last = line
            self.flush()
        except Exception:
            self.handleError(record)

    def lines(self, record: logging.LogRecord) -> list[str]:
        """Return what is shown of a record."""
        event, values = getattr(record, "event", None), vars(record)
        if event is LogEvent.JOB_INFO:
            return self.started(values)
        if event is LogEvent.JOB_FINISHED:
            self.ended += self.line_of_end("done  ", values["job_id"])
            return []
        if event is LogEvent.JOB_ERROR:
            place = f"; see {values['log'][0]}" if values["log"] else ""
            return [line + place for line in self.line_of_end("failed", values["jobid"])]
        if event is LogEvent.PROGRESS:
            lines, self.ended = self.ended, []
            if lines:
                lines[-1] += f"  {bar(values['done'], values['total'] - self.targets)}"
            return lines
        if event is LogEvent.RUN_INFO:
            return self.planned(values["stats"])
        if event is LogEvent.SHELLCMD or str(record.msg).startswith(CHATTER):
            return []
        text = self.format(record)
        return [text] if text and text != "None" else []

    def planned(self, stats: Mapping[str, int]) -> list[str]:
        """Return how many jobs of each rule are to run; of a dry run below its jobs alone."""
        if self.is_dry and not self.running:
            return []
        counts = {rule: count for rule, count in stats.items() if rule not in ("all", "total")}
        self.targets = stats["total"] - sum(counts.values())
        named = ", ".join(f"{count} {rule}" for rule, count in counts.items())
        return [f"jobs to do: {sum(counts.values())} ({named})"]

    def started(self, values: Mapping[str, Any]) -> list[str]:
        """Return the line of a job's start; a target has none."""
        if not values["rule_msg"]:
            return []
        self.running[values["jobid"]] = values["rule_msg"], time.monotonic()
        reason = self.why(values["rule_name"], values["wildcards"])
        if not reason:  # forced, or files were touched
            reason = values["reason"].partition(":")[0].lower()
        first = "would run" if self.is_dry else f"{clock()} start "
        return [f"{first} {values['rule_msg']}: {textwrap.shorten(reason, LONGEST)}"]

    def line_of_end(self, word: str, job: int) -> list[str]:
        """Return the line of a job's end, with its time; nothing for a target."""
        if job not in self.running:
            return []
        name, begun = self.running.pop(job)
        return [f"{clock()} {word} {name}: {duration(time.monotonic() - begun)}"]


def bar(done: int, total: int) -> str:
    """Return a bar over all jobs."""
    filled = BAR * done // max(1, total)
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {done} of {total}"


def clock() -> str:
    """Return the time of day."""
    return time.strftime("%H:%M:%S")
