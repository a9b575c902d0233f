"""Print docs/config.md, made from the definition: `python -m rsvp.config.docs > docs/config.md`."""

import inspect
import json
import re
import typing
from collections.abc import Iterator
from typing import Any

from rsvp.config.messages import NOUNS, bare, bounds, hint_at, is_section, own_words
from rsvp.config.schema import LARGEST, SCHEMA, Config, Section, limits, to_plain

HEAD = f"""# The keys of a config

Made by `python -m rsvp.config.docs > docs/config.md`; edit `rsvp/config/schema.py`, not this page.

A key that is left out keeps its default. NAME is a name of yours: letters, digits, - and _. A text
may hold `${{compute.threads}}`, say, which stands for the value of that key. The top-level key
`schema` is the version of this format, {SCHEMA}.
"""


def config_page() -> str:
    """Return docs/config.md."""
    parts = [HEAD]
    for path, kind in sections(Config, ""):
        level = "##" if "." not in path.replace(".NAME", "") else "###"
        lines = [f"{level} {path or 'Top level'}", "", inspect.cleandoc(kind.__doc__ or ""), ""]
        texts = comments(kind)
        keys = [key for key in kind.model_fields if not is_section(held(hint_at(kind, [key])))]
        rows = [row(kind, key, texts.get(key, "")) for key in keys]
        table = ["| key | allowed | default | meaning |", "|---|---|---|---|", *rows, ""]
        parts.append("\n".join([*lines, *(table if rows else [])]))
    return "\n".join(parts)


def sections(kind: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    """Yield the path and the type of a section and of all below it."""
    yield path, kind
    for key in kind.model_fields:
        hint = hint_at(kind, [key])
        name = ".NAME" if typing.get_origin(hint) is dict else ""
        if is_section(held(hint)):
            yield from sections(held(hint), f"{path}.{key}{name}".lstrip("."))


def held(hint: Any) -> Any:
    """Return the type of a key's values: of each in a list or under a name."""
    while typing.get_origin(bare(hint)) in (dict, list):
        hint = typing.get_args(bare(hint))[-1]
    return bare(hint)


def row(kind: type[Section], key: str, meaning: str) -> str:
    """Return the line of a key in its section's table."""
    if mark := limits(kind).get(key):
        meaning = f"{mark.key} {' or '.join(mark.values)}: {meaning}"
    value = kind.model_fields[key].default
    default = "" if value is None else f"`{json.dumps(to_plain(value))}`"
    return f"| `{key}` | {allowed(hint_at(kind, [key]))} | {default} | {meaning} |"


def allowed(hint: Any) -> str:
    """Return the values that a key may hold, without the bounds that all numbers have."""
    kind = bare(hint)
    if words := own_words(hint):
        return words
    if typing.get_origin(kind) is list:
        return f"list: {allowed(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{item}`" for item in typing.get_args(kind))
    return ", ".join([NOUNS.get(kind, "text"), *(b for b in bounds(hint) if str(LARGEST) not in b)])


def comments(kind: type[Section]) -> dict[str, str]:
    """Return the comments above the fields of a section, by field."""
    found = re.findall(r"((?:^    # .*\n)+)    (\w+):", inspect.getsource(kind), re.MULTILINE)
    return {key: " ".join(re.findall("# (.*)", lines)) for lines, key in found}


if __name__ == "__main__":
    print(config_page(), end="")
