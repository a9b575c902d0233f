"""Validation of autoencoders: the reconstruction of validation clips, perceptually.

The watched score is LPIPS where the autoencoder says `perceptual: lpips` (only then is a stage
handed its weights), else the sliced Wasserstein distance of Laplacian-pyramid patches; both are
lower for better. The test split is never read here. Networks run without autocast.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsvp.data.clips import Clips
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.splits import spread
from rsvp.metrics.frame import psnr
from rsvp.metrics.intervals import paired_interval
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.sliced_wasserstein import sliced_wasserstein
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.runtime.device import full_precision
from rsvp.runtime.progress import Bar

MOST_CLIPS = 32
MOST_COMPARED = 256
BATCH = 8


@dataclass
class ReconstructionScores:
    """One value per validation clip."""

    watched: Tensor  # (N,), lower is better
    psnr: Tensor  # (N,) dB


class ReconstructionValidator:
    """Measures reconstructions of the future frames of validation clips: those at `indices`."""

    def __init__(
        self,
        clips: Clips,
        indices: Sequence[int],
        perceptual: nn.Module | None,
        device: torch.device,
    ) -> None:
        self.clips, self.indices = clips, list(indices)
        self.perceptual, self.device = perceptual, device
        self.watched = "sliced_wasserstein" if perceptual is None else "lpips"

    @torch.no_grad()
    def measure(self, autoencoder: ClipAutoencoder) -> ReconstructionScores:
        """Return the watched score and PSNR of each clip, over its future frames."""
        watched, quality = [], []
        firsts = range(0, len(self.indices), BATCH)
        for first in Bar(firsts, desc="validate", unit="batch", leave=False, delay=2):
            indices = self.indices[first : first + BATCH]
            frames = torch.stack([self.clips.frames(i) for i in indices]).to(self.device)
            clips = to_float(frames.permute(0, 1, 4, 2, 3))
            future = clips[:, self.clips.context_frames :]
            with full_precision():
                decoded = autoencoder.reconstruct_future(clips, self.clips.context_frames)
                decoded = decoded.clamp(-1.0, 1.0)
                watched.append(self.distance(decoded, future).cpu())
            values = psnr(as_images(decoded), as_images(future))
            quality.append(values.view(len(indices), -1).mean(1).cpu())
        return ReconstructionScores(torch.cat(watched), torch.cat(quality))

    def distance(self, predicted: Tensor, real: Tensor) -> Tensor:
        """Return the watched score (B,) of clips (B, T, C, H, W) in [-1, 1]."""
        if self.perceptual is None:
            return sliced_wasserstein(predicted, real)
        values = self.perceptual(predicted.flatten(0, 1), real.flatten(0, 1))
        return values.view(len(predicted), -1).mean(1)

    def summary(self, scores: ReconstructionScores) -> dict[str, Any]:
        """Return the means, for an index."""
        return {
            "watched": self.watched,
            "score": float(scores.watched.mean()),
            "psnr": float(scores.psnr.mean()),
            "clips": len(self.indices),
        }

    def compare(self, before: ClipAutoencoder, after: ClipAutoencoder) -> dict[str, Any]:
        """Return how far the watched score fell, and PSNR, for an index.

        The first is paired by clip, with groups resampled; one group of clips has no interval, and
        without clips there is no number.
        """
        if not self.indices:
            return {"improvement": None, "psnr_cost": None}
        first, second = self.measure(before), self.measure(after)
        groups = self.clips.table["group"].iloc[self.indices].tolist()
        gain = paired_interval(first.watched.tolist(), second.watched.tolist(), groups)
        return {
            "improvement": {k: v if v == v else None for k, v in asdict(gain).items()},
            "psnr_cost": float((first.psnr - second.psnr).mean()),
        }


def other_clips(count: int, watched: Sequence[int], most: int = MOST_COMPARED) -> list[int]:
    """Return the numbers of `count` clips that are not watched, `most` at most, evenly spread.

    The watched clips choose the weights, so a score on them is too good.
    """
    others = sorted(set(range(count)) - set(watched))
    return [others[place] for place in spread(len(others), most)]


def as_images(clips: Tensor) -> Tensor:
    """Return clips (B, T, C, H, W) in [-1, 1] as uint8 images (B * T, H, W, C)."""
    return to_bytes(clips).flatten(0, 1).permute(0, 2, 3, 1)


def load_perceptual(
    backbone: str | None, linear: str | None, device: torch.device
) -> nn.Module | None:
    """Load LPIPS where both of its files are named, else nothing."""
    if not backbone or not linear:
        return None
    return PerceptualDistance(Path(backbone), Path(linear)).to(device)
