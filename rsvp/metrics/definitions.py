"""PSNR, SSIM, LPIPS and FVD as three code bases of the field define them, each a set of switches.

One name stands for different numbers in the tables of the literature; docs/evaluation.md has the
sources and what is not imitated. Frames are uint8 (N, H, W, C), as in `frame`; scores are one value
per frame, float64 (N,). `scoring` keeps them in columns of the score table beside rsvp's own.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rsvp.data.pixels import to_float
from rsvp.metrics import frame
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.sliced_wasserstein import reflected
from rsvp.runtime.device import full_precision

LPIPS_SIZE = 128  # pixels per side to which MCVD enlarges frames


@dataclass(frozen=True)
class Definition:
    """Switches; those of `OWN` are rsvp's."""

    # PSNR of each frame, averaged over frames; or of a clip's mean squared error.
    psnr: Literal["frame", "clip"] = "frame"
    ssim: str = "ssim"  # columns of the score table
    lpips: str = "lpips"
    # Over K trajectories: all ways beside each other; or the best alone, per clip and measure.
    over: Literal["all", "best"] = "all"
    # FVD: of the first trajectory of each clip; or the mean over K sets, one of each trajectory.
    sets: Literal["first", "each"] = "first"
    text: str = ""  # in words, for tables


OWN = Definition()
DEFINITIONS: Mapping[str, Definition] = {
    "rsvp": OWN,
    "mcvd": Definition(
        "clip", "ssim_grey", "lpips_resized", "best", "each",
        "PSNR of a clip's mean squared error, SSIM of 8-bit grey, LPIPS at 128 px",
    ),
    "extdm": Definition("frame", "ssim", "lpips", "best", "each", "a frame's scores as rsvp's"),
    "far": Definition(
        "frame", "ssim_reflected", "lpips_unscaled", "best", "each",
        "PSNR of frames, SSIM with reflected borders, LPIPS of values in [0, 1]",
    ),
}  # fmt: skip


def columns_of(names: Iterable[str]) -> list[str]:
    """Return the columns of the score table that these definitions need beside rsvp's own."""
    wanted = {column for name in names for column in (DEFINITIONS[name].ssim,
                                                      DEFINITIONS[name].lpips)}  # fmt: skip
    return [column for column in COLUMNS if column in wanted]


def each_set(names: Iterable[str]) -> bool:
    """Check whether a definition compares the sets of all trajectories with the real one."""
    return any(DEFINITIONS[name].sets == "each" for name in names)


def score(
    predicted: Tensor,
    real: Tensor,
    perceptual: PerceptualDistance | None,
    columns: Collection[str],
) -> dict[str, Tensor]:
    """Return these columns; those of LPIPS only with its network."""
    scores = {name: SSIMS[name](predicted, real) for name in columns if name in SSIMS}
    if perceptual is not None:
        scores |= {
            name: LPIPS[name](predicted, real, perceptual) for name in columns if name in LPIPS
        }
    return scores


def defined_values(
    column: str, definition: Definition, read: Callable[[str], np.ndarray]
) -> np.ndarray:
    """Return a column of the score table (clips, trajectories, frames) as a definition has it.

    read: the table's own columns. PSNR of a clip stands at all frames of the clip's trajectory, so
    that their mean is it; it is capped as that of frames.
    """
    if column == "psnr" and definition.psnr == "clip":
        error = read("mse")
        of_clip = frame.psnr_from_mse(torch.from_numpy(error.mean(axis=2, keepdims=True)))
        return np.broadcast_to(of_clip.numpy(), error.shape)
    return read({"ssim": definition.ssim, "lpips": definition.lpips}.get(column, column))


def ssim_grey(predicted: Tensor, real: Tensor) -> Tensor:
    """SSIM of `frame.ssim` on 8-bit grey frames."""
    return frame.ssim(*(grey(frames) for frames in (predicted, real)))


def grey(frames: Tensor) -> Tensor:
    """Return 8-bit luma (N, H, W, 1): ITU-R 601, rounded as in Pillow's mode L."""
    if frames.shape[3] == 1:
        return frames
    weights = torch.tensor([19595, 38470, 7471], device=frames.device)
    luma = ((frames.int() * weights).sum(dim=3, keepdim=True) + 2**15) >> 16
    return luma.to(torch.uint8)


def ssim_reflected(predicted: Tensor, real: Tensor) -> Tensor:
    """SSIM with windows around all pixels, frames reflected at their borders (torchmetrics 1.9)."""
    half = frame.SSIM_KERNEL // 2
    planes = (reflected(frames.movedim(-1, 1), half) for frames in (predicted, real))
    return frame.ssim(*(frames.movedim(1, -1) for frames in planes))


@torch.no_grad()
def lpips(
    predicted: Tensor, real: Tensor, perceptual: PerceptualDistance, *, unscaled: bool = False
) -> Tensor:
    """LPIPS per frame, on the network's device.

    unscaled: of values in [0, 1], where the network was made for [-1, 1].
    """
    device = next(perceptual.parameters()).device
    frames = (to_float(x.to(device).permute(0, 3, 1, 2)) for x in (predicted, real))
    inputs = ((x + 1) / 2 if unscaled else x for x in frames)
    with full_precision():
        distances = perceptual(*inputs)
    return distances.double().cpu()


def lpips_resized(predicted: Tensor, real: Tensor, perceptual: PerceptualDistance) -> Tensor:
    """LPIPS of frames that Pillow enlarged to 128×128 pixels, bilinear, rounded to uint8."""
    return lpips(resized(predicted), resized(real), perceptual)


def resized(frames: Tensor) -> Tensor:
    """Resize frames to `LPIPS_SIZE` as Pillow does; grey ones become RGB, as in MCVD."""
    frames = frames.expand(-1, -1, -1, 3)
    size = (LPIPS_SIZE, LPIPS_SIZE)
    images = [Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
              for image in frames.cpu().numpy()]  # fmt: skip
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def lpips_unscaled(predicted: Tensor, real: Tensor, perceptual: PerceptualDistance) -> Tensor:
    """LPIPS of values in [0, 1]."""
    return lpips(predicted, real, perceptual, unscaled=True)


SSIMS = {"ssim_grey": ssim_grey, "ssim_reflected": ssim_reflected}
LPIPS = {"lpips_resized": lpips_resized, "lpips_unscaled": lpips_unscaled}
COLUMNS = (*SSIMS, *LPIPS)  # of the score table
