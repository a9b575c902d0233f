"""One run per folder: the lock that a stage holds until its process ends. Loads without torch."""

import errno
import fcntl
import json
import logging
import os
import platform
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, TextIO

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import remove_temporaries

logger = logging.getLogger(__name__)
INIT = 1  # the process that adopts those whose starter ended
PATIENCE = 60.0  # seconds that a run left behind gets to save and end


def hold(folder: Path, stage: str, patience: float = PATIENCE) -> TextIO:
    """Keep `folder` for this process, until it ends.

    A run of the same stage that a dead Snakemake left behind is asked to save and end (SIGTERM),
    and waited for. UserError names a process that stays, or that is elsewhere. What killed runs
    left of half-written files is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Locks of this kind belong to the process alone: no helper process keeps one alive.
    stream = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115  held until the end
    deadline = time.monotonic() + patience
    asked = False
    while not try_lock(stream):
        holder = read_holder(stream)
        if not asked and left_behind(holder, stage):
            asked = True
            logger.warning(
                "process %s of an earlier run still works in %s; it was asked to save and end",
                holder["process"],
                folder,
            )
            os.kill(holder["process"], signal.SIGTERM)
        if time.monotonic() > deadline or (holder and not asked):
            raise UserError(
                f"{folder}: another run works here (process {holder.get('process', 'unknown')} on"
                f" {holder.get('machine', 'unknown')}); wait for it or stop it"
            )
        time.sleep(0.1)
    stream.truncate(0)
    holder = {"process": os.getpid(), "machine": platform.node(), "stage": stage}
    stream.write(json.dumps(holder | {"starter": starter(stage)}))
    stream.flush()
    for written in (folder, folder / "state"):
        remove_temporaries(written)
    return stream


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
    """One line for a file that cannot be locked."""
    return (
        f"{path}: cannot be locked ({error.strerror}), so two runs could spoil each other's"
        " results; name a results folder on a file system with locks"
    )


def read_holder(stream: TextIO) -> dict[str, Any]:
    """Who wrote itself into the lock last; empty while the new holder has not yet."""
    stream.seek(0)
    try:
        return dict(json.loads(stream.read()))
    except ValueError:
        return {}


def left_behind(holder: dict[str, Any], stage: str) -> bool:
    """Whether the holder runs the same stage on this machine, and who started it is gone."""
    if holder.get("machine") != platform.node() or "process" not in holder:
        return False
    # Its number may be another process's by now.
    if f"rsvp.stages.{stage}" not in command_line(holder["process"]):
        return False
    process, command = holder.get("starter", (INIT, ""))
    return process == INIT or command_line(process) != command


def starter(stage: str) -> tuple[int, str]:
    """The number and command of the process that had this stage run: Snakemake, or a shell.

    What stands between, a shell with the stage's whole command, does not count: it outlives a
    Snakemake that is killed.
    """
    process = os.getppid()
    while process > INIT and f"rsvp.stages.{stage}" in (command := command_line(process)):
        process = parent_of(process)
    return process, command if process > INIT else ""


def parent_of(process: int) -> int:
    """The number of a process's parent; `INIT` where there is none."""
    try:
        # After the name, which is in brackets and may hold anything: state, parent, …
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # no such process, or not Linux
        return int(asked_of_ps(process, "ppid") or INIT)


def command_line(process: int) -> str:
    """What a process was started with; "" where there is none."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:  # no such process, or not Linux
        return asked_of_ps(process, "command")


def asked_of_ps(process: int, what: str) -> str:
    """What `ps` says of a process; "" where there is none."""
    try:
        command = ["ps", "-o", f"{what}=", "-p", str(process)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
