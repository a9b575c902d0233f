"""Say in one screen what works here, and what to do about what does not.

The GPU, the scheduler and its limits, the results folder's locks and room, the versions. Run it
where you start snakemake, and once in a job (`srun --gpus=1 rsvp doctor`).
"""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from rsvp.config.load import load, read_yaml, resolve_path
from rsvp.runtime.gpus import visible_gpus
from rsvp.runtime.main import run_command
from rsvp.runtime.record import running_versions

PLUGIN = "snakemake-executor-plugin-slurm"
VERSIONS = ("torch", "snakemake", PLUGIN, "snakemake-executor-plugin-cluster-generic")
LITTLE_GB = 20.0  # free on a disk
LONGEST = 720  # minutes that profiles/slurm asks for
LOCAL_LOCKS = ("localflock", "nolock", "local_lock=all", "local_lock=posix", "local_lock=flock")
Line = tuple[bool, str, str]  # whether it works, what it is about, what is found or to be done


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, help="of the results folder; default: config.yaml, where it is there"
    )
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each check; exit with 1 where one says that something is to be done."""
    config = arguments.config or Path("config.yaml")
    results = "results"  # where no config says otherwise
    if arguments.config or config.exists():
        results = load(read_yaml(config)).results
    results = Path(resolve_path(results, os.getcwd()))
    lines = [*versions(), *gpu(), *scheduler(), *storage(results)]
    for works, about, text in lines:
        print(f"{'ok ' if works else 'BAD'}  {about:<10} {text}")
    if not all(works for works, _, _ in lines):
        sys.exit(1)


def versions() -> Iterator[Line]:
    """Yield the versions of Python and of what matters here."""
    found = running_versions(VERSIONS)
    yield True, "versions", ", ".join(f"{name} {version}" for name, version in found.items())


def gpu() -> Iterator[Line]:
    """Yield what PyTorch sees of the GPUs that are left to this process."""
    names = visible_gpus()
    if not torch.cuda.is_available():
        yield (not names, "GPU",
               f"{len(names)} there, but PyTorch finds none: install its build for your driver"
               if names else "none here: networks run on the CPU")  # fmt: skip
        return
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        memory = f"{device.total_memory / 2**30:.0f} GiB"
        # Older ones only emulate it.
        precision = "bf16" if device.major >= 8 else "no bf16: networks run in 32 bit"
        yield True, "GPU", f"{number}: {device.name}, {memory}, {precision}"
    nccl = torch.distributed.is_nccl_available()
    yield nccl, "NCCL", "there" if nccl else "missing: one training uses one GPU"


def scheduler() -> Iterator[Line]:
    """Yield what SLURM offers, where there is one: the way to ask for states, and partitions."""
    if not shutil.which("sbatch"):
        yield True, "SLURM", "none here: `snakemake` runs all jobs on this machine"
        return
    if find_spec(PLUGIN.replace("-", "_")) is None:
        yield False, "SLURM", "Snakemake's plugin is missing: pip install 'rsvp[cluster]'"
    if asked("sacct", "--noheader", "--jobs=1") is None:
        yield True, "SLURM", "no accounting: set `slurm-status-command: squeue` in the profile"
    else:
        yield True, "SLURM", "accounting works: `slurm-status-command: sacct`"
    partitions = asked("sinfo", "--noheader", "--format=%P|%l|%m|%G|%a")
    if not partitions:
        yield False, "partitions", "sinfo names none: ask the site's administrators"
    for line in (partitions or "").splitlines():
        name, limit, memory, gpus, state = line.split("|")
        text = f"{name}: at most {limit}, {memory} MB a node, gres {gpus}, {state}"
        if minutes(limit) < LONGEST:
            text += f"; jobs there need a `runtime` of {minutes(limit):.0f} or less in the profile"
        yield True, "partition", text


def asked(*command: str) -> str | None:
    """Return what a command prints; None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def minutes(limit: str) -> float:
    """Return SLURM's time, [days-]hours:minutes:seconds or shorter, in minutes."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+)*", limit):  # infinite, UNLIMITED, n/a
        return float("inf")
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # With days it begins with hours, else it ends with seconds.
    hours, mins, seconds = [*parts, 0, 0][:3] if dash else [0, 0, *parts][-3:]
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def storage(results: Path) -> Iterator[Line]:
    """Yield what the results folder's file system can do, and the room that is left."""
    place = next(path for path in (results, *results.parents) if path.exists())
    with tempfile.TemporaryFile(dir=place) as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(stream, fcntl.LOCK_UN)  # over NFS both are one lock
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = ""
        except OSError as error:
            locked = f"cannot be locked ({error.strerror}): name another folder in `results`"
    kind, options = file_system(place)
    if alone := [option for option in LOCAL_LOCKS if option in options]:
        locked = (
            f"locks hold on each machine alone ({alone[0]}): jobs of SLURM are told apart by their"
            " numbers; start no two snakemakes on it from two machines"
        )
    yield not locked, "locks", f"{place} ({kind}): {locked or 'work'}"
    free = shutil.disk_usage(place).free / 1e9
    advice = "" if free >= LITTLE_GB else ": make room, or set `results` or `scratch`"
    yield not advice, "disk", f"{free:.0f} GB free{advice}"


def file_system(place: Path) -> tuple[str, list[str]]:
    """Return the kind and the options of the mount that a folder lies in, as Linux lists them."""
    best, found = "", ("unknown", [])
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        _, folder, kind, options, *_ = line.split()
        inside = place.resolve().is_relative_to(folder.replace("\\040", " "))
        if inside and len(folder) >= len(best):
            best, found = folder, (kind, options.split(","))
    return found


if __name__ == "__main__":
    main()
