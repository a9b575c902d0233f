"""The model card of a predictor: what it is, what it was trained on, and its numbers."""

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from rsvp.data.clips import Clips
from rsvp.data.predictions import VIDEO_RATE, Predictions, task_in
from rsvp.data.splits import spread
from rsvp.data.videos import draw_panels, upscale, write_animation
from rsvp.report.printing import Table, markdown_table
from rsvp.runtime.files import read_json
from rsvp.runtime.words import counted

SHOWN_CLIPS = 3  # of the animation, spread evenly over the test clips
SCALE = 2  # of its pixels


def card(
    *,
    name: str,
    seed: int,
    size: tuple[int, int],
    observed: Sequence[int],
    clip_frames: int,
    rate: str,
    dataset: Mapping[str, Any],
    metrics: pd.DataFrame,
    table: Table,
    split: str,
    animation: str,
) -> str:
    """Return the card as Markdown with a YAML head, as the Hugging Face Hub reads it.

    size: height and width. observed: places of the observed frames in a clip of `clip_frames`.
    dataset: its index. metrics: the frame of the results' table. table: its headline, printed.
    animation: the file that `write_examples` made; empty for none. split: of the clips that were
    scored.
    """
    environment = Environment(
        loader=PackageLoader("rsvp.report", ""), undefined=StrictUndefined, autoescape=False
    )
    places = ", ".join(str(place + 1) for place in sorted(observed))
    counts = [
        f"{counted(dataset['videos'][split], 'video')} and {counted(clips, 'clip')} ({split})"
        for split, clips in dataset["clips"].items()
    ]
    return environment.get_template("card.md.jinja").render(
        name=name,
        seed=seed,
        version=version("rsvp"),
        observed=f"frames {places} of {clip_frames}" if places else "nothing",
        future=clip_frames - len(observed),
        height=size[0],
        width=size[1],
        rate=rate,
        animation=animation,
        split=split,
        shown=f"Clips of the {split} split, spread evenly: the truth, and one trajectory. The bar"
        " is orange while frames are predicted.",
        dataset=dataset["dataset"],
        counts="; ".join(counts),
        files=dataset["files"],
        results=model_index(metrics[metrics["row"] == name]),
        table=markdown_table(table),
    )


def model_index(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the known numbers of one row, grouped by protocol, as a card's metadata has them."""
    known = metrics[metrics["value"].notna()]
    return [
        {
            "protocol": protocol,
            "metrics": [
                {
                    "key": line.metric,
                    "name": f"{line.metric}, {line.sampling}",
                    "value": line.value,
                    "low": None if math.isnan(line.low) else line.low,
                    "high": line.high,
                    "clips": line.clips,
                }
                for line in group.itertuples()
            ],
        }
        for protocol, group in known.groupby("protocol", sort=False)
    ]


def write_examples(path: Path, dataset: Path, predictions: Path) -> None:
    """Write an animation of test clips, the truth beside the first trajectory."""
    predicted = Predictions(predictions)
    task = task_in(predicted.index)
    frames = max(task.observed + task.predicted) + 1
    horizon = frames - read_json(dataset)["context_frames"]
    clips = Clips(dataset, predicted.index["split"], horizon)
    rows = []
    for number in spread(len(predicted), SHOWN_CLIPS):
        whole = clips.frames(clips.table["clip"].tolist().index(predicted.clips[number])).numpy()
        made = whole.copy()
        made[task.predicted] = predicted.frames(number)[0].numpy()
        rows.append([whole, made])
    after = sum(place > max(task.predicted) for place in task.observed)
    context = len(task.observed) - after
    write_animation(path, upscale(draw_panels(rows, context, after=after), SCALE), VIDEO_RATE)
