"""Time per clip and peak memory of scoring a row, at two numbers of clips.

Runs the stages real_features and evaluate, each in a process of its own, on made clips of 16
frames (4 observed) at 64 pixels and one prediction of each. The time is that of the whole stage,
loading of networks included; processor time says more than the clock on a machine that others use.
Own memory is what the process cannot give back; the peak also counts pages of mapped frame files,
which the system drops when it needs room (Linux only).
I3D sees all of the clips, with seeded weights in place of the pretrained ones, which cost the same.

    python -m benchmarks.evaluation --weights ../shared/weights --csv evaluation.csv
"""

import argparse
import csv
import json
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from rsvp.config.stages import Settings
from rsvp.metrics import i3d
from rsvp.metrics.self_test import seeded_variables
from rsvp.runtime.record import peak_memory_mb
from rsvp.stages import evaluate, predict_baseline, real_features
from tests.squares import make_dataset

CONTEXT, FUTURE, SIZE = 4, 12, 64
STAGES = {"real_features": real_features, "evaluate": evaluate}
BACKBONE = "alexnet_features_imagenet1k_v1.safetensors"
LINEAR = "lpips_lin_v0.1_alex.safetensors"


def main() -> None:
    """Print one line per stage and number of clips."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--weights", type=Path, help="folder of LPIPS's AlexNet weights")
    parser.add_argument("--csv", type=Path, help="table to append the numbers to")
    parser.add_argument("--no-i3d", action="store_true", help="leave out the detector")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stage", help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(run_stage(arguments)))
        return
    print("| stage | clips | seconds per clip | processor seconds per clip | own memory, MB "
          "| peak memory, MB |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|")
    for clips in arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            make_predictions(Path(folder), clips)
            for stage in STAGES:
                found = in_process(stage, folder, arguments)
                if arguments.csv:
                    append(arguments.csv, found | {
                        "stage": stage, "clips": clips, "threads": arguments.threads,
                        "i3d": not arguments.no_i3d, "lpips": bool(arguments.weights),
                    })  # fmt: skip
                numbers = [f"{found[key] / clips:.3f}" for key in ("seconds", "processor")]
                numbers += [f"{found[key]:.0f}" for key in ("own_mb", "peak_mb")]
                print("|", " | ".join([stage, str(clips), *numbers]), "|", flush=True)


def make_predictions(folder: Path, clips: int) -> None:
    """A dataset of so many test clips, and their predictions by copy-last."""
    dataset = make_dataset(folder / "datasets/squares", ["test"] * clips, CONTEXT, FUTURE, SIZE)
    predict_baseline.run(
        Namespace(
            dataset=dataset, baseline="copy-last", predictions=folder / "predictions/index.json",
            state=folder / "predictions/state", code=None,
        ),
        Settings(),
    )  # fmt: skip


def append(path: Path, values: dict[str, Any]) -> None:
    """Add a line to a CSV, with a head where it is new."""
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, sorted(values))
        if new:
            writer.writeheader()
        writer.writerow(values)


def in_process(stage: str, folder: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of a stage."""
    command = [sys.executable, __file__, "--stage", stage, "--folder", folder]
    command += ["--threads", str(arguments.threads)] + ["--no-i3d"] * arguments.no_i3d
    if arguments.weights:
        command += ["--weights", str(arguments.weights)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def run_stage(arguments: argparse.Namespace) -> dict[str, float]:
    """Run a stage in this process."""
    torch.set_num_threads(arguments.threads)
    folder = arguments.folder
    settings = Settings(windows=[None])
    settings.compute.device, settings.compute.threads = "cpu", arguments.threads
    if arguments.weights:
        settings.weights.lpips_backbone = str(arguments.weights / BACKBONE)
        settings.weights.lpips_linear = str(arguments.weights / LINEAR)
    if not arguments.no_i3d:
        i3d.load_i3d = lambda path: i3d.I3D(seeded_variables())
        settings.weights.i3d = __file__  # of the right shapes; it is not read
    home = folder / arguments.stage
    own = [0.0]
    threading.Thread(target=watch_own_memory, args=(own,), daemon=True).start()
    clock, processor = time.perf_counter(), processor_seconds()
    STAGES[arguments.stage].run(
        Namespace(
            dataset=folder / "datasets/squares/index.json",
            predictions=folder / "predictions/index.json",
            real=folder / "real_features/index.json",
            scores=home / "scores.parquet", features=home / "features.safetensors",
            index=home / "index.json", state=home / "state", code=None,
        ),
        settings,
    )  # fmt: skip
    return {
        "seconds": time.perf_counter() - clock,
        "processor": processor_seconds() - processor,
        "own_mb": own[0],
        "peak_mb": peak_memory_mb(),
    }


def watch_own_memory(most: list[float]) -> None:
    """Keep the most megabytes of memory of this process's own in `most[0]`, as long as it runs."""
    while True:
        status = Path("/proc/self/status").read_text()
        kilobytes = re.search(r"RssAnon:\s+(\d+)", status)
        most[0] = max(most[0], int(kilobytes[1]) / 2**10 if kilobytes else 0.0)
        time.sleep(0.05)


def processor_seconds() -> float:
    """Of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
