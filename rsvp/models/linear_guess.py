"""What a linear map of the observed latents says of the future: found in closed form, not learnt.

Predictors are asked only for what it leaves open (the residual of a deterministic forecast as what
is diffused: Yang, Srivastava and Mandt, "Diffusion probabilistic modeling for video generation",
2022, section 3.2). Extrapolation is nearly linear, and gradient descent finds it slowly.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

RIDGE = 1e-2  # of the regression, per sample and unit of an observed value's variance, which is 1
LEAST_SCALE = 1e-2  # of residuals, so that what is foreseen exactly is not blown up


class LinearGuess(nn.Module):
    """For each of T frames, `outputs` values of a place from the `inputs` values observed there.

    It says 0, and residuals have scale 1, until it is fitted.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor

    def __init__(self, inputs: int, frames: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(frames, inputs, outputs))
        self.register_buffer("bias", torch.zeros(frames, outputs))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, seen: Tensor) -> Tensor:
        """Values (…, T, outputs) from what is seen (…, inputs), in 32 bits."""
        with torch.autocast(seen.device.type, enabled=False):
            return torch.einsum("...n,tnm->...tm", seen.float(), self.weight) + self.bias

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Least squares with a small ridge, in 64 bits, by frame.

        A batch is what is seen (N, inputs), the values then (N, T, outputs), and which of its
        samples count in which frame, (N, T) of 0 or 1. `scale` becomes the root mean square of
        what is left.
        """
        frames, inputs, outputs = self.weight.shape
        # The constant 1 is the last input.
        gram = torch.zeros(frames, inputs + 1, inputs + 1, dtype=torch.float64)
        moments = torch.zeros(frames, inputs + 1, outputs, dtype=torch.float64)
        squares, counted = 0.0, torch.zeros(frames, dtype=torch.float64)
        for seen, values, counts in batches:
            x, y, w = (part.double().cpu() for part in (seen, values, counts))
            x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
            for frame in range(frames):
                own, there = x * w[:, frame, None], y[:, frame]
                gram[frame] += own.T @ x
                moments[frame] += own.T @ there
                squares += float((w[:, frame, None] * there.square()).sum())
            counted += w.sum(0)
        ridge = torch.eye(inputs + 1, dtype=torch.float64)
        ridge[-1, -1] = 0.0
        ridge = RIDGE * counted.clamp(min=1.0).view(-1, 1, 1) * ridge
        ridge = ridge + 1e-9 * torch.eye(inputs + 1, dtype=torch.float64)
        solved = torch.linalg.solve(gram + ridge, moments)
        left = squares - 2.0 * (solved * moments).sum() + (solved * (gram @ solved)).sum()
        self.weight.copy_(solved[:, :-1])
        self.bias.copy_(solved[:, -1])
        mean = float(left) / max(1.0, float(counted.sum()) * outputs)
        self.scale.fill_(max(LEAST_SCALE, mean**0.5))
