"""SLURM on this machine alone, for a test: Debian's packages, unpacked into a folder, on loopback.

It plays two nodes, of which jobs that name no partition get the first.

Nothing is installed: only /etc/slurm is made, where its programs look, and removed again.
"""

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
SYSTEM = Path("/etc/slurm")
HOST = platform.node().partition(".")[0]
SECOND = "second"  # a node that this machine plays, too; it has no GPU
CONFIG = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
# On loopback alone.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PluginDir={root}/usr/lib/{triplet}/slurm-wlm
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
MinJobAge=3600
KillWait=30
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:toy:2 State=UNKNOWN
NodeName={second} NodeHostname={host} NodeAddr=127.0.0.1 Port=16819 CPUs=2 RealMemory=64000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={host} PriorityTier=2 MaxTime=INFINITE State=UP
PartitionName=both Nodes=ALL MaxTime=INFINITE State=UP
"""
GPUS = "NodeName={host} Name=gpu Type=toy File={folder}/gpu[0-1]\n"


class OneNode:
    """A running SLURM with two pretended GPUs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        (library,) = self.root.glob("usr/lib/*/slurm-wlm")
        self.triplet = library.parent.name
        self.environment = os.environ | {
            "PATH": f"{self.root}/usr/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{library.parent}:{library}",
        }

    def start(self) -> None:
        """Start munge and the two daemons, and wait until the node takes jobs."""
        values = {"host": HOST, "second": SECOND, "folder": self.folder, "root": self.root}
        values["triplet"] = self.triplet
        for name, text in (("slurm.conf", CONFIG), ("gres.conf", GPUS)):
            (self.folder / "etc" / name).write_text(text.format(**values))
        for number in (0, 1):
            os.mknod(self.folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
        self.run("root/usr/sbin/mungekey", "--create", f"--keyfile={self.folder}/munge.key")
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid",
                 "log-file": "munged.log", "seed-file": "munged.seed"}  # fmt: skip
        flags = [f"--{flag}={self.folder / name}" for flag, name in files.items()]
        self.run("root/usr/sbin/munged", "--force", *flags)
        self.run("root/usr/sbin/slurmctld")
        for name in (HOST, SECOND):
            self.run("root/usr/sbin/slurmd", "-N", name, "-d", f"{self.root}/usr/sbin/slurmstepd")
        self.wait_for(lambda: {"idle"} == set(self.ask("sinfo", "-Nho", "%T").split()), 60)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of the unpacked programs, which must succeed; return its output."""
        command = [str(self.folder / program), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, program: str, *arguments: str) -> str:
        """Run one of SLURM's commands; return what it printed."""
        return self.run(f"root/usr/bin/{program}", *arguments).strip()

    def state(self, job: str) -> str:
        """Return the state of a job."""
        return self.ask("squeue", "--states=all", "-ho", "%T", "-j", job)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds; an error after so many seconds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def logs(self) -> str:
        """Return the ends of the daemons' logs."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in paths)

    def stop(self) -> None:
        """Stop the daemons by their numbers, and what calls and jobs left behind."""
        for name in (f"slurmd-{HOST}", f"slurmd-{SECOND}", "slurmctld", "munged"):
            path = self.folder / f"{name}.pid"
            if path.exists():
                end(int(path.read_text()), name.partition("-")[0])
        deadline = time.monotonic() + 30
        while (left := list(processes_of(self.folder))) and time.monotonic() < deadline:
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.2)


def end(number: int, name: str) -> None:
    """End a process of that name, and wait until it is gone."""
    status = Path(f"/proc/{number}/comm")
    with suppress(OSError):
        assert status.read_text().startswith(name)
        os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while status.exists():
            if time.monotonic() > deadline:
                os.kill(number, signal.SIGKILL)
            time.sleep(0.1)


def processes_of(folder: Path) -> Iterator[int]:
    """Yield the processes of this SLURM's daemons and jobs: their environment names its folder.

    That of a step's daemon is overwritten by its title, but its program lies there.
    """
    mark = f"LD_LIBRARY_PATH={folder}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = mark in (path / "environ").read_bytes()
            ours |= os.readlink(path / "exe").startswith(f"{folder}/")
            if ours and int(path.name) != os.getpid():
                yield int(path.name)


def unpack(folder: Path) -> str:
    """Download the packages and unpack them; return why that was not possible, or ""."""
    if os.getuid() or not shutil.which("apt-get"):
        return "SLURM is started by root on Debian alone"
    if SYSTEM.exists():
        return f"{SYSTEM} exists: a SLURM of this machine's own"
    (folder / "debs/partial").mkdir(parents=True)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "--download-only",
               "-o", f"Dir::Cache::archives={folder}/debs", *PACKAGES]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:  # for want of the list of packages, maybe
        subprocess.run(["apt-get", "update"], capture_output=True)
        done = subprocess.run(command, capture_output=True, text=True)
    packages = sorted(folder.glob("debs/*.deb"))
    if done.returncode or not packages:
        return f"SLURM cannot be downloaded: {done.stderr.strip()}"
    for package in packages:
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
    for name in ("slurmctld", "slurmd", "slurmstepd"):  # by which each knows which one it is
        (folder / "root/usr/sbin" / name).symlink_to(f"{name}-wlm")
    return ""


@contextmanager
def one_node(folder: Path) -> Iterator[OneNode]:
    """Start SLURM below an empty folder; stop it at the end."""
    for name in ("etc", "state"):
        (folder / name).mkdir()
    if SYSTEM.is_symlink() and not SYSTEM.exists():  # a killed test's
        SYSTEM.unlink()
    SYSTEM.symlink_to(folder / "etc")
    node = OneNode(folder)
    try:
        node.start()
        yield node
    finally:
        node.stop()
        SYSTEM.unlink()
