"""Keys of schema 1 that schema 2 lacks, each with its new spelling."""

from collections.abc import Iterator, Mapping
from typing import Any

from rsvp.config.messages import shown
from rsvp.config.schema import SCHEMA
from rsvp.runtime.errors import UserError, one_line

SUM = "new spelling: #sha256=… at the end of {}"
GONE = {  # by path; * is any name
    "datasets.*.generated.size": "gone; videos are as large as the dataset's resolution",
    "datasets.*.generated.turn": "gone; it is 0.3",
    "datasets.*.generated.spin": "gone; it is 0.4",
    "datasets.*.shard_mb": "gone; it is 64",
    "autoencoders.*.pretrain.scale_equivariance": "gone; it is 0",
    "autoencoders.*.finetune.lecam_weight": "gone; regularisation is none or r1",
    "autoencoders.*.finetune.regularisation=lecam": "gone; regularisation is none or r1",
    "predictors.*.weighting": "gone; it is none",
    "weights.lpips_backbone_sha256": SUM.format("lpips_backbone"),
    "weights.lpips_linear_sha256": SUM.format("lpips_linear"),
    "weights.i3d_sha256": SUM.format("i3d"),
    "weights.detectors.*.weights_sha256": SUM.format("weights"),
    "evaluation.semantics_clips": "gone; it is 32",
}


class KeysOfSchema1(UserError):
    """Keys that are gone, a line each."""

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.args))


def check_schema(values: Any) -> Any:
    """Return `values` without the version of their format.

    Raises UserError with one line for another version, and for each key that only schema 1 has.
    """
    if not isinstance(values, Mapping):
        return values  # refused with all that is no section
    lines = [
        f"config: {path}: {now}"
        for pattern, now in GONE.items()
        for path in found(values, pattern.split("."))
    ]
    version = values.get("schema", SCHEMA)
    if version != SCHEMA:
        reason = f"{shown(version)} is not supported; write schema: {SCHEMA}"
        lines.append(f"config: schema: {reason}, which this rsvp reads")
    if lines:
        raise KeysOfSchema1(*lines)
    return {key: value for key, value in values.items() if key != "schema"}


def found(values: Any, pattern: list[str]) -> Iterator[str]:
    """Yield the paths in `values` that a pattern describes; key=value matches that value alone."""
    (key, _, value), rest = pattern[0].partition("="), pattern[1:]
    for name, item in values.items() if isinstance(values, Mapping) else ():
        if key not in ("*", name):
            continue
        if rest:
            yield from (f"{name}.{path}" for path in found(item, rest))
        elif not value or item == value:
            yield str(name)
