"""Snakemake as a subprocess, in a temporary folder, on a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUARD = Path(__file__).parent / "guard"
GUARD_LOG = "guard.log"
RULES = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
STAGES = set(re.findall(r"-m (rsvp\.stages\.\w+)", RULES))  # the modules that rules run
PARTS = ("Snakefile", "config.yaml", "rsvp", "workflow", "profiles", "configs", "envs")


@dataclass
class Answer:
    """Exit code and output of one call of snakemake."""

    code: int
    text: str  # stdout and stderr

    @property
    def jobs(self) -> list[str]:
        """The messages of the jobs that were planned or run, sorted."""
        started = r"^(?:would run|\d\d:\d\d:\d\d start ) (.*?): "
        return sorted(re.findall(started, self.text, re.MULTILINE))

    @property
    def rules(self) -> dict[str, int]:
        """Return the number of planned jobs by rule, without the target."""
        told = re.findall(r"^jobs to do: \d+ \((.*)\)$", self.text, re.MULTILINE)
        return {rule: int(n) for n, rule in re.findall(r"(\d+) (\w+)", "".join(told[:1]))}

    @property
    def errors(self) -> list[str]:
        """Return rsvp's own lines, also those behind another job's progress bar."""
        return re.findall(r"rsvp(?: \w+)?: .*", self.text)


@dataclass
class Project:
    """A copy of the project, so that its files may be edited."""

    folder: Path

    def snakemake(
        self, *arguments: str, timeout: float = 1200, guard_log: Path | None = None
    ) -> Answer:
        """Run snakemake in the project's folder, for at most `timeout` seconds.

        With `guard_log` under the guard (guard/sitecustomize.py), which writes to that file.
        """
        command = [sys.executable, "-m", "snakemake", *arguments]
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if guard_log:
            clean |= {"PYTHONPATH": str(GUARD), "RSVP_GUARD_LOG": str(guard_log)}
        done = subprocess.run(
            command, cwd=self.folder, env=clean, capture_output=True, text=True, timeout=timeout
        )
        return Answer(done.returncode, done.stdout + done.stderr)

    def tool(self, name: str, *arguments: str) -> Answer:
        """Run one of the programs in workflow/ as `make` does."""
        command = [sys.executable, f"workflow/{name}.py", *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=1200,
        )
        return Answer(done.returncode, done.stdout + done.stderr)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in one of the project's files."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} lacks {old!r}"
        file.write_text(text.replace(old, new), encoding="utf-8")


def copy_project(folder: Path) -> Project:
    """Copy the workflow and the code to `folder`."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy2(source, folder / part)
    return Project(folder)
