"""The command that a message about a missing library names."""

from __future__ import annotations

import pytest

from fewshot import extras

METADATA = [
    "torch>=2.10",
    'peft>=0.21; extra == "lora"',
    "matplotlib>=3.9; extra == 'plot'",
    'peft>=0.21; extra == "dev"',
    'matplotlib>=3.9; extra == "dev"',
]


@pytest.mark.parametrize(
    ("library", "line"),
    [
        ("peft", "pip install 'fewshot[lora]'"),
        ("matplotlib", "pip install 'fewshot[plot]'"),
        ("skops", "pip install skops"),
    ],
)
def test_the_smallest_extra_that_brings_it(library, line, monkeypatch):
    monkeypatch.setattr(extras, "requires", lambda package: METADATA)
    assert extras.pip_line(library) == line


def test_every_extra_that_messages_name_is_in_the_metadata_of_this_checkout():
    import tomllib
    from pathlib import Path

    stated = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    brought = [one.split(">")[0] for own in stated["project"]["optional-dependencies"].values() for one in own]
    assert {"peft", "matplotlib", "skops", "pandas", "gguf", "accelerate"} <= set(brought)
