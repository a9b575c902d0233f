"""Say how far each stage is: done, running (with rate and time left), stale, stopped or waiting.

Takes --configfile and --config as snakemake does, and starts nothing.
"""

import sys
import time
from collections import Counter
from pathlib import Path

from jobs import Job, listing
from plan import Plan
from session import is_held, plan_of, stop_in_one_line

from rsvp.runtime.lock import working_run, works_here
from rsvp.runtime.progress import read_progress
from rsvp.runtime.words import duration

NEVER_SEEN = float("inf")


def main() -> None:
    """Print a line for each stage, and one below it for each job that is under way."""
    with stop_in_one_line():
        plan = plan_of(sys.argv[1:], __doc__)
        stale = plan.state.stale(plan.jobs)
    held = is_held(plan.results)
    told = {job: how_far(plan, job, stale.get(job), held) for job in plan.jobs}
    run = working_run(Path(plan.results), time.monotonic())
    print(
        f"{plan.results}: {f'snakemake works here ({run})' if held else 'no snakemake works here'}"
    )
    for stage in dict.fromkeys(job.stage for job in plan.jobs):
        jobs = {job: words for job, words in told.items() if job.stage == stage}
        counts = Counter(state for state, _ in jobs.values())
        print(f"{stage:22} {', '.join(f'{count} {state}' for state, count in counts.items())}")
        for job, (state, words) in jobs.items():
            if words:
                print(f"    {job.name}: {state}, {words}")
    done = sum(state == "done" for state, _ in told.values())
    print(f"{done} of {len(told)} jobs are done")


def how_far(plan: Plan, job: Job, reasons: list[str] | None, held: bool) -> tuple[str, str]:
    """Return the state of a job in a word, and in words how far it is, if it began."""
    if reasons is None:
        return "done", ""
    folder = plan.state.folder / job.log_folder
    progress = read_progress(folder)
    seen = time.time() - progress["time"] if progress else NEVER_SEEN
    if works_here(folder, seen):
        return "running", rate_and_rest(progress) if progress else "starting"
    if progress:
        return "stopped", position(progress)
    if plan.state.record(job) or plan.state.exists(job.result):
        return "stale", listing(reasons)
    return ("waiting" if held else "to do"), ""


def position(progress: dict) -> str:
    """Return a progress file's values as words: train diffusion, 20 of 100 steps."""
    total = f" of {progress['total']}" if progress["total"] else ""
    return f"{progress['work']}, {progress['done']}{total} {progress['unit']}s"


def rate_and_rest(progress: dict) -> str:
    """Return the same with the rate of this run, and the time that is left at this rate."""
    words = position(progress)
    if progress["made"] <= 0 or progress["seconds"] <= 0:
        return words
    rate = progress["made"] / progress["seconds"]
    words += f", {rate:.3g} a second"
    if progress["total"]:
        # Since the file was written the work went on.
        rest = (progress["total"] - progress["done"]) / rate - (time.time() - progress["time"])
        words += f", {duration(max(0.0, rest))} left"
    return words


if __name__ == "__main__":
    main()
