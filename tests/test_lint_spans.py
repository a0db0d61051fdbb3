"""lint_spans: every kind of finding with its rows, against plain loops, and that fit refuses or warns of the same."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from fewshot import FewshotWarning, InputError, ParameterError, Span, lint_spans
from fewshot.datasets import load_news
from fewshot.task.spans import read_spans
from tests.test_tagger import SPANS, TAGS, TEXTS, TOKENS


def found(report):
    return {one.kind: one.rows for one in report.findings}


def only(report, kind):
    (one,) = [one for one in report.findings if one.kind == kind]
    return one


def test_clean_texts_have_no_finding():
    report = lint_spans(TEXTS * 2, SPANS * 2)
    assert found(report) == {"duplicate": (4, 5, 6, 7)}
    again = [f"{text} {i}" for i, text in enumerate(TEXTS * 2)]
    clean = lint_spans(again, SPANS * 2)
    assert clean.findings == ()
    assert (clean.n_texts, clean.n_spans, clean.n_empty) == (8, 14, 2)
    assert clean.types == {"person": 8, "place": 6}
    assert str(clean).endswith("nothing found.")


@pytest.mark.parametrize(
    ("spans", "kind"),
    [
        ([(0, 2, "person")], "cut"),
        ([(0, 4, "person")], "cut"),
        ([(3, 4, "person")], "cut"),
        ([(0, 99, "person")], "beyond"),
        ([(3, 3, "person")], "beyond"),
        ([(0, 9, "person"), (4, 12, "place")], "overlap"),
    ],
)
def test_what_fit_refuses_is_an_error_with_its_row(spans, kind):
    texts, y = [*TEXTS, "Ada lives in Paris too."], [*SPANS, spans]
    report = lint_spans(texts, y)
    one = only(report, kind)
    assert (one.level, one.rows) == ("error", (4,))
    assert not report.ok
    with pytest.raises(InputError) as refused:
        read_spans(texts, y)
    assert one.cure.removeprefix("Row 4: ") in str(refused.value)


def test_several_faults_are_counted_in_one_finding():
    report = lint_spans(["Ada left."] * 3, [[(0, 2, "a"), (4, 6, "a")], [], [(1, 3, "a")]])
    one = only(report, "cut")
    assert one.message.startswith("3 spans begin or end inside a word")
    assert one.rows == (0, 2)


def test_spans_that_no_prediction_can_be():
    text = "Ada Bob lives in New York City."
    report = lint_spans([text, "No."], [[(0, 3, "p"), (4, 7, "p"), (17, 30, "q")], []], max_words=2)
    assert only(report, "long").rows == (0,)
    assert only(report, "joined").rows == (0,)
    assert "1 spans have more than max_words=2" in only(report, "long").message
    free = found(lint_spans([text], [[(0, 3, "p"), (4, 7, "q"), (17, 30, "q")]], max_words=None))
    assert not {"long", "joined"} & set(free)


def test_broken_tags_are_found_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = lint_spans([*TOKENS, ["In", "Rome"]], [*TAGS, ["O", "I-place"]])
    assert only(report, "broken tags").rows == (3,)
    assert "IOB2" in only(report, "broken tags").message
    with pytest.warns(FewshotWarning, match="break the scheme IOB2"):
        read_spans([*TOKENS, ["In", "Rome"]], [*TAGS, ["O", "I-place"]])


def test_equal_texts_with_other_spans():
    report = lint_spans(["Ada left.", "Rome fell.", "Ada left."], [[(0, 3, "a")], [(0, 4, "b")], []])
    assert only(report, "two ways").rows == (0, 2)
    assert "duplicate" not in found(report)


def test_rare_types_are_named_with_their_counts():
    one = only(lint_spans(TEXTS, SPANS), "few")
    assert "'place' (3), 'person' (4)" in one.message
    assert one.rows == (0, 1, 3)


def test_blank_and_repeated_texts():
    report = lint_spans(["Ada left.", " ", "", "Ada left."], [[(0, 3, "a")], [], [], [(0, 3, "a")]])
    assert only(report, "blank").rows == (1, 2)
    assert only(report, "duplicate").rows == (3,)


def test_words_that_are_a_span_here_and_none_there():
    texts = ["New York is big.", "I love New York.", "New shoes in York.", "The New York Times."]
    spans = [[(0, 8, "place")], [], [], [(4, 18, "paper")]]
    one = only(lint_spans(texts, spans), "missed")
    assert one.rows == (1,)
    assert "'New York' (1 and 1)" in one.message


def test_of_missed_words_in_one_another_the_longer_ones_are_told():
    texts = ["New York is big.", "York is old.", "He left New York."]
    one = only(lint_spans(texts, [[(0, 8, "place")], [(0, 4, "place")], []]), "missed")
    assert one.message.startswith("1 spans have words")
    assert "'New York' (1 and 1)" in one.message


def test_the_news_are_clean():
    texts, spans = load_news()
    report = lint_spans(texts, spans)
    assert report.findings == ()
    assert (report.n_texts, report.n_empty, report.types) == (60, 7, {"company": 25, "person": 29, "place": 36})


@pytest.mark.parametrize("seed", range(5))
def test_missed_words_are_those_of_a_plain_search(seed):
    rng = np.random.RandomState(seed)
    rows = [rng.choice(list("abcd."), size=rng.randint(1, 7)).tolist() for _ in range(20)]
    tags = [["B-x" if rng.rand() < 0.3 else "O" for _ in row] for row in rows]
    known = {
        word for row, own in zip(rows, tags, strict=True) for word, tag in zip(row, own, strict=True) if tag != "O"
    }
    wanted = [
        i
        for i, (row, own) in enumerate(zip(rows, tags, strict=True))
        if any(tag == "O" and word in known - {"."} for word, tag in zip(row, own, strict=True))
    ]
    assert found(lint_spans(rows, tags)).get("missed", ()) == tuple(wanted)


def test_it_goes_into_json_and_html():
    report = lint_spans(["Ada <left>."], [[Span(0, 2, "a<b>")]])
    plain = json.loads(report.to_json())
    assert plain["ok"] is False
    assert plain["findings"][0]["rows"] == [0]
    assert "<left>" not in report._repr_html_()
    assert "a<b>" not in report._repr_html_()
    assert "texts       1, 0 without a span" in str(report)
    assert "error: 1 spans begin or end inside a word" in str(report)


def test_what_is_no_annotation_is_refused():
    with pytest.raises(InputError, match="of one length"):
        lint_spans(TEXTS, SPANS[:1])
    with pytest.raises(ParameterError, match="max_words"):
        lint_spans(TEXTS, SPANS, max_words=0)
