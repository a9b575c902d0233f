"""Print docs/config.md, made from the definition: `python -m rsvp.config.docs > docs/config.md`."""

import ast
import inspect
import itertools
import json
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any

from rsvp.config import schema
from rsvp.config.messages import bare, bounds, hint_at
from rsvp.config.schema import Config, limits, to_plain

HEAD = """# The keys of a config

Made by `python -m rsvp.config.docs > docs/config.md`; edit `rsvp/config/schema.py`, not this page.

A key that is left out keeps its default. NAME is a name of yours: letters, digits, - and _. A text
may hold `${compute.threads}`, say, which stands for the value of that key.
"""
NOUNS = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}


def config_page() -> str:
    """Return docs/config.md."""
    texts = comments()
    parts = [HEAD]
    for path, kind in sections(Config, ""):
        level = "##" if "." not in path.replace(".NAME", "") else "###"
        lines = [f"{level} {path or 'Top level'}", "", inspect.cleandoc(kind.__doc__ or ""), ""]
        values = [
            item for item in fields(kind) if not is_dataclass(held(hint_at(kind, [item.name])))
        ]
        rows = [row(kind, item, texts) for item in values]
        table = ["| key | allowed | default | meaning |", "|---|---|---|---|", *rows, ""]
        parts.append("\n".join([*lines, *(table if rows else [])]))
    return "\n".join(parts)


def sections(kind: type, path: str) -> Iterator[tuple[str, type]]:
    """Yield the path and the type of a section and of all below it."""
    yield path, kind
    for item in fields(kind):
        hint = hint_at(kind, [item.name])
        name = ".NAME" if typing.get_origin(hint) is dict else ""
        if is_dataclass(held(hint)):
            yield from sections(held(hint), f"{path}.{item.name}{name}".lstrip("."))


def held(hint: Any) -> Any:
    """Return the type of a key's values: of each in a list or under a name."""
    while typing.get_origin(bare(hint)) in (dict, list):
        hint = typing.get_args(bare(hint))[-1]
    return bare(hint)


def row(kind: type, item: Field, texts: dict[str, str]) -> str:
    """Return the line of a key in its section's table."""
    mark, hint = limits(kind).get(item.name), hint_at(kind, [item.name])
    choice = held(hint)
    meaning = texts.get(f"{kind.__name__}.{item.name}", "")
    if mark:
        meaning = f"{mark.key} {' or '.join(mark.values)}: {meaning}"
    if is_choice(choice):
        named = {member.name: texts.get(f"{choice.__name__}.{member.name}") for member in choice}
        told = "; ".join(f"{name}: {text}" for name, text in named.items() if text)
        meaning = f"{meaning or choice.__doc__} {told}"
    return f"| `{item.name}` | {allowed(hint)} | {default(item)} | {meaning.strip()} |"


def is_choice(kind: Any) -> bool:
    """Check whether a key's values are of an Enum."""
    return isinstance(kind, type) and issubclass(kind, Enum)


def default(item: Field) -> str:
    """Return a key's default as YAML; nothing where it has none."""
    value = item.default_factory() if item.default_factory is not MISSING else item.default
    return "" if value is None else f"`{json.dumps(to_plain(value))}`"


def allowed(hint: Any) -> str:
    """Return the values that a key may hold."""
    kind = bare(hint)
    if typing.get_origin(kind) is list:
        return f"list: {allowed(typing.get_args(kind)[0])}"
    if is_choice(kind):
        return ", ".join(f"`{member.name}`" for member in kind)
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{item}`" for item in typing.get_args(kind))
    return ", ".join([NOUNS[kind], *bounds(hint)])


def comments() -> dict[str, str]:
    """Return the comments above the definition's fields and choices by "Class.name"."""
    source, texts = inspect.getsource(schema), {}
    lines = source.splitlines()
    for node in ast.parse(source).body:
        for item in node.body if isinstance(node, ast.ClassDef) else ():
            target = getattr(item, "target", None) or getattr(item, "targets", [None])[0]
            above = itertools.takewhile(is_comment, reversed(lines[: item.lineno - 1]))
            words = [line.strip().removeprefix("# ") for line in above][::-1]
            if isinstance(target, ast.Name) and words:
                texts[f"{node.name}.{target.id}"] = " ".join(words)
    return texts


def is_comment(line: str) -> bool:
    """Check whether a line holds a comment alone."""
    return line.strip().startswith("#")


if __name__ == "__main__":
    print(config_page(), end="")
