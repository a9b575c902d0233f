"""The part of the config that each stage is handed, and `Settings`, its typed form."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rsvp.config.load import structured
from rsvp.config.schema import (
    FRAME_LOSS_KEYS,
    LPIPS_KEYS,
    NETWORK_KEYS,
    PROTOCOLS,
    ROW_KEYS,
    Autoencoder,
    Compute,
    Config,
    Dataset,
    Evaluation,
    Finetune,
    ObservedFrames,
    Perceptual,
    Predictor,
    Pretrain,
    Protocol,
    Report,
    Scores,
    Weights,
    foreign_keys,
    omit,
    pick,
    to_plain,
    weights_files,
)


@dataclass
class Settings:
    """What one stage is handed: the sections that it depends on; the rest keeps its defaults."""

    name: str = ""  # of the dataset, autoencoder or predictor that the stage makes
    seed: int = 0
    dataset: Dataset = field(default_factory=Dataset)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    predictor: Predictor = field(default_factory=Predictor)
    weights: Weights = field(default_factory=Weights)
    compute: Compute = field(default_factory=Compute)
    contexts: dict[str, ObservedFrames] | None = None  # of the autoencoder, beside the prefix
    evaluation: Evaluation = field(default_factory=Evaluation)
    protocols: dict[str, Protocol] = field(default_factory=dict)  # those that the report prints
    windows: list[int | None] = field(default_factory=list)  # see `feature_windows`
    report: Report = field(default_factory=Report)
    # The values as they were handed, without defaults: what saved states are keyed by.
    handed: dict[str, Any] = field(default_factory=dict)


# Fields of a dataset that shape its stored frames. The others only cut clips out of them.
FRAME_KEYS = (
    "source",
    "path",
    "generated",
    "resolution",
    "resize",
    "fps",
    "max_videos",
    "decode_jobs",
    "ffmpeg",
)
DENOISER_KEYS = tuple(
    f.name for f in dataclasses.fields(Predictor) if f.name not in ("same_as", *ROW_KEYS)
)


def stage_settings(config: Config, stage: str, name: str = "", seed: int = 0) -> dict[str, Any]:
    """Exactly the part of the config that `stage` depends on, as plain values.

    `name` names the dataset, autoencoder or predictor that the stage works for. Two configs that
    give equal settings give equal outputs of the stage, so a change elsewhere leaves it alone.
    """
    settings: dict[str, Any] = {"name": name}
    compute = omit(config.compute, "save_seconds", "compile")
    measuring = compute | {"threads": measuring_threads(config.compute)}
    if stage == "generate_videos":
        settings["dataset"] = pick(
            config.datasets[name], ("source", "generated", "resolution", "fps")
        )
    elif stage == "decode":
        settings["dataset"] = pick(config.datasets[name], FRAME_KEYS)
    elif stage == "split":
        settings["dataset"] = omit(config.datasets[name], "ffmpeg", "contexts")
    elif stage == "pretrain_autoencoder":
        own = config.autoencoders[name]
        autoencoder = omit(own, "finetune", "latent_copies", "contexts", *foreign_keys(own))
        autoencoder["pretrain"] = with_budget(own.pretrain)
        settings |= {"seed": seed, "autoencoder": autoencoder}
        settings["contexts"] = to_plain(chosen_contexts(config, name))
        settings |= {"weights": training_weights(config, name), "compute": compute}
    elif stage == "finetune_autoencoder":
        own = config.autoencoders[name]
        others = ("latent_copies", "init_from", "contexts")
        autoencoder = omit(own, *others, *foreign_keys(own))
        autoencoder["pretrain"] = pick(own.pretrain, FRAME_LOSS_KEYS)
        autoencoder["finetune"] = with_budget(own.finetune)
        settings |= {"seed": seed, "autoencoder": autoencoder}
        settings["contexts"] = to_plain(chosen_contexts(config, name))
        settings |= {"weights": training_weights(config, name), "compute": compute}
    elif stage in ("cache_latents", "reconstruct"):
        settings |= {"seed": seed, "compute": compute}
        if stage == "cache_latents":
            settings["autoencoder"] = pick(config.autoencoders[name], ("latent_copies",))
            settings["contexts"] = to_plain(chosen_contexts(config, name))
        if stage == "reconstruct":
            settings["evaluation"] = pick(config.evaluation, ("max_clips", "horizon"))
    elif stage == "train_diffusion":
        own = config.predictors[name]
        predictor = pick(own, tuple(key for key in DENOISER_KEYS if key in with_budget(own)))
        settings |= {"seed": seed, "predictor": predictor}
        settings["compute"] = omit(config.compute, "save_seconds")
    elif stage == "predict":
        settings |= {
            "seed": seed,
            "predictor": pick(config.predictors[name], (*ROW_KEYS, "same_as")),
        }
        settings["compute"] = omit(config.compute, "save_seconds")
        settings["evaluation"] = pick(
            config.evaluation, ("trajectories", "max_clips", "horizon", "videos")
        )
    elif stage == "predict_baseline":
        settings["evaluation"] = pick(config.evaluation, ("max_clips", "horizon"))
    elif stage == "real_features":
        settings["weights"] = omit(measuring_weights(config.weights), *LPIPS_KEYS)
        settings |= {"compute": measuring, "windows": feature_windows(config)}
        settings["evaluation"] = pick(config.evaluation, ("max_clips", "horizon"))
    elif stage == "check_memorisation":
        settings["evaluation"] = pick(config.evaluation, ("bootstrap",))
        settings["weights"] = {"i3d": weights_files(config.weights).get("i3d")}
        settings["compute"] = measuring
    elif stage == "measure_semantics":
        keys = ("max_clips", "horizon", "bootstrap")
        settings |= {"seed": seed, "evaluation": pick(config.evaluation, keys)}
        files = weights_files(config.weights)
        settings |= {"weights": {key: files.get(key) for key in LPIPS_KEYS}, "compute": measuring}
    elif stage == "evaluate":
        settings |= {"weights": measuring_weights(config.weights), "compute": measuring}
        settings["windows"] = feature_windows(config)
    elif stage == "report":
        settings |= {"report": to_plain(config.report)}
        settings["protocols"] = to_plain(chosen_protocols(config))
        settings["evaluation"] = pick(config.evaluation, ("bootstrap", "baselines"))
    else:
        raise ValueError(f"no such stage: {stage}")
    return without_unset(settings, to_plain(Settings()))


def measuring_threads(compute: Compute) -> int:
    """CPU threads of a job that measures: half, so that two of them use what one training uses.

    There is one such job per row, and much of each is no network's work.
    """
    return max(1, compute.threads // 2)


def with_budget(section: Pretrain | Finetune | Predictor) -> dict[str, Any]:
    """Return a section's fields as plain values; without `steps` where `seconds` count instead."""
    return omit(section, *(["steps"] if section.seconds is not None else []))


def without_unset(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without those that are None and None by default, at any depth.

    So an option that a later rsvp adds changes no stage's settings while nobody sets it.
    """
    kept = {}
    for key, value in values.items():
        if value is None and key in defaults and defaults[key] is None:
            continue
        default = defaults.get(key)
        nested = isinstance(value, Mapping) and isinstance(default, Mapping)
        kept[key] = without_unset(value, default) if nested else value
    return kept


def chosen_contexts(config: Config, autoencoder: str) -> dict[str, ObservedFrames] | None:
    """The contexts that an autoencoder is trained for beside the prefix; None where it names none.

    A dataset's contexts that no autoencoder names train nothing again.
    """
    own = config.autoencoders[autoencoder]
    known = config.datasets[own.dataset].contexts or {}
    return {name: known[name] for name in own.contexts or ()} or None


def chosen_protocols(config: Config) -> dict[str, Protocol]:
    """The protocols that `evaluation.protocols` names, in its order."""
    known = PROTOCOLS | config.protocols
    return {name: known[name] for name in config.evaluation.protocols}


def feature_windows(config: Config) -> list[int | None]:
    """How many first frames of a clip the distances between sets need; None is the whole clip.

    This is all that scoring a row depends on in the protocols: how many clips count, and how, is
    chosen from stored scores and features.
    """
    protocols = chosen_protocols(config).values()
    frames = {item.frames for item in protocols if item.scores is Scores.distribution}
    return sorted(frames, key=lambda count: count or 0)


def measuring_weights(weights: Weights) -> dict[str, Any]:
    """The local files that evaluation measures with; not where they are downloaded from."""
    files = weights_files(weights)
    detectors = {
        name: {"program": detector.program, "weights": files.get(f"detectors.{name}.weights")}
        for name, detector in weights.detectors.items()
    }
    return {key: files.get(key) for key in NETWORK_KEYS} | {"detectors": detectors}


def training_weights(config: Config, autoencoder: str) -> dict[str, Any]:
    """LPIPS's local files where that autoencoder is trained with it, else nothing.

    So weights that are added for the evaluation do not train anything again.
    """
    if config.autoencoders[autoencoder].perceptual is not Perceptual.lpips:
        return {}
    files = weights_files(config.weights)
    return {key: files[key] for key in LPIPS_KEYS}


def read_settings(values: Mapping[str, Any]) -> Settings:
    """The typed settings of a stage from the values that `stage_settings` cut out."""
    settings = structured(Settings, values)
    settings.handed = to_plain(values)
    return settings
