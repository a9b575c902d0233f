"""Datasets of LeRobot, v2.1 and v3.0: the episodes of one camera. Loads without torch.

meta/info.json says where videos lie (`video_path`). v2.1 has an mp4 of each episode, listed in
meta/episodes.jsonl; v3.0 has many episodes in an mp4, cut by `from_timestamp` and `to_timestamp` of
meta/episodes/**/*.parquet (lerobot/datasets/utils.py and lerobot_dataset.py, get_video_file_path).
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rsvp.data.formats.table import read_rows
from rsvp.data.sources import DAMAGED, Options, Rejected, Source, Span
from rsvp.runtime.errors import UserError, one_line

INFO = "meta/info.json"
COLUMNS = re.compile(r"episode_index|length|videos/.*/(chunk_index|file_index|\w+_timestamp)")
VERSIONS = ("v2.0", "v2.1", "v3.0")


def find(root: str, options: Options) -> Iterable[Source]:
    """Yield the episodes of a dataset's folder, seen by the camera of the options or the only one.

    UserError for another version, another camera, and metadata that is missing or broken.
    """
    try:
        info = json.loads(Path(root, INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{root}/{INFO}: cannot be read: {one_line(str(error))}") from None
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version not in VERSIONS:
        raise UserError(f"{root}/{INFO}: version {version}; known: {', '.join(VERSIONS)}")
    try:
        camera = chosen_camera(root, info, options.camera)
        sides = {episode: side for side, span in (info.get("splits") or {}).items()
                 for episode in range(*map(int, span.split(":")))}  # fmt: skip
        for row in episodes(root, version):
            number = int(row["episode_index"])
            name = f"episode_{number:06d}"
            try:
                path, span = place(row, version, camera, info)
            except Rejected as reason:
                yield Source(name, str(Path(root, INFO)), kind="lerobot", part=f"{DAMAGED}{reason}")
                continue
            yield Source(
                name, os.path.join(root, path), span=span,
                side=sides.get(number, ""), frames=int(row["length"]),
            )  # fmt: skip
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{root}/meta: episodes lack what {version} has: {error}") from None


def chosen_camera(root: str, info: dict[str, Any], wanted: str | None) -> str:
    """Return the key of the camera; UserError where it is none, or there are several."""
    features = info.get("features") or {}
    cameras = [key for key, feature in features.items() if feature.get("dtype") == "video"]
    if wanted is None and len(cameras) == 1:
        return cameras[0]
    if wanted in cameras:
        return wanted
    named = f"camera: {wanted}: none of" if wanted else "camera: missing; name one of"
    known = ", ".join(cameras) or "no video at all (frames in parquet are not read)"
    raise UserError(f"{root}: {named} the cameras, which are {known}")


def episodes(root: str, version: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the tables of episodes."""
    if version != "v3.0":
        yield from read_rows(os.path.join(root, "meta/episodes.jsonl"))
        return
    tables = sorted(Path(root, "meta/episodes").rglob("*.parquet"))
    if not tables:
        raise UserError(f"{root}: no table in meta/episodes; get the whole dataset")
    for table in tables:
        yield from read_rows(str(table), COLUMNS)


def place(
    row: dict[str, Any], version: str, camera: str, info: dict[str, Any]
) -> tuple[str, Span | None]:
    """Return the file that an episode lies in, below the dataset's folder, and its part of it.

    Rejected where the table does not say which.
    """
    if version != "v3.0":
        number = int(row["episode_index"])
        chunk = number // int(info["chunks_size"])
        names = {"episode_chunk": chunk, "episode_index": number, "video_key": camera}
        return info["video_path"].format(**names), None
    of = f"videos/{camera}"
    keys = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    chunk, file, start, stop = (row[f"{of}/{key}"] for key in keys)
    if chunk is None or file is None or start is None or stop is None or not 0 <= start < stop:
        raise Rejected(f"meta/episodes has it from {start} to {stop} s of file {chunk}-{file}")
    names = {"video_key": camera, "chunk_index": int(chunk), "file_index": int(file)}
    return info["video_path"].format(**names), Span(float(start), float(stop), "seconds")
