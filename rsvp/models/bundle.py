"""Finished networks on disk: safetensors weights beside a small JSON index that names them."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsvp.errors import UserError
from rsvp.files import atomic_path, read_json, sha256_of_file, write_json


def save_bundle(weights: Path, index: Path, network: nn.Module, facts: dict[str, Any]) -> None:
    """Write a network's weights, then the index: the weights' hash and `facts`.

    `facts["arguments"]` are those of the network's constructor.
    """
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    with atomic_path(weights) as temporary:
        save_file(tensors, temporary)
    parameters = sum(p.numel() for p in network.parameters())
    own = {"weights": weights.name, "sha256": sha256_of_file(weights), "parameters": parameters}
    write_json(index, own | facts)


def read_bundle(index: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and facts of a bundle; UserError when a file is missing or broken."""
    facts = read_json(index)
    path = index.parent / facts["weights"]
    try:
        return load_file(path), facts
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable weights ({error}); run the stage again") from None
