"""Gain by each part of the fine-tuning loss.

The same pretrained autoencoder is fine-tuned with and without discriminators and patches, and
measured on the same validation clips. Needs finished results up to the pretrained autoencoder, and
changes nothing there; about three minutes per variant on one CPU core.

    python -m benchmarks.finetuning results --csv finetuning.csv

Columns: `gain`, how far the watched score fell, with its paired interval `low` to `high` (groups
resampled); `psnr`, how far PSNR rose, in dB; `lpips`, how far LPIPS rose, which needs `--lpips
BACKBONE LINEAR` and is trained on by none of the variants.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file

from rsvp.config.stages import Settings, read_settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.runtime.device import device_of
from rsvp.runtime.files import read_json
from rsvp.stages import finetune_autoencoder
from rsvp.training.validation import ReconstructionValidator, load_perceptual

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
    record = read_json(arguments.results / f"autoencoders/{row}/finetuned/run.json")
    handed = record["settings"]
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
    """Return the columns of the table, for one variant's settings.

    The stage itself trains in a temporary folder; the averaged weights of its last step count.
    """
    finetune = settings.autoencoder.finetune
    finetune.patience, finetune.validate_every = 10**6, 10**6
    with tempfile.TemporaryDirectory() as folder:
        names = {"weights": "weights.safetensors", "index": "index.json", "history": "history.csv"}
        files = {name: Path(folder, file) for name, file in names.items()}
        files |= {"dataset": dataset, "pretrained": pretrained, "state": Path(folder, "state")}
        finetune_autoencoder.run(argparse.Namespace(code=None, **files), settings)
        state = load_file(max(files["state"].glob("state-*.safetensors")))
    device = device_of(settings.compute)
    before, after = (load_autoencoder(pretrained).to(device) for _ in range(2))
    prefix = "average/module."
    after.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    held_out = Clips(dataset, "validation")
    indices = evaluation_clips(held_out, finetune.validation_clips)
    validator = ReconstructionValidator(held_out, indices, None, device)
    gain = validator.compare(before, after)
    line: dict[str, float | int] = {
        "steps": finetune.steps,
        "clips": len(indices),
        "before": round(float(validator.measure(before).watched.mean()), 5),
        **{
            column: round(gain["improvement"][name], 5)
            for column, name in (("gain", "mean"), ("low", "low"), ("high", "high"))
        },
        "psnr": round(-gain["psnr_cost"], 3),
    }
    if lpips:
        perceptual = load_perceptual(*map(str, lpips), device)
        own = ReconstructionValidator(held_out, indices, perceptual, device)
        line["lpips"] = round(-own.compare(before, after)["improvement"]["mean"], 5)
    return line


if __name__ == "__main__":
    main()
