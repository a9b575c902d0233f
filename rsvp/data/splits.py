"""Training, validation and test videos, and the clips cut from them. Loads without torch.

A video's group (the gNN of UCF-101, within its class) is never on two sides where rsvp divides;
neither are copies of a file.
"""

import hashlib
import itertools
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rsvp.config.schema import Dataset, Split
from rsvp.data.sources import DAMAGED, Source, id_hash
from rsvp.data.timeline import Timeline, cuts, parts_in_time
from rsvp.runtime.errors import UserError, one_line

logger = logging.getLogger(__name__)

SIDES = ("train", "validation", "test")
SAMPLE = 64  # training videos whose values are looked at
SIDE_FOLDERS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validate": "validation",
    "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
WAYS_OUT = {
    "groups": "add videos of other groups, or use split.kind: time",
    "time": "use longer videos, shorter clips, or a smaller split.gap_seconds",
    "official": "add videos that the lists name for it",
    "folders": "add videos to its folder",
}
UCF_GROUPS = Split().group_pattern
# With fewer groups than sides, a class cannot be on each of them.
FEWEST_GROUPS = len(SIDES)


@dataclass(frozen=True, slots=True)
class Video:
    """A decoded video to be split: `frames` frames at `fps` per second.

    Where they come irregularly, that is their mean rate. `timeline`: of stored videos. `own_group`
    and `copy_of`: the group before copies shared one, and the first video of equal content; see
    `join_copies`.
    """

    id: str
    class_name: str
    group: str
    frames: int
    fps: float
    regular: bool = True
    timeline: Timeline | None = field(default=None, compare=False, repr=False)
    side: str = ""  # that the source names
    own_group: str = field(default="", compare=False, repr=False)
    copy_of: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Segment:
    """The frames `start` to `stop` - 1 of a video, which belong to one side."""

    video: Video
    side: str
    start: int
    stop: int


def describe(row: Mapping[str, Any], split: Split) -> Video:
    """Return a row of a frame cache's index as a `Video`, with its class and group.

    The class is the name of the video's folder, unless that folder only names the side. The group
    is what the pattern finds in the video's name; else what the source knows; else the video
    itself. A person is the same one in each class, but UCF-101 counts its groups anew.
    """
    folders = row["id"].split("/")[:-1]
    side = row.get("side", "") or (folders[0] if folders else "")
    if split.kind == "folders" and folders and side_of(folders[0]):
        folders = folders[1:]
    class_name = folders[-1] if folders else ""
    found = re.search(split.group_pattern, row["id"].rpartition("/")[2])
    number = found and found.group(1)
    within = class_name if split.group_pattern == UCF_GROUPS else ""
    group = f"{within}/{number}".lstrip("/") if number is not None else row.get("group", row["id"])
    rhythm = row.get("regular", True), row.get("timeline")
    return Video(row["id"], class_name, group, row["frames"], row["fps"], *rhythm, side_of(side))


def side_of(name: str) -> str:
    """Return the side that a folder or a column names, sky_train too; "" for none."""
    name = name.lower()
    return SIDE_FOLDERS.get(name) or SIDE_FOLDERS.get(name.rpartition("_")[2], "")


def join_copies(videos: Sequence[Video], contents: Mapping[str, str]) -> list[Video]:
    """Return the videos, those of equal content in one group; `contents` are hashes by id."""
    first: dict[str, Video] = {}
    joined: dict[str, str] = {}

    def whole(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    for video in videos:
        other = first.setdefault(contents[video.id], video)
        low, high = sorted((whole(video.group), whole(other.group)))
        if low != high:
            joined[high] = low
    if copies := len(videos) - len(first):
        logger.info("%d videos are copies of others; they share a group", copies)
    return [
        replace(
            video, group=whole(video.group), own_group=video.group,
            copy_of=first[contents[video.id]].id,
        )
        for video in videos
    ]  # fmt: skip


def classes_of(videos: Iterable[Video]) -> dict[str, str | None]:
    """Return the class of each group; None for groups of several classes."""
    found: dict[str, str | None] = {}
    for video in videos:
        if found.setdefault(video.group, video.class_name) != video.class_name:
            found[video.group] = None
    return found


def split_videos(videos: Sequence[Video], split: Split) -> list[Segment]:
    """Return the side of each video, or of its parts; videos that belong to none are left out.

    Raises UserError when the lists or folders that the config names do not fit the videos.
    """
    if split.kind == "time":
        return [segment for video in videos for segment in cut_in_time(video, split)]
    if split.kind == "groups":
        named = group_sides(videos, split)
    elif split.kind == "official":
        named = official_sides(videos, split)
    else:
        named = folder_sides(videos)
    left_out = len(videos) - len(named)
    if left_out:
        logger.warning("%d of %d videos belong to no side and are left out", left_out, len(videos))
    members = [video for video in videos if video.id in named]
    add_validation(members, named, split)
    warn_of_leaks(members, named)
    return [Segment(video, named[video.id], 0, video.frames) for video in members]


def training_sample(
    sources: Iterable[Source], contents: Mapping[str, str], split: Split
) -> list[Source]:
    """Return the first training videos by hash of their id, sorted by id, before they are decoded.

    contents: hashes by id. Videos that decoding rejects still count while groups are divided.
    """
    whole = {source.id: source for source in sources if not source.part.startswith(DAMAGED)}
    rows = ({"id": name, "frames": 1, "fps": 1.0} | whole[name].known for name in whole)
    videos = join_copies([describe(row, split) for row in rows], contents)
    segments = split_videos(videos, split)
    names = {segment.video.id for segment in segments if segment.side == "train"}
    return [whole[name] for name in sorted(sorted(names, key=id_hash)[:SAMPLE])]


def group_sides(videos: Sequence[Video], split: Split) -> dict[str, str]:
    """Return sides by group: those that the config names, others by hash.

    UserError where it names a group that is not there, or tears equal videos apart.
    """
    own = {video.id: video.own_group or video.group for video in videos}
    lists = {"test": split.test_groups or [], "validation": split.validation_groups or []}
    known = set(own.values())
    for side, listed in lists.items():
        if missing := [group for group in listed if group not in known]:
            raise UserError(
                f"split.{side}_groups: no video of {', '.join(missing[:5])}; the groups are"
                f" {', '.join(sorted(known)[:5])}, …"
            )
    named = {group: side for side, listed in lists.items() for group in listed}
    if split.test_groups is None:
        warn_of_classes(videos)
        sides = {video.group: named[own[video.id]] for video in videos if own[video.id] in named}
        others = classes_of(video for video in videos if video.group not in sides)
        sides |= hold_out(others, "test", split.test_fraction, split.seed)
        return {video.id: sides[video.group] for video in videos}
    found = {video.id: named.get(own[video.id], "train") for video in videos}
    for video in videos:
        side, other = found[video.id], found.get(video.copy_of)
        if other and other != side:
            raise UserError(
                f"split.test_groups: {video.copy_of} ({other}) and {video.id} ({side}) are equal;"
                f" name the groups {own[video.copy_of]} and {own[video.id]} on one side, or remove"
                " one of the videos"
            )
    return found


def warn_of_classes(videos: Sequence[Video]) -> None:
    """Warn where each class is one group of several videos, so that whole classes are held out."""
    groups = classes_of(videos)
    classes = {video.class_name for video in videos}
    if 1 < len(classes) == len(groups) < len(videos) and set(groups.values()) == classes:
        logger.warning(
            "each class is one group, %s say, so no class is on two sides; a split.group_pattern"
            " as '_(\\d+)$' tells its videos apart",
            one_line(min(groups)),
        )


def add_validation(videos: Sequence[Video], named: dict[str, str], split: Split) -> None:
    """Move whole training groups to validation where nothing is for it."""
    if "validation" in named.values():
        return
    train = classes_of(video for video in videos if named[video.id] == "train")
    sides = hold_out(train, "validation", split.validation_fraction, split.seed)
    for video in videos:
        if named[video.id] == "train":
            named[video.id] = sides[video.group]


def hold_out(
    groups: Mapping[str, str | None], side: str, fraction: float, seed: int
) -> dict[str, str]:
    """Return the side of each group: "train", or `side` for about `fraction` of them.

    `groups` maps a group to its class. Each class with enough groups gives at least one, the first
    by hash of seed and group; the small classes, and groups of several, are dealt with as if they
    were one.
    """
    classes: defaultdict[str | None, list[str]] = defaultdict(list)
    sizes = Counter(groups.values())
    for group, class_name in groups.items():
        classes[class_name if sizes[class_name] >= FEWEST_GROUPS else None].append(group)
    sides = dict.fromkeys(groups, "train")
    for class_name, members in classes.items():
        count = round(fraction * len(members))
        # Two must stay, for training and validation, while the test side is chosen.
        stay = 2 if side == "test" else 1
        if class_name is not None or len(classes) == 1:
            count = max(count, 1)
        count = max(0, min(count, len(members) - stay))
        members.sort(key=lambda group: draw(group, side, seed))
        for group in members[:count]:
            sides[group] = side
    return sides


def draw(group: str, side: str, seed: int) -> str:
    """Return a group's rank in the draw, whatever other groups there are."""
    return hashlib.sha256(f"{seed}/{side}/{group}".encode()).hexdigest()


def official_sides(videos: Sequence[Video], split: Split) -> dict[str, str]:
    """Return sides by UCF-101's lists, trainlistNN.txt and testlistNN.txt.

    Names are compared without case: the archive and the lists write HandstandPushups differently.
    """
    folder = Path(split.lists or "").expanduser()
    listed: dict[str, str] = {}
    for side in ("train", "test"):
        names = read_list(folder / f"{side}list{split.number:02d}.txt")
        if side == "test" and split.every:
            names = names[: len(names) // split.every * split.every : split.every]
        for name in names:
            if listed.setdefault(name, side) != side:
                raise UserError(f"{folder}: '{name}' is in the train and the test list")
    named, known = {}, set()
    for video in videos:
        name = list_name(video)
        if name in listed:
            named[video.id] = listed[name]
            known.add(name)
    if not named:
        raise UserError(
            f"{folder}: none of the {len(videos)} videos is in the lists; they name"
            f" class/video.avi, as {next(iter(listed))}"
        )
    if len(known) < len(listed):
        logger.info("%d of %d listed videos are not here", len(listed) - len(known), len(listed))
    return named


def list_name(video: Video) -> str:
    """Return a video's name as lists have it: class/video in lower case."""
    return "/".join(video.id.lower().split("/")[-2:])


def read_list(path: Path) -> list[str]:
    """Read the names in one list: class/video in lower case, without suffix and labels."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{path}: {reason}; see 'split.lists' of the dataset") from None
    names = [re.sub(r"\s+\d+$", "", line.strip()) for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: names no video; see 'split.lists' of the dataset")
    # Lists made on Windows may have backslashes between class and video.
    names = [name if "/" in name else name.replace("\\", "/") for name in names]
    return [re.sub(r"\.[^./]+$", "", name).lower() for name in names]


def folder_sides(videos: Sequence[Video]) -> dict[str, str]:
    """Return sides by what the source or the first folder names: train, val or validation, test."""
    named = {video.id: video.side for video in videos if video.side}
    if not named:
        raise UserError(
            "split.kind is folders, but no video lies below a folder train, val or test, and the"
            " source names no side; rename the folders or choose another split.kind"
        )
    return named


def warn_of_leaks(videos: Iterable[Video], named: Mapping[str, str]) -> None:
    """Warn when lists or folders put one group on two sides."""
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for video in videos:
        sides[video.group].add(named[video.id])
    torn = [group for group, names in sides.items() if len(names) > 1]
    if torn:
        logger.warning(
            "%d groups are on two sides of the split, the first is %s", len(torn), one_line(torn[0])
        )


def cut_in_time(video: Video, split: Split) -> list[Segment]:
    """Cut a video into training, validation and test part, with the gap between them left out."""
    gap = round(split.gap_seconds * video.fps)
    train, validation, test = parts_in_time(video.frames, video.fps, split)
    ends = {
        "train": (0, train),
        "validation": (train + gap, train + gap + validation),
        "test": (train + validation + 2 * gap, train + validation + test + 2 * gap),
    }
    return [Segment(video, side, *frames_between(video, *end)) for side, end in ends.items()]


def frames_between(video: Video, start: int, stop: int) -> tuple[int, int]:
    """Return the places of frames between two moments, in frames of the mean length."""
    if video.regular or video.timeline is None:
        return start, stop
    times = video.timeline.times
    moments = (np.array([start, stop]) - 0.5) / video.fps
    first, end = np.searchsorted(times - times[0], moments)
    return int(first), int(end)


def shots_of(segment: Segment) -> list[Segment]:
    """Return the parts of a segment between its cuts."""
    found = cuts(segment.video.timeline.changes)
    within = found[(found > segment.start) & (found < segment.stop)].tolist()
    bounds = [segment.start, *within, segment.stop]
    return [replace(segment, start=a, stop=b) for a, b in itertools.pairwise(bounds)]


def by_time(dataset: Dataset, regular: bool, repeated: bool) -> bool:
    """Check whether clips have to look at the times of a video's frames, and at equal ones.

    regular: whether the frames come regularly. repeated: whether some equal the one before.
    """
    return bool(dataset.skip_repeated and repeated) or bool(dataset.target_fps and not regular)


def timed(video: Video, dataset: Dataset) -> bool:
    """Check whether a stored video's clips have to look at times and changes of its frames."""
    if video.timeline is None:
        return False
    return by_time(dataset, video.regular, bool((video.timeline.changes[1:] == 0).any()))


def frame_stride(dataset: Dataset, fps: float) -> float:
    """Return the stored frames from one frame of a clip to the next."""
    return fps / dataset.target_fps if dataset.target_fps else float(dataset.frame_stride)


def clip_rows(frames: int, stride: float) -> np.ndarray:
    """Return the offsets of a clip's frames from its first, in stored frames: int (T,)."""
    return np.rint(np.arange(frames) * stride).astype(np.int64)


def clip_offsets(video: Video, start: int, stop: int, count: int, dataset: Dataset) -> np.ndarray:
    """Return the offsets of a clip's frames from its first, `start`; fewer if it meets `stop`."""
    if timed(video, dataset):
        return video.timeline[start:stop].clip(
            count, dataset.frame_stride, dataset.target_fps, bool(dataset.skip_repeated)
        )
    rows = clip_rows(count, frame_stride(dataset, video.fps))
    return rows[rows < stop - start]


def clip_starts(segment: Segment, dataset: Dataset) -> list[int]:
    """Return the first frame of each clip of a segment; empty if it is too short."""
    frames, stop = dataset.clip_frames, segment.stop

    def fits(start: int) -> bool:
        return len(clip_offsets(segment.video, start, stop, frames, dataset)) == frames

    stride, most = dataset.clip_stride, dataset.max_clips_per_video
    if segment.side == "train" and dataset.training_stride is not None:
        stride, most = dataset.training_stride, None
    starts = list(itertools.takewhile(fits, range(segment.start, stop, stride)))
    return [starts[place] for place in spread(len(starts), most)]


def spread(count: int, most: int | None) -> list[int]:
    """Return `most` whole numbers, or all, spread evenly over 0 to `count` - 1."""
    if most is None or most >= count:
        return list(range(count))
    return [int((2 * place + 1) * count / (2 * most)) for place in range(most)]


def why_no_clip(video: Video, dataset: Dataset) -> str | None:
    """Return the reason why no clip can be cut from a whole video, or None."""
    frames = dataset.clip_frames
    rows = clip_rows(frames, frame_stride(dataset, video.fps))
    if len(np.unique(rows)) < len(rows):
        return f"{video.fps:g} frames per second, target_fps {dataset.target_fps:g} repeats frames"
    found = len(clip_offsets(video, 0, video.frames, frames, dataset))
    if found == frames:
        return None
    if timed(video, dataset):
        return f"too short: {video.frames} frames give {found} of the {frames} of a clip"
    return f"too short: {video.frames} frames, a clip spans {rows[-1] + 1}"


def check_sides(clips: Mapping[str, int], segments: Sequence[Segment], split: Split) -> None:
    """Refuse a split that leaves a side without clips, in one line that says what to do."""
    empty = [side for side in SIDES if not clips.get(side)]
    if not empty:
        return
    videos = Counter(segment.side for segment in segments)
    groups = {side: {s.video.group for s in segments if s.side == side} for side in SIDES}
    have = ", ".join(f"{side} {videos[side]} ({len(groups[side])} groups)" for side in SIDES)
    raise UserError(f"no clips for {' and '.join(empty)}; videos: {have}; {WAYS_OUT[split.kind]}")
