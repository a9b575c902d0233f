"""The test clips of UCF-101 that code bases of the field score: one of each of some videos.

docs/evaluation.md names the files that these choices were read in. Loads without torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rsvp.config.schema import Dataset, Split
from rsvp.data.splits import Segment, clip_starts, list_name, logger, read_list

MOST = 256  # clips
EVERY = 10  # of which test videos MCVD and FAR take the first


def chosen_videos(choice: str, count: int) -> list[int]:
    """Return the places in the test list of the videos that a code scores, of `count` in it.

    mcvd: every 10th, but not of a last part of fewer; `MOST` spread over those. extdm: `MOST`
    spread over all. far: every 10th, the first `MOST`.
    """
    if choice == "far":
        return list(range(0, count, EVERY))[:MOST]
    step = EVERY if choice == "mcvd" else 1
    found = count // step
    places = range(found)
    if found > MOST:
        places = [round(number / (MOST - 1) * (found - 1)) for number in range(MOST)]
    return [place * step for place in places]


def chosen_start(choice: str, starts: Sequence[int], random: np.random.Generator) -> int:
    """Return the first frame of a video's clip, of all at which one may start.

    mcvd: any but the last, at random. extdm, far: the first.
    """
    if choice != "mcvd" or len(starts) < 2:
        return starts[0]
    return starts[random.integers(len(starts) - 1)]


def chosen_clips(segments: Sequence[Segment], dataset: Dataset) -> dict[str, int]:
    """Return the test videos that `split.test_clips` takes, by id, and where their clips start.

    MCVD's random start follows from the split's seed and the video's place in the list. A video
    too short for a clip is left out.
    """
    split, order = dataset.split, list_order(dataset.split)
    tests = [segment for segment in segments if segment.side == "test"]
    tests.sort(key=lambda segment: order[list_name(segment.video)])
    every = dataset.model_copy(update={"clip_stride": 1, "max_clips_per_video": None})
    found = {}
    for place in chosen_videos(split.test_clips, len(tests)):
        if starts := clip_starts(tests[place], every):
            random = np.random.default_rng([split.seed, place])
            start = chosen_start(split.test_clips, starts, random)
            found[tests[place].video.id] = start
    logger.info("%d of %d test videos are scored as %s", len(found), len(tests), split.test_clips)
    return found


def list_order(split: Split) -> Mapping[str, int]:
    """Return the place of each name in the test list."""
    path = Path(split.lists or "").expanduser() / f"testlist{split.number:02d}.txt"
    return {name: place for place, name in enumerate(read_list(path))}
