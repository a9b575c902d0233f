"""Convolutional building blocks."""

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


def head(channels: int, outputs: int, kernel: int = 3, gain: float = 1.0) -> nn.Sequential:
    """Normalisation, SiLU and a convolution to `outputs` channels, its weights scaled by `gain`."""
    convolution = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2)
    convolution.weight.data.mul_(gain)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(normalisation(channels), nn.SiLU(), convolution)
