"""Promises of the demo: kept, broken, or not there to be checked."""

import pandas as pd
import pytest

from benchmarks import check_demo
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import write_json

BASELINES = ("shapes.copy-last", "shapes.flow-extrapolation")
BETTER = {  # metric, sampling -> whether less is better, how far the predictor is above each
    ("psnr", "single"): (False, (4.0, 1.5)),
    ("psnr", "mean"): (False, (5.0, 2.5)),
    ("object_psnr", "single"): (False, (4.0, 1.9)),
    ("ssim", "single"): (False, (0.6, 0.5)),
    ("crps", "all"): (True, (-8.0, -7.0)),
    ("energy_score", "all"): (True, (-9.0, -8.0)),
    ("lpips", "single"): (True, (-0.7, -0.8)),
    ("motion_frechet", "single"): (True, (-1600.0, -4.0)),
}


def results(folder, changed=None, scene=32.0, iou=0.63):
    """A demo's results that keep all promises, but for changed differences by (metric, other)."""
    lines = []
    for (metric, sampling), (less, values) in BETTER.items():
        protocol = "distribution" if metric.startswith("motion") else "prediction"
        for other, value in zip(BASELINES, values, strict=True):
            name = metric if sampling != "mean" else f"{metric} of the mean"
            value = (changed or {}).get((name, other), value)
            line = {"sampling": sampling} | {
                "protocol": f"{protocol}: all clips",
                "predictor": "rsvp-m",
                "other": other,
            }
            line |= {"kind": "baseline", "metric": metric, "value": value}
            line["low"] = None if value is None else value - 0.4
            line["high"] = None if value is None else value + 0.4
            lines.append(line | {
                "better": "lower" if less else "higher", "best_baseline": other == BASELINES[1]
            })  # fmt: skip
    # A protocol of more clips than there are says nothing.
    lines.append(lines[-1] | {"protocol": "fvd256_16f: 256 clips", "value": None, "low": None})
    tables = folder / "report/tables"
    tables.mkdir(parents=True)
    pd.DataFrame(lines).to_csv(tables / "comparisons.csv", index=False)
    score = {"row": BASELINES[0], "metric": "psnr", "sampling": "single", "value": 16.4}
    pd.DataFrame([score]).to_csv(tables / "results.csv", index=False)
    finetuned = {"improvement": {"low": 0.001}, "psnr_cost": -0.1}
    goals = {"goals": {"scene_psnr": 28.0, "object_iou": 0.6}}
    for path, content in (("autoencoders/rsvp/seed0/finetuned", finetuned),
                          ("semantics/rsvp/seed0", goals)):  # fmt: skip
        (folder / path).mkdir(parents=True)
        write_json(folder / path / "index.json", content)
    measured = {"scene_psnr": [scene - 1, scene + 1]} | ({"object_iou": [iou, iou]} if iou else {})
    pd.DataFrame(measured).to_parquet(folder / "semantics/rsvp/seed0/scores.parquet")
    return folder


def broken(folder):
    """The promises that are not kept."""
    made = (check_demo.prediction_promises, check_demo.finetune_promises,
            check_demo.decomposition_promises)  # fmt: skip
    return [p.text for promises in made for p in promises(folder) if not p.kept]


def test_all_is_kept(tmp_path):
    assert broken(results(tmp_path)) == []


@pytest.mark.parametrize(
    "change, said",
    [
        (
            {"changed": {("psnr of the mean", BASELINES[1]): 1.4}},
            "PSNR of the mean above the best baseline by 1.5 dB",
        ),
        ({"changed": {("psnr", BASELINES[1]): 0.9}}, "PSNR of one above the best baseline by 1 dB"),
        ({"changed": {("ssim", BASELINES[0]): -0.01}}, "ssim better than every baseline's"),
        ({"changed": {("psnr", BASELINES[0]): 1.9}}, "PSNR of one above copy-last by 2 dB"),
        ({"changed": {("crps", BASELINES[0]): 0.01}}, "crps better than every baseline's"),
        ({"changed": {("energy_score", BASELINES[0]): None}}, "energy_score better than every"),
        ({"changed": {("lpips", BASELINES[1]): 0.01}}, "lpips better than every baseline's"),
        ({"changed": {("motion_frechet", BASELINES[1]): 0.1}}, "motion_frechet better than every"),
        ({"scene": 27.0}, "seed0: scene_psnr at least 28"),
        ({"iou": None}, "seed0: object_iou at least 0.6"),
    ],
)
def test_a_broken_promise_is_told(tmp_path, change, said):
    (text,) = broken(results(tmp_path, **change))
    assert text.startswith(said)


def test_an_advantage_within_its_interval_is_told(tmp_path):
    close = {("motion_frechet", BASELINES[1]): -0.3}
    texts = [p.text for p in check_demo.prediction_promises(results(tmp_path, close)) if p.kept]
    assert (
        "motion_frechet better than every baseline's, not proven against flow-extrapolation"
        in texts
    )
    assert "crps better than every baseline's" in texts


@pytest.mark.parametrize("path", ["semantics/rsvp", "autoencoders/rsvp", "report/tables"])
def test_what_is_not_there_keeps_no_promise(tmp_path, path):
    results(tmp_path)
    (tmp_path / path).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="run make demo first"):
        broken(tmp_path)
