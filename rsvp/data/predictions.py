"""Predicted frames on disk: lossless, in files of bounded size, read one clip at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rsvp.data.clips import Clips
from rsvp.data.contexts import Task, prefix_task
from rsvp.data.frames import KEY, PartReader
from rsvp.data.videos import side_by_side, write_video
from rsvp.runtime.files import fresh_folder, read_json, write_json
from rsvp.runtime.parts import PartWriter

STEM = "frames"  # begins the files' names
VIDEO_RATE = 8.0  # frames per second of the side-by-side videos: slow enough to compare


class RowWriter:
    """Writes one row's predictions of clips, and small side-by-side videos for people.

    index_path: the index to write; parts: the writer of the files beside it; clips: where the row's
    clips come from; kind: predictor, baseline, ceiling or floor (whose clips are not the
    predictions' truth); trajectories: K; videos: how many clips get a video, the first trajectory
    beside the truth (of prefixes alone); task: which frames, by default those after the context;
    point_forecast: the one trajectory is no sample.
    """

    def __init__(
        self,
        index_path: Path,
        parts: PartWriter,
        clips: Clips,
        row: str,
        kind: str,
        seed: int,
        trajectories: int = 1,
        videos: int = 0,
        task: Task | None = None,
        point_forecast: bool = False,
    ) -> None:
        prefix = prefix_task(clips.context_frames, clips.clip_frames)
        task = task or prefix
        self.index_path, self.parts, self.clips = index_path, parts, clips
        # Side by side, what is observed comes first.
        self.most_videos = videos if task == prefix else 0
        self.shape = (trajectories, len(task.predicted), *clips.shape)
        self.header = {
            "row": row,
            "kind": kind,
            "seed": seed,
            "dataset": clips.index["dataset"],
            "split": clips.split,
            "paired": kind != "floor",
            "context_frames": len(task.observed),
            "trajectories": trajectories,
            "future_frames": len(task.predicted),
            "resolution": clips.resolution,
            "channels": clips.shape[-1],
        }
        if point_forecast:
            self.header["point_forecast"] = True
        if task != prefix:
            self.header |= {"observed": task.observed, "predicted": task.predicted}
        self.note = parts.note or {"clips": [], "videos": []}
        parts.note = self.note
        if not self.note["videos"]:
            fresh_folder(index_path.parent / "videos")

    @property
    def done(self) -> int:
        """Count the clips that are written, those of earlier runs too: the first ones."""
        return len(self.note["clips"])

    def add(self, i: int, frames: torch.Tensor) -> None:
        """Add the prediction of clip `i` of `clips`: uint8 (K, F, H, W, C)."""
        if frames.dtype != torch.uint8 or frames.shape != self.shape:
            raise ValueError(f"expected uint8 {self.shape}, got {frames.dtype} {frames.shape}")
        clip = self.clips.table["clip"].iloc[i]
        self.parts.append({KEY: frames.detach().cpu().numpy()[None]})
        self.note["clips"].append(clip)
        if len(self.note["videos"]) >= self.most_videos:
            return
        whole, observed = self.clips.frames(i).numpy(), self.clips.context_frames
        video = side_by_side(whole[:observed], whole[observed:], frames[0].cpu().numpy())
        name = f"videos/{len(self.note['videos']):05d}.mp4"
        write_video(self.index_path.parent / name, video, VIDEO_RATE)
        self.note["videos"].append({"clip": clip, "file": name})

    def take(self, index_path: Path) -> None:
        """Take over the clips of another writer, whose folder lies below this one's."""
        index = read_json(index_path)
        self.parts.take(index_path, index["parts"])
        folder = index_path.parent.relative_to(self.index_path.parent)
        self.note["clips"] += index["clips"]
        self.note["videos"] += [
            video | {"file": (folder / video["file"]).as_posix()} for video in index["videos"]
        ]

    def finish(self) -> None:
        """Write the index, last."""
        noted = {key: self.note[key] for key in ("clips", "videos")}
        write_json(self.index_path, self.header | noted | {"parts": self.parts.finish()})


def task_in(index: dict[str, Any]) -> Task:
    """Return the frames of its clips that the row of an index predicts."""
    if "predicted" in index:
        return Task(index["observed"], index["predicted"])
    return prefix_task(index["context_frames"], index["context_frames"] + index["future_frames"])


class Predictions:
    """The predictions of one row, mapped into memory; iterates over (clip id, frames)."""

    def __init__(self, index_path: str | Path) -> None:
        self.index: dict[str, Any] = read_json(index_path)
        self.clips: list[str] = self.index["clips"]
        self.reader = PartReader(Path(index_path).parent, self.index["parts"])

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for i, clip in enumerate(self.clips):
            yield clip, self.frames(i)

    def frames(self, i: int) -> torch.Tensor:
        """Return the prediction of the i-th clip: uint8 (K, F, H, W, C), a copy."""
        return torch.from_numpy(self.reader.frames([i])[0])
