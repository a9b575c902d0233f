"""Fixtures of the tests that run snakemake."""

from pathlib import Path

import pytest
from projects import Project, copy_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project without results."""
    return copy_project(tmp_path / "project")
