"""Fixtures of the tests that run snakemake."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import plan
import pytest
import session
from jobs import Job
from projects import GUARD_LOG, Project, copy_project
from tiny import tiny_project

from rsvp.runtime import code


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
            made.folder.rename(project.folder)
    return project


@pytest.fixture
def moved(finished: Project, tmp_path: Path) -> Project:
    """The finished project, copied elsewhere with its videos and results."""
    return Project(shutil.copytree(finished.folder, tmp_path / "elsewhere", symlinks=True))


def read_once(path: Path, whole: Callable[..., Any] = code.read_source) -> Any:
    """Read a source as the plan does, once for all copies of the same bytes."""
    content = path.read_bytes()
    if content not in SOURCES:
        SOURCES[content] = whole(path)
    return SOURCES[content]


SOURCES: dict[bytes, Any] = {}


@pytest.fixture
def planned(monkeypatch) -> Callable[..., dict[Job, list[str]]]:
    """Asks in process what would run in a project, and why; its code and config may be edited."""

    monkeypatch.setattr(code, "read_source", read_once)

    def ask(project: Project, *flags: str) -> dict[Job, list[str]]:
        monkeypatch.chdir(project.folder)
        monkeypatch.setattr(code, "ROOT", project.folder)
        for function in (code.read_module, code.kept_sources, jobs.code_of, plan.closure_of):
            function.cache_clear()
        asked = session.plan_of(flags, None)
        stale = asked.state.stale(asked.jobs)
        assert all(job.code for job in stale)
        return stale

    yield ask
    for function in (code.read_module, code.kept_sources, jobs.code_of, plan.closure_of):
        function.cache_clear()
