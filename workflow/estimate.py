"""Say what each stage of a config takes on this machine: jobs, time, memory and disk.

Takes --configfile and --config as snakemake does. The first call makes a trial run of the same
networks on a few generated clips, which takes a minute or more and is kept; a later one times what
changed. Videos that are not decoded yet are judged by a sample.
"""

import os
import sys
from collections import defaultdict
from typing import Any

from jobs import Job
from orphans import human
from plan import TRAININGS, Plan
from session import plan_of, stop_in_one_line
from trial import HELD_OUT, SAMPLE, Cost, Size, Trial, side_of, size_of_dataset

from rsvp.runtime.words import duration

# As the stages have them.
WARM_UP = 3
VALIDATED = {"pretrain_autoencoder": 32, "train_diffusion": 64, "train_simvp": 64}  # clips, at most
VALIDATE_EVERY = 100  # steps of a predictor
WITHOUT_TORCH = ("generate_videos", "decode", "split")


def main() -> None:
    """Print a line for each stage, below the sums."""
    with stop_in_one_line():
        plan = plan_of(sys.argv[1:], __doc__)
        stale = plan.stale
        trial = Trial(plan)
        print("rsvp: timing the networks on a few clips; this is kept", file=sys.stderr)
        trial.run()
        costs = {job: estimate(trial, job) for job in plan.jobs}
    left = sum(cost.seconds for job, cost in costs.items() if job in stale)
    of = "GPU" if trial.clock == "seconds" else "processor"
    cores = os.cpu_count() or 1
    least = "" if of == "GPU" else f", {duration(left / cores)} at least on {cores} cores"
    print(
        f"{len(stale)} of {len(costs)} jobs are to run: about {duration(left)} of {of} time{least};"
    )
    print(f"memory {human(1e6 * max(cost.memory for cost in costs.values()))} for the largest job,"
          f" disk {human(sum(cost.disk for cost in costs.values()))} in all")  # fmt: skip
    print(f"{'stage':22}{'jobs':>6}{'done':>6}{of + ' time':>16}{'memory':>10}{'disk':>10}")
    stages: dict[str, list[Job]] = defaultdict(list)
    for job in costs:
        stages[job.stage].append(job)
    for stage, jobs in stages.items():
        own = [costs[job] for job in jobs]
        done = sum(job not in stale for job in jobs)
        time = duration(sum(cost.seconds for cost in own))
        memory = human(1e6 * max(cost.memory for cost in own))
        disk = human(sum(cost.disk for cost in own))
        print(f"{stage:22}{len(jobs):6}{done:6}{time:>16}{memory:>10}{disk:>10}")


def estimate(trial: Trial, job: Job) -> Cost:
    """Return about what a job takes, from what its like took in the trial."""
    plan, start = trial.plan, trial.starts[job.stage not in WITHOUT_TORCH]
    size, own = size_of_dataset(plan, job_dataset(plan, job))
    tried = trial_size(trial)
    shares = job.settings["share"][1] if "share" in job.settings else 1
    if job.inputs.get("shares"):  # other jobs did the work
        return trial.cost(job)._replace(seconds=start, disk=0.0)
    if job.stage in TRAININGS:
        return trial.cost(job)._replace(seconds=training_seconds(trial, job, size, start))
    if job.stage == "decode" and own:
        videos, frames = (n / plan.config.datasets[job.settings["name"]].decode_jobs
                          for n in (size.videos, size.frames))  # fmt: skip
        each = max(0.0, own.seconds - start / min(SAMPLE, size.videos))  # the sample's job started
        return Cost(start + each * videos, own.disk * frames, own.memory)
    cost = trial.cost(job)
    if job.stage in ("generate_videos", "decode"):
        times = size.frames / tried.frames
        times /= (
            plan.config.datasets[job.settings["name"]].decode_jobs if job.stage == "decode" else 1
        )
        return scaled(cost, times, start)
    if job.stage == "cache_latents":
        autoencoder = plan.config.autoencoders[job.settings["name"]]
        copies = autoencoder.latent_copies
        ways = 2 if plan.config.datasets[autoencoder.dataset].backwards else 1
        held_out = min(size.clips["validation"], VALIDATED["train_diffusion"])
        clips = size.clips["train"] * copies * ways + held_out
        made = tried.clips["train"] * copies + HELD_OUT["validation"]
        return scaled(cost, clips / made / shares, start)
    if not side_of(job):
        return cost
    evaluation = plan.config.evaluation
    count = min(size.clips[evaluation.split], evaluation.max_clips or float("inf")) / shares
    return line(trial.cost(job, "validation"), cost, count)


def scaled(cost: Cost, times: float, start: float) -> Cost:
    """Return the cost of so many times the work; a stage starts once."""
    seconds = start + max(0.0, cost.seconds - start) * times
    return Cost(seconds, cost.disk * times, cost.memory)


def line(few: Cost, many: Cost, count: float) -> Cost:
    """Return the cost of `count` clips, on the line through those of the two sizes of the trial."""
    place = (count - HELD_OUT["validation"]) / (HELD_OUT["test"] - HELD_OUT["validation"])
    seconds, disk = (
        max(0.0, a + (b - a) * place) if b > a else b
        for a, b in ((few.seconds, many.seconds), (few.disk, many.disk))
    )
    return Cost(seconds, disk, max(few.memory, many.memory))


def training_seconds(trial: Trial, job: Job, size: Size, start: float) -> float:
    """Return the seconds of a training: its start, its steps, and its validations."""
    record = trial.record(job)
    timing = record["calibration"]["timing"]
    names = ("step", "validation") if trial.clock == "seconds" else ("cpu_step", "cpu_validation")
    step, validation = (timing[name] for name in names)
    section = section_of(job)
    first = 2 if job.stage == "finetune_autoencoder" else 1  # validations of any training
    made = (WARM_UP + timing["timed_steps"] + record["steps"]) * step + (2 + first) * validation
    fixed = max(start, record[trial.clock] - made)
    if section.get("seconds"):
        return fixed + section["seconds"] * (step / timing["step"])
    every = section.get("validate_every")
    if job.stage in ("train_diffusion", "train_simvp"):
        every = VALIDATE_EVERY
    validations = first + (section["steps"] // every if every else 0)
    most = VALIDATED.get(job.stage) or section["validation_clips"]
    held_out = size.clips["validation"]
    watched = min(most, held_out) / min(most, HELD_OUT["validation"])
    if job.stage == "finetune_autoencoder":  # both networks on the clips that choose no weights
        validations += 2 * max(0.0, held_out - most) / min(most, held_out)
    return fixed + section["steps"] * step + validations * watched * validation


def section_of(job: Job) -> dict[str, Any]:
    """Return the part of a training's settings that says how long it is."""
    if job.stage in ("train_diffusion", "train_simvp"):
        return job.settings["predictor"]
    return job.settings["autoencoder"][job.stage.partition("_")[0]]


def job_dataset(plan: Plan, job: Job) -> str:
    """Return the dataset that a job works on, the first one of the report."""
    names = job.settings["name"]
    if names in plan.config.datasets:
        return names
    if names in plan.config.predictors:
        return plan.dataset_name({"predictor": names})
    if names in plan.config.autoencoders:
        return plan.config.autoencoders[names].dataset
    return plan.datasets[0]


def trial_size(trial: Trial) -> Size:
    """Return the size of each dataset of the trial."""
    generated = next(iter(trial.values["datasets"].values()))["generated"]
    counts = {side: generated[f"{side}_videos"] for side in ("train", *HELD_OUT)}
    held_out = sum(HELD_OUT.values())
    frames = counts["train"] * generated["frames"] + held_out * generated["held_out_frames"]
    return Size(sum(counts.values()), frames, counts)


if __name__ == "__main__":
    main()
