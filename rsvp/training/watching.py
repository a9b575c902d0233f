"""Pictures of a training for TensorBoard: what it makes of fixed validation clips, as videos.

Each clip is a row: the truth, and beside it its reconstruction, or two sampled continuations. No
random generator of the training is used, and no weight changes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rsvp.config.schema import Guidance, Sampler
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX
from rsvp.data.latents import LatentStatistics
from rsvp.data.layout import Layout
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.splits import spread
from rsvp.data.videos import draw_panels
from rsvp.diffusion.noise import Roots
from rsvp.diffusion.objectives import DiffusionObjective
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.predictor import TrainedPredictor, predict_block
from rsvp.diffusion.samplers import sampling_of
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.runtime.journal import watched_clips

SAMPLES = 2  # continuations of each clip
SAMPLER = Sampler(name="heun", steps=4)
Draw = Callable[[], np.ndarray]  # draws an animation (T, H, W, 3), uint8


def reconstructions(clips: Clips, autoencoder: ClipAutoencoder) -> Draw | None:
    """Return what draws truth | reconstruction of validation clips; None where watching is off."""
    if not (numbers := watched(clips)):
        return None
    frames = torch.stack([clips.frames(number) for number in numbers])  # b t h w c
    context = clips.context_frames

    @torch.no_grad()
    def draw() -> np.ndarray:
        seen = to_float(frames.permute(0, 1, 4, 2, 3).to(device_of(autoencoder)))
        training = autoencoder.training
        made = autoencoder.eval().reconstruct_future(seen, context)
        autoencoder.train(training)
        return rows(frames, made[:, None].clamp(-1.0, 1.0), context)

    return draw


def continuations(
    indexes: Sequence[Path],
    denoiser: nn.Module,
    layout: Layout,
    targets: dict[str, list[int]],
    statistics: dict[str, LatentStatistics],
    objective: DiffusionObjective,
    roots: Roots,
) -> Draw | None:
    """Return what draws truth | samples | … of validation clips; None where watching is off.

    indexes: of the dataset and of the fine-tuned autoencoder; none where nothing is to be watched.
    targets: shapes that the denoiser predicts. Sampled by Heun's method in four steps.
    """
    if not indexes or not (numbers := watched(clips := Clips(indexes[0], "validation"))):
        return None
    frames = torch.stack([clips.frames(number) for number in numbers])
    context, device = clips.context_frames, device_of(denoiser)
    network = TrainedPredictor(
        load_autoencoder(indexes[1]).to(device), denoiser, statistics, layout, Packing(targets),
        objective, sampling_of(SAMPLER, Guidance()), PREFIX, roots,
    )  # fmt: skip

    @torch.no_grad()
    def draw() -> np.ndarray:
        seen = frames[:, :context].permute(0, 1, 4, 2, 3).to(device)
        made = predict_block(network, 0, numbers, seen[:, None], 0, range(SAMPLES))
        return rows(frames, to_float(made), context)

    return draw


def watched(clips: Clips) -> list[int]:
    """Return the numbers of the clips that are watched, spread evenly."""
    return spread(len(clips), watched_clips())


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's weights."""
    return next(network.parameters()).device


def rows(frames: Tensor, made: Tensor, context: int) -> np.ndarray:
    """Return clips (B, T, H, W, C) uint8 beside K futures of each (B, K, F, C, H, W) in [-1, 1].

    One animation (T, h, w, 3): a row for each clip, and a bar that tells observed from future.
    """
    futures = to_bytes(made).permute(0, 1, 2, 4, 5, 3).cpu()
    panels = [
        [clip, *(torch.cat([clip[:context], future]) for future in own)]
        for clip, own in zip(frames, futures, strict=True)
    ]
    return draw_panels([[panel.numpy() for panel in row] for row in panels], context)
