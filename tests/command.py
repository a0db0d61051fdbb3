"""The command line in this process, with a model that needs no weights."""

from __future__ import annotations

import sys

import pytest

import fewshot.cli as cli
from fewshot import FakeLM


@pytest.fixture(autouse=True)
def _keyword_model(monkeypatch):
    """Stand in for whatever --model names: the word that occurs in the row's own text wins."""
    import fewshot.evaluation.curve
    import fewshot.task.resolve

    def score(query):
        return [float(word in query.prefix.rsplit("Text:", 1)[-1]) for word in query.candidates]

    def load(model):
        first = FakeLM(lambda query: [1.0, *[0.0] * (len(query.candidates) - 1)])
        return {"first": first, "any": FakeLM(score), None: FakeLM(score)}.get(model, model)

    for module in (fewshot.task.resolve, fewshot.evaluation.curve):
        monkeypatch.setattr(module, "load", load)


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fewshot", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    captured = capsys.readouterr()
    return int(done.value.code or 0), captured.out, captured.err
