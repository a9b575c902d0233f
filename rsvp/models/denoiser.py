"""The denoiser: a transformer over space-time tokens of latents, each attending to all.

Diffusion time modulates every block (adaLN-Zero: Peebles and Xie, "Scalable diffusion models with
transformers", 2023, section 3.2); queries and keys are normalised (Dehghani et al., "Scaling
vision transformers to 22 billion parameters", 2023, section 2).

Its options are the fields of `rsvp.config.schema.Denoiser`, which `rsvp.stages.train_diffusion`
hands to the constructor as they are and keeps beside the weights.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

POSITION_FEATURES = 32  # per axis
STILL = 0.25  # scene and object have many channels: at full scale they hide the observed motion


def sinusoids(values: Tensor, features: int, longest: float = 64.0) -> Tensor:
    """Return sines and cosines of `values` (…,) at `features` / 2 wavelengths up to `longest`."""
    half = features // 2
    octaves = torch.linspace(0.0, 1.0, half, device=values.device)
    angles = values[..., None] * (2.0 * math.pi / longest**octaves)
    return torch.cat([angles.sin(), angles.cos()], -1)


class Block(nn.Module):
    """Attention and a perceptron over tokens (b n c), modulated by a condition (b c)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm = nn.RMSNorm(width // heads)
        self.key_norm = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        modulation = self.modulation(condition)[:, None]  # b 1 6c
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, -1)  # b 1 c each
        x = x + gate1 * self.attend(self.norm(x) * (1.0 + scale1) + shift1)
        return x + gate2 * self.mlp(self.norm(x) * (1.0 + scale2) + shift2)

    def attend(self, x: Tensor) -> Tensor:
        """Let tokens (b n c) attend to each other; queries and keys are normalised."""
        q, k, v = rearrange(self.qkv(x), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        y = F.scaled_dot_product_attention(self.query_norm(q), self.key_norm(k), v)  # b h n d
        return self.out(rearrange(y, "b h n d -> b n (h d)"))


class LatentDenoiser(nn.Module):
    """The objective's output, from noisy future latents and observed latents.

    A token is a patch of one latent (`patch` x `patch` of its cells) over `frames_per_token` of its
    frames; tokens of all latents that are predicted together attend to each other. The observed
    cells of that patch, in all frames and all latents on the same grid, are embedded into the same
    token: past and future of a patch belong together, and the sequence stays as short as the
    future. A skip connection, linear and gated by the diffusion time, takes the observed cells to
    the output, too.

    `observed` and `targets` are the shapes (T, C, h, w) of the latents by name; each observed one
    needs a target of the same h and w.
    """

    def __init__(
        self,
        observed: dict[str, list[int]],
        targets: dict[str, list[int]],
        width: int,
        depth: int,
        heads: int,
        patch: int,
        frames_per_token: int,
    ) -> None:
        super().__init__()
        self.cuts = {
            name: (min(frames_per_token, frames), min(patch, rows), min(patch, columns))
            for name, (frames, _, rows, columns) in targets.items()
        }
        self.seen = {
            name: [o for o, seen in observed.items() if tuple(seen[2:]) == tuple(shape[2:])]
            for name, shape in targets.items()
        }
        unseen = set(observed).difference(*self.seen.values())
        if unseen:
            raise ValueError(f"no target has the grid of what is observed: {sorted(unseen)}")
        values = {name: math.prod(cut) * targets[name][1] for name, cut in self.cuts.items()}
        cells = {name: rows * columns for name, (_, rows, columns) in self.cuts.items()}
        still = {
            name: cells[name] * sum(math.prod(observed[other][:2]) for other in seen)
            for name, seen in self.seen.items()
        }
        self.future = nn.ModuleDict({name: nn.Linear(n, width) for name, n in values.items()})
        self.observed = nn.ModuleDict({name: nn.Linear(n, width) for name, n in still.items() if n})
        self.position = nn.ModuleDict(
            {name: nn.Linear(3 * POSITION_FEATURES, width) for name in targets}
        )
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.output = nn.ModuleDict({name: nn.Linear(width, n) for name, n in values.items()})
        self.skip = nn.ModuleDict(
            {name: nn.Linear(n, values[name]) for name, n in still.items() if n}
        )
        self.skip_gate = nn.ModuleDict({name: nn.Linear(width, 1) for name in self.skip})
        self.initialise()

    def initialise(self) -> None:
        """Set to 0 what modulates and what ends the network; other layers keep PyTorch's defaults.

        So each block starts as the identity (adaLN-Zero) and the output as 0, the mean of all that
        objectives ask for.
        """
        layers = [module.modulation[1] for module in (self, *self.blocks)]
        for end in (self.output, self.skip, self.skip_gate):
            layers += end.values()
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, noisy: dict[str, Tensor], time: Tensor, observed: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return outputs in the shapes of `noisy`, (b t c h w) each, at diffusion times (b).

        Levels are told apart from 0.01 to 10, so times should span about 1.
        """
        grids = {name: self.embed(name, noisy[name], observed) for name in self.cuts}  # b t y x c
        condition = self.time(sinusoids(100.0 * time, 64, longest=1000.0))  # b c
        tokens = torch.cat([grid.flatten(1, 3) for grid in grids.values()], 1)  # b n c
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.modulation(condition)[:, None].chunk(2, -1)
        tokens = self.norm(tokens) * (1.0 + scale) + shift
        parts = tokens.split([grid.shape[1:4].numel() for grid in grids.values()], 1)
        outputs = {name: self.output[name](part) for name, part in zip(grids, parts, strict=True)}
        for name, layer in self.skip.items():
            # The future of a patch is first of all a linear function of its past, which the
            # normalisation of tokens would blur.
            gate = 1.0 + self.skip_gate[name](condition)[:, None]  # b 1 1
            skipped = layer(self.still(name, observed)).expand(*grids[name].shape[:4], -1)
            outputs[name] = outputs[name] + gate * skipped.flatten(1, 3)
        return {
            name: from_patches(value, self.cuts[name], noisy[name].shape)
            for name, value in outputs.items()
        }

    def embed(self, name: str, noisy: Tensor, observed: dict[str, Tensor]) -> Tensor:
        """Embed one latent as tokens (b t y x c), together with the observed cells of each."""
        cut = self.cuts[name]
        tokens = self.future[name](patches(noisy, cut))
        if self.seen[name]:
            tokens = tokens + self.observed[name](self.still(name, observed))
        return tokens + self.position[name](positions(tokens, cut))

    def still(self, name: str, observed: dict[str, Tensor]) -> Tensor:
        """Return the observed cells (b 1 y x n) of each patch of a latent's grid.

        Beside latents of several frames, those of one frame are scaled by `STILL`.
        """
        seen = [observed[other] for other in self.seen[name]]
        moves = any(latent.shape[1] > 1 for latent in seen)
        still = torch.cat(
            [(STILL if moves and x.shape[1] == 1 else 1.0) * x.flatten(1, 2) for x in seen], 1
        )
        return patches(still[:, None], (1, *self.cuts[name][1:]))


def patches(latents: Tensor, cut: tuple[int, int, int]) -> Tensor:
    """Cut latents (b t c h w) into patches (b t y x n) of `cut` frames, rows and columns.

    Frames are filled with zeros to whole patches.
    """
    frames, rows, columns = cut
    latents = F.pad(latents, (0, 0, 0, 0, 0, 0, 0, -latents.shape[1] % frames))
    return rearrange(
        latents,
        "b (t r) c (y p) (x q) -> b t y x (r c p q)",
        r=frames, p=rows, q=columns,
    )  # fmt: skip


def from_patches(tokens: Tensor, cut: tuple[int, int, int], shape: torch.Size) -> Tensor:
    """Put patches (b n values) together to latents of that shape: the inverse of `patches`."""
    frames, rows, columns = cut
    latents = rearrange(
        tokens,
        "b (t y x) (r c p q) -> b (t r) c (y p) (x q)",
        y=shape[3] // rows, x=shape[4] // columns, r=frames, p=rows, q=columns,
    )  # fmt: skip
    return latents[:, : shape[1]]


def positions(tokens: Tensor, cut: tuple[int, int, int]) -> Tensor:
    """Return features (t y x 3 * POSITION_FEATURES) of the positions of tokens (b t y x …)."""
    extents = [step * n for step, n in zip(cut, tokens.shape[1:4], strict=True)]
    axes = (
        torch.arange(0, extent, step, device=tokens.device, dtype=torch.float32)
        for extent, step in zip(extents, cut, strict=True)
    )
    grids = torch.meshgrid(*axes, indexing="ij")
    features = (
        sinusoids(grid, POSITION_FEATURES, longest=max(64.0, extent))
        for grid, extent in zip(grids, extents, strict=True)
    )
    return torch.cat([*features], -1)
