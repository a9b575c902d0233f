"""Files of pretrained weights."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rsvp.runtime.errors import UserError


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """Read a safetensors file that the config names by `key`."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(
            f"{key}: {path}: no such file; correct the path or leave it empty"
        ) from None
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{key}: {path}: not a safetensors file ({error}); docs/weights.md says how to make one"
        ) from None
