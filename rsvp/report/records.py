"""Metadata of the run: training histories, run records in the order of stages, data, provenance."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import EmptyDataError

from rsvp.config.schema import size_of
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json
from rsvp.runtime.record import git_commit, running_versions
from rsvp.runtime.words import counted

Record = dict[str, Any]
# By folder of the results, the kind of thing in it.
KINDS = {
    "datasets": "dataset", "autoencoders": "autoencoder", "predictors": "predictor",
    "predictions": "predictions of", "real_features": "dataset", "evaluation": "row",
    "semantics": "autoencoder", "memorisation": "dataset",
}  # fmt: skip
ORDER = (
    "generate_videos", "decode", "split", "pretrain_autoencoder", "finetune_autoencoder",
    "cache_latents", "train_diffusion", "train_simvp", "predict", "predict_simvp",
    "predict_baseline", "reconstruct",
    "real_features", "evaluate", "measure_semantics", "check_memorisation", "report",
)  # fmt: skip
MAKING = ("numpy", "scipy", "pandas", "matplotlib", "jinja2")  # packages that make the report


@dataclass(frozen=True)
class StageHistory:
    """The loss table of one training stage."""

    stage: str  # what is trained and how: "autoencoder rsvp, pretrained"
    seed: int
    table: pd.DataFrame  # step, seconds, then one column per curve

    @property
    def curves(self) -> list[str]:
        """Numeric columns but those that are 0 throughout: parts of a loss that is not used."""
        return [
            column
            for column in self.table.columns
            if column not in ("step", "seconds")
            and pd.api.types.is_numeric_dtype(self.table[column])
            and self.table[column].fillna(0).any()
        ]


def result_label(path: Path) -> tuple[str, int]:
    """The name of a result and its seed: ("autoencoder rsvp, pretrained", 0)."""
    folders = list(Path(path).parts[:-1])
    if "shares" in folders:  # of the clips of one result
        folders = folders[: folders.index("shares")]
    start = next((i for i, folder in enumerate(folders) if folder in KINDS), 0)
    kind, *rest = folders[start:] or [""]
    seeds = [part for part in rest if re.fullmatch(r"seed\d+", part)]
    name, *more = [part for part in rest if part not in seeds] or [""]
    seed = int(seeds[0].removeprefix("seed")) if seeds else 0
    return ", ".join([f"{KINDS.get(kind, kind)} {name}".strip(), *more]), seed


def read_histories(paths: Iterable[Path]) -> list[StageHistory]:
    """Training histories, autoencoders before predictors, in the order of training."""

    def place(history: StageHistory) -> tuple[bool, str, bool, int]:
        name = history.stage.split(",")[0]
        return name.startswith("predictor"), name, "finetuned" in history.stage, history.seed

    histories = []
    for path in paths:
        try:
            table = pd.read_csv(path).sort_values("step", kind="stable")
        except (OSError, KeyError, EmptyDataError, pd.errors.ParserError) as error:
            raise UserError(f"{path}: no table of losses ({error}); train again") from None
        histories.append(StageHistory(*result_label(path), table))
    return sorted(histories, key=place)


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Run records in the order of the pipeline, each with "label" and its seed."""

    def place(record: Record) -> tuple[int, str, int]:
        stage = record.get("stage", "")
        place = ORDER.index(stage) if stage in ORDER else len(ORDER)
        return place, record["label"], record["label_seed"]

    records = []
    for path in paths:
        label, seed = result_label(path)
        records.append(read_json(path) | {"label": label, "label_seed": seed})
    return sorted(records, key=place)


def record_of(records: Iterable[Record], stage: str, name: str) -> Record:
    """The first record of a stage for a dataset, autoencoder or predictor; empty without one.

    Its settings are there, if empty.
    """
    for record in records:
        settings = record.get("settings") or {}
        if record.get("stage") == stage and settings.get("name") == name:
            return record
    return {"settings": {}}


def autoencoder_of(predictor: str, records: Iterable[Record]) -> str:
    """The autoencoder that a predictor was trained on; empty where no record says so."""
    trained = record_of(records, "train_diffusion", trained_as(predictor, records))["settings"]
    return trained.get("predictor", {}).get("autoencoder", "")


def trained_as(predictor: str, records: Iterable[Record]) -> str:
    """The predictor whose training a predictor shares: itself, but for `same_as`."""
    own = record_of(records, "predict", predictor)["settings"].get("predictor", {})
    return own.get("same_as", predictor)


def resize_of(dataset: str, records: Iterable[Record]) -> str:
    """The filter by which a dataset's frames were resized; empty where no record says so."""
    settings = record_of(records, "decode", dataset)["settings"]
    return settings.get("dataset", {}).get("resize", "")


def sampler_of(predictor: str, records: Iterable[Record]) -> str:
    """The way in which a predictor was sampled, in words; empty where no record says so."""
    record = record_of(records, "predict", predictor)
    settings = record["settings"].get("predictor", {})
    if not record["settings"]:
        return ""
    sampler, guidance = settings.get("sampler", {}), settings.get("guidance", {})
    said = [f"{sampler.get('name')} sampler of {sampler.get('steps')} steps"]
    if record.get("network_evaluations"):
        said.append(f"{record['network_evaluations']} network evaluations per trajectory")
    values = {"temperature": sampler.get("temperature"), "guidance": guidance.get("scale")}
    said += [f"{name} {value}" for name, value in values.items() if value is not None]
    return ", ".join(said)


def provenance(records: Iterable[Record]) -> dict[str, list[str]]:
    """Every commit, machine and package version that had a part, normally one of each."""
    found: dict[str, set[str]] = {}
    for record in records:
        hardware = record.get("hardware") or {}
        cores = f"{hardware['cores']} cores" if hardware.get("cores") else ""
        names = (hardware.get(key) for key in ("processor", "system", "machine"))
        values = {
            "commit": record.get("commit"), "machine": ", ".join(filter(None, (*names, cores))),
            "GPU": record.get("gpu"), "threads": record.get("threads"),
            "started": record.get("started"), **(record.get("versions") or {}),
        }  # fmt: skip
        for name, value in values.items():
            found.setdefault(name, set()).update([str(value)] if value else [])
    first = {"started": sorted(found.get("started", ()))[:1]}
    return {name: values for name in found if (values := first.get(name, sorted(found[name])))}


def made_by() -> str:
    """The commit and the package versions that make the report itself, in one line."""
    versions = running_versions(MAKING)
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"commit {git_commit() or 'not known (no git checkout)'}; {named}"


SPLITS = {  # how a dataset was divided, by its index's "split"
    "official": "By the official lists; validation is made of whole groups of the training list.",
    "folders": "By the folders train, validation and test that the videos lie in.",
    "groups": "Whole groups of related videos: none is on two sides.",
    "time": "Each video is cut in time, with a gap between the sides.",
}


def read_dataset(path: Path) -> dict[str, Any]:
    """A dataset's index as the page describes it, with what the tables beside it say.

    That is "groups", their number by split where videos.csv names any, the "rejected" files, and
    "remarks" on the videos, in sentences.
    """
    videos = read_table(Path(path).with_name("videos.csv"))
    groups = {}
    if {"split", "group"} <= set(videos.columns):
        groups = videos.groupby("split")["group"].nunique().to_dict()
    rejected = read_table(Path(path).with_name("rejected.csv")).to_dict("records")
    index = read_json(path)
    more = {"groups": groups, "rejected": rejected, "remarks": remarks(index, videos)}
    more |= {"size": size_of(index["resolution"])}
    return index | more


def remarks(index: Mapping[str, Any], videos: pd.DataFrame) -> list[str]:
    """Say what was done to pictures, and of frames shown twice, cuts and irregular times."""
    if not {"picture", "regular", "repeated", "cuts", "frames"} <= set(videos.columns):
        return []
    counts = videos[["frames", "repeated", "cuts"]].astype(int).sum()
    irregular = int((videos["regular"] == "False").sum())
    skipped, cut = index["by_time"]["skip_repeated"], index["cut_shots"]
    pictures = videos["picture"].str.split("; ").explode().value_counts()
    said = [f"{name}: {counted(count, 'video')}." for name, count in pictures.items() if name]
    said += quantised(videos, index.get("range"))
    if irregular:
        said.append(f"Frames at irregular times: {counted(irregular, 'video')}.")
    if counts["repeated"]:
        what = "left out of clips" if skipped else "in clips, too (skip_repeated leaves them out)"
        said.append(
            f"Frames equal to the one before: {counts['repeated']} of {counts['frames']}, {what}."
        )
    if counts["cuts"]:
        what = "no clip spans one" if cut else "clips may span them (cut_shots ends them there)"
        said.append(f"Cuts from shot to shot: {counts['cuts']}; {what}.")
    return said


def quantised(videos: pd.DataFrame, limits: Mapping[str, Any] | None) -> list[str]:
    """Say what it cost to make bytes of stored numbers, where that was done."""
    if not limits or "clipped" not in videos or (rows := videos[videos["clipped"] != ""]).empty:
        return []
    clipped, error = (rows[key].astype(float) for key in ("clipped", "error"))
    frames = rows["frames"].astype(float)
    share = (frames * clipped).sum() / frames.sum()
    root = ((frames * error**2).sum() / frames.sum()) ** 0.5
    return [
        f"Numbers became bytes: {counted(len(rows), 'video')}; {limits['low']:.4g} is black and"
        f" {limits['high']:.4g} white{measured_in(limits)}. {share:.2%} of the values lay outside"
        f" and were clipped, and the root mean square error is {root:.3g}."
    ]


def measured_in(limits: Mapping[str, Any]) -> str:
    """Say which percentiles of which values the ends of a range are; "" where the config has it."""
    if "percentiles" not in limits:
        return ""
    low, high = limits["percentiles"]
    said = f", the percentiles {low:g} and {high:g} of {limits['values']} values of"
    said += f" {limits['videos']} training videos"
    if limits["elsewhere"]:
        said += f" ({limits['elsewhere']} of them turned out to be for validation or test)"
    return said


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as text, empty where there is none."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (FileNotFoundError, EmptyDataError):
        return pd.DataFrame()


def count(number: float | None) -> str:
    """A count with thin spaces between thousands; a dash for none."""
    if number is None or math.isnan(number):
        return "–"
    return f"{int(number):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
