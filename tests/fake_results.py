"""A small results folder with invented numbers, for the report's tests and its design.

`python -m tests.fake_results FOLDER` makes one with its report; nothing in it was measured.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import stored
from safetensors.numpy import save_file
from stored import write_frames

from rsvp.config.schema import BASELINES, PROTOCOLS, to_plain
from rsvp.config.stages import read_settings
from rsvp.metrics import definitions
from rsvp.runtime.files import read_json, sha256_of_file, write_json, write_text
from rsvp.stages.report import report_parser, run

CONTEXT, FUTURE, SIZE, TRAJECTORIES = 4, 12, 64, 4
CLIP = CONTEXT + FUTURE
QUALITY = {  # mean PSNR of the first future frame, and its loss per frame, in dB
    "rsvp-m": (26.0, 0.22),
    "copy-last": (24.6, 0.42),
    "context-median": (24.0, 0.24),
    "context-mean": (23.7, 0.23),
    "blurred-copy-last": (24.4, 0.36),
    "linear-extrapolation": (22.1, 0.75),
    "flow-extrapolation": (24.9, 0.40),
    "reconstruction": (30.2, 0.02),
}
PREDICTING = {
    "predictor": "predict",
    "baseline": "predict_baseline",
    "floor": "predict_baseline",
    "ceiling": "reconstruct",
}


def make_results(
    folder: Path,
    clips: int = 16,
    groups: int = 8,
    predictors: Sequence[str] = ("rsvp-m",),
    seeds: Sequence[int] = (0,),
    class_name: str = "shapes",
    lpips: bool = True,
    predictions: bool = True,
    views: bool = False,
) -> Path:
    """Write a results folder as the stages before the report would; returns `folder`.

    predictions: whether the predictors' frames are there; views: whether scene, object and motion
    of the clips are.
    """
    clip_ids = [f"{class_name}/v{i:03d}_g{i % groups:02d}@000000" for i in range(clips)]
    write_dataset(folder, clip_ids, groups)
    rows = [(name, "predictor", seed) for name in predictors for seed in seeds]
    rows += [(f"fake.{name}", "baseline", 0) for name in BASELINES]
    rows += [("rsvp.reconstruction", "ceiling", seed) for seed in seeds]
    rows += [("fake.real", "floor", 0)]
    for number, (row, kind, seed) in enumerate(rows):
        rng = np.random.default_rng([number, seed])
        write_evaluation(folder, row, kind, seed, clip_ids, groups, lpips, rng)
        write_json(
            folder / "predictions" / row / f"seed{seed}/run.json",
            record(PREDICTING[kind], seed, 21.7, 820.4),
        )
        if kind == "predictor" and predictions:
            write_predictions(folder, row, seed, clip_ids)
    copying = [(name, seed) for name in predictors for seed in seeds]
    write_memorisation(folder / "memorisation/fake", copying)
    for seed in seeds:
        if views:
            write_semantics(folder / f"semantics/rsvp/seed{seed}", seed, clip_ids, groups)
        autoencoder = {"name": "rsvp", "seed": seed}
        home = folder / f"autoencoders/rsvp/seed{seed}"
        write_training(home / "pretrained", seed, 1200, settings=autoencoder)
        early = {"stopped_by": "patience", "calibration": {"seconds": 60.0}}
        write_training(home / "finetuned", seed, 400, settings=autoencoder, **early)
        for name in predictors:
            home = folder / f"predictors/{name}/seed{seed}"
            settings = {"name": name, "seed": seed, "predictor": {"autoencoder": "rsvp"}}
            write_training(home, seed, 1500, settings=settings)
    return folder


def write_dataset(folder: Path, clip_ids: list[str], groups: int) -> None:
    """The dataset's index with its frames, and the tables of clips, videos and rejected files."""
    dataset = folder / "datasets/fake"
    shares = dataset / "frames/0"
    write_frames(shares, (moving_disc(number, CLIP, 1.0) for number in range(len(clip_ids))))
    pd.DataFrame({
        "clip": clip_ids, "video": [clip.split("@")[0] for clip in clip_ids], "class": "",
        "group": [f"g{i % groups:02d}" for i in range(len(clip_ids))], "split": "test",
        "share": 0, "offset": CLIP * np.arange(len(clip_ids)), "start": 0, "stride": 1.0,
    }).to_csv(dataset / "clips.csv", index=False, lineterminator="\n")  # fmt: skip
    counts = {"train": 192, "validation": 24, "test": len(clip_ids)}
    write_json(dataset / "index.json", {
        "dataset": "fake", "resolution": SIZE, "clip_frames": CLIP, "augment": "none",
        "context_frames": CONTEXT, "frame_rate": 25.0, "split": "folders",
        "clips": counts, "videos": counts,
        "files": {"clips.csv": sha256_of_file(dataset / "clips.csv")},
        "shares": [{"index": "frames/0/index.json",
                    "sha256": sha256_of_file(shares / "index.json")}],
        "truth": "videos",
    })  # fmt: skip
    rejected = pd.DataFrame({
        "id": ["shapes/broken", "shapes/short"], "path": ["shapes/broken.mp4", "shapes/short.mp4"],
        "reason": ["moov atom not found", "9 frames, a clip needs 16"],
    })  # fmt: skip
    rejected.to_csv(dataset / "rejected.csv", index=False)
    videos = [(clip.split("@")[0], f"g{i % groups:02d}") for i, clip in enumerate(clip_ids)]
    pd.DataFrame(videos, columns=["video", "group"]).assign(split="test").to_csv(
        dataset / "videos.csv", index=False
    )


def write_evaluation(
    folder: Path, row: str, kind: str, seed: int, clip_ids: list[str], groups: int,
    lpips: bool, rng: np.random.Generator,
) -> None:  # fmt: skip
    """One row's scores, features and index."""
    home = folder / "evaluation" / row / f"seed{seed}"
    home.mkdir(parents=True)
    trajectories = TRAJECTORIES if kind == "predictor" else 1
    write_json(home / "index.json", {
        "row": row, "kind": kind, "seed": seed, "dataset": "fake", "paired": kind != "floor",
        "trajectories": trajectories, "clips": len(clip_ids), "groups": groups,
        "context_frames": CONTEXT, "future_frames": FUTURE, "resolution": SIZE,
        "lpips": {"computed": lpips, "reason": "" if lpips else "weights.lpips_backbone is not set",
                  "backbone": "alexnet"},
        "detectors": {"i3d": {"computed": False, "reason": "weights.i3d is not set"}},
        "protocol": {"name": "prediction", "split": "test", "psnr_cap": 100.0, "data_range": 255,
                     "ssim": {"kernel": 11, "sigma": 1.5}}, "files": {},
    })  # fmt: skip
    if kind != "floor":
        scores = fake_scores(row.rsplit(".", 1)[-1], clip_ids, groups, trajectories, lpips, rng)
        scores.to_parquet(home / "scores.parquet")
    real = np.random.default_rng(9).normal(size=(len(clip_ids), 6)).astype(np.float32)
    shift = {"predictor": 0.4, "baseline": 1.2, "ceiling": 0.1, "floor": 0.0}[kind]
    predicted = rng.normal(loc=shift, size=real.shape).astype(np.float32)
    features = {"motion_predicted": predicted, "motion_real": real}
    features |= {
        f"groups_{side}": np.arange(len(clip_ids)) % groups for side in ("predicted", "real")
    }
    save_file(features, home / "features.safetensors")
    write_json(home / "run.json", record("evaluate", seed, 14.2, 610.0))


def fake_scores(
    name: str, clip_ids: list[str], groups: int, trajectories: int, lpips: bool,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Scores with an effect per clip that all rows share, so that pairing pays."""
    start, slope = QUALITY.get(name, (25.2, 0.25))
    shared = np.random.default_rng(5).normal(scale=2.0, size=len(clip_ids))
    lines = []
    for i, clip in enumerate(clip_ids):
        own = rng.normal(scale=0.5)
        for trajectory in [-1, *range(trajectories)]:
            bonus = 0.9 if trajectory < 0 < trajectories - 1 else rng.normal(scale=0.3)
            for frame in range(1, FUTURE + 1):
                psnr = start - slope * (frame - 1) + shared[i] + own + bonus
                hidden = i % 5 == 0 and frame > 9  # the object has left the picture
                lines.append((
                    clip, f"g{i % groups:02d}", trajectory, frame, psnr, 1 - 2.2 / psnr,
                    255**2 * 10 ** (-psnr / 10), 4 / psnr - 0.06 if lpips else np.nan,
                    np.nan if hidden else psnr - 7 + (3 if name == "rsvp-m" else 0),
                ))  # fmt: skip
    columns = ["clip", "group", "trajectory", "frame", "psnr", "ssim", "mse", "lpips"]
    scores = pd.DataFrame(lines, columns=[*columns, "object_psnr"])
    motion = {clip: 0.5 * (i + 1) for i, clip in enumerate(clip_ids)}
    scores = scores.assign(truth_motion=scores["clip"].map(motion))
    scores = scores.assign(**dict.fromkeys(definitions.COLUMNS, np.nan))
    return scores.assign(**fake_ensemble(scores, trajectories, lpips))


def fake_ensemble(scores: pd.DataFrame, trajectories: int, lpips: bool) -> dict[str, pd.Series]:
    """Scores of all trajectories together, which stand on the lines of their mean."""
    error = scores["mse"].where(scores["trajectory"] < 0)
    together = {"crps": 0.5 * error**0.5, "energy_score": 0.8 * error**0.5}
    together |= {"mean_error": error, "diversity": 0.9 * error**0.5, "lpips_diversity": 0.04}
    if trajectories == 1:  # a point forecast has no spread
        together |= dict.fromkeys(("mean_error", "diversity", "lpips_diversity"), np.nan)
    return together | ({} if lpips else {"lpips_diversity": np.nan})


def write_predictions(folder: Path, row: str, seed: int, clip_ids: list[str]) -> None:
    """Predicted trajectories of discs that are too slow, each by its own amount."""
    header = {
        "row": row, "kind": "predictor", "seed": seed, "dataset": "fake", "split": "test",
        "paired": True, "context_frames": CONTEXT,
    }  # fmt: skip
    path = folder / "predictions" / row / f"seed{seed}/index.json"
    made = {}
    for number, clip in enumerate(clip_ids):
        speeds = 0.9 - 0.1 * np.arange(TRAJECTORIES)
        made[clip] = np.stack([moving_disc(number, CLIP, speed)[CONTEXT:] for speed in speeds])
    stored.write_predictions(path, header, made)


def write_semantics(home: Path, seed: int, clip_ids: list[str], groups: int) -> None:
    """Write the scores of scene, object and motion, and these layers of every clip."""
    means = {"scene_psnr": 31.0 + seed, "object_iou": 0.8, "swap_margin": 4.0, "swap_right": 0.95}
    ablations = []
    for latent, loss in (("scene", 11.0), ("object", 9.0), ("motion", 7.0)):
        name = f"{latent}_other"
        means |= {f"{name}_psnr": loss, f"{name}_ssim": loss / 50, f"{name}_motion": 0.5}
        ablations.append({"latent": latent, "replaced_by": "other", "how": f"another {latent}"})
    table = {"clip": clip_ids, "group": [f"g{i % groups:02d}" for i in range(len(clip_ids))]}
    spread = np.linspace(0.9, 1.1, len(clip_ids))
    home.mkdir(parents=True)
    columns = {name: mean * spread for name, mean in means.items()}
    pd.DataFrame(table | columns).to_parquet(home / "scores.parquet")
    index = {
        "autoencoder": "rsvp", "seed": seed, "dataset": "fake", "truth": True, "scores": {},
        "goals": {"scene_psnr": 31.5, "object_iou": 0.6}, "ablations": ablations,
        "protocol": {"split": "test", "clips": len(clip_ids)}, "files": {},
    }  # fmt: skip
    write_json(home / "index.json", index | write_views(home, clip_ids))
    write_json(home / "run.json", record("measure_semantics", seed, 6.1, 900.0))


def write_memorisation(home: Path, rows: list[tuple[str, int]]) -> None:
    """Distances to training clips, of which the first row's are suspicious."""
    shown = []
    for number, place in enumerate(("best", "worst", "nearest")):
        picture = np.hstack(moving_disc(number, 4, 1.0))
        file = home / f"pictures/{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.vstack([picture, picture]))
        shown.append({"place": place, "clip": f"v{number}", "nearest": f"t{number}",
                      "distance": 7.1 - number, "real_distance": 7.4,
                      "picture": f"pictures/{place}.png"})  # fmt: skip
    entries = [
        {"row": row, "kind": "predictor", "seed": seed, "clips": 8, "groups": 4,
         "flagged": not number, "shown": shown,
         "ratio": {"mean": 0.4 + 0.6 * number, "low": 0.3, "high": 0.45 + number},
         "nearer": {"mean": 0.5, "low": None, "high": None},
         "copied": {"mean": 0.0, "low": 0.0, "high": 0.0}}
        for number, (row, seed) in enumerate(rows)
    ]  # fmt: skip
    protocol = {
        "split": "test", "training_clips": 192, "context_frames": CONTEXT, "future_frames": FUTURE,
        "resolution": SIZE, "future": "of the first trajectory", "described_by": "colours",
        "distance": "root mean square", "copied_below": 0.5,
    }  # fmt: skip
    write_json(home / "index.json", {"dataset": "fake", "protocol": protocol, "rows": entries})


def write_views(home: Path, clip_ids: list[str]) -> dict[str, object]:
    """Pictures of scene, object mask and motion of every clip, as measure_semantics keeps them."""
    (home / "views").mkdir(parents=True)
    views = []
    for number, clip in enumerate(clip_ids):
        frames = moving_disc(number, CLIP, 1.0)
        scene = np.median(frames, axis=0).astype(np.uint8)
        mask = 255 * (np.abs(frames[CONTEXT - 1].astype(int) - scene).max(-1) > 8).astype(np.uint8)
        motion = np.where(mask[..., None] > 0, np.uint8([255, 90, 90]), np.uint8([255, 255, 255]))
        view: dict[str, object] = {"clip": clip, "motion_pixels": 28.8}
        for name, picture in {"scene": scene[..., ::-1], "mask": mask, "motion": motion}.items():
            view[name] = f"views/{number:05d}-{name}.png"
            cv2.imwrite(str(home / view[name]), picture)
        views.append(view)
    cv2.imwrite(str(home / "views/legend.png"), np.full((8, 8, 3), 200, np.uint8))
    return {"legend": "views/legend.png", "views": views}


def moving_disc(number: int, frames: int, speed: float) -> np.ndarray:
    """(frames, SIZE, SIZE, 3) uint8: a disc that crosses a textured background."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(40, 200, (8, 8, 3)).astype(np.uint8)
    background = coarse.repeat(SIZE // 8, axis=0).repeat(SIZE // 8, axis=1)
    colour, angle = rng.integers(0, 255, 3), rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    clip = np.repeat(background[None], frames, axis=0)
    for frame in range(frames):
        reach = (frame - frames / 2) * 2.4 * speed
        y, x = SIZE / 2 + reach * np.sin(angle), SIZE / 2 + reach * np.cos(angle)
        clip[frame][(rows - y) ** 2 + (columns - x) ** 2 < 90] = colour
    return clip


def write_training(home: Path, seed: int, steps: int, **more: object) -> None:
    """history.csv and run.json of a training stage, with `more` in the record."""
    rng = np.random.default_rng([seed, steps])
    history = pd.DataFrame({"step": np.arange(10, steps + 1, 10)})
    steps_done = history["step"].to_numpy()
    noise = rng.normal(scale=0.03, size=len(history))
    history["seconds"] = steps_done * 0.08
    history["loss"] = np.exp(-steps_done / 300) + 0.2 + noise
    psnr = 27 - 6 * np.exp(-steps_done / 400)
    history["validation_psnr"] = np.where(steps_done % 100 == 0, psnr, np.nan)
    write_text(home / "history.csv", history.to_csv(index=False))
    stages = {1200: "pretrain_autoencoder", 400: "finetune_autoencoder", 1500: "train_diffusion"}
    values = record(stages[steps], seed, steps * 0.08, 1240.0) | {
        "training_seconds": steps * 0.08,
        "parameters": 1_830_000,
        "steps": steps,
        "flops_forward": 1_520_000_000,
        "samples_per_second": 12.5,
    }
    write_json(home / "run.json", values | more)


def record(stage: str, seed: int, seconds: float, memory: float) -> dict[str, object]:
    """A run record as rsvp.runtime.main writes it."""
    return {
        "stage": stage, "settings": {"seed": seed, "compute": {"threads": 2}},
        "code": "ab" * 32, "commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.9", "torch": "2.15.0"}, "seed": seed, "device": "cpu",
        "hardware": {"machine": "x86_64", "system": "Linux", "processor": "Fake CPU", "cores": 2},
        "peak_memory_mb": memory, "started": "2026-01-02T03:04:05+00:00", "seconds": seconds,
    }  # fmt: skip


def make_report(results: Path, title: str = "A report") -> Path:
    """Make the report as the stage does; returns the page."""
    report = {"title": title, "predictors": ["rsvp-m"], "examples": 3}
    settings = results / "settings.json"
    protocols = {name: to_plain(PROTOCOLS[name]) for name in ("prediction", "distribution")}
    values = {"report": report, "evaluation": {"bootstrap": 200}, "protocols": protocols}
    write_json(settings, values)
    kinds = {
        "evaluations": ["evaluation/*/*/index.json"],
        "histories": ["autoencoders/**/history.csv", "predictors/**/history.csv"],
        "records": ["**/run.json"],
        "predictions": ["predictions/*/*/index.json"],
        "semantics": ["semantics/*/*/index.json"],
        "copies": ["memorisation/*/index.json"],
        "datasets": ["datasets/*/index.json"],
    }
    inputs = {
        kind: [str(path) for pattern in patterns for path in sorted(results.glob(pattern))]
        for kind, patterns in kinds.items()
    }
    write_json(results / "inputs.json", inputs)
    folder = results / "report"
    files = {"settings": settings, "inputs": results / "inputs.json", "folder": folder,
             "record": folder / "run.json"}  # fmt: skip
    command = [text for flag, path in files.items() for text in (f"--{flag}", str(path))]
    run(report_parser().parse_args(command), read_settings(read_json(settings)))
    return folder / "report.html"


if __name__ == "__main__":
    print(make_report(make_results(Path(sys.argv[1]), clips=48, groups=48, views=True)))
