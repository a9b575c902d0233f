"""The key of saved work, and the interval at which work is saved. Loads without torch."""

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsvp.runtime.files import INDEX, sha256_of_file, sha256_of_json
from rsvp.runtime.record import USAGE

# The workflow hands on `compute.save_seconds` and `compute.watch` here: as flags or settings they
# would make stages stale.
SAVE_SECONDS, WATCH = "RSVP_SAVE_SECONDS", "RSVP_WATCH"
DEFAULT_SAVE_SECONDS, DEFAULT_WATCH = 120.0, 4
JOURNAL = ".journal.json"  # ends the names of journals, which `PartWriter` keeps
BUDGETS = ("steps", "seconds")  # keys of what is trained
BUDGETED = (
    ("autoencoder",), ("autoencoder", "pretrain"), ("autoencoder", "finetune"), ("predictor",)
)  # fmt: skip


def save_seconds() -> float:
    """Return the seconds of work that are lost, at most, when a stage is killed."""
    return float(os.environ.get(SAVE_SECONDS, DEFAULT_SAVE_SECONDS))


def watched_clips() -> int:
    """Return how many validation clips TensorBoard shows while networks train."""
    return int(os.environ.get(WATCH, DEFAULT_WATCH))


@dataclass(frozen=True)
class StateKey:
    """Digests that saved work must agree with to be continued."""

    code: str | None  # of the stage's code
    work: str  # of settings and inputs


def state_key(code: str | None, settings: Mapping[str, Any], *inputs: str | Path) -> StateKey:
    """Return the key of a stage: its code, settings and inputs, but not its steps or seconds.

    `settings`: the values that the stage was handed. Those it was not handed must not count: so an
    option that a later rsvp adds leaves a state as it is wherever it leaves the stage alone.
    `inputs`: files, which count by content, or digests. So do the files that settings name.
    """
    values = without_budgets(settings)
    named = [Path(path) for path in strings_in(values.get("weights", {})) if Path(path).is_file()]
    starts = [values.get(section, {}).get("init_from") for section in ("autoencoder", "predictor")]
    named += [Path(folder, INDEX) for folder in starts if folder]
    digests = [
        item if isinstance(item, str) else sha256_of_file(item) for item in [*inputs, *named]
    ]
    return StateKey(code, sha256_of_json([values, *digests]))


def without_budgets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's settings without how long it trains: more steps go on from fewer."""
    kept = copy.deepcopy(dict(settings))
    for path in BUDGETED:
        section = kept
        for key in path:
            section = section.get(key, {})
        for budget in BUDGETS:
            section.pop(budget, None)
    return kept


def strings_in(section: Mapping[str, Any]) -> Iterator[str]:
    """Yield all strings in a section of settings, at any depth."""
    for value in section.values():
        if isinstance(value, Mapping):
            yield from strings_in(value)
        elif isinstance(value, str):
            yield value


def forget(state: Path) -> None:
    """Remove the journals in a folder of state, then the files there that only they name."""
    for journal in state.glob(f"*{JOURNAL}"):
        journal.unlink()
        for path in state.glob(f"{journal.name.removesuffix(JOURNAL)}-?????.safetensors"):
            path.unlink()
    (state / USAGE).unlink(missing_ok=True)
