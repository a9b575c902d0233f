"""Runs of snakemake that are killed at random moments, and what they left."""

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from projects import Project

# What each stage's progress bar is called.
BARS = {
    "decode": "decode",
    "pretrain_autoencoder": "pretrain autoencoder",
    "finetune_autoencoder": "finetune autoencoder",
    "cache_latents": "cache train latents",
    "train_diffusion": "train diffusion",
    "predict": "predict",
    "evaluate": "evaluate",
}
TIMEOUT = 600.0
# Python imports this by itself: small stages take some seconds and show how far they are, so that
# there is a middle to be killed in.
SLOW_MOTION = """
import os, time, tqdm.std
bars = os.environ["SLOW_BARS"].split(",")
seconds = float(os.environ["SLOW_SECONDS"])
begin, update, each = (getattr(tqdm.std.tqdm, name) for name in ("__init__", "update", "__iter__"))

def slow_begin(self, *arguments, **options):
    begin(self, *arguments, **options | {"mininterval": 0.01, "miniters": 1})

def pause(self):
    if not self.disable and self.desc.rstrip(": ") in bars:  # a disabled bar has no name
        time.sleep(seconds / self.total)

def slow_update(self, n=1):
    pause(self)
    return update(self, n)

def slow_each(self):
    for item in each(self):
        yield item
        pause(self)

tqdm.std.tqdm.__init__, tqdm.std.tqdm.update, tqdm.std.tqdm.__iter__ = (
    slow_begin, slow_update, slow_each
)
"""

# Likewise: at a step a stage says so in one pipe, and waits for another one to be closed.
PAUSE = """
import os, tqdm.std
update = tqdm.std.tqdm.update

def paused(self, n=1):
    shown = update(self, n)
    if (self.desc.rstrip(": "), self.n) == (os.environ["PAUSE_BAR"], int(os.environ["PAUSE_AT"])):
        with open(os.environ["PAUSE_REACHED"], "wb") as stream:
            stream.write(b"x")
        with open(os.environ["PAUSE_RELEASE"], "rb") as stream:
            stream.read()
    return shown

tqdm.std.tqdm.update = paused
"""


@dataclass
class Kill:
    """One SIGKILL: what was hit, what it had done, and what is left of that."""

    stage: str
    whole_group: bool
    reached: int  # steps or batches, as its bar showed
    total: int
    left: int  # steps, videos or clips that are on disk to go on from
    seconds_lost: float  # since the stage began, or saved last
    text: str = field(repr=False)  # all that was printed


@dataclass
class Run:
    """One call of snakemake in slow motion and in a process group of its own.

    Its output is read as it comes.
    """

    project: Project
    seconds: float  # that each stage takes, at least
    targets: tuple[str, ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        values = {"SLOW_BARS": ",".join(BARS.values()), "SLOW_SECONDS": str(self.seconds)}
        self.start(SLOW_MOTION, values)

    def start(self, customize: str, values: dict[str, str]) -> None:
        """Start snakemake, whose processes run a piece of code when they start."""
        folder = self.project.folder / "customize"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(customize)
        environment = os.environ | {"PYTHONPATH": str(folder)} | values
        self.process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *self.targets],
            cwd=self.project.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Keep what is printed."""
        while part := os.read(self.process.stdout.fileno(), 65536):
            self.text += part.decode("utf-8", "replace")

    def processes(self, stage: str) -> list[int]:
        """The numbers of the stage's processes in this group."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if os.getpgid(int(folder.name)) == self.process.pid:
                    found += (
                        [int(folder.name)] if f"rsvp.stages.{stage}".encode() in command else []
                    )
            except (OSError, ValueError):
                continue
        return found

    def kill(self, stage: str, whole_group: bool) -> bool:
        """SIGKILL to the stage's process alone or to the whole group; False if it had ended."""
        found = self.processes(stage)
        if not found:
            return False
        if whole_group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            for number in found:
                os.kill(number, signal.SIGKILL)
        return True

    def wait(self) -> int:
        """The exit status, when all is read."""
        code = self.process.wait(TIMEOUT)
        self.reader.join(10)
        self.process.stdout.close()
        return code


@dataclass
class PausedRun(Run):
    """One call of snakemake whose `stage` stops at a step, until `release`."""

    seconds: float = 0.0
    stage: str = "train_diffusion"
    step: int = 1

    def __post_init__(self) -> None:
        reached, self.let_go = (self.project.folder / name for name in ("reached", "let go"))
        for path in (reached, self.let_go):
            os.mkfifo(path)
        values = {"PAUSE_BAR": BARS[self.stage], "PAUSE_AT": str(self.step)}
        values |= {"PAUSE_REACHED": str(reached), "PAUSE_RELEASE": str(self.let_go)}
        with open(os.open(reached, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            self.start(PAUSE, values)
            while not select.select([stream], [], [], 1.0)[0]:
                assert self.process.poll() is None, self.text

    def release(self) -> None:
        """Let the stage go on."""
        self.let_go.write_bytes(b"")


def progress(text: str, stage: str) -> list[tuple[int, int]]:
    """(done, of all) as often as a stage's bar was drawn."""
    bar = rf"(?:^|[\r\n]){BARS[stage]}: +\d+%\|[^|]*\| (\d+)/(\d+) "
    return [(int(done), int(total)) for done, total in re.findall(bar, text)]


STATES = {
    "decode": "datasets/*/frames/*/state/*",
    "pretrain_autoencoder": "autoencoders/*/*/pretrained/state/*",
    "finetune_autoencoder": "autoencoders/*/*/finetuned/state/*",
    "cache_latents": "autoencoders/*/*/latents/state/*",
    "train_diffusion": "predictors/*/*/state/*",
    "predict": "predictions/rsvp-m/*/state/*",
    "evaluate": "evaluation/*/*/state/*",
}


def saved(project: Project, stage: str) -> tuple[int, float]:
    """Return the work of a stage that is on disk, in steps, videos or clips, and its time."""
    left, newest = 0, 0.0
    for path in (project.folder / "results").glob(STATES[stage]):
        if path.name.startswith("state-"):
            left = max(left, int(path.stem.split("-")[1]))
        elif path.name.endswith(".journal.json"):
            saved = json.loads(path.read_text())
            left += saved["note"].get("handled", saved["items"])
        else:
            continue
        newest = max(newest, path.stat().st_mtime)
    return left, newest


def run_and_kill(
    project: Project,
    stage: str,
    whole_group: bool,
    chance: random.Random,
    seconds: float,
    targets: tuple[str, ...] = (),
) -> Kill:
    """Start snakemake; kill once `stage` has got somewhere, at a random moment after that.

    Raises when snakemake ends before, since then nothing was tested.
    """
    run = Run(project, seconds, targets)
    began, target = 0.0, None
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        bars = progress(run.text, stage)
        if bars and target is None:
            first, total = bars[0]
            began = time.time()
            most = int(0.9 * total)  # near the end it would be over before it is hit
            target = chance.randint(first + 1, most) if first < most else first
        if bars and bars[-1][0] >= target:
            time.sleep(chance.uniform(0.0, 0.2))
            now = time.time()
            if run.kill(stage, whole_group):
                assert run.wait() != 0, run.text
                left, newest = saved(project, stage)
                reached, total = progress(run.text, stage)[-1]
                lost = now - max(began, newest)
                return Kill(stage, whole_group, reached, total, left, lost, run.text)
        if run.process.poll() is not None:
            break
        time.sleep(0.02)
    if run.process.poll() is None:
        os.killpg(run.process.pid, signal.SIGKILL)
    raise AssertionError(f"{stage} was never killed:\n{run.text}")


# What is not a function of config, code and inputs: times, machines and logs.
VARYING = {"run.json", "log.txt", "benchmark.tsv", "usage.json"}
HELPING = {"state", "tensorboard", "settings", "plots"}  # folders


def compare(found: Path, expected: Path) -> int:
    """Assert that results are bit-equal to the last one; returns how many files were compared.

    Tables of times and of costs are left out, and the page that shows them.
    """
    count = 0
    for path in sorted(expected.rglob("*")):
        place = path.relative_to(expected)
        if path.is_dir() or path.name in VARYING or HELPING & set(place.parts):
            continue
        if any(part.startswith(".") for part in place.parts) or path.suffix == ".html":
            continue
        if place.parts[0] == "report" and re.search("cost|budget|time|second", place.name):
            continue
        assert (found / place).exists(), place
        if path.name == "history.csv":
            tables = [
                pd.read_csv(root / place).drop(columns="seconds") for root in (found, expected)
            ]
            pd.testing.assert_frame_equal(*tables)
        else:
            assert (found / place).read_bytes() == path.read_bytes(), place
        count += 1
    return count
