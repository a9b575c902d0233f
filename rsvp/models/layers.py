"""Convolutional building blocks."""

import torch.nn.functional as F
from torch import Tensor, nn


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation with groups of 8 channels."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class ResidualBlock(nn.Module):
    """x + convolutions of x, each after normalisation and SiLU; (N, C, H, W) keeps its shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            normalisation(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            normalisation(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class FrameEncoder(nn.Module):
    """Features of images (N, inputs, H, H) at a half (C/2 channels) and a quarter (C) of H."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.to_half = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, half, 3, padding=1), ResidualBlock(half)
        )
        self.to_quarter = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * half, width, 1), ResidualBlock(width)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        half = self.to_half(images)
        return half, self.to_quarter(half)


def head(channels: int, outputs: int, kernel: int = 3, gain: float = 1.0) -> nn.Sequential:
    """Normalisation, SiLU and a convolution to `outputs` channels, its weights scaled by `gain`."""
    convolution = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2)
    convolution.weight.data.mul_(gain)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(normalisation(channels), nn.SiLU(), convolution)


def cell_colours(images: Tensor) -> Tensor:
    """Mean colours (N, 3, H/8, W/8) of the cells of images (N, 3, H, W)."""
    return F.avg_pool2d(images, 8)


def from_colours(outputs: int) -> nn.Conv2d:
    """A linear map of colours, where training begins red, green and blue as the first outputs."""
    layer = nn.Conv2d(3, outputs, 1)
    nn.init.dirac_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class ImageEncoder(nn.Module):
    """Images (N, 3, H, W) as (N, outputs, H/8, W/8).

    Each cell's mean colours also go straight to its outputs, and in `ImageDecoder` straight from
    its inputs to the image: without that, training gives back one of red, green and blue long
    before the others. (Deep autoencoders have shortcuts for it: Chen et al., "Deep compression
    autoencoder for efficient high-resolution diffusion models", 2025, section 3.2.)
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.frames = FrameEncoder(3, width)
        self.down = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * width, 2 * width, 1),
            ResidualBlock(2 * width),
            ResidualBlock(2 * width),
            head(2 * width, outputs),
        )
        self.colours = from_colours(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.down(self.frames(images)[1]) + self.colours(cell_colours(images))


class ImageDecoder(nn.Module):
    """Images (N, 3, H, W) from (N, inputs, H/8, W/8)."""

    def __init__(self, width: int, inputs: int) -> None:
        super().__init__()
        half = width // 2
        self.up = nn.Sequential(
            nn.Conv2d(inputs, 2 * width, 3, padding=1),
            ResidualBlock(2 * width),
            ResidualBlock(2 * width),
            nn.Conv2d(2 * width, 4 * width, 1),
            nn.PixelShuffle(2),
            ResidualBlock(width),
            nn.Conv2d(width, 4 * half, 1),
            nn.PixelShuffle(2),
            ResidualBlock(half),
            head(half, 4 * 3),
            nn.PixelShuffle(2),
        )
        # Zero at first: with a random map, or red, green and blue, codes (VQ, FSQ) learn slower.
        self.colours = nn.Conv2d(inputs, 3, 1)
        nn.init.zeros_(self.colours.weight)
        assert self.colours.bias is not None
        nn.init.zeros_(self.colours.bias)

    @property
    def last_layer(self) -> Tensor:
        """The weights of the last convolution."""
        return self.up[-2][-1].weight

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) + F.interpolate(self.colours(x), scale_factor=8.0)
