"""A trained predictor as one folder, and its use from Python.

    config.json                    format, versions, the frames that it expects, how it samples
    autoencoder/config.json        the constructor's arguments; model.safetensors beside it
    denoiser/config.json           likewise, and the latents' layout and statistics

The folder has no absolute path and no code. It may be copied, zipped or uploaded as it is.
"""

import shutil
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsvp.config.load import structured
from rsvp.config.schema import Compute, Dataset, Guidance, Sampler, pick, to_plain
from rsvp.data.contexts import clip_order, observed_frames, task_of
from rsvp.data.fitting import fit_frames, paste_frames, shape_of
from rsvp.data.latents import split_latents
from rsvp.data.observed import Seen, in_own_size, observed, observed_ends
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.sources import Source, sources_at
from rsvp.diffusion.predictor import TrainedPredictor, load_predictor, predict_block
from rsvp.diffusion.samplers import sampling_of
from rsvp.models.bundle import read_bundle
from rsvp.models.rolling import roll
from rsvp.runtime.device import device_of, has_bfloat16
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import atomic_path, read_json, write_json

FORMAT = 3  # of the folder and of its networks; 2 had a camera that bent the scene
CONFIG, WEIGHTS = "config.json", "model.safetensors"
NETWORKS = ("autoencoder", "denoiser")
SHAPE = ("resolution", "fit", "channels", "range", "resize")  # of the dataset's frames
FRAMES = (*SHAPE, "frame_stride", "target_fps", "skip_repeated", "fps")
BATCH = 8  # clips that are sampled at once


def save_predictor(
    folder: Path,
    autoencoder: Path,
    denoiser: Path,
    *,
    name: str,
    seed: int,
    dataset: Dataset,
    sampler: Sampler,
    guidance: Guidance,
    context: str,
) -> None:
    """Write a predictor's folder from the indexes of its two networks, config.json last."""
    for network, index in zip(NETWORKS, (autoencoder, denoiser), strict=True):
        _, metadata = read_bundle(index)  # which checks the weights
        with atomic_path(folder / network / WEIGHTS) as temporary:
            shutil.copyfile(index.parent / metadata["weights"], temporary)
        write_json(folder / network / CONFIG, metadata | {"weights": WEIGHTS})
    values = {
        "format": FORMAT,
        "rsvp": version("rsvp"),
        "name": name,
        "seed": seed,
        "frames": pick(dataset, FRAMES),
        "context": context,
        "sampler": to_plain(sampler),
        "guidance": to_plain(guidance),
    }
    write_json(folder / CONFIG, values)


class Predictor:
    """A trained predictor: continues videos, and takes clips apart into latents.

    dataset: shape and rate of the frames that it expects.
    """

    def __init__(self, network: TrainedPredictor, dataset: Dataset, device: torch.device) -> None:
        self.network, self.dataset, self.device = network, dataset, device
        self.shape = shape_of(dataset)
        self.context = network.layout.contexts[network.context]
        self.clip_frames = network.layout.frames
        self.context_frames = self.context.first + self.context.last
        self.future_frames = self.clip_frames - self.context_frames

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", revision: str | None = None
    ) -> "Predictor":
        """Load a predictor's folder, or a repository of that name on the Hugging Face Hub.

        device: auto (a GPU where there is one), cpu or cuda. revision: of the repository. Raises
        UserError for what is no predictor's folder, is damaged, or is of another format.
        """
        folder = Path(path).expanduser()
        if not folder.is_dir():
            folder = downloaded(str(path), revision)
        values = read_config(folder)
        place = device_of(Compute(device=device))
        autoencoder, denoiser = (folder / network / CONFIG for network in NETWORKS)
        try:
            sampling = sampling_of(
                structured(Sampler, values["sampler"]), structured(Guidance, values["guidance"])
            )
            network = load_predictor(denoiser, autoencoder, sampling, values["context"], place)
            return cls(network, structured(Dataset, values["frames"]), place)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{folder}: damaged ({type(error).__name__}: {reason}); copy it again"
            ) from None

    @torch.no_grad()
    def predict(
        self,
        frames: np.ndarray | str | Path | None = None,
        *,
        trajectories: int = 1,
        future_frames: int | None = None,
        seed: int = 0,
        size: str | None = None,
        at: float | None = None,
    ) -> np.ndarray:
        """Sample trajectories that continue `frames`: uint8 (K, F, H, W, C), C of training.

        frames: uint8 (T, H, W, 3) of any size, at the rate of training; the last `context_frames`
        are observed. A predictor between given frames observes those at both ends; one that
        generates from nothing takes None. Several clips (B, T, H, W, 3) give (B, K, F, H, W, C).
        Or the path of a video, which is read at the rate of training; `at`: seconds from its start
        where the future begins, by default its end.
        future_frames: by default those of training; more roll forward. seed: of the noise, which
        depends on seed, number of the clip and number of the trajectory alone. size: None is the
        model's, "original" the video's, where what lies outside of the model's frame stays as in
        the last observed frame.
        """
        if trajectories < 1 or (future_frames is not None and future_frames < 1):
            raise UserError("trajectories and future_frames: allowed: 1 or more")
        if size not in (None, "original"):
            raise UserError(f"size: {size!r}; allowed: None, 'original'")
        around = None
        if isinstance(frames, str | Path):
            source = video_at(frames)
            seen = self.observe(source, at)
            around = in_own_size(source, seen.numbers[-1:]) if size else None
            frames = seen.frames
        elif at is not None:
            raise UserError("at: allowed with the path of a video alone")
        if frames is None:
            shape = self.shape
            frames = np.empty((0, shape.height, shape.width, shape.channels), np.uint8)
        single = frames.ndim == 4
        clips = frames[None] if single else frames
        observed = self.observed(clips)
        horizon = future_frames or self.future_frames
        task = task_of(self.context, self.clip_frames, self.context_frames + horizon)
        if len(task.predicted) != horizon:
            raise UserError(
                f"future_frames: {horizon}; allowed: {self.future_frames}, since only a predictor"
                " from a beginning rolls forward"
            )
        made = []
        for first in range(0, len(observed), BATCH):
            numbers = list(range(first, min(first + BATCH, len(observed))))
            block = partial(predict_block, self.network, seed, numbers)
            with self.autocast():
                batch = roll(block, self.as_input(observed[numbers]), trajectories, horizon)
            made.append(batch.permute(0, 1, 2, 4, 5, 3).cpu().numpy())
        predicted = np.concatenate(made)
        if size == "original" and clips.shape[1]:
            lasts = clips[:, -1] if around is None else around
            predicted = np.stack(list(map(self.pasted, predicted, lasts)))
        return predicted[0] if single else predicted

    def pasted(self, trajectories: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return trajectories (K, F, h, w, C) as (K, F, H, W, C), at their place in a video.

        last: its last observed frame (H, W, 1 or 3), which stays around them; grey where they are.
        """
        return np.stack([paste_frames(each, last, self.shape) for each in trajectories])

    def observe(self, source: Source, at: float | None = None) -> Seen:
        """Return what is observed of a video: the last frames, or those before `at` seconds.

        A predictor between given frames observes both ends. UserError for what cannot be used.
        """
        if not self.context_frames:
            raise UserError(f"{source.path}: this predictor observes nothing; name no video")
        if not self.context.last:
            return observed(source, self.dataset, self.context.first, at)
        if at is not None:
            raise UserError("at: this predictor observes both ends of a video; leave it out")
        return observed_ends(source, self.dataset, self.context.first, self.context.last)

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the latents of a clip by name (scene, object and motion for rsvp), float32.

        frames: uint8 (T, H, W, 3) in time, those of the context and as many of the future as there
        are; or several clips (B, T, H, W, 3), whose latents have a first axis B.
        """
        single = frames.ndim == 4
        clips = frames[None] if single else frames
        self.check_count(clips)
        fitted = self.fitted(clips[:, clip_order(self.context, clips.shape[1])])
        with self.autocast():
            latents, _ = self.network.autoencoder.encode_clip(
                to_float(self.as_input(fitted)), self.context_frames
            )
        return {name: value.float().cpu()[0 if single else slice(None)]
                for name, value in latents.items()}  # fmt: skip

    @torch.no_grad()
    def decode(self, latents: dict[str, Tensor], frames: np.ndarray) -> np.ndarray:
        """Return the future frames of latents, uint8 (F, h, w, 3), over the context of `frames`.

        frames: as for `encode`; those of the context have detail (skip connections) that the
        decoder copies. Latents of the context that are given replace their own. So the frames of
        one clip with the motion of another give the one under the motion of the other.
        """
        single = frames.ndim == 4
        clips = frames[None] if single else frames
        self.check_count(clips)
        fitted = self.fitted(clips[:, observed_frames(self.context, clips.shape[1])])
        autoencoder = self.network.autoencoder
        given = {name: (value[None] if single else value).to(self.device)
                 for name, value in latents.items()}  # fmt: skip
        with self.autocast():
            seen = autoencoder.context_with(given, to_float(self.as_input(fitted)))
            _, future = split_latents(given, autoencoder.scopes, self.context_frames)
            decoded = to_bytes(autoencoder.decode_future(future, seen))
        made = decoded.permute(0, 1, 3, 4, 2).cpu().numpy()
        return made[0] if single else made

    def observed(self, clips: np.ndarray) -> np.ndarray:
        """Return the observed frames (B, Tc, h, w, C) of clips (B, T, H, W, 3), in their order."""
        self.check_count(clips)
        count = clips.shape[1]
        # A beginning observes the latest frames; other contexts the ends of what is given.
        beginning = list(range(count - self.context_frames, count))
        chosen = observed_frames(self.context, count) if self.context.last else beginning
        return self.fitted(clips[:, chosen])

    def check_count(self, clips: np.ndarray) -> None:
        """UserError where clips (B, T, H, W, 3) have fewer frames than are observed."""
        if clips.shape[1] < self.context_frames:
            raise UserError(f"{clips.shape[1]} frames to observe; {self.context_frames} are needed")

    def fitted(self, clips: np.ndarray) -> np.ndarray:
        """Return clips (B, T, H, W, 3) at the model's size."""
        return np.stack([fit_frames(clip, self.shape) if len(clip) else clip for clip in clips])

    def as_input(self, clips: np.ndarray) -> Tensor:
        """Return clips (B, T, h, w, C) as uint8 (B, T, C, h, w) on the device."""
        return torch.from_numpy(clips).permute(0, 1, 4, 2, 3).to(self.device)

    def autocast(self) -> torch.autocast:
        """Compute in bfloat16 on a GPU that has it, else in float32."""
        enabled = self.device.type == "cuda" and has_bfloat16()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def video_at(path: str | Path) -> Source:
    """Return the video at a path: a file, or a folder of images. UserError where it is not one."""
    sources = sources_at(Path(path))
    if len(sources) != 1:
        raise UserError(f"{path}: {len(sources)} videos; name one of them")
    return sources[0]


def read_config(folder: Path) -> dict[str, Any]:
    """Return what config.json of a predictor's folder says; UserError where it is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: no predictor's folder, it lacks {CONFIG}; name a `bundle`")
    values = read_json(path)
    known = values.get("format") if isinstance(values, dict) else None
    if known != FORMAT:
        raise UserError(
            f"{path}: format {known}; this rsvp ({version('rsvp')}) reads format {FORMAT}: take the"
            f" rsvp that wrote it ({values.get('rsvp') if isinstance(values, dict) else 'unknown'})"
        )
    return values


def downloaded(name: str, revision: str | None) -> Path:
    """Return the local copy of a repository on the Hugging Face Hub; UserError without one."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise UserError(
            f"{name}: no such folder; to load a repository of that name: pip install 'rsvp[hub]'"
        ) from None
    try:
        patterns = [CONFIG, *(f"{network}/*" for network in NETWORKS)]
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{name}: no such folder, and no repository: {reason}") from None
