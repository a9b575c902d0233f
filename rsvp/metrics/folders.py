"""Rows of clips that lie in folders: real ones on one side, predictions on the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from rsvp.config.schema import Split
from rsvp.data.folders import ClipFolder, Limits
from rsvp.data.splits import describe, spread
from rsvp.metrics.frame import SSIM_KERNEL
from rsvp.metrics.row import RowScorer
from rsvp.models import baselines
from rsvp.runtime.errors import UserError


class FolderClips:
    """Clips of a folder that all have one shape; a `row.RealClips`.

    most: frames of each clip, from the first; None: all. shape: (T, H, W, 3), of the first clip
    where it is not given. group_pattern: as `datasets.*.split.group_pattern`.
    """

    def __init__(
        self, folder: ClipFolder, names: Sequence[str], group_pattern: str, most: int | None,
        shape: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.index_path, self.most = folder, folder.path, most
        split = Split(group_pattern=group_pattern)
        groups = [describe({"id": n, "frames": 0, "fps": 0}, split).group for n in names]
        self.table = pd.DataFrame({"clip": list(names), "group": groups})
        self.shape = shape or folder.frames(names[0], most).shape
        if min(self.shape[1:3]) < SSIM_KERNEL:
            raise UserError(
                f"{folder.path}: clips of {size(self.shape)}; {SSIM_KERNEL} pixels per side or "
                "more are needed, by the window of SSIM"
            )
        self.frames(0)  # the first misfit is found at once

    def frames(self, i: int) -> Tensor:
        """uint8 (T, H, W, 3); UserError where a clip has another shape than it should."""
        name = self.table["clip"].iloc[i]
        found = self.folder.frames(name, self.most)
        if found.shape != self.shape:
            raise UserError(
                f"{self.index_path}: {name} is {size(found.shape)}, and {size(self.shape)} are "
                "needed: all clips have one size and length, and --context and --future-only say "
                "which frames predicted ones have"
            )
        return torch.from_numpy(found)

    def truth(self, i: int) -> None:
        """No truth is known of these."""


@dataclass(frozen=True)
class FolderPredictions:
    """Predictions of a row; a `row.PredictedClips`."""

    index: dict[str, Any]  # as `row.RowScorer` reads it
    frames: Callable[[int], Tensor]  # uint8 (K, F, H, W, 3) of a clip, future frames only


def predicted_row(
    real: Path,
    predicted: Sequence[Path],
    *,
    clips: int | None,
    frames: int | None,
    context: int,
    future_only: bool,
    paired: bool,
    group_pattern: str,
    limits: Limits | None,
) -> tuple[RowScorer, FolderClips]:
    """Pair folders of predicted clips, a trajectory each, with real ones; return these, too.

    clips, frames: of the protocol; None: all. context: observed frames of a real clip, which
    predicted clips of `future_only` lack. limits: as for `ClipFolder`.
    """
    truth, *samples = (ClipFolder(path, limits) for path in (real, *predicted))
    for folder in [*samples[1:], *([truth] if paired else [])]:
        check_same(folder, samples[0])
    wanted = clips or len(samples[0].names)
    for folder in (truth, samples[0]):
        had = len(folder.names)
        if had < wanted or (clips is None and had != wanted):
            origin = "the protocol takes" if clips else f"{predicted[0]} has"
            raise UserError(
                f"{folder.path}: {had} clips, and {wanted} are needed: {origin} as many"
            )
    real_clips = FolderClips(truth, chosen(truth, wanted), group_pattern, frames)
    length, height, width = real_clips.shape[:3]
    if not 0 <= context < length:
        raise UserError(f"--context: {context} is not possible; allowed: 0 to {length - 1}")
    if future_only and context and not paired:
        raise UserError("--future-only: unpaired clips have no observed frames to be shown with")
    absent = context if future_only else 0
    most, shape = frames and frames - absent, (length - absent, *real_clips.shape[1:])
    names = chosen(samples[0], wanted)
    trajectories = [FolderClips(item, names, group_pattern, most, shape) for item in samples]

    def futures(i: int) -> Tensor:
        return torch.stack([clips.frames(i)[context - absent :] for clips in trajectories])

    index = {
        "row": label(predicted[0]),
        "kind": "predictor",
        "seed": None,
        "dataset": label(real),
        "split": "whole",
        "paired": paired,
        "trajectories": len(predicted),
        "clips": names,
        "context_frames": context,
        "future_frames": length - context,
        "resolution": width if width == height else f"{width}×{height}",
    }
    own = real_clips if paired else trajectories[0]
    return RowScorer(own, FolderPredictions(index, futures)), real_clips


def baseline_row(name: str, real: FolderClips, index: dict[str, Any]) -> RowScorer:
    """Predict by a baseline from the real clips' observed frames; `index` is of their row."""

    def futures(i: int) -> Tensor:
        observed = real.frames(i)[: index["context_frames"]].numpy()
        return torch.from_numpy(baselines.predict(name, observed, index["future_frames"]))[None]

    own = {"row": f"{index['dataset']}.{name}", "kind": "baseline", "trajectories": 1}
    return RowScorer(real, FolderPredictions(index | own, futures))


def floor_row(
    floor: Path, real: FolderClips, index: dict[str, Any], group_pattern: str
) -> RowScorer:
    """Take as many other real clips in place of predictions; `index` is of these."""
    folder, count = ClipFolder(floor, real.folder.limits), len(real.table)
    if len(folder.names) < count:
        raise UserError(
            f"--floor: {folder.path} has {len(folder.names)} clips, and {count} are needed: as "
            f"many as are scored of {real.index_path}"
        )
    names = chosen(folder, count)
    clips = FolderClips(folder, names, group_pattern, real.most, real.shape)
    own = {"row": f"{index['dataset']}.floor", "kind": "floor", "paired": False}
    own |= {"clips": names, "trajectories": 1}
    context = index["context_frames"]
    return RowScorer(
        clips, FolderPredictions(index | own, lambda i: clips.frames(i)[None, context:])
    )


def chosen(folder: ClipFolder, count: int) -> list[str]:
    """Choose the names of `count` clips of a folder, evenly spread."""
    return [folder.names[i] for i in spread(len(folder.names), count)]


def size(shape: Sequence[int]) -> str:
    """Describe the shape of a clip in words."""
    frames, height, width = shape[:3]
    return f"{frames} frames of {width}×{height} pixels"


def check_same(folder: ClipFolder, other: ClipFolder) -> None:
    """UserError unless two folders hold clips of the same names."""
    for first, second in ((folder, other), (other, folder)):
        if lacking := sorted(set(second.names) - set(first.names)):
            raise UserError(
                f"{first.path}: lacks {len(lacking)} of the {len(second.names)} clips of "
                f"{second.path}, the first is '{lacking[0]}'; clips are paired by name, "
                "unless --unpaired says otherwise"
            )


def label(path: Path) -> str:
    """Name a row after its folder."""
    return path.resolve().name.split(".")[0] or "predicted"
