"""What `snakemake -n` plans, as data."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snakemake.cli import main as snakemake
from snakemake_interface_logger_plugins.common import LogEvent


@dataclass(frozen=True)
class Job:
    """One planned job; files are seen from the results folder."""

    rule: str
    wildcards: dict[str, str]
    outputs: list[str]
    reason: str  # as Snakemake says it
    command: str

    @property
    def name(self) -> str:
        """What a person calls it: "train_diffusion rsvp-m seed 0"."""
        words = [
            f"{key} {value}" if key in ("seed", "share") else value
            for key, value in self.wildcards.items()
        ]
        return " ".join([self.rule, *words])

    @property
    def folder(self) -> str:
        """Where it writes."""
        return os.path.dirname(self.outputs[0])


class JobCollector(logging.Handler):
    """Keeps the jobs that Snakemake announces, and the folder that their files are seen from."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.results = Path()

    def emit(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        if values.get("event") is LogEvent.WORKFLOW_STARTED:
            self.results = Path.cwd()
        # `rule all` has no output: it is no job of ours.
        if values.get("event") is LogEvent.JOB_INFO and values["output"]:
            self.jobs.append(
                Job(
                    values["rule_name"],
                    dict(values["wildcards"]),
                    list(values["output"]),
                    values["reason"],
                    values["shellcmd"] or "",
                )
            )


def planned_jobs(arguments: Sequence[str]) -> tuple[Path, list[Job]]:
    """The results folder, and the jobs that `snakemake -n` plans with these arguments.

    Where nothing can be planned the process ends as Snakemake does, with what it said.
    """
    collector = JobCollector()
    logging.getLogger("snakemake").addHandler(collector)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            snakemake(["-n", *arguments])
    except SystemExit as end:
        # Snakemake ends its process in any case.
        lines = said.getvalue().splitlines(keepends=True)
        sys.stderr.writelines(line for line in lines if end.code or line.startswith("rsvp"))
        if end.code:
            raise
    finally:
        logging.getLogger("snakemake").removeHandler(collector)
    return collector.results, collector.jobs
