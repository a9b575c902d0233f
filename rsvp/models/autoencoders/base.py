"""The interface of autoencoders of clips, whatever their latents are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rsvp.data.latents import TemporalScope, split_latents
from rsvp.data.micro_batches import MicroBatch
from rsvp.models.regularisers import Drawn, LatentRegulariser


class ClipAutoencoder(nn.Module, ABC):
    """Latents of a clip by name, and frames from them.

    B clips, T frames of which the first Tc are the context and F the future, H by W pixels.
    Latents of the context are encoded from the context frames alone. Other contexts than a prefix
    come with their frames first (`rsvp.data.contexts`). Latents are raw; the latent cache
    normalises them by the statistics of the training split.
    """

    scopes: dict[str, TemporalScope]  # by latent
    over_time: ClassVar[
        tuple[str, ...]
    ] = ()  # latents of context or future with an axis of its frames
    displacements: ClassVar[
        tuple[str, ...]
    ] = ()  # latents whose first channels are a displacement, x and y
    latent_noise: float  # standard deviation of the noise that the decoder is trained with

    @abstractmethod
    def encode_clip(self, clips: Tensor, context_frames: int) -> tuple[dict[str, Tensor], Any]:
        """Encode clips (B, T, C, H, W) as latents (B, …, C, h, w) and a context for the decoder.

        Clips that end with their context have no latents of the future.
        """

    @abstractmethod
    def decode_future(self, latents: dict[str, Tensor], context: Any) -> Tensor:
        """Decode future frames (B, F, C, H, W) from predicted latents, (B, T, C, h, w) each.

        They are those that `rsvp.data.latents.split_latents` names future.
        """

    @abstractmethod
    def noisy_shapes(
        self, clips: Sequence[int], context_frames: int, targets: int
    ) -> list[tuple[int, ...]]:
        """Return the shapes of the latents to which a training step adds noise, in its order.

        clips: the shape (B, T, C, H, W). targets: how many of their frames are decoded.
        """

    def draw(
        self, clips: Sequence[int], context_frames: int, targets: int, random: torch.Generator
    ) -> list[Drawn]:
        """Draw the noise of a training step, which can be done ahead of it: see `noisy_shapes`."""
        shapes = self.noisy_shapes(clips, context_frames, targets)
        return [torch.randn(shape, generator=random) for shape in shapes]

    def context_with(self, latents: dict[str, Tensor], frames: Tensor) -> Any:
        """Encode context frames (B, Tc, C, H, W) for the decoder, with the latents that are given.

        Latents (B, …, C, h, w) of the context replace those of the frames.
        """
        return self.encode_clip(frames, frames.shape[1])[1]

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Weights of the decoder's last layer, where the adaptive weight compares gradients."""

    def reconstruct_future(self, clips: Tensor, context_frames: int) -> Tensor:
        """Reconstruct the future frames (B, F, C, H, W) of clips (B, T, C, H, W)."""
        latents, context = self.encode_clip(clips, context_frames)
        _, future = split_latents(latents, self.scopes, context_frames)
        return self.decode_future(future, context)


class PlainAutoencoder(ClipAutoencoder):
    """An autoencoder whose losses are those of its frames and of its regulariser."""

    regulariser: LatentRegulariser

    @property
    def latent_noise(self) -> float:
        return self.regulariser.latent_noise

    def draw(
        self, clips: Sequence[int], context_frames: int, targets: int, random: torch.Generator
    ) -> list[Drawn]:
        shapes = self.noisy_shapes(clips, context_frames, targets)
        return [self.regulariser.draw(shape, random) for shape in shapes]

    @abstractmethod
    def train_pass(
        self,
        clips: Tensor,
        context_frames: int,
        targets: Tensor,
        drawn: Sequence[Drawn],
        part: MicroBatch,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Reconstruct frames of clips (B, T, C, H, W) at `targets`.

        Also return a loss to add, and what the regulariser learns from, each to be summed over the
        batch. drawn: what `draw` gave. part: the part of the batch that the clips are.
        """
