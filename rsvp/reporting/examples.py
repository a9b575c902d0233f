"""The playing examples: which clips are shown, chosen by rule and not by hand."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rsvp.errors import UserError
from rsvp.files import read_json
from rsvp.reporting.measures import PSNR
from rsvp.reporting.rows import Row

PLACES = ("best", "median", "worst")


@dataclass(frozen=True)
class Example:
    """One playing clip with the scores of the row that predicted it and of others."""

    place: str  # best, median or worst
    clip: str
    video: str  # data URI
    psnr: float  # dB, of the trajectory that plays
    others: list[tuple[str, float]]  # label and PSNR of the other rows on the same clip


def examples(row: Row, rows: list[Row], predictions: Iterable[Path], wanted: int) -> list[Example]:
    """The best, median and worst clips of a row by the PSNR of the trajectory that plays.

    Chosen among the clips of which the stage predict kept a video, under the row's first seed.
    """
    videos = kept_videos(row, predictions)
    psnr = shown_psnr(row)
    ranked = sorted((clip for clip in videos if clip in psnr), key=lambda clip: -psnr[clip])
    others = [(other.label, shown_psnr(other)) for other in rows if other is not row]
    return [
        Example(
            place, clip, data_uri(videos[clip]), psnr[clip],
            [(label, values[clip]) for label, values in others if clip in values],
        )
        for place, clip in pick(ranked, wanted)
    ]  # fmt: skip


def kept_videos(row: Row, predictions: Iterable[Path]) -> dict[str, Path]:
    """The video file of each clip that the row's first seed has one of."""
    for path in predictions:
        index = read_json(path)
        if (index["row"], index["seed"]) == (row.name, row.index["seed"]):
            return {item["clip"]: Path(path).parent / item["file"] for item in index["videos"]}
    return {}


def shown_psnr(row: Row) -> dict[str, float]:
    """PSNR per clip of trajectory 0, which is the one that the videos show."""
    scores = row.runs[0].scores
    if scores is None:
        return {}
    return scores[scores["trajectory"] == 0].groupby("clip")[PSNR.key].mean().to_dict()


def pick(ranked: list[str], wanted: int) -> list[tuple[str, str]]:
    """(place, clip): a third each from the top, the middle and the end of `ranked`, none twice."""
    wanted = min(wanted, len(ranked))
    sizes = [wanted // 3 + (place < wanted % 3) for place in range(3)]
    middle = (len(ranked) - sizes[1]) // 2
    middle = min(max(middle, sizes[0]), len(ranked) - sizes[2] - sizes[1])
    starts = [0, middle, len(ranked) - sizes[2]]
    return [
        (place, clip)
        for place, start, size in zip(PLACES, starts, sizes, strict=True)
        for clip in ranked[start : start + size]
    ]


def data_uri(path: Path) -> str:
    """An MP4 file as a data URI, so that the page carries it along."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage predict again") from None
    return "data:video/mp4;base64," + base64.b64encode(content).decode("ascii")
