"""Scene, object and motion of the examples, from the pictures that measure_semantics kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rsvp.report.panels import Panel, data_uri
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json


class Views:
    """What one autoencoder makes of test clips, or the reason why nothing is known."""

    def __init__(self, index_path: Path | None, reason: str = "") -> None:
        self.reason = reason
        self.clips: dict[str, dict[str, Any]] = {}
        self.legend = ""  # data URI of what the colours of motion mean
        if index_path is None:
            return
        index = read_json(index_path)
        self.folder = Path(index_path).parent
        self.clips = {view["clip"]: view for view in index.get("views") or []}
        if not self.clips:
            self.reason = index.get("reason") or "its autoencoder has no such latents"
            return
        self.legend = data_uri("image/png", read_bytes(self.folder / index["legend"]))

    def panels(self, clip: str, frames: int) -> list[Panel]:
        """Three still panels: scene image, object mask and motion; none if not known."""
        view = self.clips.get(clip)
        if view is None:
            return []
        labels = {
            "scene": "scene",
            "mask": "object mask",
            "motion": f"motion, max {view['motion_pixels']:.0f} px",
        }
        return [
            Panel(label, read_picture(self.folder / view[name])[None].repeat(frames, axis=0))
            for name, label in labels.items()
        ]


def read_views(semantics: Iterable[Path], autoencoder: str, seed: int) -> Views:
    """The views of one autoencoder under one seed, from the indexes semantics/…/index.json."""
    for path in semantics:
        index = read_json(path)
        if (index["autoencoder"], index["seed"]) == (autoencoder, seed):
            return Views(path)
    return Views(None, "they were not computed in this run")


def read_picture(path: Path) -> np.ndarray:
    """A picture file as uint8 RGB (H, W, 3)."""
    picture = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path}: no picture; run the stage that made it again")
    return picture[..., ::-1]


def read_bytes(path: Path) -> bytes:
    """A file's content; UserError where it is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes it again") from None
