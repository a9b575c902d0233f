"""The latent cache: every clip's latents by name, in files of bounded size.

Files hold tensors as the autoencoder made them. The index holds per-channel statistics of the
training split, by which readers normalise, and the temporal scope of each latent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsvp.data.contexts import PREFIX
from rsvp.data.frames import PartReader
from rsvp.data.symmetries import turned_latents
from rsvp.runtime.files import read_json
from rsvp.runtime.parts import PartWriter

VALIDATION_CLIPS = 64  # at most, whose latents are cached: those that the loss is watched on
CONSTANT = 1e-6  # least standard deviation that a channel is divided by


class TemporalScope(Enum):
    """Frames that a latent encodes."""

    context = "context"  # the context frames, together
    future = "future"  # the future frames, together
    frames = "frames"  # (…, T, C, h, w): each frame by itself, given the context


def split_latents(
    latents: dict[str, Tensor], scopes: dict[str, TemporalScope], context_frames: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return observed and future latents, (B, T, C, h, w) by name, in the order of `scopes`.

    latents: of clips, (B, …, C, h, w). One of frames together may lack T, which is then 1. Without
    future frames there are no future latents.
    """
    observed, future = {}, {}
    for name, scope in scopes.items():
        if name not in latents:
            continue
        value = latents[name] if latents[name].dim() == 5 else latents[name].unsqueeze(1)
        if scope is not TemporalScope.future:
            observed[name] = value[:, :context_frames] if scope is TemporalScope.frames else value
        if scope is TemporalScope.future:
            future[name] = value
        elif scope is TemporalScope.frames and value.shape[1] > context_frames:
            future[name] = value[:, context_frames:]
    return observed, future


def channel_sums(latents: Tensor) -> dict[str, Any]:
    """Return the count, sums and sums of squares of latents (…, C, h, w) by channel.

    As JSON values, which keep float64 exactly.
    """
    values = latents.double().flatten(-2).transpose(-1, -2).flatten(0, -2).cpu()  # (n, C)
    sums = {"total": values.sum(0).tolist(), "squares": values.square().sum(0).tolist()}
    return {"count": len(values), **sums}


def added(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `channel_sums` of two sets of latents together; `before` may be empty."""
    if not before:
        return dict(more)
    both = {"count": before["count"] + more["count"]}
    for name in ("total", "squares"):
        both[name] = [x + y for x, y in zip(before[name], more[name], strict=True)]
    return both


def channel_statistics(sums: Mapping[str, Any], noise: float) -> dict[str, list[float]]:
    """Return the mean and the standard deviation of each channel, with `noise` added to it.

    The decoder was trained on latents with that much noise, in latent units. A channel that
    holds less carries nothing; scaled to one it would be something to learn.
    """
    total, squares = torch.tensor([sums["total"], sums["squares"]], dtype=torch.float64)
    mean = total / sums["count"]
    variance = (squares / sums["count"] - mean.square()).clamp(min=0.0)
    deviation = (variance + noise**2).sqrt().clamp(min=CONSTANT)
    return {"mean": mean.tolist(), "deviation": deviation.tolist()}


class LatentWriter:
    """Writes the latents of one split clip by clip, with their statistics.

    `parts`: the writer of the files. The clips and the sums of each latent's channels are in its
    note: so a later run goes on with the same sums. keeps_sums: the sums of each batch are kept,
    too. Who takes the batches over then adds them up in the order, and to the bits, of one writer.
    """

    def __init__(self, parts: PartWriter, keeps_sums: bool = False) -> None:
        self.parts = parts
        self.note = parts.note = parts.note or {"clips": [], "sums": {}, "batches": []}
        self.keeps_sums = keeps_sums

    @property
    def clips(self) -> list[str]:
        """Return the ids of the clips that were added, those of earlier runs too."""
        return self.note["clips"]

    def add(self, clips: Sequence[str], latents: dict[str, Tensor]) -> None:
        """Append a batch: each kind (B, …, C, h, w); the ids name the B clips.

        A kind is called as its latent, in another context than the prefix "context/latent".
        """
        self.count([[kind, channel_sums(values)] for kind, values in latents.items()])
        arrays = {kind: values.float().cpu().numpy() for kind, values in latents.items()}
        for row in range(len(clips)):
            self.parts.append({kind: values[row : row + 1] for kind, values in arrays.items()})
        self.clips.extend(clips)

    def count(self, batch: list[list[Any]]) -> None:
        """Add a batch's sums by kind to those of all."""
        sums = self.note["sums"]
        for kind, more in batch:
            # A latent is normalised alike in all contexts that it is made in.
            name = kind.rpartition("/")[2]
            sums[name] = added(sums.get(name, {}), more)
        if self.keeps_sums:
            self.note["batches"].append(batch)

    def take(self, index: Path, split: str) -> None:
        """Take over what another writer made of the split, with its sums; see `PartWriter.take`."""
        entry = read_json(index)["splits"][split]
        self.parts.take(index, entry["parts"])
        self.clips.extend(entry["clips"])
        for batch in entry["batches"]:
            self.count(batch)

    def finish(self) -> dict[str, Any]:
        """Write what is left; return the split's entry of the index."""
        entry = {"clips": self.clips, "parts": self.parts.finish()}
        return entry | ({"batches": self.note["batches"]} if self.keeps_sums else {})

    def results(self, noise: float) -> dict[str, Any]:
        """Return the statistics by kind, as the index holds those of the training split."""
        return {kind: channel_statistics(sums, noise) for kind, sums in self.note["sums"].items()}


class Latents:
    """Reads the latents of one split, normalised, from memory-mapped files."""

    def __init__(self, index: Path, split: str) -> None:
        self.metadata = metadata = read_json(index)
        self.statistics = {k: LatentStatistics(**v) for k, v in metadata["statistics"].items()}
        self.scopes = {name: TemporalScope(value) for name, value in metadata["scopes"].items()}
        self.context_frames: int = metadata["context_frames"]
        entry = metadata["splits"].get(split, {"clips": [], "parts": []})
        self.clips: list[str] = entry["clips"]
        self.reader = PartReader(index.parent, entry["parts"])

    def __len__(self) -> int:
        return len(self.clips)

    def batch(
        self, indices: Sequence[int], context: str = PREFIX, turns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return normalised latents of clips in one context, by kind: (B, …, C, h, w).

        A context without observed frames has no latents of them. `turns` (B,): the symmetries
        (`rsvp.data.symmetries`) to turn them by, as far as the dataset's `augment` has them.
        Displacements turn with their places. Encoders are not equivariant, so these are not quite
        the latents of turned clips.
        """
        latents = self.raw(indices, context)
        if turns is not None:
            augment, moved = self.metadata["augment"], self.metadata["displacements"]
            latents = turned_latents(latents, turns, augment, moved)
        return {kind: self.statistics[kind].normalise(value) for kind, value in latents.items()}

    def raw(self, indices: Sequence[int], context: str) -> dict[str, Tensor]:
        """Return latents of clips in one context, by kind, as the autoencoder made them."""
        items = [self.reader.item(i) for i in indices]
        before = "" if context == PREFIX else f"{context}/"
        return {
            kind: torch.from_numpy(np.stack([part[before + kind][row] for part, row in items]))
            for kind in self.statistics
            if before + kind in items[0][0]
        }


@dataclass
class LatentStatistics:
    """Per-channel mean and standard deviation of a kind of latent."""

    mean: list[float]
    deviation: list[float]

    def normalise(self, latents: Tensor) -> Tensor:
        """Scale latents (…, C, h, w) to zero mean and unit deviation over the training split."""
        mean, deviation = self.tensors(latents)
        return (latents - mean) / deviation

    def restore(self, latents: Tensor) -> Tensor:
        """Invert `normalise`."""
        mean, deviation = self.tensors(latents)
        return latents * deviation + mean

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as (C, 1, 1) of the type and device of `like`."""
        mean, deviation = (
            torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)
            for values in (self.mean, self.deviation)
        )
        return mean, deviation
