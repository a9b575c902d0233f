"""Samplers: from noise at time 0 to data at time 1, along a velocity.

Each takes `velocity(x, t)`, with x (B, …) and t (B,), the noise and the number of steps.
"""

from itertools import pairwise

import torch
from torch import Tensor

from rsvp.diffusion.flow import Velocity
from rsvp.errors import UserError


@torch.no_grad()
def euler(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Euler's method, first order; `steps` network evaluations."""
    x = noise
    for now, after in step_times(noise, steps):
        x = x + (after - now) * velocity(x, now.expand(len(x)))
    return x


@torch.no_grad()
def heun(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Heun's method, second order (Karras et al., "Elucidating the design space of diffusion-based
    generative models", 2022, algorithm 1); the last step is Euler's: 2 `steps` - 1 evaluations."""
    x = noise
    for now, after in step_times(noise, steps):
        first = velocity(x, now.expand(len(x)))
        ahead = x + (after - now) * first
        if float(after) < 1.0:
            second = velocity(ahead, after.expand(len(x)))
            ahead = x + (after - now) * 0.5 * (first + second)
        x = ahead
    return x


def step_times(like: Tensor, steps: int) -> list[tuple[Tensor, Tensor]]:
    """Start and end of `steps` equal steps from 0 to 1."""
    times = torch.linspace(0.0, 1.0, steps + 1, device=like.device)
    return list(pairwise(times))


SAMPLERS = {"euler": euler, "heun": heun}


def sample(name: str, velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Run the sampler called `name`."""
    if name not in SAMPLERS:
        raise UserError(f"sampler {name!r} is not known; allowed: {', '.join(SAMPLERS)}")
    return SAMPLERS[name](velocity, noise, steps)


def network_evaluations(name: str, steps: int) -> int:
    """How often a sampler asks the network for one sample (NFE)."""
    return {"euler": steps, "heun": 2 * steps - 1}[name]
