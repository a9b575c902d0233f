"""Durations and counts in words."""

import pytest

from rsvp.runtime.words import counted, duration, listed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (4.21, "4.2 s"),
        (42.4, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7512, "2 h 05 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_one_of_a_thing_has_no_s():
    assert [counted(n, "video") for n in (0, 1, 2)] == ["0 videos", "1 video", "2 videos"]


def test_names_are_listed_as_people_do():
    assert [listed([*"abc"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
