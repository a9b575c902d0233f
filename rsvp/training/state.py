"""Training state: what resumes a stage, exactly where it was.

A state file holds tensors (weights, optimiser, EMA) and a little JSON, in one safetensors file that
appears whole or not at all. The folder is declared to nobody, so Snakemake never deletes it. A
state carries a key (its settings, code and inputs); one of another key is set aside.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rsvp.errors import UserError
from rsvp.files import atomic_path

KEEP = 2  # the newest states that stay
logger = logging.getLogger(__name__)


class StateFolder:
    """The states of one training stage, newest last; locked against a second run."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock(folder / "lock")

    def files(self) -> list[Path]:
        """State files by step."""
        return sorted(self.folder.glob("state-*.safetensors"))

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and JSON of the newest whole state of this key; None to start from the start.

        A broken file is passed over for the one before it, with a warning; so is a state of other
        settings or code, which is set aside under another name.
        """
        for path in reversed(self.files()):
            try:
                tensors, values = read_state(path)
            except (SafetensorError, OSError, KeyError, ValueError) as error:
                # Under its own name it would count among the newest, and push out whole ones.
                path.rename(path.with_name(f"broken-{path.name}"))
                logger.warning("state %s is broken (%s); using the one before it", path, error)
                continue
            if values["key"] != self.key:
                aside = path.with_name(f"aside-{values['key'][:8]}-{path.name}")
                path.rename(aside)
                logger.warning(
                    "state %s is of other settings, code or inputs; set aside as %s",
                    path,
                    aside.name,
                )
                continue
            return tensors, values["values"]
        return None

    def save(self, step: int, tensors: Mapping[str, Tensor], values: dict[str, Any]) -> None:
        """Write the state after `step` steps, then remove all but the newest `KEEP`."""
        path = self.folder / f"state-{step:09d}.safetensors"
        metadata = {"rsvp": json.dumps({"key": self.key, "values": values})}
        with atomic_path(path) as temporary:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, metadata)
        for old in self.files()[:-KEEP]:
            old.unlink()


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of a state file; raises when it is not whole."""
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["rsvp"])
        return {key: file.get_tensor(key) for key in file.keys()}, values  # noqa: SIM118


def lock(path: Path, patience: float = 10.0) -> TextIO:
    """Hold `path` for this process; UserError names the process that has it after `patience` s."""
    stream = open(path, "a+", encoding="utf-8")  # noqa: SIM115  held until the process ends
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline:
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                raise UserError(
                    f"{path.parent}: another run trains here (process {holder});"
                    " wait for it or stop it"
                ) from None
            time.sleep(0.2)
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    return stream
