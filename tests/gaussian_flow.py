"""Data whose denoiser is known in closed form: a Gaussian and a mixture of two.

What a perfect network of each objective would answer is written here in the terms of the
objective's paper, alpha and sigma, and not in those of the code under test.
"""

import math

import numpy as np
import torch

MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
VECTORS = torch.linalg.qr(
    torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
)[0]
VARIANCES = torch.tensor([0.05, 1.5, 4.0], dtype=torch.float64)
COVARIANCE = VECTORS @ VARIANCES.diag() @ VECTORS.T
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
CENTRES = torch.tensor([-1.2, 0.6], dtype=torch.float64)
DEVIATIONS = torch.tensor([0.3, 0.5], dtype=torch.float64)


def gaussian_mean(x, alpha, sigma):
    """E[data | x = alpha data + sigma noise], (B, 3), for data of N(MEAN, COVARIANCE)."""
    gain = alpha * VARIANCES / (alpha**2 * VARIANCES + sigma**2)
    return MEAN + ((x - alpha * MEAN) @ VECTORS * gain) @ VECTORS.T


def mixture_mean(x, alpha, sigma):
    """E[data | x = alpha data + sigma noise], (B, 1), for the mixture of two Gaussians."""
    variance = alpha**2 * DEVIATIONS**2 + sigma**2
    off = x - alpha * CENTRES
    weights = (WEIGHTS.log() - 0.5 * variance.log() - 0.5 * off**2 / variance).softmax(-1)
    return (weights * (CENTRES + alpha * DEVIATIONS**2 / variance * off)).sum(-1, keepdim=True)


GRID = torch.linspace(-4.0, 4.0, 80_001, dtype=torch.float64)
REACHED = torch.special.ndtr((GRID[:, None] - CENTRES) / DEVIATIONS) @ WEIGHTS


def mixture_quantiles(shares):
    """Quantiles of the mixture: its distribution function reaches `shares` (N,) in (0, 1) there."""
    return torch.tensor(np.interp(shares.numpy(), REACHED.numpy(), GRID.numpy()))


# latent-diffusion's schedule: alpha / (alpha + sigma) of levels -1 (data) to 999 (noise).
ALPHA = np.cumprod(1.0 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2) ** 0.5
RATIO = np.append(1.0, ALPHA / (ALPHA + np.sqrt(1.0 - ALPHA**2)))


def linear_schedule(input_time):
    """alpha and sigma at the time input 1 - (i + 1) / 1000 of level i; their ratio is straight
    between levels."""
    level = 1000.0 * (1.0 - input_time.numpy()) - 1.0
    t = torch.tensor(np.interp(level, np.arange(-1, 1000), RATIO))
    return t / torch.hypot(t, 1.0 - t), (1.0 - t) / torch.hypot(t, 1.0 - t)


class Perfect:
    """The network of an objective at its optimum; `mean(x, alpha, sigma)` is E[data | x]."""

    def __init__(self, objective, mean):
        self.objective, self.mean, self.calls = objective, mean, 0

    def __call__(self, x, time):
        assert time.shape == (len(x),)
        self.calls += 1
        return getattr(self, self.objective)(x, time[:, None].to(x.dtype))

    def flow(self, x, time):
        data = self.mean(x, time, 1.0 - time)
        return data - (x - time * data) / (1.0 - time)

    def noise(self, x, time):
        alpha, sigma = linear_schedule(time)
        return (x - alpha * self.mean(x, alpha, sigma)) / sigma

    def v(self, x, time):
        angle = (1.0 - time) * math.pi / 2
        alpha, sigma = angle.cos(), angle.sin()
        data = self.mean(x, alpha, sigma)
        return alpha * (x - alpha * data) / sigma - sigma * data

    def edm(self, x, time, deviation=1.0):
        """Karras et al. 2022, table 1; the input is c_in x, the time c_noise."""
        sigma = (4.0 * time).exp()
        total = (sigma**2 + deviation**2).sqrt()
        skip, out = deviation**2 / total**2, sigma * deviation / total
        return (self.mean(total * x, torch.ones_like(sigma), sigma) - skip * total * x) / out


class GaussianVelocity:
    """E[data - noise | x_t] on the straight path for data of N(MEAN, COVARIANCE).

    x_t = (1 - t) noise + t data is N(t m, C), C = (1 - t)^2 + t^2 S, so that the expected velocity
    is m + (t S - (1 - t)) C^-1 (x - t m). S and C have the same eigenvectors.
    """

    def __init__(self):
        self.calls = 0

    def __call__(self, x, t):
        assert t.shape == (len(x),)
        self.calls += 1
        t = t.double()[:, None]
        rate = (t * VARIANCES - (1 - t)) / ((1 - t) ** 2 + t**2 * VARIANCES)
        return MEAN + ((x - t * MEAN) @ VECTORS * rate) @ VECTORS.T


def flow_map(noise, start=0.0, end=1.0):
    """The exact end of the flow from x_start = (1 - start) `noise`: x_t keeps its place, in
    standard deviations, in N(t m, C)."""

    def variances(t):
        return (1.0 - t) ** 2 + t**2 * VARIANCES

    off = ((1.0 - start) * noise - start * MEAN) @ VECTORS
    return end * MEAN + (off * (variances(end) / variances(start)).sqrt()) @ VECTORS.T


def draw(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
