"""Throughput of our decoding against the bare ffmpeg binary that does the same filtering to null.

Both use the same number of workers over the same videos, in turns within one run. Ours counts
listing, hashing, probing and writing the frame cache; the start of Python is left out. The bare
one is timed with the faster of two thread settings. Processor time is printed too: it says more
than the clock on a machine that others use.

    python -m benchmarks.decode ../shared/data/ucf101-mini
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rsvp.config.schema import Dataset
from rsvp.data.decoding import ffmpeg_command, find_ffmpeg
from rsvp.data.fitting import shape_of
from rsvp.data.hashing import content_hash
from rsvp.data.headers import Probe
from rsvp.data.sources import Source, list_sources, share_of
from rsvp.runtime.journal import StateKey
from rsvp.runtime.parts import PartWriter
from rsvp.stages.decode import decode_videos


def main() -> None:
    """Time both in turns and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, help="folder of videos")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--least", type=float, help="exit 1 below this ratio")
    arguments = parser.parse_args()
    sources = list_sources(arguments.videos, "videos")
    dataset = Dataset(path=str(arguments.videos), resolution=arguments.resolution)
    ours: list[Times] = []
    bare: dict[str, list[Times]] = {"one thread": [], "ffmpeg's own threads": []}
    with ProcessPoolExecutor(arguments.workers) as pool:
        run_ours(pool, arguments.workers, dataset)  # starts the workers, warms the file cache
        for _ in range(arguments.repeats):
            ours.append(run_ours(pool, arguments.workers, dataset))
            for name, times in bare.items():
                times.append(run_bare(sources, arguments.workers, dataset, name == "one thread"))
    print(f"{len(sources)} videos to {arguments.resolution} px, {arguments.workers} workers")
    for name, times in (("ours", ours), *((f"bare, {n}", t) for n, t in bare.items())):
        clock, processor = median(times)
        print(f"{name}: median {clock:.3f} s, processor {processor:.3f} s")
    fastest = min(bare.values(), key=lambda times: median(times).clock)
    pairs = [Times(b.clock / o.clock, b.processor / o.processor)
             for b, o in zip(fastest, ours, strict=True)]  # fmt: skip
    ratio = median(fastest).clock / median(ours).clock
    clock, processor = median(pairs)
    print(
        f"throughput of ours / bare: {ratio:.3f} (of medians), {clock:.3f} (of pairs);"
        f" by processor time {processor:.3f}"
    )
    if arguments.least is not None and ratio < arguments.least:
        sys.exit(f"below {arguments.least}")


class Times(NamedTuple):
    """Seconds of one run, or ratios of two runs' seconds."""

    clock: float
    processor: float


def median(times: list[Times]) -> Times:
    """The median of each of the two."""
    return Times(*(statistics.median(values) for values in zip(*times, strict=True)))


def processor_seconds(*of: int) -> float:
    """Processor time of this process, its ended children, or both."""
    used = [resource.getrusage(who) for who in of]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run_ours(pool: ProcessPoolExecutor, workers: int, dataset: Dataset) -> Times:
    """Time until all shares of the frame cache are written."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        jobs = range(workers)
        used = pool.map(decode_job, jobs, [workers] * workers, [dataset] * workers,
                        [Path(folder)] * workers)  # fmt: skip
        return Times(processor=sum(used), clock=time.perf_counter() - start)


def decode_job(share: int, workers: int, dataset: Dataset, folder: Path) -> float:
    """Decode as one job does; return its processor time.

    Videos are dealt out evenly, as they are to the bare binary.
    """
    before = processor_seconds(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    sources = list_sources(dataset.path or "", "videos")
    mine = balanced(sources, workers)[share]
    hashes = {source.id: content_hash(source) for source in mine}
    parts = PartWriter(folder / str(share), folder / f"{share}/state", StateKey(None, ""), "frames")
    parts.note = {"handled": 0, "videos": [], "rejected": []}
    decode_videos(mine, hashes, Path(dataset.path or ""), dataset, parts)
    parts.finish()
    return processor_seconds(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN) - before


def balanced(sources: list[Source], workers: int) -> list[list[Source]]:
    """The videos of each worker: by turns in order of the hash that makes shares."""
    order = sorted(sources, key=lambda source: share_of(source.id, 2**32))
    return [sorted(order[n::workers], key=lambda source: source.id) for n in range(workers)]


def run_bare(sources: list[Source], workers: int, dataset: Dataset, one_thread: bool) -> Times:
    """Time until the bare binary has filtered each worker's videos to null."""
    commands = [
        [bare_command(source, dataset, one_thread) for source in part]
        for part in balanced(sources, workers)
    ]
    before = processor_seconds(resource.RUSAGE_CHILDREN)
    with ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        list(pool.map(run_all, commands))
        clock = time.perf_counter() - start
    return Times(clock, processor_seconds(resource.RUSAGE_CHILDREN) - before)


def bare_command(source: Source, dataset: Dataset, one_thread: bool) -> list[str]:
    """Our command with the null muxer for the pipe; without our thread counts on request."""
    binary = find_ffmpeg(None)
    command = ffmpeg_command(
        f"file:{source.path}", False, Probe(25, 0, 0), shape_of(dataset), binary
    )
    command[command.index("rawvideo")] = "null"
    command[command.index("pipe:")] = "-"
    dropped = ["-flush_packets"]
    if not one_thread:
        dropped += ["-threads", "-filter_complex_threads"]
    for flag in dropped:
        place = command.index(flag)
        del command[place : place + 2]
    return command


def run_all(commands: list[list[str]]) -> None:
    """Run commands one after another."""
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
