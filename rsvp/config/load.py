"""Read a config: `load` turns plain values, as read from YAML, into a checked `Config`."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from rsvp.config.checks import check, check_protocols, check_reference, check_weights
from rsvp.config.messages import misfit, shorten
from rsvp.config.schema import ROW_KEYS, Config, to_plain
from rsvp.config.schema1 import check_schema_1
from rsvp.runtime.errors import UserError

Section = TypeVar("Section")


def load(values: Mapping[str, Any]) -> Config:
    """Return a checked config from plain values (as read from YAML).

    Raises UserError with the key's path, its value, what is allowed and the nearest valid key.
    """
    check_schema_1(values)
    config = structured(Config, interpolated(with_shared_training(values)))
    check(config)
    return config


def load_measuring(values: Mapping[str, Any]) -> Config:
    """Return the weights and protocols of a config, checked; others may be incomplete."""
    check_schema_1(values)
    config = structured(Config, interpolated(values))
    check_protocols(config)
    check_weights(config)
    return config


def with_shared_training(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values with all keys of the other predictor for those that are the same as it."""
    named = values.get("predictors") if isinstance(values, Mapping) else None
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


def structured(kind: type[Section], values: Any) -> Section:
    """Return `values` as a section of that kind, with defaults; one clear line on a misfit."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise misfit(kind, error.errors(include_url=False)[0]) from None


def interpolated(values: Mapping[str, Any]) -> Any:
    """Resolve each ${path} in a config, also to defaults of sections that have no names."""
    if not is_interpolated(values):
        return values
    # OmegaConf would follow anchors that nest without end: all else has to be sound.
    try:
        TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if not is_interpolated(found["input"]):
                raise misfit(Config, found) from None
    from omegaconf import OmegaConf  # takes long, and most configs do without
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(to_plain(Config()), dict(values))
        return OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0][:200]
        key = getattr(error, "full_key", None) or "config"
        raise UserError(f"config: {key}: {reason}") from None


def is_interpolated(values: Any) -> bool:
    """Check whether a text in plain values holds ${; each value is looked at once."""
    waiting, seen = [values], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and "${" in item:
            return True
        if id(item) in seen or not isinstance(item, Mapping | list):
            continue
        seen.add(id(item))
        waiting += item.values() if isinstance(item, Mapping) else item
    return False


def resolve_path(path: str, base: str) -> str:
    """Return `path` as an absolute path without links, relative ones from `base`."""
    return os.path.realpath(os.path.join(base, os.path.expanduser(path)))
