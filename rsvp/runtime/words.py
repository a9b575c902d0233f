"""Durations, counts and lists in words, for lines on the terminal and for the report."""

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Return seconds as people say them: 4.2 s, 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def listed(names: Sequence[str]) -> str:
    """Return names as people list them: a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, which takes an s: 1 video, 0 videos, 12 videos."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
