"""Rows of clips that lie in folders: real ones on one side, predictions on the other."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rsvp.config.schema import Split
from rsvp.data.folders import DatasetClips, NamedClips, RowTrajectory
from rsvp.data.splits import describe, spread
from rsvp.metrics.frame import SSIM_KERNEL
from rsvp.metrics.row import RowScorer, group_codes
from rsvp.models import baselines
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.ceiling import reconstruct_rolling
from rsvp.runtime.errors import UserError


class FolderClips:
    """Clips of a source that all have one shape; a `row.RealClips`. It keeps the clip read last.

    most: frames of each clip, from the first; None: all. shape: (T, H, W, 3), of the first clip
    where it is not given. group_pattern: as `datasets.*.split.group_pattern`.
    """

    def __init__(
        self, source: NamedClips, names: Sequence[str], group_pattern: str, most: int | None,
        shape: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        self.source, self.index_path, self.most = source, source.path, most
        if isinstance(source, DatasetClips):
            groups = [source.groups[name] for name in names]
        else:
            split = Split(group_pattern=group_pattern)
            # `rsvp export` names clips video@start.
            videos = [re.sub(r"@\d{6}$", "", name) for name in names]
            groups = [describe({"id": v, "frames": 0, "fps": 0}, split).group for v in videos]
        self.table = pd.DataFrame({"clip": list(names), "group": groups})
        self.last = 0, source.frames(names[0], most)
        self.shape = shape or self.last[1].shape
        if min(self.shape[1:3]) < SSIM_KERNEL:
            raise UserError(
                f"{source.path}: clips of {size(self.shape)}; {SSIM_KERNEL} pixels per side or "
                "more are needed, by the window of SSIM"
            )
        self.frames(0)  # the first misfit is found at once

    def frames(self, i: int) -> Tensor:
        """uint8 (T, H, W, 3); UserError where a clip has another shape than it should."""
        name = self.table["clip"].iloc[i]
        if self.last[0] != i:
            self.last = i, self.source.frames(name, self.most)
        found = self.last[1]
        if found.shape != self.shape:
            raise UserError(
                f"{self.index_path}: {name} is {size(found.shape)}, and {size(self.shape)} are "
                "needed: all clips have one size and length, and --context and --future-only say "
                "which frames predicted ones have"
            )
        return torch.from_numpy(found)

    def truth(self, i: int) -> dict[str, np.ndarray] | None:
        """Return where objects truly are, "mask", and more; None where no truth is known."""
        if not isinstance(self.source, DatasetClips):
            return None
        return self.source.clips.truth(self.source.places[self.table["clip"].iloc[i]])


@dataclass(frozen=True)
class FolderPredictions:
    """Predictions of a row; a `row.PredictedClips`."""

    index: dict[str, Any]  # as `row.RowScorer` reads it
    frames: Callable[[int], Tensor]  # uint8 (K, F, H, W, 3) of a clip, future frames only


@dataclass(frozen=True)
class Method:
    """Predictions to score: the trajectories of each clip, a source each."""

    name: str
    trajectories: Sequence[NamedClips]


def real_side(
    truth: NamedClips,
    methods: Sequence[Method],
    *,
    clips: int | None,
    frames: int | None,
    paired: bool,
    group_pattern: str,
) -> FolderClips:
    """Choose the real clips that all methods are scored on, and check that these have as many.

    clips, frames: of the protocol; None: all. Of a dataset these are clips that are predicted.
    """
    first = methods[0].trajectories[0]
    for method in methods:
        for source in method.trajectories:
            check_same(source, first if paired else method.trajectories[0])
    if paired:
        check_same(truth, first, subset=isinstance(truth, DatasetClips))
    own = first if paired else truth
    wanted = clips or len(first.names)
    for source in (own, *(method.trajectories[0] for method in methods)):
        had = len(source.names)
        if had < wanted or (clips is None and had != wanted):
            origin = (
                "the protocol takes as many; `protocols` of --config may name one of fewer clips"
                if clips else f"{first.path} has as many"
            )  # fmt: skip
            raise UserError(f"{source.path}: {had} clips, and {wanted} are needed: {origin}")
    return FolderClips(truth, chosen(own, wanted), group_pattern, frames)


def real_index(real: FolderClips, dataset: str, context: int, paired: bool) -> dict[str, Any]:
    """Return what the indexes of all rows against these real clips share."""
    length, height, width = real.shape[:3]
    if not 0 <= context < length:
        raise UserError(f"--context: {context} is not possible; allowed: 0 to {length - 1}")
    names, among = list(real.table["clip"]), real.source.names
    choice = f" of {len(among)}, those that are predicted"
    if len(names) == len(among):
        choice = ""
    elif names == chosen(real.source, len(names)):
        choice = f" of {len(among)}, spread evenly"
    return {
        "kind": "predictor",
        "seed": None,
        "dataset": dataset,
        "split": "test" if isinstance(real.source, DatasetClips) else "whole",
        "choice": choice,
        "paired": paired,
        "clips": names,
        "context_frames": context,
        "future_frames": length - context,
        "resolution": width if width == height else [height, width],
        "channels": real.shape[-1],
    }


def predicted_row(
    method: Method, real: FolderClips, index: dict[str, Any], future_only: bool, group_pattern: str
) -> RowScorer:
    """Pair a method's clips with the real ones; `index` is what all rows share.

    future_only: clips of folders lack the observed frames, as those of the pipeline's rows do.
    """
    context, paired = index["context_frames"], index["paired"]
    if future_only and context and not paired:
        raise UserError("--future-only: unpaired clips have no observed frames to be shown with")
    count = len(real.table)
    names = index["clips"] if paired else chosen(method.trajectories[0], count)
    trajectories, observed = [], []
    for source in method.trajectories:
        absent = context if future_only or isinstance(source, RowTrajectory) else 0
        shape = (real.shape[0] - absent, *real.shape[1:])
        most = real.most and real.most - absent
        trajectories.append(FolderClips(source, names, group_pattern, most, shape))
        observed.append(context - absent)

    def futures(i: int) -> Tensor:
        pairs = zip(trajectories, observed, strict=True)
        return torch.stack([clips.frames(i)[seen:] for clips, seen in pairs])

    own = {"row": method.name, "clips": names, "trajectories": len(trajectories)}
    own |= {"point_forecast": True} if len(trajectories) == 1 else {}
    clips = real if paired else trajectories[0]
    return RowScorer(clips, FolderPredictions(index | own, futures))


def baseline_row(name: str, real: FolderClips, index: dict[str, Any]) -> RowScorer:
    """Predict by a baseline from the real clips' observed frames; `index` is what rows share."""

    def futures(i: int) -> Tensor:
        observed = real.frames(i)[: index["context_frames"]].numpy()
        return torch.from_numpy(baselines.predict(name, observed, index["future_frames"]))[None]

    own = {"row": f"{index['dataset']}.{name}", "kind": "baseline", "trajectories": 1}
    return RowScorer(real, FolderPredictions(index | own, futures))


def ceiling_row(
    autoencoder: ClipAutoencoder, real: FolderClips, index: dict[str, Any], block_frames: int
) -> RowScorer:
    """Reconstruct the true future by an autoencoder; `index` is what rows share.

    block_frames: future frames of a clip of its training. UserError where it does not take the
    clips.
    """
    context, device = index["context_frames"], next(autoencoder.parameters()).device

    @torch.no_grad()
    def futures(i: int) -> Tensor:
        clip = real.frames(i)[None].to(device)
        return reconstruct_rolling(autoencoder, clip, context, block_frames).cpu()

    try:
        futures(0)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--autoencoder: no network of such clips ({reason[:200]})") from None
    own = {"row": "autoencoder.reconstruction", "kind": "ceiling", "trajectories": 1}
    return RowScorer(real, FolderPredictions(index | own, futures))


def floor_row(
    floor: NamedClips, real: FolderClips, index: dict[str, Any], group_pattern: str
) -> RowScorer:
    """Take other real clips in place of predictions, as many where there are; `index` is shared."""
    names = chosen(floor, min(len(floor.names), len(real.table)))
    clips = FolderClips(floor, names, group_pattern, real.most, real.shape)
    context = index["context_frames"]
    return RowScorer(
        clips, FolderPredictions(floor_index(index, names, "other real clips"),
                                 lambda i: clips.frames(i)[None, context:])
    )  # fmt: skip


def halves_row(
    real: FolderClips, index: dict[str, Any], features: Mapping[str, np.ndarray]
) -> tuple[RowScorer, dict[str, np.ndarray]] | None:
    """Take one half of the real clips in place of predictions of the other; None for one group.

    No group is on both sides. features: of the real clips, by name. Return the row, which has
    nothing to measure, and its features.
    """
    sides: tuple[list[int], list[int]] = ([], [])
    codes, counts = np.unique(group_codes(real), return_counts=True)
    for code in codes[np.argsort(-counts, kind="stable")]:
        min(sides, key=len).extend(np.flatnonzero(group_codes(real) == code).tolist())
    count = min(map(len, sides))
    if count < 2:
        return None
    places = {
        name: [sorted(side)[i] for i in spread(len(side), count)]
        for name, side in zip(("predicted", "real"), sides, strict=True)
    }
    names = list(real.table["clip"].iloc[places["predicted"]])
    own = floor_index(index, names, "one half of the real clips, against the other half,")
    halved = {
        f"{name}_{side}": values[chosen]
        for name, values in features.items() for side, chosen in places.items()
    }  # fmt: skip
    return RowScorer(real, FolderPredictions(own, real.frames)), halved


def floor_index(index: dict[str, Any], names: list[str], choice: str) -> dict[str, Any]:
    """Return the index of a floor of these clips, `choice` in words."""
    own = {"row": f"{index['dataset']}.floor", "kind": "floor", "paired": False}
    return index | own | {"clips": names, "trajectories": 1, "choice": choice}


def chosen(source: NamedClips, count: int) -> list[str]:
    """Choose the names of `count` clips, evenly spread."""
    return [source.names[i] for i in spread(len(source.names), count)]


def size(shape: Sequence[int]) -> str:
    """Describe the shape of a clip in words."""
    frames, height, width = shape[:3]
    return f"{frames} frames of {width}×{height} pixels"


def check_same(source: NamedClips, other: NamedClips, subset: bool = False) -> None:
    """UserError unless two sources hold clips of the same names.

    subset: the source may have more than the other.
    """
    for first, second in ((source, other), (other, source))[: 1 if subset else 2]:
        if lacking := sorted(set(second.names) - set(first.names)):
            raise UserError(
                f"{first.path}: lacks {len(lacking)} of the {len(second.names)} clips of "
                f"{second.path}, the first is '{lacking[0]}'; clips are paired by name, "
                "unless --unpaired says otherwise"
            )
