"""The latent cache: every clip's scene, object and motion, in files of bounded size.

Files hold tensors as the autoencoder made them; the index holds per-channel statistics of the
training split, by which readers normalise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rsvp.files import atomic_path, read_json, sha256_of_file, write_json

KINDS = ("scene", "object", "motion")
FILE_BYTES = 64 * 2**20


@dataclass
class Statistics:
    """Streaming mean and standard deviation per channel, float64."""

    count: int = 0
    total: Tensor | None = None
    squares: Tensor | None = None

    def add(self, latents: Tensor) -> None:
        """Take in latents (…, C, h, h)."""
        values = latents.double().flatten(-2).transpose(-1, -2).flatten(0, -2)  # (n, C)
        total, squares = values.sum(0), values.square().sum(0)
        self.count += len(values)
        self.total = total if self.total is None else self.total + total
        self.squares = squares if self.squares is None else self.squares + squares

    def result(self, noise: float) -> dict[str, list[float]]:
        """Mean and standard deviation of each channel, the latter with `noise` added to it.

        The decoder was trained to look through that much noise. A channel that holds less carries
        nothing, and would be blown up into something to learn if it were scaled to one.
        """
        assert self.total is not None and self.squares is not None
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0.0)
        deviation = (variance + noise**2).sqrt()
        return {"mean": mean.tolist(), "deviation": deviation.tolist()}


@dataclass
class LatentWriter:
    """Writes latents clip by clip; `finish` writes the index.

    Files lie beside the index; those of earlier runs are removed when the new index is complete.
    `noise` is what the autoencoder's decoder was trained to look through, in latent units.
    """

    index: Path
    facts: dict[str, Any]
    noise: float
    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    waiting: list[dict[str, Tensor]] = field(default_factory=list)
    statistics: dict[str, Statistics] = field(
        default_factory=lambda: {kind: Statistics() for kind in KINDS}
    )

    def add(self, split: str, clips: Sequence[str], latents: dict[str, Tensor]) -> None:
        """Append a batch: each kind (B, …, C, h, h); the ids name the B clips."""
        entries = self.files.setdefault(split, [])
        for kind in KINDS:
            if split == "train":
                self.statistics[kind].add(latents[kind])
        bytes_each = sum(latents[kind][0].numel() * 4 for kind in KINDS)
        most = max(1, FILE_BYTES // bytes_each)
        for row, clip in enumerate(clips):
            if not entries or len(entries[-1]["clips"]) >= most:
                self.flush(split)
                entries.append({"file": f"{split}-{len(entries):05d}.safetensors", "clips": []})
            entries[-1]["clips"].append(clip)
            self.waiting.append({kind: latents[kind][row].float().cpu() for kind in KINDS})

    def flush(self, split: str) -> None:
        """Write the clips that wait into the split's newest file."""
        if not self.waiting:
            return
        entry = self.files[split][-1]
        path = self.index.parent / entry["file"]
        tensors = {kind: torch.stack([item[kind] for item in self.waiting]) for kind in KINDS}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)
        entry["sha256"] = sha256_of_file(path)
        self.waiting.clear()

    def finish(self) -> None:
        """Write the index, and remove files that it does not name."""
        statistics = {kind: self.statistics[kind].result(self.noise) for kind in KINDS}
        write_json(self.index, self.facts | {"statistics": statistics, "files": self.files})
        named = {entry["file"] for entries in self.files.values() for entry in entries}
        for path in self.index.parent.glob("*.safetensors"):
            if path.name not in named:
                path.unlink()


class Latents:
    """Reads the latents of one split, normalised, from memory-mapped files."""

    def __init__(self, index: Path, split: str) -> None:
        self.facts = read_json(index)
        self.folder = index.parent
        self.statistics = {k: LatentStatistics(**v) for k, v in self.facts["statistics"].items()}
        entries = self.facts["files"].get(split, [])
        self.clips = [clip for entry in entries for clip in entry["clips"]]
        self.places = [(e["file"], row) for e in entries for row in range(len(e["clips"]))]
        self.opened: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self.batch([index]) for index in range(len(self)))

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Normalised latents of clips, by kind: (B, …, C, h, h)."""
        rows = [(self.slices(file), row) for file, row in (self.places[i] for i in indices)]
        return {
            kind: self.statistics[kind].normalise(
                torch.cat([slices[kind][row : row + 1] for slices, row in rows])
            )
            for kind in KINDS
        }

    def slices(self, file: str) -> dict[str, Any]:
        """The mapped tensors of a file."""
        if file not in self.opened:
            opened = safe_open(self.folder / file, "pt")
            self.opened[file] = {kind: opened.get_slice(kind) for kind in KINDS}
        return self.opened[file]


@dataclass
class LatentStatistics:
    """Per-channel mean and standard deviation of a kind of latent."""

    mean: list[float]
    deviation: list[float]

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents (…, C, h, h) with zero mean and unit deviation over the training split."""
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
