"""Time of scoring a clip beside LPIPS's network alone, and memory of `rsvp compare` by clips.

Clips have 16 frames of 64 pixels, 4 of them observed, and 4 trajectories. The floor is the forward
pass of LPIPS's backbone, on the frames that a clip's scores need in one batch: the truth, the
trajectories and their mean. Both take turns in one process, on one thread, and the fastest of
`--repeats` counts, since others use the machine. Nothing is decoded.

Memory is that of a process of its own (Linux only), with files of arrays that are hard links to
few: what the process cannot give back, and pixel scores alone, as LPIPS holds one clip at a time.

    python -m benchmarks.scoring --weights ../shared/weights
    python -m benchmarks.scoring --clips 1000 10000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from benchmarks.evaluation import (
    BACKBONE,
    CONTEXT,
    FUTURE,
    LINEAR,
    SIZE,
    processor_seconds,
    watch_own_memory,
)
from rsvp.commands import compare
from rsvp.data.pixels import to_float
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.scoring import score_clip
from rsvp.runtime.main import tune_malloc

TRAJECTORIES = 4
FILES = 8  # different clips behind the links


def main() -> None:
    """Print the tables that the flags ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, help="folder of LPIPS's AlexNet weights: the time")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--clips", type=int, nargs="*", default=[], help="the memory")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tune_malloc()  # as commands and stages do
    if arguments.folder:
        print(json.dumps(compared(arguments.folder)))
        return
    if arguments.weights:
        print_times(arguments.weights, arguments.repeats)
    if arguments.clips:
        print("| clips | seconds per clip | processor seconds per clip | own memory, MB |")
        print("|---:|---:|---:|---:|")
    for clips in arguments.clips:
        found = in_process(clips)
        print(f"| {clips} | {found['seconds'] / clips:.3f} | {found['processor'] / clips:.3f} "
              f"| {found['own_mb']:.0f} |", flush=True)  # fmt: skip


@torch.no_grad()
def print_times(weights: Path, repeats: int) -> None:
    """Print the processor time of a clip's scores, with LPIPS and without, and of its network."""
    network = PerceptualDistance(weights / BACKBONE, weights / LINEAR)
    network = network.to(memory_format=torch.channels_last)
    shape = (TRAJECTORIES + 2, FUTURE, SIZE, SIZE, 3)
    frames = torch.from_numpy(np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8))
    real, predicted = frames[0], frames[1:-1]
    images = to_float(frames.flatten(0, 1).permute(0, 3, 1, 2))
    layers, scaling = network.network.net, network.network.scaling_layer
    timed = {
        "LPIPS's network alone": lambda: layers(scaling(images)),
        "all scores of a clip": lambda: score_clip(predicted, real, None, network, sampled=True),
        "of these, of pixels": lambda: score_clip(predicted, real, None, None, sampled=True),
    }
    fastest = dict.fromkeys(timed, float("inf"))
    for _ in range(repeats + 1):
        for name, work in timed.items():
            start = time.process_time()
            work()
            fastest[name] = min(fastest[name], time.process_time() - start)
    floor = next(iter(fastest.values()))
    print("| of a clip, K = 4 | processor ms | of the network's |")
    print("|---|---:|---:|")
    for name, seconds in fastest.items():
        print(f"| {name} | {1000 * seconds:.1f} | {seconds / floor:.2f} |")


def in_process(clips: int) -> dict[str, float]:
    """Seconds, processor seconds and memory of scoring so many clips by `rsvp compare`."""
    with tempfile.TemporaryDirectory() as folder:
        make_folders(Path(folder), clips)
        command = [sys.executable, "-m", "benchmarks.scoring", "--folder", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def make_folders(folder: Path, clips: int) -> None:
    """Real clips, and predicted ones with a folder of each trajectory."""
    random = np.random.RandomState(0)
    for name in ("real", *(f"predicted/{number}" for number in range(TRAJECTORIES))):
        home = folder / name
        home.mkdir(parents=True)
        for number in range(clips):
            path = home / f"c{number:06d}.npy"
            if number < FILES:
                shape = (CONTEXT + FUTURE, SIZE, SIZE, 3)
                np.save(path, random.randint(0, 256, shape).astype(np.uint8))
            else:
                os.link(home / f"c{number % FILES:06d}.npy", path)


def compared(folder: Path) -> dict[str, float]:
    """Score the folders in this process."""
    own = [0.0]
    threading.Thread(target=watch_own_memory, args=(own,), daemon=True).start()
    clock, processor = time.perf_counter(), processor_seconds()
    sys.argv = [
        "compare", "--real", str(folder / "real"), "--predicted", str(folder / "predicted"),
        "--protocol", "prediction", "--context", str(CONTEXT), "--out", str(folder / "out"),
        "--device", "cpu",
    ]  # fmt: skip
    with suppress(SystemExit):  # by which the command ends
        compare.main()
    return {
        "seconds": time.perf_counter() - clock,
        "processor": processor_seconds() - processor,
        "own_mb": own[0],
    }


if __name__ == "__main__":
    main()
