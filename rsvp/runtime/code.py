"""Digests of the code that a stage runs: its import closure's syntax trees. Loads without torch.

A digest holds what can change the stage's numbers. Comments, docstrings and formatting do not
count. Nor do modules that only count, log, draw or keep (`LEFT_OUT`), nor the definition of the
config: its effect on a stage is its resolved settings, which are compared instead. A kind of
autoencoder is loaded by its name, so it is a root of its own beside the stage that uses it.

A plan keeps what it read of each source in a file that the environment names. So jobs parse no
source that nobody wrote to since.
"""

import ast
import hashlib
import json
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from rsvp.runtime.files import file_state, is_settled, read_kept, sha256_of_pairs, write_text

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "rsvp.config"
LEFT_OUT = {
    "rsvp",
    "rsvp.data.formats.detect",  # the kind of a source that it finds is a resolved setting
    "rsvp.runtime",
    "rsvp.runtime.code",
    "rsvp.runtime.errors",
    "rsvp.runtime.files",
    "rsvp.runtime.followers",
    "rsvp.runtime.gpus",
    "rsvp.runtime.journal",
    "rsvp.runtime.lock",
    "rsvp.runtime.main",
    "rsvp.runtime.progress",
    "rsvp.runtime.record",
    "rsvp.stages",
    "rsvp.training.cost",
    "rsvp.training.history",
    "rsvp.training.watching",
}
# Intervals are numbers in the results of other stages. A training only reports them.
LEFT_OUT_OF_TRAININGS = {"rsvp.metrics.intervals"}
TRAININGS = {
    "rsvp.stages.pretrain_autoencoder",
    "rsvp.stages.finetune_autoencoder",
    "rsvp.stages.train_diffusion",
    "rsvp.stages.train_simvp",
}
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # fields that hold statements
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
KEPT = "RSVP_CODE"  # the file that holds what was read of sources
READ: dict[str, Any] = {}  # what this process read of sources, by their paths
TEMPLATES = (".jinja", ".css", ".js", ".json")


def code_digest(*roots: str) -> str:
    """Return the hex SHA-256 over the code that modules run within rsvp: a stage's, and others."""
    return sha256_of_pairs(file_digests(*roots).items())


def file_digests(*roots: str) -> dict[str, str]:
    """Return the hex SHA-256 of each file of that code, by its path below the project."""
    digests = {}
    for name in import_closure(*roots):
        digests |= read_module(name).digests
    return dict(sorted(digests.items()))


def short_digests(*roots: str) -> dict[str, str]:
    """Return `file_digests` cut to 16 digits: enough to tell which file changed."""
    return {path: digest[:16] for path, digest in file_digests(*roots).items()}


def import_closure(*roots: str) -> set[str]:
    """Return the modules and every rsvp module that they import, directly or not.

    The packages that modules lie in are imported with them. What is left out is not followed.
    """
    left_out = LEFT_OUT | (LEFT_OUT_OF_TRAININGS if TRAININGS & set(roots) else set())
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name in left_out or f"{name}.".startswith(f"{CONFIG}."):
            continue
        found.add(name)
        waiting += [*read_module(name).imports, name.rpartition(".")[0]]
    return found


class Module(NamedTuple):
    """The imports and the digests of a module."""

    imports: tuple[str, ...]  # the rsvp modules in its import statements, wherever they stand
    digests: dict[str, str]  # hex SHA-256 of its syntax tree and of its templates, by path


@cache
def read_module(name: str) -> Module:
    """Read a module's source, and the templates beside it, which bear its name."""
    path = module_file(name)
    if path is None:
        raise FileNotFoundError(f"no module {name} below {ROOT}")
    names, digest = read_source(path)
    digests = {path.relative_to(ROOT).as_posix(): digest}
    for item in path.parent.glob(f"{path.stem}*"):
        if item.suffix in TEMPLATES:
            content = hashlib.sha256(item.read_bytes()).hexdigest()
            digests[item.relative_to(ROOT).as_posix()] = content
    return Module(tuple(sorted(filter(module_file, names))), digests)


def read_source(path: Path) -> tuple[list[str], str]:
    """Return the names that a source imports of rsvp, maybe of modules, and its tree's SHA-256.

    As they were kept where nobody wrote to it since.
    """
    state, entry = file_state(path), kept_sources().get(str(path))
    if entry is None or entry["state"] != state:
        # The tree is dropped: kept, all trees together slow down each garbage collection.
        tree = syntax_tree(path)
        digest = hashlib.sha256(canonical(tree).encode()).hexdigest()
        entry = {"state": state, "imports": imports_of(tree), "sha256": digest}
        READ[str(path)] = entry
    return entry["imports"], entry["sha256"]


@cache
def kept_sources() -> dict[str, Any]:
    """Return what another process read of each source, by its path; empty without."""
    kept = read_kept(os.environ.get(KEPT, ""))
    return kept["sources"] if kept.get("reader") == file_state(__file__) else {}


def keep_sources() -> None:
    """Keep what was read of sources for jobs and later plans."""
    now = time.time()
    settled = {path: entry for path, entry in READ.items() if is_settled(entry["state"], now)}
    if settled:
        kept = {"reader": file_state(__file__), "sources": kept_sources() | settled}
        write_text(os.environ[KEPT], json.dumps(kept))


def imports_of(tree: ast.Module) -> list[str]:
    """Return the names in a module's import statements, wherever they stand, that rsvp may have."""
    names: set[str] = set()
    nodes = list(statements(tree))
    for_types = {id(inner) for node in nodes if is_type_check(node) for inner in node.body}
    for node in nodes:
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return sorted(name for name in names if name.split(".")[0] == "rsvp")


def is_type_check(node: ast.AST) -> TypeGuard[ast.If]:
    """Check whether a statement is `if TYPE_CHECKING:`, whose imports nothing runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def module_file(module: str) -> Path | None:
    """The source file of an rsvp module, or None where there is none."""
    if module.split(".")[0] != "rsvp":
        return None
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def syntax_tree(path: Path) -> ast.Module:
    """A source's syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in statements(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and all statements in it, however deep; expressions, most of a tree, hold none."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name in BLOCKS:
            waiting += getattr(node, name, ())


def canonical(node: object) -> str:
    """A text of a syntax tree that does not differ between Python's minor versions.

    Positions are left out, and so are empty and missing fields: newer versions add such fields
    (`type_params`, say) to nodes that mean the same.
    """
    if isinstance(node, ast.AST):
        parts = []
        for name, value in ast.iter_fields(node):
            if value is None or value == [] or name in ("kind", "type_comment"):
                continue
            parts.append(f"{name}={canonical(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(canonical(item) for item in node)}]"
    return repr(node)
