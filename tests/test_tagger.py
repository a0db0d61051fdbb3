"""Tagger: spans from a few annotated texts, in the form of y, kept, marked and on the command line."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fewshot import (
    Classifier,
    FewshotWarning,
    InputError,
    ParameterError,
    Span,
    Tagger,
    UnsupportedError,
    VerbalizerError,
    load,
)
from fewshot.task.words import split_words
from tests.command import run
from tests.conftest import sentence_model
from tests.contract import HashEncoder
from tests.printed import Tolerant

TEXTS = ["Ada lives in Paris.", "Bob left Rome.", "It rained.", "Eve met Tom in Oslo."]
SPANS = [
    [(0, 3, "person"), (13, 18, "place")],
    [(0, 3, "person"), (9, 13, "place")],
    [],
    [(0, 3, "person"), (8, 11, "person"), (15, 19, "place")],
]
TOKENS = [["Ada", "lives", "in", "Paris"], ["Bob", "left", "Rome"], ["It", "rained"]]
TAGS = [["B-person", "O", "O", "B-place"], ["B-person", "O", "B-place"], ["O", "O"]]


@pytest.fixture(scope="module")
def encoder():
    return load(sentence_model())


@pytest.fixture(scope="module")
def tagger(encoder):
    return Tagger(encoder).fit(TEXTS, SPANS)


def places(spans):
    return [[(span.start, span.end, span.label) for span in own] for own in spans]


def test_it_finds_what_it_was_shown(tagger):
    assert places(tagger.predict_spans(TEXTS)) == SPANS
    assert tagger.score(TEXTS, SPANS) == 1.0
    assert tagger.classes_.tolist() == ["person", "place"]
    assert (tagger.n_texts_, tagger.span_counts_.tolist()) == (4, [4, 3])


def test_a_prediction_is_a_valid_y(tagger, encoder):
    assert tagger.predict(TEXTS) == SPANS
    predicted = tagger.predict_spans(TEXTS)
    assert all(isinstance(span, Span) and 0 < span.probability <= 1 for own in predicted for span in own)
    again = Tagger(encoder).fit(TEXTS, predicted)
    assert places(again.predict_spans(TEXTS)) == SPANS
    assert tagger.score(TEXTS, predicted) == 1.0


def test_a_text_does_not_depend_on_its_neighbours(tagger):
    whole = tagger.predict_spans(TEXTS)
    for text, spans in zip(TEXTS, whole, strict=True):
        (alone,) = tagger.predict_spans([text])
        assert alone == spans
        assert [one.probability for one in alone] == pytest.approx([one.probability for one in spans], abs=1e-5)


def test_tokens_in_tags_out(encoder):
    tagger = Tagger(encoder).fit(TOKENS, TAGS)
    assert tagger.predict(TOKENS) == TAGS
    assert places(tagger.predict_spans(["Ada left"]))[0][0] == (0, 3, "person")


def test_the_form_of_spacy_is_mirrored(encoder):
    y = [{"entities": spans} for spans in SPANS]
    predicted = Tagger(encoder).fit(TEXTS, y).predict(TEXTS)
    assert [[(a, b, label) for a, b, label in own["entities"]] for own in predicted] == SPANS


def test_a_probability_is_that_of_all_readings_with_the_span(tagger):
    words = split_words(TEXTS[0])
    (p,) = tagger.strategy_.word_probabilities([TEXTS[0]], [words])
    assert p.shape == (len(words), 3)
    assert p.sum(axis=1) == pytest.approx(1)
    first = tagger.predict_spans([TEXTS[0]])[0][0]
    assert p[0, 1] - p[1, 1] <= first.probability <= p[0, 1]  # of the word, and not of the next one


def test_a_threshold_leaves_out_what_is_less_probable(tagger):
    found = [span.probability for own in tagger.predict_spans(TEXTS) for span in own]
    middle = float(np.median(found))
    strict = clone(tagger).set_params(threshold=middle).fit(TEXTS, SPANS)
    kept = [span.probability for own in strict.predict_spans(TEXTS) for span in own]
    assert len(kept) == sum(p >= middle for p in found)
    assert min(kept) >= middle


def test_a_threshold_for_a_precision(encoder):
    shown = Tagger(encoder).fit(TEXTS[:2] + TEXTS[2:3], SPANS[:3])
    threshold = shown.fit_threshold(TEXTS, SPANS, precision=1.0)
    found = clone(shown).set_params(threshold=threshold).fit(TEXTS[:3], SPANS[:3]).predict_spans(TEXTS)
    right = [(a, b, label) in own for own, said in zip(SPANS, places(found), strict=True) for a, b, label in said]
    assert right
    assert all(right)
    # the next lower one would let a wrong span in, or there is none
    low = clone(shown).set_params(threshold=0.01).fit(TEXTS[:3], SPANS[:3]).predict_spans(TEXTS)
    below = [one for own, said in zip(SPANS, low, strict=True) for one in said if one.probability < threshold]
    assert not below or any(
        (s.start, s.end, s.label) not in own for own, said in zip(SPANS, low, strict=True) for s in said
    )
    with pytest.raises(InputError, match=r"No threshold reaches precision|No span is found"):
        shown.fit_threshold(TEXTS, [[] for _ in TEXTS], precision=0.5)


def test_what_no_prediction_can_be_is_said(encoder):
    with pytest.warns(FewshotWarning, match="1 spans of y follow one of their own type"):
        Tagger(encoder).fit(["Ada Bob lives in Rome."], [[(0, 3, "person"), (4, 7, "person"), (17, 21, "place")]])
    with pytest.warns(FewshotWarning, match="1 spans of y have more than max_words=1"):
        Tagger(encoder, max_words=1).fit(["Ada Bob lives in Rome."], [[(0, 7, "person"), (17, 21, "place")]])


def test_names_may_be_given(encoder):
    tagger = Tagger(encoder, verbalizer={"person": "a human being", "place": "a city", "date": "a day"})
    tagger.fit(TEXTS, SPANS)
    assert tagger.classes_.tolist() == ["date", "person", "place"]
    assert tagger.span_counts_.tolist() == [0, 4, 3]


def test_a_long_span_is_not_predicted(encoder):
    text = "Ada Bea Cleo Dora Ella Fay lives."
    with pytest.warns(FewshotWarning, match="more than max_words=3"):
        tagger = Tagger(encoder, max_words=3).fit([text, "It rained."], [[(0, 26, "person")], []])
    assert tagger.predict_spans([text]) == [[]]


def test_it_is_kept_with_all_that_it_says(tagger, tmp_path):
    folder = tagger.save(tmp_path / "kept")
    again = Tagger.load(folder)
    for one, other in zip(tagger.predict_spans(TEXTS), again.predict_spans(TEXTS), strict=True):
        assert one == other
        assert [span.probability for span in one] == [span.probability for span in other]
    card = (folder / "README.md").read_text()
    assert "# Tagger: person, place" in card
    assert "token-classification" in card
    with pytest.raises(InputError, match="holds a Tagger, not a Classifier"):
        Classifier.load(folder)


def test_marked_text(tagger):
    shown = tagger.explain(TEXTS[0])
    assert str(shown).startswith("[Ada: person 0.")
    (one,) = shown.displacy()
    assert one["ents"] == [{"start": a, "end": b, "label": label} for a, b, label in SPANS[0]]
    hostile = "<script>alert(1)</script> Ada"
    assert "<script>" not in tagger.explain(hostile)._repr_html_()


@pytest.mark.parametrize(
    ("changes", "X", "y", "error", "match"),
    [
        ({}, None, ["person"], UnsupportedError, "needs annotated texts"),
        ({}, TEXTS, [[], [], [], []], InputError, "No row of y has a span"),
        ({"threshold": 0.0}, TEXTS, SPANS, ParameterError, "threshold"),
        ({"max_words": 0}, TEXTS, SPANS, ParameterError, "max_words"),
        ({"max_words": 2.5}, TEXTS, SPANS, ParameterError, "max_words"),
        ({"strategy": "head"}, TEXTS, SPANS, ParameterError, "strategy must be TokenHead"),
        ({}, TEXTS, [SPANS[0], [(0, 3, 7)], [], []], InputError, "types in y mix int, str"),
        ({"verbalizer": {"person": "person"}}, TEXTS, SPANS, VerbalizerError, "place"),
        ({"verbalizer": ["one"]}, TEXTS, SPANS, VerbalizerError, "2"),
        ({"model": HashEncoder()}, TEXTS, SPANS, UnsupportedError, "token"),
        ({}, TEXTS, [[(0, 2, "person")], [], [], []], InputError, "0"),
    ],
)
def test_what_can_not_be(encoder, changes, X, y, error, match):
    tagger = Tagger(encoder).set_params(**changes)
    with pytest.raises(error, match=match):
        tagger.fit(X, y)
    with pytest.raises(NotFittedError):
        tagger.predict(TEXTS)


def test_a_failed_fit_leaves_what_there_was(encoder):
    tagger = Tagger(encoder).fit(TEXTS, SPANS)
    with pytest.raises(InputError):
        tagger.fit(TEXTS, [[(0, 2, "person")], [], [], []])
    assert places(tagger.predict_spans(TEXTS)) == SPANS


def test_the_real_encoder_finds_new_names(mini):
    tagger = Tagger(mini).fit(TEXTS, SPANS)
    (found,) = places(tagger.predict_spans(["Mary moved to London."]))
    assert found == [(0, 4, "person"), (14, 20, "place")]


def test_the_page_prints_what_it_says(mini):
    page = (Path(__file__).resolve().parent.parent / "docs/tagging.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(source, {}, "tagging.md", "tagging.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant())
    runner.run(test, out=report.append)
    assert runner.tries == len(test.examples) >= 6
    assert not runner.failures, "".join(report)


class TestCommandLine:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        rows = [json.dumps({"text": text, "spans": spans}) for text, spans in zip(TEXTS, SPANS, strict=True)]
        (tmp_path / "annotated.jsonl").write_text("\n".join(rows) + "\n")
        (tmp_path / "mail.csv").write_text("text\nMary moved to London.\nIt snowed.\n")
        cut = [{"text": TEXTS[0], "spans": SPANS[0]}, {"text": TEXTS[1], "spans": [[0, 2, "person"]]}]
        (tmp_path / "cut.json").write_text(json.dumps(cut))
        (tmp_path / "mixed.json").write_text(json.dumps([{"text": TEXTS[0], "spans": {"start": 0}}]))
        return tmp_path

    def test_spans_come_as_lines_of_json(self, files, monkeypatch, capsys):
        code, out, err = run(
            monkeypatch, capsys, "tag", "mail.csv", "--examples", "annotated.jsonl", "--save", "kept", "--json"
        )
        assert (code, err.count("\n")) == (0, 2)
        assert err.startswith(
            "fewshot: note: hint about annotated.jsonl: 2 types have fewer than 5 spans: 'place' (3), 'person' (4)"
        )
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["text"] for row in rows] == ["Mary moved to London.", "It snowed."]
        assert [(span["text"], span["label"]) for span in rows[0]["spans"]] == [("Mary", "person"), ("London", "place")]
        assert all(0 < span["probability"] <= 1 for row in rows for span in row["spans"])
        again = run(monkeypatch, capsys, "tag", "mail.csv", "--tagger", "kept", "--json")
        assert again[:2] == (0, out)
        plain = run(monkeypatch, capsys, "tag", "mail.csv", "--tagger", "kept")[1].splitlines()
        assert len(plain) == 2
        assert plain[0].startswith("[Mary: person 0.")

    def test_tokens_and_entities_are_read(self, files, monkeypatch, capsys):
        rows = [{"tokens": tokens, "tags": tags} for tokens, tags in zip(TOKENS, TAGS, strict=True)]
        (files / "tokens.json").write_text(json.dumps(rows))
        code, out, _ = run(monkeypatch, capsys, "tag", "mail.csv", "--examples", "tokens.json")
        assert (code, len(out.splitlines())) == (0, 2)

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["mail.csv"], 2, "Give exactly one of these: --examples FILE"),
            (["mail.csv", "--tagger", "kept", "--model", "x"], 2, "leave out --model, --template and --save"),
            (["mail.csv", "--examples", "mail.csv"], 1, "it needs 'text' with 'spans'"),
            (
                ["mail.csv", "--examples", "cut.json"],
                1,
                "cut.json: 1 spans begin or end inside a word, or with a blank",
            ),
            (
                ["mail.csv", "--examples", "cut.json"],
                1,
                "row 1. Row 1: the span (0, 2, 'person') begins or",
            ),
            (["mail.csv", "--examples", "mixed.json"], 1, "mixed.json: Row 0: a mapping in y must have the key"),
        ],
    )
    def test_what_can_not_be_meant(self, files, monkeypatch, capsys, arguments, code, message):
        found = run(monkeypatch, capsys, "tag", *arguments)
        assert (found[0], found[1]) == (code, "")
        assert message in found[2]
