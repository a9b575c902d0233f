"""Mark results as current although the code that made them has changed.

For a change that changes no number, a renamed variable say. Who said so, when and why goes into the
run record, and beside the training state, which is then gone on from. Refused where anything but
code differs.
"""

import argparse
import getpass
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import hold_results, stop_in_one_line
from planned import Job, planned_jobs
from why import CODE_FILE, COMMAND, PARAMS, Reasons, before_and_now, split_reason

from rsvp.runtime.code import code_digest
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, atomic_path, read_json, write_json

RECORD = "run.json"
ACCEPTED = "state/accepted.json"


def main() -> None:
    """Accept all the named results, or none of them. Other flags go to snakemake."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--results", default="", help="folders below the results folder")
    parser.add_argument("--why", default="", help="goes into the run record")
    arguments, flags = parser.parse_known_args()
    with stop_in_one_line():
        accept(arguments.results.split(), arguments.why.strip(), flags)


def accept(names: Sequence[str], why: str, flags: Sequence[str]) -> None:
    """Mark the named results as current; UserError, and nothing is marked, where one cannot be."""
    if not names:
        raise UserError("RESULTS: missing; name results, autoencoders/rsvp/seed0/pretrained say")
    if not why:
        raise UserError("WHY: missing; say why the change of code changes no result")
    start = os.getcwd()
    results, jobs = planned_jobs(flags)
    folders = {below(results, name) for name in names}
    os.chdir(results)
    hold_results()
    reasons = Reasons(jobs)
    chosen = choose(reasons, folders)
    for job in chosen:
        check_before(job, reasons, chosen)
        check_files(job)
    for job in chosen:
        os.chdir(start)
        _, alone = planned_jobs(only([job], flags))
        os.chdir(results)
        check_only_code(job, alone)
    noted = [Path(job.folder, name) for job in chosen for name in (RECORD, ACCEPTED)]
    with restored_on_error(noted):
        for job in chosen:
            note(job, why)
        snakemake(start, "--touch", "--no-hooks", *only(chosen, flags))
    for job in chosen:
        print(f"accepted: {job.name} ({job.folder})")


def only(jobs: Sequence[Job], flags: Sequence[str]) -> list[str]:
    """Flags by which Snakemake looks at jobs and their settings, as if all before were done."""
    rules = dict.fromkeys(job.rule for job in jobs)
    return [*flags, "--allowed-rules", *rules, "settings", "--", *(job.outputs[0] for job in jobs)]


@contextmanager
def restored_on_error(paths: Sequence[Path]) -> Iterator[None]:
    """Give files the content back that they had, or had not, when an error ends the block."""
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(content)
        raise


def below(results: Path, name: str) -> str:
    """A folder that may be named from where we are, as seen from the results folder."""
    path = Path(name).resolve()
    return (
        path.relative_to(results).as_posix() if results in path.parents else os.path.normpath(name)
    )


def choose(reasons: Reasons, folders: set[str]) -> list[Job]:
    """The planned jobs that make these results, in the order of the plan."""
    planned = {job.folder for job in reasons.stages}
    for folder in sorted(folders - planned):
        current = Path(folder, RECORD).exists()
        what = "is not planned to run: nothing to accept" if current else "no such result"
        raise UserError(f"{folder}: {what}; `make why` lists what would run")
    return [job for job in reasons.stages if job.folder in folders]


def check_before(job: Job, reasons: Reasons, chosen: Sequence[Job]) -> None:
    """UserError where a stage that is not accepted runs before this one."""
    for other in reasons.before(job):
        if other not in chosen:
            why = "; ".join(reasons.of(other))
            raise UserError(
                f"{job.folder}: {other.name} runs before it ({why}); accept {other.folder} as well,"
                " or let it run"
            )


def check_files(job: Job) -> None:
    """UserError where a file that the index names is missing."""
    for path in (Path(job.folder, INDEX), Path(job.folder, RECORD)):
        for name in named_files(read_json(path)) if path.exists() else ():
            if not Path(job.folder, name).exists():
                raise UserError(f"{job.folder}/{name}: missing; let {job.name} run again")


def named_files(value: Any) -> Iterator[str]:
    """The files beside an index that it names."""
    if isinstance(value, dict):
        if isinstance(value.get("file"), str):
            yield value["file"]
        for item in value.values():
            yield from named_files(item)
    elif isinstance(value, list):
        for item in value:
            yield from named_files(item)


def check_only_code(job: Job, alone: Sequence[Job]) -> None:
    """UserError where more than code speaks against a result, all before it taken as done."""
    reasons = Reasons(alone)
    for other in reasons.stages:
        for kind, details in split_reason(other.reason):
            code = kind == COMMAND or (kind == PARAMS and only_code_files(details))
            if not code:
                why = "; ".join(reasons.of(other))
                raise UserError(f"{job.folder}: {why}; only a change of code can be accepted")


def only_code_files(details: str) -> bool:
    """Do the changed params tell of source files alone?"""
    old, new = before_and_now(details)
    return all(CODE_FILE.fullmatch(str(value)) for value in old + new)


def note(job: Job, why: str) -> None:
    """Write who accepted which code in whose place, into the run record and beside the state."""
    record_path, state = Path(job.folder, RECORD), Path(job.folder, "state")
    record = read_json(record_path)
    entries = record.get("accepted", [])
    entry = {
        "from": entries[-1]["to"] if entries else record["code"],
        "to": code_digest(f"rsvp.stages.{record['stage']}"),
        "by": getpass.getuser(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "why": why,
    }
    write_json(record_path, record | {"accepted": [*entries, entry]})
    if any(state.glob("state-*.safetensors")):
        path = Path(job.folder, ACCEPTED)
        write_json(path, [*(read_json(path) if path.exists() else []), entry])


def snakemake(folder: str, *arguments: str) -> None:
    """Run Snakemake in a folder; UserError with what it said where it fails."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(command)}: failed: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
