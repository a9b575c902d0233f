"""Read a config: `load` turns plain values, as read from YAML, into a checked `Config`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from rsvp.config.checks import check, check_protocols, check_reference, check_weights, refuse
from rsvp.config.messages import misfit
from rsvp.config.schema import ROW_KEYS, Config, Section, to_plain
from rsvp.config.schema1 import check_schema
from rsvp.runtime.errors import UserError

Kind = TypeVar("Kind", bound=Section)


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file; UserError names the file when it is missing or broken."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name another file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None


def load(values: Mapping[str, Any]) -> Config:
    """Return a checked config from plain values (as read from YAML).

    Raises UserError with the key's path, its value, what is allowed and the nearest valid key.
    """
    config = interpolated(values)
    share_trainings(config)
    check(config)
    return config


def load_measuring(values: Mapping[str, Any]) -> Config:
    """Return the weights and protocols of a config, checked; others may be incomplete."""
    config = interpolated(values)
    check_protocols(config)
    check_weights(config)
    return config


def share_trainings(config: Config) -> None:
    """Give the predictors that are the same as another one all of its keys but their own."""
    for name, own in config.predictors.items():
        other, path = own.same_as, f"predictors.{name}"
        if other is None:
            continue
        check_reference(f"{path}.same_as", other, config.predictors)
        trained, given = config.predictors[other], own.model_fields_set
        if other == name or trained.same_as:
            refuse(f"{path}.same_as", f"{other} is trained by itself nowhere; name one")
        if foreign := sorted(given - {"same_as", *ROW_KEYS}):
            reason = f"{other}, the same_as, has it already; remove it (its own may be"
            refuse(f"{path}.{foreign[0]}", f"{reason} {', '.join(ROW_KEYS)})")
        kept = {"context": None} | {key: getattr(own, key) for key in given}
        config.predictors[name] = trained.model_copy(update=kept)


def structured(kind: type[Kind], values: Any) -> Kind:
    """Return `values` as a section of that kind, with defaults; one clear line on a misfit."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise misfit(kind, error.errors(include_url=False)[0]) from None


def interpolated(values: Any) -> Config:
    """Return a config with each ${path} resolved, also to defaults of sections without names."""
    values = check_schema(values)
    try:
        config = Config.model_validate(values)
        if "${" not in config.model_dump_json():
            return config
    except ValidationError as error:
        # OmegaConf would follow anchors that nest without end: all else has to be sound.
        for found in error.errors(include_url=False):
            if not isinstance(found["input"], str) or "${" not in found["input"]:
                raise misfit(Config, found) from None
    from omegaconf import OmegaConf  # takes long, and most configs do without
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(to_plain(Config()), dict(values))
        return structured(Config, OmegaConf.to_container(merged, resolve=True))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0][:200]
        refuse(getattr(error, "full_key", None) or "config", reason)


def resolve_path(path: str, base: str) -> str:
    """Return `path` as an absolute path without links, relative ones from `base`."""
    return os.path.realpath(os.path.join(base, os.path.expanduser(path)))
