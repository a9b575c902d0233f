"""One line about a refused value of a config: its path, the value, what is allowed."""

import difflib
import reprlib
import typing
from collections.abc import Iterable
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic_core import ErrorDetails

from rsvp.config.schema import InWords, Section
from rsvp.runtime.errors import UserError

NOUNS = {int: "a whole number", float: "a number", bool: "true or false"}
EXPECTED = {  # by pydantic's type of error
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "list_type": "a list",
    "string_type": "text or a number",
}
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxlist, SHORT.maxdict = 2, 4, 2
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80


def misfit(kind: type[Section], error: ErrorDetails) -> UserError:
    """Return the error for a value that pydantic refuses in a section of that kind."""
    location, value, type_ = error["loc"], error["input"], error["type"]
    path = dotted(location)
    if type_ in ("extra_forbidden", "invalid_key"):
        top = ["schema"] if len(location) == 1 else []
        known = [*bare(hint_at(kind, location[:-1])).model_fields, *top]
        return UserError(f"config: {path}: unknown key; {nearest(location[-1], known, 'allowed')}")
    if location[-1:] == ("[key]",):  # a name, which becomes a folder
        if not isinstance(value, str):
            path = dotted(location[:-2])
            return UserError(
                f"config: {path}: the name {shown(value)} is no text; put it in quotes"
            )
        return UserError(
            f"config: {path}: a name has letters, digits, - and _ only (64 at most), and starts"
            " with a letter or digit"
        )
    if type_ in EXPECTED:
        where = path or "the file"
        return UserError(f"config: {where}: expected {EXPECTED[type_]}, got {shown(value)}")
    if type_ in ("string_unicode", "string_pattern_mismatch"):
        return UserError(f"config: {path}: {shown(value)} holds characters that are no text")
    hint = hint_at(kind, location)
    if type_ == "literal_error":
        return undefined(path, value, typing.get_args(bare(hint)))
    if words := in_words(hint):
        return impossible(path, value, words)
    return UserError(f"config: {path}: {shown(value)}: {error['msg']}")


def hint_at(kind: Any, location: Iterable[int | str]) -> Any:
    """Return the type of what stands at a location below a section of that kind."""
    for key in location:
        kind = bare(kind)
        if is_section(kind):
            kind = kind.model_fields[str(key)].rebuild_annotation()
        else:  # dict[Name, Section], or a list
            kind = typing.get_args(kind)[-1]
        if type(None) in typing.get_args(bare(kind)):
            kind = typing.get_args(bare(kind))[0]
    return kind


def is_section(kind: Any) -> bool:
    """Check whether a type is of sections."""
    return isinstance(kind, type) and issubclass(kind, Section)


def bare(hint: Any) -> Any:
    """Return a type without its marks."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def in_words(hint: Any) -> str:
    """Return what a type allows: its own words, or those of a number; "" for other types."""
    if own := own_words(hint):
        return own
    return ", ".join([NOUNS[bare(hint)], *bounds(hint)]) if bare(hint) in NOUNS else ""


def own_words(hint: Any) -> str:
    """Return the words that a type is marked with, or ""."""
    marks = getattr(hint, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, InWords)), "")


def bounds(hint: Any) -> list[str]:
    """Return the bounds of a number in words."""
    words = []
    for mark in getattr(hint, "__metadata__", ()):
        match mark:
            case Ge(ge):
                words.append(f"{ge} or more")
            case Gt(gt):
                words.append(f"above {gt}")
            case Lt(lt):
                words.append(f"below {lt}")
            case Le(le):
                words.append(f"{le} at most")
            case MultipleOf(factor):
                words.append(f"a multiple of {factor}")
    return words


def dotted(location: Iterable[int | str]) -> str:
    """Return a path as messages write it: a.b[0]."""
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{shorten(part)}"
        for part in location
        if part != "[key]"
    ]
    return "".join(parts).removeprefix(".")


def nearest(name: Any, known: Iterable[str], listed: str) -> str:
    """Return the nearest of the known names as a question, or all of them."""
    near = difflib.get_close_matches(shown(name).strip("'"), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"{listed}: {', '.join(known) or 'none'}"


def undefined(path: str, name: Any, known: Iterable[str]) -> UserError:
    """Return the error for a name that nothing defines."""
    hint = nearest(name, known, "defined")
    return UserError(f"config: {path}: {shown(name)} is not defined; {hint}")


def impossible(path: str, value: Any, allowed: str) -> UserError:
    """Return the error for a value that is not allowed."""
    return UserError(f"config: {path}: {shown(value)} is not possible; allowed: {allowed}")


def shown(value: Any) -> str:
    """Return a value for a message; of a long one the beginning and the end."""
    return SHORT.repr(value)


def shorten(key: str) -> str:
    """Return a key for a message; of a long one the beginning."""
    return key if len(key) <= 80 else f"{key[:80]}…"
