"""The part of the config that each stage is handed, and `Settings`, its typed form.

`HANDED` names the sections and keys of each stage. A new key in a section that is handed whole goes
to the stage by itself.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from rsvp.config.load import structured
from rsvp.config.schema import (
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
    Predictor,
    Pretrain,
    Protocol,
    Report,
    Section,
    Weights,
    foreign_keys,
    omit,
    percentiles_of,
    pick,
    to_plain,
    weights_sources,
)


class Settings(Section):
    """The sections that one stage depends on; the others keep their defaults."""

    name: str = ""  # of the dataset, autoencoder or predictor that the stage makes
    seed: int = 0
    dataset: Dataset = Dataset()
    autoencoder: Autoencoder = Autoencoder()
    predictor: Predictor = Predictor()
    weights: Weights = Weights()
    compute: Compute = Compute()
    contexts: dict[str, ObservedFrames] | None = None  # of the autoencoder, beside the prefix
    evaluation: Evaluation = Evaluation()
    protocols: dict[str, Protocol] = Field({})  # those that the report prints
    windows: list[int | None] = Field([])  # see `feature_windows`
    share: tuple[int, int] | None = None  # a job's number, and the number of jobs that share
    definitions: list[str] | None = None  # see `other_definitions`
    report: Report = Report()
    # The values as they were handed, without defaults: what saved states are keyed by.
    handed: dict[str, Any] = Field({})


def stage_settings(config: Config, stage: str, name: str = "", seed: int = 0) -> dict[str, Any]:
    """Return exactly the part of the config that `stage` depends on, as plain values.

    `name` names the dataset, autoencoder or predictor that the stage works for. Two configs that
    give equal settings give equal outputs of the stage, so a change elsewhere leaves it alone.
    """
    settings: dict[str, Any] = {"name": name}
    for key, part in HANDED[stage].items():
        if key == "seed":
            settings[key] = seed
        elif callable(part):
            settings[key] = part(config, name)
        else:
            named = key in ("dataset", "autoencoder", "predictor")
            own = getattr(config, f"{key}s")[name] if named else getattr(config, key)
            settings[key] = pick(measuring_weights(own) if key == "weights" else own, part)
    return without_unset(settings, to_plain(Settings()))


def decoded(config: Config, name: str) -> dict[str, Any]:
    """Return the part of a dataset that its frames depend on: where they are the percentiles of
    training videos, so is the split."""
    dataset = config.datasets[name]
    return pick(dataset, (*FRAMES, "split") if percentiles_of(dataset.range) else FRAMES)


def pretrained(config: Config, name: str) -> dict[str, Any]:
    """Return the part of an autoencoder that pretraining depends on."""
    own = config.autoencoders[name]
    kept = omit(own, "finetune", "latent_copies", "contexts", *foreign_keys(own))
    return kept | {"pretrain": with_budget(own.pretrain)}


def finetuned(config: Config, name: str) -> dict[str, Any]:
    """Return the part of an autoencoder that fine-tuning depends on."""
    own = config.autoencoders[name]
    kept = omit(own, "latent_copies", "init_from", "contexts", *foreign_keys(own))
    return kept | {
        "pretrain": pick(own.pretrain, ("l1", "l2")),
        "finetune": with_budget(own.finetune),
    }


def denoiser(config: Config, name: str) -> dict[str, Any]:
    """Return the part of a predictor that training depends on: all but its row's own keys."""
    values = with_budget(config.predictors[name])
    left_out = ("kind", "dataset", "simvp", "same_as", *ROW_KEYS)
    return {key: item for key, item in values.items() if key not in left_out}


def regression(config: Config, name: str) -> dict[str, Any]:
    """Return the part of a predictor without latents that training depends on."""
    own = config.predictors[name]
    left_out = ("kind", "dataset", *foreign_keys(own), "time_mean", "time_std")
    return {key: item for key, item in with_budget(own).items() if key not in left_out}


def with_budget(own: Pretrain | Finetune | Predictor) -> dict[str, Any]:
    """Return a section's fields as plain values; without `steps` where `seconds` count instead."""
    return omit(own, *(["steps"] if own.seconds is not None else []))


def measuring(config: Config, name: str) -> dict[str, Any]:
    """Return the part of `compute` that a job that measures depends on."""
    return pick(config.compute, DEVICE) | {"threads": measuring_threads(config.compute)}


def measuring_threads(compute: Compute) -> int:
    """Return the CPU threads of a job that measures: half, so two use what one training uses.

    There is one such job per row, and much of each is no network's work.
    """
    return max(1, compute.threads // 2)


def chosen_contexts(config: Config, name: str) -> dict[str, Any] | None:
    """Return the contexts that an autoencoder is trained for beside the prefix; None without any.

    A dataset's contexts that no autoencoder names train nothing again.
    """
    own = config.autoencoders[name]
    known = config.datasets[own.dataset].contexts or {}
    return {context: to_plain(known[context]) for context in own.contexts or ()} or None


def predicted_frames(config: Config, name: str) -> dict[str, Any]:
    """Return the shape and the rate of the frames that a predictor expects."""
    dataset = config.datasets[config.dataset_of(name)]
    keys = (*SHAPE, "frame_stride", "target_fps", "skip_repeated", "fps")
    return pick(dataset, keys)


def report_contexts(config: Config, name: str) -> dict[str, Any] | None:
    """Return the contexts of a dataset that the report has rows of, beside the prefix."""
    known = config.datasets[name].contexts or {}
    rows = [row for row in config.report.predictors if config.dataset_of(row) == name]
    used = [config.predictors[row].context for row in rows]
    return {context: to_plain(known[context]) for context in used if context in known} or None


def chosen_protocols(config: Config) -> dict[str, Protocol]:
    """Return the protocols that `evaluation.protocols` names, in its order."""
    known = PROTOCOLS | config.protocols
    return {name: known[name] for name in config.evaluation.protocols}


def feature_windows(config: Config, name: str) -> list[int | None]:
    """Return the numbers of first frames of a clip that the distances between sets need.

    None is the whole clip. This is all that scoring a row depends on in the protocols: how many
    clips count, and how, is chosen from stored scores and features.
    """
    protocols = chosen_protocols(config).values()
    frames = {item.frames for item in protocols if item.of_sets}
    return sorted(frames, key=lambda count: count or 0)


def other_definitions(config: Config, name: str) -> list[str] | None:
    """Return the definitions beside rsvp's own that protocols take; None without any."""
    taken = {item.definition for item in chosen_protocols(config).values()}
    return sorted(taken - {"rsvp"}) or None


def measuring_weights(weights: Weights) -> dict[str, Any]:
    """Return the local files that evaluation measures with; not where they are downloaded from."""
    files = {key: source.local for key, source in weights_sources(weights).items()}
    detectors = {
        name: {"program": detector.program, "weights": files.get(f"detectors.{name}.weights")}
        for name, detector in weights.detectors.items()
    }
    return {key: files.get(key) for key in NETWORK_KEYS} | {"detectors": detectors}


def training_weights(config: Config, name: str) -> dict[str, Any]:
    """Return LPIPS's local files where that autoencoder is trained with it, else nothing.

    So weights that are added for the evaluation do not train anything again.
    """
    if config.autoencoders[name].perceptual != "lpips":
        return {}
    return pick(measuring_weights(config.weights), LPIPS_KEYS)


def without_unset(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without those that are None and None by default, at any depth.

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


def read_settings(values: Mapping[str, Any]) -> Settings:
    """Return the typed settings of a stage from the values that `stage_settings` cut out."""
    settings = structured(Settings, values)
    settings.handed = to_plain(values)
    return settings


def names(kind: type[Section], *others: str) -> tuple[str, ...]:
    """Return the names of a section's fields without others."""
    return tuple(key for key in kind.model_fields if key not in others)


UNHANDED = ("save_seconds", "watch", "processes", "nodes", "micro_batches", "shares")
NETWORKS = names(Compute, *UNHANDED)
STAGE_TWO = (*NETWORKS, "micro_batches")
DEVICE = names(Compute, *UNHANDED, "compile")
CLIPS = ("split", "max_clips", "horizon")
VIDEOS = ("source", "generated", "resolution", "fps")
SHAPE = ("resolution", "fit", "channels", "range", "resize")
READING = ("path", "axes", "camera", "gaps", "max_videos")
FRAMES = (
    "source", "generated", "fps", *SHAPE, *READING, "decode_jobs", "decode_shares", "ffmpeg",
)  # fmt: skip
CUT = names(Dataset, "ffmpeg", "contexts", "decode_shares")
ENCODED = {"seed": True, "contexts": chosen_contexts, "compute": DEVICE}
TRAINED = ENCODED | {"compute": (*DEVICE, "micro_batches"), "weights": training_weights}
SCORED = {"windows": feature_windows, "compute": measuring}
# By stage: by key of its settings the keys of that section, or a function of config and name.
HANDED: dict[str, dict[str, Any]] = {
    "generate_videos": {"dataset": VIDEOS},
    "decode": {"dataset": decoded},
    "split": {"dataset": CUT},
    "pretrain_autoencoder": TRAINED | {"autoencoder": pretrained},
    "finetune_autoencoder": TRAINED | {"autoencoder": finetuned},
    "cache_latents": ENCODED | {"autoencoder": ("latent_copies",)},
    "reconstruct": {"seed": True, "evaluation": CLIPS, "compute": DEVICE},
    "train_diffusion": {"seed": True, "predictor": denoiser, "compute": STAGE_TWO},
    "train_simvp": {"seed": True, "predictor": regression, "compute": STAGE_TWO},
    "predict_simvp": {"seed": True, "evaluation": (*CLIPS, "videos"), "compute": DEVICE},
    "predict": {
        "seed": True,
        "predictor": (*ROW_KEYS, "same_as"),
        "evaluation": (*CLIPS, "trajectories", "videos"),
        "compute": NETWORKS,
    },
    "predict_baseline": {"evaluation": CLIPS, "contexts": report_contexts},
    "real_features": SCORED | {"evaluation": CLIPS, "weights": ("i3d", "detectors")},
    "evaluate": SCORED
    | {
        "evaluation": ("split",),
        "weights": (*NETWORK_KEYS, "detectors"),
        "definitions": other_definitions,
    },
    "measure_semantics": {
        "seed": True,
        "evaluation": CLIPS,
        "weights": LPIPS_KEYS,
        "compute": measuring,
    },
    "check_memorisation": {
        "evaluation": ("split", "bootstrap"),
        "weights": ("i3d",),
        "compute": measuring,
    },
    "bundle": {
        "seed": True,
        "dataset": predicted_frames,
        "predictor": ROW_KEYS,
        "protocols": lambda config, name: to_plain(chosen_protocols(config)),
        "evaluation": ("bootstrap",),
    },
    "report": {
        "report": names(Report),
        "protocols": lambda config, name: to_plain(chosen_protocols(config)),
        "evaluation": ("bootstrap",),
    },
}
