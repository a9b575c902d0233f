"""Files that appear whole or not at all, and content hashes. Loads without torch."""

import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsvp.runtime.errors import UserError

TEMPORARY = re.compile(r"\..+\.(\d+)@(.+)\.tmp")  # as `atomic_path` calls them: process, machine
# A file that was written less than this before it was read may change again within the granularity
# of its time stamp.
SETTLED_SECONDS = 2.0
FileState = list[int]  # size, times of content and of status in ns, inode
SMALL = 2**17  # bytes that are read at once
RECORD = "run.json"  # beside a stage's outputs: the run record
INDEX = "index.json"  # beside a stage's big files: what they are, and their hashes


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`.

    On any error the temporary file is removed and `path` keeps what it had.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` that killed processes left in `folder`.

    Those of another machine are left, since nobody can look there whether their process lives.
    """
    for path in folder.glob(".*.tmp"):
        found = TEMPORARY.fullmatch(path.name)
        if found and found[2] == platform.node() and not is_running(int(found[1])):
            path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Check whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; UserError names the file when it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes it first") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def read_kept(path: str | Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where there is none that is whole."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_network_index(path: str | Path) -> dict[str, Any]:
    """Read a trained network's index; UserError where it is missing or another stage's."""
    metadata = read_json(path)
    kinds = {"weights": str, "sha256": str, "arguments": dict}
    if isinstance(metadata, dict) and all(isinstance(metadata.get(k), t) for k, t in kinds.items()):
        return metadata
    raise UserError(
        f"{path}: not the index of a trained network; name a folder such as"
        " autoencoders/NAME/seed0/finetuned or predictors/NAME/seed0"
    )


def file_state(path: str | Path) -> FileState | None:
    """Return the state of a regular file, which any write changes; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_settled(state: FileState, now: float) -> bool:
    """Check whether a file of that state, at `now` in seconds, would show any later write."""
    return state[1] < (now - SETTLED_SECONDS) * 1e9


def sha256_of_file(path: str | Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with open(path, "rb", buffering=0) as stream:
        # For a small file, the buffer of file_digest costs more than hashing.
        start = stream.read(SMALL)
        digest = hashlib.sha256(start)
        if len(start) == SMALL:
            hashlib.file_digest(stream, lambda: digest)
        return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    """Return the hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the hex SHA-256 of names and their values, a line each."""
    return sha256_of_text("".join(f"{name}\0{value}\n" for name, value in pairs))


def sha256_of_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value, independent of the order of keys."""
    return sha256_of_text(json.dumps(value, sort_keys=True, ensure_ascii=False))


def fresh_folder(path: str | Path) -> Path:
    """Return an empty folder at `path`; what stood there is removed."""
    path = Path(path)
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path
