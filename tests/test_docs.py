"""The pages of docs/ name what is there."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

import fewshot
from fewshot.cli import app

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if not {"api", "_build"} & {*path.parts}]


@pytest.fixture
def made(monkeypatch):
    """What makes pages from the code when the site is built."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    yield import_module("pages_from_code")
    del sys.modules["pages_from_code"]


def test_the_picture_shows_every_room_and_nothing_else():
    picture = ARCHITECTURE[ARCHITECTURE.index("## The rooms") :].split("```")[1]
    shown = set(re.findall(r"\b(\w+)(?=/|\.py)", picture))
    there = {path.name for path in (ROOT / "fewshot").iterdir() if (path / "__init__.py").is_file()}
    modules = {path.stem for path in (ROOT / "fewshot").glob("*.py") if not path.stem.startswith("__")}
    assert shown == there | modules


def test_every_file_that_the_table_names_is_there():
    for line in re.findall(r"^\| `.*", ARCHITECTURE, re.MULTILINE):
        rooms, _, files = (cell.strip() for cell in line.strip("|").split("|"))
        folders = re.findall(r"`([\w/]+)/`", rooms)
        for file in re.findall(r"`([\w.]+\.py)`", files):
            assert any((ROOT / "fewshot" / folder / file).is_file() for folder in folders), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_each_script_that_settles_something_has_one_page_of_what_was_decided():
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs/decisions").glob("*.md")]
    named = [set(re.findall(r"benchmarks/[\w/]+\.py", page)) for page in pages]
    for script in (ROOT / "benchmarks/settle").glob("*.py"):
        assert sum(f"benchmarks/settle/{script.name}" in own for own in named) == 1, script.name
    assert [path for own in named for path in own if not (ROOT / path).is_file()] == []


def test_the_glossary_names_each_word_once():
    words = re.findall(r"^\| \*\*(?:to )?([^*]+)\*\*", GLOSSARY, re.MULTILINE)
    assert len(words) == len(set(words)) > 30
    for path in re.findall(r"`(fewshot(?:\.\w+)+)`", GLOSSARY):
        file = ROOT / path.replace(".", "/")
        assert file.with_suffix(".py").is_file() or file.is_dir() or file.parent.with_suffix(".py").is_file(), path


def test_the_contents_of_the_site_have_every_page_and_notebook():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", index)}
    pages = {*PAGES, *(ROOT / "notebooks").glob("*.ipynb")}
    assert {*pages, *ROOT.glob("*.md")} - {ROOT / "docs/index.md"} <= linked


def test_each_section_of_the_first_page_is_a_part_of_the_contents(made):
    page = made.with_contents("# Home\n\n[A](../a.md)\n\n## More\n\n[B c](b.ipynb), [D](https://d.md)\n")
    assert re.findall(r"^```\{toctree\}\n(.*?)\n```", page, re.S | re.M) == [
        ":hidden:\n\nA <../a>",
        ":hidden:\n:caption: More\n\nB c <b>",
    ]


def test_the_reference_lists_every_public_name_once(made):
    listed = re.findall(r"^\| \[`(\w+)`\]\(api/(\w+)\.md\)", made.list_names(), re.MULTILINE)
    assert all(name == page for name, page in listed)
    types = [path.rpartition(".")[2] for path in made.TYPES]
    assert sorted(name for name, _ in listed) == sorted([*fewshot.__all__, *types, "serving"])  # type: ignore[attr-defined]


def test_a_name_without_a_group_is_missed(made, monkeypatch):
    monkeypatch.delitem(made.GROUPS, "Strategies")
    with pytest.raises(LookupError, match="in no group of the reference: add 'strategies' to GROUPS"):
        made.list_names()


def test_every_command_is_described_with_every_option(made):
    page = made.describe_commands()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert re.findall(r"^## fewshot (\S+)", page, re.MULTILINE) == list(commands)
    for name, command in commands.items():
        part = page.partition(f"## fewshot {name}\n")[2].partition("\n## ")[0]
        options = [option for param in command.params if not param.hidden for option in param.opts]
        for option in (option for option in options if option.startswith("-")):
            assert re.search(rf"^`(.*[ ,/])?{option}\b.*`$", part, re.MULTILINE), (name, option)


def test_a_line_that_goes_on_has_no_prompt(made):
    command = typer.main.get_command(app).commands["classify"]  # type: ignore[attr-defined]
    shown = made.examples(command)
    assert re.search(r"^\$ fewshot .*\\\n  +--", shown, re.MULTILINE)
    assert "$ --" not in shown


def test_what_would_be_markup_is_plain_text(made):
    assert made.as_text("a_b*c with --labels, `x_y` and <z>") == r"a\_b\*c with `--labels`, `x_y` and \<z\>"
