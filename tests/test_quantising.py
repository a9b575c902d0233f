"""Bytes of 16-bit and float arrays, against closed forms."""

import numpy as np
import pytest

from rsvp.data.quantising import Quantiser, range_between
from rsvp.data.sources import Rejected


def test_the_ends_of_the_range_are_black_and_white_and_the_rest_lies_between():
    quantiser = Quantiser(-1.0, 1.0)
    values = np.array([-7.0, -1.0, 0.0, 1.0, 1.5], np.float32)
    assert quantiser(values).tolist() == [0, 0, 128, 255, 255]  # 127.5 rounds to even
    assert quantiser.clipped_share == 2 / 5
    bits = np.arange(4096, dtype=np.uint16)
    expected = np.floor(bits.astype(float) * 255 / 4095 + 0.5)
    assert (Quantiser(0, 4095)(bits) == expected).all()


def test_the_error_of_even_values_is_a_step_over_the_root_of_twelve():
    quantiser = Quantiser(10.0, 20.0)
    for part in np.array_split(np.linspace(10, 20, 100_001), 3):  # one after the other
        quantiser(part)
    assert quantiser.error == pytest.approx(10 / 255 / 12**0.5, rel=1e-2)
    assert quantiser.clipped_share == 0


def test_clipping_counts_in_the_error():
    quantiser = Quantiser(0.0, 255.0)
    quantiser(np.array([0.0, 255.0, 258.0, -4.0]))
    assert (quantiser.error, quantiser.clipped_share) == (2.5, 0.5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(Rejected, match="1 of 3 values are not finite"):
        Quantiser(0.0, 1.0)(np.array([0.0, wrong, 1.0]))


def test_percentiles_leave_out_a_tenth_of_a_percent_at_each_end():
    values = np.random.default_rng(0).permutation(np.arange(100_001.0))
    found = range_between(np.append(values, np.nan))
    assert found == pytest.approx((100.0, 99_900.0))
    with pytest.raises(Rejected, match="both 3: nothing lies between"):
        range_between(np.full(9, 3))
