"""What keeps latents within bounds, so that they are easy to predict and can't hide detail.

Each turns an encoder's output (…, C, h, w) into latents, and latents into what a decoder is shown.
The quantised ones, as in latent diffusion (Rombach et al., 2022, section 3.1), leave the rounding
to the decoder's side: what is cached and predicted is continuous.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VARIANCE_SHARE = 0.02  # of each training step in the moving average
ALMOST_ONE = 1.0 - 1e-6


class Regulariser(nn.Module, ABC):
    """Between an encoder and its decoder."""

    outputs_per_channel = 1  # of the encoder, for each channel of the latent

    @property
    def latent_noise(self) -> float:
        """Standard deviation of the noise that the decoder was trained to look through."""
        return 0.0

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Latents of an encoder's output."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """What the decoder is shown for latents; changes nothing in the regulariser."""

    @abstractmethod
    def train_pass(self, x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """What the decoder is shown in training for an encoder's output, and a loss to add."""


class Tanh(Regulariser):
    """Latents in [-1, 1] (as PVDM: Yu et al., "Video probabilistic diffusion models in projected
    latent space", 2023, section 3.1), decoded in training with noise, which bounds what they carry.
    """

    @property
    def latent_noise(self) -> float:
        return 0.1

    def encode(self, x: Tensor) -> Tensor:
        return x.tanh()

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def train_pass(self, x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        latents = x.tanh()
        return latents + self.latent_noise * noise_like(latents, random), x.new_zeros(())


class Kl(Regulariser):
    """Normal posteriors, weakly drawn to the standard normal (Kingma and Welling, "Auto-encoding
    variational Bayes", 2014, appendix B); the latent is the posterior's mean."""

    outputs_per_channel = 2

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        # Of the posteriors, on average: what is cached is their mean, without this noise.
        self.register_buffer("variance", torch.ones(()))
        self.variance: Tensor

    @property
    def latent_noise(self) -> float:
        return self.variance.sqrt().item()

    def encode(self, x: Tensor) -> Tensor:
        return x.chunk(2, -3)[0]

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def train_pass(self, x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        mean, log_variance = x.chunk(2, -3)
        log_variance = log_variance.clamp(-30.0, 20.0)  # as latent diffusion: exp must be finite
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
        if self.training:
            self.variance.lerp_(log_variance.detach().float().exp().mean(), VARIANCE_SHARE)
        latents = mean + (0.5 * log_variance).exp() * noise_like(mean, random)
        return latents, self.weight * divergence


class Vq(Regulariser):
    """The nearest of learnt codes, which follow what they stand for by a moving average (van den
    Oord et al., "Neural discrete representation learning", 2017, equation 3 and appendix A.1).

    Codes that nothing is near to are replaced by what the encoder says. In evaluation mode, and so
    in fine-tuning, codes stay as they are.
    """

    def __init__(self, channels: int, codes: int, decay: float, commitment: float) -> None:
        super().__init__()
        # Here, since it takes seconds to load.
        from vector_quantize_pytorch import VectorQuantize

        self.commitment = commitment
        self.codebook = VectorQuantize(
            channels, codebook_size=codes, decay=decay, commitment_weight=0.0,
            threshold_ema_dead_code=0.5,
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, latents: Tensor) -> Tensor:
        return by_place(latents, lambda x: self.codebook(x, freeze_codebook=True)[0])

    def train_pass(self, x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        # Replacements are drawn by PyTorch's own generator; a step is to depend on its seed alone.
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=random)))
        quantised = by_place(x.detach(), lambda x: self.codebook(x)[0])
        return x + (quantised - x).detach(), self.commitment * F.mse_loss(x, quantised)


class Fsq(Regulariser):
    """Each channel is bounded and rounded to few levels (Mentzer et al., "Finite scalar
    quantization: VQ-VAE made simple", 2024, section 3.1).

    Latents are in [-1, 1], bounded and not rounded yet: an encoder's output may grow far beyond
    what rounding tells apart.
    """

    def __init__(self, levels: list[int]) -> None:
        super().__init__()
        from vector_quantize_pytorch import FSQ

        self.rounding = FSQ(list(levels), return_indices=False)

    def encode(self, x: Tensor) -> Tensor:
        return x.float().tanh()

    def decode(self, latents: Tensor) -> Tensor:
        # The library bounds by tanh as well, shifted where the number of levels is even.
        return self.quantised(latents.float().clamp(-ALMOST_ONE, ALMOST_ONE).atanh())

    def train_pass(self, x: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.quantised(x), x.new_zeros(())

    def quantised(self, x: Tensor) -> Tensor:
        """An encoder's output, bounded and rounded, in [-1, 1]."""
        return by_place(x.float(), self.rounding.quantize).to(x.dtype)


def make_regulariser(kind: str, channels: int, **arguments: Any) -> Regulariser:
    """A regulariser of latents with that many channels, from its config's values."""
    if kind == "tanh":
        return Tanh()
    if kind == "kl":
        return Kl(arguments["kl_weight"])
    if kind == "fsq":
        return Fsq(arguments["levels"])
    return Vq(channels, arguments["codes"], arguments["codes_decay"], arguments["commitment"])


def by_place(latents: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Latents (…, C, h, w) with `change` applied to their channels as (1, n, C)."""
    places = latents.movedim(-3, -1)
    return change(places.reshape(1, -1, places.shape[-1])).view(places.shape).movedim(-1, -3)


def noise_like(latents: Tensor, random: torch.Generator) -> Tensor:
    """Standard normal noise in the shape of latents."""
    return torch.randn(latents.shape, generator=random).to(latents)
