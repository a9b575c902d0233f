"""A dataset of generated videos on disk, as the stages before would leave it, without encoding."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from safetensors.numpy import save_file
from stored import write_frames

from rsvp.config.schema import Generated
from rsvp.data.generated import GeneratedVideo, generate_video
from rsvp.runtime.files import sha256_of_file, write_json
from rsvp.stages.generate_videos import TRUTH

CONTEXT, FUTURE, SIZE = 4, 8, 32
FIELDS = ["clip", "video", "class", "group", "split", "share", "offset", "start", "stride"]


def make_dataset(
    folder: Path, splits: Sequence[str], groups: Sequence[str] | None = None, truth: bool = True
) -> tuple[Path, list[GeneratedVideo]]:
    """The index of a dataset with one clip per video, of the named splits; and the videos.

    groups: of the videos, by default one each. truth: whether what is behind the frames is known.
    """
    length = CONTEXT + FUTURE
    videos = [
        generate_video(Generated(), (SIZE, SIZE), seed, length) for seed in range(len(splits))
    ]
    write_frames(folder / "frames/0", [video.frames for video in videos])
    rows = [
        (f"v{n}@000000", f"v{n}", "", groups[n] if groups else f"v{n}", split, 0, n * length, 0, 1)
        for n, split in enumerate(splits)
    ]
    pd.DataFrame(rows, columns=FIELDS).to_csv(folder / "clips.csv", index=False)
    for n, video in enumerate(videos):
        tensors = {name: getattr(video, name) for name in TRUTH}
        save_file(tensors, folder / f"v{n}.safetensors")
    write_json(folder / "index.json", {
        "dataset": "shapes", "resolution": SIZE, "clip_frames": length,
        "context_frames": CONTEXT, "frame_rate": 25.0, "augment": "all",
        "files": {"clips.csv": sha256_of_file(folder / "clips.csv")},
        "shares": [{"index": "frames/0/index.json",
                    "sha256": sha256_of_file(folder / "frames/0/index.json")}],
        "truth": "." if truth else None,
    })  # fmt: skip
    return folder / "index.json", videos
