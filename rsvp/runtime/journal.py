"""What lets a killed stage go on: a journal of what is done. Loads without torch."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rsvp.config.schema import to_plain
from rsvp.config.stages import Settings
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, read_json, sha256_of_file, sha256_of_json, write_json

# How the workflow hands on `compute.save_seconds`: as a flag or a setting it would make stages
# stale.
SAVE_SECONDS = "RSVP_SAVE_SECONDS"
DEFAULT_SAVE_SECONDS = 120.0
BUDGETS = ("steps", "seconds")  # keys of what is trained
JOURNAL = "journal.json"
BESIDE_JOURNAL = ("part-*.safetensors", "waiting-*.safetensors")  # of `Parts` and `LatentWriter`
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
