"""A small dataset made by hand, as decode and split leave one: squares that move over textures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from rsvp.runtime.files import sha256_of_file, write_json
from tests.stored import write_frames


def square(number: int, frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip of a bright square that moves over a dark texture, and its mask."""
    random = np.random.default_rng(number)
    background = random.integers(0, 90, (size // 4, size // 4, 3)).repeat(4, 0).repeat(4, 1)
    clip = np.repeat(background[None], frames, axis=0).astype(np.uint8)
    mask = np.zeros(clip.shape[:3], dtype=np.uint8)
    for frame in range(len(clip)):
        clip[frame, 10:20, 2 + frame : 12 + frame] = 150 + 10 * (number % 10)
        mask[frame, 10:20, 2 + frame : 12 + frame] = 1
    return clip, mask


def make_dataset(
    folder: Path,
    splits: Sequence[str],
    context: int,
    future: int,
    size: int,
    beyond: int = 0,
    augment: str = "none",
) -> Path:
    """Write clips of the named splits, two to a group; returns the dataset's index.

    Each video has one clip, and `beyond` frames after it.
    """
    length = context + future + beyond
    clips, masks = zip(*(square(n, length, size) for n in range(len(splits))), strict=True)
    write_frames(folder / "frames/0", clips)
    rows = [
        (f"v{n}@000000", f"v{n}", "", f"g{n // 2}", split, 0, n * length, 0, 1, length)
        for n, split in enumerate(splits)
    ]
    names = ["clip", "video", "class", "group", "split", "share", "offset", "start", "stride"]
    names.append("stop")
    pd.DataFrame(rows, columns=names).to_csv(folder / "clips.csv", index=False)
    for n, (clip, mask) in enumerate(zip(clips, masks, strict=True)):
        positions = np.zeros((length, 1, 3), np.float32)
        truth = {"alpha": 255 * mask[:, None], "positions": positions, "background": clip[0]}
        save_file(truth, folder / f"v{n}.safetensors")
    index = {
        "dataset": folder.name, "resolution": size,
        "clip_frames": context + future,
        "context_frames": context, "frame_rate": 25.0, "augment": augment,
        "files": {"clips.csv": sha256_of_file(folder / "clips.csv")},
        "shares": [{"index": "frames/0/index.json",
                    "sha256": sha256_of_file(folder / "frames/0/index.json")}],
        "truth": ".",
    }  # fmt: skip
    write_json(folder / "index.json", index)
    return folder / "index.json"
