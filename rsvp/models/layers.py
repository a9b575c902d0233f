"""Convolutional building blocks."""

import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 8  # a latent cell is this many pixels wide


def normalisation(channels: int) -> nn.GroupNorm:
    """Return group normalisation with groups of 8 channels."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class ResidualBlock(nn.Module):
    """x + convolutions of x (n c h w), each after normalisation and SiLU."""

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
    """Features of images (n inputs h w) at a half and a quarter of their size."""

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
        half = self.to_half(images)  # n c/2 h/2 w/2
        return half, self.to_quarter(half)  # n c h/4 w/4


def head(channels: int, outputs: int, gain: float = 1.0) -> nn.Sequential:
    """Return normalisation, SiLU and a convolution whose weights start scaled by `gain`."""
    convolution = nn.Conv2d(channels, outputs, 3, padding=1)
    convolution.weight.data.mul_(gain)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(normalisation(channels), nn.SiLU(), convolution)


def cell_colours(images: Tensor) -> Tensor:
    """Return the mean colours (n 3 h/8 w/8) of the cells of images (n 3 h w)."""
    return F.avg_pool2d(images, FACTOR)


def from_colours(colours: int, outputs: int) -> nn.Conv2d:
    """Return a linear map of colours that starts with them as the first outputs."""
    layer = nn.Conv2d(colours, outputs, 1)
    nn.init.dirac_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class ImageEncoder(nn.Module):
    """Latent images (n outputs h/8 w/8) of images (n 3 h w).

    A linear skip connection takes each cell's mean colours to its outputs, and another one in
    `ImageDecoder` takes its inputs to the image. Without them training reconstructs one of red,
    green and blue long before the others. (Compare Chen et al., "Deep compression autoencoder for
    efficient high-resolution diffusion models", 2025, section 3.2.)
    """

    def __init__(self, width: int, outputs: int, colours: int) -> None:
        super().__init__()
        self.frames = FrameEncoder(colours, width)
        self.down = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * width, 2 * width, 1),
            ResidualBlock(2 * width),
            ResidualBlock(2 * width),
            head(2 * width, outputs),
        )
        self.colours = from_colours(colours, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.down(self.frames(images)[1]) + self.colours(cell_colours(images))


class ImageDecoder(nn.Module):
    """Images (n 3 h w) from latent images (n inputs h/8 w/8)."""

    def __init__(self, width: int, inputs: int, colours: int) -> None:
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
            head(half, 4 * colours),
            nn.PixelShuffle(2),
        )
        # From 0: with a random map, or one of red, green and blue, codes (VQ, FSQ) learn slower.
        self.colours = nn.Conv2d(inputs, colours, 1)
        nn.init.zeros_(self.colours.weight)
        assert self.colours.bias is not None
        nn.init.zeros_(self.colours.bias)

    @property
    def last_layer(self) -> Tensor:
        """Weights of the last convolution."""
        return self.up[-2][-1].weight

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) + F.interpolate(self.colours(x), scale_factor=8.0)
