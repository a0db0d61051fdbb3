"""The card of a kept classifier: README.md, for people and for the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import yaml

from fewshot.errors import ParameterError
from fewshot.persistence.models import name_of
from fewshot.persistence.rehearsal import find_inner

__all__ = ["check_metrics", "write_card"]

_MADE = "Made with [fewshot](https://pypi.org/project/fewshot/)"
_SHOWN = 6  # classes in the title


def write_card(
    clf: Any,
    *,
    where: str,
    entries: Sequence[Mapping[str, Any]],
    trusted: Sequence[str],
    n_shown: int,
    metrics: Any,
    versions: Mapping[str, str],
) -> str:
    """Write the card.

    Parameters
    ----------
    clf : Classifier, ConformalClassifier, Extractor, Questionnaire, Tagger or Writer
    where : str
        The folder's name, or the hub's.
    entries : sequence of mapping
        Of the models.
    trusted : sequence of str
        Types that whoever loads it has to trust.
    n_shown : int
        How many texts of ``fit`` the folder holds.
    metrics : Evaluation, AnswerEvaluation, SpanEvaluation, mapping or None
    versions : mapping
    """
    tells, does = _kinds(clf)
    head, own = tells(clf)
    shown = f"The folder holds {n_shown} of the labelled texts, which prompts may show as demonstrations."
    parts = [
        _front_matter(entries, does),
        *head,
        *_use(type(clf).__name__, where, entries, trusted),
        *own,
        *([shown] if n_shown else []),
        *_metrics(metrics),
        *_models(entries),
        "## Versions",
        ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _kinds(clf: Any) -> tuple[Callable[[Any], tuple[list[str], list[str]]], str]:
    """What tells of a door, and what the hub calls what it does."""
    if hasattr(clf, "span_counts_"):
        return _tagger, "token-classification"
    if hasattr(clf, "asking_"):
        return _writer, "text-generation"
    if hasattr(clf, "n_answered_"):
        return _extractor, "question-answering"
    return _questions if hasattr(clf, "classifiers_") else _one, "text-classification"


def _one(clf: Any) -> tuple[list[str], list[str]]:
    """What the card of one classifier begins with, and what it says of it after its use."""
    inner = find_inner(clf)
    head = [
        f"# Text classifier: {_names(inner.classes_.tolist())}",
        f"{_MADE}: `{type(clf).__name__}` with the strategy",
    ]
    return [*head, _fenced(repr(inner.strategy_))], [*_task(inner), *_data(inner)]


def _questions(clf: Any) -> tuple[list[str], list[str]]:
    """The same of a questionnaire: a chapter for each question."""
    names = list(clf.classifiers_)
    chapters: list[str] = []
    for name in names:
        inner = find_inner(clf.classifiers_[name])
        chapters += [f"# {_text(name)}", _fenced(repr(inner.strategy_)), *_task(inner), *_data(inner)]
    return [
        f"# Questions about a text: {', '.join(map(_text, names))}",
        f"{_MADE}: a `{type(clf).__name__}`.",
    ], chapters


def _tagger(clf: Any) -> tuple[list[str], list[str]]:
    """The same of a tagger."""
    names, counts = clf.verbalizer_, clf.span_counts_.tolist()
    rows = [
        [_text(name), ", ".join(map(_text, words)), str(count)]
        for name, words, count in zip(names.classes, names.words, counts, strict=True)
    ]
    head = [f"# Tagger: {_names(clf.classes_.tolist())}", f"{_MADE}: a `{type(clf).__name__}` with the strategy"]
    table = _table(["type", "names", "annotated spans"], rows)
    return [*head, _fenced(repr(clf.strategy_))], ["## Data", f"Fitted on {clf.n_texts_} texts.", table]


def _writer(clf: Any) -> tuple[list[str], list[str]]:
    """The same of a writer."""
    head = ["# Writer", f"{_MADE}: a `{type(clf).__name__}` with the strategy", _fenced(repr(clf.strategy_))]
    stops = ", ".join(f"`{json.dumps(one)}`" for one in clf.stop_)
    said = [f"A text has at most {clf.asking_.room} tokens{f', and ends before {stops}' if stops else ''}."]
    data = f"Fitted on {clf.n_texts_} texts." if clf.n_texts_ else "Fitted without any text: zero-shot."
    return head, ["## Task", _fenced(clf.template_.source), *said, "## Data", data]


def _extractor(clf: Any) -> tuple[list[str], list[str]]:
    """The same of an extractor."""
    head = ["# Extractor of answers", f"{_MADE}: an `{type(clf).__name__}` with the strategy"]
    asked = ["Asked of every text:", _fenced(clf.question)] if clf.question is not None else []
    asking = getattr(clf.strategy_, "asking_", None)
    template = [] if asking is None else ["## Task", _fenced(asking.task.template.source)]
    said = f"Fitted on {clf.n_questions_} questions, {clf.n_answered_} of them with an answer."
    data = said if clf.n_questions_ else "Fitted without any question: zero-shot."
    return [*head, _fenced(repr(clf.strategy_)), *asked], [*template, "## Data", data]


def check_metrics(metrics: Any) -> None:
    """Refuse metrics that are neither an evaluation nor names with numbers, before anything is written."""
    fine = isinstance(metrics, Mapping) and all(isinstance(value, int | float) for value in metrics.values())
    if metrics is not None and not fine and not hasattr(metrics, "metrics"):
        raise ParameterError(f"metrics must be what evaluate() returns, or names with numbers. Got {metrics!r:.80}.")


def _front_matter(entries: Sequence[Mapping[str, Any]], task: str) -> str:
    names = [name_of(entry) for entry in entries if entry["kept"] == "name"]
    bases = [name for name in dict.fromkeys(names) if re.fullmatch(r"[\w.-]+/[\w.-]+", name)]
    said: dict[str, Any] = {
        "library_name": "fewshot",
        "pipeline_tag": task,
        "tags": ["fewshot", "few-shot", task],
    }
    if bases:
        said["base_model"] = bases
    return f"---\n{yaml.safe_dump(said, sort_keys=False)}---"


def _names(classes: list[Any]) -> str:
    shown = ", ".join(map(_text, classes[:_SHOWN]))
    return shown if len(classes) <= _SHOWN else f"{shown}, and {len(classes) - _SHOWN} more classes"


def _use(kind: str, where: str, entries: Sequence[Mapping[str, Any]], trusted: Sequence[str]) -> list[str]:
    options = [json.dumps(where)]
    notes = []
    given = [entry for entry in entries if entry["kept"] == "fingerprint"]
    if given:
        options.append("model=...")
        notes.append(
            "These models are not in the folder, and have to be given: "
            + "; ".join(f"`{entry['shown']}`, since {entry['because']}" for entry in given)
            + "."
        )
    if trusted:
        options.append(f"trusted={json.dumps(list(trusted))}")
        notes.append("It holds a scikit-learn head with the types named above: load it only if you trust its maker.")
    name = kind.lower() if kind in ("Extractor", "Tagger", "Writer") else "clf"
    code = f"from fewshot import {kind}\n\n{name} = {kind}.load({', '.join(options)})\n{name}.predict([...])"
    return ["## Use", _fenced(code, "python"), *notes]


def _task(clf: Any) -> list[str]:
    task = clf.strategy_
    while not hasattr(task, "task_") and hasattr(task, "chosen_"):
        task = task.chosen_
    wordings = getattr(getattr(task, "task_", None), "wordings", ())
    verbalizer = clf.verbalizer_
    if verbalizer.per_row:
        rows = [[_text(name), "the row's own choice of that number"] for name in clf.classes_.tolist()]
    else:
        rows = [
            [_text(name), ", ".join(map(_text, words))]
            for name, words in zip(verbalizer.classes, verbalizer.words, strict=True)
        ]
    templates = [one.template for one in wordings] or [clf.template_]
    header, meant = ["class", "label words"], templates[0].descriptions
    if meant:
        header.append("description")
        rows = [[*row, _text(meant.get(name, ""))] for row, name in zip(rows, verbalizer.classes, strict=True)]
    said = ["A text may have several of these."] if clf.multi_label_ else []
    if verbalizer.scale is not None and not clf.multi_label_:
        said = [f"Levels of a scale, lowest first: {', '.join(map(_text, verbalizer.scale))}."]
    return ["## Task", _table(header, rows), *said, *(_fenced(one.source) for one in templates)]


def _data(clf: Any) -> list[str]:
    n, counts = clf.n_texts_, clf.class_counts_
    if not n:
        said = ["Fitted without any text: zero-shot."]
    elif not counts.any():
        said = [f"Fitted on {n} texts without labels."]
    else:
        rows = [[_text(name), str(count)] for name, count in zip(clf.classes_.tolist(), counts.tolist(), strict=True)]
        said = [f"Fitted on {n} texts.", _table(["class", "labelled texts"], rows)]
    return ["## Data", *said]


def _metrics(metrics: Any) -> list[str]:
    if metrics is None:
        return []
    if isinstance(metrics, Mapping):
        return ["## Metrics", _table(["metric", "value"], [[_text(k), f"{v:.4g}"] for k, v in metrics.items()])]
    return ["## Metrics", _fenced(str(metrics))]


def _models(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    where = {"name": "by name", "folder": "weights in `{folder}`", "fingerprint": "to be given"}
    rows = [
        [
            f"`{entry['class']}`",
            _text(name_of(entry)),
            _text(entry.get("revision") or ""),
            where[entry["kept"]].format(**entry),
            f"`{_text(entry['fingerprint'][:80])}`",
        ]
        for entry in entries
    ]
    return ["## Models", _table(["kind", "name", "revision", "kept", "fingerprint"], rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: Any) -> str:
    """A user's text within Markdown: no markup, no cell of its own, one line."""
    plain = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", str(value).encode("utf-8", "replace").decode())
    return escape(re.sub(r"\s+", " ", plain), quote=False)


def _fenced(source: str, language: str = "") -> str:
    """A code block that its own content can't end."""
    longest = max(map(len, re.findall(r"`{3,}", source)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{source}\n{fence}"
