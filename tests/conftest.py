"""Fixtures that several test files use."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Networks in tests are tiny: their threads would only wait for each other, at four times the cost.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Copies of the project keep their compiled modules, which each process of a stage would make anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Files are not synced in the tests' own process: no machine loses its power here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that run the workflow come first: short ones at the end let both processes end
    together.

    One process makes the finished project by the first file. Those that need none come next, so
    that the other process does not wait for it.
    """
    needing = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}

    def rank(item: pytest.Item) -> int:
        if "workflow" not in item.path.parts:
            return 3
        return 0 if item.path.stem == "test_pipeline" else 2 if item.path in needing else 1

    items.sort(key=rank)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data; skips where it is absent, as in a user's checkout.

    It is `RSVP_SHARED`, or `../shared` from the project's root. RSVP_REQUIRE_SHARED=1 fails
    instead of skipping.
    """
    folder = Path(os.environ.get("RSVP_SHARED") or Path(__file__).parents[2] / "shared")
    if folder.is_dir():
        return folder
    reason = f"no reference data at {folder} (RSVP_SHARED names another folder)"
    if os.environ.get("RSVP_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    """The report's page on invented results, with its tables and plots beside it."""
    from tests.fake_results import make_report, make_results

    folder = tmp_path_factory.mktemp("results")
    return make_report(make_results(folder, clips=6, groups=3, views=True))


@pytest.fixture
def open_folder():
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
