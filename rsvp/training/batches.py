"""Batches of clips for training: what a step sees is a function of (seed, step) alone."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsvp.config.schema import Augment, ObservedFrames
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX, clip_order
from rsvp.data.latents import Latents
from rsvp.data.layout import LatentBatch, Layout, joined
from rsvp.data.symmetries import turned
from rsvp.runtime.random import generator
from rsvp.training.run import STOP_SIGNALS


class StepBatches(Dataset[Any]):
    """Item `step` is the batch of that step."""

    def batches(self, first: int, last: int, workers: int) -> Iterator[Any]:
        """The batches of steps `first` to `last` - 1, in order, read ahead by `workers`."""
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            pin_memory=workers > 0,
            worker_init_fn=leave_signals_to_trainer,
        )
        return iter(loader)


def leave_signals_to_trainer(worker: int) -> None:
    """Let a worker live through Ctrl-C and its like, which reach the whole process group.

    The trainer still needs batches to finish its step and save; workers end when it does.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class ClipBatches(StepBatches):
    """Clips of training, uint8 (B, T, 3, H, W), drawn with replacement, under random symmetries."""

    def __init__(
        self, clips: Clips, seed: int, batch_size: int, augment: Augment, purpose: str
    ) -> None:
        self.clips, self.seed, self.batch_size = clips, seed, batch_size
        self.augment, self.purpose = augment, purpose

    def __getitem__(self, step: int) -> Tensor:
        random = generator(self.seed, step, f"{self.purpose} clips")
        drawn = torch.randint(len(self.clips), (self.batch_size,), generator=random)
        frames = torch.stack([self.clips.frames(int(i)) for i in drawn])
        batch = rearrange(frames, "b t h w c -> b t c h w")
        turns = torch.randint(0, 8, (self.batch_size,), generator=random)
        return torch.stack(
            [turned(c, int(k), self.augment) for c, k in zip(batch, turns, strict=True)]
        )


class LatentBatches(StepBatches):
    """Normalised latents of training clips, drawn with replacement, each in a random context.

    augment: under random symmetries, those of the dataset's `augment`.
    """

    def __init__(self, latents: Latents, seed: int, batch_size: int, augment: bool = False) -> None:
        self.latents, self.seed, self.batch_size = latents, seed, batch_size
        self.augment = augment
        self.layout = layout_of(latents)

    def __getitem__(self, step: int) -> LatentBatch:
        random = generator(self.seed, step, "latents")
        drawn = torch.randint(len(self.latents), (self.batch_size,), generator=random)
        contexts = torch.randint(len(self.layout.contexts), (self.batch_size,), generator=random)
        turns = None
        if self.augment:
            turns = torch.randint(8, (self.batch_size,), generator=random)
        return self.parts(drawn.tolist(), contexts.tolist(), turns)

    def parts(
        self, clips: Sequence[int], contexts: Sequence[int], turns: Tensor | None = None
    ) -> LatentBatch:
        """Those clips, each in the context of that number, and under that symmetry."""
        names = list(self.layout.contexts)
        if len(names) == 1:
            return self.layout.arrange(self.latents.batch(clips, turns=turns), names[0], len(clips))
        each = [None] * len(clips) if turns is None else turns.split(1)
        return joined([
            self.layout.arrange(self.latents.batch([clip], names[number], turn), names[number], 1)
            for clip, number, turn in zip(clips, contexts, each, strict=True)
        ])  # fmt: skip


def layout_of(latents: Latents) -> Layout:
    """The layout of what a cache holds."""
    facts = latents.metadata
    contexts = {PREFIX: {"first": latents.context_frames}} | facts.get("contexts", {})
    cells = {name: value.shape[-3:] for name, value in latents.batch([0]).items()}
    return Layout(
        facts["scopes"], facts.get("over_time", ()), contexts, facts["clip_frames"], cells
    )


def in_context(
    clips: Tensor,
    contexts: Mapping[str, ObservedFrames],
    seed: int,
    step: int,
    purpose: str,
) -> tuple[Tensor, ObservedFrames]:
    """Clips (B, T, …) in the order of one of the contexts, and that one, drawn by (seed, step)."""
    random = generator(seed, step, f"{purpose} context")
    names = list(contexts)
    name = names[int(torch.randint(len(names), (1,), generator=random))]
    context = contexts[name]
    return (clips if name == PREFIX else clips[:, clip_order(context, clips.shape[1])]), context
