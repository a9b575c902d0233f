"""What an autoencoder of clips is to the stages, whatever its latents are."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rsvp.data.latents import TemporalScope, split_latents
from rsvp.models.regularisers import Regulariser


class ClipAutoencoder(nn.Module, ABC):
    """Latents of a clip by name, and back.

    B clips, T frames of which the first Tc are the context and F the future, H = W the resolution.
    What is said of the context, here and in latents, is encoded from the context frames alone.
    Other contexts than a prefix come with their frames first (`rsvp.data.contexts`).
    Latents are raw; whoever stores them normalises them by the statistics of the training split.
    """

    scopes: dict[str, TemporalScope]  # of its latents, by name
    over_time: ClassVar[tuple[str, ...]] = ()  # of context or future, with each of its frames
    displacements: ClassVar[tuple[str, ...]] = ()  # whose first two channels are one, x and y
    latent_noise: float  # standard deviation of the noise that its decoder is trained with

    @abstractmethod
    def encode_clip(self, clips: Tensor, context_frames: int) -> tuple[dict[str, Tensor], Any]:
        """Latents (B, …, C, h, w) of clips (B, T, 3, H, H), and what the decoder may look at.

        Clips that end with their context have no latents of the future.
        """

    @abstractmethod
    def decode_future(self, latents: dict[str, Tensor], context: Any) -> Tensor:
        """Future frames (B, F, 3, H, H) from the latents that are to be predicted, (B, T, C, h, w)
        each (`rsvp.data.latents.split_latents`)."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The decoder's last weights, where the adaptive weight compares losses."""

    def reconstruct_future(self, clips: Tensor, context_frames: int) -> Tensor:
        """The future frames (B, F, 3, H, H) of clips (B, T, 3, H, H), through their latents."""
        latents, context = self.encode_clip(clips, context_frames)
        _, future = split_latents(latents, self.scopes, context_frames)
        return self.decode_future(future, context)


class PlainAutoencoder(ClipAutoencoder):
    """One that is judged by its frames alone, and by what its regulariser says."""

    regulariser: Regulariser

    @property
    def latent_noise(self) -> float:
        return self.regulariser.latent_noise

    @abstractmethod
    def train_pass(
        self,
        clips: Tensor,
        context_frames: int,
        targets: Tensor,
        random: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The reconstructed frames of clips (B, T, 3, H, H) at `targets`, and a loss to add."""
