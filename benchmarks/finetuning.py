"""What each part of the fine-tuning loss brings.

The same pretrained autoencoder is fine-tuned with and without discriminators and patches, and
measured on the same validation clips. Needs finished results up to the pretrained autoencoder, and
changes nothing there; about three minutes per variant on one CPU core.

    python -m benchmarks.finetuning results --csv finetuning.csv

Columns: `gain`, how far the watched score fell, with its paired interval `low` to `high` (groups
resampled); `psnr`, how far PSNR rose, in dB; `lpips`, how far LPIPS rose, which needs `--lpips
BACKBONE LINEAR` and is trained on by none of the variants.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from rsvp.config.schema import Weights
from rsvp.config.stages import Settings, read_settings
from rsvp.data.clips import Clips
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.runtime.device import make_fabric
from rsvp.runtime.files import read_json
from rsvp.training.finetuning import Finetuning
from rsvp.training.watch import Watch

VARIANTS = {  # values of `finetune`, one on top of the other
    "reconstruction": {"adversarial": 0.0, "feature_matching": 0.0, "sliced_wasserstein": 0.0},
    "discriminators": {"sliced_wasserstein": 0.0},
    "patches": {"sliced_wasserstein": 1.0},
}


def main() -> None:
    """Print, and keep, one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--autoencoder", default="rsvp")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "LINEAR"))
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    row = f"{arguments.autoencoder}/seed{arguments.seed}"
    handed = read_json(arguments.results / f"settings/finetune_autoencoder/{row}.json")
    pretrained = arguments.results / f"autoencoders/{row}/pretrained/index.json"
    dataset = arguments.results / f"datasets/{handed['autoencoder']['dataset']}/index.json"
    lines = []
    for variant in arguments.variants:
        settings = read_settings(handed)
        for name, value in VARIANTS[variant].items():
            setattr(settings.autoencoder.finetune, name, value)
        line = measured(settings, dataset, pretrained, arguments.lpips)
        lines.append({"variant": variant} | line)
        print(" ".join(f"{key} {value}" for key, value in lines[-1].items()), flush=True)
    if arguments.csv:
        pd.DataFrame(lines).to_csv(arguments.csv, index=False)


def measured(
    settings: Settings, dataset: Path, pretrained: Path, lpips: list[Path] | None
) -> dict[str, float | int]:
    """The columns of the table, for one variant's settings."""
    fabric = make_fabric(settings.compute, settings.seed)
    steps = settings.autoencoder.finetune.steps
    clips, held_out = (Clips(dataset, split) for split in ("train", "validation"))
    trainer = Finetuning(settings, clips, held_out, load_autoencoder(pretrained), fabric, steps)
    before = perceptual(trainer, held_out, trainer.autoencoder, lpips)
    for step, batch in zip(range(steps), trainer.batches(0), strict=False):
        trainer.step(step, batch)
    scores = trainer.validate()
    gain = trainer.watch.improvement(trainer.start, scores)
    line: dict[str, float | int] = {
        "steps": steps, "clips": len(scores.psnr),
        "before": round(float(trainer.start.watched.mean()), 5),
        "gain": round(gain.mean, 5), "low": round(gain.low, 5), "high": round(gain.high, 5),
        "psnr": round(float((scores.psnr - trainer.start.psnr).mean()), 3),
    }  # fmt: skip
    if lpips:
        after = perceptual(trainer, held_out, trainer.average.module, lpips)
        line["lpips"] = round(float((after - before).mean()), 5)
    return line


def perceptual(
    trainer: Finetuning, held_out: Clips, autoencoder: ClipAutoencoder, files: list[Path] | None
) -> torch.Tensor:
    """LPIPS (N,) of the validation clips as the autoencoder gives them back; zeros without it."""
    if not files:
        return torch.zeros(1)
    weights = Weights(lpips_backbone=str(files[0]), lpips_linear=str(files[1]))
    most = trainer.config.validation_clips
    return Watch(held_out, weights, trainer.fabric.device, most).measure(autoencoder).watched


if __name__ == "__main__":
    main()
