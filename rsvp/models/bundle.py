"""Finished networks on disk: safetensors weights beside a JSON index that names them."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, atomic_path, read_network_index, sha256_of_file, write_json


def save_bundle(weights: Path, index: Path, network: nn.Module, metadata: dict[str, Any]) -> None:
    """Write a network's weights, then the index: the weights' hash and the metadata.

    `metadata["arguments"]` are those of the network's constructor.
    """
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    with atomic_path(weights) as temporary:
        save_file(tensors, temporary)
    parameters = sum(p.numel() for p in network.parameters())
    own = {"weights": weights.name, "sha256": sha256_of_file(weights), "parameters": parameters}
    write_json(index, own | metadata)


def read_bundle(index: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and the metadata of a bundle.

    Raise UserError for a file that is missing, broken or of another bundle, and for the index of a
    stage that makes no network.
    """
    metadata = read_network_index(index)
    path = index.parent / metadata["weights"]
    try:
        tensors = load_file(path)
        if sha256_of_file(path) != metadata["sha256"]:
            raise UserError(f"{path}: not the weights that {index} names; run the stage again")
        return tensors, metadata
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable weights ({error}); run the stage again") from None


def start_from(network: nn.Module, arguments: dict[str, Any], folder: str, key: str) -> None:
    """Load the weights of the finished bundle in `folder` into a network.

    A UserError names the differences from `arguments`, those of the network's constructor, and the
    config's `key`.
    """
    tensors, metadata = read_bundle(Path(folder, INDEX))
    other = metadata["arguments"]
    differing = [name for name in arguments | other if arguments.get(name) != other.get(name)]
    if differing:
        found = ", ".join(f"{n} {other.get(n)} instead of {arguments.get(n)}" for n in differing)
        raise UserError(f"config: {key}: {folder} is built otherwise: {found}; make them equal")
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(f"config: {key}: {folder} holds a network of another kind") from None
