"""One call of snakemake: its environment, the results folder it holds, and its last words."""

import argparse
import fcntl
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import yaml
from config_file import read_config_file
from jobs import JOBS, other_versions, stages
from plan import TRAININGS, Plan

from rsvp.config.messages import shorten
from rsvp.runtime.code import KEPT, ROOT
from rsvp.runtime.errors import BAD_INPUT, UserError
from rsvp.runtime.files import RECORD
from rsvp.runtime.followers import NODES, PROCESSES
from rsvp.runtime.gpus import visible_gpus
from rsvp.runtime.journal import JOURNAL, SAVE_SECONDS, WATCH, forget
from rsvp.runtime.lock import (
    REQUEUE,
    RESULTS_LOCK,
    RUN,
    STARTER,
    await_orphan,
    is_superseded,
    no_locks,
)
from rsvp.runtime.main import STARTED, STOPPED, denied_message
from rsvp.runtime.record import running_versions

# All rules run in the environment that runs snakemake; that they name one is asked by its linter.
# Snakemake would take braces in the project's path for wildcards.
ENVIRONMENT = f"{Path(__file__).parents[1]}/envs/rsvp.yaml".replace("{", "{{").replace("}", "}}")
MOST_LINES = 10
JOB_LOGS = ("slurm_logs", "cluster_logs")  # of the profiles, below the folder of the start
BEGAN = time.time()
START = "RSVP_START"  # the folder where the user started snakemake
SETTING = re.compile(r"[a-zA-Z_][\w-]*\w$")  # a key of --config
HOME = "RSVP_HOME"  # the folder of the Snakefile and the profiles


@contextmanager
def stop_in_one_line() -> Iterator[None]:
    """Turn bad input into one line on the terminal and exit code 2, before any job starts."""
    try:
        yield
    except (UserError, PermissionError) as error:
        print(f"rsvp: {denied_message(error) or error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def plan_of(arguments: Sequence[str], description: str | None) -> Plan:
    """Return the plan of the config that flags name."""
    return Plan(given_config(arguments, description), os.getcwd())


def given_config(arguments: Sequence[str], description: str | None) -> dict[str, Any]:
    """Return the config that flags name, as snakemake reads them; its import would take longer
    than all else."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    names = ("--configfile", "--configfiles")
    parser.add_argument(*names, nargs="+", default=["config.yaml"], metavar="FILE")
    parser.add_argument("--config", "-C", nargs="*", default=[], metavar="KEY=VALUE")
    parsed, _ = parser.parse_known_args(arguments)
    config: dict[str, Any] = {}
    for file in parsed.configfile:
        merge(config, read_config_file(file))
    for setting in parsed.config:
        key, equals, text = setting.partition("=")
        if not (equals and SETTING.match(key)):
            raise UserError(f"--config: {shorten(setting)}: not KEY=VALUE")
        merge(config, {key: value_of(text.strip("'\""))})
    return config


def value_of(text: str) -> Any:
    """Return the value that snakemake takes a text of --config for; within YAML all is text."""
    if not text:
        return None
    truths = {"True": True, "False": False}
    for parse in (int, float, truths.__getitem__, plain_yaml):
        with suppress(ValueError, KeyError, yaml.YAMLError):
            return parse(text)
    return text


def plain_yaml(text: str) -> Any:
    """Return lists, mappings and texts of YAML."""
    return yaml.BaseLoader(text).get_single_data()


def merge(config: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put values into a config, section by section."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = dict(value) if isinstance(value, Mapping) else value


def begin(is_main: bool) -> None:
    """Go to the folder where the user started snakemake, and name this call of it.

    On a cluster each job is a snakemake, which may start in another folder. The scheduler's signal
    that time is up is meant for the stage below it alone.
    """
    if is_main:
        started = datetime.now().isoformat(" ", "seconds")
        os.environ[RUN] = f"process {os.getpid()} on {platform.node()}, since {started}"
        os.environ[START] = os.getcwd()
        os.environ[HOME] = str(Path(__file__).parents[1])
        return
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.chdir(os.environ.get(START, os.getcwd()))
    if job := os.environ.get("SLURM_JOB_ID"):
        os.environ.setdefault(REQUEUE, f"scontrol requeue {job}")


def check_wanted(results: str) -> None:
    """UserError in a job of a snakemake that another one has taken the results over from.

    Before anything that the other one made is removed.
    """
    if is_superseded(Path(results)):
        raise UserError(f"{results}: another snakemake works here since this job was submitted")


def limit_gpus(workflow: Any) -> None:
    """Let no more jobs run at once here than there are GPUs, unless --resources says how many."""
    if "gpu" not in workflow.global_resources and (names := visible_gpus()):
        workflow.register_resource("gpu", len(names))


def run_own_code(plan: Plan, is_main: bool) -> None:
    """Make the rules' "$PYTHON" -m rsvp.… the running interpreter with the code of this clone.

    As environment variables, since Snakemake would count a changed parameter as a reason to rerun.
    """
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, found)]))
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ[STARTER] = str(os.getpid())  # a stage ends when this process has
    os.environ[SAVE_SECONDS] = str(plan.config.compute.save_seconds)
    os.environ[WATCH] = str(plan.config.compute.watch)
    os.environ[PROCESSES] = str(plan.config.compute.processes)
    os.environ[NODES] = str(plan.config.compute.nodes)
    os.environ[KEPT] = f"{plan.results}/{JOBS}/code.json"
    # How often all bars are drawn: in a log file they should not drown the rest.
    if not is_main or "TQDM_MININTERVAL" not in os.environ:
        os.environ["TQDM_MININTERVAL"] = "0.5" if sys.stderr.isatty() else "10"


def speak_of(plan: Plan) -> None:
    """Say on stderr what sources were found, and which results are stale, or of other versions."""
    results = plan.state
    records = {job.folder: record for job in plan.jobs if (record := results.record(job))}
    groups: dict[str, list[str]] = {}
    for job in plan.jobs:
        if job.folder in records or results.without_provenance(job):
            for reason in results.reasons(job):
                groups.setdefault(reason, []).append(job.folder)
    lines = [f"{stages(folders)}: {reason}" for reason, folders in groups.items()]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"{len(lines) - MOST_LINES} more reasons: make why"]
    found = [f"datasets.{name}: found {words}" for name, words in plan.found.items()]
    for line in [*found, *other_versions(records, running_versions()), *lines]:
        print(f"rsvp: {line}", file=sys.stderr)


def forget_journals(plan: Plan) -> None:
    """Remove the journals of finished stages when a call of snakemake ends.

    Until Snakemake has noted that a stage is finished, its journal saves the work of a run that
    died at its very end. After that it would keep `--forcerun` from doing the work again.
    """
    for job in plan.jobs:
        state = Path(job.folder, "state")
        if Path(job.folder, RECORD).exists() and any(state.glob(f"*{JOURNAL}")):
            with suppress(PermissionError):  # another user's
                forget(state)


def hold_results() -> None:
    """Take this results folder for as long as the process lives, or say who has it."""
    with stop_in_one_line():
        stream = lock_results(Path(RESULTS_LOCK))
        stream.truncate(0)
        stream.write(f"{os.environ[RUN]}\n")
        stream.flush()
    HELD.append(stream)


def await_orphans(plan: Plan) -> None:
    """Wait for stages of a call of snakemake that was killed, which may run on other machines.

    Snakemake removes the outputs of what it is about to run: nobody may be writing them.
    """
    with stop_in_one_line():
        for job in plan.known.values():
            if not Path(job.folder, RECORD).exists():
                await_orphan(Path(job.log_folder))


def use_scratch(plan: Plan) -> None:
    """Make what is large, and what only resumes a stage, links into the config's scratch folder.

    Where that was emptied since, links lead to empty folders.
    """
    if plan.scratch is None:
        return
    with stop_in_one_line():
        for job in plan.known.values():
            whole = job.stage in ("decode", "cache_latents")
            if not whole and job.stage not in TRAININGS:
                continue
            link = Path(job.folder, "" if whole else "state")
            target = Path(plan.scratch, link)
            # A copy of the results has the links of the original.
            if link.is_symlink() and (other := link.readlink()) != target:
                raise UserError(
                    f"{link.absolute()} leads to {other}, not into {plan.scratch}; remove that"
                    " link, or name its folder in `scratch`"
                )
            target.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)


def is_held(results: str) -> bool:
    """Return whether another snakemake works in a results folder.

    What its jobs are handed may not change under them: a dry run then plans beside it.
    """
    path = Path(results, RESULTS_LOCK)
    if not path.exists():
        return False
    try:
        lock_results(path).close()
    except UserError:
        return True
    return False


def lock_results(path: Path) -> TextIO:
    """Lock a file until its stream is closed; UserError names the process that has it.

    Snakemake's own lock outlives a killed run; one of the operating system does not.
    """
    stream = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (closed by the caller)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if not isinstance(error, BlockingIOError):
            raise UserError(no_locks(os.path.abspath(path), error)) from None
        stream.seek(0)
        raise UserError(
            f"{path.resolve().parents[1]}: another snakemake ({stream.read().strip()})"
            " works in this results folder; wait for it or stop it"
        ) from None
    return stream


HELD: list[Any] = []


def print_failures(plan: Plan) -> None:
    """Repeat at the end, below all that Snakemake prints, the reason of each job that failed.

    A job that began in this call and left no run record failed. One that failed on a node before
    its stage began says why in the scheduler's log.
    """
    for job in plan.known.values():
        log = Path(job.log_folder, "log.txt")
        if not log.exists() or log.stat().st_mtime < BEGAN or Path(job.folder, RECORD).exists():
            continue
        reason = why_stopped(log.read_text(encoding="utf-8"))
        print(f"rsvp {job.stage}: {reason} (log: {log.resolve()})", file=sys.stderr)
    for folder in JOB_LOGS:
        for log in Path(os.environ[START], folder).rglob("*.log"):
            if log.stat().st_mtime >= BEGAN:
                for line in re.findall("^rsvp: .*$", log.read_text(errors="replace"), re.MULTILINE):
                    print(f"{line} (log: {log})", file=sys.stderr)


def print_verdict(plan: Plan) -> None:
    """Print the report's verdict on the first predictor, where the report is there."""
    verdict = Path(f"{plan.side}report/verdict.txt")
    if verdict.exists():
        print("", verdict.read_text(encoding="utf-8"), sep="\n", end="", file=sys.stderr)


def why_stopped(log: str) -> str:
    """The reason that the last run in a stage's log gives for its end."""
    if not log:
        return "see what it said above"  # where the disk is full, say
    last = log.rpartition(f": {STARTED}: ")[2]
    reasons = re.findall(rf"^.* rsvp\.runtime\.main: {STOPPED}: (.*)$", last, re.MULTILINE)
    # What is killed says nothing; a line of its work before that is no reason.
    return (
        reasons[-1] if reasons else "killed, or crashed, without a word; the same command goes on"
    )
