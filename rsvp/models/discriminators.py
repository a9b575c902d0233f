"""Patch discriminators of images and of clips (Isola et al., "pix2pix", 2017, section 3.2.2).

`rsvp.training.adversarial.Discriminators` holds one of each; the config sets their width.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Logits of patches, real above 0, and the features of each layer.

    Three layers by `convolution` halve height and width; `down` are its kernel, stride and padding.
    """

    def __init__(
        self, width: int, colours: int, convolution: type[nn.Module], **down: object
    ) -> None:
        super().__init__()
        channels = (colours, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            spectral_norm(convolution(a, b, **down)) for a, b in pairwise(channels)
        )
        self.logits = spectral_norm(convolution(channels[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)  # n c … h/2 w/2
            features.append(x)
        return self.logits(x), features


class ImageDiscriminator(PatchDiscriminator):
    """Logits (N, 1, H/8, W/8) of images (N, C, H, W), and features."""

    def __init__(self, width: int, colours: int = 3) -> None:
        super().__init__(width, colours, nn.Conv2d, kernel_size=4, stride=2, padding=1)


class ClipDiscriminator(PatchDiscriminator):
    """Logits (N, 1, T, H/8, W/8) of clips (N, 3, T, H, W), and features; time is not reduced."""

    def __init__(self, width: int, colours: int = 3) -> None:
        down = {"kernel_size": (3, 4, 4), "stride": (1, 2, 2), "padding": 1}
        super().__init__(width, colours, nn.Conv3d, **down)
