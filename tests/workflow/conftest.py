"""Fixtures of the tests that run snakemake."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from projects import GUARD_LOG, Project, copy_project
from tiny import tiny_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project without results."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A tiny project that ran up to its report; to be looked at only.

    It is made once for all processes of a test run.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        project = Project(folder / "finished")
        if not project.folder.exists():
            made = tiny_project(folder / "unfinished")
            answer = made.snakemake(guard_log=made.folder / GUARD_LOG)
            assert answer.code == 0, answer.text
            # The next plan forgets the journals of what is finished.
            assert made.snakemake("-n").code == 0
            made.folder.rename(project.folder)
    return project


@pytest.fixture
def moved(finished: Project, tmp_path: Path) -> Project:
    """The finished project, copied elsewhere with its videos and results."""
    return Project(shutil.copytree(finished.folder, tmp_path / "elsewhere", symlinks=True))
