"""Rows of clips that lie in folders: real ones on one side, predictions on the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from rsvp.config.schema import Split
from rsvp.data.folders import ClipFolder
from rsvp.data.splits import describe, spread
from rsvp.metrics.frame import SSIM_KERNEL
from rsvp.metrics.row import RowScorer
from rsvp.models import baselines
from rsvp.runtime.errors import UserError


class FolderClips:
    """Clips of a folder that all have the same shape; a `row.RealClips`.

    frames: of each clip, from the first; None: all. group_pattern: as
    `datasets.*.split.group_pattern`.
    """

    def __init__(
        self, folder: ClipFolder, names: Sequence[str], frames: int | None, group_pattern: str
    ) -> None:
        self.folder, self.index_path = folder, folder.path
        split = Split(group_pattern=group_pattern)
        groups = [describe({"id": n, "frames": 0, "fps": 0}, split).group for n in names]
        self.table = pd.DataFrame({"clip": list(names), "group": groups})
        self.most = frames
        self.shape = tuple(folder.frames(names[0], frames).shape)

    def frames(self, i: int) -> Tensor:
        """uint8 (T, H, W, 3); UserError where a clip has another shape than the first."""
        name = self.table["clip"].iloc[i]
        found = self.folder.frames(name, self.most)
        if found.shape != self.shape:
            first = self.table["clip"].iloc[0]
            raise UserError(
                f"{self.index_path}: {name} is {size(found.shape)}, but {first} is "
                f"{size(self.shape)}; all clips need one size and length"
            )
        return torch.from_numpy(found)

    def truth(self, i: int) -> None:
        """No truth is known of these."""


class FolderPredictions:
    """Trajectories of clips, a folder each; a `row.PredictedClips`.

    index: as `row.RowScorer` reads it; the clips' names are those of the folders. skip: observed
    frames at the start of each predicted clip, which are not scored.
    """

    def __init__(self, samples: Sequence[FolderClips], index: dict[str, Any], skip: int) -> None:
        self.samples, self.index, self.skip = samples, index, skip

    def frames(self, number: int) -> Tensor:
        """uint8 (K, F, H, W, 3), future frames only."""
        return torch.stack([clips.frames(number)[self.skip :] for clips in self.samples])


class BaselinePredictions:
    """Predictions of a baseline from the real clips' observed frames; a `row.PredictedClips`.

    index: of predictions of the same clips.
    """

    def __init__(self, name: str, real: FolderClips, index: dict[str, Any]) -> None:
        self.name, self.real = name, real
        row = f"{index['dataset']}.{name}"
        self.index = index | {"row": row, "kind": "baseline", "trajectories": 1}

    def frames(self, number: int) -> Tensor:
        """uint8 (1, F, H, W, 3), future frames only."""
        observed = self.real.frames(number)[: self.index["context_frames"]].numpy()
        future = baselines.predict(self.name, observed, self.index["future_frames"])
        return torch.from_numpy(future)[None]


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
) -> tuple[RowScorer, FolderClips]:
    """Pair folders of predicted clips, a trajectory each, with real ones; return these, too.

    clips, frames: of the protocol; None: all. context: observed frames of a real clip, which
    predicted clips of `future_only` lack.
    """
    truth, samples = ClipFolder(real), [ClipFolder(path) for path in predicted]
    real_names, names = chosen_names(truth, samples, paired, clips)
    skip = 0 if future_only else context
    real_clips = FolderClips(truth, real_names, frames, group_pattern)
    check_size(real_clips)
    length, height, width = real_clips.shape[:3]
    if not 0 <= context < length:
        raise UserError(f"--context: {context} is not possible; allowed: 0 to {length - 1}")
    most = frames and frames - context + skip
    trajectories = [FolderClips(item, names, most, group_pattern) for item in samples]
    check_lengths(real_clips, trajectories, skip, context)
    if not paired and skip < context:
        raise UserError("--future-only: unpaired clips have no observed frames to be shown with")
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
    predictions = FolderPredictions(trajectories, index, skip)
    return RowScorer(real_clips if paired else trajectories[0], predictions), real_clips


def floor_row(
    floor: Path, real: FolderClips, index: dict[str, Any], group_pattern: str
) -> RowScorer:
    """Take as many other real clips in place of predictions; `index` is of these."""
    folder, context, count = ClipFolder(floor), index["context_frames"], len(real.table)
    if len(folder.names) < count:
        raise UserError(
            f"--floor: {folder.path} has {len(folder.names)} clips, and {count} are needed: as "
            f"many as are scored of {real.index_path}"
        )
    names = [folder.names[i] for i in spread(len(folder.names), count)]
    clips = FolderClips(folder, names, real.most, group_pattern)
    check_lengths(real, [clips], context, context)
    own = {"row": f"{index['dataset']}.floor", "kind": "floor", "paired": False}
    own |= {"clips": names, "trajectories": 1}
    return RowScorer(clips, FolderPredictions([clips], index | own, context))


def size(shape: Sequence[int]) -> str:
    """Describe the shape of a clip in words."""
    frames, height, width = shape[:3]
    return f"{frames} frames of {width}×{height} pixels"


def chosen_names(
    real: ClipFolder, predicted: Sequence[ClipFolder], paired: bool, clips: int | None
) -> tuple[list[str], list[str]]:
    """Choose the real and the predicted clips, `clips` of each or all, by name.

    UserError where the sets do not fit: paired ones hold the same names, others as many.
    """
    names = predicted[0].names
    for folder in predicted[1:]:
        check_same(folder, predicted[0])
    if paired:
        check_same(predicted[0], real)
    wanted = clips or len(names)
    for folder in (real, predicted[0]):
        had = len(folder.names)
        if had < wanted or (clips is None and had != wanted):
            raise UserError(
                f"{folder.path}: {had} clips, and {wanted} are needed: "
                + ("the protocol takes as many" if clips else f"as many as in {predicted[0].path}")
            )
    real_names = [real.names[i] for i in spread(len(real.names), clips)]
    return real_names, [names[i] for i in spread(len(names), clips)]


def check_same(folder: ClipFolder, other: ClipFolder) -> None:
    """UserError unless two folders hold clips of the same names."""
    for first, second in ((folder, other), (other, folder)):
        lacking = [name for name in second.names if name not in first.readers]
        if lacking:
            raise UserError(
                f"{first.path}: lacks {len(lacking)} of the {len(second.names)} clips of "
                f"{second.path}, the first is '{lacking[0]}'; clips are paired by name, "
                "unless --unpaired says otherwise"
            )


def check_size(clips: FolderClips) -> None:
    """UserError where frames are smaller than the window of SSIM, the largest that measures."""
    if min(clips.shape[1:3]) < SSIM_KERNEL:
        raise UserError(
            f"{clips.index_path}: clips of {size(clips.shape)}; {SSIM_KERNEL} pixels per side or "
            "more are needed, by the window of SSIM"
        )


def check_lengths(
    real: FolderClips, predicted: Sequence[FolderClips], skip: int, context: int
) -> None:
    """UserError unless predicted clips have the size and length of the real ones."""
    frames, *rest = real.shape
    expected = (frames - context + skip, *rest)
    for clips in predicted:
        if clips.shape != expected:
            raise UserError(
                f"{clips.index_path}: clips of {size(clips.shape)}, but {size(expected)} are "
                f"needed beside those of {real.index_path}; --context and --future-only say "
                "which frames are there"
            )


def label(path: Path) -> str:
    """Name a row after its folder."""
    return path.resolve().name.split(".")[0] or "predicted"
