"""Seconds of planning large sets: the first plan, which hashes all videos, and the second one.

Writes so many small files, none a copy of another, and calls `snakemake -n` on them: twice for each
number of files, and once more for each number of shares. The files are not decoded. Prints seconds
by the clock and of processors, which say more on a machine that others use, and the rate of hashing
alone, beside that of SHA-256 on memory.

    python -m benchmarks.large_sets [--files 1000 10000 100000] [--bytes 20000] [--csv FILE]
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.second_call import timed
from rsvp.data.hashing import content_hashes
from rsvp.data.sources import list_sources

SHARES = ((4, 1), (100, 1), (100, 10), (100, 100), (1000, 1))  # jobs, and shares of each
FOLDERS = 100


def main() -> None:
    """Write the files, plan, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--bytes", type=int, default=20_000, help="of a file")
    parser.add_argument("--csv", type=Path, help="write the table there as well")
    arguments = parser.parse_args()
    print(f"SHA-256 of memory: {memory_rate():.0f} MB a second of one core")
    table = pd.DataFrame()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = 0
        for count in sorted(arguments.files):
            write_files(root / "videos", made, count, arguments.bytes)
            made = count
            calls = {"hashing": partial(hashing, root, count)}
            for call in ("first plan", "second plan"):
                calls[call] = partial(planned, root, count, *SHARES[0])
            if count == max(arguments.files):
                for jobs, shares in SHARES[1:]:
                    call = f"{jobs} jobs of {shares} shares"
                    calls[call] = partial(planned, root, count, jobs, shares)
            for call, take in calls.items():
                line = {"files": count, "bytes": arguments.bytes, "call": call, **take()}
                print(line, flush=True)
                table = pd.concat([table, pd.DataFrame([line])])
                if arguments.csv:
                    table.round(3).to_csv(arguments.csv, index=False)


def write_files(folder: Path, first: int, last: int, size: int) -> None:
    """Write files of random bytes, which begin with their number; let their times settle."""
    content = os.urandom(size - 8)
    for number in range(first, last):
        path = folder / f"c{number % FOLDERS:03d}" / f"v{number:07d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8, "big") + content)
    time.sleep(2.5)


def memory_rate() -> float:
    """Return megabytes a second of SHA-256 on memory that is there."""
    content, started = os.urandom(2**20), time.process_time()
    for _ in range(200):
        hashlib.sha256(content)
    return 200 * 2**20 / 1e6 / (time.process_time() - started)


def hashing(root: Path, count: int) -> dict[str, float]:
    """Return what hashing alone takes, and its rate on one core."""
    sources = list_sources(root / "videos", "videos")
    size = sum(os.path.getsize(source.path) for source in sources)
    clock, processor = time.perf_counter(), time.process_time()
    content_hashes(sources, root / f"hashes-{count}.json")
    seconds = {"clock_seconds": time.perf_counter() - clock}
    seconds |= {"processor_seconds": time.process_time() - processor}
    return seconds | {"mb_per_core_second": size / 1e6 / seconds["processor_seconds"]}


def planned(root: Path, count: int, jobs: int, shares: int) -> dict[str, float]:
    """Return what a plan takes of all files in so many jobs and shares."""
    dataset = {"path": str(root / "videos"), "source": "videos", "decode_jobs": jobs}
    config = {
        "results": str(root / f"results-{count}"),
        "datasets": {"large": dataset | {"decode_shares": shares}},
        "autoencoders": {"rsvp": {"dataset": "large"}},
        "predictors": {"rsvp-m": {"autoencoder": "rsvp"}},
        "report": {"predictors": ["rsvp-m"]},
    }
    path = root / "config.json"
    path.write_text(json.dumps(config))
    return timed(Path(), ["-n", "--quiet", "all", "--configfile", str(path)], False)


if __name__ == "__main__":
    main()
