"""One run per folder, and none that outlives its starter. Loads without torch."""

import errno
import fcntl
import json
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from rsvp.runtime.errors import FAILED, UserError
from rsvp.runtime.files import is_running, remove_temporaries

STARTER = "RSVP_STARTER"  # the process number of what started a stage; unset for one run by hand
PARENT = os.getppid()
PATIENCE = 60.0  # seconds that an orphan gets to save and end
logger = logging.getLogger(__name__)


def lock_folder(folder: Path, patience: float = PATIENCE) -> TextIO:
    """Lock `folder` for this process, until it ends.

    An orphan that still works there is waited for. UserError names a process that stays, and any
    other one at once. Half-written files of killed runs are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Locks of this kind belong to the process alone: no helper process keeps one alive.
    stream = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115  held until the end
    deadline = time.monotonic() + patience
    waits = False
    while not try_lock(stream):
        holder = read_holder(stream)
        name = f"process {holder.get('process', 'unknown')} on {holder.get('machine', 'unknown')}"
        # A holder that has just begun has not written itself down yet.
        if time.monotonic() > deadline or (holder and not is_orphan(holder)):
            orphan = ", whose Snakemake has ended" if waits else ""
            raise UserError(
                f"{folder}: another run works here ({name}{orphan}); wait for it or stop it"
            )
        if holder and not waits:
            logger.warning(
                "%s: waiting for %s, whose Snakemake has ended, to save and end", folder, name
            )
            waits = True
        time.sleep(0.1)
    stream.truncate(0)
    holder = {"process": os.getpid(), "machine": platform.node(), "starter": starter()}
    stream.write(json.dumps(holder))
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
    """Check whether a process of this machine has lost the Snakemake that started it."""
    process = holder.get("starter")
    return process is not None and holder["machine"] == platform.node() and not is_running(process)


def starter() -> int | None:
    """Return the process number of what started this stage; None for one started by hand."""
    value = os.environ.get(STARTER, "")
    return int(value) if value.isdecimal() else None


def starter_ended() -> bool:
    """Check whether what started this stage has ended since."""
    process = starter()
    # A parent's death shows at once in the parent's number, even while it is still a zombie.
    return process is not None and (os.getppid() != PARENT or not is_running(process))


def end_without_starter() -> None:
    """End this process, all work of which is saved, if what started it has ended."""
    if starter_ended():
        logger.warning("what started this stage has ended: saved, and ending too")
        sys.exit(FAILED)
