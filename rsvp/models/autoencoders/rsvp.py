"""The scene/object/motion autoencoder.

A clip becomes three latents on a grid of an eighth of the resolution: **scene** (what stays) and
**object** (what moves), both from the context frames alone, and **motion** of each frame. The last
context frame is the reference. Motion is anchored to it: the latent of a cell says where the
reference's content of that cell has gone, and what is new there. So the path of a thing is a smooth
function of time in a fixed cell, which the predictor continues.

The decoder may copy from the context. The scene image is a mixture of the context frames, filled
and corrected where none shows it. The object layer is the reference less its share of the scene,
premultiplied by the mask (Porter and Duff, "Compositing digital images", 1984, section 3), and
moved. Motion also carries content, as a residual image, so that new things can appear. Without
motion, frames are the reference.

Scene and object latents are encoded from these layers, and hold them by themselves
(`rsvp.models.autoencoders.layer_latents`): frames can be decoded from latents alone.

Height and width must be multiples of 16. Shapes: B clips, T frames of H by W pixels, h = H / 8,
w = W / 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from rsvp.data.latents import TemporalScope
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.layer_latents import LayerLatents, Layers
from rsvp.models.layers import FACTOR, FrameEncoder, ResidualBlock, head
from rsvp.models.warping import (
    backward_displacement,
    binomial,
    compressed,
    expanded,
    fill,
    pixel_grid,
    refine,
    sample,
)

DEPTH_RANGE = 3.0  # weights of overlapping content in splatting span exp(-3) to exp(3)


@dataclass
class Context(Layers):
    """Layers of the context frames, and the latents that hold them.

    B clips, Tc context frames of H by W pixels, h = H / 8 and w = W / 8 latent cells.
    """

    frames: Tensor  # (B, Tc, C, H, W), the observed frames
    scene: Tensor  # (B, Cs, h, w)
    object: Tensor  # (B, Co, h, w)
    skip: Tensor  # (B, C, H/4, W/4)
    depth: Tensor  # (B, 1, H/2, W/2), log weight where moved content overlaps

    @property
    def reference(self) -> Tensor:
        """The last context frame, (B, C, H, W)."""
        return self.frames[:, -1]


@dataclass
class DecodedFrames:
    """Decoded frames and their layers; colours in [-1, 1]."""

    frames: Tensor  # (B, T, C, H, W)
    scene: Tensor  # (B, T, C, H, W), the scene image, moved with the camera
    mask: Tensor  # (B, T, 1, H, W) in [0, 1], where the object layer covers the scene
    layers: Tensor  # (B, T, C, H, W), scene and object without the residual
    displacement: Tensor  # (B, T, 2, H/2, W/2), where the reference's content goes, in pixels


class ContextEncoder(nn.Module):
    """Scene and object latents, and the layers of the reference, from the context frames."""

    def __init__(
        self,
        width: int,
        scene_channels: int,
        object_channels: int,
        colours: int,
        ablation: str | None = None,
    ) -> None:
        super().__init__()
        half = width // 2
        self.colours = colours  # channels of frames
        self.ablation = ablation
        self.frames = FrameEncoder(3 * colours, width)
        self.merge_half = nn.Conv2d(width, half, 1)
        self.merge = nn.Sequential(nn.Conv2d(2 * width, width, 1), ResidualBlock(width))
        self.latents = LayerLatents(width, scene_channels, object_channels, colours)
        self.to_quarter = nn.Sequential(ResidualBlock(width), nn.Conv2d(width, 4 * half, 1))
        self.to_half = ResidualBlock(half)
        self.choice = head(2 * half, 4)
        self.layers = head(half, 4 * (2 + colours), gain=0.1)
        self.mask = nn.Sequential(
            nn.Conv2d(4 * 2 * colours + half, half, 3, padding=1),
            ResidualBlock(half),
            head(half, 4),
        )

    def forward(
        self, context: Tensor, scene: Tensor | None = None, object_: Tensor | None = None
    ) -> Context:
        """Encode context frames (b t 3 H W); latents that are given replace their own."""
        count = context.shape[1]
        reference = context[:, -1:].expand_as(context)
        difference = context - context.mean(1, keepdim=True)  # b t 3 H W
        halves, quarters = self.frames(torch.cat([context, reference, difference], 2).flatten(0, 1))
        halves = halves.unflatten(0, (-1, count))  # b t c/2 H/2 W/2
        quarters = quarters.unflatten(0, (-1, count))  # b t c H/4 W/4
        skip_half = self.merge_half(torch.cat([halves.mean(1), halves.amax(1)], 1))  # b c/2 H/2 W/2
        skip = self.merge(torch.cat([quarters.mean(1), quarters.amax(1)], 1))  # b c H/4 W/4
        detail = skip_half + F.pixel_shuffle(self.to_quarter(skip), 2)
        detail = self.to_half(detail)  # b c/2 H/2 W/2
        background, mask, depth = self.reference_layers(context, halves, detail)
        layers = Layers(background, context[:, -1] - (1.0 - mask) * background, mask)
        own = self.latents.encode(layers)
        if scene is None and object_ is None:
            scene, object_ = own
        else:
            scene, object_ = (
                own[0] if scene is None else scene,
                own[1] if object_ is None else object_,
            )
            layers = self.latents.replace(layers, own, (scene, object_))
        return Context(
            **vars(layers), frames=context, scene=scene, object=object_, skip=skip, depth=depth
        )

    def reference_layers(
        self, context: Tensor, halves: Tensor, detail: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return scene image, mask of what moves, and its depth.

        The scene image is a mixture of the context frames by pixel, since an object that moves
        uncovers its background. It is filled from around and corrected where no frame shows it.
        """
        count = context.shape[1]
        own = torch.cat([halves, repeat(detail, "b c h w -> b t c h w", t=count)], 2)
        choice = F.pixel_shuffle(self.choice(own.flatten(0, 1)), 2)
        choice = choice.unflatten(0, (-1, count)).softmax(1)  # b t 1 H W
        layers = F.pixel_shuffle(self.layers(detail), 2)
        unseen, correction, depth = layers.split([1, self.colours, 1], 1)
        seen = 1.0 - torch.sigmoid(unseen - 2.0)
        background = fill((choice * context).sum(1), seen) + (1.0 - seen) * correction
        depth = DEPTH_RANGE * torch.tanh(F.avg_pool2d(depth, 2))
        reference = context[:, -1]
        if self.ablation == "one_layer":
            return reference, torch.ones_like(reference[:, :1]), depth
        # Moving things differ from the scene behind them: the difference draws the mask's outline.
        images = F.pixel_unshuffle(torch.cat([reference - background, reference], 1), 2)
        shown = F.pixel_shuffle(self.mask(torch.cat([images, detail], 1)), 2)
        if self.ablation == "random_mask":  # its network is not trained, nor what it reads for it
            shown = shown.detach()
        mask = torch.sigmoid(binomial(shown) - 1.0)
        # Where nothing moves the scene is copied from the reference, which keeps its detail.
        # The mask is widened, since its soft edge would leave a trace of the object behind.
        widened = F.max_pool2d(mask, 3, 1, 1)
        return reference + widened * (background - reference), mask, depth


class MotionEncoder(nn.Module):
    """Motion of frames relative to the reference: global matching, then convolutions.

    Each quarter-resolution cell of the reference is matched with all cells of the frame (global
    matching: Xu et al., "GMFlow", 2022, section 3.2): no search range bounds displacements. The
    images then refine the match to a small part of a pixel (`refine`), which the predictor needs to
    continue a motion. The convolutions compare both ends and correct the displacement.
    """

    def __init__(
        self,
        width: int,
        scene_channels: int,
        object_channels: int,
        channels: int,
        scale: float,
        colours: int,
    ) -> None:
        super().__init__()
        self.scale = scale  # cells, of `compressed`
        self.frames = FrameEncoder(colours, width)
        self.match = nn.Conv2d(width, width, 1)
        self.log_sharpness = nn.Parameter(torch.tensor(2.7))  # of likeness, in `find`
        self.log_nearness = nn.Parameter(torch.tensor(-4.0))
        self.latents = nn.Conv2d(scene_channels + object_channels, 4 * width, 1)
        self.merge = nn.Sequential(
            nn.Conv2d(4 * width + 2, width, 1), ResidualBlock(width), ResidualBlock(width)
        )
        self.down = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * width, 2 * width, 1), ResidualBlock(2 * width)
        )
        self.motion = head(2 * width, channels, gain=0.1)

    def forward(self, frames: Tensor, context: Context) -> Tensor:
        """Encode motion (b t Cm h w) of frames (b t 3 H W), each by itself.

        The first two channels are the displacement of moving content, `compressed` from latent
        cells. They start from the match and are zero in cells where nothing of the reference moves.
        All channels are differences from the motion found in the reference itself: still content
        has none.
        """
        frames = torch.cat([frames, context.reference[:, None]], 1)  # b t+1 3 H W
        count = frames.shape[1]
        _, there = self.frames(frames.flatten(0, 1))  # bt c H/4 W/4
        own = each_frame(there.unflatten(0, (-1, count))[:, -1], count)
        displacement = self.refined(self.find(own, there), frames, context)  # bt 2 H/4 W/4
        found = sample(there, displacement)
        latents = F.pixel_shuffle(self.latents(torch.cat([context.scene, context.object], 1)), 2)
        latents = each_frame(latents + context.skip, count)  # bt c H/4 W/4
        displacement = displacement * (4.0 / FACTOR)  # now in latent cells
        x = torch.cat([own, latents, found - own, there - own, displacement], 1)
        motion = self.motion(self.down(self.merge(x)))  # bt Cm h w
        mask = each_frame(F.avg_pool2d(context.mask, 4), count)  # bt 1 H/4 W/4
        base = F.avg_pool2d((mask + 1e-2) * displacement, 2) / F.avg_pool2d(mask + 1e-2, 2)
        # Where nothing moves, a displacement would only be noise to predict.
        moving = (4.0 * F.avg_pool2d(mask, 2)).clamp(max=1.0)  # bt 1 h w
        motion = torch.cat([moving * (motion[:, :2] + base), motion[:, 2:]], 1)
        motion = motion.unflatten(0, (-1, count))  # b t+1 Cm h w
        displacement, content = (motion[:, :-1] - motion[:, -1:]).flatten(0, 1).tensor_split([2], 1)
        motion = torch.cat([compressed(displacement, self.scale), content], 1)  # bt Cm h w
        return motion.unflatten(0, (-1, count - 1))  # b t Cm h w

    def refined(self, displacement: Tensor, frames: Tensor, context: Context) -> Tensor:
        """Correct `displacement` (bt 2 H/4 W/4), in cells, by the images at half their size."""
        count = frames.shape[1]
        half = F.avg_pool2d(torch.cat([context.reference, context.mask], 1), 2)
        half = each_frame(half, count)
        start = F.interpolate(2.0 * displacement, scale_factor=2, mode="bilinear")
        there = F.avg_pool2d(frames.flatten(0, 1), 2)
        found = refine(start.detach(), half[:, :-1], there, half[:, -1:])
        # The gradient is that of the match.
        return displacement + F.avg_pool2d(0.5 * (found - start.detach()), 2)

    def find(self, own: Tensor, there: Tensor) -> Tensor:
        """Return the expected displacement (n 2 h w), in cells, of each cell of `own` in `there`.

        Both are features (n c h w). The match is by likeness and, weakly, by nearness. It is an
        attention whose values are positions, so that nothing of size (h w)^2 need be kept.
        """
        height, width = own.shape[-2:]
        sharpness, nearness = self.log_sharpness.exp(), self.log_nearness.exp()
        # In the weights' type: positions need more digits than bfloat16 has.
        grid = pixel_grid(height, width, sharpness).flatten(1).T.expand(len(own), -1, -1)  # n hw 2
        query, key = (
            rearrange(F.normalize(self.match(x), dim=1), "n c h w -> n (h w) c").to(grid)
            for x in (own, there)
        )
        # -nearness |x - y|^2 / 2 = nearness (x y - y^2 / 2) up to a term that softmax drops.
        square = -0.5 * grid.square().sum(-1, keepdim=True)
        query = torch.cat([sharpness * query, nearness * grid, nearness.expand_as(square)], -1)
        key = torch.cat([key, grid, square], -1)
        # Kernels that keep no matrix need queries and values of one length, a multiple of 8.
        length = -(-query.shape[-1] // 8) * 8
        query, key, value = (
            F.pad(x, (0, length - x.shape[-1]))[:, None] for x in (query, key, grid)
        )
        with torch.autocast(own.device.type, enabled=False):
            position = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0, :, :2]
        return rearrange(position - grid, "n (h w) c -> n c h w", h=height)


class Decoder(nn.Module):
    """Frames from motion and context: moved layers, and a residual of new content."""

    def __init__(
        self, width: int, object_channels: int, channels: int, scale: float, colours: int
    ) -> None:
        super().__init__()
        self.scale = scale  # cells, of `compressed`
        half = width // 2
        self.up = nn.Conv2d(channels + object_channels, 4 * width, 3, padding=1)
        self.to_quarter = ResidualBlock(width)
        self.move = head(width, 2, gain=0.1)
        self.camera = nn.Linear(channels, 2, bias=False)
        nn.init.zeros_(self.camera.weight)  # the camera starts at rest
        self.content = nn.Conv2d(width, 4 * half, 1)
        self.image = nn.Conv2d(4 * (3 * colours + 1), half, 3, padding=1)
        self.image_down = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * half, width, 1), ResidualBlock(width)
        )
        self.image_up = nn.Conv2d(width, 4 * half, 1)
        self.refine = ResidualBlock(half)
        self.residual = head(half, 4 * colours, gain=0.1)

    def forward(self, motion: Tensor, context: Context) -> DecodedFrames:
        """Decode motion (b t Cm h w) into t frames."""
        # A last frame without motion is added, and differences from it are learnt. So frames
        # without motion are the reference, and keep its detail.
        motion = F.pad(motion, (0, 0, 0, 0, 0, 0, 0, 1))  # b t+1 Cm h w
        count = motion.shape[1]

        def from_rest(x: Tensor) -> Tensor:
            x = x.unflatten(0, (-1, count))
            return (x - x[:, -1:]).flatten(0, 1)

        z = motion.flatten(0, 1)  # bt Cm h w
        features = torch.cat([z, each_frame(context.object, count)], 1)
        features = F.pixel_shuffle(self.up(features), 2)  # bt c H/4 W/4
        features = self.to_quarter(features + each_frame(context.skip, count))
        correction = from_rest(self.move(features))  # bt 2 H/4 W/4
        scene, layer, mask, displacement = self.moved_layers(z, correction, context, count)
        layers = (1.0 - mask) * scene + layer
        images = F.pixel_unshuffle(torch.cat([layers, scene, layer, mask], 1), 2)  # bt 40 H/2 W/2
        x = self.image(images) + F.pixel_shuffle(self.content(features), 2)  # bt c/2 H/2 W/2
        x = x + F.pixel_shuffle(self.image_up(self.image_down(x)), 2)
        residual = from_rest(F.pixel_shuffle(self.residual(self.refine(x)), 2))  # bt 3 H W
        frames, scene, mask, layers, displacement = (
            y.unflatten(0, (-1, count))[:, :-1]
            for y in (layers + residual, scene, mask.clamp(0.0, 1.0), layers, displacement)
        )
        return DecodedFrames(frames, scene, mask, layers, displacement)

    def moved_layers(
        self, motion: Tensor, correction: Tensor, context: Context, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Move the scene (bt 3 H W) with the camera, the object image and its mask by themselves.

        motion: (bt Cm h w). Also returns the displacement of content, (bt 2 H/2 W/2) in pixels.
        The camera moves the whole scene alike: a field of displacements would bend it.
        """
        displacement = self.displacement(motion, correction, each_frame(context.mask, count))
        background = each_frame(context.background, count)
        camera = FACTOR * self.camera(motion.mean((2, 3)))[:, :, None, None]  # bt 2 1 1
        scene = sample(background, camera.expand(-1, -1, *background.shape[2:]), "bicubic")
        layer, mask = self.object_layer(displacement, context, count)
        return scene, layer, mask, displacement

    def decode_alone(self, motion: Tensor, context: Context) -> Tensor:
        """Decode motion (b t Cm h w) into frames (b t 3 H W): moved layers, and nothing else."""
        count = motion.shape[1]
        z = motion.flatten(0, 1)
        rest = z.new_zeros(len(z), 2, *(2 * side for side in z.shape[-2:]))
        scene, layer, mask, _ = self.moved_layers(z, rest, context, count)
        return ((1.0 - mask) * scene + layer).unflatten(0, (-1, count))

    def displacement(self, motion: Tensor, correction: Tensor, mask: Tensor) -> Tensor:
        """Return the displacement (bt 2 H/2 W/2), in pixels, of the reference's content.

        The motion latent's displacement is interpolated between the cells that hold moving content
        (normalised convolution), then corrected in finer detail.
        """
        weight = F.avg_pool2d(mask, FACTOR) + 1e-2
        own = expanded(motion[:, :2], self.scale)
        coarse, share = (
            F.interpolate(x, scale_factor=2, mode="bilinear") for x in (weight * own, weight)
        )
        cells = coarse / share + correction
        return F.interpolate(FACTOR * cells, scale_factor=2, mode="bilinear")

    def object_layer(
        self, displacement: Tensor, context: Context, count: int
    ) -> tuple[Tensor, Tensor]:
        """Move the object image, premultiplied (bt 3 H W), and its mask (bt 1 H W)."""
        source = each_frame(torch.cat([context.object_image, context.mask], 1), count)
        weight = F.avg_pool2d(source[:, -1:], 2) * each_frame(context.depth, count).exp()
        # Splatting works at half the resolution, where a cell is two pixels wide.
        origin, coverage = backward_displacement(weight, displacement / 2.0, scale=2)
        moved = sample(source, origin, "bicubic") * (4.0 * coverage).clamp(max=1.0)
        return moved[:, :-1], moved[:, -1:]


def each_frame(x: Tensor, count: int) -> Tensor:
    """Repeat x (b c h w) for each of `count` frames: (bt c h w)."""
    return repeat(x, "b c h w -> (b t) c h w", t=count)


class RsvpAutoencoder(ClipAutoencoder):
    """Scene, object and motion of a clip, and frames from them (see the module's text)."""

    displacements = ("motion",)
    latent_noise = 0.02  # in latent units: smaller errors of the predictor stay small in frames

    def __init__(
        self,
        width: int,
        scene_channels: int,
        object_channels: int,
        motion_channels: int,
        displacement_scale: float = 1.0,
        colours: int = 3,
        ablation: str | None = None,
    ) -> None:
        super().__init__()
        scale = displacement_scale / FACTOR
        self.scopes = {
            "scene": TemporalScope.context,
            "object": TemporalScope.context,
            "motion": TemporalScope.frames,
        }
        self.motion_channels = motion_channels
        still = (scene_channels, object_channels)
        self.context = ContextEncoder(width, *still, colours, ablation)
        self.motion = MotionEncoder(width, *still, motion_channels, scale, colours)
        self.decoder = Decoder(width, object_channels, motion_channels, scale, colours)

    def encode_context(
        self, frames: Tensor, scene: Tensor | None = None, object_: Tensor | None = None
    ) -> Context:
        """Encode scene, object and layers of the observed frames (B, Tc, C, H, W) alone.

        A latent that is given, (B, C, h, w), replaces the frames' own; the detail stays theirs.
        """
        return self.context(frames, scene, object_)

    def decode_layers(self, scene: Tensor, object_: Tensor) -> Layers:
        """Decode the layers of scene and object latents (B, C, h, w), without a frame."""
        return self.context.latents.decode(scene, object_)

    def decode_alone(self, scene: Tensor, object_: Tensor, motion: Tensor) -> Tensor:
        """Decode frames (B, T, C, H, W) from latents alone: all skip connections are closed."""
        layers = self.decode_layers(scene, object_)
        layers.mask = layers.mask.clamp(0.0, 1.0)
        none = torch.zeros_like(layers.mask)
        context = Context(
            **vars(layers), frames=layers.frame[:, None], scene=scene, object=object_,
            skip=none, depth=F.avg_pool2d(none, 2),
        )  # fmt: skip
        return self.decoder.decode_alone(motion, context)

    def encode_motion(self, frames: Tensor, context: Context) -> Tensor:
        """Encode motion (B, T, Cm, h, w) of any frames (B, T, C, H, W), each by itself."""
        return self.motion(frames, context)

    def decode(self, motion: Tensor, context: Context) -> DecodedFrames:
        """Decode frames from motion (B, T, Cm, h, w)."""
        return self.decoder(motion, context)

    def noisy_shapes(
        self, clips: Sequence[int], context_frames: int, targets: int
    ) -> list[tuple[int, ...]]:
        grid = (clips[3] // FACTOR, clips[4] // FACTOR)
        return [(clips[0], targets, self.motion_channels, *grid)]

    @property
    def last_layer(self) -> Tensor:
        """Weights of the residual, the one part of frames that has colours of its own."""
        return self.decoder.residual[-1].weight

    def encode_clip(self, clips: Tensor, context_frames: int) -> tuple[dict[str, Tensor], Context]:
        context = self.encode_context(clips[:, :context_frames])
        motion = self.encode_motion(clips, context)
        return {"scene": context.scene, "object": context.object, "motion": motion}, context

    def context_with(self, latents: dict[str, Tensor], frames: Tensor) -> Context:
        return self.encode_context(frames, latents.get("scene"), latents.get("object"))

    def decode_future(self, latents: dict[str, Tensor], context: Context) -> Tensor:
        return self.decode(latents["motion"], context).frames
