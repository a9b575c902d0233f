"""A config file, checked before Snakemake reads it."""

import json
from pathlib import Path
from typing import Any

import yaml

from rsvp.config.messages import shorten
from rsvp.runtime.errors import UserError


def read_config_file(path: str) -> dict[str, Any]:
    """Return the values of a config file as Snakemake reads them: as JSON, else as YAML.

    UserError where it is no YAML or JSON of keys and values, or repeats a key: Snakemake answers
    some of these with a traceback, and takes the last of repeated keys.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; start snakemake in the folder of config.yaml, or name"
            " another file with --configfile"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    values = values_of_json(text)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) if values is None else values
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if values is not None:  # JSON may be indented by tabs
            return values
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise UserError(f"{path}: {where}not valid JSON or YAML: {reason[:200]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: keys and values are needed, as in rsvp's own config.yaml")
    key = repeated_key(root)
    if key is not None:
        line = key.start_mark.line + 1
        raise UserError(f"{path}: line {line}: the key '{shorten(key.value)}' stands here twice")
    return values


def values_of_json(text: str) -> dict[str, Any] | None:
    """Return the keys and values of a text of JSON; None for another text."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def repeated_key(root: yaml.Node) -> yaml.ScalarNode | None:
    """Return a key that a mapping gives a second time. Each node is looked at once."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        known = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in known:
                    return key
                known.add(key.value)
            waiting.append(value)
    return None
