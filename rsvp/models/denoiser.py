"""The denoiser: a transformer over space-time tokens of latents. All tokens attend to all.

Diffusion time modulates every block (adaLN-Zero: Peebles and Xie, "Scalable diffusion models with
transformers", 2023, section 3.2); queries and keys are normalised (Dehghani et al., "Scaling
vision transformers to 22 billion parameters", 2023, section 2).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

POSITION_FEATURES = 32  # per axis


@dataclass
class Observed:
    """What a prediction may look at, as normalised latents: B clips, Tc observed frames."""

    scene: Tensor  # (B, Cs, h, h)
    object: Tensor  # (B, Co, h, h)
    motion: Tensor  # (B, Tc, Cm, h, h)


def sinusoids(values: Tensor, features: int, longest: float = 64.0) -> Tensor:
    """Sines and cosines of `values` (…,) at `features` / 2 wavelengths up to `longest`."""
    half = features // 2
    octaves = torch.linspace(0.0, 1.0, half, device=values.device)
    angles = values[..., None] * (2.0 * math.pi / longest**octaves)
    return torch.cat([angles.sin(), angles.cos()], -1)


class Block(nn.Module):
    """Attention and a perceptron over tokens (B, N, width), modulated by `condition` (B, width)."""

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
        # Each block starts as the identity.
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(
            6, -1
        )
        x = x + gate1 * self.attend(self.norm(x) * (1.0 + scale1) + shift1)
        return x + gate2 * self.mlp(self.norm(x) * (1.0 + scale2) + shift2)

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        y = F.scaled_dot_product_attention(self.query_norm(q), self.key_norm(k), v)
        return self.out(rearrange(y, "b h n d -> b n (h d)"))


class MotionDenoiser(nn.Module):
    """Predicts the velocity of future motion from its noisy version and what is observed.

    A token is a place (`patch` x `patch` latent cells) over `frames_per_token` future frames. What
    is observed at that place (all past motion, scene, object) is embedded into the same token:
    motion is anchored to the reference, so past and future of a place belong together, and the
    sequence stays as short as the future.
    """

    def __init__(
        self,
        scene_channels: int,
        object_channels: int,
        motion_channels: int,
        context_frames: int,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        frames_per_token: int,
    ) -> None:
        super().__init__()
        self.patch, self.frames = patch, frames_per_token
        cell = patch * patch
        still = scene_channels + object_channels + context_frames * motion_channels
        self.future = nn.Linear(motion_channels * cell * frames_per_token, width)
        self.observed = nn.Linear(still * cell, width)
        self.position = nn.Linear(3 * POSITION_FEATURES, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.output = nn.Linear(width, motion_channels * cell * frames_per_token)
        for layer in (self.modulation[1], self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, time: Tensor, observed: Observed) -> Tensor:
        """`noisy` (B, F, Cm, h, h) at diffusion times `time` (B,) in [0, 1]; same shape back."""
        count = noisy.shape[1]
        tokens = self.future(self.patches(noisy, self.frames))  # (B, t, y, x, width)
        still = torch.cat([observed.scene, observed.object, observed.motion.flatten(1, 2)], 1)
        tokens = tokens + self.observed(self.patches(still[:, None], 1))
        tokens = tokens + self.position(self.places(tokens))
        _, t, y, x, _ = tokens.shape
        condition = self.time(sinusoids(100.0 * time, 64, longest=1000.0))
        tokens = tokens.flatten(1, 3)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.modulation(condition)[:, None].chunk(2, -1)
        tokens = self.output(self.norm(tokens) * (1.0 + scale) + shift)
        velocity = rearrange(
            tokens,
            "b (t y x) (r c p q) -> b (t r) c (y p) (x q)",
            t=t, y=y, x=x, r=self.frames, p=self.patch, q=self.patch,
        )  # fmt: skip
        return velocity[:, :count]

    def patches(self, latents: Tensor, frames: int) -> Tensor:
        """Latents (B, T, C, h, h) as patches (B, t, y, x, n); T is filled with zeros to groups."""
        latents = F.pad(latents, (0, 0, 0, 0, 0, 0, 0, -latents.shape[1] % frames))
        return rearrange(
            latents,
            "b (t r) c (y p) (x q) -> b t y x (r c p q)",
            r=frames, p=self.patch, q=self.patch,
        )  # fmt: skip

    def places(self, tokens: Tensor) -> Tensor:
        """Features of each token's time, y and x: (t, y, x, 3 * POSITION_FEATURES)."""
        _, t, y, x, _ = tokens.shape
        steps = (self.frames, self.patch, self.patch)
        axes = (
            step * torch.arange(n, device=tokens.device, dtype=torch.float32)
            for step, n in zip(steps, (t, y, x), strict=True)
        )
        grids = torch.meshgrid(*axes, indexing="ij")
        return torch.cat([sinusoids(grid, POSITION_FEATURES) for grid in grids], -1)
