"""Training state: what resumes a stage, exactly where it was.

A state file holds tensors (weights, optimiser, EMA) and a little JSON, in one safetensors file that
appears whole or not at all. The folder is declared to nobody, so Snakemake never deletes it. A
state carries a key (its settings, code and inputs); one of another key is set aside, and taken
up again when its key is back. The newest states stay, and the one whose validation score was best.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rsvp.runtime.files import atomic_path
from rsvp.runtime.journal import StateKey
from rsvp.runtime.record import running_versions, version_changes

KEEP = 2  # the newest states that stay
BROKEN = (SafetensorError, OSError, KeyError, ValueError, TypeError)  # what reading may raise
logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A module or an optimiser: anything whose state is saved and restored."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class StateFolder:
    """The states of one training stage, newest last."""

    def __init__(self, folder: Path, key: StateKey) -> None:
        self.folder, self.key = folder, key
        folder.mkdir(parents=True, exist_ok=True)

    def files(self) -> list[Path]:
        """State files by step."""
        return sorted(self.folder.glob("state-*.safetensors"))

    def load(self, most_steps: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and JSON of the newest whole state of this key; None to start from the start.

        A broken file is passed over for the one before it, with a warning; so is a state of other
        settings or code, or of more than `most_steps` steps, which is set aside under another name.
        States that were set aside and fit now get their names back first.
        """
        self.set_aside(most_steps)
        self.take_back(most_steps)
        for path in reversed(self.files()):
            try:
                tensors, entry = read_state(path)
            except BROKEN as error:
                self.note_broken(path, error)
                continue
            self.warn_of_versions(path, entry)
            return tensors, entry["values"]
        return None

    def set_aside(self, most_steps: int) -> None:
        """Rename the states that cannot be gone on from, and those that cannot be read."""
        for path in reversed(self.files()):
            try:
                entry = read_entry(path)
            except BROKEN as error:
                self.note_broken(path, error)
                continue
            if reason := self.misfit(entry, most_steps):
                key = f"{entry['work'][:8]}-{(entry['code'] or 'none')[:8]}"
                aside = path.with_name(f"aside-{key}-{path.name}")
                path.rename(aside)
                logger.warning("state %s is of %s; set aside as %s", path, reason, aside.name)

    def take_back(self, most_steps: int) -> None:
        """Give states that were set aside, and can be gone on from now, their names again."""
        for path in sorted(self.folder.glob("aside-*state-*.safetensors")):
            own = path.with_name(path.name[path.name.index("state-") :])
            try:
                fits = not self.misfit(read_entry(path), most_steps)
            except BROKEN:
                continue
            if fits and not own.exists():
                path.rename(own)
                logger.warning("state %s fits again; taken up as %s", path, own.name)

    def note_broken(self, path: Path, error: Exception) -> None:
        """Rename a broken state and say so.

        Under its own name it would count among the newest, and push out whole ones.
        """
        path.rename(path.with_name(f"broken-{path.name}"))
        logger.warning("state %s is broken (%s); using the one before it", path, error)

    def warn_of_versions(self, path: Path, entry: dict[str, Any]) -> None:
        """Say which other versions, of PyTorch say, a state came about with."""
        changes = version_changes(entry.get("versions", {}), running_versions())
        if told := ", ".join(f"{name} {ran} (now {now})" for name, ran, now in changes):
            logger.warning(
                "going on from %s, made with %s; `make anew` has it made from its start", path, told
            )

    def misfit(self, entry: dict[str, Any], most_steps: int) -> str:
        """Why a state cannot be gone on from, or ""."""
        if entry["work"] != self.key.work:
            return "other settings or inputs"
        if entry["code"] != self.key.code:
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
        entry: dict[str, Any] = {"code": self.key.code, "work": self.key.work, "step": step}
        entry["versions"] = running_versions()
        metadata = {"rsvp": json.dumps(entry | {"score": score, "values": values})}
        with atomic_path(path) as temporary:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, metadata)
        self.remove_older()

    def remove_older(self) -> None:
        """Remove all states but the newest `KEEP` and the one with the best score."""
        scores: dict[Path, float] = {}
        for path in self.files():
            try:
                score = read_entry(path)["score"]
            except BROKEN as error:
                self.note_broken(path, error)
                continue
            scores[path] = math.inf if score is None else score
        older, newest = list(scores)[:-KEEP], list(scores)[-KEEP:]
        best = min(older, key=scores.__getitem__, default=None)
        if best and not any(scores[new] <= scores[best] for new in newest):
            older.remove(best)
        for old in older:
            old.unlink()


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of a state file; raises one of `BROKEN` when it is not whole."""
    with safe_open(path, "pt") as file:
        entry = json.loads(file.metadata()["rsvp"])
        return {key: file.get_tensor(key) for key in file.keys()}, entry  # noqa: SIM118


def read_entry(path: Path) -> dict[str, Any]:
    """The JSON of a state file alone; raises one of `BROKEN` when it cannot be read."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["rsvp"])


def save_part(part: Stateful, name: str, tensors: dict[str, Tensor]) -> dict[str, Any] | None:
    """Put the tensors of a part under `name/…` into `tensors`; return an optimiser's layout."""
    state = part.state_dict()
    if "param_groups" not in state:
        tensors |= {f"{name}/{key}": value for key, value in state.items()}
        return None
    for index, values in state["state"].items():
        tensors |= {f"{name}/{index}/{key}": value for key, value in values.items()}
    return {"param_groups": state["param_groups"]}


def load_part(
    part: Stateful, name: str, tensors: dict[str, Tensor], layout: dict[str, Any] | None
) -> None:
    """Restore a part from the tensors and the layout of `save_part`."""
    own = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
    if layout is None:
        part.load_state_dict(own)
        return
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in own.items():
        index, field = key.split("/", 1)
        state.setdefault(int(index), {})[field] = value
    part.load_state_dict({"state": state, "param_groups": layout["param_groups"]})
