"""One run per folder, and none that outlives what started it. Loads without torch.

On one machine a stage belongs to the process that started it. On a cluster it belongs to a call of
snakemake (`RUN`), whose name stands in the lock of the results folder, and maybe to a job of SLURM.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from rsvp.runtime.errors import FAILED, UserError
from rsvp.runtime.files import is_running, remove_temporaries

STARTER = "RSVP_STARTER"  # the process number of what started a stage; unset for one run by hand
RUN = "RSVP_RUN"  # the call of snakemake that a stage works for; unset for one run by hand
REQUEUE = "RSVP_REQUEUE"  # a command that puts the scheduler's job of a stage back into its queue
RESULTS_LOCK = ".snakemake/rsvp.lock"  # below the results folder: the call that works there
TIME_IS_UP = signal.SIGUSR1  # from the scheduler, some time before it ends the job
LOOK_SECONDS = 5.0  # between looks at the lock of the results folder
PARENT = os.getppid()
PATIENCE = 60.0  # seconds that an orphan gets to save and end
logger = logging.getLogger(__name__)


def lock_folder(folder: Path, patience: float = PATIENCE) -> TextIO:
    """Lock `folder` for this process, until it ends.

    An orphan that still works there is waited for, and so is a process of the same call of
    snakemake, which has given up its job. UserError names a process that stays, and any other one
    at once. Half-written files of killed runs are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Locks of this kind belong to the process alone: no helper process keeps one alive.
    stream = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115  held until the end
    deadline = time.monotonic() + patience
    waits = False
    while not (locked := try_lock(stream)) or job_runs(read_holder(stream)):
        holder = read_holder(stream)
        name = f"process {holder.get('process', 'unknown')} on {holder.get('machine', 'unknown')}"
        name += f" in SLURM's job {holder['job']}" if holder.get("job") else ""
        orphan = is_orphan(holder)
        left = locked or orphan or is_retried(holder)
        why = ", whose Snakemake has ended" if orphan else ", whose job Snakemake has given up"
        # A holder that has just begun has not written itself down yet.
        if time.monotonic() > deadline or (holder and not left):
            raise UserError(
                f"{folder}: another run works here ({name}{why if waits else ''}); wait for it or"
                " stop it"
            )
        if holder and not waits:
            logger.warning("%s: waiting for %s%s, to save and end", folder, name, why)
            waits = True
        time.sleep(LOOK_SECONDS if locked else 0.1)
    stream.truncate(0)
    holder = {"process": os.getpid(), "machine": platform.node(), "starter": starter()}
    holder |= {"run": os.environ.get(RUN), "job": os.environ.get("SLURM_JOB_ID")}
    stream.write(json.dumps(holder))
    stream.flush()
    for written in (folder, folder / "state"):
        remove_temporaries(written)
    return stream


def await_orphan(folder: Path) -> None:
    """Wait for an orphan that works in `folder`, as `lock_folder` does; leave others alone."""
    lock = folder / ".lock"
    if lock.exists():
        with open(lock, encoding="utf-8") as stream:
            holder = read_holder(stream)
        if holder and is_orphan(holder):
            stream = lock_folder(folder)
            stream.truncate(0)  # nobody works here now
            stream.close()


def works_here(folder: Path, seen: float) -> bool:
    """Check whether a process works in `folder`, without disturbing it.

    seen: seconds since another machine's process was seen at work.
    """
    try:
        with open(folder / ".lock", encoding="utf-8") as stream:
            holder = read_holder(stream)
    except OSError:
        return False
    if holder.get("machine") == platform.node():
        return is_running(holder["process"])
    return bool(holder) and (seen < PATIENCE or job_runs(holder))


def try_lock(stream: TextIO) -> bool:
    """Take the lock if nobody has it; UserError where the file system has none."""
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise UserError(no_locks(stream.name, error)) from None
        return False
    return True


def no_locks(path: str, error: OSError) -> str:
    """Return one line for a file that cannot be locked."""
    return (
        f"{path}: cannot be locked ({error.strerror}), so two runs could spoil each other's"
        " results; name a results folder on a file system with locks"
    )


def read_holder(stream: TextIO) -> dict[str, Any]:
    """Read the entry of the process that took the lock last; empty while it is being written."""
    stream.seek(0)
    try:
        return dict(json.loads(stream.read()))
    except (ValueError, TypeError):
        return {}


def is_orphan(holder: dict[str, Any]) -> bool:
    """Check whether a process has lost the Snakemake that it works for.

    Its starter can be looked for on this machine. Of another machine's process the call of
    snakemake is compared with the one that this process works for: a results folder has one.
    """
    process, run = holder.get("starter"), holder.get("run")
    if process is not None and holder["machine"] == platform.node() and not is_running(process):
        return True
    return None not in (run, os.environ.get(RUN)) and run != os.environ[RUN]


def is_retried(holder: dict[str, Any]) -> bool:
    """Check whether a process works for the same call of snakemake as this one.

    Snakemake runs one job at a time for each output: the other one has failed for it, was lost or
    cancelled, and may still save, on another machine.
    """
    return holder.get("run") is not None and holder["run"] == os.environ.get(RUN)


def job_runs(holder: dict[str, Any]) -> bool:
    """Check whether the SLURM job of a holder on another machine still runs.

    Locks of some file systems hold on each machine alone: there the job is all that can be asked.
    """
    job = holder.get("job")
    if not job or job == os.environ.get("SLURM_JOB_ID") or holder["machine"] == platform.node():
        return False
    command = ["squeue", "--noheader", "--format=%T", "--jobs", job]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() in ("RUNNING", "COMPLETING", "SUSPENDED")


def starter() -> int | None:
    """Return the process number of what started this stage; None for one started by hand."""
    value = os.environ.get(STARTER, "")
    return int(value) if value.isdecimal() else None


def starter_ended() -> bool:
    """Check whether this stage should save and end: its starter has ended, or its time is up."""
    process = starter()
    # A parent's death shows at once in the parent's number, even while it is still a zombie.
    alone = process is not None and (os.getppid() != PARENT or not is_running(process))
    return alone or is_superseded() or bool(SIGNALLED)


def end_without_starter() -> None:
    """End this process, all work of which is saved, if it should."""
    if SIGNALLED:
        logger.warning("the job's time is up: saved, and ending")
        sys.exit(128 + TIME_IS_UP)
    if starter_ended():
        logger.warning("what started this stage has ended: saved, and ending too")
        sys.exit(FAILED)


def is_superseded(results: Path = Path()) -> bool:
    """Check whether another call of snakemake works in the results folder than this process's."""
    run = os.environ.get(RUN)
    if run is None:
        return False
    return working_run(results, time.monotonic() // LOOK_SECONDS) not in ("", run)


@lru_cache(maxsize=1)
def working_run(results: Path, moment: float) -> str:
    """Return the call of snakemake that took a results folder last; looks once in a moment."""
    try:
        return (results / RESULTS_LOCK).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def watch_the_time() -> None:
    """Note the signal that the job's time is up, where a stage looks when it saves."""
    signal.signal(TIME_IS_UP, lambda number, frame: SIGNALLED.append(number))


def put_back(code: int) -> None:
    """Put the job of a stage that ended since its time was up back into the scheduler's queue.

    Without a command for that, or where it fails, the job has failed: Snakemake may retry it.
    """
    if code == 128 + TIME_IS_UP and (command := os.environ.get(REQUEUE)):
        subprocess.run(shlex.split(command), timeout=60)


SIGNALLED: list[int] = []
