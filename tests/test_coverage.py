"""The simulated coverage of the report's intervals, at a small size: benchmarks/coverage.py."""

import pytest

from benchmarks.coverage import cases, chance, simulate

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize(
    ("name", "narrow_fails"),
    [
        ("paired difference of two rows, 13 groups", True),
        ("spread / skill, 13 groups", False),
        ("FVD, 30 groups, 8 dimensions", True),
        ("KVD, equal distributions, 13 groups", False),
        ("mean of a method, 13 groups, 3 seeds, their error none", False),
        ("mean of a method, 13 groups, 3 seeds, their error that of clips", True),
        ("mean of a method, 13 groups, 3 seeds, their error 3 times that of clips", True),
        ("difference of two methods, 13 groups, 3 seeds", True),
        ("FVD of a method, 30 groups, 8 dimensions, 3 seeds", True),
    ],
)
def test_intervals_hold_the_truth(name: str, narrow_fails: bool) -> None:
    found = simulate(CASES[name], draws=80, truth_draws=600)
    assert found.covered >= 0.88  # 70 of 80: 4 in 10,000 draws of a nominal interval fall below
    assert not narrow_fails or found.narrow < found.covered - 0.05


def test_holms_correction_keeps_chance_from_deciding() -> None:
    better, after = chance(seeds=1, draws=40)
    assert 0.01 < better < 0.05 and after <= 0.175  # 7 of 40: 3 in 1,000 at a true 5 %
