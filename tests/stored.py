"""Frames, predictions and latents on disk, as stages store them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rsvp.data.frames import KEY
from rsvp.data.latents import Latents, LatentWriter
from rsvp.data.timeline import CHANGES, TIMES
from rsvp.runtime.files import write_json
from rsvp.runtime.journal import StateKey
from rsvp.runtime.parts import PartWriter

ANY = StateKey(None, "")


def write_frames(
    folder: Path,
    chunks: Iterable[np.ndarray],
    times: np.ndarray | None = None,
    changes: np.ndarray | None = None,
    **index: Any,
) -> Path:
    """Write a frame cache of chunks (n, R, R, 3); return its index.

    times, changes: of all frames; by default 25 a second, and each another than that before it.
    """
    parts, done = PartWriter(folder, folder / "state", ANY, "frames"), 0
    for chunk in chunks:
        rows = np.arange(done, done + len(chunk))
        columns = {
            TIMES: rows / 25 if times is None else times[rows],
            CHANGES: np.ones(len(rows), np.float32) if changes is None else changes[rows],
        }
        parts.append({KEY: chunk} | columns, len(chunk))
        done += len(chunk)
    write_json(folder / "index.json", {"videos": [], "rejected": []} | index
               | {"parts": parts.finish()})  # fmt: skip
    return folder / "index.json"


def write_predictions(
    path: Path, header: dict[str, Any], futures: Mapping[str, np.ndarray]
) -> None:
    """Write the predictions (K, F, R, R, 3) of clips."""
    parts = PartWriter(path.parent, path.parent / "state", ANY, "frames")
    for frames in futures.values():
        parts.append({KEY: frames[None]})
    trajectories, future, resolution = frames.shape[:3]
    shape = {"trajectories": trajectories, "future_frames": future, "resolution": resolution}
    write_json(path, header | shape
               | {"clips": list(futures), "videos": [], "parts": parts.finish()})  # fmt: skip


def write_latents(
    folder: Path,
    metadata: dict[str, Any],
    clips: list[str],
    latents: dict[str, Tensor],
    noise: float = 0.1,
) -> Latents:
    """Write training clips' latents, and read them."""
    writer = LatentWriter(PartWriter(folder, folder / "state", ANY, "train"))
    writer.add(clips, latents)
    statistics, splits = writer.results(noise), {"train": writer.finish()}
    write_json(folder / "index.json", metadata | {"statistics": statistics, "splits": splits})
    return Latents(folder / "index.json", "train")
