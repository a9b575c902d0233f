"""What changes the digest of a stage's code, and what does not."""

from pathlib import Path

import pytest

from rsvp import code

PROJECT = {
    "rsvp/__init__.py": "",
    "rsvp/config.py": "STEPS = 3\n",
    "rsvp/stage.py": "import rsvp.config\n",
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
        "from rsvp.config import STEPS\n"
        "from rsvp.models.net import forward\n"
        "from rsvp.stage import run\n\n\n"
        "def main():\n"
        "    import rsvp.data.clips as clips\n\n"
        "    return forward(clips.cut([STEPS]))\n"
    ),
    "rsvp/page.py": 'TEMPLATE = "page.html.jinja"\n',
    "rsvp/page.html.jinja": "<p>{{ text }}</p>\n",
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
    for function in (code.imports, code.module_digest, code.syntax_tree):
        function.cache_clear()


def digest_after(project: Path, path: str, old: str, new: str, module: str = "rsvp.train") -> str:
    """The digest once `old` was replaced in a file."""
    text = (project / path).read_text()
    assert old in text
    (project / path).write_text(text.replace(old, new))
    forget()
    return code.code_digest(module)


NET = "rsvp/models/net.py"
SAME = {
    "comment": (NET, "# two is enough", "# two is plenty"),
    "module docstring": (NET, '"""A network."""', '"""The network."""'),
    "function docstring": (NET, '"""Scale x."""', '"""Return x scaled."""'),
    "quotes": (NET, '"y"', "'y'"),
    "line breaks": (NET, '{"y": x * scale}', '{\n        "y": (x * scale),\n    }'),
    "definition of the config": ("rsvp/config.py", "STEPS = 3", "STEPS = 4"),
    "stage wrapper": ("rsvp/stage.py", "import rsvp.config", "import rsvp.config, logging"),
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


def test_template_counts_for_the_module_that_names_it(project):
    before = code.code_digest("rsvp.page")
    after = digest_after(project, "rsvp/page.html.jinja", "<p>", "<b>", "rsvp.page")
    assert after != before


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
        closure = code.import_closure(f"rsvp.{stage}")
        assert f"rsvp.{stage}" in closure
        assert "rsvp.config" not in closure
        assert len(code.code_digest(f"rsvp.{stage}")) == 64


def test_report_is_in_no_stage_that_trains():
    for stage in ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion", "predict"):
        assert not {m for m in code.import_closure(f"rsvp.{stage}") if "report" in m}
    assert "rsvp.diffusion.samplers" not in code.import_closure("rsvp.train_diffusion")


def test_missing_module_is_named():
    with pytest.raises(FileNotFoundError, match=r"rsvp\.nothing"):
        code.code_digest("rsvp.nothing")
