"""Have results made again from their start by the next run of snakemake.

Finished results stay current under other versions of PyTorch, say, and `--forcerun` alone would go
on from the last state of a training. Here what could be gone on from is put away; `make orphans`
lists it.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from common import hold_results, stop_in_one_line
from finished import mark_anew
from planned import planned_jobs

from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import forget

ALL = "all"


def main() -> None:
    """Put the named results' states away. Other flags go to snakemake."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--results", default="", help=f"folders below the results folder, or {ALL}")
    arguments, flags = parser.parse_known_args()
    with stop_in_one_line():
        anew(arguments.results.split(), flags)


def anew(names: Sequence[str], flags: Sequence[str]) -> None:
    """Have the named results made anew; UserError, and nothing is done, where one is unknown."""
    if not names:
        raise UserError(f"RESULTS: missing; name results, predictors/rsvp-m/seed0 say, or {ALL}")
    results, jobs = planned_jobs(["--forceall", *flags])
    os.chdir(results)
    hold_results()
    outputs = {job.folder: job.outputs for job in jobs if job.rule != "settings"}
    chosen = list(outputs) if list(names) == [ALL] else [os.path.normpath(name) for name in names]
    for folder in chosen:
        if folder not in outputs:
            raise UserError(f"{folder}: no result of this config; `make why` lists what would run")
    for folder in chosen:
        put_away(Path(folder, "state"))
        mark_anew([path for path in outputs[folder] if Path(path).exists()])
        print(f"made anew by the next snakemake: {folder}")


def put_away(state: Path) -> None:
    """Rename the states in a folder so that nothing takes them up, and remove its journal."""
    forget(state)
    for path in state.glob("*state-*.safetensors"):
        if not path.name.startswith("old-"):
            path.rename(path.with_name(f"old-{path.name}"))


if __name__ == "__main__":
    main()
