"""Small images for people to look at: PNG files, and displacements as colours."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from rsvp.runtime.files import atomic_path


def write_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB (H, W, 3), or (H, W) or (H, W, 1) in grey, as a PNG."""
    done, content = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    assert done  # from memory to memory
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())


def colours_of_motion(displacement: Tensor) -> tuple[np.ndarray, float]:
    """Return displacements (2, H, W) in pixels, x first, as uint8 (H, W, 3), and the largest one.

    The hue is the direction, the strength is the length (Baker et al. 2011): white stands still,
    the fullest colour is the largest displacement.
    """
    from torchvision.utils import flow_to_image  # here, since torchvision takes two seconds to load

    largest = float(displacement.norm(dim=0).max())
    return flow_to_image(displacement.float()).permute(1, 2, 0).numpy(), largest


def motion_legend() -> np.ndarray:
    """Draw the colours' legend, uint8 (65, 65, 3): each place of a disc has its own direction.

    From the centre, which stands still, to the rim, the largest displacement.
    """
    steps = torch.linspace(-1.0, 1.0, 65)  # odd: 0, which stands still, is among them
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    inside = (x.square() + y.square()) <= 1.0
    return colours_of_motion(torch.stack([x, y]) * inside)[0]
