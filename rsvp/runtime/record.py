"""The run record: settings, code, versions, hardware, time and memory of a stage."""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rsvp.runtime.code import ROOT, code_digest, short_digests

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "lightning-fabric",
    "snakemake",
    "av",
    "imageio-ffmpeg",
    "pillow",
    "lpips",
    "vector-quantize-pytorch",
)
# Where it is not the name with underscores.
IMPORTED_AS = {"opencv-python-headless": "cv2", "pillow": "PIL"}


def run_record(module: str, values: dict[str, Any], code: str | None) -> dict[str, Any]:
    """What a stage ran with: settings, code, commit, versions, hardware, peak memory."""
    return {
        "stage": module.rpartition(".")[2],
        "settings": values,
        "code": code or code_digest(module),
        "code_files": short_digests(module),
        "commit": git_commit(),
        "versions": {"python": platform.python_version()} | package_versions(),
        "seed": values.get("seed"),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processor": processor(),
            "cores": os.cpu_count(),
        },
        "peak_memory_mb": round(peak_memory_mb(), 1),
    } | torch_facts()


def torch_facts() -> dict[str, Any]:
    """Threads, GPU and its peak memory, in megabytes; what a stage without torch lacks is absent.

    The memory is that of tensors, as PyTorch allocated it.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    facts = {"threads": torch.get_num_threads()}
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["gpu_peak_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return facts


def git_commit() -> str | None:
    """The commit of the code, with '+' where the work tree differs; None outside git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def package_versions() -> dict[str, str]:
    """Versions of the packages that this process has loaded and that change numbers."""
    modules = {name: IMPORTED_AS.get(name, name.replace("-", "_")) for name in PACKAGES}
    loaded = [name for name, module in modules.items() if module in sys.modules]
    return installed_versions([*loaded, "snakemake"])


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def version_changes(
    ran: Mapping[str, str], running: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """(name, version that ran, version now) of what may change numbers and is not the same.

    Python counts by its minor version; Snakemake's version changes no number.
    """
    for name, version in ran.items():
        now = running.get(name, "none")
        if name == "python":
            version, now = minor(version), minor(now)
        if name != "snakemake" and version != now:
            yield name, version, now


def running_versions() -> dict[str, str]:
    """Versions that a stage would run with now."""
    return {"python": platform.python_version()} | installed_versions(PACKAGES)


def minor(version: str) -> str:
    """The first two parts of a version."""
    return ".".join(version.split(".")[:2])


def processor() -> str:
    """The CPU's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def peak_memory_mb() -> float:
    """Peak resident memory of this process in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10
