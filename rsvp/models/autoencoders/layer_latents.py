"""Scene and object latents: what they hold of the layers, and the layers from them alone.

A layer is an image (B, C, H, W), its latent (B, Cl, H / 8, W / 8). Both ways are linear maps of
patches of 8 by 8 pixels and a small network beside them: what a latent holds of its layer is close
to the layer's principal components from the first steps on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsvp.models.layers import FACTOR, ResidualBlock, head


@dataclass
class Layers:
    """Scene image, and object image with its mask; colours in [-1, 1].

    B clips, C channels, H by W pixels.
    """

    background: Tensor  # (B, C, H, W), the scene image
    object_image: Tensor  # (B, C, H, W), premultiplied by the mask
    mask: Tensor  # (B, 1, H, W) in [0, 1]

    @property
    def frame(self) -> Tensor:
        """The layers put together, (B, C, H, W)."""
        return (1.0 - self.mask) * self.background + self.object_image


class LayerEncoder(nn.Module):
    """The latent of a layer."""

    def __init__(self, inputs: int, width: int, channels: int) -> None:
        super().__init__()
        self.patches = nn.PixelUnshuffle(FACTOR)
        self.linear = nn.Conv2d(inputs * FACTOR**2, channels, 1)
        self.features = nn.Conv2d(inputs * FACTOR**2, 2 * width, 1)
        self.rest = nn.Sequential(ResidualBlock(2 * width), head(2 * width, channels, gain=0.1))

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image)
        return self.linear(patches) + self.rest(self.features(patches))


class LayerDecoder(nn.Module):
    """A layer from its latent alone."""

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, outputs * FACTOR**2, 1)
        self.rest = nn.Sequential(
            nn.Conv2d(channels, 2 * width, 3, padding=1),
            ResidualBlock(2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, outputs * FACTOR**2, 1),
        )
        self.shuffle = nn.PixelShuffle(FACTOR)

    def forward(self, latent: Tensor) -> Tensor:
        return self.shuffle(self.linear(latent) + self.rest(latent))


class LayerLatents(nn.Module):
    """Encoders and decoders of both layers."""

    def __init__(self, width: int, scene_channels: int, object_channels: int, colours: int) -> None:
        super().__init__()
        self.encode_scene = LayerEncoder(colours, width, scene_channels)
        self.encode_object = LayerEncoder(colours + 1, width, object_channels)
        self.decode_scene = LayerDecoder(scene_channels, width, colours)
        self.decode_object = LayerDecoder(object_channels, width, colours + 1)

    def encode(self, layers: Layers) -> tuple[Tensor, Tensor]:
        """Return scene and object latents (B, Cl, h, w) of layers, which no gradient reaches."""
        shown = torch.cat([layers.object_image, layers.mask], 1)
        return self.encode_scene(layers.background.detach()), self.encode_object(shown.detach())

    def replace(
        self, layers: Layers, own: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor]
    ) -> Layers:
        """Change layers by what `given` latents hold and their `own` do not; other detail stays."""
        before, after = self.decode(*own), self.decode(*given)
        background, image, mask = (
            getattr(layers, name) + (getattr(after, name) - getattr(before, name))
            for name in ("background", "object_image", "mask")
        )
        return Layers(background, image, mask.clamp(0.0, 1.0))

    def decode(self, scene: Tensor, object_: Tensor) -> Layers:
        """Return the layers that latents (B, Cl, h, w) hold; the mask is not cut to [0, 1]."""
        image, mask = self.decode_object(object_).tensor_split([-1], 1)
        return Layers(self.decode_scene(scene), image, mask)
