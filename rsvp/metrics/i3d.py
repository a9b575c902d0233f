"""I3D (Carreira & Zisserman 2017), the network of the Fréchet video distance.

A port of the TensorFlow graph `deepmind/i3d-kinetics-400/1`: RGB, trained from scratch on
Kinetics-400; the feature is its 400 logits. Padding is TensorFlow's SAME, which depends on the
size of the input and may be asymmetric; batch norm has no gamma and eps 1e-3, and is folded into
the convolution before it when weights are loaded.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rsvp.data.pixels import to_float
from rsvp.metrics.files import read_weights
from rsvp.runtime.errors import UserError

SIZE = 224  # pixels per side that the network sees
MINIMUM_FRAMES = 9  # fewer leave nothing for the last average pool, whose window is 2
LOGITS = 400
PREFIX = "RGB/inception_i3d/"
_EPSILON = 1e-3
_RESIZE = "bilinear, half-pixel centres, no antialiasing"

# Output channels of each inception block: branch 0; branch 1 (1×1×1, 3×3×3); branch 2 likewise;
# branch 3 (after the pool).
_MIXED = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
    """TensorFlow's SAME padding of (T, H, W), in the order that `functional.pad` takes."""
    padding: list[int] = []
    for length, width, step in zip(size, kernel, stride, strict=True):
        total = max((-(-length // step) - 1) * step + width - length, 0)
        padding = [total // 2, total - total // 2, *padding]
    return padding


class Unit(nn.Module):
    """Convolution with SAME padding, batch norm folded in, then ReLU."""

    def __init__(self, name: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.name = name  # TensorFlow's scope, below PREFIX
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *self.kernel))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, outputs, ceil(T / stride), …)."""
        x = functional.pad(x, same_padding(x.shape[2:], self.kernel, self.stride))
        return functional.relu(functional.conv3d(x, self.weight, self.bias, self.stride))


class Pool(nn.Module):
    """Max pool with SAME padding of minus infinity."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, ceil(T / stride), …)."""
        padding = same_padding(x.shape[2:], self.kernel, self.stride)
        return functional.max_pool3d(
            functional.pad(x, padding, value=float("-inf")), self.kernel, self.stride
        )


class Mixed(nn.Module):
    """An inception block: four branches side by side."""

    def __init__(self, name: str, inputs: int) -> None:
        super().__init__()
        first, second, third, last = _MIXED[name]
        # "0a_3x3" in Mixed_5b is an error of the original, kept in its variable's name.
        inner = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
        self.branches = nn.ModuleList(
            [
                Unit(f"{name}/Branch_0/Conv3d_0a_1x1", inputs, first, 1),
                nn.Sequential(
                    Unit(f"{name}/Branch_1/Conv3d_0a_1x1", inputs, second[0], 1),
                    Unit(f"{name}/Branch_1/Conv3d_0b_3x3", *second, 3),
                ),
                nn.Sequential(
                    Unit(f"{name}/Branch_2/Conv3d_0a_1x1", inputs, third[0], 1),
                    Unit(f"{name}/Branch_2/{inner}", *third, 3),
                ),
                nn.Sequential(
                    Pool((3, 3, 3), (1, 1, 1)),
                    Unit(f"{name}/Branch_3/Conv3d_0b_1x1", inputs, last, 1),
                ),
            ]
        )
        self.outputs = first + second[1] + third[1] + last

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) -> (B, outputs, T, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class I3D(nn.Module):
    """The network, a `detectors.Detector`.

    variables: TensorFlow's name -> float32 array in TensorFlow's order of axes.
    """

    minimum_frames = MINIMUM_FRAMES

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.trunk = _trunk()
        self.logits = nn.Conv3d(1024, LOGITS, 1)
        for unit in self.modules():
            if isinstance(unit, Unit):
                _load_unit(unit, variables)
        scope = f"{PREFIX}Logits/Conv3d_0c_1x1/conv_3d"
        self.logits.weight.data = _weight(variables[f"{scope}/w"])
        self.logits.bias.data = torch.from_numpy(variables[f"{scope}/b"].copy())
        self.requires_grad_(False)
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, 400) of (B, 3, T, 224, 224), float32 in [-1, 1], T at least 9."""
        if clips.shape[2] < MINIMUM_FRAMES:
            raise UserError(
                f"I3D: clips of {clips.shape[2]} frames; it needs {MINIMUM_FRAMES} or more: raise "
                "clip_frames, or read only the column of context and future together"
            )
        x = functional.avg_pool3d(self.trunk(clips), (2, 7, 7), stride=1)
        return self.logits(x).mean(dim=(2, 3, 4))

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """Logits (B, 400), float32, of uint8 clips (B, T, H, W, 3) of any size, T at least 9.

        Frames are resized to 224×224 (`_RESIZE`).
        """
        x = to_float(frames.permute(0, 1, 4, 2, 3))
        if x.shape[-2:] != (SIZE, SIZE):
            x = functional.interpolate(
                x.flatten(0, 1), size=(SIZE, SIZE), mode="bilinear", align_corners=False
            ).unflatten(0, frames.shape[:2])
        return self(x.transpose(1, 2).to(self.logits.weight.device))

    def protocol(self) -> dict[str, object]:
        """Return all that the features depend on, for the index of an evaluation."""
        return {
            "network": "I3D, RGB, from scratch on Kinetics-400, 400 logits",
            "input": f"{SIZE}×{SIZE}, [-1, 1]",
            "resize": _RESIZE,
            "padding": "SAME",
            "batch_norm_epsilon": _EPSILON,
            "minimum_frames": MINIMUM_FRAMES,
        }


def manifest() -> dict[str, dict[str, Any]]:
    """Return shape, offset, bytes and CRC-32C of the 230 tensors of the network, by name."""
    text = resources.files("rsvp.metrics").joinpath("i3d_manifest.json").read_text()
    return json.loads(text)["tensors"]


def values_bytes() -> int:
    """Size of TensorFlow's own file of values, `variables.data-00000-of-00001` of TF-Hub."""
    return sum(tensor["bytes"] for tensor in manifest().values())


def variables_of(values: np.ndarray) -> dict[str, np.ndarray]:
    """Cut all values, raw little-endian float32, into variables by TensorFlow's names."""
    return {
        name: values[tensor["offset"] // 4 :][: tensor["bytes"] // 4].reshape(tensor["shape"])
        for name, tensor in manifest().items()
    }


def load_variables(path: Path) -> dict[str, np.ndarray]:
    """Read the variables by TensorFlow's names from safetensors."""
    return {name: tensor.numpy() for name, tensor in read_weights(path, "weights.i3d").items()}


def checksum(values: np.ndarray) -> int:
    """CRC-32C (Castagnoli) of an array's bytes, as TensorFlow stores it for each tensor."""
    return google_crc32c.value(values.tobytes())


def check_manifest(variables: Mapping[str, np.ndarray], origin: Path) -> None:
    """UserError unless `variables` are the network of the FVD literature, tensor by tensor.

    The proof is the CRC-32C of each of the 230 tensors, from TensorFlow's own checkpoint index.
    """
    tensors = manifest()
    wrong = [name for name, tensor in tensors.items() if not _is_tensor(variables, name, tensor)]
    if wrong:
        raise UserError(
            f"weights.i3d: {origin}: not the network of the FVD literature (RGB from scratch on "
            f"Kinetics-400): {len(wrong)} of {len(tensors)} tensors are missing or differ, the "
            f"first is {wrong[0]}; rgb_imagenet.pt, for one, is another network"
        )


def _is_tensor(variables: Mapping[str, np.ndarray], name: str, tensor: dict[str, Any]) -> bool:
    """Check whether a variable is there, with the manifest's shape and bytes, as float32."""
    found = variables.get(name)
    return (
        found is not None
        and (list(found.shape), found.dtype) == (tensor["shape"], np.float32)
        and checksum(found) == tensor["crc32c"]
    )


def _trunk() -> nn.Sequential:
    """Everything before the last average pool: (B, 3, T, 224, 224) -> (B, 1024, T / 8, 7, 7)."""
    layers: list[nn.Module] = [
        Unit("Conv3d_1a_7x7", 3, 64, 7, stride=2),
        Pool((1, 3, 3), (1, 2, 2)),
        Unit("Conv3d_2b_1x1", 64, 64, 1),
        Unit("Conv3d_2c_3x3", 64, 192, 3),
        Pool((1, 3, 3), (1, 2, 2)),
    ]
    channels = 192
    for name in _MIXED:
        if name == "Mixed_4b":
            layers.append(Pool((3, 3, 3), (2, 2, 2)))
        if name == "Mixed_5b":
            layers.append(Pool((2, 2, 2), (2, 2, 2)))
        layers.append(Mixed(name, channels))
        channels = layers[-1].outputs
    return nn.Sequential(*layers)


def _weight(values: np.ndarray) -> Tensor:
    """TensorFlow's (T, H, W, inputs, outputs) as torch's (outputs, inputs, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(4, 3, 0, 1, 2)))


def _load_unit(unit: Unit, variables: Mapping[str, np.ndarray]) -> None:
    """Fold y = (conv(x) - mean) / sqrt(variance + eps) + beta into the convolution."""
    scope = f"{PREFIX}{unit.name}"
    mean, variance, beta = (
        torch.from_numpy(variables[f"{scope}/batch_norm/{name}"]).double().flatten()
        for name in ("moving_mean", "moving_variance", "beta")
    )
    scale = torch.rsqrt(variance + _EPSILON)
    weight = _weight(variables[f"{scope}/conv_3d/w"]).double() * scale.reshape(-1, 1, 1, 1, 1)
    unit.weight.data = weight.float()
    unit.bias.data = (beta - mean * scale).float()
