"""The run record: settings, code, versions, hardware, time and memory of a stage."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rsvp.runtime.code import ROOT, code_digest, short_digests
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, write_json

PACKAGES = {  # and the names that they are imported by
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "scipy": "scipy",
    "opencv-python-headless": "cv2",
    "lightning-fabric": "lightning_fabric",
    "snakemake": "snakemake",
    "av": "av",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "pillow": "PIL",
    "lpips": "lpips",
    "vector-quantize-pytorch": "vector_quantize_pytorch",
}
USAGE = "usage.json"  # in a folder of state: the processes that worked on it
STARTED, CLOCK = datetime.now(UTC).isoformat(), time.perf_counter()  # of this process


def run_record(values: dict[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stage ran with: settings, code, commit, versions, hardware.

    `job`: what the workflow compares the record with later, by "roots" (its stage's module first).
    """
    roots = job["roots"]
    return {
        "stage": roots[0].rpartition(".")[2],
        "settings": values,
        "code": job["code"] or code_digest(*roots),
        "code_files": short_digests(*roots),
        "contents": job.get("contents", {}),
        "planned": job.get("planned", ""),
        "commit": git_commit(),
        "versions": running_versions(loaded_packages()),
        "seed": values.get("seed"),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processor": processor(),
            "cores": os.cpu_count(),
        },
    } | torch_metadata()


def torch_metadata() -> dict[str, Any]:
    """Return threads and GPU; a stage without torch has neither."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    threads = {"threads": torch.get_num_threads()}
    return threads | ({"gpu": torch.cuda.get_device_name()} if gpu_peak_memory_mb() else {})


def gpu_peak_memory_mb() -> float | None:
    """Return the most memory that PyTorch had allocated for tensors on the GPU; None without."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return round(torch.cuda.max_memory_allocated() / 2**20, 1) or None


def save_usage(state: Path | None) -> list[dict[str, Any]]:
    """Note time and memory of this process in a folder of state; return them of all its processes.

    So a stage that was killed and started again knows what all its runs took. Without a folder
    there is this process alone.
    """
    own = {"started": STARTED, "seconds": round(time.perf_counter() - CLOCK, 3)}
    # Of this process, of its threads, and of its children that have ended.
    own |= {"cpu_seconds": round(sum(os.times()[:4]), 3)}
    own |= {"peak_memory_mb": round(peak_memory_mb(), 1)}
    own |= {"gpu_peak_memory_mb": peak} if (peak := gpu_peak_memory_mb()) else {}
    if state is None or not state.is_dir():
        return [own]
    try:
        noted = read_json(state / USAGE)
    except UserError:  # none yet, or a broken one
        noted = []
    processes = [process for process in noted if process["started"] != STARTED] + [own]
    write_json(state / USAGE, processes)
    return processes


def total_usage(processes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the seconds of all processes together, and the peak memory of the largest."""
    total = {
        "started": datetime.fromisoformat(processes[0]["started"]).isoformat(timespec="seconds"),
        "seconds": round(sum(process["seconds"] for process in processes), 3),
        "cpu_seconds": round(sum(process.get("cpu_seconds", 0.0) for process in processes), 3),
        "processes": len(processes),
    }
    for name in ("peak_memory_mb", "gpu_peak_memory_mb"):
        if peaks := [process[name] for process in processes if name in process]:
            total[name] = max(peaks)
    return total


def git_commit() -> str | None:
    """Return the commit of the code, with '+' where the work tree differs; None outside git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def version_changes(
    ran: Mapping[str, str], running: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield (name, version that ran, version now) of packages that may change numbers and differ.

    Python counts by its minor version; Snakemake's version changes no number.
    """
    for name, version in ran.items():
        now = running.get(name, "none")
        if name == "python":
            version, now = minor(version), minor(now)
        if name != "snakemake" and version != now:
            yield name, version, now


def running_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def loaded_packages() -> list[str]:
    """Return the packages that this process has loaded and that change numbers, and Snakemake."""
    loaded = [name for name, module in PACKAGES.items() if module in sys.modules]
    return [*loaded, "snakemake"]


def minor(version: str) -> str:
    """Return the first two parts of a version."""
    return ".".join(version.split(".")[:2])


def processor() -> str:
    """Return the CPU's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def peak_memory_mb() -> float:
    """Return the peak resident memory, in megabytes, of the largest process: this, or a child.

    Only children that have ended count. A child's peak holds what it shared with this process when
    it was started, so the two are not added.
    """
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(processes).ru_maxrss for processes in who)
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10
