"""The score table of a row, read from the disk a column at a time.

Its lines are a grid: every clip has lines of the same trajectories and future frames. So a column
is an array (clips, trajectories, frames), and memory holds those alone that are looked at.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from rsvp.data.splits import spread
from rsvp.metrics.definitions import OWN, Definition, defined_values
from rsvp.metrics.scoring import COLUMNS
from rsvp.runtime.errors import UserError

AGAIN = "run the stage evaluate again"
ReadColumns = Callable[[list[str]], pa.Table]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of clips, by trajectory and future frame."""

    read: ReadColumns  # columns of all lines of the table
    shape: tuple[int, int]  # trajectories and frames of a clip of the table
    clips: pd.Index  # names, sorted
    groups: np.ndarray  # (clips,)
    places: np.ndarray  # (clips,), of these among all clips of the table
    trajectories: Mapping[int, int]  # places in the table by number; negative is all together
    frames: Sequence[int]  # the first future frames, from 1
    definition: Definition = OWN

    def values(self, column: str, together: bool | None = None) -> np.ndarray:
        """Return a column (clips, trajectories, frames) as the definition has it.

        together: the line of all trajectories together alone, or the others; None: both.
        """
        taken = [place for number, place in self.trajectories.items()
                 if together in (None, number < 0)]  # fmt: skip

        def read(name: str) -> np.ndarray:
            whole = self.read([name]).column(0).to_numpy().reshape(-1, *self.shape)
            return whole[np.ix_(self.places, taken, np.arange(len(self.frames)))]

        return defined_values(column, self.definition, read)

    def of_clips(self, kept: np.ndarray) -> "Scores":
        """Return the scores of the clips at which `kept` (clips,) is True."""
        clips, groups, places = (part[kept] for part in (self.clips, self.groups, self.places))
        return replace(self, clips=clips, groups=groups, places=places)

    def counted(self, clips: int | None, frames: int, trajectories: int | None) -> "Scores":
        """Return the scores of the first frames and trajectories of evenly spread clips.

        With fewer trajectories than there are, those of all together have no meaning and go.
        """
        found = replace(self, frames=[frame for frame in self.frames if frame <= frames])
        if clips is not None:
            chosen = np.sort(self.places)[spread(len(self.places), clips)]
            found = found.of_clips(np.isin(self.places, chosen))
        if trajectories is not None and trajectories <= max(self.trajectories):
            found = found.of_trajectories(range(trajectories))
        return found

    def of_trajectories(self, kept: Container[int]) -> "Scores":
        """Return the scores of the trajectories of these numbers."""
        taken = {number: place for number, place in self.trajectories.items() if number in kept}
        return replace(self, trajectories=taken)

    def defined(self, definition: Definition) -> "Scores":
        """Return the scores of a definition; others' have none of all trajectories together."""
        if definition == OWN:
            return self
        own = self.of_trajectories(range(max(self.trajectories) + 1))
        return replace(own, definition=definition)


def read_scores(path: Path) -> Scores:
    """Open the score table of a row; UserError where it is none."""

    def read(columns: list[str]) -> pa.Table:
        with parquet.ParquetFile(path) as file:
            return file.read(columns, use_threads=False)

    try:
        with parquet.ParquetFile(path) as file:
            names, lines = file.schema_arrow.names, file.metadata.num_rows
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {AGAIN}") from None
    if not lines or not set(COLUMNS) <= set(names):
        raise UserError(f"{path}: lacks lines or columns; {AGAIN}")
    try:
        return scores_of(read)
    except ValueError:
        raise UserError(f"{path}: its clips have other lines than each other; {AGAIN}") from None


def frame_scores(table: pd.DataFrame) -> Scores:
    """Return the scores of a table in memory."""
    return scores_of(lambda columns: pa.Table.from_pandas(table[columns], preserve_index=False))


def scores_of(read: ReadColumns) -> Scores:
    """Return the scores of a table; ValueError unless its lines are a grid."""
    clip = read(["clip"]).column(0).combine_chunks().dictionary_encode()
    count = len(clip.dictionary)
    clips = clip.indices.to_numpy().reshape(count, -1)
    trajectory, frame = (read([name]).column(0).to_numpy().reshape(count, -1)
                         for name in ("trajectory", "frame"))  # fmt: skip
    numbers, frames = (pd.unique(lines[0]).tolist() for lines in (trajectory, frame))
    # A clip after the other, of it a trajectory after the other.
    grid = np.ix_(range(count), numbers, frames)
    shape = len(numbers), len(frames)
    found = [lines.reshape(count, *shape) for lines in (clips, trajectory, frame)]
    if frames != list(range(1, len(frames) + 1)) or not all(
        (lines == wanted).all() for lines, wanted in zip(found, grid, strict=True)
    ):
        raise ValueError("no grid of clips, trajectories and frames")
    names = clip.dictionary.to_pandas().astype(str)
    groups = read(["group"]).column(0).take(np.arange(0, clips.size, clips.shape[1]))
    order = names.argsort(kind="stable").to_numpy()
    return Scores(
        read, shape, pd.Index(names.iloc[order]), groups.to_pandas().astype(str).to_numpy()[order],
        order, {number: place for place, number in enumerate(numbers)}, frames,
    )  # fmt: skip


def known_mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Return the mean of the known values along axes; NaN where there is none."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.where(known, values, 0.0).sum(axis) / known.sum(axis)
