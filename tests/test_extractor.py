"""Extractor: answers by spans of the text, asked of a language model exactly, kept, shown and with a threshold."""

from __future__ import annotations

import doctest
import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from fewshot import (
    Answer,
    Classifier,
    Extractor,
    FakeLM,
    FewshotWarning,
    InputError,
    ParameterError,
    Prompting,
    Readout,
    TemplateError,
    UnsupportedError,
)
from fewshot.heads.answers import AnswerReading
from fewshot.persistence.invariants import check_fitted
from fewshot.persistence.rehearsal import rehearse
from fewshot.task.answer_candidates import candidate_spans
from fewshot.task.extracts import Asked
from tests.conftest import language_model
from tests.contract import HashEncoder
from tests.kept import edited
from tests.printed import Tolerant
from tests.test_extractive import model as trained

ROWS = [
    {"question": "Where does Ada live?", "context": "Ada lives in Paris. Paris is old.", "title": "Ada"},
    {"question": "Who left?", "context": "In spring Bob left Rome for $5.", "title": "Bob"},
    {"question": "Who came?", "context": "It rained.", "title": "Rain"},
]
ANSWERS = ["Paris", {"text": ["Bob"], "answer_start": [10]}, None]


def hash_scores(query):
    """Scores that depend on every part of a query and look random."""
    before = "".join(turn.text for turn in query.context) + query.prefix
    return [zlib.crc32(f"{before}|{text}".encode()) / 2**32 * 6 for text in query.candidates]


@pytest.fixture
def lm():
    return FakeLM(hash_scores)


class Fixed(BaseEstimator):
    """A strategy that gives what it was told, for each question."""

    def __init__(self, readings=()):
        self.readings = readings

    def fit_answers(self, task, model, *, random_state=None):
        self.task_ = task
        return self

    def answer_readings(self, asked):
        return [self.readings[one.question] for one in asked]


READINGS = {
    "Where does Ada live?": AnswerReading([(0, 3), (13, 18)], np.log([0.1, 0.7]), none=float(np.log(0.2))),
    "Who left?": AnswerReading([(10, 13), (19, 23)], np.log([0.3, 0.25]), none=float(np.log(0.45))),
    "Who came?": AnswerReading([(0, 2)], np.log([0.4]), none=float(np.log(0.6))),
}


@pytest.fixture
def fixed(lm):
    return Extractor(lm, strategy=Fixed(READINGS)).fit(ROWS, ANSWERS)


def softmax(scores):
    weights = np.exp(scores - np.max(scores))
    return weights / weights.sum()


class TestDoor:
    def test_a_strategy_says_the_answers(self, fixed):
        assert fixed.predict(ROWS) == [Answer("Paris", 13, 18), Answer("", None, None), Answer("", None, None)]
        assert [round(one.probability, 6) for one in fixed.predict(ROWS)] == [0.7, 0.45, 0.6]
        assert (fixed.n_questions_, fixed.n_answered_) == (3, 2)
        assert fixed.strategy_.task_.golds == [((13, 18), (20, 25)), ((10, 13),), ()]

    def test_a_threshold_decides_instead(self, fixed):
        fixed.set_params(threshold=0.28)
        assert [one.text for one in fixed.predict(ROWS)] == ["Paris", "Bob", "It"]
        fixed.set_params(threshold=0.35)
        assert [one.text for one in fixed.predict(ROWS)] == ["Paris", "", "It"]
        assert fixed.predict(ROWS)[1].probability == pytest.approx(0.45)

    def test_the_most_probable(self, fixed):
        found = fixed.predict_top(ROWS, k=2)
        assert [[one.text for one in own] for own in found] == [["Paris", ""], ["", "Bob"], ["", "It"]]
        assert len(fixed.predict_top(ROWS, k=9)[2]) == 2
        with pytest.raises(ParameterError, match="k must be"):
            fixed.predict_top(ROWS, k=0)

    def test_the_score_is_the_f1_of_words(self, fixed):
        assert fixed.score(ROWS, ANSWERS) == pytest.approx(2 / 3)
        assert fixed.score(ROWS, [["in Paris", "Rome"][:1], "Bob", None]) == pytest.approx((2 / 3 + 0 + 1) / 3)
        assert fixed.score(ROWS, fixed.predict(ROWS)) == 1.0  # a prediction is a valid y

    def test_a_threshold_for_a_precision(self, fixed):
        # the answers are Paris 0.7 (right), It 0.4 (wrong), Bob 0.3 (right)
        assert fixed.fit_threshold(ROWS, ANSWERS, precision=1.0) == pytest.approx(0.7)
        assert fixed.fit_threshold(ROWS, ANSWERS, precision=0.6) == pytest.approx(0.3)
        with pytest.raises(InputError, match="No threshold reaches precision"):
            fixed.fit_threshold(ROWS, [None, None, None], precision=0.5)
        blank = Extractor(fixed.model, question="?").fit()
        with pytest.raises(InputError, match="No answer is found in these 1 texts"):
            blank.fit_threshold(["..."], [None])

    def test_an_article_is_no_right_answer_where_there_is_none(self):
        lm = FakeLM(lambda query: [3.0 * (span == "The") for span in query.candidates])
        extractor = Extractor(lm, question="Who?", max_words=1).fit()
        assert extractor.predict(["The rain"])[0].text == "The"
        with pytest.raises(InputError, match="No threshold reaches precision"):
            extractor.fit_threshold(["The rain"], [None], precision=0.5)

    def test_an_explanation_marks_the_answer_and_lists_the_others(self, fixed):
        shown = fixed.explain(ROWS[:2])
        assert str(shown) == (
            "Where does Ada live?\nAda lives in [Paris]. Paris is old.\n  0.70  Paris\n  0.20  no answer\n  0.10  Ada\n"
            "\n"
            "Who left?\nIn spring Bob left Rome for $5.\n  0.45  no answer\n  0.30  Bob\n  0.25  Rome"
        )
        html = shown._repr_html_()
        assert html.count("<mark") == 1
        assert ">Paris</mark>" in html
        assert str(fixed.explain(ROWS[0])).startswith("Where does Ada live?\nAda lives in [Paris]")
        hostile = {"question": "Who came?", "context": "<script>alert(1)</script>\x1b[31m"}
        assert "<script>" not in fixed.explain(hostile)._repr_html_()
        assert "\x1b" not in str(fixed.explain(hostile))

    def test_what_no_prediction_can_be_is_said(self, lm):
        with pytest.warns(
            FewshotWarning,
            match=r"1 of 3 questions have a right answer that can't be predicted: .* more than max_words=1",
        ):
            Extractor(lm, max_words=1).fit(ROWS, [["Paris is", "old"], "Bob left", None])

    @pytest.mark.parametrize(
        ("changes", "X", "y", "error", "match"),
        [
            ({"threshold": 0.0}, ROWS, ANSWERS, ParameterError, "threshold"),
            ({"max_words": 0}, ROWS, ANSWERS, ParameterError, "max_words"),
            ({"question": 3}, ROWS, ANSWERS, ParameterError, "question must be a text that is not blank"),
            ({"question": " "}, ROWS, ANSWERS, ParameterError, "question must be a text that is not blank"),
            ({"strategy": Prompting}, ROWS, ANSWERS, ParameterError, "strategy must be one that finds answers"),
            ({"strategy": Readout()}, ROWS, ANSWERS, ParameterError, "strategy must be one that finds answers"),
            ({"strategy": Fixed(), "template": "squad/answer"}, ROWS, ANSWERS, ParameterError, "asks nothing"),
            ({"verbalizer": {"a": "b"}}, ROWS, ANSWERS, ParameterError, "what no answer is called"),
            ({"verbalizer": {None: " "}}, ROWS, ANSWERS, ParameterError, "what no answer is called"),
            ({}, None, ANSWERS, InputError, "X has no questions"),
            ({}, ROWS, None, InputError, "y is None"),
            ({}, ROWS, ["Rome", "Bob", None], InputError, "Row 0: the answer 'Rome' does not stand"),
            ({"model": HashEncoder(), "strategy": Prompting()}, ROWS, ANSWERS, UnsupportedError, "can't be asked"),
            ({"template": "{{ text }} {{ label }}"}, ROWS, ANSWERS, TemplateError, "field 'context'"),
            ({"template": "{{ context }} {{ labels }} {{ label }}"}, ROWS, ANSWERS, TemplateError, "list none"),
            (
                {"template": "---\nwords: {a: b}\n---\n{{ context }} {{ answer }}"},
                ROWS,
                ANSWERS,
                TemplateError,
                "say what no answer is called",
            ),
            ({"template": ["squad/answer", "squad/title"]}, ROWS, ANSWERS, UnsupportedError, "one wording"),
            ({"strategy": Prompting(calibration="pmi")}, ROWS, ANSWERS, UnsupportedError, "leave calibration out"),
            ({"strategy": Prompting(read="generate")}, ROWS, ANSWERS, UnsupportedError, "leave read out"),
            ({"strategy": Prompting(orders=2)}, ROWS, ANSWERS, UnsupportedError, "leave orders out"),
            ({"strategy": Prompting(order="lowest bias")}, ROWS, ANSWERS, UnsupportedError, "lowest bias"),
            ({"strategy": Prompting(shots=2)}, None, None, InputError, "shots=2 needs answered questions"),
            ({"strategy": Prompting(shots=4)}, ROWS, ANSWERS, InputError, "4"),
            ({"strategy": Prompting(shots=-1)}, ROWS, ANSWERS, ParameterError, "shots"),
        ],
    )
    def test_what_can_not_be(self, lm, changes, X, y, error, match):
        extractor = Extractor(lm).set_params(**changes)
        with pytest.raises(error, match=match):
            extractor.fit(X, y)
        with pytest.raises(NotFittedError):
            extractor.predict(ROWS)

    def test_a_failed_fit_leaves_what_there_was(self, fixed):
        before = fixed.predict(ROWS)
        with pytest.raises(InputError):
            fixed.fit(ROWS, ["Rome", None, None])
        assert fixed.predict(ROWS) == before

    def test_a_strategy_without_prompts_has_no_preview(self, fixed):
        with pytest.raises(UnsupportedError, match="Fixed asks nothing"):
            fixed.preview(ROWS)


class TestAsking:
    def test_every_span_is_a_candidate_and_probabilities_are_exact(self, lm):
        rng = np.random.RandomState(0)
        words = ["Ada", "Bob", "in", "$5", "40%", "left", ",", "."]
        rows = [{"question": f"Q{i}?", "context": " ".join(rng.choice(words, rng.randint(1, 12)))} for i in range(40)]
        extractor = Extractor(lm, max_words=3).fit()
        for row, found in zip(rows, extractor.predict_top(rows, k=10), strict=True):
            context = row["context"]
            texts = list(dict.fromkeys(context[start:end] for start, end in candidate_spans(context, 3)))
            prefix = f"{context}\nQuestion: {row['question']}\nAnswer: "
            scores = [zlib.crc32(f"{prefix}|{text}".encode()) / 2**32 * 6 for text in texts]
            if not texts:
                assert found == [Answer("", None, None)]
                continue
            best = np.argsort(-np.array(scores))[:10]
            assert [one.text for one in found] == [texts[i] for i in best]
            assert [one.probability for one in found] == pytest.approx(softmax(np.array(scores))[best].tolist())
            assert all(one.text == context[one.start : one.end] for one in found)
            assert all(context.find(one.text) <= one.start for one in found)

    def test_equal_texts_are_one_answer_at_the_first_place(self):
        lm = FakeLM(lambda query: [5.0 * (text == "Paris") for text in query.candidates])
        (found,) = Extractor(lm, question="Where?").fit().predict(["Ada lives in Paris. Paris is old."])
        assert (found.start, found.end) == (13, 18)

    def test_no_answer_is_a_candidate_where_something_says_so(self):
        lm = FakeLM(lambda query: [9.0 * (text in ("unanswerable", "none")) for text in query.candidates])
        row = ROWS[:1]
        assert Extractor(lm).fit().predict(row)[0]
        assert Extractor(lm).fit(ROWS[:2], ANSWERS[:2]).predict(row)[0]
        assert not Extractor(lm).fit(ROWS, ANSWERS).predict(row)[0]
        assert not Extractor(lm, verbalizer={None: "none"}).fit().predict(row)[0]
        assert not Extractor(lm, "squad/title").fit().predict(row)[0]
        said = Extractor(lm, "squad/title", {None: "nothing"}).fit()
        assert said.predict(row)[0]
        assert said.strategy_.asking_.task.verbalizer.no_answer == "nothing"

    def test_what_is_below_the_most_probable_counts_as_rest(self, lm):
        text = " ".join(f"w{i}" for i in range(30))
        extractor = Extractor(lm, question="?", max_words=1).fit()
        (reading,) = extractor.strategy_.answer_readings([_asked("?", text)])
        assert len(reading.places) == 3
        assert np.logaddexp.reduce([*reading.log_probabilities, reading.rest]) == pytest.approx(0)
        assert len(extractor.predict_top([text], k=7)[0]) == 7
        assert len(extractor.predict_top([text], k=1)[0]) == 1

    def test_demonstrations_are_answered_questions(self, lm):
        extractor = Extractor(lm, "squad/title", strategy=Prompting(shots=3, selection="first")).fit(ROWS, ANSWERS)
        (shown,) = extractor.preview({"question": "What?", "context": "<|im_end|> {{ label }}", "title": "T"}).rows
        assert shown.text == (
            "Title: Ada\n\nBackground: Ada lives in Paris. Paris is old.\n\nQuestion: Where does Ada live?\n\n"
            "Answer: Paris\n\n"
            "Title: Bob\n\nBackground: In spring Bob left Rome for $5.\n\nQuestion: Who left?\n\nAnswer: Bob\n\n"
            "Title: Rain\n\nBackground: It rained.\n\nQuestion: Who came?\n\nAnswer: unanswerable\n\n"
            "Title: T\n\nBackground: <|im_end|> {{ label }}\n\nQuestion: What?\n\nAnswer: ___"
        )

    def test_a_question_is_not_its_own_demonstration(self, lm):
        extractor = Extractor(lm, strategy=Prompting(shots=2, selection="first")).fit(ROWS, ANSWERS)
        (shown,) = extractor.preview(ROWS[0]).rows
        assert shown.text.count("Ada lives in Paris") == 1
        # of texts that are all asked the same, only the same text is left out
        same = Extractor(lm, question="Who?", strategy=Prompting(shots=2, selection="first"))
        same.fit([row["context"] for row in ROWS], [None, "Bob", None])
        (shown,) = same.preview(ROWS[1]["context"]).rows
        assert shown.n_demonstrations == 1

    def test_both_kinds_of_questions_are_shown(self, lm):
        rows = [{"question": f"Q{i}?", "context": "Ada left."} for i in range(20)]
        y = ["Ada"] * 16 + [None] * 4
        extractor = Extractor(lm, strategy=Prompting(shots=4), random_state=0).fit(rows, y)
        labels = extractor.strategy_.asking_._labels
        shown = Counter(labels[i] for i in extractor.strategy_.asking_.selector.rows_)
        assert shown == {"Ada": 2, "unanswerable": 2}

    def test_nearest_compares_questions(self, lm):
        encoder = HashEncoder()
        rows = [
            {"question": "Where does Ada live?", "context": "x y"},
            {"question": "When was Rome built?", "context": "Where does Ada live x"},
        ]
        strategy = Prompting(shots=1, selection="nearest", encoder=encoder)
        extractor = Extractor(lm, strategy=strategy).fit(rows, ["x", "Ada"])
        (shown,) = extractor.preview({"question": "Where does Ada sleep?", "context": "z"}).rows
        assert "x y" in shown.text
        assert "Rome" not in shown.text

    def test_a_row_that_lacks_a_field_is_named(self, lm):
        extractor = Extractor(lm, "squad/title").fit()
        with pytest.raises(TemplateError, match=r"Row 1: .*'title' is undefined"):
            extractor.predict([ROWS[0], {"question": "Who?", "context": "Ada"}])

    def test_a_broken_model_is_refused(self):
        broken = FakeLM(lambda query: [np.nan for _ in query.candidates])
        with pytest.raises(UnsupportedError, match="NaN or infinite scores"):
            Extractor(broken, question="?").fit().predict(["Ada left."])

    @pytest.mark.parametrize("name", ["gpt2", "t5", "bert"])
    def test_a_real_model_is_asked(self, name):
        extractor = Extractor(language_model(name), question="who ?", max_words=2, strategy=Prompting(shots=1))
        extractor.fit(["a good film", "so bad"], ["good", None])
        found = extractor.predict_top(["a fine day", "no"], k=20)
        assert [sum(one.probability or 0.0 for one in own) for own in found] == pytest.approx([1.0, 1.0])


class TestReading:
    def test_a_model_of_question_answering_reads(self, tmp_path):
        lm = trained("bert")
        extractor = Extractor(lm, max_words=2).fit()
        found = extractor.predict_top(ROWS[:2], k=50)
        assert [sum(one.probability or 0.0 for one in own) for own in found] == pytest.approx([1.0, 1.0])
        for row, own in zip(ROWS[:2], found, strict=True):
            assert all(one.text == row["context"][one.start : one.end] for one in own if one)
            assert [one.probability for one in own] == sorted((one.probability or 0.0 for one in own), reverse=True)
        again = Extractor.load(extractor.save(tmp_path / "kept"))
        assert again.predict_top(ROWS) == extractor.predict_top(ROWS)
        with pytest.raises(ParameterError, match="asks nothing"):
            Extractor(lm, "squad/answer").fit()
        with pytest.raises(UnsupportedError, match="ReadAnswers asks nothing"):
            extractor.preview(ROWS)


def _asked(question, context):
    return Asked(question, context, {"question": question, "context": context})


class TestKept:
    @pytest.mark.parametrize("selection", ["stratified", "nearest"])
    def test_it_is_kept_with_its_demonstrations_and_nothing_else(self, lm, tmp_path, selection):
        rows = [{**row, "id": "private", "answers": {"text": ["x"]}} for row in ROWS]
        strategy = Prompting(shots=1, selection=selection, encoder=HashEncoder())
        extractor = Extractor(lm, strategy=strategy, random_state=0, threshold=0.01).fit(rows, ANSWERS)
        folder = extractor.save(tmp_path / "kept")
        again = Extractor.load(folder, model=[lm, strategy.encoder])
        new = [{"question": "Who came?", "context": "Bob and Ada came."}]
        assert again.predict_top(new) == extractor.predict_top(new)
        assert [p.probability for p in again.predict(new)] == [p.probability for p in extractor.predict(new)]
        assert str(again.preview(new)) == str(extractor.preview(new))
        assert "private" not in (folder / "config.json").read_text()
        card = (folder / "README.md").read_text()
        for said in ("# Extractor of answers", "question-answering", "3 questions, 2 of them with an answer"):
            assert said in card
        assert "extractor = Extractor.load(" in card
        with pytest.raises(InputError, match="holds a Extractor, not a Classifier"):
            Classifier.load(folder)

    def test_a_template_with_other_fields_is_kept(self, lm, tmp_path):
        extractor = Extractor(lm, "squad/title").fit()
        again = Extractor.load(extractor.save(tmp_path / "kept"), model=lm)
        assert again.predict(ROWS) == extractor.predict(ROWS)
        assert "zero-shot" in (tmp_path / "kept/README.md").read_text()

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            ("OwnSpans", {"max_words": 0}, "AskingSpans asks for 0 words"),
            ("OwnSpans", {"no_answer": " "}, "AskingSpans calls no answer ' '"),
            ("AskingSpans", {"orders": 3}, "AskingSpans asks in 3 orders"),
            ("Extractor", {"threshold": "0.5"}, "Extractor has the attribute threshold"),
        ],
    )
    def test_what_no_fit_leaves_is_refused(self, lm, tmp_path, name, changes, message):
        folder = Extractor(lm).fit().save(tmp_path / "kept")

        def change(config):
            (node,) = [one for one in config["nodes"] if one.get("object") == name]
            node["attributes"].update(changes)

        edited(folder, change)
        with pytest.raises(InputError, match=message):
            Extractor.load(folder, model=lm)

    @pytest.mark.parametrize(
        ("row", "label", "message"),
        [
            ({"question": "Who?"}, "Ada", "shows a row without a question or a context"),
            ({"question": "Who?", "context": "Ada"}, 7, "shows an answer that is not text"),
        ],
    )
    def test_what_is_shown_is_checked(self, lm, row, label, message):
        extractor = Extractor(lm, strategy=Prompting(shots=1, selection="first")).fit(ROWS, ANSWERS)
        asking = extractor.strategy_.asking_
        found = {**asking.kept(), "_rows": {0: row}, "_labels": {0: label}}
        with pytest.raises(InputError, match=message):
            check_fitted("AskingSpans", found)

    def test_parts_that_do_not_fit_together_are_refused(self, fixed, lm):
        class Broken(Fixed):
            def answer_readings(self, asked):
                return [AnswerReading(*self.readings) for _ in asked]

        for readings, message in (
            (([(0, 2)], np.zeros(0)), "do not fit together: 1 answers, and 0 numbers|can't be answered"),
            (([(0, 2)], np.array([np.nan])), "its numbers lead to NaN"),
            ((None, np.zeros(0)), "one question can't be answered"),
        ):
            with pytest.raises(InputError, match=message):
                rehearse(Extractor(lm, strategy=Broken(readings)).fit(ROWS, ANSWERS))

    def test_it_clones(self, fixed):
        assert clone(fixed).get_params()["max_words"] == 8


def test_the_page_prints_what_it_says(mini):
    page = (Path(__file__).resolve().parent.parent / "docs/answers.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"```python\n(>>>.*?)```", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(source, {}, "answers.md", "answers.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant())
    runner.run(test, out=report.append)
    assert runner.tries == len(test.examples) >= 10
    assert not runner.failures, "".join(report)
