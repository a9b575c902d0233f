"""A trained predictor: trajectories from context frames, by autoencoder and denoiser."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rsvp.data.contexts import PREFIX
from rsvp.data.latents import LatentStatistics
from rsvp.data.layout import Layout
from rsvp.data.pixels import to_bytes, to_float
from rsvp.diffusion.condition import Condition, null_condition
from rsvp.diffusion.noise import Roots
from rsvp.diffusion.objectives import OBJECTIVES, DiffusionObjective
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.samplers import Sampling
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.bundle import read_bundle
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.random import generator

MOST_SAMPLED = 64  # samples of a GPU's batch


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
    roots: Roots = field(default_factory=dict)  # of the noise; without one it is white


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
        {name: [*map(torch.tensor, roots)] for name, roots in metadata.get("noise", {}).items()},
    )


def predict_block(
    network: TrainedPredictor,
    seed: int,
    clips: list[int],
    contexts: Tensor,
    block: int,
    trajectories: Sequence[int],
) -> Tensor:
    """Predict `trajectories` (B, K, F, C, H, W) of clips, uint8, from contexts as `predict` takes.

    Noise is a function of seed, clip, trajectory and block alone.
    """
    shape = network.packing.shape
    noise = future_noise(shape, seed, clips, max(trajectories) + 1, block)[:, list(trajectories)]
    noise = noise.to(contexts.device)

    def fresh(place: int, step: int) -> Tensor:
        return step_noise(noise[:, 0], seed, clips, trajectories[place], step, block)

    # As bytes at once: a hundred trajectories are a quarter as large.
    made = predict(network, to_float(contexts), noise, fresh)
    return torch.stack([to_bytes(trajectory) for trajectory in made], 1)


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
    contexts: Tensor,
    noise: Tensor,
    fresh: Callable[[int, int], Tensor],
) -> Iterator[Tensor]:
    """Predict K trajectories (B, F, C, H, W) of contexts from packed noise (B, K, …), one by one.

    The contexts are frames (B, 1, Tc, C, H, W), or (B, K, …) with one for each trajectory, in the
    order of `rsvp.data.contexts`. `fresh(trajectory, step)` returns the noise (B, …) that a step
    may add.
    """
    count = noise.shape[1]
    shared = observe(network, contexts[:, 0]) if contexts.shape[1] == 1 else None
    together = sampled_together(len(contexts), contexts.device)
    for first in range(0, count, together):
        group = range(first, min(first + together, count))
        seen = [shared or observe(network, contexts[:, k]) for k in group]
        drawn = draw_futures(network, seen, noise[:, first : group.stop], group, fresh)
        for latents, one in zip(drawn, seen, strict=True):
            future = network.layout.take(network.packing.unpack(latents), network.context)
            future = {n: network.statistics[n].restore(value) for n, value in future.items()}
            yield network.autoencoder.decode_future(future, one.decoder)


def sampled_together(clips: int, device: torch.device) -> int:
    """Return how many trajectories of so many clips are sampled as one batch.

    A CPU samples one after the other: per sample, larger batches are no faster there.
    """
    return max(1, MOST_SAMPLED // clips) if device.type == "cuda" else 1


class Observed(NamedTuple):
    """The condition that context frames (B, Tc, C, H, W) give."""

    latents: Condition  # normalised
    wanted: Tensor | None  # packed, bool: what is predicted; None is all
    decoder: Any  # the autoencoder's own context


def observe(network: TrainedPredictor, context: Tensor) -> Observed:
    """Encode context frames (B, Tc, C, H, W) as the denoiser's condition."""
    latents, decoder = network.autoencoder.encode_clip(context, context.shape[1])
    # In 32 bits, as the cache holds what the denoiser was trained on.
    latents = {
        name: network.statistics[name].normalise(value.float()) for name, value in latents.items()
    }
    batch = network.layout.arrange(latents, network.context, len(context)).to(context.device)
    wanted = None if batch.wanted is None else network.packing.pack(batch.wanted)
    return Observed(batch.observed, wanted, decoder)


def draw_futures(
    network: TrainedPredictor,
    seen: Sequence[Observed],
    noise: Tensor,
    trajectories: Sequence[int],
    fresh: Callable[[int, int], Tensor],
) -> Sequence[Tensor]:
    """Draw packed latents (B, …) of each trajectory, in one batch, from white noise (B, K, …)."""
    packing, roots = network.packing, network.roots
    observed = {name: torch.cat([one.latents[name] for one in seen]) for name in seen[0].latents}
    wanted = [one.wanted for one in seen if one.wanted is not None]
    asked = torch.cat(wanted) if wanted else None
    drawn = network.sampling.sample(
        network.objective,
        packing.network(network.denoiser, observed, asked),
        packing.network(network.denoiser, null_condition(observed), asked),
        packing.coloured(noise.transpose(0, 1).flatten(0, 1), roots),
        lambda step: packing.coloured(torch.cat([fresh(k, step) for k in trajectories]), roots),
    )
    return drawn.split(len(noise))
