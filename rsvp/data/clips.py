"""The clips of one side of a dataset, read from the memory-mapped frame cache."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rsvp.config.schema import size_of
from rsvp.data.fitting import in_colours
from rsvp.data.frames import PartReader, map_arrays, read_frame_cache
from rsvp.data.splits import SIDES, clip_rows, spread
from rsvp.data.timeline import COLUMNS, Timeline
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, sha256_of_file

BACKWARDS = "~"  # ends the name of a clip that is played backwards
logger = logging.getLogger(__name__)


class Clips:
    """The clips of one split: "train", "validation" or "test".

    `table`: their rows of clips.csv; where the dataset says so, each of training is there once
    more, backwards. `frames(i)`: their images. Frames and truth stay on disk. With `horizon`, clips
    go on to so many future frames; those whose videos end before are in the table still, and not in
    `fitting`.
    """

    def __init__(self, index_path: str | Path, split: str, horizon: int | None = None) -> None:
        if split not in SIDES:
            raise ValueError(f"split is one of {', '.join(SIDES)}, not {split!r}")
        self.index_path = Path(index_path)
        self.folder = self.index_path.parent
        self.index: dict[str, Any] = read_json(index_path)
        if "clip_frames" not in self.index:
            raise UserError(f"{index_path}: not the index.json of a dataset; name that one")
        self.split = split
        self.context_frames: int = self.index["context_frames"]
        self.clip_frames: int = (
            self.context_frames + horizon if horizon else self.index["clip_frames"]
        )
        self.resolution: int | list[int] = self.index["resolution"]
        self.channels: int = self.index.get("channels", 3)
        self.augment = self.index["augment"]
        table = read_clips(self.folder / "clips.csv", self.index["files"]["clips.csv"])
        self.table = table[table["split"] == split].reset_index(drop=True)
        self.forward = len(self.table)  # clips from this number on are those before, backwards
        if split == "train" and self.index.get("backwards"):
            again = self.table.assign(clip=self.table["clip"] + BACKWARDS)
            self.table = pd.concat([self.table, again], ignore_index=True)
        # Plain lists: a lookup in a table takes longer than reading a clip.
        self.places = list(
            zip(self.table["share"], self.table["offset"] + self.table["start"],
                self.table["stride"], strict=True)
        )  # fmt: skip
        self.timed: dict[int, np.ndarray] = {}  # rows of clips whose frames come irregularly
        self.caches: dict[int, PartReader] = {}
        self.fitting = list(range(len(self.table)))  # numbers of the clips that can be read
        if self.clip_frames > self.index["clip_frames"]:
            # Frames after a clip's stop are another side's, or another video's.
            self.fitting = [i for i in self.fitting[: self.forward] if self.fits(i)]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        return *size_of(self.resolution), self.channels

    def fits(self, i: int) -> bool:
        """Check whether clip `i` has all its frames before its stop."""
        rows, row = self.rows(i), self.table.iloc[i]
        return len(rows) == self.clip_frames and row["start"] + rows.max() < row["stop"]

    def rows(self, i: int) -> np.ndarray:
        """Return the offsets of clip `i`'s frames from its first, in stored frames: int (T,)."""
        if i >= self.forward:
            return self.rows(i - self.forward)[::-1]
        share, first, stride = self.places[i]
        if stride:
            return clip_rows(self.clip_frames, stride)
        if i not in self.timed:
            frames = first + np.arange(self.table["stop"].iloc[i] - self.table["start"].iloc[i])
            timeline = Timeline(*(self.cache(share).frames(frames, key) for key in COLUMNS))
            self.timed[i] = timeline.clip(self.clip_frames, **self.index["by_time"])
        return self.timed[i]

    def frames(self, i: int, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Return frames `start` to `stop` - 1 of clip `i`: uint8 (T, H, W, C), a copy."""
        return self.frames_at(i, range(self.clip_frames)[start:stop])

    def frames_at(self, i: int, places: Sequence[int]) -> torch.Tensor:
        """Return the frames of clip `i` at `places`, in their order: uint8 (n, H, W, C), a copy."""
        if not places:
            return torch.empty(0, *self.shape, dtype=torch.uint8)
        share, first, *_ = self.places[i]
        return torch.from_numpy(self.cache(share).frames(first + self.rows(i)[list(places)]))

    def batch(self, numbers: Sequence[int], stop: int | None = None) -> torch.Tensor:
        """Return frames up to `stop` - 1 of clips as networks take them: uint8 (B, T, C, H, W)."""
        return torch.stack([self.frames(i, 0, stop) for i in numbers]).permute(0, 1, 4, 2, 3)

    def cache(self, share: int) -> PartReader:
        """Return the frames of one decode share, which must be those that were split."""
        if share not in self.caches:
            entry = self.index["shares"][share]
            path = self.folder / entry["index"]
            check_hash(path, entry["sha256"])
            self.caches[share] = read_frame_cache(path)[1]
        return self.caches[share]

    def truth(self, i: int) -> dict[str, np.ndarray] | None:
        """Return the truth behind clip `i` of a generated set, else None.

        "mask": uint8 (T, H, W), 1 = some object. "background": uint8 (H, W, C). N objects, the
        last topmost: "alpha", uint8 (T, N, H, W), how much of a pixel each covers, of 255;
        "positions", float32 (T, N, 3), x, y in pixels and the angle in radians.
        """
        if self.index["truth"] is None:
            return None
        video = self.table["video"].iloc[i]
        truth = map_arrays(self.folder / self.index["truth"] / f"{video}.safetensors")
        rows = self.table["start"].iloc[i] + self.rows(i)
        truth |= {name: truth[name][rows] for name in ("alpha", "positions")}
        truth["background"] = in_colours(truth["background"], self.channels)
        return truth | {"mask": object_mask(truth["alpha"])}


def object_mask(alpha: np.ndarray) -> np.ndarray:
    """Mark pixels that an object covers by half or more: uint8 (T, H, W) of alpha (T, N, H, W)."""
    return (alpha >= 128).any(axis=1).astype(np.uint8)


def read_clips(path: Path, sha256: str) -> pd.DataFrame:
    """Return the table clips.csv; UserError when it is not the one that its index describes."""
    check_hash(path, sha256)
    text = dict.fromkeys(("clip", "video", "class", "group", "split"), str)
    # A class may be called NA, or nothing.
    return pd.read_csv(path, dtype=text, keep_default_na=False, lineterminator="\n")


def check_hash(path: Path, sha256: str) -> None:
    """Refuse a file that is missing or has changed since the index was written."""
    if not path.exists():
        raise UserError(f"{path}: no such file; run the stage that makes it again")
    if sha256_of_file(path) != sha256:
        raise UserError(f"{path}: changed after the dataset was split; run snakemake again")


def evaluation_clips(clips: Clips, max_clips: int | None) -> list[int]:
    """Return the clips that are predicted and scored: of videos long enough, all or `max_clips`
    spread evenly over the split; none backwards. UserError where there are none."""
    if clips.table.empty or len(clips.fitting) in (clips.forward, len(clips)):
        return spread(clips.forward, max_clips)
    future = clips.clip_frames - clips.context_frames
    if not clips.fitting:
        raise UserError(
            f"config: evaluation.horizon: no {clips.split} clip of {clips.index['dataset']} can"
            f" go on to {future} future frames; take fewer, or longer videos"
        )
    short = clips.forward - len(clips.fitting)
    logger.info("%d of %d %s clips left out: their videos end before %d future frames",
                short, len(clips), clips.split, future)  # fmt: skip
    return [clips.fitting[place] for place in spread(len(clips.fitting), max_clips)]


def clip_places(clips: Any, wanted: list[str], row: str) -> list[int]:
    """Find a row's clips in a dataset: `Clips`, or an object with their table and path."""
    place = {clip: number for number, clip in enumerate(clips.table["clip"])}
    unknown = [clip for clip in wanted if clip not in place]
    if unknown:
        raise UserError(
            f"{row}: predicts {unknown[0]}, which {clips.index_path} does not hold; predict again"
        )
    return [place[clip] for clip in wanted]
