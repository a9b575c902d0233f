"""A trained predictor: trajectories from context frames, by autoencoder and denoiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rsvp.data.contexts import PREFIX
from rsvp.data.latents import LatentStatistics
from rsvp.data.layout import Layout
from rsvp.data.pixels import to_bytes, to_float
from rsvp.diffusion.condition import null_condition
from rsvp.diffusion.objectives import OBJECTIVES, DiffusionObjective
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.samplers import Sampling
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.bundle import read_bundle
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.random import generator


@dataclass(frozen=True)
class TrainedPredictor:
    """Networks, statistics and choices that predict from context frames."""

    autoencoder: ClipAutoencoder
    denoiser: LatentDenoiser
    statistics: dict[str, LatentStatistics]
    layout: Layout
    packing: Packing  # of the layout's targets
    objective: DiffusionObjective
    sampling: Sampling
    context: str = PREFIX


def load_predictor(
    denoiser: Path, autoencoder: Path, sampling: Sampling, context: str, device: torch.device
) -> TrainedPredictor:
    """Load the predictor of two indexes, to predict from the context of that name."""
    tensors, metadata = read_bundle(denoiser)
    network = LatentDenoiser(**metadata["arguments"])
    network.load_state_dict(tensors)
    return TrainedPredictor(
        load_autoencoder(autoencoder).to(device),
        network.to(device).eval(),
        {name: LatentStatistics(**values) for name, values in metadata["statistics"].items()},
        Layout(**metadata["layout"]),
        Packing(metadata["arguments"]["targets"]),
        OBJECTIVES[metadata["objective"]],
        sampling,
        context,
    )


def predict_block(
    network: TrainedPredictor,
    seed: int,
    clips: list[int],
    context: Tensor,
    block: int,
    trajectories: Sequence[int],
) -> Tensor:
    """Predict `trajectories` (B, K, F, 3, H, H) of clips with the context (B, Tc, 3, H, H), uint8.

    Noise is a function of seed, clip, trajectory and block alone.
    """
    shape = network.packing.shape
    noise = future_noise(shape, seed, clips, max(trajectories) + 1, block)[:, list(trajectories)]
    noise = noise.to(context.device)

    def fresh(place: int, step: int) -> Tensor:
        return step_noise(noise[:, 0], seed, clips, trajectories[place], step, block)

    return to_bytes(predict(network, to_float(context), noise, fresh))


def future_noise(
    shape: tuple[int, ...], seed: int, clips: list[int], trajectories: int, block: int = 0
) -> Tensor:
    """Draw noise (B, K, *shape), a function of seed, clip, trajectory and block alone."""
    return clip_noise((trajectories, *shape), seed, clips, "sample", block)


def step_noise(
    like: Tensor, seed: int, clips: list[int], trajectory: int, step: int, block: int = 0
) -> Tensor:
    """Draw the noise of the shape of `like` (B, …) that a sampler adds in one step.

    It is a function of seed, clip, trajectory, step and block alone.
    """
    purpose = f"trajectory {trajectory}, step {step}"
    return clip_noise(like.shape[1:], seed, clips, purpose, block).to(like.device)


def clip_noise(
    shape: Sequence[int], seed: int, clips: list[int], purpose: str, block: int
) -> Tensor:
    """Draw noise (B, *shape) for a purpose, each clip by its own random generator."""
    # The first block's purpose names no block, so that a longer horizon begins as a shorter one.
    if block:
        purpose += f", block {block}"
    return torch.stack(
        [torch.randn(tuple(shape), generator=generator(seed, clip, purpose)) for clip in clips]
    )


def predict(
    network: TrainedPredictor,
    context: Tensor,
    noise: Tensor,
    fresh: Callable[[int, int], Tensor],
) -> Tensor:
    """Predict trajectories (B, K, F, 3, H, H) of context frames (B, Tc, 3, H, H) from packed noise
    (B, K, …).

    The context's frames are in the order of `rsvp.data.contexts`. `fresh(trajectory, step)` returns
    the noise (B, …) that a step may add.
    """
    layout, packing, statistics = network.layout, network.packing, network.statistics
    latents, seen = network.autoencoder.encode_clip(context, context.shape[1])
    # In 32 bits, as the cache holds what the denoiser was trained on.
    latents = {name: statistics[name].normalise(value.float()) for name, value in latents.items()}
    observed, _, wanted = layout.arrange(latents, network.context, len(context)).to(context.device)
    asked = None if wanted is None else packing.pack(wanted)
    unseen = null_condition(observed)
    trajectories = []
    for k in range(noise.shape[1]):
        drawn = network.sampling.sample(
            network.objective,
            packing.network(network.denoiser, observed, asked),
            packing.network(network.denoiser, unseen, asked),
            noise[:, k],
            partial(fresh, k),
        )
        future = layout.take(packing.unpack(drawn), network.context)
        future = {name: statistics[name].restore(value) for name, value in future.items()}
        trajectories.append(network.autoencoder.decode_future(future, seen))
    return torch.stack(trajectories, 1)
