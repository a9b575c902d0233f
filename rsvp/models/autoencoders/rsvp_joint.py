"""Scene and object latents of the future beside those of the context, for the predictor rsvp-s.

The scene/object/motion autoencoder, whose decoder also sees a scene and an object latent of all
future frames together. They are encoded as those of the context are, and hold what no context frame
shows: uncovered background, and things that enter. Motion says where it goes.
"""

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsvp.data.latents import TemporalScope
from rsvp.models.autoencoders.rsvp import Context, RsvpAutoencoder
from rsvp.models.layers import ResidualBlock, head


class JointAutoencoder(RsvpAutoencoder):
    """Latents of `RsvpAutoencoder`, and "future_scene" and "future_object" (B, C, h, w)."""

    def __init__(
        self,
        width: int,
        scene_channels: int,
        object_channels: int,
        motion_channels: int,
        displacement_scale: float = 1.0,
        colours: int = 3,
    ) -> None:
        super().__init__(
            width, scene_channels, object_channels, motion_channels, displacement_scale, colours
        )
        self.scopes |= {"future_scene": TemporalScope.future, "future_object": TemporalScope.future}
        self.still_channels = (scene_channels, object_channels)
        self.news = nn.Conv2d(scene_channels + object_channels, 4 * width, 3, padding=1)
        self.to_quarter = ResidualBlock(width)
        self.background = head(width, 16 * colours, gain=0.1)

    def encode_future(self, frames: Tensor) -> dict[str, Tensor]:
        """Encode scene and object (B, C, h, w) of the future frames (B, F, C, H, W)."""
        seen = self.context(frames)
        return {"future_scene": seen.scene, "future_object": seen.object}

    def with_future(self, context: Context, latents: dict[str, Tensor]) -> Context:
        """Add the future's scene and object to the features and the image of a context."""
        news = torch.cat([latents["future_scene"], latents["future_object"]], 1)
        news = self.to_quarter(F.pixel_shuffle(self.news(news), 2))
        background = context.background + F.pixel_shuffle(self.background(news), 4)
        return dataclasses.replace(context, skip=context.skip + news, background=background)

    def noisy_shapes(
        self, clips: Sequence[int], context_frames: int, targets: int
    ) -> list[tuple[int, ...]]:
        shapes = super().noisy_shapes(clips, context_frames, targets)
        return shapes + [(clips[0], channels, *shapes[0][3:]) for channels in self.still_channels]

    def encode_clip(self, clips: Tensor, context_frames: int) -> tuple[dict[str, Tensor], Context]:
        latents, context = super().encode_clip(clips, context_frames)
        if clips.shape[1] > context_frames:
            latents |= self.encode_future(clips[:, context_frames:])
        return latents, context

    def decode_future(self, latents: dict[str, Tensor], context: Context) -> Tensor:
        still = {name: latents[name].squeeze(1) for name in ("future_scene", "future_object")}
        return super().decode_future(latents, self.with_future(context, still))
