"""Processes that share a training: the first one starts the others, which end with it.

The first one alone is what the workflow sees: it locks, logs, saves, writes, and is sent signals.
Loads without torch.
"""

import logging
import os
import signal
import threading
import time
import warnings

from rsvp.runtime.errors import FAILED

# The workflow hands on `compute.processes` here: as a flag or a setting it would make stages stale.
PROCESSES = "RSVP_PROCESSES"
FIRST = "RSVP_FIRST_PROCESS"  # its process number
# Of another launcher; they would be taken for ours.
FOREIGN = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = 1.0  # seconds within which a process sees that the first one has ended


def process_count() -> int:
    """Return the number of processes that a training is to have."""
    return int(os.environ.get(PROCESSES, 1))


def is_follower() -> bool:
    """Check whether another process has started this one to share its training."""
    return os.environ.get(FIRST, str(os.getpid())) != str(os.getpid())


def lead() -> None:
    """Make this the first process, where it is not a follower."""
    if not is_follower():
        os.environ[FIRST] = str(os.getpid())
        for name in FOREIGN:
            os.environ.pop(name, None)


def follow() -> None:
    """Say nothing, hear no signal, and end with the first process, however it ends."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    threading.Thread(target=end_with_first, daemon=True).start()


def end_with_first() -> None:
    """End this process as soon as the first one has ended."""
    while str(os.getppid()) == os.environ[FIRST]:
        time.sleep(PATIENCE / 5)
    os._exit(FAILED)
