"""Room for files that are taken out of an archive."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rsvp.runtime.errors import UserError


@contextmanager
def temporary_space() -> Iterator[None]:
    """Say of an error that it is the folder of temporary files which has no room."""
    try:
        yield
    except OSError as error:
        # tempfile finds no folder at all when none can be written to.
        folder = os.environ.get("TMPDIR") or "/tmp"
        raise UserError(
            f"{folder}: {error.strerror or 'not writable'}; make room there, or name another"
            " folder for temporary files with TMPDIR"
        ) from None


@contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    """Yield an empty folder that is removed afterwards."""
    with temporary_space():
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    with folder as path:
        yield path
