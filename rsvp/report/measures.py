"""Measures and rows in words: names, units, directions, and what each baseline does.

A column of the report begins here: its key is a column of the score table (`rsvp.metrics.scoring`)
or a distance of `rsvp.report.distances`, and `rsvp.report.results` puts it in a table.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measured quantity, as tables and the page present it."""

    key: str  # the column of scores.parquet, or the name of the distance
    label: str
    unit: str
    higher_is_better: bool
    digits: int  # after the decimal point
    meaning: str  # one plain sentence
    ranked: bool = True  # whether more, or less, is better at all
    sampling: str = "single"  # of SAMPLINGS: the one that stands for it where none is named
    possible: tuple[float, float] = (-math.inf, math.inf)  # the least and the largest value

    @property
    def better(self) -> str:
        """ "higher" or "lower"; empty where neither is better."""
        return ("higher" if self.higher_is_better else "lower") if self.ranked else ""

    @property
    def titled(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def text(self, value: float, sign: bool = False) -> str:
        """`value` as the report prints it, with a real minus sign, and none where it shows 0."""
        text = f"{value:{'+' if sign else ''}.{self.digits}f}"
        if not float(text):
            text = text.lstrip("+-")
        return text.replace("-", "\N{MINUS SIGN}")


PSNR = Measure("psnr", "PSNR", "dB", True, 2,
    "How close the predicted pixels are to the true ones; 1 dB more is a fifth less squared "
    "error. Identical frames count as 100 dB.")  # fmt: skip
SSIM = Measure("ssim", "SSIM", "", True, 3,
    "Agreement of local structure (edges, texture, contrast) with the truth; 1 is "
    "identical.")  # fmt: skip
LPIPS = Measure("lpips", "LPIPS", "", False, 3,
    "How different the frames look to a network trained on photographs; 0 is identical. It follows "
    "human judgement better than PSNR does.")  # fmt: skip
MSE = Measure("mse", "MSE", "", False, 1,
    "The mean squared error of the pixels in squared grey levels (of 255), before PSNR takes its "
    "logarithm.")  # fmt: skip
OBJECT_PSNR = Measure("object_psnr", "Object PSNR", "dB", True, 2,
    "PSNR inside the true outline of the moving objects only, so that erasing an object cannot "
    "win by getting the background right.")  # fmt: skip
MOTION = Measure("motion_frechet", "Motion distance", "", False, 2,
    "How far the statistics of frame-to-frame change are from those of real clips (a Fréchet "
    "distance that needs no trained network); frozen or jittering videos score badly. Few clips "
    "alone give a distance above zero: read it beside the floor.",
    possible=(0, math.inf))  # fmt: skip
FVD = Measure("fvd", "FVD", "", False, 1,
    "Fréchet video distance on the predicted frames only: how far the predictions as a set are "
    "from real ones as a set, seen by a network trained on human actions.",
    possible=(0, math.inf))  # fmt: skip
FVD_CONTEXT = Measure("fvd_context", "FVD with context", "", False, 1,
    "The same on observed and predicted frames together, as some papers report it. Never compare "
    "it with the FVD of predicted frames only.",
    possible=(0, math.inf))  # fmt: skip
FVD_BEST = Measure("fvd_best", "FVD of the best", "", False, 1,
    "FVD with context of a choice that looks at the truth: of each clip the trajectory whose "
    "features are nearest to the true ones.",
    possible=(0, math.inf))  # fmt: skip
KVD = Measure("kvd", "KVD", "", False, 3,
    "Kernel video distance on the predicted frames: as FVD, but unbiased for few clips; it can "
    "fall below zero at random.")  # fmt: skip

CRPS = Measure("crps", "CRPS", "grey levels", False, 2,
    "How well all sampled trajectories together forecast each pixel (continuous ranked probability "
    "score): their mean absolute error, less half their mean difference, so that being sure and "
    "wrong costs more than being unsure. A single trajectory has its mean absolute error.",
    sampling="all")  # fmt: skip
ENERGY = Measure("energy_score", "Energy score", "grey levels", False, 2,
    "The same for whole frames at once: it also sees whether pixels vary together as they should.",
    sampling="all")  # fmt: skip
SPREAD_SKILL = Measure("spread_skill", "Spread / skill", "", True, 2,
    "How far trajectories are from each other over how far their mean is from the truth; 1 where "
    "their spread is right, below 1 where they are under-dispersed.",
    ranked=False, sampling="all")  # fmt: skip
DIVERSITY = Measure("diversity", "Diversity", "grey levels", True, 2,
    "How different two trajectories of a clip are, pixel by pixel (root mean square).",
    ranked=False, sampling="all")  # fmt: skip
LPIPS_DIVERSITY = Measure("lpips_diversity", "LPIPS diversity", "", True, 3,
    "How different two trajectories of a clip look to the network of LPIPS.",
    ranked=False, sampling="all")  # fmt: skip
PRECISION = Measure("precision", "Precision", "", True, 2,
    "The share of predictions that lie among the real videos (within reach of a real video's third "
    "neighbour): are they plausible?",
    possible=(0, 1))  # fmt: skip
RECALL = Measure("recall", "Recall", "", True, 2,
    "The share of real videos that lie among the predictions: is everything that happens "
    "predicted somewhere?",
    possible=(0, 1))  # fmt: skip
DENSITY = Measure("density", "Density", "", True, 2,
    "As precision, but counting how many real videos are near (within reach of their fifth "
    "neighbour): about 1 for real videos, and robust to outliers.",
    possible=(0, math.inf))  # fmt: skip
COVERAGE = Measure("coverage", "Coverage", "", True, 2,
    "The share of real videos with a prediction nearby (within reach of their fifth neighbour).",
    possible=(0, 1))  # fmt: skip

PAIRED = (PSNR, SSIM, LPIPS, MSE, OBJECT_PSNR)  # of one trajectory, or of the mean
ENSEMBLE = (CRPS, ENERGY, SPREAD_SKILL, DIVERSITY, LPIPS_DIVERSITY)  # of all of a clip
DISTANCES = (MOTION, FVD, FVD_CONTEXT, FVD_BEST, KVD)  # between sets of videos
NEIGHBOURS = (PRECISION, RECALL, DENSITY, COVERAGE)  # of sets of videos, by nearest neighbours
MEASURES = PAIRED + ENSEMBLE + DISTANCES + NEIGHBOURS
DEFINED = (PSNR, SSIM, LPIPS)  # of frames, by the definitions of other codes
POINT_FORECAST = (PSNR, MSE)  # of the mean of all trajectories of a clip, scored as one prediction
HEADLINE = (  # measure and sampling; and a distance
    (CRPS, "all"), (ENERGY, "all"), (SPREAD_SKILL, "all"),
    (LPIPS, "single"), (PSNR, "single"), (OBJECT_PSNR, "single"),
    *((measure, "mean") for measure in POINT_FORECAST),
)  # fmt: skip
DRAWN = (PSNR, SSIM, LPIPS, OBJECT_PSNR, CRPS, ENERGY, SPREAD_SKILL)  # over the future frames
OF_LPIPS = (LPIPS, LPIPS_DIVERSITY)

SAMPLINGS = {
    "single": "one trajectory, averaged over the trajectories of a clip",
    "mean": "the pixelwise mean over the trajectories of a clip, scored as one prediction",
    "best": "the best trajectory of each clip under the metric: it looks at the truth to choose",
    "all": "all trajectories of a clip together",
}
EXPLAINED_ROWS = {
    "copy-last": "repeats the last observed frame",
    "context-median": "shows the median of the observed frames, pixel by pixel",
    "context-mean": "shows the mean of the observed frames",
    "blurred-copy-last": "repeats the last observed frame, blurred",
    "linear-extrapolation": "continues each pixel's last change in a straight line",
    "flow-extrapolation": "moves the last observed frame on along its optical flow",
    "linear-blend": "blends the two frames around, pixel by pixel",
    "nearer-end": "repeats the nearer of the two frames around",
    "flow-interpolation": "moves the two frames around along the optical flow between them",
    "reconstruction": "ceiling: the autoencoder encodes and decodes the true future; a predictor "
    "on its latents can hardly do better",
    "real": "floor: other real clips against the real test clips; what a perfect predictor would "
    "score on distances between sets",
}
