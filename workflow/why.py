"""Say why each stage would run: what `snakemake -n` plans, in words.

Takes the flags of snakemake, --configfile say. Snakemake decides; this only translates its reasons.
"""

import ast
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finished import UNKNOWN, our_mark
from planned import Job, planned_jobs

from rsvp.config.stages import read_settings
from rsvp.data.sources import content_hashes, list_sources, share_of

SHOWN = 3  # names in a list
MISSING = "Missing output files"
UPDATED = "Updated input files"
UPDATED_BY_JOB = "Input files updated by another job"
PARAMS = "Params have changed since last execution"
COMMAND = "Code has changed since last execution"
FORCED = "Forced execution"
OTHERS = (
    "Incomplete output files",
    "Set of input files has changed since last execution",
    "Software environment definition has changed since last execution",
)
KINDS = (MISSING, UPDATED, UPDATED_BY_JOB, PARAMS, COMMAND, FORCED, *OTHERS)
BETWEEN = re.compile(rf"; (?={'|'.join(KINDS)})")
BEFORE_AND_NOW = re.compile(r"before: (.*) now: (.*)", re.DOTALL)
CODE_FILE = re.compile(r"(rsvp/\S+) [0-9a-f]{16}")
DIGEST = re.compile("[0-9a-f]{64}")  # of the bundle that a training starts from
KNOWN_PARAM = re.compile(f"{CODE_FILE.pattern}|{DIGEST.pattern}")
SOURCES = "--sources-digest"


def main() -> None:
    """Print a line for each planned stage."""
    results, jobs = planned_jobs(sys.argv[1:])
    os.chdir(results)
    reasons = Reasons(jobs)
    lines = [f"{job.name}: {'; '.join(reasons.of(job))}" for job in reasons.stages]
    print("\n".join(lines) if lines else "Nothing to be done: all results are current.")


class Reasons:
    """Why planned jobs run; to be asked in the results folder.

    One job's reason points to what another is about to write. The jobs that write settings speak
    through the stages.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.stages = [job for job in jobs if job.rule != "settings"]
        self.makers = {path: job for job in self.stages for path in job.outputs}
        self.settings = {
            job.outputs[0]: written_settings(job) for job in jobs if job.rule == "settings"
        }

    def of(self, job: Job) -> list[str]:
        """Why a stage runs, in words."""
        mark = our_mark(job.outputs)
        if mark == UNKNOWN:
            return ["no provenance: .snakemake does not say how it came about"]
        if not any(Path(path).exists() for path in job.outputs):
            return ["did not finish" if Path(job.folder, "log.txt").exists() else "never run"]
        words: list[str] = []
        for kind, details in split_reason(job.reason):
            if kind == MISSING:
                words.append(f"missing: {names(details.split(', '))}")
            elif kind in (UPDATED, UPDATED_BY_JOB):
                words += self.changed_inputs(job, details.split(", "))
            elif kind == PARAMS:
                words += self.changed_params(job, details)
            elif kind == COMMAND:
                words.append(f"code changed: the command of rule {job.rule}")
            elif kind == FORCED:
                words.append("forced, or left half-written by a run that died")
            else:
                words.append(kind[:1].lower() + kind[1:])
        return list(dict.fromkeys(words))

    def before(self, job: Job) -> list[Job]:
        """The planned stages whose outputs a job reads."""
        paths = [
            path
            for kind, details in split_reason(job.reason)
            if kind == UPDATED_BY_JOB
            for path in sorted(details.split(", "))
        ]
        return list({path: self.makers[path] for path in paths if path in self.makers}.values())

    def changed_inputs(self, job: Job, paths: Iterable[str]) -> list[str]:
        """Changed settings key by key, changed files, and the stages that run before."""
        words = []
        for path in sorted(paths):
            if path.startswith("settings/"):
                ran = read(f"{job.folder}/run.json").get("settings", {})
                now = self.settings.get(path) or read(path)
                words += difference("setting", flat(ran), flat(now))
            elif path not in self.makers:
                words.append(f"input changed: {path}")
        if before := dict.fromkeys(other.name for other in self.before(job)):
            verb = "runs" if len(before) == 1 else "run"
            words.append(f"because {names(before)} {verb} again")
        return words

    def changed_params(self, job: Job, details: str) -> list[str]:
        """Changed source files by their names, changed videos, changed pretrained weights."""
        old, new = before_and_now(details)
        files = {m[1] for value in old + new if (m := CODE_FILE.fullmatch(str(value)))}
        words = [f"code changed: {names(sorted(files))}"] if files else []
        if any(DIGEST.fullmatch(str(value)) for value in old + new):
            words.append("the weights that init_from names changed")
        for value in new:
            if str(value).startswith(SOURCES):
                words += self.changed_videos(job)
            elif isinstance(value, dict):
                had = next((item for item in old if isinstance(item, dict)), {})
                words += difference("pretrained weights", had, value)
            elif value and not KNOWN_PARAM.fullmatch(str(value)):
                words.append(f"now {value}")
        return words

    def changed_videos(self, job: Job) -> list[str]:
        """Which videos of a decode job's share are new, gone or replaced."""
        name, share = job.wildcards["dataset"], int(job.wildcards["share"])
        path = f"settings/decode/{name}.json"
        dataset = read_settings(self.settings.get(path) or read(path)).dataset
        sources = list_sources(dataset.path, dataset.source, dataset.max_videos)
        now = content_hashes(sources, f".hashes/{name}.json")
        now = {
            id: digest for id, digest in now.items() if share_of(id, dataset.decode_jobs) == share
        }
        index = read(f"{job.folder}/index.json")
        decoded = {video["id"]: video["sha256"] for video in index.get("videos", [])}
        rejected = {video["id"] for video in index.get("rejected", [])}
        return video_lines(decoded, rejected, now)


def split_reason(reason: str) -> list[tuple[str, str]]:
    """The parts of a reason as Snakemake prints it: (kind, details)."""
    parts = [part.partition(": ") for part in BETWEEN.split(reason)]
    return [(kind, details) for kind, _, details in parts]


def before_and_now(details: str) -> tuple[list[Any], list[Any]]:
    """The params that only the last run had, and those that only this one has."""
    found = BEFORE_AND_NOW.search(details)
    assert found, details
    texts = ("" if text.strip() == "<nothing exclusive>" else text for text in found.groups())
    # They are printed as Python literals between commas.
    old, new = (ast.literal_eval(f"[{text}]") for text in texts)
    return old, new


def video_lines(
    decoded: Mapping[str, str], rejected: set[str], now: Mapping[str, str]
) -> list[str]:
    """What happened to videos: ids and content hashes as decoded, ids rejected, and as they are."""
    changes = {
        "added": [video for video in now if video not in decoded and video not in rejected],
        "removed": [video for video in [*decoded, *rejected] if video not in now],
        "replaced": [
            video for video in decoded if now.get(video, decoded[video]) != decoded[video]
        ],
    }
    lines = []
    for change, videos in changes.items():
        if len(videos) == 1:
            lines.append(f"a video was {change}: {videos[0]}")
        elif videos:
            lines.append(f"{len(videos)} videos were {change}: {names(videos)}")
    return lines or ["a rejected video was replaced"]


def written_settings(job: Job) -> dict[str, Any]:
    """The settings that a job of the rule `settings` is about to write."""
    return json.loads(shlex.split(job.command)[2])


def difference(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value differs."""
    pairs = {key: (old.get(key, "unset"), new.get(key, "unset")) for key in [*old, *new]}
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


def names(items: Iterable[str]) -> str:
    """The first few names, and how many more."""
    listed = list(items)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{', '.join(listed[:SHOWN])}{more}"


def read(path: str) -> dict[str, Any]:
    """A JSON file's values; empty where there is none that is whole."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    main()
