"""Sliced Wasserstein distance of Laplacian-pyramid patches per clip (Karras et al. 2018).

A perceptual score that needs no weights: it compares what patches look like at each scale, not
where they are, so blur, missing texture and wrong colours cost and exact position does not.
"""

import torch
from torch import Tensor
from torch.nn import functional

PATCH = 7  # pixels per side
SMALLEST = 16  # pixels: the pyramid's last level has at least this many per side
PATCHES_PER_FRAME = 48
DIRECTIONS = 128


def sliced_wasserstein(predicted: Tensor, real: Tensor, seed: int = 0) -> Tensor:
    """Distance (B,) between the patches of each predicted clip and of its real clip; 0 is equal.

    Both (B, T, C, H, W), float in [-1, 1], H and W at least 16. On each level of the Laplacian
    pyramid, 7×7 patches at random places (the same in both) are projected on random directions;
    sorted projections are subtracted; the mean absolute difference is averaged over levels.
    Patches are divided by the real patches' standard deviation per channel and level (the paper
    divides each set by its own, which would forgive missing contrast). Deterministic given `seed`.
    """
    if predicted.shape != real.shape or predicted.dim() != 5:
        raise ValueError(f"clips: {tuple(predicted.shape)} and {tuple(real.shape)}")
    if min(real.shape[-2:]) < SMALLEST:
        raise ValueError(f"clips: {SMALLEST} pixels per side or more, not {tuple(real.shape[-2:])}")
    generator = torch.Generator().manual_seed(seed)
    clips = torch.stack([predicted, real], dim=1)  # (B, 2, T, C, H, W)
    distances = []
    for level in laplacian_pyramid(clips.flatten(0, 2)):
        patches = _patches(level.unflatten(0, clips.shape[:3]), generator)
        deviation = patches[:, 1:].std(dim=(2, 4), keepdim=True)
        centre = patches[:, 1:].mean(dim=(2, 4), keepdim=True)
        patches = (patches - centre) / deviation.clamp(min=1e-4)
        directions = torch.randn(patches.shape[3:].numel(), DIRECTIONS, generator=generator)
        directions = directions / directions.norm(dim=0, keepdim=True)
        projected = patches.flatten(3) @ directions.to(patches)
        ordered = projected.transpose(2, 3).contiguous().sort(dim=3).values
        distances.append((ordered[:, 0] - ordered[:, 1]).abs().mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)


def laplacian_pyramid(frames: Tensor) -> list[Tensor]:
    """Levels of (N, C, H, W), finest first; the last is the low-pass remainder."""
    levels = []
    while min(frames.shape[-2:]) >= 2 * SMALLEST:
        coarse = _blur(frames)[..., ::2, ::2]
        finer = functional.interpolate(coarse, size=frames.shape[-2:], mode="bilinear")
        levels.append(frames - finer)
        frames = coarse
    return [*levels, frames]


def _blur(frames: Tensor) -> Tensor:
    """The binomial filter (1, 4, 6, 4, 1) / 16 along both sides, with mirrored borders."""
    frames = reflected(frames, 2)
    for axis in (2, 3):  # sums of slices: seven times faster than a convolution of one channel
        a, b, c, d, e = (frames.narrow(axis, start, frames.shape[axis] - 4) for start in range(5))
        frames = (a + e) / 16 + (b + d) / 4 + c * 0.375
    return frames


def reflected(frames: Tensor, border: int) -> Tensor:
    """Return frames (N, C, H, W) with a border of so many pixels that mirrors them.

    The same bits as PyTorch's reflection padding, forward and backward; on a GPU the gradient of
    that one has no deterministic kernel.
    """
    rows, columns = (
        n - 1 - (n - 1 - torch.arange(-border, n + border, device=frames.device).abs()).abs()
        for n in frames.shape[-2:]
    )
    places = rows[:, None] * frames.shape[-1] + columns
    return frames.flatten(-2).index_select(-1, places.flatten()).unflatten(-1, places.shape)


def _patches(level: Tensor, generator: torch.Generator) -> Tensor:
    """Patches (B, 2, T × patches, C, 49) of (B, 2, T, C, H, W), at the same places in all clips."""
    batch, sets, frames, channels, height, width = level.shape
    shape = (frames, PATCHES_PER_FRAME, 1, 1)
    inside = torch.arange(PATCH)
    rows = torch.randint(height - PATCH + 1, shape, generator=generator) + inside[:, None]
    columns = torch.randint(width - PATCH + 1, shape, generator=generator) + inside
    places = (rows * width + columns).flatten(1).to(level.device)  # (T, patches × 49)
    places = places[None, None, :, None].expand(batch, sets, frames, channels, -1)
    chosen = level.flatten(4).gather(4, places)
    chosen = chosen.unflatten(4, (PATCHES_PER_FRAME, PATCH**2))
    return chosen.permute(0, 1, 2, 4, 3, 5).flatten(2, 3)
