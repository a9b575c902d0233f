"""Arrangement of a clip's latents as the inputs and targets of a denoiser.

With one context that is its observed latents and its future ones. A model of several contexts has
one shape for all: places for each frame that some context observes, and for each that some context
predicts. What a context lacks there is zero, and a channel of each observed latent says where it
is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rsvp.config.schema import ObservedFrames
from rsvp.data.contexts import observed_frames, predicted_frames
from rsvp.data.latents import TemporalScope, split_latents
from rsvp.data.micro_batches import MicroBatch


class LatentBatch(NamedTuple):
    """Latents (B, T, C, h, w) by name."""

    observed: dict[str, Tensor]
    targets: dict[str, Tensor]
    wanted: dict[str, Tensor] | None  # bool, of the targets' shapes: what counts; None is all

    def to(self, device: torch.device) -> "LatentBatch":
        """Return the same on another device, which need not be done when this returns."""
        return LatentBatch(*(
            part and {name: value.to(device, non_blocking=True) for name, value in part.items()}
            for part in self
        ))  # fmt: skip

    def rows(self, part: MicroBatch) -> "LatentBatch":
        """Return a part of the batch."""
        return LatentBatch(*(
            values and {name: part.rows(value) for name, value in values.items()}
            for values in self
        ))  # fmt: skip

    @property
    def counted(self) -> int:
        """Number of the targets' values that count."""
        if self.wanted is None:
            return sum(value.numel() for value in self.targets.values())
        return sum(int(value.sum()) for value in self.wanted.values())

    def shapes(self) -> dict[str, dict[str, list[int]]]:
        """Return the shapes (T, C, h, w) that the denoiser is made for."""
        return {
            name: {kind: list(value.shape[1:]) for kind, value in part.items()}
            for name, part in (("observed", self.observed), ("targets", self.targets))
        }


class Layout:
    """The places of each context's latents. All arguments are JSON values but for the contexts'.

    scopes: by name. over_time: the latents of context or future that have a frame for each of
    its frames. frames: of a clip. cells: shapes (C, h, w) by name. hidden: latents of the context
    that are not observed.
    """

    def __init__(
        self,
        scopes: Mapping[str, str],
        over_time: Sequence[str],
        contexts: Mapping[str, Mapping[str, int]],
        frames: int,
        cells: Mapping[str, Sequence[int]],
        hidden: Sequence[str] = (),
    ) -> None:
        self.metadata: dict[str, Any] = {
            "scopes": dict(scopes), "over_time": list(over_time), "frames": frames,
            "contexts": {name: dict(value) for name, value in contexts.items()},
            "cells": {name: list(shape) for name, shape in cells.items()},
            "hidden": list(hidden),
        }  # fmt: skip
        self.scopes = {name: TemporalScope(value) for name, value in scopes.items()}
        self.over_time, self.frames, self.cells = set(over_time), frames, cells
        self.hidden = set(hidden)
        self.contexts = {name: ObservedFrames(**value) for name, value in contexts.items()}
        self.observed = {n: observed_frames(c, frames) for n, c in self.contexts.items()}
        self.predicted = {n: predicted_frames(c, frames) for n, c in self.contexts.items()}
        self.observed_places = sorted(set().union(*self.observed.values()))
        self.predicted_places = sorted(set().union(*self.predicted.values()))

    def arrange(self, latents: dict[str, Tensor], context: str, count: int) -> LatentBatch:
        """Arrange `count` clips' latents (B, …, C, h, w), encoded in that context's order.

        Without future frames there are no targets.
        """
        observed, future = split_latents(latents, self.scopes, len(self.observed[context]))
        observed = {name: value for name, value in observed.items() if name not in self.hidden}
        if len(self.contexts) == 1:
            return LatentBatch(observed, future, None)
        blank = next(iter(latents.values()), torch.empty(0)).new_zeros(count, dtype=torch.float32)
        frames, places = self.observed[context], self.observed_places
        shown = {
            name: self.spread(name, observed.get(name), frames, places, blank)
            for name, scope in self.scopes.items()
            if scope is not TemporalScope.future and name not in self.hidden
        }
        frames, places = self.predicted[context], self.predicted_places
        targets = {
            name: self.spread(name, value, frames, places, blank)[:, :, :-1]
            for name, value in future.items()
        }
        return LatentBatch(shown, targets, self.wanted(context, count))

    def spread(
        self, name: str, value: Tensor | None, frames: list[int], places: list[int], blank: Tensor
    ) -> Tensor:
        """Put a latent of `frames` at its places (B, T, C + 1, h, w); the last channel is 1.

        blank: zeros (B,), of the result's type and device.
        """
        channels, *grid = self.cells[name]
        timed = self.timed(name)
        shape = (len(blank), len(places) if timed else 1, channels + 1, *grid)
        laid = blank.new_zeros(shape)
        if value is not None and value.shape[1]:
            there = [places.index(frame) for frame in frames] if timed else [0]
            laid[:, there, :channels] = value.to(laid.dtype)
            laid[:, there, channels] = 1.0
        return laid

    def timed(self, name: str) -> bool:
        """Check whether a latent has a frame for each frame that it encodes."""
        return self.scopes[name] is TemporalScope.frames or name in self.over_time

    def wanted(self, context: str, count: int) -> dict[str, Tensor] | None:
        """Return the targets that a context predicts, (B, T, C, h, w) bool by name; None is all."""
        if len(self.contexts) == 1:
            return None
        wanted = {}
        for name, scope in self.scopes.items():
            if scope is TemporalScope.context:
                continue
            asked = [place in self.predicted[context] for place in self.predicted_places]
            there = torch.tensor(asked if self.timed(name) else [True]).view(1, -1, 1, 1, 1)
            wanted[name] = there.expand(count, -1, *self.cells[name])
        return wanted

    def take(self, targets: dict[str, Tensor], context: str) -> dict[str, Tensor]:
        """Take the frames that a context predicts of targets (B, T, C, h, w), as decoders do."""
        if len(self.contexts) == 1:
            return targets
        there = [self.predicted_places.index(frame) for frame in self.predicted[context]]
        return {n: value[:, there] if self.timed(n) else value for n, value in targets.items()}


def joined(parts: Sequence[LatentBatch]) -> LatentBatch:
    """Return the batches of several clips, one after the other."""
    observed, targets, wanted = (
        column[0] and {name: torch.cat([part[name] for part in column]) for name in column[0]}
        for column in zip(*parts, strict=True)
    )
    return LatentBatch(observed, targets, wanted)
