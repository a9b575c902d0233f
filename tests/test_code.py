"""Changes of code that count in a stage's digest, and those that do not."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rsvp.runtime import code

PROJECT = {
    "rsvp/__init__.py": "",
    "rsvp/config/schema.py": "STEPS = 3\n",
    "rsvp/runtime/main.py": "import rsvp.config.schema\n",
    "rsvp/data/__init__.py": "",
    "rsvp/data/clips.py": "def cut(frames):\n    return frames[:4]\n",
    "rsvp/models/__init__.py": "",
    "rsvp/models/net.py": (
        '"""A network."""\n\n\n'
        "def forward(x, *, scale=2):\n"
        '    """Scale x."""\n'
        "    # two is enough\n"
        '    return {"y": x * scale}\n'
    ),
    "rsvp/train.py": (
        "from rsvp.config.schema import STEPS\n"
        "from rsvp.models.net import forward\n"
        "from rsvp.runtime.main import run\n\n\n"
        "def main():\n"
        "    import rsvp.data.clips as clips\n\n"
        "    return forward(clips.cut([STEPS]))\n"
    ),
    "rsvp/typed.py": (
        "from typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    from rsvp.models.net import forward\n"
        "def main(f: 'forward'): return f\n"
    ),
    "rsvp/page.py": "",
    "rsvp/page.html.jinja": "<p>{{ text }}</p><style>{{ inline('page.css') }}</style>\n",
    "rsvp/page.css": "p { margin: 0 }\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project whose digests are computed instead of rsvp's own."""
    for path, text in PROJECT.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Digests are kept for the life of a process."""
    code.read_module.cache_clear()
    code.kept_sources.cache_clear()


def digest_after(project: Path, path: str, old: str, new: str, module: str = "rsvp.train") -> str:
    """The digest once `old` was replaced in a file."""
    text = (project / path).read_text()
    assert old in text
    (project / path).write_text(text.replace(old, new))
    forget()
    return code.code_digest(module)


NET = "rsvp/models/net.py"
BOTH = ("rsvp.train", "rsvp.page")
SAME = {
    "comment": (NET, "# two is enough", "# two is plenty"),
    "module docstring": (NET, '"""A network."""', '"""The network."""'),
    "function docstring": (NET, '"""Scale x."""', '"""Return x scaled."""'),
    "quotes": (NET, '"y"', "'y'"),
    "line breaks": (NET, '{"y": x * scale}', '{\n        "y": (x * scale),\n    }'),
    "definition of the config": ("rsvp/config/schema.py", "STEPS = 3", "STEPS = 4"),
    "stage wrapper": (
        "rsvp/runtime/main.py",
        "import rsvp.config.schema",
        "import rsvp.config.schema, logging",
    ),
    "template of another stage": ("rsvp/page.html.jinja", "<p>", "<b>"),
}
OTHER = {
    "operator": (NET, "x * scale", "x + scale"),
    "default": (NET, "scale=2", "scale=3"),
    "string": (NET, '"y"', '"z"'),
    "import inside a function": ("rsvp/data/clips.py", "[:4]", "[:5]"),
    "stage itself": ("rsvp/train.py", "clips.cut([STEPS])", "[STEPS]"),
}


@pytest.mark.parametrize("edit", SAME.values(), ids=SAME)
def test_digest_stays(project, edit):
    before = code.code_digest("rsvp.train")
    assert digest_after(project, *edit) == before


@pytest.mark.parametrize("edit", OTHER.values(), ids=OTHER)
def test_digest_changes(project, edit):
    before = code.code_digest("rsvp.train")
    assert digest_after(project, *edit) != before


@pytest.mark.parametrize("edit", [("page.html.jinja", "<p>", "<b>"), ("page.css", "0", "1")])
def test_templates_count_for_the_module_of_their_name(project, edit):
    before = code.code_digest("rsvp.page")
    assert digest_after(project, f"rsvp/{edit[0]}", *edit[1:], "rsvp.page") != before


def test_every_template_counts_for_the_module_that_reads_it():
    for module, names in {
        "rsvp.report.page": ["page.css", "page.html.jinja", "page.js", "page.py"],
        "rsvp.metrics.i3d": ["i3d.py", "i3d_manifest.json"],
    }.items():
        assert sorted(Path(path).name for path in code.read_module(module).digests) == names
    others = {path.suffix for path in Path(code.__file__).parents[1].rglob("*.*") if path.is_file()}
    assert others - {".py", ".pyc"} == set(code.TEMPLATES)


def test_what_only_annotations_name_is_not_followed(project):
    assert code.import_closure("rsvp.typed") == {"rsvp.typed"}


def test_several_roots_are_one_digest(project):
    """A stage, and the kind of autoencoder that it loads by name."""
    both = code.code_digest(*BOTH)
    assert both != code.code_digest("rsvp.train")
    assert set(code.short_digests("rsvp.train", "rsvp.page")) > set(
        code.short_digests("rsvp.train")
    )
    (project / "rsvp/page.css").write_text("p { padding: 0 }")
    forget()
    assert code.code_digest(*BOTH) != both


def test_intervals_count_where_results_hold_them():
    trainings = ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion")
    for stage in (*trainings, "measure_semantics"):
        assert "rsvp.metrics.intervals" not in code.import_closure(f"rsvp.stages.{stage}")
    for stage in ("check_memorisation", "report"):
        assert "rsvp.metrics.intervals" in code.import_closure(f"rsvp.stages.{stage}")


def test_changed_file_is_named(project):
    before = code.short_digests("rsvp.train")
    assert set(before) == {"rsvp/data/clips.py", "rsvp/data/__init__.py", NET, "rsvp/train.py",
                           "rsvp/models/__init__.py"}  # fmt: skip
    digest_after(project, *OTHER["operator"])
    after = code.short_digests("rsvp.train")
    assert [path for path in before if after[path] != before[path]] == [NET]


@pytest.mark.parametrize(("name", "old"), [("page.html.jinja", "<p>"), ("page.css", "margin")])
def test_changed_template_is_named(project, name, old):
    """Also one that only another template names."""
    before = code.short_digests("rsvp.page")
    digest_after(project, f"rsvp/{name}", old, "other", "rsvp.page")
    after = code.short_digests("rsvp.page")
    assert [path for path in before if after[path] != before[path]] == [f"rsvp/{name}"]


def test_digest_does_not_depend_on_the_place(project, tmp_path_factory, monkeypatch):
    before = code.code_digest("rsvp.train")
    other = tmp_path_factory.mktemp("clone")
    project.joinpath("rsvp").rename(other / "rsvp")
    monkeypatch.setattr(code, "ROOT", other)
    forget()
    assert code.code_digest("rsvp.train") == before


def test_every_stage_of_the_pipeline_has_a_digest():
    """The closure holds the stage and nothing that loads no code of it."""
    for stage in ("decode", "split", "train_diffusion", "evaluate", "report"):
        closure = code.import_closure(f"rsvp.stages.{stage}")
        assert f"rsvp.stages.{stage}" in closure
        assert not {name for name in closure if name.startswith("rsvp.config")}
        assert len(code.code_digest(f"rsvp.stages.{stage}")) == 64


STAGES = ("decode", "split", "finetune_autoencoder", "train_diffusion", "evaluate", "report")
DIGESTS = "from rsvp.runtime.code import code_digest; print(*map(code_digest, sys.argv[2:]))"


def other_pythons() -> list[str]:
    """Interpreters of other minor versions from 3.11 on, on PATH and where pyenv puts them.

    `.ci/run` has an empty home: PYENV_ROOT, or the command on PATH, still tells where pyenv is.
    """
    found = {}
    roots = [Path.home() / ".pyenv", Path(os.environ.get("PYENV_ROOT", "nowhere"))]
    if command := shutil.which("pyenv"):
        roots.append(Path(command).parents[1])
    for minor in range(11, 16):
        name = f"python3.{minor}"
        places = [p for r in roots for p in sorted(r.glob(f"versions/3.{minor}.*/bin/{name}"))]
        path = str(places[-1]) if places else shutil.which(name)
        if path and minor != sys.version_info.minor and answers(path):
            found[minor] = path
    return list(found.values())


@pytest.mark.parametrize("known_by", ["PYENV_ROOT", "PATH", "HOME"])
def test_other_pythons_are_found_where_pyenv_has_them(tmp_path, monkeypatch, known_by):
    name = f"python3.{11 if sys.version_info.minor != 11 else 12}"
    other = tmp_path / f".pyenv/versions/{name.removeprefix('python')}.1/bin/{name}"
    for program in (other, tmp_path / ".pyenv/bin/pyenv"):
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    places = {"PYENV_ROOT": ".pyenv", "PATH": ".pyenv/bin", "HOME": "."}
    for variable, place in places.items():
        folder = place if variable == known_by else "empty"
        monkeypatch.setenv(variable, str(tmp_path / folder))
    assert other_pythons() == [str(other)]


def answers(python: str) -> bool:
    """Check that an interpreter runs: pyenv's shims are there for versions that are not."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def test_digest_is_the_same_in_other_pythons():
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python from 3.11 on, neither on PATH nor of pyenv")
    expected = [code.code_digest(f"rsvp.stages.{stage}") for stage in STAGES]
    script = f"import sys; sys.path.insert(0, sys.argv[1]); {DIGESTS}"
    arguments = [str(code.ROOT), *(f"rsvp.stages.{stage}" for stage in STAGES)]
    for python in pythons:
        command = [python, "-I", "-c", script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == expected, python


def test_report_is_in_no_stage_that_trains():
    for stage in ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion", "predict"):
        assert not {m for m in code.import_closure(f"rsvp.stages.{stage}") if "report" in m}
    assert "rsvp.diffusion.samplers" not in code.import_closure("rsvp.stages.train_diffusion")


def test_missing_module_is_named():
    with pytest.raises(FileNotFoundError, match=r"rsvp\.nothing"):
        code.code_digest("rsvp.nothing")


def test_no_statement_is_overlooked():
    """Whatever holds statements: walking every node finds the same ones."""
    text = """
async def f():
    try:
        with a: import b
    except* c: import d
    else:
        match e:
            case 1: import g
    finally:
        while h: import i
        else: import j
class K:
    for l in m: import n
    if o: pass
    elif p: from q import r
"""
    for source in (text, *(path.read_text() for path in code.ROOT.glob("rsvp/**/*.py"))):
        tree = ast.parse(source)
        every = {node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.Module)}
        found = list(code.statements(tree))
        assert every <= set(found) and len(found) == len(set(found))


def test_kept_digests_are_those_of_parsing_and_follow_writes(project, monkeypatch):
    """A second process parses only what was written to since."""
    monkeypatch.setenv(code.KEPT, str(project / "kept.json"))
    monkeypatch.setattr(code, "READ", {})
    for path in project.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    first = code.file_digests("rsvp.train"), code.import_closure("rsvp.train")
    code.keep_sources()
    parsed = []
    parsing = code.syntax_tree
    monkeypatch.setattr(code, "syntax_tree", lambda path: parsed.append(path) or parsing(path))
    forget()
    assert (code.file_digests("rsvp.train"), code.import_closure("rsvp.train")) == first
    assert parsed == []
    changed = digest_after(project, NET, "x * scale", "x + scale")
    assert parsed == [project / NET]
    monkeypatch.delenv(code.KEPT)
    forget()
    assert code.code_digest("rsvp.train") == changed
