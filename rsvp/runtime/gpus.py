"""A GPU of its own for each job, of those that are left to this run. Loads without torch."""

import logging
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TextIO

from rsvp.runtime.errors import UserError
from rsvp.runtime.lock import end_without_starter, try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = 0.5  # seconds between looks for a free GPU
DEVICES = Path("/dev")
logger = logging.getLogger(__name__)


def visible_gpus() -> list[str]:
    """Return the GPUs that the user or the scheduler left to this process, as CUDA names them."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        names = [name.strip() for name in named.split(",")]
        # CUDA ignores what follows an invalid name.
        ends = [place for place, name in enumerate(names) if name in ("", "-1", "NoDevFiles")]
        return names[: ends[0]] if ends else names
    # The driver's list below /proc also names those that a container may not use.
    if usable := sum(map(can_be_used, DEVICES.glob("nvidia[0-9]*"))):
        return [str(number) for number in range(usable)]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number, _ in enumerate(lines)]


def can_be_used(device: Path) -> bool:
    """Check whether this process may open a GPU's device file; a scheduler forbids others'."""
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError:
        return False
    return True


def hold_gpus(count: int) -> list[TextIO]:
    """Keep `count` GPUs from this user's other jobs here, and hide the others from this process.

    Waits until that many are free; the locks last until their streams are closed. Nothing is held
    where there is no GPU. UserError where there are fewer than `count`.
    """
    names = visible_gpus()
    if not names:
        return []
    if count > len(names):
        raise UserError(
            f"a training over {count} processes needs as many GPUs; here {len(names)} can be used"
            f" ({', '.join(names)}): start fewer processes, or name more in {VISIBLE}"
        )
    waits = False
    while len(held := lock_some(names, count)) < count:
        for _, stream in held:
            stream.close()
        if not waits:
            logger.warning("waiting for a free GPU of %s", ", ".join(names))
            waits = True
        time.sleep(PATIENCE)
        end_without_starter()
    os.environ[VISIBLE] = ",".join(name for name, _ in held)
    logger.debug("GPU %s", os.environ[VISIBLE])
    return [stream for _, stream in held]


def lock_some(names: list[str], count: int) -> list[tuple[str, TextIO]]:
    """Lock the first free GPUs, `count` of them at most."""
    folder = Path(tempfile.gettempdir(), f"rsvp-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    # In two jobs of a scheduler one name may mean two GPUs.
    job = os.environ.get("SLURM_JOB_ID", "here")
    held: list[tuple[str, TextIO]] = []
    for name in names:
        stream = open(folder / f"{job}-{name}".replace("/", "-"), "a", encoding="utf-8")  # noqa: SIM115
        if try_lock(stream):
            held.append((name, stream))
        else:
            stream.close()
        if len(held) == count:
            break
    return held
