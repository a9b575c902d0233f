"""Published weights in their own formats, turned into rsvp's safetensors once.

The only module that reads files which hold pickles. Checkpoints are read with torch's restricted
unpickler, which makes tensors and containers and runs nothing. TorchScript is a program, so
`torch.jit.load` could run what its author wrote: nothing but the explicit command
`rsvp weights` (`make weights`) calls this module.
"""

import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsvp.metrics import i3d, perceptual
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import atomic_path

TF_VALUES = "variables.data-00000-of-00001"  # in TF-Hub's archive, below variables/


def convert(source: Path, destination: Path) -> str:
    """Write the weights in `source` to `destination` (safetensors); the answer names them.

    Reads safetensors, PyTorch checkpoints, TorchScript, TF-Hub's archive of I3D and the values in
    it. UserError, and no file, where they are not those of a network that rsvp measures with.
    """
    tensors, what = recognise(read_tensors(source), source)
    with atomic_path(destination) as path:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return what


def read_tensors(source: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, by their names in it."""
    if not source.is_file():
        raise UserError(f"{source}: no such file; correct the path")
    try:
        if source.stat().st_size == i3d.values_bytes():
            return _i3d_values(source.read_bytes())
        if tarfile.is_tarfile(source):
            return _read_archive(source)
        if _is_torchscript(source):
            return _read_torchscript(source)
        try:
            return load_file(source)
        except SafetensorError:
            return _state_dict(torch.load(source, map_location="cpu", weights_only=True), source)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{source}: cannot be read as safetensors, a PyTorch checkpoint, TorchScript or "
            f"TF-Hub's archive ({reason})"
        ) from None


def recognise(tensors: Mapping[str, Tensor], source: Path) -> tuple[dict[str, Tensor], str]:
    """Choose the tensors that rsvp needs, under its own names, and name their network."""
    if any(tensor.ndim == 5 for tensor in tensors.values()):
        return i3d_variables(tensors, source), "I3D, RGB, from scratch on Kinetics-400"
    if any(name.startswith("features.") for name in tensors):
        # Without the classifier behind them.
        features = {key: value for key, value in tensors.items() if key.startswith("features.")}
        return features, f"LPIPS backbone, {perceptual.backbone_name(features, source)}"
    if "lin0.model.1.weight" in tensors:
        heads = {name: value for name, value in tensors.items() if name.startswith("lin")}
        return heads, f"LPIPS v0.1 heads, {perceptual.heads_name(heads, source)}"
    raise UserError(
        f"{source}: holds neither I3D (3-D convolutions), nor LPIPS's heads (lin0.model.1.weight, "
        "…), nor the features of AlexNet, SqueezeNet 1.1 or VGG16 (features.0.weight, …)"
    )


def i3d_variables(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Find the 230 variables of the FVD network, by TensorFlow's names and in its layout.

    Ports give them other names, so each is found by the CRC-32C of its content: the result is the
    network of the literature, bit for bit. Further tensors (a batch norm's gamma of ones, say) are
    left out.
    """
    manifest = i3d.manifest()
    names = {tensor["crc32c"]: name for name, tensor in manifest.items()}
    found: dict[str, np.ndarray] = {}
    for tensor in tensors.values():
        # A convolution's axes are in PyTorch's order, or in TensorFlow's already.
        for layout in [tensor, tensor.permute(2, 3, 4, 1, 0)] if tensor.ndim == 5 else [tensor]:
            values = np.ascontiguousarray(layout.detach().float().numpy())
            if name := names.get(i3d.checksum(values)):
                found[name] = values.reshape(manifest[name]["shape"])
    i3d.check_manifest(found, source)
    return {name: torch.from_numpy(values) for name, values in found.items()}


def _is_torchscript(source: Path) -> bool:
    """Check whether a file is a TorchScript archive: a zip that holds code."""
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return any("/code/" in name for name in archive.namelist())


def _read_archive(source: Path) -> dict[str, Tensor]:
    """Read the values of I3D in TF-Hub's archive."""
    with tarfile.open(source) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(TF_VALUES) else None
            if stream is not None and member.size == i3d.values_bytes():
                return _i3d_values(stream.read())
    raise UserError(f"{source}: holds no {TF_VALUES} of I3D's size, as TF-Hub's archive of it does")


def _i3d_values(content: bytes) -> dict[str, Tensor]:
    """Cut TensorFlow's file of values, raw little-endian float32, into variables."""
    values = torch.frombuffer(bytearray(content), dtype=torch.float32)
    return {
        name: values[tensor["offset"] // 4 :][: tensor["bytes"] // 4].reshape(tensor["shape"])
        for name, tensor in i3d.manifest().items()
    }


def _read_torchscript(source: Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a TorchScript module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # rsvp writes no TorchScript
        return dict(torch.jit.load(source, map_location="cpu").state_dict())


def _state_dict(loaded: object, source: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, also from below its "state_dict" or "model"."""
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise UserError(f"{source}: holds no tensors by name")
    return {
        str(name).removeprefix("module."): value
        for name, value in loaded.items()
        if isinstance(value, Tensor)
    }
