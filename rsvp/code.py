"""Digests of the code that a stage runs: its import closure's syntax trees. Loads without torch.

Comments, docstrings and formatting do not count. Nor do the definition of the config, logging,
files and run records: their effect on a stage is its resolved settings, which are compared instead.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"rsvp", "rsvp.config", "rsvp.stage", "rsvp.files", "rsvp.errors", "rsvp.code"}
TEMPLATES = (".jinja", ".css", ".js", ".json")


def code_digest(module: str) -> str:
    """Hex SHA-256 over the code that `python -m <module>` runs within rsvp."""
    digest = hashlib.sha256()
    for name in sorted(import_closure(module)):
        digest.update(f"{name}\0{module_digest(name)}\n".encode())
    return digest.hexdigest()


def import_closure(module: str) -> set[str]:
    """The module and every rsvp module that it imports, directly or not, without `LEFT_OUT`."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in LEFT_OUT:
            continue
        found.add(name)
        waiting += imports(name)
    return found


@cache
def imports(module: str) -> tuple[str, ...]:
    """The rsvp modules that a module names in its import statements, wherever they stand."""
    names: set[str] = set()
    for node in ast.walk(syntax_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return tuple(sorted(name for name in names if module_file(name)))


@cache
def module_digest(module: str) -> str:
    """Hex SHA-256 of a module's syntax tree, and of the templates that it names."""
    digest = hashlib.sha256(canonical(syntax_tree(module)).encode())
    path = module_file(module)
    assert path is not None
    for template in templates(path):
        digest.update(template.name.encode() + b"\0" + template.read_bytes())
    return digest.hexdigest()


def templates(path: Path) -> list[Path]:
    """The templates beside a module that it names in its source."""
    source = path.read_text(encoding="utf-8")
    beside = sorted(item for item in path.parent.iterdir() if item.suffix in TEMPLATES)
    return [item for item in beside if item.name in source]


def module_file(module: str) -> Path | None:
    """The source file of an rsvp module, or None where there is none."""
    if module.split(".")[0] != "rsvp":
        return None
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def syntax_tree(module: str) -> ast.Module:
    """A module's syntax tree without docstrings."""
    path = module_file(module)
    if path is None:
        raise FileNotFoundError(f"no module {module} below {ROOT}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree


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
