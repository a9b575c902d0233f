"""The layout of rsvp/, read from its syntax trees: imports point down, and values are plain."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A package imports from those of the lines below its own alone.
LAYERS = (
    ("stages", "commands"),
    ("report", "training"),
    ("metrics", "diffusion"),
    ("models",),
    ("data",),
    ("runtime",),
    ("config",),
)
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
LEAF = "rsvp.runtime.errors"  # all may import it; it imports nothing of the project
WHOLE = {"Settings", "Config"}  # taken by no library function
EDGE = ("rsvp/stages/", "rsvp/commands/", "rsvp/config/", "rsvp/runtime/main.py")

TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for path in sorted((ROOT / "rsvp").rglob("*.py"))
}


def package_of(path: str) -> str:
    """The package of rsvp that a module lies in; empty for rsvp's own."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def imported(tree: ast.AST) -> Iterator[str]:
    """The project's modules and names that a syntax tree imports, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith(("rsvp.", ".")))


def takers(tree: ast.AST) -> Iterator[str]:
    """The functions with a parameter that is annotated as the settings or the config."""
    whole = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rsvp.config")
        for alias in node.names
        if alias.name in WHOLE
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            annotations = [each for each in ast.walk(node.args) if isinstance(each, ast.Name)]
            if whole & {name.id for name in annotations}:
                yield node.name


def test_every_package_has_a_level():
    assert {package_of(path) for path in TREES} - {""} == LEVEL.keys()


def test_imports_point_down():
    wrong = [
        f"{path} imports {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if (package := package_of(path)) and not name.startswith((LEAF, f"rsvp.{package}."))
        if LEVEL.get(name.split(".")[1], -1) <= LEVEL[package]
    ]
    assert not wrong


def test_the_leaf_imports_nothing_of_the_project():
    assert not list(imported(TREES[LEAF.replace(".", "/") + ".py"]))


def test_stages_do_not_import_each_other():
    stages = {path: tree for path, tree in TREES.items() if package_of(path) == "stages"}
    wrong = {
        path: name
        for path, tree in stages.items()
        for name in imported(tree)
        if name.startswith("rsvp.stages")
    }
    assert stages and not wrong


def test_packages_export_nothing():
    packages = [path for path in TREES if path.endswith("/__init__.py") and package_of(path)]
    exports = [
        path for path in packages for line in TREES[path].body if line.__class__ is not ast.Expr
    ]  # a docstring
    assert packages and not exports


def test_library_functions_take_plain_values():
    """Neither the settings of a stage nor the whole config."""
    found = {
        f"{path}: {function}"
        for path, tree in TREES.items()
        if not path.startswith(EDGE)
        for function in takers(tree)
    }
    assert not found


def test_docstrings_begin_with_a_verb_or_a_noun():
    """A question word at the beginning says less than the noun itself."""
    first = ("What", "Where", "Which", "How", "Whether", "Why", "When", "Who")
    wrong = [
        f"{path}: {text}"
        for folder in ("rsvp", "workflow", "tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if (text := (ast.get_docstring(node) or " ").split("\n")[0]).split(" ")[0] in first
    ]
    assert not wrong
