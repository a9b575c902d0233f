"""A Gaussian as data: its flow's velocity and map in closed form."""

import torch

MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
VECTORS = torch.linalg.qr(
    torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
)[0]
VARIANCES = torch.tensor([0.05, 1.5, 4.0], dtype=torch.float64)
COVARIANCE = VECTORS @ VARIANCES.diag() @ VECTORS.T


class GaussianVelocity:
    """E[data - noise | x_t] for data of N(MEAN, COVARIANCE) and noise of N(0, 1).

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


def flow_map(noise):
    """Where the flow takes `noise` exactly: x_1 = m + S^(1/2) x_0."""
    return MEAN + (noise @ VECTORS * VARIANCES.sqrt()) @ VECTORS.T


def draw(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
