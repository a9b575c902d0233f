"""What the report tells about the run itself: training histories, costs, data, provenance."""

import math
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import EmptyDataError

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json
from rsvp.runtime.record import git_commit, installed_versions

ROOTS = ("datasets", "autoencoders", "predictors", "predictions", "real_features", "evaluation",
         "semantics", "memorisation")  # fmt: skip
KINDS = {
    "datasets": "dataset",
    "autoencoders": "autoencoder",
    "predictors": "predictor",
    "predictions": "predictions of",
    "real_features": "dataset",
    "evaluation": "row",
    "semantics": "autoencoder",
    "memorisation": "dataset",
}  # what is in a folder of ROOTS
ORDER = ("generate_videos", "decode", "split", "pretrain_autoencoder",
         "finetune_autoencoder", "cache_latents", "train_diffusion", "predict",
         "predict_baseline", "reconstruct",
         "real_features", "evaluate", "measure_semantics",
         "check_memorisation", "report")  # fmt: skip

MAKING = ("numpy", "scipy", "pandas", "matplotlib", "jinja2")  # packages that make the report


@dataclass(frozen=True)
class History:
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


def result_parts(path: Path) -> list[str]:
    """The folders of a result below the results folder: ["autoencoders", "rsvp", "seed0", …]."""
    folders = list(Path(path).parts[:-1])
    known = [place for place, part in enumerate(folders) if part in ROOTS]
    return folders[known[0] :] if known else folders


def result_label(path: Path) -> tuple[str, int]:
    """What a result is of, and its seed: ("autoencoder rsvp, pretrained", 0)."""
    parts = result_parts(path)
    seeds = [part.removeprefix("seed") for part in parts if part.startswith("seed")]
    seed = int(seeds[0]) if seeds and seeds[0].isdigit() else 0
    kind = KINDS.get(parts[0], parts[0]) if parts else ""
    rest = [part for part in parts[1:] if not (part.startswith("seed") and part[4:].isdigit())]
    name = rest[0] if rest else ""
    return ", ".join([f"{kind} {name}".strip(), *rest[1:]]), seed


def read_histories(paths: Iterable[Path]) -> list[History]:
    """Training histories, autoencoders before predictors, in the order of training."""
    histories = []
    for path in paths:
        try:
            table = pd.read_csv(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; run the training stage again") from None
        except (EmptyDataError, pd.errors.ParserError) as error:
            raise UserError(f"{path}: not a CSV table ({error}); train again") from None
        if "step" not in table:
            raise UserError(f"{path}: has no column 'step'; train again")
        stage, seed = result_label(path)
        histories.append(History(stage, seed, table))

    def place(history: History) -> tuple[bool, str, bool, int]:
        name = history.stage.split(",")[0]
        return name.startswith("predictor"), name, "finetuned" in history.stage, history.seed

    return sorted(histories, key=place)


def read_records(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Run records in the order of the pipeline, each with "label" and its seed."""
    records = []
    for path in paths:
        label, seed = result_label(path)
        record = read_json(path)
        records.append(record | {"label": label, "label_seed": seed})

    def place(record: dict[str, Any]) -> tuple[int, str, int]:
        stage = record.get("stage", "")
        return (
            ORDER.index(stage) if stage in ORDER else len(ORDER),
            record["label"],
            record["label_seed"],
        )

    return sorted(records, key=place)


def autoencoder_of(predictor: str, records: Iterable[dict[str, Any]]) -> str:
    """The autoencoder that a predictor was trained on; empty where no record says so."""
    found = {
        (record.get("stage"), settings["name"]): settings.get("predictor", {})
        for record in records
        if "name" in (settings := record.get("settings") or {})
    }
    trained = found.get(("predict", predictor), {}).get("same_as", predictor)
    return found.get(("train_diffusion", trained), {}).get("autoencoder", "")


def resize_of(dataset: str, records: Iterable[dict[str, Any]]) -> str:
    """The filter by which a dataset's frames were resized; empty where no record says so."""
    for record in records:
        settings = record.get("settings") or {}
        if record.get("stage") == "decode" and settings.get("name") == dataset:
            return settings.get("dataset", {}).get("resize", "")
    return ""


def sampler_of(predictor: str, records: Iterable[dict[str, Any]]) -> str:
    """How a predictor's futures were sampled, in words; empty where no record says so."""
    for record in records:
        settings = record.get("settings") or {}
        if record.get("stage") == "predict" and settings.get("name") == predictor:
            parts = settings.get("predictor", {})
            sampler, guidance = parts.get("sampler", {}), parts.get("guidance", {})
            facts = [f"{sampler.get('name')} sampler of {sampler.get('steps')} steps"]
            if record.get("network_evaluations"):
                facts.append(f"{record['network_evaluations']} network evaluations per future")
            facts += [f"{name} {value}" for name, value in (
                ("temperature", sampler.get("temperature")), ("guidance", guidance.get("scale"))
            ) if value is not None]  # fmt: skip
            return ", ".join(facts)
    return ""


def provenance(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Every commit, machine and package version that had a part, normally one of each.

    And which results were accepted although the code that made them had changed (`make accept`).
    """

    def distinct(values: Iterable[Any]) -> list[str]:
        return sorted({str(value) for value in values if value})

    packages = sorted({name for record in records for name in record.get("versions") or {}})
    hardware = [record.get("hardware") or {} for record in records]
    facts = {
        "commit": distinct(record.get("commit") for record in records),
        "machine": distinct(
            ", ".join(str(item[key]) for key in ("processor", "system", "machine") if item.get(key))
            + (f", {item['cores']} cores" if item.get("cores") else "")
            for item in hardware
        ),
        "GPU": distinct(record.get("gpu") for record in records),
        "threads": distinct(record.get("threads") for record in records),
        "started": distinct(record.get("started") for record in records)[:1],
        "accepted despite other code": distinct(
            f"{record.get('label')}: {note['why']} ({note['by']}, {note['when']})"
            for record in records
            for note in record.get("accepted", [])
        ),
    }
    for name in packages:
        facts[name] = distinct((record.get("versions") or {}).get(name) for record in records)
    return {name: values for name, values in facts.items() if values}


def made_by() -> str:
    """The commit and the package versions that make the report itself, in one line."""
    versions = {"python": platform.python_version()} | installed_versions(MAKING)
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"commit {git_commit() or 'not known (no git checkout)'}; {named}"


SPLITS = {  # how a dataset was divided, by its index's "split"
    "official": "By the official lists; validation is made of whole groups of the training list.",
    "folders": "By the folders train, validation and test that the videos lie in.",
    "groups": "Whole groups of related videos: none is on two sides.",
    "time": "Each video is cut in time, with a gap between the sides.",
}


@dataclass(frozen=True)
class DatasetFacts:
    """One dataset as the page describes it."""

    index: dict[str, Any]
    groups: dict[str, int]  # per split, where videos.csv names groups
    rejected: list[dict[str, str]]

    @property
    def split(self) -> str:
        """How it was divided, in a sentence."""
        return SPLITS.get(self.index.get("split", ""), "")


def read_dataset(path: Path) -> DatasetFacts:
    """A dataset's index with the tables of videos and of rejected files beside it."""
    index = read_json(path)
    rejected = read_table(Path(path).with_name("rejected.csv")).astype(str)
    videos = read_table(Path(path).with_name("videos.csv"))
    groups = {}
    if {"split", "group"} <= set(videos.columns):
        groups = {str(k): int(v) for k, v in videos.groupby("split")["group"].nunique().items()}
    return DatasetFacts(index, groups, rejected.to_dict("records"))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as text, empty where there is none."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (FileNotFoundError, EmptyDataError):
        return pd.DataFrame()


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: float | None) -> str:
    """A count with thin spaces between thousands; a dash for none."""
    if number is None or math.isnan(number):
        return "–"
    return f"{int(number):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
