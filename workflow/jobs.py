"""Jobs of the pipeline: what each is handed, whether its result is current, and why not.

A job's key is its settings, its code, and the contents of what it reads. The run record beside a
result holds the key that the result was made with. A result is stale where the two differ, or where
a stage before it is stale. Loads without torch.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rsvp.runtime.code import code_digest, short_digests
from rsvp.runtime.files import INDEX, RECORD, read_kept, sha256_of_file, write_json, write_text
from rsvp.runtime.record import version_changes
from rsvp.runtime.words import counted

JOBS = ".snakemake/rsvp"  # below the results folder: what is handed to stages
ASIDE = ".snakemake/rsvp-aside"  # what a plan would hand them while another run works
VIDEOS = "videos"  # the key of their digest in a job's contents
RESULTS = {"report": "report.html", "bundle": "config.json"}  # where it is no index
SHOWN = 3  # names in a list
code_of = cache(code_digest)


@dataclass(frozen=True, eq=False)
class Job:
    """One job. Its files are seen from the results folder."""

    stage: str  # a module of rsvp.stages
    name: str  # what it works on: "rsvp-m seed 0"
    folder: str  # of its outputs
    settings: Mapping[str, Any]
    roots: tuple[str, ...]  # modules whose import closures are its code
    inputs: Mapping[str, Sequence[str]]  # files that other jobs make, by the name of their flag
    contents: Mapping[str, str]  # digests of files that no job makes: videos, weights, lists
    lists: Mapping[str, Any]  # what it reads, by kind, where that is handed in a file
    videos: Mapping[str, str] | None = None  # content hashes by id, of a job that decodes them

    def __str__(self) -> str:
        return f"{self.stage} {self.name}".strip()

    @property
    def result(self) -> str:
        """The file that shows that the job was done."""
        return f"{self.folder}/{RESULTS.get(self.stage, INDEX)}"

    @property
    def log_folder(self) -> str:
        """The folder of its lock and its log: its own, but a bundle is handed on without them."""
        beside = f"{os.path.dirname(self.folder)}/bundling"
        return beside if self.stage == "bundle" else self.folder

    @property
    def code(self) -> str:
        """The digest of its code."""
        return code_of(*self.roots)

    @property
    def reads(self) -> list[str]:
        """All of its input files."""
        return [path for paths in self.inputs.values() for path in paths]

    def values(self, planned: str) -> dict[str, Any]:
        """Return the content of its file: the settings, and the key to compare later."""
        job = {
            "code": self.code,
            "roots": list(self.roots),
            "inputs": self.inputs,
            "contents": self.contents,
            "planned": planned,
        }
        return {**self.settings, "job": job}


class Results:
    """The results folder: run records and contents of files, each read once."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.jobs = JOBS
        self.records: dict[str, dict[str, Any]] = {}
        self.hashes: dict[str, str] = {}

    def read(self, path: str) -> dict[str, Any]:
        """Return a JSON file's values; empty where there is none that is whole."""
        return read_kept(self.folder / path)

    def record(self, job: Job) -> dict[str, Any]:
        """Return a job's run record; empty where there is none."""
        if job.folder not in self.records:
            self.records[job.folder] = self.read(f"{job.folder}/{RECORD}")
        return self.records[job.folder]

    def hash(self, path: str) -> str:
        """Return the content hash of a file; "" where there is none."""
        if path not in self.hashes:
            file = self.folder / path
            self.hashes[path] = sha256_of_file(file) if file.is_file() else ""
        return self.hashes[path]

    def exists(self, path: str) -> bool:
        """Return whether a file is there."""
        return (self.folder / path).exists()

    def without_provenance(self, job: Job) -> bool:
        """Return whether there is a result without a run record."""
        return not self.record(job) and self.exists(job.result)

    def reasons(self, job: Job) -> list[str]:
        """Say why a job's own result is not current; nothing where it is."""
        record = self.record(job)
        if not record:
            if self.exists(job.result):
                return ["no provenance: no run.json says how it came about"]
            begun = self.exists(f"{job.log_folder}/log.txt")
            return ["did not finish" if begun else "never run"]
        names = [f"{job.folder}/{name}" for name in record.get("outputs", [])]
        missing = [path for path in names if not self.exists(path)]
        words = [f"missing: {listing(missing)}"] if missing else []
        words += difference("setting", flat(record.get("settings", {})), flat(job.settings))
        if record.get("code") != job.code:
            words.append(changed_code(record.get("code_files", {}), short_digests(*job.roots)))
        words += self.changed_contents(job, record.get("contents", {}))
        return words + self.changed_inputs(job, record.get("inputs", {}))

    def changed_contents(self, job: Job, had: Mapping[str, str]) -> list[str]:
        """Name changed videos, weights and lists."""
        words = []
        for key in {**had, **job.contents}:
            if had.get(key) == job.contents.get(key):
                continue
            if key == VIDEOS:
                words += changed_videos(self.read(job.result), job.videos or {})
            else:
                done = {False: "added", True: "changed"}[key in had]
                words.append(f"{done if key in job.contents else 'removed'}: {key}")
        return words

    def changed_inputs(self, job: Job, had: Mapping[str, str]) -> list[str]:
        """Name inputs that are others, or have other contents, than when the job ran."""
        gone = [path for path in had if path not in job.reads]
        new = [path for path in job.reads if path not in had]
        # One that is missing is made again before the job, and makes it run.
        other = [p for p in job.reads if p in had and self.hash(p) not in ("", had[p])]
        groups = {"new input": new, "input no longer read": gone, "input changed": other}
        return [f"{what}: {listing(paths)}" for what, paths in groups.items() if paths]

    def stale(self, jobs: Iterable[Job]) -> dict[Job, list[str]]:
        """Return the jobs that would run, in their order, each with its reasons.

        `jobs`: each after those whose files it reads.
        """
        found: dict[str, Job] = {}
        stale: dict[Job, list[str]] = {}
        for job in jobs:
            words = self.reasons(job)
            before = dict.fromkeys(
                str(found[folder])
                for path in job.reads
                if (folder := os.path.dirname(path)) in found
            )
            if before and self.record(job):
                verb = "runs" if len(before) == 1 else "run"
                words.append(f"because {listing(before)} {verb} again")
            if before or words:
                found[job.folder] = job
                stale[job] = words
        return stale

    def file(self, job: Job) -> str:
        """Return the file that hands a job to its stage; Snakemake compares it by content."""
        return f"{self.jobs}/{job.folder}.json"

    def list_file(self, job: Job) -> str:
        """Return the file of what a job reads, where that is too much for a command line."""
        return f"{self.jobs}/{job.folder}.inputs.json"

    def hand_over(self, job: Job) -> None:
        """Write the job's file, so that Snakemake runs the job where its result is not current.

        With the record's own time of planning the file of a current result is the one that the
        stage was handed. With a new time it differs from all that Snakemake knows.
        """
        file, record = self.file(job), self.record(job)
        path, list_file = self.folder / file, self.list_file(job)
        current = bool(record) and not self.reasons(job)
        if current:
            planned = record.get("planned", "")
        elif record or self.exists(job.result):
            planned = str(time.time_ns())
        else:
            planned = self.read(file).get("job", {}).get("planned", "")
        values = job.values(planned)
        if self.read(file) != values:
            write_json(path, values)
            if current:
                os.utime(path, (0, 0))  # older than the outputs
        if job.lists and self.read(list_file) != job.lists:
            # As ASCII: names of videos may hold bytes that are no UTF-8.
            write_text(self.folder / list_file, json.dumps(job.lists))


def other_versions(
    records: Mapping[str, Mapping[str, Any]], running: Mapping[str, str]
) -> list[str]:
    """A line for each version that finished stages ran with and that does not run now.

    `records`: run records by their folder.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for folder, record in records.items():
        for change in version_changes(record.get("versions") or {}, running):
            found.setdefault(change, []).append(folder)
    return [
        f"{stages(folders)} ran with {name} {version}, now it is {now}; kept"
        for (name, version, now), folders in found.items()
    ]


def changed_videos(index: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Name videos that are new, gone or replaced, as compared with an index of decoded frames."""
    decoded = {video["id"]: video["sha256"] for video in index.get("videos", [])}
    known = [*decoded, *(video["id"] for video in index.get("rejected", []))]
    changes = {
        "added": [video for video in now if video not in known],
        "removed": [video for video in known if video not in now],
        "replaced": [video for video in decoded if now.get(video) not in (None, decoded[video])],
    }
    lines = [
        f"a video was {change}: {videos[0]}"
        if len(videos) == 1
        else f"{len(videos)} videos were {change}: {listing(videos)}"
        for change, videos in changes.items()
        if videos
    ]
    return lines or ["a rejected video was replaced"]


def changed_code(had: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Name the source files that differ."""
    files = sorted(path for path in {**had, **now} if had.get(path) != now.get(path))
    return f"code changed: {listing(files)}"


def difference(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value differs."""
    pairs = {key: (old.get(key, "unset"), new.get(key, "unset")) for key in {**old, **new}}
    return [f"{what} {key}: {had} -> {has}" for key, (had, has) in pairs.items() if had != has]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def stages(folders: Sequence[str]) -> str:
    """The number of stages, and the first of them."""
    return f"{counted(len(folders), 'stage')} ({listing(folders)})"


def listing(items: Iterable[str]) -> str:
    """The first few names, and the number of the others."""
    names = list(items)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
