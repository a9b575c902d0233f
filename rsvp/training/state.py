"""Training state: what resumes a stage, exactly where it was.

A state file holds tensors (weights, optimiser, EMA) and a little JSON, in one safetensors file that
appears whole or not at all. The folder is declared to nobody, so Snakemake never deletes it. A
state carries a key (its settings, code and inputs); one of another key is set aside. The newest
states stay, and the one whose validation score was best.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rsvp.files import atomic_path, read_json
from rsvp.resume import StateKey

KEEP = 2  # the newest states that stay
logger = logging.getLogger(__name__)


class StateFolder:
    """The states of one training stage, newest last."""

    def __init__(self, folder: Path, key: StateKey) -> None:
        self.folder, self.key = folder, key
        self.codes = accepted_codes(folder / "accepted.json", key.code)
        folder.mkdir(parents=True, exist_ok=True)

    def files(self) -> list[Path]:
        """State files by step."""
        return sorted(self.folder.glob("state-*.safetensors"))

    def load(self, most_steps: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and JSON of the newest whole state of this key; None to start from the start.

        A broken file is passed over for the one before it, with a warning; so is a state of other
        settings or code, or of more than `most_steps` steps, which is set aside under another name.
        """
        for path in reversed(self.files()):
            try:
                tensors, entry = read_state(path)
            except (SafetensorError, OSError, KeyError, ValueError) as error:
                # Under its own name it would count among the newest, and push out whole ones.
                path.rename(path.with_name(f"broken-{path.name}"))
                logger.warning("state %s is broken (%s); using the one before it", path, error)
                continue
            reason = self.misfit(entry, most_steps)
            if reason:
                key = f"{entry['work'][:8]}-{(entry['code'] or 'none')[:8]}"
                aside = path.with_name(f"aside-{key}-{path.name}")
                path.rename(aside)
                logger.warning("state %s is of %s; set aside as %s", path, reason, aside.name)
                continue
            return tensors, entry["values"]
        return None

    def misfit(self, entry: dict[str, Any], most_steps: int) -> str:
        """Why a state cannot be gone on from, or ""."""
        if entry["work"] != self.key.work:
            return "other settings or inputs"
        if entry["code"] not in self.codes:
            return "other code"
        if entry["step"] > most_steps:
            return f"{entry['step']} steps, more than {most_steps}"
        return ""

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        values: dict[str, Any],
        score: float | None = None,
    ) -> None:
        """Write the state after `step` steps, then remove all but the newest `KEEP` and the best.

        `score`: of the last validation, lower is better; the lowest stays.
        """
        path = self.folder / f"state-{step:09d}.safetensors"
        entry = {"code": self.key.code, "work": self.key.work, "step": step}
        metadata = {"rsvp": json.dumps(entry | {"score": score, "values": values})}
        with atomic_path(path) as temporary:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, metadata)
        older = self.files()[:-KEEP]
        best = min(older, key=state_score, default=None)
        if best and not any(state_score(new) <= state_score(best) for new in self.files()[-KEEP:]):
            older.remove(best)
        for old in older:
            old.unlink()


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of a state file; raises when it is not whole."""
    with safe_open(path, "pt") as file:
        entry = json.loads(file.metadata()["rsvp"])
        return {key: file.get_tensor(key) for key in file.keys()}, entry  # noqa: SIM118


def state_score(path: Path) -> float:
    """The validation score in a state file, lower is better; infinite where there is none."""
    with safe_open(path, "pt") as file:
        score = json.loads(file.metadata()["rsvp"])["score"]
    return math.inf if score is None else score


def accepted_codes(path: Path, code: str | None) -> set[str | None]:
    """Digests of code that count as `code`: itself, and what a person accepted as equal to it.

    `path`: [{"from": digest, "to": digest, …}], written by `make accept`; it may be missing.
    """
    codes = {code}
    entries = read_json(path) if path.exists() else []
    while True:
        more = {entry["from"] for entry in entries if entry["to"] in codes} - codes
        if not more:
            return codes
        codes |= more
