"""Auto for an extractor: folds of texts, the F1 of a plain loop, the ways of each model, the choice, and a kept one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fewshot import Auto, Extractor, FakeLM, InputError, ParameterError, Prompting, SpanHead, UnsupportedError, load
from fewshot.evaluation import answer_f1
from fewshot.heads.answers import AnswerReading
from fewshot.strategies import choosing_answers
from fewshot.strategies.budget import Budget
from fewshot.strategies.choosing_answers import choose_answers
from fewshot.strategies.extracting import AskedSpans
from fewshot.strategies.reading_answers import ReadAnswers
from fewshot.task.extracts import Asked, ExtractTask
from tests.conftest import sentence_model
from tests.test_extractive import model as trained
from tests.test_extractor import hash_scores
from tests.test_token_head import LetterTokens


class Knowing(BaseEstimator):
    """Finds the second word in texts of some names, with vectors and without; remembers what it saw."""

    seen: list = []  # noqa: RUF012
    known = ("abc", "abcdefgh")  # with vectors, and without

    def __init__(self, components=40):
        self.components = components

    def fit_answers(self, task, model, *, random_state=None):
        self.shown_ = list(task.asked)
        if not any(task.golds):
            raise InputError("No example has an answer.")
        return self

    def answer_readings(self, asked):
        Knowing.seen.append((self.components, self.shown_, list(asked)))
        known = self.known[self.components == 0]
        return [AnswerReading([(0, 1), (2, 4)], np.log([0.5, 0.6 * (one.context[0] in known) + 0.1])) for one in asked]


@pytest.fixture
def knowing(monkeypatch):
    Knowing.seen = []
    monkeypatch.setattr(choosing_answers, "SpanHead", Knowing)


def task_of(names, questions=1, empty=()):
    """Texts "a yy", each asked some questions; the answer is "yy" but for those that have none."""
    rows = [{"question": f"{i}?", "context": f"{name} yy"} for name in names for i in range(questions)]
    asked = [Asked(row["question"], row["context"], row) for row in rows]
    return ExtractTask(asked, [() if one.context[0] in empty else ((2, 4),) for one in asked])


ENCODER = LetterTokens()


def test_a_text_is_held_out_with_all_its_questions_and_f1_is_that_of_a_loop(knowing):
    task = task_of("abcdefghijkl", questions=3)
    chosen, report = choose_answers(task, ENCODER, budget=Budget(), random_state=3)
    assert (report.folds, report.rows.tolist()) == (5, list(range(36)))
    for components in (40, 0):
        runs = [(shown, held) for own, shown, held in Knowing.seen if own == components]
        assert len(runs) == 5
        assert sorted(one.context for _, held in runs for one in held) == sorted(one.context for one in task.asked)
        for shown, held in runs:
            assert len(shown) + len(held) == 36
            assert not {one.context for one in shown} & {one.context for one in held}
    said = [["yy" if one.context[0] in known else "x" for one in task.asked] for known in Knowing.known]
    assert [one.f1 for one in report.candidates] == pytest.approx([answer_f1(["yy"] * 36, own) for own in said])
    assert chosen == report.candidates[1].strategy
    # texts are drawn again, since questions about one text are right together
    rng, right = (
        np.random.RandomState(0),
        [[float(name in known) for name in "abcdefghijkl"] for known in Knowing.known],
    )
    gaps = [np.diff(np.array(right)[:, rng.randint(12, size=12)].mean(axis=1))[0] for _ in range(2000)]
    assert float(report.reasons[0].split("(")[1].rstrip(")")) == pytest.approx(np.std(gaps), rel=0.2)
    assert report.reasons[0].startswith("answer F1 0.667 of head, no vectors, 0.250 of head: the former wins")
    assert report.reasons[1] == "so it is head, no vectors (36 held-out questions, 5 folds)"
    assert "on held-out questions" in str(report)
    assert "0.667" in str(report)


def test_of_many_questions_some_are_compared_with_texts_that_have_answers(knowing):
    names = [chr(200 + i) for i in range(150)]
    task = task_of(names, questions=2, empty=names[5:])
    _, report = choose_answers(task, ENCODER, budget=Budget(), random_state=0)
    assert len(report.rows) == 128
    assert sum(bool(task.golds[i]) for i in report.rows) == 10  # all that there are
    for _, shown, held in Knowing.seen:
        assert not {one.context for one in shown} & {one.context for one in held}
        assert sum(one.context[0] in names[:5] for one in held) == 2


def test_a_small_gain_does_not_do(knowing, monkeypatch):
    monkeypatch.setattr(Knowing, "known", ("abc", "defg"))
    chosen, report = choose_answers(task_of("abcdefghijklmnopqrst"), ENCODER, budget=Budget(), random_state=0)
    assert report.candidates[1].f1 > report.candidates[0].f1
    assert chosen.components == 40


def test_where_nothing_can_be_compared_it_is_said(knowing):
    chosen, report = choose_answers(task_of("a", questions=9), ENCODER, budget=Budget())
    assert (chosen.components, report.candidates, report.folds) == (40, (), 0)
    assert report.reasons == ("answers are in one text only: nothing can be compared",)


def test_folds_that_teach_nothing_leave_the_first_way(monkeypatch):
    class Refusing(Knowing):
        def fit_answers(self, task, model, *, random_state=None):
            raise InputError("nothing to learn")

    monkeypatch.setattr(choosing_answers, "SpanHead", Refusing)
    chosen, report = choose_answers(task_of("abc"), ENCODER, budget=Budget())
    assert (chosen.components, report.candidates) == (40, ())
    assert report.reasons == ("head, no vectors was not compared: nothing to learn",)


class Reading(LetterTokens):
    """Vectors of tokens, and answers when asked."""

    kind = "masked"

    def __init__(self, function):
        self.lm = FakeLM(function)

    def loglikelihoods(self, queries):
        return self.lm.loglikelihoods(queries)


def knows_answers(query):
    return [5.0 * (text == "yy") for text in query.candidates]


def test_a_model_with_vectors_that_can_be_asked_is_tried_both_ways(knowing):
    chosen, report = choose_answers(task_of("ijklmn"), Reading(knows_answers), budget=Budget(), random_state=0)
    assert [one.name for one in report.candidates] == ["head", "head, no vectors", "prompting"]
    assert isinstance(chosen, AskedSpans)
    assert (report.candidates[0].f1, report.candidates[2].f1) == (0.0, 1.0)


def test_a_way_that_a_model_can_not_go_is_left_out(knowing):
    def refuse(query):
        raise InputError("'In' and 'in' are the same tokens to this model")

    chosen, report = choose_answers(task_of("abcdef"), Reading(refuse), budget=Budget(), random_state=0)
    assert [one.name for one in report.candidates] == ["head", "head, no vectors"]
    assert any(one.startswith("prompting was not compared: ") and "same tokens" in one for one in report.reasons)
    assert isinstance(chosen, Knowing)


def shown(query):
    """Knows the answer where the prompt shows one."""
    before = "".join(turn.text for turn in query.context) + query.prefix
    return [5.0 * (text == "yy") * (before.count("Question:") > 1) for text in query.candidates]


def test_a_causal_model_is_asked_with_demonstrations_too():
    asks = "{{ context }} Question: {{ question }} {{ answer }}"
    task = replace(task_of("abcdefgh"), template=asks, max_words=2)
    lm = FakeLM(shown)
    chosen, report = choose_answers(task, lm, budget=Budget(), random_state=0)
    assert [one.name for one in report.candidates] == ["prompting", "prompting with demonstrations"]
    assert [one.f1 for one in report.candidates] == [0.0, 1.0]
    assert chosen.strategy.shots == 4
    slow = Budget(1e-9)
    chosen, report = choose_answers(task, lm, budget=slow, random_state=0)
    assert (chosen.strategy.shots, report.candidates) == (0, ())
    assert report.reasons[0].startswith("prompting with demonstrations was not tried: the budget of 1e-09 s")


def test_tuning_is_tried_where_a_budget_has_room_for_it(knowing, monkeypatch):
    class Tuned(Knowing):
        fits: list = []  # noqa: RUF012

        def __init__(self, objective="span", *, steps=None, components=40):
            self.objective, self.steps, self.components = objective, steps, components

        def fit_answers(self, task, model, *, random_state=None):
            Tuned.fits.append(self.steps)
            return super().fit_answers(task, model, random_state=random_state)

        def answer_readings(self, asked):
            return [AnswerReading([(2, 4)], np.zeros(1)) for _ in asked]

    monkeypatch.setattr(choosing_answers, "FineTuning", Tuned)
    monkeypatch.setattr(choosing_answers, "trains", lambda model, what: (model, what) == (ENCODER, "tokens"))
    task = task_of("ijklmn")
    choose_answers(task, ENCODER, budget=Budget(), random_state=0)
    assert Tuned.fits == []  # without a budget there is no tuning
    chosen, report = choose_answers(task, ENCODER, budget=Budget(600.0), random_state=0)
    assert Tuned.fits == [1] + [None] * 5  # one is timed, then there are the folds
    assert [one.f1 for one in report.candidates] == [0.0, 0.0, 1.0]
    assert isinstance(chosen, Tuned)
    _, report = choose_answers(task, ENCODER, budget=Budget(1e-9), random_state=0)
    assert len(report.candidates) == 2
    assert any(one.startswith("fine-tuned vectors was not tried: the budget") for one in report.reasons)


def test_what_there_is_without_answered_questions():
    chosen, report = choose_answers(ExtractTask([], []), FakeLM(hash_scores), budget=Budget())
    assert (repr(chosen), report.reasons) == ("AskedSpans(strategy=Prompting())", ("there are no answered questions",))
    chosen, report = choose_answers(ExtractTask([], []), trained("roberta"), budget=Budget())
    assert isinstance(chosen, ReadAnswers)
    assert report.reasons == ("the model was trained to find answers",)
    with pytest.raises(UnsupportedError, match="SpanHead needs answered questions"):
        Extractor(ENCODER, strategy=Auto()).fit()
    with pytest.raises(UnsupportedError, match="can't be asked"):
        Extractor(ENCODER, "{{ context }} {{ answer }}", strategy=Auto()).fit()


NAMES = ["Ada", "Bob", "Eve"] * 3
ROWS = [{"question": "Who left?", "context": f"{name} left {i}."} for i, name in enumerate(NAMES)]


def test_an_extractor_with_auto_is_that_of_its_choice_and_is_kept(tmp_path):
    encoder = load(sentence_model())
    extractor = Extractor(encoder, strategy=Auto(), random_state=0).fit(ROWS, NAMES)
    chosen = extractor.strategy_.chosen_
    plain = Extractor(encoder, strategy=SpanHead(components=chosen.components)).fit(ROWS, NAMES)
    assert plain.report_ is None
    assert extractor.report_.folds == 5
    assert extractor.predict_top(ROWS) == plain.predict_top(ROWS)
    extractor.save(tmp_path / "kept")
    again = Extractor.load(tmp_path / "kept")
    assert str(again.report_) == str(extractor.report_)
    assert again.predict_top(ROWS) == plain.predict_top(ROWS)


def test_an_extractor_with_auto_on_a_language_model_shows_prompts_and_more_answers():
    lm = FakeLM(hash_scores)
    extractor = Extractor(lm, strategy=Auto(), max_words=2, random_state=0).fit(ROWS, NAMES)
    assert len(extractor.report_.candidates) == 2
    shots = extractor.strategy_.chosen_.strategy.shots
    plain = Extractor(lm, strategy=Prompting(shots=shots), max_words=2, random_state=0).fit(ROWS, NAMES)
    assert str(extractor.preview(ROWS[:1])) == str(plain.preview(ROWS[:1]))
    assert extractor.predict_top(ROWS[:2], k=5) == plain.predict_top(ROWS[:2], k=5)


def test_a_budget_must_be_above_zero():
    with pytest.raises(ParameterError, match="budget"):
        Extractor(ENCODER, strategy=Auto(0)).fit(ROWS, NAMES)
