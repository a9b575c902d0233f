"""LPIPS v0.1 (Zhang et al. 2018) from local weights: as a metric, and as a training loss.

The only module that touches the package `lpips`, which downloads its backbone unless it is told
not to. Here the network is built without weights on the meta device, so that nothing can be
fetched and no random number is drawn, and then filled from safetensors files.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rsvp.metrics.files import read_weights
from rsvp.runtime.errors import UserError

# A tensor that tells the backbone, by torchvision's keys, and its shape.
_BACKBONES = {
    "alex": ("features.10.weight", (256, 256, 3, 3)),
    "squeeze": ("features.12.squeeze.weight", (64, 512, 1, 1)),
    "vgg": ("features.28.weight", (512, 512, 3, 3)),
}
_HEADS = {  # their channels
    "alex": (64, 192, 384, 256, 256),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
    "vgg": (64, 128, 256, 512, 512),
}
UNIT_EPSILON = 1e-10  # added to the length of features, as the package does
MINIMUM_SIZE = 32  # pixels per side; below it the backbones' pooling has nothing left


class PerceptualDistance(nn.Module):
    """LPIPS distance. Frozen, always in evaluation mode, differentiable in its inputs.

    backbone: path of torchvision's `features.*` weights of AlexNet, SqueezeNet 1.1 or VGG16
        (safetensors); the attribute `backbone` tells them apart: alex, squeeze or vgg.
    linear: path of the v0.1 linear heads (safetensors, keys `lin0.model.1.weight`, …). (Those that
        the package `lpips` carries are pickles, which rsvp does not load.)
    """

    def __init__(self, backbone: Path, linear: Path) -> None:
        super().__init__()
        features = read_weights(backbone, "weights.lpips_backbone")
        heads = read_weights(linear, "weights.lpips_linear")
        self.backbone = backbone_name(features, backbone)
        self.network = _empty_network(self.backbone)
        try:
            self.network.load_state_dict(self.values(features, heads), strict=True, assign=True)
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"weights.lpips_linear: {linear}: does not fit weights.lpips_backbone: {backbone} "
                f"({reason})"
            ) from None
        self.requires_grad_(False)
        self.eval()

    def values(self, features: dict[str, Tensor], heads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return all values of the network by the package's names.

        It calls backbone tensors net.slice<k>.<n>.…, where n is torchvision's index.
        """
        own = self.network.net.state_dict()
        values = {f"net.{name}": features[f"features.{name.split('.', 1)[1]}"] for name in own}
        scaling = self.network.scaling_layer.state_dict()
        values |= {f"scaling_layer.{name}": value for name, value in scaling.items()}
        for name, value in heads.items():  # the network lists each head twice: lin0 is lins.0
            values |= {name: value, f"lins.{name.removeprefix('lin')}": value}
        return values

    def forward(self, predicted: Tensor, real: Tensor) -> Tensor:
        """Distances (B,) of two batches (B, C, H, W), float in [-1, 1], H and W at least 32.

        Grey frames are seen as RGB of three equal channels.
        """
        check_size(predicted)
        predicted, real = (x.expand(-1, 3, -1, -1) for x in (predicted, real))
        return self.network(predicted, real).flatten()

    def embed(self, frames: Tensor) -> Tensor:
        """Vectors (B, D) of frames (B, C, H, W), whose squared Euclidean distance is LPIPS.

        The network's unit features, times the root of their head's weight over the pixels. So a
        frame that stands in several distances is seen once. Without gradient; `forward` has one.
        """
        check_size(frames)
        layers = self.network.net(self.network.scaling_layer(frames.expand(-1, 3, -1, -1)))
        layers = [values.movedim(1, -1) for values in layers]  # as channels-last frames lie
        sizes = [values[0].numel() for values in layers]
        vectors = frames.new_empty(len(frames), sum(sizes))
        for values, head, part in zip(layers, self.network.lins, vectors.split(sizes, dim=1),
                                      strict=True):  # fmt: skip
            norm = torch.linalg.vector_norm(values, dim=-1, keepdim=True).add_(UNIT_EPSILON)
            unit = torch.div(values, norm, out=part.unflatten(1, values.shape[1:]))
            unit.mul_((head.model[-1].weight.flatten() / values[0, ..., 0].numel()).sqrt())
        return vectors

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Stay in evaluation mode: the heads' dropout must never run."""
        return super().train(False)


def check_size(frames: Tensor) -> None:
    """UserError for frames (..., H, W) that are too small for the backbones."""
    if min(frames.shape[-2:]) < MINIMUM_SIZE:
        raise UserError(
            f"LPIPS: frames of {MINIMUM_SIZE} pixels per side or more are needed, not "
            f"{frames.shape[-2]}×{frames.shape[-1]}; raise the dataset's resolution or "
            "leave weights.lpips_backbone empty"
        )


def backbone_name(features: Mapping[str, Tensor], path: Path) -> str:
    """Name the backbone by the features themselves: alex, squeeze or vgg."""
    for name, (key, shape) in _BACKBONES.items():
        if key in features and features[key].shape == shape:
            return name
    raise UserError(
        f"weights.lpips_backbone: {path}: not the features of torchvision's AlexNet, "
        "SqueezeNet 1.1 or VGG16 (keys features.0.weight, …)"
    )


def heads_name(heads: Mapping[str, Tensor], path: Path) -> str:
    """Name the backbone of linear heads by the channels that they weigh."""
    channels = tuple(value.shape[1] for _, value in sorted(heads.items()) if value.ndim == 4)
    for name, known in _HEADS.items():
        if channels == known:
            return name
    raise UserError(
        f"weights.lpips_linear: {path}: not the v0.1 heads of LPIPS, which weigh {_HEADS}"
    )


def _empty_network(backbone: str) -> nn.Module:
    """Make the network of `backbone` without values, but for the constants that scale its input."""
    import lpips  # here, since it loads torchvision, which takes two seconds

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # torchvision's deprecated `pretrained`, used by lpips
        network = lpips.LPIPS(
            pretrained=False, net=backbone, version="0.1", pnet_rand=True, verbose=False
        )
    network.scaling_layer = lpips.ScalingLayer()
    return network
