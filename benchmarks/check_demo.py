"""Check the results of the demo against what was promised of it.

Reads the report's tables and the autoencoder's indexes; prints one line per promise and exits 1
when one is not kept. LPIPS is promised of a demo that was scored with its weights.

    python benchmarks/check_demo.py results
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rsvp.runtime.errors import BAD_INPUT, UserError
from rsvp.runtime.files import read_json

PREDICTOR, AUTOENCODER, DATASET = "rsvp-m", "rsvp", "shapes"


@dataclass(frozen=True)
class Promise:
    """A promise, the found value (None: nothing), and whether it keeps the promise."""

    text: str
    found: float | None
    kept: bool

    def __str__(self) -> str:
        found = "not found" if self.found is None else f"{self.found:.3f}"
        return f"{'kept  ' if self.kept else 'BROKEN'}  {self.text}: {found}"


def main() -> None:
    """Print all promises and exit 0 where all are kept, 1 where one is not, 2 without results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results folder of the demo")
    results = parser.parse_args().results
    try:
        promises = [
            *prediction_promises(results),
            *finetune_promises(results),
            *decomposition_promises(results),
        ]
    except UserError as error:
        print(f"check_demo: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    print("\n".join(map(str, promises)))
    sys.exit(0 if all(promise.kept for promise in promises) else 1)


def prediction_promises(results: Path) -> Iterator[Promise]:
    """The predictor against the baselines: all test clips, groups resampled."""
    scores = read_table(results / "report/tables/results.csv")
    pairs = read_table(results / "report/tables/comparisons.csv")
    copy_last = f"{DATASET}.copy-last"
    pairs = pairs[(pairs["predictor"] == PREDICTOR) & (pairs["kind"] == "baseline")]
    # Not those of a protocol that takes more clips than the demo predicts.
    pairs = pairs[pairs["protocol"].str.match("(prediction|distribution):")]
    mean = pairs[(pairs["metric"] == "psnr") & (pairs["sampling"] == "mean")]
    yield at_least("PSNR of the mean above the best baseline by 1.5 dB", best(mean), "value", 1.5)
    yield at_least("PSNR of the mean, low end of the interval", best(mean), "low", 0.0)
    pairs = pairs[pairs["sampling"] != "mean"]
    psnr, inside = (pairs[pairs["metric"] == key] for key in ("psnr", "object_psnr"))
    yield at_least("PSNR of one above the best baseline by 1 dB", best(psnr), "value", 1.0)
    yield at_least("PSNR of one, low end of the interval", best(psnr), "low", 0.0)
    others = psnr[psnr["other"] == copy_last]
    yield at_least("PSNR of one above copy-last by 2 dB", others, "value", 2.0)
    yield at_least("object PSNR above the best baseline", best(inside), "value", 0.0)
    yield at_least("object PSNR, low end of the interval", best(inside), "low", 0.0)
    for metric in ("crps", "energy_score", "ssim", "motion_frechet"):
        yield advantage(pairs, metric)
    if pairs.loc[pairs["metric"] == "lpips", "value"].notna().any():
        yield advantage(pairs, "lpips")
    copied = scores[
        (scores["row"] == copy_last)
        & (scores["metric"] == "psnr")
        & (scores["sampling"] == "single")
    ]
    found = number(copied, "value")
    yield Promise("copy-last at 22 dB or less", found, found is not None and found <= 22.0)


def advantage(pairs: pd.DataFrame, metric: str) -> Promise:
    """That the predictor is better than each baseline on a metric; by how much than the closest.

    The text says whether the interval of that difference proves it.
    """
    text, lines = f"{metric} better than every baseline's", pairs[pairs["metric"] == metric]
    if lines.empty or lines["value"].isna().any():
        return Promise(text, None, False)
    signs = lines["better"].map({"higher": 1.0, "lower": -1.0})
    closest = (signs * lines["value"]).idxmin()
    found, ends = float((signs * lines["value"])[closest]), lines.loc[closest, ["low", "high"]]
    if not (signs[closest] * ends > 0.0).all():
        text += f", not proven against {lines.loc[closest, 'other'].removeprefix(f'{DATASET}.')}"
    return Promise(text, found, found > 0.0)


def decomposition_promises(results: Path) -> Iterator[Promise]:
    """That scene, object and motion are what they are called, for every seed."""
    for path in indexes(results, f"semantics/{AUTOENCODER}/seed*/index.json"):
        index = read_json(path)
        scores = pd.read_parquet(path.with_name("scores.parquet"))
        for score, goal in index["goals"].items():
            found = float(scores[score].mean()) if score in scores else None
            kept = found is not None and found >= goal
            yield Promise(f"{path.parent.name}: {score} at least {goal:g}", found, kept)


def finetune_promises(results: Path) -> Iterator[Promise]:
    """Adversarial fine-tuning: a better watched score at little cost, for every seed."""
    for index in indexes(results, f"autoencoders/{AUTOENCODER}/seed*/finetuned/index.json"):
        finetuned = read_json(index)
        seed = index.parent.parent.name
        # Of clips that are not watched; missing where all are.
        low = (finetuned["improvement"] or {}).get("low") or math.nan
        cost = math.nan if finetuned["psnr_cost"] is None else finetuned["psnr_cost"]
        yield Promise(f"{seed}: watched score improved, low end of the interval", low, low > 0)
        yield Promise(f"{seed}: PSNR that fine-tuning cost, 0.5 dB at most", cost, cost <= 0.5)


def at_least(text: str, lines: pd.DataFrame, column: str, least: float) -> Promise:
    """A promise about one number: `least` or more, and above 0."""
    found = number(lines, column)
    return Promise(text, found, found is not None and found >= least and found > 0)


def best(lines: pd.DataFrame) -> pd.DataFrame:
    """The comparison with the baseline that is hardest to beat."""
    return lines[lines["best_baseline"]]


def number(lines: pd.DataFrame, column: str) -> float | None:
    """The one number of a table that was cut down to one line; None where there is none."""
    if len(lines) != 1 or pd.isna(lines[column].iloc[0]):
        return None
    return float(lines[column].iloc[0])


def indexes(results: Path, pattern: str) -> list[Path]:
    """The indexes of all seeds; UserError where there is none, or nothing would be promised."""
    found = sorted(results.glob(pattern))
    if not found:
        raise UserError(f"{results / pattern}: no such file; run make demo first")
    return found


def read_table(path: Path) -> pd.DataFrame:
    """A table of the report."""
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run make demo first") from None


if __name__ == "__main__":
    main()
