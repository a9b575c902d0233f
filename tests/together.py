"""Work in several processes that share a training, forked from one that has loaded everything.

Not from the tests' own process: PyTorch refuses a backward pass in a fork of one that made any.
"""

import multiprocessing
import multiprocessing.context
import os
import socket
from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from rsvp.config.stages import read_settings
from rsvp.runtime.followers import FIRST, PROCESSES
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.training import calibration
from rsvp.training.run import TrainingRun

STAGES = (
    "decode",
    "pretrain_autoencoder",
    "finetune_autoencoder",
    "cache_latents",
    "train_diffusion",
    "train_simvp",
)
KILLED = 7  # exit code
SECONDS = 120.0


def together(count: int, work: Callable[..., Any], *arguments: Any) -> list[int | None]:
    """Do `work` in `count` processes, each with its rank; return their exit codes."""
    context = forkserver()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    members = [
        context.Process(target=member, args=(rank, count, port, work, *arguments), daemon=True)
        for rank in range(count)
    ]
    for process in members:
        process.start()
    for process in members:
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
    return [process.exitcode for process in members]


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Return the context of fresh processes, which have loaded the stages."""
    context = multiprocessing.get_context("forkserver")
    modules = [f"rsvp.stages.{stage}" for stage in STAGES]
    modules += ["lightning_fabric", "benchmarks.speed"]  # the first one is imported by their `run`
    context.set_forkserver_preload(modules)
    return context


def member(rank: int, count: int, port: int, work: Callable[..., Any], *arguments: Any) -> None:
    """Do `work` as one of the processes that a launcher would have started."""
    os.environ |= {PROCESSES: str(count), FIRST: "a launcher", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), SAVE_SECONDS: "0"}
    work(*arguments)


def run_stages(jobs: list[tuple[str, Path, dict[str, Any], dict[str, Path]]]) -> None:
    """Run stages in turn: name, folder, settings and input files of each."""
    for stage, home, values, files in jobs:
        given = {
            "code": None,
            "shares": [],
            "watched": (),
            "state": home / "state",
            "index": home / "index.json",
        }
        given |= {"weights": home / "weights.safetensors", "history": home / "history.csv"} | files
        module = import_module(f"rsvp.stages.{stage}")
        module.run(Namespace(**given), read_settings(values))


def run_killed(jobs: list[tuple[str, Path, dict[str, Any], dict[str, Path]]], last: int) -> None:
    """Run a stage that dies in the middle of a step."""
    log = TrainingRun.log

    def die(run: TrainingRun, step: int, **losses: Any) -> None:
        if step == last:
            os._exit(KILLED)
        log(run, step, **losses)

    TrainingRun.log = die  # type: ignore[method-assign]
    run_stages(jobs)


def run_calibrated(jobs: list[tuple[str, Path, dict[str, Any], dict[str, Path]]]) -> None:
    """Run a stage that times as few steps as the first process happens to find enough."""
    calibration.WARM_UP, calibration.LEAST, calibration.TRIAL_STEPS = 1, 1, 9
    # Another process would never find them enough.
    calibration.ENOUGH_SECONDS = 0.0 if os.environ["LOCAL_RANK"] == "0" else 1e9
    run_stages(jobs)
