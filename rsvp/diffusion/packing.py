"""Several latents as one tensor, for objectives and samplers of one tensor."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rsvp.diffusion.noise import Roots, coloured
from rsvp.diffusion.objectives import Network

LatentNetwork = Callable[[dict[str, Tensor], Tensor, dict[str, Tensor]], dict[str, Tensor]]


class Packing:
    """Latents (B, *shape) by name as one tensor (B, …), and back; a single one keeps its shape."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one packed sample."""
        return next(iter(self.shapes.values())) if len(self.shapes) == 1 else (sum(self.sizes),)

    def pack(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Pack latents (B, *shape) by name into (B, …)."""
        if len(self.shapes) == 1:
            return latents[next(iter(self.shapes))]
        return torch.cat([latents[name].flatten(1) for name in self.shapes], 1)

    def unpack(self, packed: Tensor) -> dict[str, Tensor]:
        """Invert `pack`."""
        if len(self.shapes) == 1:
            return {next(iter(self.shapes)): packed}
        parts = packed.split(self.sizes, 1)
        return {
            name: part.unflatten(1, shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def coloured(self, noise: Tensor, roots: Roots) -> Tensor:
        """Return packed white noise (B, …) with the correlations that roots stand for."""
        return self.pack(coloured(self.unpack(noise), roots))

    def network(
        self, denoiser: LatentNetwork, observed: dict[str, Tensor], wanted: Tensor | None = None
    ) -> Network:
        """Return the denoiser under a condition as a network of packed latents.

        Its input is 0 where `wanted` (B, …) is false, since values that are not predicted have no
        noise.
        """

        def network(x: Tensor, time: Tensor) -> Tensor:
            if wanted is not None:
                x = x.masked_fill(~wanted, 0.0)
            return self.pack(denoiser(self.unpack(x), time, observed)).float()

        return network
