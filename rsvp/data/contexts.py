"""Contexts: which frames of a clip a prediction may look at. Loads without torch.

A clip is given to an autoencoder with its observed frames first. So each context is, to it, a
number of frames at the front, and what was made for a prefix works for all. Of the observed frames
the last is the reference: the one just before what is predicted. Frames that follow what is
predicted therefore come before those that precede it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rsvp.config.schema import BETWEEN_BASELINES, ObservedFrames

PREFIX = "prefix"  # the context that each model has: the first `context_frames`


@dataclass(frozen=True)
class Task:
    """Observed and predicted frames of a row, as places in a clip."""

    observed: list[int]  # in the order in which autoencoders take them
    predicted: list[int]  # in time


def prefix_task(context_frames: int, clip_frames: int) -> Task:
    """Return the frames after the first `context_frames` from these."""
    return Task(list(range(context_frames)), list(range(context_frames, clip_frames)))


def task_of(context: ObservedFrames, trained_frames: int, clip_frames: int) -> Task:
    """Return a row's task in a context that was trained on clips of so many frames.

    From a beginning alone it rolls forward to `clip_frames`; other contexts cannot.
    """
    rolls = context.first > 0 and context.last == 0
    frames = clip_frames if rolls else trained_frames
    return Task(observed_frames(context, frames), predicted_frames(context, frames))


def contexts_of(
    context_frames: int, more: Mapping[str, ObservedFrames] | None
) -> dict[str, ObservedFrames]:
    """Return all contexts of a model by name, the prefix first."""
    return {PREFIX: ObservedFrames(first=context_frames)} | dict(more or {})


def fitting_baselines(context: ObservedFrames, prefix: list[str]) -> list[str]:
    """Return the baselines that make sense in a context; `prefix`: those of the prefix.

    With frames of one end alone they continue it, forwards or backwards.
    """
    if context.first and context.last:
        return list(BETWEEN_BASELINES)
    return prefix if context.first or context.last else []


def observed_frames(context: ObservedFrames, frames: int) -> list[int]:
    """Return the observed frames of a clip of so many, the reference last."""
    after = list(range(frames - context.last, frames))
    # Without frames before it, what is predicted follows backwards from the frame after it.
    return [*after, *range(context.first)] if context.first else after[::-1]


def predicted_frames(context: ObservedFrames, frames: int) -> list[int]:
    """Return the other frames of a clip of so many, in time."""
    return list(range(context.first, frames - context.last))


def clip_order(context: ObservedFrames, frames: int) -> list[int]:
    """Return all frames of a clip in the order in which autoencoders take them."""
    return observed_frames(context, frames) + predicted_frames(context, frames)
