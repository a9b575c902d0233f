"""Content hashes of videos, kept between calls: a later call only looks at sizes and times.

Loads without torch. The Snakefile calls this when it is parsed, jobs are handed what it found.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from rsvp.data.sources import Source, plain
from rsvp.runtime.files import (
    FileState,
    file_state,
    is_settled,
    read_kept,
    sha256_of_file,
    sha256_of_json,
    sha256_of_pairs,
    sha256_of_text,
    write_text,
)

UNREADABLE = "unreadable"
SAVE_SECONDS = 10.0  # of hashing that a kill loses, at most
SAVING_SHARE = 20  # hashing takes at least this many times as long as saving its results
BATCH_BYTES, BATCH_FILES = 2**24, 256  # that one thread hashes at a time; a larger file is alone
Entries = dict[str, list]  # [*state, hash] by path


class Content(NamedTuple):
    """The content of a source."""

    sha256: str  # see `content_hash`; or `UNREADABLE`: decoding says why
    state: str  # see `source_state`; "" where files were written just now, or cannot be read


def content_hashes(sources: Iterable[Source], cache_file: str | Path) -> dict[str, Content]:
    """Return the content of each source by id, from the cache where its files did not change.

    A file counts as unchanged when its path, size, inode and times of content and status are those
    that the cache holds: programs set the former time back, not the latter. Others are hashed, as
    many at once as there are processors, under a progress bar. The cache is saved as it goes, so
    that a killed call is continued. A broken cache is rebuilt.
    """
    sources = list(sources)
    known = read_cache(cache_file)
    states = {path: file_state(path) for source in sources for path in files_of(source)}
    changed = {path: state for path, state in states.items()
               if state and known.get(path, [])[:-1] != state}  # fmt: skip
    entries = {path: known[path] for path, state in states.items() if state and path not in changed}
    kept = dict(entries)
    started, saved, pause = time.time(), time.monotonic(), SAVE_SECONDS
    try:
        for path, found in hash_files(changed):
            entries[path] = [*changed[path], found]
            if found != UNREADABLE and is_settled(changed[path], started):
                kept[path] = entries[path]
            if time.monotonic() - saved > pause:
                began = time.monotonic()
                write_text(cache_file, json.dumps(known | kept))
                saved = time.monotonic()
                pause = max(SAVE_SECONDS, SAVING_SHARE * (saved - began))
    except BaseException:
        if kept:
            write_text(cache_file, json.dumps(known | kept))
        raise
    if kept != known:
        write_text(cache_file, json.dumps(kept))
    return {source.id: content_of(source, entries, kept) for source in sources}


def content_of(source: Source, entries: Entries, kept: Entries) -> Content:
    """Return the content of a source whose files are hashed."""
    files = files_of(source)
    hashes = [entries[path][-1] if path in entries else UNREADABLE for path in files]
    whole = all(path in kept for path in files)
    state = states_digest([kept[path][:-1] for path in files]) if whole else ""
    return Content(joined(source, hashes), state)


def content_hash(source: Source, read: Callable[[str], str] | None = None) -> str:
    """Hash a video file, or the names and contents of a frame folder's files, as hex SHA-256.

    That of a part of a file is of the file's hash and of the place in it. read: returns the hash of
    a file, by default `hash_file`.
    """
    read = read or hash_file
    return joined(source, [
        read(path) if file_state(path) else UNREADABLE for path in files_of(source)
    ])  # fmt: skip


def source_state(source: Source) -> str:
    """Return a digest of sizes, times and inodes of a source's files; "" where one is unreadable.

    It is the same as before where nobody wrote to them.
    """
    states = [file_state(path) for path in files_of(source)]
    return "" if None in states else states_digest(states)


def sources_digest(hashes: Mapping[str, str]) -> str:
    """Return the hex SHA-256 over ids and `content_hash`es."""
    return sha256_of_pairs(sorted(hashes.items()))


def files_of(source: Source) -> Sequence[str]:
    """Return the files that hold a source."""
    return source.files if source.files and not source.kind else (source.path,)


def joined(source: Source, hashes: Sequence[str]) -> str:
    """Return the hash of a source whose files have some hashes."""
    if source.place:
        return sha256_of_text(f"{hashes[0]}\0{source.place}")
    if not source.files:
        return hashes[0]
    names = (plain(os.path.basename(path)) for path in source.files)
    return sha256_of_pairs(zip(names, hashes, strict=True))


def hash_files(states: Mapping[str, FileState]) -> Iterator[tuple[str, str]]:
    """Yield paths and hashes of files, whose states say how large they are."""
    total = sum(size for size, *_ in states.values())
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bar = tqdm(total=total, desc="hashing videos", unit="B", unit_scale=True, delay=2, leave=False)
    # Reading and hashing leave the interpreter to other threads.
    with bar, ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda paths: [(path, hash_file(path)) for path in paths], batched(states))
        with closing(found):  # which cancels what has not begun
            for batch in found:
                yield from batch
                bar.update(sum(states[path][0] for path, _ in batch))


def batched(states: Mapping[str, FileState]) -> Iterator[list[str]]:
    """Yield the files in groups of bounded size."""
    batch: list[str] = []
    room = BATCH_BYTES
    for path, (size, *_) in states.items():
        if batch and (size > room or len(batch) == BATCH_FILES):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(path)
        room -= size
    if batch:
        yield batch


def hash_file(path: str) -> str:
    """Return the hex SHA-256 of a regular file, or `UNREADABLE`."""
    try:
        return sha256_of_file(path)
    except OSError:
        return UNREADABLE


def states_digest(states: Sequence[FileState | None]) -> str:
    """Return a short digest of the states of a source's files."""
    return sha256_of_json(states)[:16]


def read_cache(cache_file: str | Path) -> Entries:
    """Return the entries that the last call left; none where there are none that are whole."""
    return {path: entry for path, entry in read_kept(cache_file).items()
            if isinstance(entry, list) and len(entry) == 5}  # fmt: skip
