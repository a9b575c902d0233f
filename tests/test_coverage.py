"""The simulated coverage of the report's intervals, at a small size: benchmarks/coverage.py."""

import pytest

from benchmarks.coverage import cases, simulate

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize(
    ("name", "groups_matter"),
    [
        ("paired difference of two rows, 13 groups", True),
        ("spread / skill, 13 groups", False),
        ("FVD, 30 groups, 8 dimensions", True),
        ("KVD, equal distributions, 13 groups", False),
    ],
)
def test_intervals_hold_the_truth(name: str, groups_matter: bool) -> None:
    found = simulate(CASES[name], draws=80, truth_draws=600)
    assert found.covered >= 0.88  # 70 of 80: 4 in 10,000 draws of a nominal interval fall below
    assert not groups_matter or found.by_clip < found.covered - 0.05
