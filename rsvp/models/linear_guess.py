"""What a linear map of the observed latents says of the future: found in closed form, not learnt.

Predictors are asked only for what it leaves open (the residual of a deterministic forecast as what
is diffused: Yang, Srivastava and Mandt, "Diffusion probabilistic modeling for video generation",
2022, section 3.2). Extrapolation is nearly linear, and gradient descent finds it slowly.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Of the regression, per sample and unit of an observed value's variance, which is 1: validation
# chooses. The last leaves little but the mean.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
# What is seen (N, inputs), the values then (N, T, outputs), and which samples count in which frame,
# (N, T) of 0 or 1.
Samples = tuple[Tensor, Tensor, Tensor]
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
    def fit(self, batches: Iterable[Samples], held_out: Iterable[Samples]) -> None:
        """Least squares by frame, in 64 bits, with that ridge of `RIDGES` which errs least on
        `held_out`. `scale` becomes the root mean square of what it leaves open of `batches`."""
        frames, inputs, outputs = self.weight.shape
        known, judge = (Moments(frames, inputs, outputs, some) for some in (batches, held_out))
        solved = min((known.solved(ridge) for ridge in RIDGES), key=judge.error)
        self.weight.copy_(solved[:, :-1])
        self.bias.copy_(solved[:, -1])
        self.scale.fill_(max(LEAST_SCALE, known.error(solved) ** 0.5))


class Moments:
    """All that least squares need know of samples, by frame; the last input is the constant 1."""

    def __init__(self, frames: int, inputs: int, outputs: int, batches: Iterable[Samples]) -> None:
        self.gram = torch.zeros(frames, inputs + 1, inputs + 1, dtype=torch.float64)
        self.mixed = torch.zeros(frames, inputs + 1, outputs, dtype=torch.float64)
        self.squares, self.values = 0.0, 0.0
        for seen, values, counts in batches:
            x, y, w = (part.double().cpu() for part in (seen, values, counts))
            x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
            for frame in range(frames):
                own, there = x * w[:, frame, None], y[:, frame]
                self.gram[frame] += own.T @ x
                self.mixed[frame] += own.T @ there
                self.squares += float((w[:, frame, None] * there.square()).sum())
            self.values += float(w.sum()) * outputs

    def solved(self, ridge: float) -> Tensor:
        """The weights (T, inputs + 1, outputs) of ridge regression; the constant is free."""
        eye = torch.eye(self.gram.shape[-1], dtype=torch.float64)
        held = eye.clone()
        held[-1, -1] = 0.0
        counted = self.gram[:, -1:, -1:].clamp(min=1.0)
        return torch.linalg.solve(self.gram + ridge * counted * held + 1e-9 * eye, self.mixed)

    def error(self, weights: Tensor) -> float:
        """The mean squared error of weights on these samples."""
        crossed = (weights * self.mixed).sum() - 0.5 * (weights * (self.gram @ weights)).sum()
        return max(0.0, self.squares - 2.0 * float(crossed)) / max(1.0, self.values)
