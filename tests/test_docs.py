"""README and docs: links lead somewhere, and the commands that they name exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from rsvp.commands.main import COMMANDS, WORKFLOW
from rsvp.config.load import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md",
         *sorted((ROOT / "docs").glob("*.md"))]  # fmt: skip
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def lines_told(page: Path) -> list[str]:
    """Each command in a page's blocks of commands, without comments."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    text = "".join(block for language, block in blocks if not language)
    lines = text.replace("\\\n", " ").splitlines()
    return list(filter(None, (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)))


def told(page: Path) -> list[list[str]]:
    """The words of each command in a page's blocks of commands."""
    return [words for line in lines_told(page) if (words := split(line))]


def split(line: str) -> list[str]:
    """The words of a command; blocks also hold what a program printed."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def test_the_readme_is_short():
    assert len(PAGES[0].read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links
               if "://" not in link and not (page.parent / link).exists()]  # fmt: skip
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_commands_exist(page):
    for words in told(page):
        if words[0] == "rsvp":
            assert words[1] in {**COMMANDS, **WORKFLOW}, words
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS, words
        if words[:2] == ["python", "-m"] and words[2].startswith(("rsvp.", "benchmarks.")):
            assert import_module(words[2]).main, words
        for word in words:
            if word.startswith(("configs/", "profiles/")) and word != "configs/mine.yaml":
                assert (ROOT / word).exists(), words


def test_every_page_stands_in_the_readme():
    readme = PAGES[0].read_text()
    assert [page.name for page in PAGES if page.parent.name == "docs"
            and f"docs/{page.name}" not in readme] == []  # fmt: skip


def test_the_tutorials_config_loads():
    """The preset that `rsvp inspect` starts from, with what the page says to change."""
    text = (ROOT / "docs/tutorial.md").read_text()
    change = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    values = yaml.safe_load((ROOT / "configs/ucf101-mini.yaml").read_text())
    values["autoencoders"]["rsvp"] |= change["autoencoders"]["rsvp"]
    assert load(values).autoencoders["rsvp"].pretrain.steps == 5000


def test_some_commands_are_found():
    assert ["make", "demo"] in told(PAGES[0]) and len(told(PAGES[0])) > 8
