"""Processes that share a training: the first one starts the others, which end with it.

The first one alone is what the workflow sees: it locks, logs, saves, writes, and is sent signals.
Over several nodes SLURM starts all of them, as the tasks of one step. Loads without torch.
"""

import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import NoReturn

from rsvp.runtime.errors import FAILED, UserError
from rsvp.runtime.lock import STARTER

# The workflow hands on `compute.processes` and `compute.nodes` here: as flags or settings they
# would make stages stale.
PROCESSES = "RSVP_PROCESSES"
NODES = "RSVP_NODES"
FIRST = "RSVP_FIRST_PROCESS"  # its process number; in other tasks of SLURM's, that of their step
CALLED_ON = "RSVP_CALLED_ON"  # the machine where the stage called srun, in the tasks of that step
FIRST_PORT, PORTS = 20_000, 12_000  # below those that a system gives away by itself
# Of another launcher; they would be taken for ours.
FOREIGN = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = 1.0  # seconds within which a process sees that the first one has ended


def process_count() -> int:
    """Return the number of processes that a training is to have."""
    return int(os.environ.get(PROCESSES, 1))


def node_count() -> int:
    """Return the number of nodes over which the processes of a training are spread."""
    return int(os.environ.get(NODES, 1))


def local_count() -> int:
    """Return the number of processes of a training on each node."""
    return process_count() // node_count()


def is_task() -> bool:
    """Check whether this is one of the tasks that share a training over several nodes."""
    return CALLED_ON in os.environ


def spread() -> NoReturn:
    """Become the call of srun that starts this stage once for each process of its training.

    UserError outside of SLURM.
    """
    if not os.environ.get("SLURM_JOB_ID") or not shutil.which("srun"):
        raise UserError(
            f"compute.nodes: {node_count()} needs a job of SLURM, whose srun starts the processes;"
            " run snakemake with --workflow-profile slurm, or set compute.nodes: 1"
        )
    os.environ[CALLED_ON] = platform.node()
    flags = [f"--nodes={node_count()}", f"--ntasks={process_count()}"]
    flags += [f"--ntasks-per-node={local_count()}", "--kill-on-bad-exit=1", "--input=none"]
    flags += ["--cpu-bind=none", "--distribution=block"]
    os.execvp("srun", ["srun", *flags, *sys.orig_argv])


def join() -> None:
    """Take this task's place among the processes, which the launcher of one machine names so."""
    os.environ["MASTER_ADDR"] = first_address()
    os.environ["MASTER_PORT"] = str(FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % PORTS)
    os.environ["NODE_RANK"] = os.environ["SLURM_NODEID"]
    os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
    first = os.environ["SLURM_PROCID"] == "0"
    os.environ[FIRST] = str(os.getpid() if first else os.getppid())
    if os.environ[CALLED_ON] != platform.node():
        os.environ.pop(STARTER, None)  # cannot be looked for from here


def first_address() -> str:
    """Return the address of the node of the first task, whose name need not be known elsewhere."""

    def ask(*words: str) -> str:
        command = ["scontrol", "--oneliner", "show", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    node = ask("hostnames", os.environ["SLURM_STEP_NODELIST"]).split()[0]
    found = re.search(r" NodeAddr=(\S+)", ask("node", node))
    return found[1] if found else node


def is_follower() -> bool:
    """Check whether another process has started this one to share its training."""
    return os.environ.get(FIRST, str(os.getpid())) != str(os.getpid())


def lead() -> None:
    """Make this the first process, where it is not a follower and starts the others."""
    if not is_follower() and not is_task():
        os.environ[FIRST] = str(os.getpid())
        for name in FOREIGN:
            os.environ.pop(name, None)


def follow() -> None:
    """Say nothing, hear no signal, and end with the first process, however it ends.

    A task ends with SLURM's process for its step on this node.
    """
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
