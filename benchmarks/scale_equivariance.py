"""What scale equivariance does to latents: their spectrum, and what it costs in reconstruction.

Trains a small autoencoder of frames on generated videos, once per weight of
`pretrain.scale_equivariance`, from the same start on the same batches, and measures on other
videos. Needs no results and no files; a minute or two per 1000 steps and weight on one CPU core.

    python benchmarks/scale_equivariance.py --weights 0 0.25 1 --csv scale.csv

Columns: `psnr` of frames given back; `psnr_halved` of frames of half the size from latents of half
the size; `high`, the share of the latents' energy (channels normalised, without their mean over
places) in the discrete cosines that halving drops: 48 of 63, so 0.76, for white noise; the frames'
own share of it, on the same grid, is printed first.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.fft import dctn
from torch import Tensor

from rsvp.config.schema import Generated
from rsvp.data.generated import generate_video
from rsvp.data.pixels import to_float
from rsvp.models.autoencoders.base import halve
from rsvp.models.autoencoders.frame import FrameAutoencoder
from rsvp.models.autoencoders.kinds import make_autoencoder
from rsvp.runtime.random import generator
from rsvp.training.reconstruction import FrameWeights, reconstruct, reconstruction_loss
from rsvp.training.run import learning_rate, set_learning_rate

FRAMES = 12  # of each video
HELD_OUT = 16  # videos


def main() -> None:
    """Print, and keep, one line per seed and weight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.25, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--videos", type=int, default=64, help="to train on")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--regulariser", choices=["tanh", "kl"], default="tanh")
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    videos = [
        generate_video(Generated(size=arguments.size), seed, FRAMES).frames
        for seed in range(arguments.videos + HELD_OUT)
    ]
    clips = to_float(torch.stack([torch.from_numpy(v) for v in videos]).permute(0, 1, 4, 2, 3))
    train, held_out = clips[: arguments.videos], clips[arguments.videos :]
    print(f"high share of the frames {high_share(F.avg_pool2d(held_out.flatten(0, 1), 8)):.3f}")
    lines = []
    for seed in arguments.seeds:
        for weight in arguments.weights:
            autoencoder = trained(train, weight, seed, arguments.steps, arguments.regulariser)
            lines.append({"seed": seed, "weight": weight} | measured(autoencoder, held_out))
            print(" ".join(f"{key} {value}" for key, value in lines[-1].items()), flush=True)
    if arguments.csv:
        pd.DataFrame(lines).to_csv(arguments.csv, index=False)


def trained(
    clips: Tensor, weight: float, seed: int, steps: int, regulariser: str
) -> FrameAutoencoder:
    """An autoencoder that was trained on clips (N, T, 3, H, H) with that weight."""
    torch.manual_seed(seed)
    bound = {"kind": regulariser} | ({"kl_weight": 1e-3} if regulariser == "kl" else {})
    autoencoder = make_autoencoder("frames", width=16, channels=4, regulariser=bound)
    assert isinstance(autoencoder, FrameAutoencoder)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        set_learning_rate(optimizer, learning_rate(step, steps, 2e-3, 50))
        random = generator(seed, step, "pretrain")
        batch = clips[torch.randint(len(clips), (8,), generator=random)]
        targets = torch.randperm(FRAMES, generator=random)[:2]
        result = reconstruct(autoencoder, batch, 1, targets, random, weight > 0)
        loss, _ = reconstruction_loss(result, None, 0.0, FrameWeights(scale=weight))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizer.step()
    return autoencoder.eval()


@torch.no_grad()
def measured(autoencoder: FrameAutoencoder, clips: Tensor) -> dict[str, float]:
    """The columns of the table, on clips (N, T, 3, H, H)."""
    latents = autoencoder.encode_clip(clips, 1)[0]["image"]
    given_back = autoencoder.decode(latents)
    smaller = F.avg_pool2d(clips.flatten(0, 1), 2)
    halved = autoencoder.decode(halve(latents)).flatten(0, 1)
    return {
        "psnr": round(psnr(given_back, clips), 2),
        "psnr_halved": round(psnr(halved, smaller), 2),
        "high": round(high_share(latents.flatten(0, 1)), 3),
    }


def psnr(found: Tensor, frames: Tensor) -> float:
    """dB, of colours in [-1, 1], from the mean squared error over all frames."""
    error = (found.clamp(-1.0, 1.0) - frames).square().mean()
    return float(10.0 * torch.log10(4.0 / error))


def high_share(images: Tensor) -> float:
    """Share of the energy of images (N, C, h, w) above half of the highest frequency, in one
    direction at least."""
    images = images - images.mean((-2, -1), keepdim=True)
    images = images / images.std((0, 2, 3), keepdim=True)
    energy = torch.from_numpy(dctn(images.numpy(), axes=(-2, -1), norm="ortho")).square()
    height, width = energy.shape[-2:]
    low = energy[..., : height // 2, : width // 2].sum()
    return float(1.0 - low / energy.sum())


if __name__ == "__main__":
    main()
