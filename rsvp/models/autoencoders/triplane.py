"""Three planes of a clip: PVDM's latents (Yu et al., "Video probabilistic diffusion models in
projected latent space", 2023, section 3.1), of any size and length.

Features of a clip are summed along time, height or width, by learnt weights, into planes xy
(appearance), xt and yt (motion along x and y). The decoder adds the three at each position and
time. Observed and future frames are two clips, each with planes of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from rsvp.data.latents import TemporalScope
from rsvp.data.micro_batches import MicroBatch
from rsvp.models.autoencoders.base import PlainAutoencoder
from rsvp.models.layers import (
    FACTOR,
    FrameEncoder,
    ImageDecoder,
    ResidualBlock,
    cell_colours,
    from_colours,
    head,
    normalisation,
)
from rsvp.models.regularisers import Drawn, make_regulariser

# Each plane's summed axis of (b c t y x), and the pattern that makes it (b t c h w).
PLANES = {"xy": (2, "b c y x -> b 1 c y x"), "xt": (3, "b c t x -> b t c 1 x"),
          "yt": (4, "b c t y -> b t c y 1")}  # fmt: skip


class VideoBlock(nn.Module):
    """x + convolutions of x (b c t h w), in space, then in time."""

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


class ChannelMap(nn.Conv2d):
    """A linear map of the channels at each position of (b c t h w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(3)).unflatten(3, x.shape[3:])


class Projection(nn.Module):
    """One plane of features (b c t h w), summed along `axis`.

    A skip connection adds the mean colours (b 3 t h w) along that axis (see `ImageEncoder`).
    """

    def __init__(self, channels: int, outputs: int, axis: int, colours: int) -> None:
        super().__init__()
        self.axis = axis
        self.weights = ChannelMap(channels, channels)
        self.plane = nn.Sequential(ResidualBlock(channels), head(channels, outputs))
        self.colours = from_colours(colours, outputs)

    def forward(self, features: Tensor, colours: Tensor) -> Tensor:
        share = self.weights(features).softmax(self.axis)  # b c t h w
        plane = self.plane((share * features).sum(self.axis))  # b outputs, and two of t h w
        return plane + self.colours(colours.mean(self.axis))


class TriplaneEncoder(nn.Module):
    """Planes by name, (b t outputs h w) with t, h or w of 1, of frames (b t 3 H W)."""

    def __init__(self, width: int, outputs: int, colours: int) -> None:
        super().__init__()
        channels = 2 * width
        self.frames = FrameEncoder(colours, width)
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * width, channels, 1))
        self.mix = nn.Sequential(
            ChannelMap(channels + 3, channels), VideoBlock(channels), VideoBlock(channels)
        )
        self.planes = nn.ModuleDict(
            {
                name: Projection(channels, outputs, axis, colours)
                for name, (axis, _) in PLANES.items()
            }
        )

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        count = frames.shape[1]
        features = self.down(self.frames(frames.flatten(0, 1))[1])  # bt c h w
        together = "(b t) c h w -> b c t h w"
        colours = rearrange(cell_colours(frames.flatten(0, 1)), together, t=count)
        features = rearrange(features, together, t=count)
        # A sum along an axis keeps positions along it only where features hold them.
        features = self.mix(torch.cat([features, coordinates(features)], 1))  # b c t h w
        return {
            name: rearrange(plane(features, colours), PLANES[name][1])
            for name, plane in self.planes.items()
        }


class TriplaneDecoder(nn.Module):
    """Frames from planes by name, (b t c h w) with t, h or w of 1."""

    def __init__(self, width: int, inputs: int, colours: int) -> None:
        super().__init__()
        channels = 2 * width
        self.planes = nn.ModuleDict({name: nn.Linear(inputs, channels) for name in PLANES})
        self.mix = nn.Sequential(
            VideoBlock(channels), ChannelMap(channels, channels), VideoBlock(channels)
        )
        self.image = ImageDecoder(width, channels, colours)

    def features(self, planes: dict[str, Tensor]) -> Tensor:
        """Add the planes at each position and time to features (b t c h w)."""
        parts = [layer(planes[name].movedim(2, -1)) for name, layer in self.planes.items()]
        together = parts[0] + parts[1] + parts[2]  # b t h w c; each is 1 wide along its summed axis
        return rearrange(self.mix(rearrange(together, "b t h w c -> b c t h w")),
                         "b c t h w -> b t c h w")  # fmt: skip

    def images(self, features: Tensor) -> Tensor:
        """Decode frames (b t 3 H W) from features (b t c h w)."""
        return self.image(features.flatten(0, 1)).unflatten(0, features.shape[:2])


class TriplaneAutoencoder(PlainAutoencoder):
    """Latents "xy", "xt" and "yt" of the future, and "context_xy", … of the context."""

    over_time = ("context_xt", "context_yt", "xt", "yt")

    def __init__(
        self, width: int, channels: int, regulariser: dict[str, Any], colours: int = 3
    ) -> None:
        super().__init__()
        self.scopes = {f"context_{name}": TemporalScope.context for name in PLANES}
        self.scopes |= dict.fromkeys(PLANES, TemporalScope.future)
        self.channels = channels
        self.regulariser = make_regulariser(channels=channels, **regulariser)
        outputs = self.regulariser.outputs_per_channel * channels
        self.encoder = TriplaneEncoder(width, outputs, colours)
        self.decoder = TriplaneDecoder(width, channels, colours)

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

    def noisy_shapes(
        self, clips: Sequence[int], context_frames: int, targets: int
    ) -> list[tuple[int, ...]]:
        count, frames, _, height, width = clips
        shapes = []
        for t in filter(None, (context_frames, frames - context_frames)):
            cells = (t, height // FACTOR, width // FACTOR)
            for axis, _ in PLANES.values():
                t, y, x = (1 if axis == place else n for place, n in enumerate(cells, 2))
                shapes.append((count, t, self.channels, y, x))
        return shapes

    def train_pass(
        self,
        clips: Tensor,
        context_frames: int,
        targets: Tensor,
        drawn: Sequence[Drawn],
        part: MicroBatch,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        features, losses, lessons, left = [], [], [], iter(drawn)
        for clip in (clips[:, :context_frames], clips[:, context_frames:]):
            if not clip.shape[1]:
                continue
            shown = {}
            for name, plane in self.encoder(clip).items():
                shown[name], loss, lesson = self.regulariser.train_pass(plane, next(left), part)
                losses.append(loss)
                lessons += [] if lesson is None else [lesson]
            features.append(self.decoder.features(shown))
        frames = self.decoder.images(torch.cat(features, 1)[:, targets])
        return frames, torch.stack(losses).mean(), lessons


def coordinates(features: Tensor) -> Tensor:
    """Return time, y and x (b 3 t h w) of features (b c t h w), each from -1 to 1."""
    axes = [torch.linspace(-1.0, 1.0, n).to(features) for n in features.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return grid.expand(len(features), *grid.shape)
