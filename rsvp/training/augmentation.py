"""Adaptive discriminator augmentation of clips: all frames of a clip are transformed alike.

Karras et al., "Training generative adversarial networks with limited data", 2020: the clips that
discriminators see, real and fake, are transformed with a probability that rises while they overfit.
The transformations are those of the paper's appendix B that suit small frames, with its strengths,
and each is differentiable, since the generator learns through them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsvp.data.micro_batches import MicroBatch

MOST = 0.8  # of p: above it transformations may show in what is generated (section 2)


@dataclass(frozen=True)
class Transformation:
    """A transformation of a clip (T, C, H, W) in [-1, 1]; by default none."""

    mirrored: bool = False  # left and right
    turns: int = 0  # by 90 degrees
    shift: tuple[int, int] = (0, 0)  # pixels down and right; the edges are reflected
    brightness: float = 0.0  # added
    contrast: float = 1.0  # times
    saturation: float = 1.0  # times the difference from the mean of the three colours
    hole: tuple[int, int] | None = None  # row and column of the middle of a gray box, H/2 by W/2

    def __call__(self, clip: Tensor) -> Tensor:
        """Return the clip, every frame of which is transformed alike."""
        if self.mirrored:
            clip = clip.flip(-1)
        if self.turns:
            clip = clip.rot90(self.turns, (-2, -1))
        if self.shift != (0, 0):
            rows, columns = (
                reflected(size, shift, clip.device)
                for size, shift in zip(clip.shape[-2:], self.shift, strict=True)
            )
            clip = clip[..., rows, :][..., columns]
        if self.brightness:
            clip = clip + self.brightness
        if self.contrast != 1.0:
            clip = self.contrast * clip
        if self.saturation != 1.0:
            gray = clip.mean(-3, keepdim=True)
            clip = gray + self.saturation * (clip - gray)
        if self.hole is not None:
            rows, columns = (
                hidden(size, middle, clip.device)
                for size, middle in zip(clip.shape[-2:], self.hole, strict=True)
            )
            clip = clip.masked_fill(rows[:, None] & columns, 0.0)
        return clip


def draw_transformation(
    p: float, height: int, width: int, random: torch.Generator
) -> Transformation:
    """Draw a transformation of frames of a size, each part done with probability `p`.

    Rectangles are turned by 180 degrees only. The generator is left in the same place whatever `p`
    is.
    """
    done = (torch.rand(7, generator=random) < p).tolist()
    mirror, turn, down, right, row, column = torch.rand(6, generator=random).tolist()
    brightness, contrast, saturation = torch.randn(3, generator=random).tolist()
    shift = (round((down - 0.5) * height / 4), round((right - 0.5) * width / 4))
    turns = int(4 * turn) if height == width else 2 * int(2 * turn)
    return Transformation(
        mirrored=done[0] and mirror < 0.5,
        turns=turns if done[1] else 0,
        shift=shift if done[2] else (0, 0),
        brightness=0.2 * brightness if done[3] else 0.0,
        contrast=2.0 ** (0.5 * contrast) if done[4] else 1.0,
        saturation=2.0**saturation if done[5] else 1.0,
        hole=(int(height * row), int(width * column)) if done[6] else None,
    )


class AdaptiveAugmentation(nn.Module):
    """Transforms clips with probability `p`, which is part of the training state.

    target: share of the sign of real clips' logits that `p` is adapted to (section 3).
    clips: how many the discriminators see while `p` rises from 0 to 1.
    """

    p: Tensor

    def __init__(self, target: float, clips: int) -> None:
        super().__init__()
        self.target, self.clips = target, clips
        self.register_buffer("p", torch.zeros(()))

    def forward(
        self, fake: Tensor, real: Tensor, random: torch.Generator, part: MicroBatch
    ) -> tuple[Tensor, Tensor]:
        """Return both (B, T, C, H, W), each clip and its reconstruction transformed alike.

        Alike, so that the features of the two can still be matched.
        """
        p = float(self.p)
        if p == 0.0:
            return fake, real
        size = real.shape[-2:]
        drawn = [draw_transformation(p, *size, random) for _ in range(part.last)][part.first :]
        fake, real = (
            torch.stack([change(clip) for change, clip in zip(drawn, clips, strict=True)])
            for clips in (fake, real)
        )
        return fake, real

    @torch.no_grad()
    def adapt(self, overfit: Tensor, clips: int) -> Tensor:
        """Move `p` by the batch's `overfitting` and its number of clips; return it."""
        change = (overfit - self.target).sign() * clips / self.clips
        self.p.add_(change.to(self.p)).clamp_(0.0, MOST)
        return self.p.clone()


def overfitting(reals: Sequence[Tensor]) -> Tensor:
    """Return the sign heuristic r_t = E[sign(D(real))] (equation 1) from discriminators' logits."""
    return torch.stack([logits.detach().sign().float().mean() for logits in reals]).mean()


def hidden(size: int, middle: int, device: torch.device) -> Tensor:
    """Return a mask of the half of `size` pixels around `middle`."""
    places = torch.arange(size, device=device) + size // 4
    return (places - middle >= 0) & (places - middle < size // 2)


def reflected(size: int, shift: int, device: torch.device) -> Tensor:
    """Return the sources of `size` pixels that all move by `shift`, reflected at the edges."""
    places = (torch.arange(size, device=device) - shift).abs()
    return size - 1 - (size - 1 - places).abs()
