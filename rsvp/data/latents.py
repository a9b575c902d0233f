"""The latent cache: every clip's latents by name, in files of bounded size.

Files hold tensors as the autoencoder made them; the index holds per-channel statistics of the
training split, by which readers normalise, and of which frames each latent speaks.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rsvp.config.schema import Augment
from rsvp.data.contexts import PREFIX
from rsvp.data.symmetries import turned_latents
from rsvp.runtime.files import atomic_path, read_json, sha256_of_file, write_json
from rsvp.runtime.journal import Journal

FILE_BYTES = 64 * 2**20
CONSTANT = 1e-6  # least standard deviation that a channel is divided by
logger = logging.getLogger(__name__)
NOTHING = {"files": {}, "statistics": {}, "waiting": None, "split": None}


class TemporalScope(Enum):
    """Frames that a latent encodes."""

    context = "context"  # the context frames, together
    future = "future"  # the future frames, together
    frames = "frames"  # (…, T, C, h, w): each frame by itself, given the context


def split_latents(
    latents: dict[str, Tensor], scopes: dict[str, TemporalScope], context_frames: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is observed, and what is to be predicted: (B, T, C, h, w) by name, in `scopes`' order.

    Latents of a clip, (B, …, C, h, w); one that speaks of frames together may lack T, which is
    then 1. Of the context alone, without future frames, the second part is empty.
    """
    observed, future = {}, {}
    for name, scope in scopes.items():
        if name not in latents:
            continue
        value = latents[name] if latents[name].dim() == 5 else latents[name].unsqueeze(1)
        if scope is not TemporalScope.future:
            observed[name] = value[:, :context_frames] if scope is TemporalScope.frames else value
        if scope is TemporalScope.future:
            future[name] = value
        elif scope is TemporalScope.frames and value.shape[1] > context_frames:
            future[name] = value[:, context_frames:]
    return observed, future


class Statistics:
    """Streaming mean and standard deviation per channel, float64."""

    def __init__(self, sums: dict[str, Any] | None = None) -> None:
        sums = sums or {"count": 0, "total": [], "squares": []}
        self.count = sums["count"]
        self.total = torch.tensor(sums["total"], dtype=torch.float64)
        self.squares = torch.tensor(sums["squares"], dtype=torch.float64)

    def add(self, latents: Tensor) -> None:
        """Take in latents (…, C, h, w)."""
        values = latents.double().flatten(-2).transpose(-1, -2).flatten(0, -2).cpu()  # (n, C)
        total, squares = values.sum(0), values.square().sum(0)
        self.total = self.total + total if self.count else total
        self.squares = self.squares + squares if self.count else squares
        self.count += len(values)

    def sums(self) -> dict[str, Any]:
        """All that there is to know, as JSON values; JSON keeps float64 exactly."""
        squares = self.squares.tolist()
        return {"count": self.count, "total": self.total.tolist(), "squares": squares}

    def result(self, noise: float) -> dict[str, list[float]]:
        """Mean and standard deviation of each channel, the latter with `noise` added to it.

        The decoder was trained to look through that much noise. A channel that holds less carries
        nothing, and would be blown up into something to learn if it were scaled to one.
        """
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0.0)
        deviation = (variance + noise**2).sqrt().clamp(min=CONSTANT)
        return {"mean": mean.tolist(), "deviation": deviation.tolist()}


class LatentWriter:
    """Writes latents clip by clip; `finish` writes the index.

    Files lie beside the index; those of earlier runs are removed when the new index is complete.
    `noise` is what the autoencoder's decoder was trained to look through, in latent units. What
    `journal` holds of a killed run is taken up: `done` clips of a split.
    """

    def __init__(
        self, index: Path, metadata: dict[str, Any], noise: float, journal: Journal
    ) -> None:
        self.index, self.metadata, self.noise, self.journal = index, metadata, noise, journal
        saved = journal.done or NOTHING
        if not self.holds(saved):
            logger.warning(
                "%s: files that its journal names are missing or broken; starting anew",
                journal.folder,
            )
            saved = NOTHING
        self.split: str | None = saved["split"]  # of the clips that wait
        self.files: dict[str, list[dict[str, Any]]] = dict(saved["files"])
        self.statistics = {kind: Statistics(sums) for kind, sums in saved["statistics"].items()}
        self.waiting: list[dict[str, Tensor]] = []  # clips of the newest file, not in it yet
        if saved["waiting"]:
            stacked = load_file(journal.folder / saved["waiting"])
            rows = range(len(next(iter(stacked.values()))))
            self.waiting = [{kind: x[row] for kind, x in stacked.items()} for row in rows]
        # Until the new index stands, none may: the old one would describe new files.
        index.unlink(missing_ok=True)

    def holds(self, saved: dict[str, Any]) -> bool:
        """Whether all files that a journal names are there whole."""
        entries = [entry for entries in saved["files"].values() for entry in entries]
        written = [entry for entry in entries if "sha256" in entry]
        waiting = [self.journal.folder / saved["waiting"]] if saved["waiting"] else []
        files = [self.index.parent / entry["file"] for entry in written]
        return all(path.is_file() for path in waiting + files) and all(
            sha256_of_file(path) == entry["sha256"]
            for path, entry in zip(files, written, strict=True)
        )

    def done(self, split: str) -> int:
        """How many clips of a split are written: the first ones."""
        return sum(len(entry["clips"]) for entry in self.files.get(split, []))

    def add(self, split: str, clips: Sequence[str], latents: dict[str, Tensor]) -> None:
        """Append a batch: each kind (B, …, C, h, w); the ids name the B clips.

        A kind is called as its latent, in another context than the prefix "context/latent".
        """
        self.split = split
        entries = self.files.setdefault(split, [])
        if split == "train":
            for kind, values in latents.items():
                # A latent is normalised alike in all contexts that it is made in.
                self.statistics.setdefault(kind.rpartition("/")[2], Statistics()).add(values)
        bytes_each = sum(values[0].numel() * 4 for values in latents.values())
        most = max(1, FILE_BYTES // bytes_each)
        for row, clip in enumerate(clips):
            if not entries or len(entries[-1]["clips"]) >= most:
                self.flush(split)
                entries.append({"file": f"{split}-{len(entries):05d}.safetensors", "clips": []})
            entries[-1]["clips"].append(clip)
            self.waiting.append(
                {kind: x[row].float().cpu().contiguous() for kind, x in latents.items()}
            )

    def checkpoint(self) -> None:
        """Save when it is time to: a killed run goes on here."""
        if self.journal.due:
            self.save()

    def save(self) -> None:
        """Note what is done, with the clips that wait beside it."""
        name = None
        if self.waiting:
            # Another name each time: the journal that stands names the file before.
            name = f"waiting-{sum(map(self.done, self.files)):09d}.safetensors"
            with atomic_path(self.journal.folder / name) as temporary:
                save_file(self.stacked(), temporary)
        sums = {kind: statistics.sums() for kind, statistics in self.statistics.items()}
        self.journal.save(
            {"files": self.files, "statistics": sums, "waiting": name, "split": self.split}
        )
        self.remove_waiting(name)

    def remove_waiting(self, kept: str | None = None) -> None:
        """Remove the files of waiting clips, but `kept`."""
        for path in self.journal.folder.glob("waiting-*.safetensors"):
            if path.name != kept:
                path.unlink()

    def stacked(self) -> dict[str, Tensor]:
        """The clips that wait, by kind."""
        kinds = self.waiting[0]
        return {kind: torch.stack([item[kind] for item in self.waiting]) for kind in kinds}

    def flush(self, split: str) -> None:
        """Write the clips that wait into the split's newest file."""
        if not self.waiting or split != self.split:
            return
        entry = self.files[split][-1]
        path = self.index.parent / entry["file"]
        with atomic_path(path) as temporary:
            save_file(self.stacked(), temporary)
        entry["sha256"] = sha256_of_file(path)
        self.waiting.clear()

    def finish(self) -> None:
        """Write the index, and remove files that it does not name."""
        self.save()
        statistics = {kind: sums.result(self.noise) for kind, sums in self.statistics.items()}
        write_json(self.index, self.metadata | {"statistics": statistics, "files": self.files})
        named = {entry["file"] for entries in self.files.values() for entry in entries}
        for path in self.index.parent.glob("*.safetensors"):
            if path.name not in named:
                path.unlink()


class Latents:
    """Reads the latents of one split, normalised, from memory-mapped files."""

    def __init__(self, index: Path, split: str) -> None:
        self.metadata = read_json(index)
        self.folder = index.parent
        self.statistics = {k: LatentStatistics(**v) for k, v in self.metadata["statistics"].items()}
        self.scopes = {
            name: TemporalScope(value) for name, value in self.metadata["scopes"].items()
        }
        self.context_frames: int = self.metadata["context_frames"]
        entries = self.metadata["files"].get(split, [])
        self.clips = [clip for entry in entries for clip in entry["clips"]]
        self.places = [(e["file"], row) for e in entries for row in range(len(e["clips"]))]
        self.opened: dict[str, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped files: another process maps its own."""
        return self.__dict__ | {"opened": {}}

    def batch(
        self, indices: Sequence[int], context: str = PREFIX, turns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Normalised latents of clips in one context, by kind: (B, …, C, h, w).

        Those of the frames of a context that observes none are not there. `turns` (B,): under
        which symmetry (`rsvp.data.symmetries`) of those that the dataset's `augment` has.
        Displacements turn with their places; encoders do not turn with what they see, so these are
        not quite the latents of turned clips.
        """
        latents = self.raw(indices, context)
        if turns is not None:
            augment = Augment[self.metadata["augment"]]
            latents = turned_latents(latents, turns, augment, self.metadata["displacements"])
        return {kind: self.statistics[kind].normalise(value) for kind, value in latents.items()}

    def raw(self, indices: Sequence[int], context: str) -> dict[str, Tensor]:
        """Latents of clips in one context, by kind, as the autoencoder made them."""
        rows = [(self.mapped(file), row) for file, row in (self.places[i] for i in indices)]
        before = "" if context == PREFIX else f"{context}/"
        return {
            kind: torch.stack([mapped[before + kind][row] for mapped, row in rows])
            for kind in self.statistics
            if before + kind in rows[0][0]
        }

    def mapped(self, file: str) -> dict[str, Tensor]:
        """The tensors of a file, of which only what is looked at is read."""
        if file not in self.opened:
            opened = safe_open(self.folder / file, "pt")
            self.opened[file] = {kind: opened.get_tensor(kind) for kind in opened.keys()}  # noqa: SIM118
        return self.opened[file]


@dataclass
class LatentStatistics:
    """Per-channel mean and standard deviation of a kind of latent."""

    mean: list[float]
    deviation: list[float]

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents (…, C, h, w) with zero mean and unit deviation over the training split."""
        mean, deviation = self.tensors(latents)
        return (latents - mean) / deviation

    def restore(self, latents: Tensor) -> Tensor:
        """The opposite of `normalise`."""
        mean, deviation = self.tensors(latents)
        return latents * deviation + mean

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Both as (C, 1, 1) of the type and device of `like`."""
        mean, deviation = (
            torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)
            for values in (self.mean, self.deviation)
        )
        return mean, deviation
