"""Training state: what resumes a stage, exactly where it was.

A state file holds tensors (weights, optimiser, EMA) and a little JSON, in one safetensors file that
appears whole or not at all. The folder is declared to nobody, so Snakemake never deletes it. A
state carries a key (its settings, code and inputs); one of another key is set aside, and taken
up again when its key is back. The newest two states stay.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rsvp.runtime.files import atomic_path
from rsvp.runtime.journal import StateKey
from rsvp.runtime.record import USAGE, running_versions, version_changes

KEEP = 2  # the newest states that stay
# What reading a state that is not whole may raise.
BROKEN = (SafetensorError, FileNotFoundError, KeyError, ValueError, TypeError)
logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A module or an optimiser: anything whose state is saved and restored."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class StateFolder:
    """States of one training stage, newest last."""

    def __init__(self, folder: Path, key: StateKey) -> None:
        self.folder, self.key = folder, key
        folder.mkdir(parents=True, exist_ok=True)

    def files(self) -> list[Path]:
        """Return the state files by step."""
        return sorted(self.folder.glob("state-*.safetensors"))

    def load(self, most_steps: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and JSON of the newest whole state of this key; None starts anew.

        A broken file is passed over for the one before it, with a warning. A state of other
        settings or code, or of more than `most_steps` steps, is set aside under another name; one
        that was set aside and fits now gets its name back.
        """
        for path in [*self.files(), *sorted(self.folder.glob("aside-*state-*.safetensors"))]:
            self.sort(path, most_steps)
        for path in reversed(self.files()):
            try:
                tensors, entry = read_state(path)
            except BROKEN as error:
                self.note_broken(path, error)
                continue
            self.warn_of_versions(path, entry)
            return tensors, entry["values"]
        return None

    def sort(self, path: Path, most_steps: int) -> None:
        """Set a state aside that cannot be continued; give one that can its own name."""
        own = path.with_name(path.name[path.name.index("state-") :])
        try:
            entry = read_entry(path)
        except BROKEN as error:
            if path == own:
                self.note_broken(path, error)
            return
        if path == own and (reason := self.misfit(entry, most_steps)):
            key = f"{entry['work'][:8]}-{(entry['code'] or 'none')[:8]}"
            aside = path.rename(path.with_name(f"aside-{key}-{path.name}"))
            self.rename_usage(USAGE, f"aside-{key}-{USAGE}")  # it is of that work
            logger.warning("state %s is of %s; set aside as %s", path, reason, aside.name)
        elif path != own and not own.exists() and not self.misfit(entry, most_steps):
            path.rename(own)
            self.rename_usage(f"{path.name.removesuffix(own.name)}{USAGE}", USAGE)
            logger.warning("state %s fits again; taken up as %s", path, own.name)

    def rename_usage(self, name: str, to: str) -> None:
        """Rename the file of time and memory that goes with some states, where there is one."""
        if (self.folder / name).exists():
            (self.folder / name).replace(self.folder / to)

    def note_broken(self, path: Path, error: Exception) -> None:
        """Rename a broken state and say so.

        Under its own name it would count among the newest, and push out whole ones.
        """
        path.rename(path.with_name(f"broken-{path.name}"))
        logger.warning("state %s is broken (%s); using the one before it", path, error)

    def warn_of_versions(self, path: Path, entry: dict[str, Any]) -> None:
        """Name the versions, of PyTorch say, that a state was made with and that changed since."""
        changes = version_changes(entry.get("versions", {}), running_versions())
        if told := ", ".join(f"{name} {ran} (now {now})" for name, ran, now in changes):
            logger.warning(
                "continuing %s, made with %s; remove its folder to train from the start", path, told
            )

    def misfit(self, entry: dict[str, Any], most_steps: int) -> str:
        """Return the reason why a state cannot be continued, or ""."""
        if entry["work"] != self.key.work:
            return "other settings or inputs"
        if entry["code"] != self.key.code:
            return "other code"
        if entry["step"] > most_steps:
            return f"{entry['step']} steps, more than {most_steps}"
        return ""

    def save(self, step: int, tensors: Mapping[str, Tensor], values: dict[str, Any]) -> None:
        """Write the state after `step` steps, then remove all but the newest `KEEP`."""
        path = self.folder / f"state-{step:09d}.safetensors"
        entry: dict[str, Any] = {"code": self.key.code, "work": self.key.work, "step": step}
        entry |= {"versions": running_versions(), "values": values}
        with atomic_path(path) as temporary:
            contiguous = {k: v.detach().contiguous() for k, v in tensors.items()}
            save_file(contiguous, temporary, {"rsvp": json.dumps(entry)})
        for old in self.files()[:-KEEP]:
            old.unlink()


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and JSON of a state file; raises one of `BROKEN` when it is not whole."""
    with safe_open(path, "pt") as file:
        entry = json.loads(file.metadata()["rsvp"])
        return {key: file.get_tensor(key) for key in file.keys()}, entry  # noqa: SIM118


def read_entry(path: Path) -> dict[str, Any]:
    """Read the JSON of a state file alone; raises one of `BROKEN` when it cannot be read."""
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
