"""Seconds of a call of snakemake where all is done, against the start of Snakemake itself.

Calls `snakemake` and `snakemake -n` on finished results and, in turns within one run, also
`snakemake -n` on a Snakefile of one empty rule: the floor, which is Snakemake's own imports. Prints
medians by the clock and by processor time, which says more on a machine that others use.

    python -m benchmarks.second_call [--configfile FILE ...] [--csv FILE]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

FLOOR = "an empty Snakefile"
EMPTY = "rule all:\n    output: touch('done')\n"


def main() -> None:
    """Time the calls in turns and print what they took, and the ratios to the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", nargs="+", type=Path, default=[])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--csv", type=Path, help="write the table there as well")
    arguments = parser.parse_args()
    config = ["--configfile", *map(str, arguments.configfile)] if arguments.configfile else []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(EMPTY)
        calls = {
            FLOOR: (folder, ["-n"]),
            "snakemake": (".", config),
            "snakemake -n": (".", ["-n", *config]),
        }
        taken = pd.DataFrame(
            [
                {"call": name, **timed(Path(where), flags, needs_nothing=name != FLOOR)}
                for _ in range(arguments.repeats)
                for name, (where, flags) in calls.items()
            ]
        )
    table = taken.groupby("call", sort=False).median()
    table["times the floor"] = table["processor_seconds"] / table.loc[FLOOR, "processor_seconds"]
    print(table.round(2).to_string())
    if arguments.csv:
        table.round(3).to_csv(arguments.csv)


def timed(folder: Path, flags: list[str], needs_nothing: bool) -> dict[str, float]:
    """Seconds of one call in a folder, which must succeed and, if so said, find nothing to do."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *flags]
    before, started = children_seconds(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    output = done.stdout + done.stderr
    if done.returncode or (needs_nothing and "Nothing to be done" not in output):
        sys.exit(f"{' '.join(command)}: the results are not finished\n{output}")
    return {"clock_seconds": seconds, "processor_seconds": children_seconds() - before}


def children_seconds() -> float:
    """Processor seconds of all processes that this one started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
