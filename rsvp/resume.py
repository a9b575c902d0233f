"""What lets a killed stage go on: one run per folder, and a journal of what is done.

Loads without torch. A journal lies in a folder that no rule declares, since Snakemake deletes the
declared outputs of failed jobs.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from rsvp.config import Settings, to_plain
from rsvp.errors import UserError
from rsvp.files import (
    INDEX,
    read_json,
    remove_temporaries,
    sha256_of_file,
    sha256_of_json,
    write_json,
)

# How the workflow hands on `compute.save_seconds`: as a flag or a setting it would make stages
# stale.
SAVE_SECONDS = "RSVP_SAVE_SECONDS"
DEFAULT_SAVE_SECONDS = 120.0
INIT = 1  # the process that adopts those whose starter ended
BUDGETS = ("steps", "seconds")  # keys of what is trained
JOURNAL = "journal.json"
BESIDE_JOURNAL = ("part-*.safetensors", "waiting-*.safetensors")  # of `Parts` and `LatentWriter`
PATIENCE = 60.0  # seconds that a run left behind gets to save and end
logger = logging.getLogger(__name__)


def save_seconds() -> float:
    """Seconds of work that are lost, at most, when a stage is killed."""
    return float(os.environ.get(SAVE_SECONDS, DEFAULT_SAVE_SECONDS))


@dataclass(frozen=True)
class StateKey:
    """What a saved state must agree with to be gone on from."""

    code: str | None  # digest of the stage's code
    work: str  # digest of settings and inputs


def state_key(code: str | None, settings: Settings, *inputs: str | Path) -> StateKey:
    """The key of a stage: its code, settings and inputs, but not its budget, steps or seconds.

    Settings count as they were handed, not with the defaults of all that a stage is not handed:
    so an option that a later rsvp adds leaves a state as it is wherever it leaves the stage alone.
    `inputs`: files, which count by content, or digests. So do the files that settings name.
    """
    values = without_budgets(settings.handed or to_plain(settings))
    named = [path for path in texts(values.get("weights", {})) if Path(path).is_file()]
    starts = [values.get(section, {}).get("init_from") for section in ("autoencoder", "predictor")]
    named += [Path(folder, INDEX) for folder in starts if folder]
    digests = [
        item if isinstance(item, str) else sha256_of_file(item)
        for item in [*inputs, *map(Path, named)]
    ]
    return StateKey(code, sha256_of_json([values, *digests]))


def without_budgets(values: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings without how long it trains: more steps go on from fewer."""
    kept = dict(values)
    for section in ("autoencoder", "predictor"):
        if section in kept:
            kept[section] = {k: v for k, v in kept[section].items() if k not in BUDGETS}
    for part in ("pretrain", "finetune"):
        if part in kept.get("autoencoder", {}):
            own = kept["autoencoder"][part]
            kept["autoencoder"][part] = {k: v for k, v in own.items() if k not in BUDGETS}
    return kept


def texts(section: dict[str, Any]) -> Iterator[str]:
    """All texts in a section of settings, those of its parts too."""
    for value in section.values():
        if isinstance(value, dict):
            yield from texts(value)
        elif isinstance(value, str):
            yield value


def batches(done: int, count: int, size: int, name: str) -> tqdm:
    """Where each batch of `size` of `count` items begins after the first `done` items.

    `done` is a multiple of `size`, or all. Under a progress bar of all batches.
    """
    return tqdm(
        range(done, count, size),
        initial=-(-done // size),
        total=-(-count // size),
        desc=name,
        unit="batch" if size > 1 else "clip",
    )


class Journal:
    """What a stage that works through a list has done, kept on a time interval.

    `done` is what `save` was given last by a run with the same key, or None. The stage's files
    must be on disk before `save` is called; a later run drops what they hold beyond it. The journal
    of a finished stage stays until Snakemake has noted that it is finished: a run that dies before
    that finds all its work done.
    """

    def __init__(self, folder: Path, key: StateKey) -> None:
        self.folder = folder
        self.path = folder / JOURNAL
        self.key = {"code": key.code, "work": key.work}
        self.done: dict[str, Any] | None = None
        self.saved_at = time.monotonic()
        if self.path.exists():
            self.read()

    def read(self) -> None:
        """Take up what an earlier run noted, if it did the same work."""
        try:
            values = read_json(self.path)
            same = values["key"] == self.key
        except (UserError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read (%s); starting anew", self.path, error)
            same = False
        else:
            self.done = values["done"] if same else None
            if not same:
                logger.warning("%s is of other settings, code or inputs; starting anew", self.path)
        if not same:
            # It must not come to stand beside files that are about to be written over.
            forget(self.folder)

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved_at >= save_seconds()

    def save(self, done: dict[str, Any]) -> None:
        """Note what is done, atomically."""
        write_json(self.path, {"key": self.key, "done": done})
        self.saved_at = time.monotonic()


def forget(folder: Path) -> None:
    """Remove the journal in a folder of state, then the files beside it that only it names."""
    (folder / JOURNAL).unlink(missing_ok=True)
    for pattern in BESIDE_JOURNAL:
        for path in folder.glob(pattern):
            path.unlink()


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
    if f"rsvp.{stage}" not in command_line(holder["process"]):
        return False
    process, command = holder.get("starter", (INIT, ""))
    return process == INIT or command_line(process) != command


def starter(stage: str) -> tuple[int, str]:
    """The number and command of the process that had this stage run: Snakemake, or a shell.

    What stands between, a shell with the stage's whole command, does not count: it outlives a
    Snakemake that is killed.
    """
    process = os.getppid()
    while process > INIT and f"rsvp.{stage}" in (command := command_line(process)):
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
