"""Three planes of a clip: PVDM's latents (Yu et al., "Video probabilistic diffusion models in
projected latent space", 2023, section 3.1), of any size and length.

Features of a clip are summed along time, height or width, by weights that are learnt, into planes
xy (what is where), xt and yt (what moves, and when). The decoder puts the three together at each
place and time. Observed and future frames are two clips, each with planes of its own.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from rsvp.data.latents import TemporalScope
from rsvp.models.autoencoders.base import PlainAutoencoder
from rsvp.models.layers import (
    FrameEncoder,
    ImageDecoder,
    ResidualBlock,
    cell_colours,
    from_colours,
    head,
    normalisation,
)
from rsvp.models.regularisers import make_regulariser

# Each plane's summed axis of (b, c, t, y, x), and how it becomes (b, t, c, h, w).
PLANES = {"xy": (2, "b c y x -> b 1 c y x"), "xt": (3, "b c t x -> b t c 1 x"),
          "yt": (4, "b c t y -> b t c y 1")}  # fmt: skip


class VideoBlock(nn.Module):
    """x + convolutions of x, in space, then in time; (B, C, T, H, W) keeps its shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = normalisation(channels)
        self.space = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        count, height = x.shape[2:4]
        y = rearrange(F.silu(self.norm(x)), "b c t h w -> (b t) c h w")
        y = rearrange(F.silu(self.space(y)), "(b t) c h w -> b c t (h w)", t=count)
        return x + rearrange(self.time(y), "b c t (h w) -> b c t h w", h=height)


class PlaceMap(nn.Conv2d):
    """A linear map of the channels at each place of (B, C, T, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(3)).unflatten(3, x.shape[3:])


class Projection(nn.Module):
    """One plane (B, outputs, …) of features (B, C, T, H, W), summed along `axis`; the mean colours
    (B, 3, T, H, W) of what is seen there go straight to it (see `ImageEncoder`)."""

    def __init__(self, channels: int, outputs: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.weights = PlaceMap(channels, channels)
        self.plane = nn.Sequential(ResidualBlock(channels), head(channels, outputs))
        self.colours = from_colours(outputs)

    def forward(self, features: Tensor, colours: Tensor) -> Tensor:
        share = self.weights(features).softmax(self.axis)
        plane = self.plane((share * features).sum(self.axis))
        return plane + self.colours(colours.mean(self.axis))


class TriplaneEncoder(nn.Module):
    """Planes by name, (B, T, outputs, h, w) each with T, h or w of 1, of frames (B, T, 3, H, W)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        channels = 2 * width
        self.frames = FrameEncoder(3, width)
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, channels, 1))
        self.mix = nn.Sequential(
            PlaceMap(channels + 3, channels), VideoBlock(channels), VideoBlock(channels)
        )
        self.planes = nn.ModuleDict(
            {name: Projection(channels, outputs, axis) for name, (axis, _) in PLANES.items()}
        )

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        count = frames.shape[1]
        features = self.down(self.frames(frames.flatten(0, 1))[1])
        together = "(b t) c h w -> b c t h w"
        colours = rearrange(cell_colours(frames.flatten(0, 1)), together, t=count)
        features = rearrange(features, together, t=count)
        # A plane can only say where along its summed axis something is if features know.
        features = self.mix(torch.cat([features, coordinates(features)], 1))
        return {
            name: rearrange(plane(features, colours), PLANES[name][1])
            for name, plane in self.planes.items()
        }


class TriplaneDecoder(nn.Module):
    """Frames from planes by name, (B, T, C, h, w) each with T, h or w of 1."""

    def __init__(self, width: int, inputs: int) -> None:
        super().__init__()
        channels = 2 * width
        self.planes = nn.ModuleDict({name: nn.Linear(inputs, channels) for name in PLANES})
        self.mix = nn.Sequential(
            VideoBlock(channels), PlaceMap(channels, channels), VideoBlock(channels)
        )
        self.image = ImageDecoder(width, channels)

    def features(self, planes: dict[str, Tensor]) -> Tensor:
        """What is at each place and time, (B, T, C, h, w)."""
        parts = [layer(planes[name].movedim(2, -1)) for name, layer in self.planes.items()]
        together = parts[0] + parts[1] + parts[2]  # each is 1 wide along its summed axis
        return rearrange(self.mix(rearrange(together, "b t h w c -> b c t h w")),
                         "b c t h w -> b t c h w")  # fmt: skip

    def images(self, features: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) from features (B, T, C, h, w)."""
        return self.image(features.flatten(0, 1)).unflatten(0, features.shape[:2])


class TriplaneAutoencoder(PlainAutoencoder):
    """Latents "xy", "xt" and "yt" of the future, and of the context under "context_xy", …"""

    over_time = ("context_xt", "context_yt", "xt", "yt")

    def __init__(self, width: int, channels: int, regulariser: dict[str, Any]) -> None:
        super().__init__()
        self.scopes = {f"context_{name}": TemporalScope.context for name in PLANES}
        self.scopes |= dict.fromkeys(PLANES, TemporalScope.future)
        self.regulariser = make_regulariser(channels=channels, **regulariser)
        self.encoder = TriplaneEncoder(width, self.regulariser.outputs_per_channel * channels)
        self.decoder = TriplaneDecoder(width, channels)

    @property
    def last_layer(self) -> Tensor:
        return self.decoder.image.last_layer

    def encode_clip(self, clips: Tensor, context_frames: int) -> tuple[dict[str, Tensor], None]:
        planes = {}
        if context_frames:
            observed = self.encoder(clips[:, :context_frames])
            planes = {f"context_{name}": plane for name, plane in observed.items()}
        if clips.shape[1] > context_frames:
            planes |= self.encoder(clips[:, context_frames:])
        return {name: self.regulariser.encode(plane) for name, plane in planes.items()}, None

    def decode_future(self, latents: dict[str, Tensor], context: None) -> Tensor:
        planes = {name: self.regulariser.decode(latents[name]) for name in PLANES}
        return self.decoder.images(self.decoder.features(planes))

    def train_pass(
        self,
        clips: Tensor,
        context_frames: int,
        targets: Tensor,
        random: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        features, losses = [], []
        for clip in (clips[:, :context_frames], clips[:, context_frames:]):
            if not clip.shape[1]:
                continue
            shown = {}
            for name, plane in self.encoder(clip).items():
                shown[name], loss = self.regulariser.train_pass(plane, random)
                losses.append(loss)
            features.append(self.decoder.features(shown))
        frames = self.decoder.images(torch.cat(features, 1)[:, targets])
        return frames, torch.stack(losses).mean()


def coordinates(features: Tensor) -> Tensor:
    """Time, y and x of each place, from -1 to 1, (B, 3, T, H, W), for features (B, C, T, H, W)."""
    axes = [torch.linspace(-1.0, 1.0, n).to(features) for n in features.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return grid.expand(len(features), *grid.shape)
