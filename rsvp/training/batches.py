"""Training batches as functions of (seed, step), and a thread that makes them ahead of steps."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from rsvp.config.schema import Augment, ObservedFrames
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX, clip_order
from rsvp.data.latents import Latents
from rsvp.data.layout import LatentBatch, Layout, joined
from rsvp.data.micro_batches import MicroBatch
from rsvp.data.symmetries import turned
from rsvp.runtime.random import generator

AHEAD = 3  # batches that wait for a GPU
Batch = TypeVar("Batch")


def read_ahead(
    batch: Callable[[int], Batch], first: int, last: int, device: torch.device
) -> Iterator[Batch]:
    """Yield `batch(step)` of the steps `first` to `last` - 1, in order.

    For a GPU, which must not wait, a thread makes the next `AHEAD`. It ends with the iterator, and
    at the latest with the process, which needs no batch any more. On a CPU it would take a core.
    """
    if device.type != "cuda":
        yield from map(batch, range(first, last))
        return
    thread = ThreadPoolExecutor(1)
    try:
        upcoming = iter(range(first, last))
        waiting = deque(thread.submit(batch, step) for step in islice(upcoming, AHEAD))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(thread.submit(batch, step) for step in islice(upcoming, 1))
            yield made
    finally:
        thread.shutdown(cancel_futures=True)


class ClipBatches:
    """Clips of training, uint8 (B, T, C, H, W), drawn with replacement, under random symmetries.

    Item `step` is those `parts` of that step's batch.
    """

    def __init__(
        self, clips: Clips, seed: int, parts: Sequence[MicroBatch], augment: Augment, purpose: str
    ) -> None:
        self.clips, self.seed, self.parts = clips, seed, parts
        self.augment, self.purpose = augment, purpose

    def __getitem__(self, step: int) -> list[Tensor]:
        random = generator(self.seed, step, f"{self.purpose} clips")
        size = self.parts[0].size
        drawn = torch.randint(len(self.clips), (size,), generator=random)
        turns = torch.randint(0, 8, (size,), generator=random)
        return [self.batch(part.rows(drawn), part.rows(turns)) for part in self.parts]

    def batch(self, drawn: Tensor, turns: Tensor) -> Tensor:
        """Return the clips of these numbers, each turned so."""
        clips = self.clips.batch(drawn.tolist())
        return torch.stack(
            [turned(c, int(k), self.augment) for c, k in zip(clips, turns, strict=True)]
        )


class LatentBatches:
    """Normalised latents of training clips, drawn with replacement, each in a random context.

    Item `step` is the batch of that step. augment: under random symmetries, those of the dataset's
    `augment`. hidden: latents of the context that are left out.
    """

    def __init__(
        self,
        latents: Latents,
        seed: int,
        batch_size: int,
        augment: bool = False,
        hidden: Sequence[str] = (),
    ) -> None:
        self.latents, self.seed, self.batch_size = latents, seed, batch_size
        self.augment = augment
        self.layout = layout_of(latents, hidden)

    def __getitem__(self, step: int) -> LatentBatch:
        random = generator(self.seed, step, "latents")
        drawn = torch.randint(len(self.latents), (self.batch_size,), generator=random)
        contexts = torch.randint(len(self.layout.contexts), (self.batch_size,), generator=random)
        turns = torch.randint(8, (self.batch_size,), generator=random) if self.augment else None
        return self.batch(drawn.tolist(), contexts.tolist(), turns)

    def batch(
        self, clips: Sequence[int], contexts: Sequence[int], turns: Tensor | None = None
    ) -> LatentBatch:
        """Return the clips of these numbers, each in the context of that number, and turned so."""
        names = list(self.layout.contexts)
        if len(names) == 1:
            return self.layout.arrange(self.latents.batch(clips, turns=turns), names[0], len(clips))
        each = [None] * len(clips) if turns is None else turns.split(1)
        return joined([
            self.layout.arrange(self.latents.batch([clip], names[number], turn), names[number], 1)
            for clip, number, turn in zip(clips, contexts, each, strict=True)
        ])  # fmt: skip


def layout_of(latents: Latents, hidden: Sequence[str]) -> Layout:
    """Return the layout of a cache's latents, some of the context's hidden."""
    metadata = latents.metadata
    contexts = {PREFIX: {"first": latents.context_frames}} | metadata.get("contexts", {})
    cells = {name: value.shape[-3:] for name, value in latents.batch([0]).items()}
    return Layout(
        metadata["scopes"],
        metadata.get("over_time", ()),
        contexts,
        metadata["clip_frames"],
        cells,
        hidden,
    )


def in_context(
    parts: Sequence[Tensor],
    contexts: Mapping[str, ObservedFrames],
    seed: int,
    step: int,
    purpose: str,
) -> tuple[list[Tensor], ObservedFrames]:
    """Draw a context by (seed, step); return clips (B, T, …) in its order of frames, and itself."""
    random = generator(seed, step, f"{purpose} context")
    names = list(contexts)
    name = names[int(torch.randint(len(names), (1,), generator=random))]
    context = contexts[name]
    if name == PREFIX:
        return list(parts), context
    return [clips[:, clip_order(context, clips.shape[1])] for clips in parts], context
