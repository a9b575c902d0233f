"""Predicted frames on disk: lossless, in files of bounded size, read one clip at a time."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from rsvp.data.clips import Clips
from rsvp.data.contexts import Task, prefix_task
from rsvp.data.frames import ShardReader, ShardWriter, remove_leftovers
from rsvp.data.videos import side_by_side, write_video
from rsvp.runtime.files import fresh_folder, read_json, write_json
from rsvp.runtime.journal import Journal

SHARD_BYTES = 64 * 2**20
VIDEO_RATE = 8.0  # frames per second of the side-by-side videos: slow enough to compare


class PredictionWriter:
    """Writes the predictions of one row, clip by clip, beside `index_path`; resumed by `journal`.

    `header`: "row", "kind", "seed", "dataset", "split", "paired", "context_frames" and whatever
    else the index shall say. `shape`: of one clip's prediction, (K, F, R, R, 3): trajectories,
    future frames, pixels. Nothing has its final name until `finish`.
    """

    def __init__(
        self, index_path: str | Path, header: dict[str, Any], shape: Sequence[int], journal: Journal
    ) -> None:
        self.index_path = Path(index_path)
        self.header = header
        self.shape = tuple(shape)
        self.journal = journal
        left = journal.done or {"frames": None}
        per_shard = max(1, SHARD_BYTES // math.prod(self.shape))
        self.writer = ShardWriter(
            self.index_path.parent, self.shape, per_shard, resume=left["frames"]
        )
        done = left if self.writer.resumed else {"clips": [], "videos": []}
        self.clips: list[str] = done["clips"]
        self.videos: list[dict[str, str]] = done["videos"]

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.__exit__(kind, error, traceback)

    def append(self, clip: str, frames: torch.Tensor) -> None:
        """Add the prediction of `clip`: uint8 (K, F, R, R, 3)."""
        self.writer.append(frames.detach().cpu().numpy()[None])
        self.clips.append(clip)

    def checkpoint(self) -> None:
        """Save when it is time to: a killed run goes on here."""
        if self.journal.due:
            self.save()

    def save(self) -> None:
        """Note what is done."""
        frames = self.writer.checkpoint()
        self.journal.save({"clips": self.clips, "videos": self.videos, "frames": frames})

    def finish(self) -> dict[str, Any]:
        """Write the index, last."""
        self.writer.close()
        self.save()
        # Until the new index stands, none may: the old one would describe new files.
        self.index_path.unlink(missing_ok=True)
        shards = [
            {"file": shard["file"], "sha256": shard["sha256"], "clips": shard["items"]}
            for shard in self.writer.finish()
        ]
        trajectories, future, resolution = self.shape[:3]
        index = self.header | {
            "clips": self.clips,
            "trajectories": trajectories,
            "future_frames": future,
            "resolution": resolution,
            "shards": shards,
            "videos": self.videos,
        }
        write_json(self.index_path, index)
        remove_leftovers(self.index_path.parent, {shard["file"] for shard in shards})
        return index


class RowWriter:
    """Writes one row's predictions of clips, and small side-by-side videos for people.

    clips: where the row's clips come from; kind: predictor, baseline, ceiling or floor (whose clips
    are not the predictions' truth); trajectories: K; videos: how many clips get a video, the first
    trajectory beside the truth (of prefixes alone); task: which frames, by default those after
    the context. Leaving the `with` block without an error finishes the row.
    """

    def __init__(
        self,
        index_path: str | Path,
        clips: Clips,
        row: str,
        kind: str,
        seed: int,
        trajectories: int,
        videos: int,
        journal: Journal,
        task: Task | None = None,
    ) -> None:
        prefix = prefix_task(clips.context_frames, clips.clip_frames)
        task = task or prefix
        # Side by side, what is observed comes first.
        self.clips, self.most_videos = clips, videos if task == prefix else 0
        self.folder = Path(index_path).parent / "videos"
        header = {
            "row": row,
            "kind": kind,
            "seed": seed,
            "dataset": clips.index["dataset"],
            "split": clips.split,
            "paired": kind != "floor",
            "context_frames": len(task.observed),
        }
        if task != prefix:
            header |= {"observed": task.observed, "predicted": task.predicted}
        shape = (trajectories, len(task.predicted), clips.resolution, clips.resolution, 3)
        self.writer = PredictionWriter(index_path, header, shape, journal)
        self.videos = self.writer.videos  # [{"clip", "file"}] beside the index

    @property
    def done(self) -> int:
        """How many clips an earlier run has written: the first ones."""
        return len(self.writer.clips)

    def checkpoint(self) -> None:
        """Save when it is time to; after a batch, so that batches stay the same."""
        self.writer.checkpoint()

    def __enter__(self) -> "RowWriter":
        self.writer.__enter__()
        if not self.videos:
            fresh_folder(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.writer:
            if error is None:
                self.writer.finish()

    def add(self, i: int, frames: torch.Tensor) -> None:
        """Add the prediction of clip `i` of `clips`: uint8 (K, F, R, R, 3)."""
        clip = self.clips.table["clip"].iloc[i]
        self.writer.append(clip, frames)
        if len(self.videos) >= self.most_videos:
            return
        whole, observed = self.clips.frames(i).numpy(), self.clips.context_frames
        film = side_by_side(whole[:observed], whole[observed:], frames[0].cpu().numpy())
        name = f"{len(self.videos):05d}.mp4"
        write_video(self.folder / name, film, VIDEO_RATE)
        self.videos.append({"clip": clip, "file": f"videos/{name}"})


def task_in(index: dict[str, Any]) -> Task:
    """Which frames of its clips the row of an index predicts."""
    if "predicted" in index:
        return Task(index["observed"], index["predicted"])
    return prefix_task(index["context_frames"], index["context_frames"] + index["future_frames"])


class Predictions:
    """The predictions of one row, mapped into memory; iterates over (clip id, frames)."""

    def __init__(self, index_path: str | Path) -> None:
        self.index: dict[str, Any] = read_json(index_path)
        self.clips: list[str] = self.index["clips"]
        folder = Path(index_path).parent
        self.reader = ShardReader(folder, self.index["shards"], count="clips")

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for i, clip in enumerate(self.clips):
            yield clip, self.frames(i)

    def frames(self, i: int) -> torch.Tensor:
        """The prediction of the i-th clip: uint8 (K, F, R, R, 3), a copy."""
        return torch.from_numpy(self.reader.rows([i])[0])
