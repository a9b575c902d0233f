"""A small results folder with invented numbers, for the report's tests and its design.

`python -m tests.fake_results FOLDER` makes one; nothing in it was measured.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from rsvp.config import BASELINES
from rsvp.data.videos import side_by_side, write_video
from rsvp.files import write_json, write_text

CONTEXT, FUTURE, SIZE, TRAJECTORIES = 4, 12, 64, 4
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
    videos: int = 6,
) -> Path:
    """Write a results folder as the stages before the report would; returns `folder`."""
    clip_ids = [f"{class_name}/v{i:03d}_g{i % groups:02d}@000000" for i in range(clips)]
    write_dataset(folder, clip_ids, groups)
    rows = [(name, "predictor", seed) for name in predictors for seed in seeds]
    rows += [(f"fake.{name}", "baseline", 0) for name in BASELINES]
    rows += [("rsvp.reconstruction", "ceiling", seed) for seed in seeds]
    rows += [("fake.real", "floor", 0)]
    for number, (row, kind, seed) in enumerate(rows):
        rng = np.random.default_rng([number, seed])
        write_evaluation(folder, row, kind, seed, clip_ids, groups, lpips, rng)
        count = videos if kind == "predictor" else 0
        write_predictions(folder, row, kind, seed, clip_ids, count)
    for seed in seeds:
        write_training(folder / f"autoencoders/rsvp/seed{seed}/pretrained", seed, 1200)
        write_training(folder / f"autoencoders/rsvp/seed{seed}/finetuned", seed, 400)
        for name in predictors:
            write_training(folder / f"predictors/{name}/seed{seed}", seed, 1500)
    return folder


def write_dataset(folder: Path, clip_ids: list[str], groups: int) -> None:
    """The dataset's index with the rejected files and videos beside it."""
    dataset = folder / "datasets/fake"
    counts = {"train": 192, "validation": 24, "test": len(clip_ids)}
    write_json(dataset / "index.json", {
        "dataset": "fake", "resolution": SIZE, "clip_frames": CONTEXT + FUTURE,
        "context_frames": CONTEXT, "frame_rate": 25.0, "split": "folders",
        "clips": counts, "videos": counts,
        "files": {}, "shares": [], "truth": "videos/truth.json",
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
        "detector": {"computed": False, "reason": "weights.i3d is not set", "name": "i3d"},
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
    return pd.DataFrame(lines, columns=[*columns, "object_psnr"])


def write_predictions(
    folder: Path, row: str, kind: str, seed: int, clip_ids: list[str], videos: int
) -> None:
    """A prediction index; playing side-by-side videos of the first `videos` clips."""
    home = folder / "predictions" / row / f"seed{seed}"
    films = []
    for number, clip in enumerate(clip_ids[:videos]):
        films.append({"clip": clip, "file": f"videos/{number:04d}.mp4"})
        truth = moving_disc(number, CONTEXT + FUTURE, 1.0)
        film = side_by_side(
            truth[:CONTEXT], truth[CONTEXT:], moving_disc(number, CONTEXT + FUTURE, 0.8)[CONTEXT:]
        )
        write_video(home / films[-1]["file"], film, fps=8)
    write_json(home / "index.json", {
        "row": row, "kind": kind, "seed": seed, "dataset": "fake", "split": "test",
        "paired": kind != "floor", "clips": clip_ids, "trajectories": TRAJECTORIES,
        "context_frames": CONTEXT, "future_frames": FUTURE, "resolution": SIZE,
        "shards": [], "videos": films,
    })  # fmt: skip
    write_json(home / "run.json", record(PREDICTING[kind], seed, 21.7, 820.4))


def moving_disc(number: int, frames: int, speed: float) -> np.ndarray:
    """(frames, SIZE, SIZE, 3) uint8: a disc that crosses a textured background."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(40, 200, (8, 8, 3)).astype(np.uint8)
    background = coarse.repeat(SIZE // 8, axis=0).repeat(SIZE // 8, axis=1)
    colour, angle = rng.integers(0, 255, 3), rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    film = np.repeat(background[None], frames, axis=0)
    for frame in range(frames):
        reach = (frame - frames / 2) * 2.4 * speed
        y, x = SIZE / 2 + reach * np.sin(angle), SIZE / 2 + reach * np.cos(angle)
        film[frame][(rows - y) ** 2 + (columns - x) ** 2 < 90] = colour
    return film


def write_training(home: Path, seed: int, steps: int) -> None:
    """history.csv and run.json of a training stage."""
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
        "parameters": 1_830_000,
        "steps": steps,
    }
    write_json(home / "run.json", values)


def record(stage: str, seed: int, seconds: float, memory: float) -> dict[str, object]:
    """A run record as rsvp.stage writes it."""
    return {
        "stage": stage, "settings": {"seed": seed, "compute": {"threads": 2}},
        "code": "ab" * 32, "commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.9", "torch": "2.15.0"}, "seed": seed, "device": "cpu",
        "hardware": {"machine": "x86_64", "system": "Linux", "processor": "Fake CPU", "cores": 2},
        "peak_memory_mb": memory, "started": "2026-01-02T03:04:05+00:00", "seconds": seconds,
    }  # fmt: skip


if __name__ == "__main__":
    make_results(Path(sys.argv[1]), clips=48, groups=48, videos=12)
