"""SimVP: all future frames from the context frames at once, by convolutions and regression.

Gao et al., "SimVP: simpler yet better video prediction", CVPR 2022: a spatial encoder of each
frame, a translator over the frames' stacked features, a spatial decoder of each future frame with a
skip connection. Its blocks are the paper's Inception modules, added to their inputs.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from rsvp.models.layers import FrameEncoder, ResidualBlock, head

KERNELS = (3, 5, 7, 11)
GROUPS = 8


class SimVP(nn.Module):
    """Future frames of context frames; a model without latents, noise or trajectories.

    width: channels of a frame at a quarter of the resolution. translator_width: channels of all
    frames together, between `depth` blocks.
    """

    def __init__(
        self,
        context_frames: int,
        future_frames: int,
        width: int = 32,
        translator_width: int = 256,
        depth: int = 4,
        colours: int = 3,
    ) -> None:
        super().__init__()
        half = width // 2
        self.context_frames, self.future_frames = context_frames, future_frames
        self.encoder = FrameEncoder(colours, width)
        self.translator = nn.Sequential(
            nn.Conv2d(context_frames * width, translator_width, 1),
            *[TranslatorBlock(translator_width) for _ in range(depth)],
            nn.Conv2d(translator_width, future_frames * width, 1),
        )
        self.to_half = nn.Sequential(
            ResidualBlock(width), nn.Conv2d(width, 4 * half, 1), nn.PixelShuffle(2)
        )
        self.skip = nn.Conv2d(2 * half, half, 1)
        # From 0: the untrained network copies the last frame.
        self.to_frame = nn.Sequential(
            ResidualBlock(half), head(half, 4 * colours, gain=0.0), nn.PixelShuffle(2)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Return frames (B, F, C, H, W) in [-1, 1], unclamped, of (B, T, C, H, W); H, W of 4."""
        batch, future = len(frames), self.future_frames
        halves, quarters = self.encoder(frames.flatten(0, 1))
        stacked = rearrange(quarters, "(b t) c h w -> b (t c) h w", b=batch)
        translated = rearrange(self.translator(stacked), "b (f c) h w -> (b f) c h w", f=future)
        last = rearrange(halves, "(b t) c h w -> b t c h w", b=batch)[:, -1]
        features = torch.cat(
            [self.to_half(translated), repeat(last, "b c h w -> (b f) c h w", f=future)], 1
        )
        change = self.to_frame(self.skip(features))
        return frames[:, -1:] + rearrange(change, "(b f) c h w -> b f c h w", b=batch)


class TranslatorBlock(nn.Module):
    """x (n c h w) + what kernels of several sizes, each in groups of channels, make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.inputs = nn.Conv2d(channels, half, 1)
        self.kernels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(half, channels, size, padding=size // 2, groups=GROUPS),
                nn.GroupNorm(GROUPS, channels),
                nn.LeakyReLU(0.2),
            )
            for size in KERNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inputs(x)
        return x + sum(kernel(inner) for kernel in self.kernels)
