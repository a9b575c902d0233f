"""Decode one share of a dataset's videos into the frame cache: small square frames, each once.

The videos of a share are those whose id's hash falls on it, so that adding a video leaves the
other shares as they are. Files that cannot be decoded are listed with the reason.
"""

import argparse
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rsvp.config import Dataset, Settings, SourceKind
from rsvp.data.decoding import Rejected, decode, ffmpeg_version, filters
from rsvp.data.frames import ShardWriter, remove_leftovers
from rsvp.data.sources import (
    Source,
    content_hash,
    list_sources,
    one_line,
    plain,
    share_of,
    sources_digest,
)
from rsvp.errors import UserError
from rsvp.files import write_json
from rsvp.stage import run_stage, stage_parser

logger = logging.getLogger("rsvp.decode")  # by hand: `python -m` runs this as __main__


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__)
    parser.add_argument("--share", type=int, required=True, help="which share, from 0")
    parser.add_argument(
        "--sources-digest",
        help="digest of the share's videos when the job was planned; others are refused",
    )
    parser.add_argument(
        "--videos-index",
        type=Path,
        help="index.json of a generated set; its folder holds the videos",
    )
    parser.add_argument("--index", type=Path, required=True, help="index to write (JSON)")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Decode the share and write its files and their index."""
    dataset = settings.dataset
    folder = source_folder(dataset, arguments.videos_index)
    sources = list_sources(folder, dataset.source, dataset.max_videos)
    share = [s for s in sources if share_of(s.id, dataset.decode_jobs) == arguments.share]
    bar = tqdm(share, desc="hash", unit="video", delay=2, leave=False)
    hashes = {source.id: content_hash(source) for source in bar}
    planned = arguments.sources_digest
    if planned and planned != sources_digest(share, hashes):
        raise UserError(
            f"{one_line(str(folder))}: videos changed after this job was planned;"
            " run snakemake again"
        )
    index = decode_share(share, hashes, folder, dataset, arguments.index)
    logger.info("%d videos, %d rejected", len(index["videos"]), len(index["rejected"]))
    return {
        "videos": len(index["videos"]),
        "rejected": len(index["rejected"]),
        "frames": sum(video["frames"] for video in index["videos"]),
        "ffmpeg": index["ffmpeg"],
    }


def source_folder(dataset: Dataset, videos_index: Path | None) -> Path:
    """Where the videos lie: beside the index of a generated set, else where the config says."""
    if dataset.source is SourceKind.generated:
        if videos_index is None:
            raise UserError("--videos-index: missing; a generated dataset needs it")
        return videos_index.parent
    if not dataset.path:
        raise UserError("config: path of the dataset: missing; name the folder of the videos")
    return Path(dataset.path)


def decode_share(
    share: list[Source], hashes: dict[str, str], folder: Path, dataset: Dataset, index_path: Path
) -> dict[str, Any]:
    """Write the frames of `share` beside `index_path`, then the index, then clean up."""
    resolution = dataset.resolution
    frame_shape = (resolution, resolution, 3)
    per_shard = max(1, dataset.shard_mb * 2**20 // (resolution * resolution * 3))
    index: dict[str, Any] = {
        "resolution": resolution,
        "resize": filters(dataset.resize),
        "ffmpeg": ffmpeg_version(dataset.ffmpeg),
        "frames_per_shard": per_shard,
    }
    with ShardWriter(index_path.parent, frame_shape, per_shard) as writer:
        videos, rejected = decode_videos(share, hashes, folder, dataset, writer)
        # Until the new index stands, none may: the old one would describe new files.
        index_path.unlink(missing_ok=True)
        shards = writer.finish()
    index["shards"] = [
        {"file": s["file"], "sha256": s["sha256"], "frames": s["items"]} for s in shards
    ]
    index |= {"videos": videos, "rejected": rejected}
    write_json(index_path, index)
    remove_leftovers(index_path.parent, {shard["file"] for shard in shards})
    return index


def decode_videos(
    share: Iterable[Source],
    hashes: dict[str, str],
    folder: Path,
    dataset: Dataset,
    writer: ShardWriter,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Append each video's frames to `writer`; returns the index's rows of videos and rejected."""
    videos: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    with tqdm(share, desc="decode", unit="video", mininterval=0.5) as bar:
        for source in bar:
            offset = writer.length
            row = {
                "id": source.id,
                "path": plain(os.path.relpath(source.path, folder.expanduser())),
            }
            try:
                decoded = decode(
                    source, writer.append, dataset.resolution, dataset.resize, dataset.fps,
                    dataset.ffmpeg,
                )  # fmt: skip
            except Rejected as reason:
                writer.rollback(offset)
                rejected.append(row | {"reason": str(reason)})
                warn(bar, f"rejected {row['path']}: {reason}")
                continue
            if decoded.damage:
                warn(bar, f"damaged {row['path']}: {decoded.frames} frames kept: {decoded.damage}")
            row |= {"class": source.class_name, "sha256": hashes[source.id]}
            row |= {"frames": decoded.frames, "offset": offset}
            probe = decoded.probe
            row |= {"fps": probe.fps, "width": probe.width, "height": probe.height}
            videos.append(row)
    return videos, rejected


def warn(bar: tqdm, message: str) -> None:
    """One line on the terminal, on a line of its own and not behind the bar."""
    bar.clear()
    logger.warning("%s", one_line(message))
    bar.refresh()


if __name__ == "__main__":
    main()
