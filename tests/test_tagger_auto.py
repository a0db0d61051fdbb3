"""Auto for a tagger: the folds, the F1 of a plain loop, the choice, what is not compared, and a kept one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fewshot import Auto, FakeLM, ParameterError, Prompting, Tagger, TokenHead, Verbalizer, load
from fewshot.strategies import choosing_tags
from fewshot.strategies.budget import Budget
from fewshot.strategies.candidates import CandidateSpans
from fewshot.strategies.choosing_tags import choose_tags
from fewshot.task.span_task import SpanTask
from tests.conftest import sentence_model
from tests.test_tagger import SPANS, TEXTS


class Knowing(BaseEstimator):
    """Finds the first word of texts of some lengths, with names and without; remembers what it saw."""

    seen: list = []  # noqa: RUF012
    lengths = (range(10), range(5))  # without names, and with them

    def __init__(self, names=1.0):
        self.names = names

    def fit_spans(self, task, model, *, random_state=None):
        self.shown_ = list(task.texts)
        return self

    def span_readings(self, texts, words):
        Knowing.seen.append((self.names, self.shown_, list(texts)))
        known = self.lengths[bool(self.names)]
        spans = [[(0, 1, 0, 0.9)] * (len(text) in known) for text in texts]
        return [SimpleNamespace(n_types=1, find=lambda threshold, most, own=own: own) for own in spans]


def task_of(texts, annotated):
    words = [[(0, 1), (2, len(text))] for text in texts]
    chunks = [[(0, 1, 0)] if i in annotated else [] for i in range(len(texts))]
    return SpanTask(texts, words, chunks, Verbalizer({"a": "a"}), None, 8)


@pytest.fixture
def knowing(monkeypatch):
    Knowing.seen = []
    monkeypatch.setattr(choosing_tags, "TokenHead", Knowing)


def test_each_text_is_held_out_once_and_f1_is_that_of_all(knowing):
    texts = [f"x {'y' * n}" for n in range(1, 13)]
    chosen, report = choose_tags(task_of(texts, range(10)), None, budget=Budget(), random_state=3)
    assert (report.folds, report.rows.tolist()) == (5, list(range(12)))
    for names in (1.0, 0.0):
        runs = [(shown, held) for own, shown, held in Knowing.seen if own == names]
        assert len(runs) == 5
        assert sorted(text for _, held in runs for text in held) == sorted(texts)
        for shown, held in runs:
            assert sorted(shown + held) == sorted(texts)
            assert sum(text in texts[:10] for text in held) == 2  # those with spans are spread evenly
    # with names the two texts of up to 4 characters, without them seven of up to 9; all of them are right
    assert [one.f1 for one in report.candidates] == pytest.approx([2 * 2 / (2 + 10), 2 * 7 / (7 + 10)])
    assert chosen == report.candidates[1].strategy
    counts = [one.counts for one in report.candidates]
    rng = np.random.RandomState(0)
    gaps = []
    for _ in range(2000):
        drawn = rng.randint(12, size=12)
        totals = [own[drawn].sum(axis=0) for own in counts]
        gaps.append(np.diff([2 * right / max(said + there, 1) for right, said, there in totals])[0])
    assert report.reasons[0].startswith("entity F1 0.824 of head, no type names, 0.333 of head, type names: the former")
    assert float(report.reasons[0].split("(")[1].rstrip(")")) == pytest.approx(np.std(gaps), rel=0.2)
    assert report.reasons[1] == "so it is head, no type names (12 held-out texts, 5 folds)"
    assert "head, type names" in str(report)
    assert "0.333" in str(report)


def test_equal_texts_are_in_one_fold_and_many_texts_are_drawn_from(knowing):
    texts = ["x yy"] * 3 + ["x yyy"] * 3 + [f"x {'y' * n}" for n in range(4, 300)]
    _, report = choose_tags(task_of(texts, range(6)), None, budget=Budget(), random_state=0)
    assert len(set(report.rows.tolist())) == len(report.rows)
    assert len({texts[i] for i in report.rows}) == 128
    for _, shown, held in Knowing.seen:
        assert not set(shown) & set(held)


def test_a_small_gain_does_not_do(knowing, monkeypatch):
    monkeypatch.setattr(Knowing, "lengths", (range(10, 13), range(6, 8)))
    texts = [f"x {'y' * n}" for n in range(1, 24)]
    chosen, report = choose_tags(task_of(texts, range(23)), None, budget=Budget(), random_state=0)
    assert report.candidates[1].f1 > report.candidates[0].f1
    assert chosen.names == 1.0


def test_of_equals_the_first_is_taken(knowing):
    chosen, report = choose_tags(task_of(["x y", "x z", "x w"], [0, 1]), None, budget=Budget())
    assert (chosen.names, report.folds) == (1.0, 2)


def test_where_nothing_can_be_compared_it_is_said(knowing):
    chosen, report = choose_tags(task_of(["x y", "x z"], [1]), None, budget=Budget())
    assert chosen.names == 1.0
    assert report.reasons == ("spans are in one text only: nothing can be compared",)
    assert (report.candidates, report.folds) == ((), 0)


def test_folds_that_teach_nothing_leave_the_head():
    encoder = load(sentence_model())
    tagger = Tagger(encoder, strategy=Auto()).fit(["Ada", "Bob left"], [[(0, 3, "a")], [(0, 3, "a")]])
    assert "the folds teach nothing" in tagger.report_.reasons[0]
    assert tagger.predict(["Bob left"]) == [[(0, 3, "a")]]


def test_a_tagger_with_auto_is_that_of_its_choice_and_is_kept(tmp_path):
    encoder = load(sentence_model())
    tagger = Tagger(encoder, strategy=Auto(), random_state=0).fit(TEXTS, SPANS)
    report = tagger.report_
    assert [one.name for one in report.candidates] == ["head, type names", "head, no type names"]
    (best,) = [one for one in report.candidates if report.reasons[-1].startswith(f"so it is {one.name} (")]
    assert report.chosen == repr(best.strategy)
    alone = Tagger(encoder, strategy=best.strategy).fit(TEXTS, SPANS)
    assert tagger.predict(TEXTS) == alone.predict(TEXTS)
    again = Tagger.load(tagger.save(tmp_path / "kept"))
    assert str(again.report_) == str(report)
    assert again.predict_spans(TEXTS) == tagger.predict_spans(TEXTS)
    assert (again.report_.candidates[0].counts == report.candidates[0].counts).all()
    assert Tagger(encoder, strategy=TokenHead()).fit(TEXTS, SPANS).report_ is None


class Tuned(Knowing):
    """Is always right; remembers its steps."""

    steps_of: list = []  # noqa: RUF012
    lengths = (range(10), range(100))

    def __init__(self, objective, steps=None):
        self.objective = objective
        self.steps = steps
        self.names = 1.0

    def fit_spans(self, task, model, *, random_state=None):
        Tuned.steps_of.append(self.steps)
        return super().fit_spans(task, model, random_state=random_state)


def test_a_budget_lets_tuning_in_where_it_has_room(knowing, monkeypatch):
    Tuned.steps_of = []
    monkeypatch.setattr(choosing_tags, "FineTuning", Tuned)
    task, encoder = task_of([f"x {'y' * n}" for n in range(1, 13)], range(12)), load(sentence_model())
    chosen, report = choose_tags(task, encoder, budget=Budget(1000.0))
    assert isinstance(chosen, Tuned)
    assert [one.name for one in report.candidates][-1] == "fine-tuned vectors"
    assert Tuned.steps_of[:1] == [1]  # timed first
    assert Tuned.steps_of[-5:] == [None] * 5
    for budget in (None, 1e-9):
        chosen, report = choose_tags(task, encoder, budget=Budget(budget))
        assert len(report.candidates) == 2
    assert "fine-tuning was not tried: the budget of 1e-09 s was used up" in report.reasons
    _, report = choose_tags(task, object(), budget=Budget(1000.0))
    assert "can't be fine-tuned" in str(report.reasons)


def test_a_language_model_is_asked_about_candidates(tmp_path):
    lm = FakeLM(lambda query: [9.0 * ("Ada" in query.prefix.splitlines()[-1]), 0.0][: len(query.candidates)])
    named = Tagger(lm, strategy=Auto()).fit(None, ["person"])
    assert isinstance(named.strategy_.chosen_, CandidateSpans)
    assert named.report_.reasons == ("there are no annotated texts",)
    alone = Tagger(lm, strategy=Prompting()).fit(None, ["person"])
    assert named.predict_spans(["Ada left."]) == alone.predict_spans(["Ada left."])
    assert str(named.preview(["Ada left."])) == str(alone.preview(["Ada left."]))
    again = Tagger.load(named.save(tmp_path / "kept"), model=lm)
    assert again.predict_spans(["Ada left."]) == named.predict_spans(["Ada left."])


def test_with_texts_a_readout_is_compared_where_there_is_a_budget():
    lm = FakeLM(lambda query: [9.0 * ("Ada" in query.prefix.splitlines()[-1]), 0.0])
    texts = [f"Ada saw {name}." for name in ("a cat", "the dog", "a bird", "two mice")]
    spans = [[(0, 3, "person")] for _ in texts]
    plain = Tagger(lm, strategy=Auto(), max_words=2, random_state=0).fit(texts, spans)
    assert plain.report_.reasons == choosing_tags._NO_BUDGET
    both = Tagger(lm, strategy=Auto(budget=1000), max_words=2, random_state=0).fit(texts, spans)
    assert [one.name for one in both.report_.candidates] == ["prompting", "readout"]
    assert both.report_.folds == 4
    with_template = Tagger(lm, "{{ text }}\n{{ span }} is {{ label }}", strategy=Auto(budget=1e-9)).fit(texts, spans)
    assert "a readout was not tried" in with_template.report_.reasons[0]


def test_what_can_not_be():
    with pytest.raises(ParameterError, match="budget, in seconds, must be greater than 0"):
        Tagger(load(sentence_model()), strategy=Auto(budget=0)).fit(TEXTS, SPANS)
