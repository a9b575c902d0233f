"""Regularisers of latents: bounds that make them easy to predict and let them hide no detail.

Each turns an encoder's output (…, C, h, w) into latents, and latents into a decoder's input. The
quantised ones leave the rounding to the decoder's side, as latent diffusion does (Rombach et al.,
2022, section 3.1): cached and predicted latents are continuous.

`make_regulariser` makes one by its kind in the config; a loss that it returns is added to those of
the frames.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsvp.data.micro_batches import MicroBatch

VARIANCE_SHARE = 0.02  # of each training step in the moving average
ALMOST_ONE = 1.0 - 1e-6
Drawn = Tensor | int | None  # noise of the latents' shape, or a seed


class LatentRegulariser(nn.Module, ABC):
    """The map between an encoder and its decoder."""

    outputs_per_channel = 1  # encoder outputs for each channel of the latent

    @property
    def latent_noise(self) -> float:
        """Standard deviation of the noise that the decoder is trained with."""
        return 0.0

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return the latents of an encoder's output."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's input for latents, without a change of the regulariser."""
        return latents

    def draw(self, shape: Sequence[int], random: torch.Generator) -> Drawn:
        """Draw what a training step adds to latents of that shape (…, C, h, w)."""
        return None

    @abstractmethod
    def train_pass(
        self, x: Tensor, drawn: Drawn, part: MicroBatch
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the decoder's input in training for an encoder's output, and a loss to add.

        Also return a tensor whose sum over the batch is for `learn`, if there is anything to learn.
        drawn: what `draw` gave for the latents' shape. part: the part of the batch that x is of.
        """

    def learn(self, total: Tensor, drawn: Drawn) -> None:
        """Learn from a batch what no gradient teaches."""


class Noisy(LatentRegulariser):
    """Latents that are decoded in training with normal noise."""

    def draw(self, shape: Sequence[int], random: torch.Generator) -> Tensor:
        return torch.randn(tuple(shape), generator=random)


class Tanh(Noisy):
    """Latents in [-1, 1] (Yu et al., "Video probabilistic diffusion models in projected latent
    space", 2023, section 3.1), decoded in training with noise, which bounds their information.
    """

    @property
    def latent_noise(self) -> float:
        return 0.1

    def encode(self, x: Tensor) -> Tensor:
        return x.tanh()

    def train_pass(self, x: Tensor, drawn: Tensor, part: MicroBatch) -> tuple[Tensor, Tensor, None]:
        latents = x.tanh()
        return latents + self.latent_noise * drawn.to(latents), x.new_zeros(()), None


class Kl(Noisy):
    """Normal posteriors, weakly drawn to the standard normal (Kingma and Welling, "Auto-encoding
    variational Bayes", 2014, appendix B).

    The latent is the posterior's mean.
    """

    outputs_per_channel = 2

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        # Average variance of the posteriors: the noise that cached means lack.
        self.register_buffer("variance", torch.ones(()))
        self.variance: Tensor

    @property
    def latent_noise(self) -> float:
        return self.variance.sqrt().item()

    def encode(self, x: Tensor) -> Tensor:
        return x.chunk(2, -3)[0]

    def train_pass(
        self, x: Tensor, drawn: Tensor, part: MicroBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = x.chunk(2, -3)
        log_variance = log_variance.clamp(
            -30.0, 20.0
        )  # as in latent diffusion, so that exp is finite
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
        variance = part.share * log_variance.detach().float().exp().mean()
        latents = mean + (0.5 * log_variance).exp() * drawn.to(mean)
        return latents, self.weight * divergence, variance

    def learn(self, total: Tensor, drawn: Tensor) -> None:
        self.variance.lerp_(total, VARIANCE_SHARE)


class Vq(LatentRegulariser):
    """The nearest of learnt codes, moving averages of the outputs that are nearest to them (van den
    Oord et al., "Neural discrete representation learning", 2017, equation 3 and appendix A.1).

    Codes far from all outputs are replaced by some of the encoder's outputs. Each process of a
    training learns the same codes, from the whole batch. In evaluation mode, and so in fine-tuning,
    codes stay as they are.
    """

    def __init__(self, channels: int, codes: int, decay: float, commitment: float) -> None:
        super().__init__()
        # Imported here, since it takes seconds to load.
        from vector_quantize_pytorch import VectorQuantize

        self.commitment = commitment
        self.codebook = VectorQuantize(
            channels, codebook_size=codes, decay=decay, commitment_weight=0.0,
            threshold_ema_dead_code=0.5, sync_codebook=False,
        )  # fmt: skip

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, latents: Tensor) -> Tensor:
        return by_place(latents, lambda x: self.codebook(x, freeze_codebook=True)[0])

    def draw(self, shape: Sequence[int], random: torch.Generator) -> int:
        return int(torch.randint(2**31, (1,), generator=random))

    def train_pass(
        self, x: Tensor, drawn: int, part: MicroBatch
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        quantised = self.decode(x.detach())
        shown = x + (quantised - x).detach()
        outputs = part.placed(x.detach()) if self.training else None
        return shown, self.commitment * F.mse_loss(x, quantised), outputs

    def learn(self, total: Tensor, drawn: int) -> None:
        # The library draws replacements from PyTorch's global random generator.
        torch.manual_seed(drawn)
        by_place(total, lambda x: self.codebook(x)[0])


class Fsq(LatentRegulariser):
    """Channels bounded and rounded to few levels (Mentzer et al., "Finite scalar quantization:
    VQ-VAE made simple", 2024, section 3.1).

    Latents are bounded to [-1, 1] and not rounded: an encoder's output may grow far beyond the
    range that rounding tells apart.
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

    def train_pass(self, x: Tensor, drawn: None, part: MicroBatch) -> tuple[Tensor, Tensor, None]:
        return self.quantised(x), x.new_zeros(()), None

    def quantised(self, x: Tensor) -> Tensor:
        """Return an encoder's output, bounded and rounded, in [-1, 1]."""
        return by_place(x.float(), self.rounding.quantize).to(x.dtype)


def make_regulariser(kind: str, channels: int, **arguments: Any) -> LatentRegulariser:
    """Make the regulariser of a kind for latents with that many channels."""
    if kind == "tanh":
        return Tanh()
    if kind == "kl":
        return Kl(arguments["kl_weight"])
    if kind == "fsq":
        return Fsq(arguments["levels"])
    return Vq(channels, arguments["codes"], arguments["codes_decay"], arguments["commitment"])


def by_place(latents: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `change` to the channels of latents (…, C, h, w), as (1, n, C)."""
    places = latents.movedim(-3, -1)
    return change(places.reshape(1, -1, places.shape[-1])).view(places.shape).movedim(-1, -3)
