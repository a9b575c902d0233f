"""What is said of finished stages before a plan: made elsewhere, or nobody knows how.

Neither decides what runs in place of Snakemake: other versions only warn, and a result that
Snakemake has no record of is handed to it as unfinished.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake.io import IOFile
from snakemake.persistence import RECORD_FORMAT_VERSION
from snakemake.persistence.file import FilePersistence

from rsvp.runtime.journal import JOURNAL, forget
from rsvp.runtime.record import running_versions, version_changes

UNKNOWN = "no provenance"  # in place of a cluster's job id, in marks of ours
SHOWN = 3  # names in a line


def speak_of_finished(results: str, folders: Sequence[str]) -> None:
    """Warn of stages that other versions made, and of results without provenance, on stderr.

    `folders` are those of all stages that the config needs, below the folder `results`.
    """
    lines = other_versions(read_records(results, folders), running_versions())
    if unknown := distrust_unrecorded(results, folders):
        lines.append(
            f"{results}/.snakemake does not say how {naming(unknown)} came about: made again,"
            " unless you copy it along with the results"
        )
    for line in lines:
        print(f"rsvp: {line}", file=sys.stderr)
    forget_journals(results, folders)


def read_records(results: str, folders: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The run records that are there and whole, by their stage's folder."""
    records = {}
    for folder in folders:
        try:
            text = Path(results, folder, "run.json").read_text(encoding="utf-8")
            records[folder] = json.loads(text)
        except (OSError, ValueError):
            continue
    return records


def other_versions(
    records: Mapping[str, Mapping[str, Any]], running: Mapping[str, str]
) -> list[str]:
    """A line for each version that finished stages ran with and that does not run now."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for folder, record in records.items():
        for change in version_changes(record.get("versions") or {}, running):
            found.setdefault(change, []).append(folder)
    return [
        f"{naming(folders)} ran with {name} {version}, now it is {now}; kept"
        for (name, version, now), folders in found.items()
    ]


def naming(folders: Sequence[str]) -> str:
    """How many stages, and the first of them."""
    more = f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
    stages = "1 stage" if len(folders) == 1 else f"{len(folders)} stages"
    return f"{stages} ({', '.join(folders[:SHOWN])}{more})"


def distrust_unrecorded(results: str, folders: Iterable[str]) -> list[str]:
    """Have Snakemake make again what it has no record of; returns those stages' folders.

    Without a record only times would count, so results that were copied without .snakemake could
    pass as fresh although other settings or code made them. They get the mark of a half-written
    file, by which Snakemake makes them again; it is taken back when the record turns up.
    """
    if not Path(results).is_dir():
        return []
    store = FilePersistence(path=Path(results, ".snakemake"))
    names = [f"{folder}/{name}" for folder in folders for name in ("index.json", "run.json")]
    written = sorted(Path(results, "settings").rglob("*.json"))
    names += [path.relative_to(results).as_posix() for path in written]
    # Marks are read first: a job that ends meanwhile writes its record before it drops its mark.
    marked = store._filter_incomplete_keys(names)
    unknown = []
    for name in names:
        ours = name in marked and store._get_external_jobids([name]) == {UNKNOWN}
        if (name in marked and not ours) or not Path(results, name).exists():
            continue
        if is_recorded(store, name):
            if ours:
                store._unmark_incomplete(name)
            continue
        if not ours:
            store._mark_incomplete(name, UNKNOWN)
        unknown.append(str(Path(name).parent))
    stages = [folder for folder in unknown if not folder.startswith("settings")]
    return list(dict.fromkeys(stages or unknown))


def forget_journals(results: str, folders: Iterable[str]) -> None:
    """Remove the journals of stages that Snakemake has noted as finished.

    Before it has, they save the work of a run that died at its very end; after that they would
    keep `--forcerun` from doing the work again.
    """
    states = {f"{folder}/index.json": Path(results, folder, "state") for folder in folders}
    states = {name: state for name, state in states.items() if any(state.glob(f"*{JOURNAL}"))}
    if not states:
        return
    store = FilePersistence(path=Path(results, ".snakemake"))
    marked = store._filter_incomplete_keys(list(states))
    for name, state in states.items():
        if name not in marked and Path(results, name).exists() and is_recorded(store, name):
            forget(state)


def is_recorded(store: FilePersistence, name: str) -> bool:
    """Has Snakemake a record of a result that tells settings, inputs and code?"""
    record = store.metadata(IOFile(name))
    return record is not None and record.record_format_version >= RECORD_FORMAT_VERSION


def our_mark(names: Sequence[str]) -> str:
    """The mark of ours that one of these files has, seen from the results folder; "" for none."""
    store = FilePersistence(path=Path(".snakemake").absolute())
    marks = store._get_external_jobids(names) & {UNKNOWN}
    return min(marks, default="")
