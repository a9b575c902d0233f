"""What training watches: how well an autoencoder gives validation clips back, perceptually.

The watched score is LPIPS where the autoencoder says `perceptual: lpips` (only then is a stage
handed its weights), else the sliced Wasserstein distance of Laplacian-pyramid patches; both are
lower for better. The test split is never read here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rsvp.config.schema import Weights
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.pixels import to_bytes, to_float
from rsvp.metrics.frame import psnr
from rsvp.metrics.intervals import Interval, paired_interval
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.sliced_wasserstein import sliced_wasserstein
from rsvp.models.autoencoders.base import ClipAutoencoder

MOST_CLIPS = 32
BATCH = 8


@dataclass
class Scores:
    """One value per validation clip."""

    watched: Tensor  # (N,), lower is better
    psnr: Tensor  # (N,) dB


class Watch:
    """Measures reconstructions of the future frames of validation clips, `most` at most."""

    def __init__(
        self, held_out: Clips, weights: Weights, device: torch.device, most: int = MOST_CLIPS
    ) -> None:
        self.clips = held_out
        self.indices = evaluation_clips(held_out, most)
        self.groups = self.clips.table["group"].iloc[self.indices].tolist()
        self.perceptual = training_perceptual(weights, device)
        self.name = "lpips" if self.perceptual is not None else "sliced_wasserstein"
        self.device = device

    @torch.no_grad()
    def measure(self, autoencoder: ClipAutoencoder) -> Scores:
        """Watched score and PSNR of each clip, over its future frames."""
        watched, quality = [], []
        firsts = range(0, len(self.indices), BATCH)
        for first in tqdm(firsts, desc="validate", unit="batch", leave=False, delay=2):
            indices = self.indices[first : first + BATCH]
            frames = torch.stack([self.clips.frames(i) for i in indices]).to(self.device)
            clips = to_float(frames.permute(0, 1, 4, 2, 3))
            future = clips[:, self.clips.context_frames :]
            decoded = autoencoder.reconstruct_future(clips, self.clips.context_frames)
            decoded = decoded.clamp(-1.0, 1.0)
            watched.append(self.distance(decoded, future).cpu())
            values = psnr(as_images(decoded), as_images(future))
            quality.append(values.view(len(indices), -1).mean(1).cpu())
        return Scores(torch.cat(watched), torch.cat(quality))

    def distance(self, predicted: Tensor, real: Tensor) -> Tensor:
        """The watched score (B,) of clips (B, T, 3, H, H) in [-1, 1]."""
        if self.perceptual is None:
            return sliced_wasserstein(predicted, real)
        values = self.perceptual(predicted.flatten(0, 1), real.flatten(0, 1))
        return values.view(len(predicted), -1).mean(1)

    def improvement(self, before: Scores, after: Scores) -> Interval:
        """How much the watched score fell, paired by clip, groups resampled."""
        return paired_interval(before.watched.tolist(), after.watched.tolist(), self.groups)

    def summary(self, scores: Scores) -> dict[str, Any]:
        """The means, for an index."""
        return {
            "watched": self.name,
            "score": float(scores.watched.mean()),
            "psnr": float(scores.psnr.mean()),
            "clips": len(self.indices),
        }


def as_images(clips: Tensor) -> Tensor:
    """Clips (B, T, 3, H, H) in [-1, 1] as uint8 images (B * T, H, H, 3)."""
    return to_bytes(clips).flatten(0, 1).permute(0, 2, 3, 1)


def training_perceptual(weights: Weights, device: torch.device) -> nn.Module | None:
    """LPIPS where the stage is handed its weights, else nothing."""
    if not weights.lpips_backbone or not weights.lpips_linear:
        return None
    return PerceptualDistance(Path(weights.lpips_backbone), Path(weights.lpips_linear)).to(device)
