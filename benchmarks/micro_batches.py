"""Cost of micro-batches: processor time of a training step in parts, against the whole batch.

For each training of each row of a config at 64 pixels, steps with the batch whole and cut into
parts, in turns within one run, so that what else the machine does hits all alike. Networks are
fresh and data are seeded noise, as in `benchmarks/speed.py`.

    python -m benchmarks.micro_batches [--configs FILE ...] [--rows ROW ...] [--parts 2 4]
"""

import argparse
import statistics
import time
from pathlib import Path

import pandas as pd

from benchmarks.speed import METHODS, Setup, denoising, finetuning, pretraining
from rsvp.training.processes import Processes

PHASES = {"pretrain": pretraining, "finetune": finetuning, "denoise": denoising}
WARM_UP = 2


def main() -> None:
    """Print how many times as long a step in parts takes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", type=Path, nargs="+", default=[METHODS], metavar="FILE")
    parser.add_argument("--rows", nargs="+", default=["rsvp-m"], help="predictors of the config")
    parser.add_argument("--parts", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeats", type=int, default=8, help="steps that are timed")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    lines = [
        {"row": row, "phase": phase} | ratios(arguments, row, phase)
        for row in arguments.rows
        for phase in PHASES
    ]
    table = pd.DataFrame(lines)
    print(table.round(3).to_string(index=False))
    if arguments.csv:
        table.round(4).to_csv(arguments.csv, index=False)


def ratios(arguments: argparse.Namespace, row: str, phase: str) -> dict[str, float]:
    """Median seconds of a step, and the ratios to it of steps in parts."""
    arguments.device, arguments.precision, arguments.compile = "cpu", "32-true", False
    works = {}
    for parts in (1, *arguments.parts):
        setup = Setup(arguments, row, 64)
        setup.processes = Processes(parts)
        works[parts] = PHASES[phase](setup)
    taken: dict[int, list[float]] = {parts: [] for parts in works}
    for number in range(WARM_UP + arguments.repeats):
        for parts, work in works.items():
            made, started = next(work.ahead), time.process_time()
            work.step(number, made)
            taken[parts].append(time.process_time() - started)
    medians = {parts: statistics.median(seconds[WARM_UP:]) for parts, seconds in taken.items()}
    return {"seconds": medians[1]} | {
        f"in {parts}": medians[parts] / medians[1] for parts in arguments.parts
    }


if __name__ == "__main__":
    main()
