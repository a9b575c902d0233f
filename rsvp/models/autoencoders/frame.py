"""A latent image of each frame by itself, as in latent diffusion (Rombach et al., 2022)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rsvp.data.latents import TemporalScope
from rsvp.data.micro_batches import MicroBatch
from rsvp.models.autoencoders.base import PlainAutoencoder
from rsvp.models.layers import FACTOR, ImageDecoder, ImageEncoder
from rsvp.models.regularisers import Drawn, make_regulariser


class FrameAutoencoder(PlainAutoencoder):
    """Latents "image" (B, T, C, H/8, W/8), one of each frame, without the context."""

    def __init__(
        self, width: int, channels: int, regulariser: dict[str, Any], colours: int = 3
    ) -> None:
        super().__init__()
        self.scopes = {"image": TemporalScope.frames}
        self.channels = channels
        self.regulariser = make_regulariser(channels=channels, **regulariser)
        self.encoder = ImageEncoder(width, self.regulariser.outputs_per_channel * channels, colours)
        self.decoder = ImageDecoder(width, channels, colours)

    @property
    def last_layer(self) -> Tensor:
        return self.decoder.last_layer

    def encode_clip(self, clips: Tensor, context_frames: int) -> tuple[dict[str, Tensor], None]:
        if not clips.shape[1]:
            return {}, None  # a context without frames
        return {"image": self.regulariser.encode(self.encode(clips))}, None

    def decode_future(self, latents: dict[str, Tensor], context: None) -> Tensor:
        return self.decode(self.regulariser.decode(latents["image"]))

    def noisy_shapes(
        self, clips: Sequence[int], context_frames: int, targets: int
    ) -> list[tuple[int, ...]]:
        return [(clips[0], targets, self.channels, clips[3] // FACTOR, clips[4] // FACTOR)]

    def train_pass(
        self,
        clips: Tensor,
        context_frames: int,
        targets: Tensor,
        drawn: Sequence[Drawn],
        part: MicroBatch,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        x = self.encode(clips[:, targets])
        latents, loss, lesson = self.regulariser.train_pass(x, drawn[0], part)
        return self.decode(latents), loss, [] if lesson is None else [lesson]

    def encode(self, frames: Tensor) -> Tensor:
        """Return the encoder's output for frames (B, T, C, H, W)."""
        return self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def decode(self, shown: Tensor) -> Tensor:
        """Return frames (B, T, C, H, W) for the decoder's input."""
        return self.decoder(shown.flatten(0, 1)).unflatten(0, shown.shape[:2])
