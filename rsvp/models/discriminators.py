"""Patch discriminators of images and of clips (Isola et al., "pix2pix", 2017, section 3.2.2)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class ImageDiscriminator(nn.Module):
    """Logits (N, 1, H/8, W/8) for images (N, 3, H, W): is each patch real? And its features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(channels)
        )
        self.logits = spectral_norm(nn.Conv2d(channels[-1], 1, 3, padding=1))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers:
            images = F.leaky_relu(layer(images), 0.2)
            features.append(images)
        return self.logits(images), features


class ClipDiscriminator(nn.Module):
    """Logits (N, 1, T, H/8, W/8) for clips (N, 3, T, H, W), and features; time is not reduced."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv3d(a, b, (3, 4, 4), stride=(1, 2, 2), padding=(1, 1, 1)))
            for a, b in pairwise(channels)
        )
        self.logits = spectral_norm(nn.Conv3d(channels[-1], 1, 3, padding=1))

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers:
            clips = F.leaky_relu(layer(clips), 0.2)
            features.append(clips)
        return self.logits(clips), features
