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
PREFIX = "RGB/inception_i3d/"
_EPSILON = 1e-3
_RESIZE = "bilinear, half-pixel centres, no antialiasing"
Variables = Mapping[str, np.ndarray]


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
    """TensorFlow's SAME padding of (T, H, W), in the order that `functional.pad` takes."""
    padding: list[int] = []
    for length, width, step in zip(size, kernel, stride, strict=True):
        total = max((-(-length // step) - 1) * step + width - length, 0)
        padding = [total // 2, total - total // 2, *padding]
    return padding


class Unit(nn.Module):
    """Convolution with SAME padding, batch norm folded in, then ReLU.

    scope: TensorFlow's, below PREFIX. The variables tell the channels and the size of the kernel.
    """

    def __init__(self, variables: Variables, scope: str, stride: int = 1) -> None:
        super().__init__()
        self.stride = (stride,) * 3
        mean, variance, beta = (
            torch.from_numpy(variables[f"{PREFIX}{scope}/batch_norm/{name}"]).double().flatten()
            for name in ("moving_mean", "moving_variance", "beta")
        )
        # y = (conv(x) - mean) / sqrt(variance + eps) + beta
        scale = torch.rsqrt(variance + _EPSILON)
        weight = _weight(variables[f"{PREFIX}{scope}/conv_3d/w"]).double()
        self.register_buffer("weight", (weight * scale.reshape(-1, 1, 1, 1, 1)).float())
        self.register_buffer("bias", (beta - mean * scale).float())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, outputs, ceil(T / stride), …)."""
        x = functional.pad(x, same_padding(x.shape[2:], self.weight.shape[2:], self.stride))
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

    def __init__(self, variables: Variables, name: str) -> None:
        super().__init__()

        def unit(scope: str) -> Unit:
            return Unit(variables, f"{name}/{scope}")

        # "0a_3x3" in Mixed_5b is an error of the original, kept in its variable's name.
        inner = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
        self.branches = nn.ModuleList(
            [
                unit("Branch_0/Conv3d_0a_1x1"),
                nn.Sequential(unit("Branch_1/Conv3d_0a_1x1"), unit("Branch_1/Conv3d_0b_3x3")),
                nn.Sequential(unit("Branch_2/Conv3d_0a_1x1"), unit(f"Branch_2/{inner}")),
                nn.Sequential(Pool((3, 3, 3), (1, 1, 1)), unit("Branch_3/Conv3d_0b_1x1")),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) -> (B, outputs, T, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class I3D(nn.Module):
    """The network, a `detectors.Detector`.

    variables: TensorFlow's name -> float32 array in TensorFlow's order of axes.
    """

    minimum_frames = MINIMUM_FRAMES

    def __init__(self, variables: Variables) -> None:
        super().__init__()
        # Before the last average pool: (B, 3, T, 224, 224) -> (B, 1024, T / 8, 7, 7).
        self.trunk = nn.Sequential(
            Unit(variables, "Conv3d_1a_7x7", stride=2),
            Pool((1, 3, 3), (1, 2, 2)),
            Unit(variables, "Conv3d_2b_1x1"),
            Unit(variables, "Conv3d_2c_3x3"),
            Pool((1, 3, 3), (1, 2, 2)),
            *(Mixed(variables, f"Mixed_3{letter}") for letter in "bc"),
            Pool((3, 3, 3), (2, 2, 2)),
            *(Mixed(variables, f"Mixed_4{letter}") for letter in "bcdef"),
            Pool((2, 2, 2), (2, 2, 2)),
            *(Mixed(variables, f"Mixed_5{letter}") for letter in "bc"),
        )
        scope = f"{PREFIX}Logits/Conv3d_0c_1x1/conv_3d"
        self.register_buffer("weight", _weight(variables[f"{scope}/w"]))
        self.register_buffer("bias", torch.from_numpy(variables[f"{scope}/b"].copy()))

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, 400) of (B, 3, T, 224, 224), float32 in [-1, 1], T at least 9."""
        if clips.shape[2] < MINIMUM_FRAMES:
            raise UserError(
                f"I3D: clips of {clips.shape[2]} frames; it needs {MINIMUM_FRAMES} or more: raise "
                "clip_frames, or read only the column of context and future together"
            )
        x = functional.avg_pool3d(self.trunk(clips), (2, 7, 7), stride=1)
        return functional.conv3d(x, self.weight, self.bias).mean(dim=(2, 3, 4))

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
        return self(x.transpose(1, 2).to(self.weight.device))

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


def load_i3d(path: Path) -> I3D:
    """Read I3D from safetensors; UserError where it is not the network of the FVD literature."""
    variables = load_variables(path)
    check_manifest(variables, path)
    return I3D(variables)


def load_variables(path: Path) -> dict[str, np.ndarray]:
    """Read the variables by TensorFlow's names from safetensors."""
    return {name: tensor.numpy() for name, tensor in read_weights(path, "weights.i3d").items()}


def checksum(values: np.ndarray) -> int:
    """CRC-32C (Castagnoli) of an array's bytes, as TensorFlow stores it for each tensor."""
    return google_crc32c.value(values.tobytes())


def check_manifest(variables: Variables, origin: Path) -> None:
    """UserError unless `variables` are the network of the FVD literature, tensor by tensor.

    The proof is the CRC-32C of each of the 230 tensors, from TensorFlow's own checkpoint index.
    """
    known = {
        name: (list(values.shape), values.dtype, checksum(values))
        for name, values in variables.items()
    }
    tensors = manifest()
    wrong = [
        name
        for name, tensor in tensors.items()
        if known.get(name) != (tensor["shape"], np.float32, tensor["crc32c"])
    ]
    if wrong:
        raise UserError(
            f"{origin}: not the network of the FVD literature (I3D, RGB, from scratch on "
            f"Kinetics-400): {len(wrong)} of {len(tensors)} tensors are missing or differ, the "
            f"first is {wrong[0]}; rgb_imagenet.pt, for one, is another network"
        )


def _weight(values: np.ndarray) -> Tensor:
    """TensorFlow's (T, H, W, inputs, outputs) as torch's (outputs, inputs, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(4, 3, 0, 1, 2)))
