"""Read a config: `load` turns plain values, as read from YAML, into a checked `Config`."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsvp.config.checks import (
    check,
    check_keys,
    check_protocols,
    check_reference,
    check_weights,
    shorten,
)
from rsvp.config.schema import ROW_KEYS, Config
from rsvp.config.schema1 import check_schema_1
from rsvp.runtime.errors import UserError

Section = TypeVar("Section")


def load(values: Mapping[str, Any]) -> Config:
    """A checked config from plain values (as read from YAML).

    Raises UserError with the key's path, its value, what is allowed and the nearest valid key.
    """
    check_schema_1(values)
    config = structured(Config, with_shared_training(values))
    check(config)
    return config


def with_shared_training(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with all keys of the other predictor given to those that are the same as it."""
    named = values.get("predictors")
    if not isinstance(named, Mapping):
        return values
    resolved = dict(named)
    for name, own in named.items():
        other = own.get("same_as") if isinstance(own, Mapping) else None
        if not isinstance(other, str):
            continue  # not set, or of a type that is refused with all others
        path = f"predictors.{shorten(str(name))}"
        check_reference(f"{path}.same_as", other, named)
        trained = named[other]
        if other == name or not isinstance(trained, Mapping) or trained.get("same_as"):
            raise UserError(
                f"config: {path}.same_as: {other} is trained by itself nowhere; name one"
            )
        foreign = [key for key in own if key not in ("same_as", *ROW_KEYS)]
        if foreign:
            allowed = ", ".join(ROW_KEYS)
            raise UserError(
                f"config: {path}.{foreign[0]}: {other}, the same_as, has it already; remove it (its"
                f" own may be {allowed})"
            )
        resolved[name] = {k: v for k, v in trained.items() if k != "context"} | dict(own)
    return {**values, "predictors": resolved}


def load_measuring(values: Mapping[str, Any]) -> Config:
    """The weights and protocols of a config, checked; its other sections may be incomplete."""
    check_schema_1(values)
    config = structured(Config, values)
    check_protocols(config)
    check_weights(config)
    return config


def structured(kind: type[Section], values: Mapping[str, Any]) -> Section:
    """Merge `values` into the defaults of the dataclass `kind`, with one clear line on a misfit."""
    check_keys(kind, values, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.create(dict(values)))
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0][:200]
        key = getattr(error, "full_key", None) or "config"
        raise UserError(f"config: {key}: {reason}") from None


def resolve_path(path: str, base: str) -> str:
    """`path` as an absolute path without links, relative ones from `base`."""
    return os.path.realpath(os.path.join(base, os.path.expanduser(path)))
