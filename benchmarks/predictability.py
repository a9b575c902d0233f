"""Share of the true motion that a predictor foretells, by future frame, on validation clips.

For a row on an autoencoder of kind rsvp: the share of the squares of the true displacements (as the
autoencoder finds them in the true future, in its compressed units) that the predicted ones explain,
1 - |predicted - true|^2 / |true|^2, where 0 is what predicting no motion explains; the squares of
the predicted ones in units of the true ones; and the PSNR of frames decoded without motion, with
the predicted and with the true. Needs the results of a finished run; trains nothing.

    python -m benchmarks.predictability results/ucf101-mini --dataset ucf101-mini
"""

from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from benchmarks.sampling import Setup, print_table
from rsvp.data.pixels import to_bytes, to_float
from rsvp.diffusion.predictor import draw_futures, future_noise, observe, step_noise
from rsvp.metrics.frame import psnr
from rsvp.stages.predict import BATCH

MOTIONS = ("still", "predicted", "true")


def main() -> None:
    """Print, and keep, one line per future frame and one of all."""
    print_table(__doc__, measure)


@torch.no_grad()
def measure(setup: Setup) -> pd.DataFrame:
    """The table of a run; the last line is of all frames."""
    sums, scores = [], []
    for first in range(0, len(setup.indices), BATCH):
        found, true, seen = motions(setup, first)
        displacements = (x[:, :, :2] for x in (found - true, true, found))
        squares = [x.square().sum((0, 2, 3, 4)) for x in displacements]
        sums.append(torch.stack([x.double().cpu() for x in squares]))
        real = setup.real[first : first + BATCH]
        motion = [torch.zeros_like(true), found, true]
        scores.append(torch.stack([quality(setup, each, seen, real) for each in motion]))
    error, true, found = torch.stack(sums).sum(0)
    levels = torch.cat(scores, 1).mean(1).double()
    lines = [
        {
            "frame": frame,
            "explained": float(1.0 - error[of].sum() / true[of].sum()),
            "predicted_squares": float(found[of].sum() / true[of].sum()),
        }
        | {f"psnr_{name}": float(x[of].mean()) for name, x in zip(MOTIONS, levels, strict=True)}
        for frame, of in [*((str(i + 1), [i]) for i in range(len(true))), ("all", slice(None))]
    ]
    return pd.DataFrame(lines)


def motions(setup: Setup, first: int) -> tuple[torch.Tensor, torch.Tensor, object]:
    """Predicted and true motion (B, F, Cm, h, w) of a batch of clips, and what is seen of them."""
    network, device = setup.network, setup.fabric.device
    numbers = setup.indices[first : first + BATCH]
    context = to_float(setup.context[first : first + BATCH].to(device))
    seen = observe(network, context)
    future = setup.real[first : first + BATCH].permute(0, 1, 4, 2, 3).to(device)
    true = network.autoencoder.encode_motion(to_float(future), seen.decoder)
    noise = future_noise(network.packing.shape, setup.seed, numbers, 1).to(device)
    sampled = replace(network, sampling=setup.sampling(network.sampling))
    fresh = partial(step_noise, noise[:, 0], setup.seed, numbers)
    (drawn,) = draw_futures(sampled, [seen], noise, [0], fresh)
    found = network.statistics["motion"].restore(network.packing.unpack(drawn)["motion"])
    return found, true, seen.decoder


def quality(setup: Setup, motion: torch.Tensor, seen: object, real: torch.Tensor) -> torch.Tensor:
    """PSNR (B, F) of what motion (B, F, Cm, h, w) is decoded to."""
    frames = setup.network.autoencoder.decode_future({"motion": motion}, seen)
    frames = to_bytes(frames).permute(0, 1, 3, 4, 2).cpu()
    return psnr(frames.flatten(0, 1), real.flatten(0, 1)).view(len(real), -1)


if __name__ == "__main__":
    main()
