"""A tagger that asks about candidate spans: from names alone, with demonstrations, and with strategies of rows."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from fewshot import (
    Classifier,
    Embedding,
    FakeLM,
    FewshotWarning,
    InputError,
    ParameterError,
    Prompting,
    Readout,
    Span,
    Tagger,
    TemplateError,
    TokenHead,
    UnsupportedError,
    Verbalizer,
    VerbalizerError,
    load,
)
from fewshot.strategies.candidates import CandidateSpans, count_log_shares, draw_rows, find_candidates
from fewshot.task.span_task import SpanTask
from fewshot.task.words import split_words
from tests.command import run
from tests.conftest import language_model, sentence_model

#: Tiny models are random, and expect no word more than another.
pytestmark = pytest.mark.filterwarnings("ignore::fewshot.LabelMassWarning")

TEXTS = ["Ada lives in Paris.", "Bob left Rome.", "It rained.", "Eve met Tom in Oslo."]
SPANS = [
    [(0, 3, "person"), (13, 18, "place")],
    [(0, 3, "person"), (9, 13, "place")],
    [],
    [(0, 3, "person"), (8, 11, "person"), (15, 19, "place")],
]
KNOWN = {"Ada": "person", "Bob": "person", "Eve": "person", "Tom": "person", "New York": "place", "Rome": "place"}
TEMPLATE = "{{ text }} The name {{ span }} is a {{ label }}."


class Knowing(FakeLM):
    """A language model that knows some names, and remembers what it was asked."""

    def __init__(self):
        self.queries, self.calls = [], 0
        super().__init__(self.judge)

    def judge(self, query):
        self.queries.append(query)
        span = re.findall('"(.*)"', query.prefix)[-1]
        return [9.0 if word == KNOWN.get(span, "part of the text") else 0.0 for word in query.candidates]

    def loglikelihoods(self, queries):
        self.calls += 1
        return super().loglikelihoods(queries)


@pytest.fixture
def lm():
    return Knowing()


def test_names_are_enough(lm):
    tagger = Tagger(lm).fit(None, ["place", "person"])
    assert tagger.classes_.tolist() == ["person", "place"]
    assert (tagger.n_texts_, tagger.span_counts_.tolist()) == (0, [0, 0])
    text = "Eve and Tom left New York."
    assert tagger.predict([text, ""]) == [[(0, 3, "person"), (8, 11, "person"), (17, 25, "place")], []]
    assert tagger.predict([["Eve", "saw", "Rome"]]) == [[(0, 3, "person"), (8, 12, "place")]]
    assert tagger.score([text], [[(0, 3, "person"), (8, 11, "person"), (17, 25, "place")]]) == 1.0
    assert str(tagger.explain(text)).startswith("[Eve: person 1.00]")
    assert isinstance(tagger.strategy_.strategy_, Prompting)


def test_every_candidate_is_asked_about_once_and_in_one_call(lm):
    tagger = Tagger(lm, max_words=2).fit(None, ["person"])
    tagger.predict(["So, so near. So, Ada-Bea!", "Bob"])
    asked = [re.findall('"(.*)"', query.prefix)[-1] for query in lm.queries]
    wanted = ["So", "so", "so near", "near", "So", "Ada", "Bea", "Bob"]
    assert sorted(asked) == sorted({*wanted})  # an equal span of a text has an equal prompt
    assert lm.calls == 1
    assert all(query.candidates == ("person", "part of the text") for query in lm.queries)


def test_candidates_are_of_words_and_not_of_signs():
    text = "(Ada) of St. Ives"
    words = split_words(text)
    found = [text[words[first][0] : words[after - 1][1]] for first, after in find_candidates(text, words, 3)]
    assert found == ["Ada", "Ada) of", "of", "of St", "St", "St. Ives", "Ives"]
    assert len(find_candidates(text, words, None)) == 10
    assert find_candidates("?!", split_words("?!"), 3) == []


def test_odds_are_those_of_a_classifier_of_rows(lm):
    causal = language_model("gpt2")
    tagger = Tagger(causal, TEMPLATE, max_words=2).fit(None, ["person", "place"])
    assert tagger.strategy_.log_shares_ == pytest.approx(np.log([0.02, 0.02]))
    text = "Ada left Rome today."
    words = split_words(text)
    (reading,) = tagger.strategy_.span_readings([text], [words])
    names = {"a": "person", "b": "place", "c": "part of the text"}
    clf = Classifier(causal, TEMPLATE, names, Prompting()).fit()
    rows = [
        {"text": text, "span": text[words[first][0] : words[after - 1][1]]}
        for first, after in zip(reading.first, reading.after, strict=True)
    ]
    scores = np.concatenate([clf.predict_log_proba([row]) for row in rows])
    odds = scores[:, :2] - scores[:, 2:]
    assert reading.log_odds == pytest.approx(odds - odds.mean(axis=0) + np.log(0.02), abs=1e-4)
    assert len(rows) == 7
    tagger.set_params(strategy=Prompting(calibration="contextual")).fit(None, ["person", "place"])
    (reading,) = tagger.strategy_.span_readings([text], [words])
    clf = Classifier(causal, TEMPLATE, names, Prompting(calibration="contextual")).fit()
    scores = clf.predict_log_proba(rows)
    assert reading.log_odds == pytest.approx(scores[:, :2] - scores[:, 2:], abs=1e-4)


def test_shares_are_counted_in_annotated_texts():
    task = task_of(TEXTS, SPANS, max_words=2)
    n = sum(len(find_candidates(text, words, 2)) for text, words in zip(TEXTS, task.words, strict=True))
    assert np.exp(count_log_shares(task)) == pytest.approx([(4 + 0.6) / (n + 30), (3 + 0.6) / (n + 30)])


def test_a_text_does_not_depend_on_its_neighbours(monkeypatch):
    monkeypatch.setattr("fewshot.strategies.candidates._BLOCK", 12)  # several blocks
    tagger = Tagger(language_model("gpt2"), TEMPLATE, max_words=3).fit(None, ["person", "place"])
    together = tagger.strategy_.span_readings(TEXTS, [split_words(text) for text in TEXTS])
    for text, reading in zip(TEXTS, together, strict=True):
        (alone,) = tagger.strategy_.span_readings([text], [split_words(text)])
        assert alone.log_odds == pytest.approx(reading.log_odds, abs=1e-4)


def test_none_may_be_named(lm):
    tagger = Tagger(lm, verbalizer={"PER": "person", "LOC": ["place", "city"], None: "no name"}).fit()
    assert tagger.classes_.tolist() == ["LOC", "PER"]
    tagger.predict(["Ada"])
    assert lm.queries[-1].candidates == ("place", "city", "person", "no name")
    assert Tagger(lm, verbalizer={None: "x"}).fit(None, ["a_b"]).verbalizer_ == Verbalizer({"a_b": "a b"})


def test_the_words_of_a_template_are_used_where_it_has_them(lm):
    template = '---\nwords: {PER: "person", LOC: "place"}\n---\nText: {{ text }}\nSpan: {{ span }}\nType: {{ label }}'
    assert Tagger(lm, template).fit().classes_.tolist() == ["LOC", "PER"]
    tagger = Tagger(lm, template).fit(None, ["PER", "home_town"])
    assert tagger.verbalizer_ == Verbalizer({"PER": "person", "home_town": "home town"})


def test_annotated_spans_become_demonstrations(lm):
    tagger = Tagger(lm, strategy=Prompting(shots=6), random_state=0).fit(TEXTS, SPANS)
    tagger.predict(["Tom left."])
    shown = [text.strip() for role, text in lm.queries[-1].context if role == "assistant"]
    assert sorted(set(shown)) == ["part of the text", "person", "place"]
    assert len(shown) == 6
    asked = [text for role, text in lm.queries[-1].context if role == "user"]
    gold = {(text, text[a:b]): kind for text, own in zip(TEXTS, SPANS, strict=True) for a, b, kind in own}
    for turn, answer in zip(asked, shown, strict=True):
        text, span = re.findall('Text: (.*)\nIn the text, "(.*)" is', turn)[0]
        assert gold.get((text, span), "part of the text") == answer


def test_predictions_have_the_form_of_y(lm):
    y = [["B-person", "O", "O", "B-place"], ["B-person", "O", "B-place"]]
    tagger = Tagger(lm).set_params(strategy=Prompting()).fit([["Ada", "is", "in", "Oslo"], ["Bob", "left", "Rome"]], y)
    assert tagger.predict([["Eve", "saw", "New", "York"]]) == [["B-person", "O", "B-place", "I-place"]]


def task_of(texts, spans, **more):
    words = [split_words(text) for text in texts]
    chunks = []
    for own, bounds in zip(spans, words, strict=True):
        starts, ends = [a for a, _ in bounds], [b for _, b in bounds]
        chunks.append([(starts.index(a), ends.index(b) + 1, ["person", "place"].index(kind)) for a, b, kind in own])
    return SpanTask(texts, words, chunks, Verbalizer({"person": "person", "place": "place"}), **more)


def test_the_rows_to_learn_from():
    texts = [*TEXTS, "A day went by and nobody saw what it was that the others had been looking for all along."]
    task = task_of(texts, [*SPANS, []], max_words=3)
    rows, labels = draw_rows(task, np.random.RandomState(0))
    gold = {(text, text[a:b]): kind for text, own in zip(TEXTS, SPANS, strict=True) for a, b, kind in own}
    names = ["person", "place", None]
    assert all(gold.get((row["text"], row["span"])) == names[label] for row, label in zip(rows, labels, strict=True))
    assert labels.count(0) + labels.count(1) == len(gold)
    assert labels.count(2) == 3 * len(gold)
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    again = draw_rows(task, np.random.RandomState(0))
    other = draw_rows(task, np.random.RandomState(1))
    assert again[0] == rows
    assert other[0] != rows
    drawn = [row for row, label in zip(rows, labels, strict=True) if label == 2]
    near = [row for row in drawn if row["text"] != texts[-1] and row["text"] != "It rained."]
    assert 0 < len(near) < len(drawn)


def test_an_equal_span_elsewhere_in_a_text_is_no_row_of_none():
    task = task_of(["Ada saw Ada."], [[(0, 3, "person")]], max_words=1)
    rows, labels = draw_rows(task, np.random.RandomState(0))
    assert [(row["span"], label) for row, label in zip(rows, labels, strict=True)] == [("Ada", 0), ("saw", 2)]


@pytest.mark.parametrize(
    ("name", "model", "strategy"),
    [
        ("readout", lambda: language_model("bert"), Readout()),
        ("embedding", lambda: load(sentence_model()), Embedding()),
    ],
)
def test_strategies_of_rows_learn_and_are_kept(name, model, strategy, tmp_path):
    tagger = Tagger(model(), strategy=strategy, max_words=2, random_state=0).fit(TEXTS, SPANS)
    found = tagger.predict_spans(TEXTS)
    assert all(isinstance(one, Span) and 0 < one.probability <= 1 for own in found for one in own)
    assert tagger.strategy_.log_shares_ is None
    likely = tagger.set_params(threshold=0.01).predict_spans(TEXTS)
    assert likely[0]
    again = Tagger.load(tagger.save(tmp_path / name))
    for one, other in zip(likely, again.predict_spans(TEXTS), strict=True):
        assert one == other
        assert [span.probability for span in one] == pytest.approx([span.probability for span in other], abs=1e-6)


def test_demonstrations_are_kept(tmp_path):
    tagger = Tagger(language_model("gpt2"), TEMPLATE, strategy=Prompting(shots=3, calibration="contextual"))
    tagger.set_params(random_state=0, max_words=2, threshold=0.05).fit(TEXTS, SPANS)
    again = Tagger.load(tagger.save(tmp_path / "kept"))
    for one, other in zip(tagger.predict_spans(TEXTS), again.predict_spans(TEXTS), strict=True):
        assert [(span, span.probability) for span in one] == [(span, span.probability) for span in other]
    assert str(again.preview(TEXTS[:1])) == str(tagger.preview(TEXTS[:1]))


def test_names_alone_are_kept(tmp_path):
    tagger = Tagger(language_model("bert"), max_words=2, threshold=0.05).fit(None, ["person", "place"])
    again = Tagger.load(tagger.save(tmp_path / "kept"))
    assert again.predict(TEXTS) == tagger.predict(TEXTS)
    assert again.classes_.tolist() == ["person", "place"]


@pytest.mark.parametrize(
    ("model", "changes", "zero_shot", "wanted"),
    [
        ("encoder", {}, False, TokenHead),
        ("bert", {}, False, TokenHead),
        ("bert", {}, True, Prompting),
        ("bert", {"template": TEMPLATE}, False, Prompting),
        ("gpt2", {}, False, Prompting),
        ("nli", {}, True, Prompting),
        ("t5", {}, True, Prompting),
    ],
)
def test_the_default_strategy_is_that_of_the_model(model, changes, zero_shot, wanted):
    given = load(sentence_model()) if model == "encoder" else language_model(model)
    tagger = Tagger(given, **changes)
    tagger.fit(*((None, ["person", "place"]) if zero_shot else (TEXTS, SPANS)))
    own = tagger.strategy_
    assert isinstance(own.strategy_ if isinstance(own, CandidateSpans) else own, wanted)
    (found,) = tagger.set_params(threshold=0.001).predict_spans(["Ada left."])
    assert all(span.probability >= 0.001 for span in found)


def test_an_entailment_model_reads_the_span_in_its_premise():
    tagger = Tagger(language_model("nli")).fit(None, ["person"])
    (asked,) = tagger.strategy_.strategy_._ask([{"text": "Ada left.", "span": "Ada"}])
    (query,) = asked.queries
    assert query.context[0].text.splitlines() == ["Ada left.", "Name: Ada"]
    assert query.prefix == "The name is that of a "


def test_the_prompts_can_be_seen(lm):
    tagger = Tagger(lm).fit(None, ["person", "place"])
    shown = str(tagger.preview(["Ada left Rome.", "?!"]))
    assert 'Text: Ada left Rome.\nIn the text, "Ada" is the name of a ' in shown
    assert "candidates: person, place, part of the text" in shown
    assert str(tagger.preview("Ada left Rome.")) == shown
    assert not lm.queries
    with pytest.raises(UnsupportedError, match="TokenHead asks nothing"):
        Tagger(load(sentence_model())).fit(TEXTS, SPANS).preview(TEXTS)


def test_neighbours_of_one_type_stay_two(lm, recwarn):
    tagger = Tagger(lm).fit(["Ada Bob"], [[(0, 3, "person"), (4, 7, "person")]])
    assert not recwarn.list
    assert tagger.predict(["Eve Tom"]) == [[(0, 3, "person"), (4, 7, "person")]]


def test_a_span_that_is_no_candidate_is_said(lm):
    with pytest.warns(FewshotWarning, match="1 spans of y begin or end with a sign"):
        Tagger(lm).fit(["(Ada) left"], [[(0, 5, "person")]])


@pytest.mark.parametrize(
    ("changes", "X", "y", "error", "match"),
    [
        ({"template": "{{ text }} {{ label }}"}, None, ["person"], TemplateError, "'text' and 'span'"),
        ({"template": "{{ span }} {{ title }} {{ label }}"}, None, ["person"], TemplateError, "'text' and 'span'"),
        ({"template": TEMPLATE, "strategy": TokenHead()}, TEXTS, SPANS, ParameterError, "asks nothing"),
        ({"strategy": Embedding()}, None, ["person"], UnsupportedError, "needs an encoder"),
        ({"strategy": Prompting(shots=2)}, None, ["person"], InputError, "needs labelled rows"),
        ({"strategy": Prompting}, None, ["person"], ParameterError, "strategy must be"),
        ({"strategy": 3}, None, ["person"], ParameterError, "strategy must be"),
        ({}, None, None, InputError, "There are no types"),
        ({}, None, [], InputError, "no"),
        ({}, None, "person", InputError, "must be a list of the types"),
        ({}, None, {"person": "a human"}, InputError, "must be a list of the types"),
        ({}, None, ["person", None], InputError, "."),
        ({"verbalizer": {"person": "person", None: "person"}}, None, None, VerbalizerError, "person"),
        ({"verbalizer": {"person": "person"}}, None, ["place"], VerbalizerError, "place"),
    ],
)
def test_what_can_not_be(lm, changes, X, y, error, match):
    with pytest.raises(error, match=match):
        Tagger(lm).set_params(**changes).fit(X, y)


def test_an_encoder_is_not_asked_from_names_alone():
    encoder = load(sentence_model())
    for changes in ({}, {"strategy": Embedding()}):
        with pytest.raises(UnsupportedError, match="annotated texts: from names alone"):
            Tagger(encoder).set_params(**changes).fit(None, ["person"])


class TestCommandLine:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("fewshot.tagger.load", lambda model: Knowing() if model == "any" else load(model))
        (tmp_path / "mail.csv").write_text("text\nEve moved to Rome.\nIt snowed.\n")
        return tmp_path

    def test_types_are_named(self, files, monkeypatch, capsys):
        code, out, _ = run(
            monkeypatch, capsys, "tag", "mail.csv", "--types", "person, place", "--model", "any", "--json"
        )
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [[(span["text"], span["label"]) for span in row["spans"]] for row in rows] == [
            [("Eve", "person"), ("Rome", "place")],
            [],
        ]

    def test_a_template_is_used(self, files, monkeypatch, capsys):
        arguments = ("tag", "mail.csv", "--types", "person,place", "--model", "any", "--template")
        code, out, _ = run(monkeypatch, capsys, *arguments, '{{ text }}\\nIs "{{ span }}" a {{ label }}')
        assert (code, out.splitlines()[1]) == (0, "It snowed.")
        code, _, err = run(monkeypatch, capsys, *arguments, "{{ text }} {{ label }}")
        assert code == 1
        assert "'text' and 'span'" in err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--types", "person", "--examples", "x.jsonl"], "Give exactly one of these"),
            (["--tagger", "kept", "--template", "x"], "leave out --model, --template and --save"),
        ],
    )
    def test_what_can_not_be_meant(self, files, monkeypatch, capsys, arguments, message):
        code, out, err = run(monkeypatch, capsys, "tag", "mail.csv", *arguments)
        assert (code, out) == (2, "")
        assert message in err


class Chatting(Knowing):
    """The same with a chat template."""

    def __init__(self, chat=True):
        super().__init__()
        self.chat = chat

    def with_chat(self, chat):
        return Chatting(chat)


@pytest.mark.parametrize(("template", "chats"), [(None, False), (TEMPLATE, True)])
def test_a_chat_model_completes_the_sentences_of_the_library(template, chats):
    lm = Chatting()
    tagger = Tagger(lm, template).fit(None, ["person", "place"])
    assert tagger.strategy_.strategy_.model_.chat is chats
    assert tagger.model_ is lm
