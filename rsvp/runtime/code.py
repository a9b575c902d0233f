"""Digests of the code that a stage runs: its import closure's syntax trees. Loads without torch.

A digest holds what can change the stage's numbers. Comments, docstrings and formatting do not
count. Nor do modules that only count, log, draw or keep (`LEFT_OUT`), nor the definition of the
config: its effect on a stage is its resolved settings, which are compared instead. A kind of
autoencoder is loaded by its name, so it is a root of its own beside the stage that uses it.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeGuard

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "rsvp.config"
LEFT_OUT = {
    "rsvp",
    "rsvp.runtime",
    "rsvp.runtime.code",
    "rsvp.runtime.errors",
    "rsvp.runtime.files",
    "rsvp.runtime.followers",
    "rsvp.runtime.gpus",
    "rsvp.runtime.journal",
    "rsvp.runtime.lock",
    "rsvp.runtime.main",
    "rsvp.runtime.record",
    "rsvp.stages",
    "rsvp.training.cost",
    "rsvp.training.history",
}
# Intervals are numbers in the results of other stages. A training only reports them.
LEFT_OUT_OF_TRAININGS = {"rsvp.metrics.intervals"}
TRAININGS = {
    "rsvp.stages.pretrain_autoencoder",
    "rsvp.stages.finetune_autoencoder",
    "rsvp.stages.train_diffusion",
}
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # fields that hold statements
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
TEMPLATES = (".jinja", ".css", ".js", ".json")


def code_digest(*roots: str) -> str:
    """Return the hex SHA-256 over the code that modules run within rsvp: a stage's, and others."""
    digest = hashlib.sha256()
    for path, content in file_digests(*roots).items():
        digest.update(f"{path}\0{content}\n".encode())
    return digest.hexdigest()


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
    """Read a module's source, and the templates beside it, which bear its name.

    The tree is dropped: kept, all trees together slow down each garbage collection of Snakemake.
    """
    tree = syntax_tree(name)
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
    found = tuple(sorted(name for name in names if module_file(name)))
    path = module_file(name)
    contents = {path: canonical(tree).encode()}
    beside = [item for item in path.parent.glob(f"{path.stem}*") if item.suffix in TEMPLATES]
    contents |= {item: item.read_bytes() for item in beside}
    digests = {
        item.relative_to(ROOT).as_posix(): hashlib.sha256(content).hexdigest()
        for item, content in contents.items()
    }
    return Module(found, digests)


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


def syntax_tree(module: str) -> ast.Module:
    """A module's syntax tree without docstrings."""
    path = module_file(module)
    if path is None:
        raise FileNotFoundError(f"no module {module} below {ROOT}")
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
