"""Checks of an installation that scores: known answers, on pictures and weights made by formula.

Most answers are from outside: scikit-image, NumPy, the official graph of I3D, and published
distances of the real networks, which are checked where their files are there.
"""

import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from rsvp.metrics import frame, i3d, motion
from rsvp.metrics.definitions import lpips
from rsvp.metrics.detectors import clip_feature
from rsvp.metrics.distribution import frechet_distance
from rsvp.metrics.networks import Networks
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.scoring import score_clip
from rsvp.runtime.device import full_precision

PICTURES = (16, 64, 64)  # frames and pixels
ALEX = {  # shapes of torchvision's features of AlexNet
    "0": (64, 3, 11, 11), "3": (192, 64, 5, 5), "6": (384, 192, 3, 3),
    "8": (256, 384, 3, 3), "10": (256, 256, 3, 3),
}  # fmt: skip
KNOWN_PSNR, KNOWN_SSIM = 19.291946, 0.614925  # by scikit-image
# By singular values, of sets that NumPy draws.
KNOWN_FRECHET = 2.1614161889815477
# The first logits of the official graph with these weights.
KNOWN_LOGITS = (-11.007637, -7.457197, -2.203911, 7.898825, -1.451673)
KNOWN_FEATURES = (-7.106559, -4.641274, -2.881131, 4.762693, -0.755978)
KNOWN_LPIPS = 0.155872
# Black against white at 64×64, by the package lpips; and by google-research, 16 videos of each.
REAL_LPIPS = {"alex": 0.81404}
REAL_FVD = 131.0


@dataclass(frozen=True)
class Check:
    """Numbers that were found, and what they should be; without any, why they are left out."""

    name: str
    found: Sequence[float] = ()
    expected: Sequence[float] = ()
    tolerance: float = 1e-4  # relative to the largest of the expected
    reason: str = ""

    @property
    def holds(self) -> bool:
        """True where the numbers are as expected."""
        scale = max(1e-2, *map(abs, self.expected)) if self.expected else 1.0
        return bool(np.allclose(self.found, self.expected, rtol=0.0, atol=self.tolerance * scale))

    @property
    def line(self) -> str:
        """The check in one line."""
        if self.reason:
            return f"left out  {self.name}: {self.reason}"
        found, expected = (
            ", ".join(f"{value:.6g}" for value in side) for side in (self.found, self.expected)
        )
        state = "holds    " if self.holds else "FAILS    "
        return f"{state} {self.name}: {found}; expected: {expected}"


def pictures(shift: int = 0) -> Tensor:
    """Return a clip made by formula, uint8 (T, H, W, 3); `shift` moves it."""
    t, y, x, c = np.ogrid[tuple(slice(n) for n in (*PICTURES, 3))]
    waves = (3 * (x + shift) + 2 * y + 5 * t + 40 * c) % 200 + ((x + shift) * y // 8 + 7 * t) % 50
    return torch.from_numpy(waves.astype(np.uint8))


def seeded_variables() -> dict[str, np.ndarray]:
    """Return weights of I3D by TensorFlow's names, of each a function, float32."""
    variables = {}
    for name, tensor in i3d.manifest().items():
        random, shape = np.random.RandomState(zlib.crc32(name.encode())), tensor["shape"]
        if name.endswith("conv_3d/w"):
            values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif name.endswith("moving_variance"):
            values = random.uniform(0.5, 1.5, shape)
        else:
            values = random.standard_normal(shape) * 0.1
        variables[name] = values.astype(np.float32)
    return variables


def seeded_perceptual() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return weights of AlexNet's features and of LPIPS's heads, of each a function of its name."""
    features, heads = {}, {}
    for number, (layer, shape) in enumerate(ALEX.items()):
        random = np.random.RandomState(number)
        scale = np.sqrt(2 / np.prod(shape[1:]))
        features[f"features.{layer}.weight"] = random.standard_normal(shape) * scale
        features[f"features.{layer}.bias"] = random.standard_normal(shape[0]) * 0.1
        heads[f"lin{number}.model.1.weight"] = random.uniform(0, 1, (1, shape[0], 1, 1))
    return tuple(
        {name: values.astype(np.float32) for name, values in part.items()}
        for part in (features, heads)
    )  # type: ignore[return-value]


def self_test(networks: Networks, device: torch.device) -> Iterator[Check]:
    """Yield all checks, those of real weights last."""
    yield from pixel_checks()
    yield from set_checks()
    yield from seeded_checks(device)
    yield from real_checks(networks)


def pixel_checks() -> Iterator[Check]:
    """Yield checks of the scores that need no network."""
    clip, other = pictures(), pictures(1)
    same = score_clip(clip[None], clip, None, None, sampled=False)
    names = ("psnr", "ssim", "mse", "crps")
    yield Check(
        "PSNR, SSIM, MSE and CRPS of a clip against itself",
        [float(same[name][-1]) for name in names], [frame.PSNR_CAP, 1.0, 0.0, 0.0],
    )  # fmt: skip
    yield Check("PSNR of two clips", [float(frame.psnr(other, clip).mean())], [KNOWN_PSNR])
    yield Check("SSIM of two clips", [float(frame.ssim(other, clip).mean())], [KNOWN_SSIM])


def set_checks() -> Iterator[Check]:
    """Yield checks of distances between sets."""
    first, second = (np.random.RandomState(seed).randn(2048, 16) for seed in (1, 2))
    yield Check("Fréchet distance", [frechet_distance(first, second * 1.2 + 0.3)], [KNOWN_FRECHET])
    yield Check("Fréchet distance of a set from itself", [frechet_distance(first, first)], [0.0])
    clips = np.stack([motion.motion_features(pictures(shift)).numpy() for shift in range(4)])
    yield Check("motion distance of a set from itself", [motion.motion_distance(clips, clips)], [0])


def seeded_checks(device: torch.device) -> Iterator[Check]:
    """Yield checks of the networks with weights made by formula."""
    network = i3d.I3D(seeded_variables()).to(device)
    clips = np.random.RandomState(3).uniform(-1, 1, (1, 10, 224, 224, 3)).astype(np.float32)
    with torch.no_grad(), full_precision():
        logits = network(torch.from_numpy(clips).permute(0, 4, 1, 2, 3).to(device))
    yield Check("I3D, seeded weights, seeded frames", logits[0, :5].tolist(), KNOWN_LOGITS)
    features = clip_feature(network, pictures())
    yield Check("I3D, seeded weights, a clip of 64×64", features[:5].tolist(), KNOWN_FEATURES)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("backbone", "linear")]
        for path, values in zip(paths, seeded_perceptual(), strict=True):
            save_file(values, path)
        distance = PerceptualDistance(*paths).to(device)
    clip, other = pictures(), pictures(1)
    found = float(lpips(other, clip, distance).mean())
    yield Check("LPIPS, seeded weights, two clips", [found], [KNOWN_LPIPS])
    same = float(lpips(clip, clip, distance).max())
    yield Check("LPIPS, seeded weights, a clip against itself", [same], [0.0])


def real_checks(networks: Networks) -> Iterator[Check]:
    """Yield checks of the real weights that are there."""
    distance = networks.perceptual.network
    black, white = (torch.full((15, 64, 64, 3), grey, dtype=torch.uint8) for grey in (0, 255))
    if distance is None:
        yield Check("LPIPS, real weights", reason=networks.perceptual.reason)
    else:
        name = f"LPIPS, real weights ({distance.backbone}), "
        if known := REAL_LPIPS.get(distance.backbone):
            found = lpips(black, white, distance)[:1]
            yield Check(f"{name}black against white", found, [known], tolerance=1e-3)
        yield Check(f"{name}a clip against itself", lpips(black, black, distance)[:1], [0.0])
    network = networks.detectors.get("i3d")
    if network is None:
        yield Check("I3D, real weights", reason=networks.loaded["i3d"].reason)
    else:
        sides = (np.repeat(clip_feature(network, side)[None], 16, 0) for side in (black, white))
        yield Check("FVD, real weights, black from white", [frechet_distance(*sides)], [REAL_FVD],
                    tolerance=0.03)  # fmt: skip
