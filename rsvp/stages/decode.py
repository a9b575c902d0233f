"""Decode one share of a dataset's videos into the frame cache: small square frames, each once.

The videos of a share are those whose id's hash falls on it, so that adding a video leaves the
other shares as they are. Files that cannot be decoded are listed with the reason.
"""

import argparse
import logging
import os
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rsvp.config.schema import Dataset, SourceKind
from rsvp.config.stages import Settings
from rsvp.data.decoding import Decoding, Rejected, ffmpeg_version, filters
from rsvp.data.frames import SHARD_BYTES, ShardWriter, remove_leftovers
from rsvp.data.sources import Source, content_hash, list_sources, plain, share_of, sources_digest
from rsvp.runtime.errors import UserError, one_line
from rsvp.runtime.files import write_json
from rsvp.runtime.journal import Journal, state_key
from rsvp.runtime.main import resumable_parser, run_stage

logger = logging.getLogger("rsvp.stages.decode")  # by hand: `python -m` runs this as __main__


def main() -> None:
    """Read the command line and run the stage."""
    parser = resumable_parser(__doc__)
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
    digest = sources_digest(share, hashes)
    if arguments.sources_digest not in (None, digest):
        raise UserError(f"{folder}: videos changed after this job was planned; run snakemake again")
    key = state_key(arguments.code, settings, digest, ffmpeg_version(dataset.ffmpeg))
    journal = Journal(arguments.state, key)
    index = decode_share(share, hashes, folder, dataset, arguments.index, journal)
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
    share: list[Source],
    hashes: dict[str, str],
    folder: Path,
    dataset: Dataset,
    index_path: Path,
    journal: Journal,
) -> dict[str, Any]:
    """Write the frames of `share` beside `index_path`, then the index, then clean up."""
    resolution = dataset.resolution
    frame_shape = (resolution, resolution, 3)
    per_shard = max(1, SHARD_BYTES // (resolution * resolution * 3))
    index: dict[str, Any] = {
        "resolution": resolution,
        "resize": filters(dataset.resize),
        "ffmpeg": ffmpeg_version(dataset.ffmpeg),
        "frames_per_shard": per_shard,
    }
    left = journal.done or {"frames": None}
    with ShardWriter(index_path.parent, frame_shape, per_shard, resume=left["frames"]) as writer:
        done = left if writer.resumed else {"handled": 0, "videos": [], "rejected": []}
        decode_videos(share, hashes, folder, dataset, writer, journal, done)
        writer.close()
        journal.save(done | {"frames": writer.checkpoint()})
        # Until the new index stands, none may: the old one would describe new files.
        index_path.unlink(missing_ok=True)
        shards = writer.finish()
    index["shards"] = [
        {"file": s["file"], "sha256": s["sha256"], "frames": s["items"]} for s in shards
    ]
    index |= {"videos": done["videos"], "rejected": done["rejected"]}
    write_json(index_path, index)
    remove_leftovers(index_path.parent, {shard["file"] for shard in shards})
    return index


def decode_videos(
    share: list[Source],
    hashes: dict[str, str],
    folder: Path,
    dataset: Dataset,
    writer: ShardWriter,
    journal: Journal,
    done: dict[str, Any],
) -> None:
    """Append the frames of each video not handled yet to `writer`.

    `done`: the number of videos handled, and the index's rows of videos and rejected; it grows, and
    goes into `journal` from time to time.
    """
    with (
        tqdm(initial=done["handled"], total=len(share), desc="decode", unit="video") as bar,
        closing(one_ahead(share[done["handled"] :], dataset)) as decodings,
    ):
        for decoding in decodings:
            source, offset = decoding.source, writer.length
            row = {
                "id": source.id,
                "path": plain(os.path.relpath(source.path, folder.expanduser())),
            }
            try:
                decoded = decoding.read(writer.append)
            except Rejected as reason:
                writer.rollback(offset)
                done["rejected"].append(row | {"reason": str(reason)})
                warn(bar, f"rejected {row['path']}: {reason}")
            else:
                if decoded.damage:
                    kept = f"{decoded.frames} frames kept: {decoded.damage}"
                    warn(bar, f"damaged {row['path']}: {kept}")
                row |= {"class": source.class_name, "sha256": hashes[source.id]}
                row |= {"frames": decoded.frames, "offset": offset}
                probe = decoded.probe
                row |= {"fps": probe.fps, "width": probe.width, "height": probe.height}
                done["videos"].append(row)
            done["handled"] += 1
            bar.update()
            if journal.due:
                journal.save(done | {"frames": writer.checkpoint()})


def one_ahead(share: Iterable[Source], dataset: Dataset) -> Generator[Decoding, None, None]:
    """Each video's decoding, with the next one's begun, so that no processor waits for a start."""
    begun: deque[Decoding] = deque()
    options = (dataset.resolution, dataset.resize, dataset.fps, dataset.ffmpeg)
    try:
        for source in share:
            begun.append(Decoding(source, *options))
            if len(begun) == 2:
                yield begun[0]
                begun.popleft().close()
        while begun:
            yield begun[0]
            begun.popleft().close()
    finally:
        for decoding in begun:
            decoding.close()


def warn(bar: tqdm, message: str) -> None:
    """One line on the terminal, on a line of its own and not behind the bar."""
    bar.clear()
    logger.warning("%s", one_line(message))
    bar.refresh()


if __name__ == "__main__":
    main()
