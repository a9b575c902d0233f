"""Displacement, in samples, of what stands still, on validation clips.

For a row on an autoencoder of kind rsvp. A pixel of the last observed frame stands still in a
future frame where optical flow finds less than half a pixel between the two true frames, and moves
where it finds more than one and a half. Over the pixels of each kind: the mask, and the
displacement by which a sample, and the encoded true future, move what is seen there, in pixels: the
object's share by its own, the scene's by the camera. The roughness of a field of displacements is
the root mean square of its differences between neighbouring pixels. Needs the results of a finished
run; trains nothing.

    python -m benchmarks.stillness results/ucf101-three --dataset ucf101-three
"""

from collections.abc import Iterator

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from benchmarks.predictability import motions
from benchmarks.sampling import Setup, print_table
from rsvp.data.fitting import in_colours
from rsvp.metrics.intervals import group_interval
from rsvp.models.layers import FACTOR
from rsvp.stages.predict import BATCH

STILL, MOVING = 0.5, 1.5  # pixels
FRAMES = (3, 7, 11)  # of the future, where there are so many
LEAST = 50  # pixels of a kind, below which a frame does not count for it


def main() -> None:
    """Print, and keep, one line per measure."""
    print_table(__doc__, measure)


@torch.no_grad()
def measure(setup: Setup) -> pd.DataFrame:
    """The mean over clips of each measure, and its interval, groups resampled."""
    clips: list[dict[str, float]] = []
    for first in range(0, len(setup.indices), BATCH):
        sampled, true, seen = motions(setup, first)
        decoder = setup.network.autoencoder.decoder
        fields = {"sampled": fields_of(decoder, sampled, seen)}
        fields["encoded"] = fields_of(decoder, true, seen)
        for i in range(len(true)):
            mine = {name: field[i].cpu() for name, field in fields.items()}
            last = setup.context[first + i, -1].permute(1, 2, 0).numpy()
            future = setup.real[first + i].numpy()
            clips.append(measures(mine, seen.mask[i, 0].cpu(), last, future))
    lines = []
    for name in clips[0]:
        found = group_interval([clip[name] for clip in clips], setup.groups)
        lines.append({"measure": name, "mean": found.mean, "low": found.low, "high": found.high})
    return pd.DataFrame(lines)


def fields_of(decoder: torch.nn.Module, motion: torch.Tensor, seen: object) -> torch.Tensor:
    """Displacements (B, F, 2, H, W), in pixels, of what the last observed frame's pixels show."""
    count = motion.shape[1]
    displacement = decoder(motion, seen).displacement
    height, width = seen.mask.shape[-2:]
    own = F.interpolate(displacement.flatten(0, 1), size=(height, width), mode="bilinear")
    camera = FACTOR * decoder.camera(motion.mean((3, 4)))[..., None, None]
    mask = seen.mask[:, None]
    return mask * own.unflatten(0, (-1, count)) + (1.0 - mask) * camera


def measures(
    fields: dict[str, torch.Tensor], mask: torch.Tensor, last: np.ndarray, future: np.ndarray
) -> dict[str, float]:
    """The measures of a clip; NaN where no frame has enough pixels of a kind."""
    found: dict[str, list[float]] = {}
    for kind in ("still", "moving"):
        for name in ("mask", "true", *fields):
            found[f"{name}, {kind}"] = []
    for frame, speed in true_speeds(last, future):
        for kind, chosen in (("still", speed < STILL), ("moving", speed > MOVING)):
            if chosen.sum() < LEAST:
                continue
            found[f"mask, {kind}"].append(float(mask.numpy()[chosen].mean()))
            found[f"true, {kind}"].append(float(speed[chosen].mean()))
            for name, field in fields.items():
                length = field[frame].norm(dim=0).numpy()
                found[f"{name}, {kind}"].append(float(length[chosen].mean()))
    means = {name: float(np.mean(values)) if values else np.nan for name, values in found.items()}
    rough = {f"roughness, {name}": roughness(field) for name, field in fields.items()}
    return means | rough


def true_speeds(last: np.ndarray, future: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield some future frames' numbers, and how far (H, W) the last frame's pixels are then."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = last.shape[:2]
    large = (4 * width, 4 * height)  # the flow's patches are wide for small frames

    def grey(frame: np.ndarray) -> np.ndarray:
        return cv2.resize(in_colours(frame, 1)[..., 0], large, interpolation=cv2.INTER_CUBIC)

    for frame in FRAMES:
        if frame < len(future):
            found = flow.calc(grey(last), grey(future[frame]), None)
            small = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) / 4.0
            yield frame, np.hypot(small[..., 0], small[..., 1])


def roughness(field: torch.Tensor) -> float:
    """Root mean square of the differences of displacements (F, 2, H, W) between neighbours."""
    across, along = field.diff(dim=-1), field.diff(dim=-2)
    return float((across.square().sum(1).mean() + along.square().sum(1).mean()).sqrt())


if __name__ == "__main__":
    main()
