"""The pages of docs/ name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_glossary_names_each_word_once():
    words = re.findall(r"^\| \*\*(?:to )?([^*]+)\*\*", GLOSSARY, re.MULTILINE)
    assert len(words) == len(set(words)) > 30
    for path in re.findall(r"`(fewshot(?:\.\w+)+)`", GLOSSARY):
        file = ROOT / path.replace(".", "/")
        assert file.with_suffix(".py").is_file() or file.is_dir() or file.parent.with_suffix(".py").is_file(), path
