"""Detectors: networks whose features distances between sets of videos compare.

I3D is built in. Another one is a Python file of the user's own, which is imported and so runs with
the user's rights, as the config itself does; docs/weights.md has an example.
"""

import runpy
import traceback
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rsvp.runtime.device import full_precision
from rsvp.runtime.errors import UserError

CLASS = "Detector"  # in the Python file; made with (weights: Path | None, device)


class Detector(Protocol):
    """A network whose features are compared."""

    minimum_frames: int  # clips of fewer have no features

    def features(self, frames: Tensor) -> Tensor:
        """Features (B, D), float, of uint8 clips (B, T, H, W, 3) of any size.

        Scaling, resizing and choosing frames is the detector's own matter.
        """

    def protocol(self) -> dict[str, object]:
        """Return all that the features depend on: network, training data, input size, resize."""


def load_program(program: Path, weights: Path | None = None, *, device: torch.device) -> Detector:
    """Make the detector that a Python file defines; UserError in one line if it does not work."""
    try:
        defined = runpy.run_path(str(program), run_name=f"detector_{program.stem}")
        if CLASS not in defined:
            raise UserError(f"{program}: defines no class {CLASS}; see docs/weights.md")
        made = defined[CLASS](weights, device)
    except UserError:
        raise
    except Exception as error:
        raise UserError(_located(program, error)) from None
    for name in ("minimum_frames", "features", "protocol"):
        if not hasattr(made, name):
            raise UserError(f"{program}: its {CLASS} has no {name}; see docs/weights.md")
    return made


def clip_feature(detector: Detector, frames: Tensor) -> np.ndarray:
    """Return the features (D,) of one uint8 clip (T, H, W, C); UserError for other shapes.

    The detector sees grey frames as RGB of three equal channels.
    """
    with torch.no_grad(), full_precision():
        found = detector.features(frames[None].expand(-1, -1, -1, -1, 3))
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"detector: one clip's features are (1, D), not {shape}")
    if not torch.isfinite(found).all():
        raise UserError("detector: features are not finite")
    return found[0].float().cpu().numpy()


def _located(program: Path, error: Exception) -> str:
    """Describe an error in the user's file in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(program)]
    line = f", line {lines[-1]}" if lines else ""
    return f"{program}{line}: {type(error).__name__}: {' '.join(str(error).split())}"
