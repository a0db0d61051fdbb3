"""Answers are measured as SQuAD's script measures them, with intervals, and extractors are compared."""

from __future__ import annotations

import collections
import re
import string

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fewshot import (
    Answer,
    Classifier,
    Extractor,
    FakeLM,
    InputError,
    ParameterError,
    Tagger,
    UnsupportedError,
    Writer,
    compare,
    evaluate,
)
from fewshot.evaluation import (
    AnswerEvaluation,
    answer_f1,
    evaluate_answers,
    exact_match,
    learning_curve,
)
from fewshot.plotting import LearningCurveDisplay
from tests.contract import HashEncoder


def normalize(text):
    """As the script of SQuAD 2.0 has it."""
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    text = re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)
    return " ".join(text.split())


def tokens(text):
    return normalize(text).split() if text else []


def exact_of(gold, said):
    return int(normalize(gold) == normalize(said))


def f1_of(gold, said):
    there, own = tokens(gold), tokens(said)
    common = collections.Counter(there) & collections.Counter(own)
    same = sum(common.values())
    if len(there) == 0 or len(own) == 0:
        return int(there == own)
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(own), 1.0 * same / len(there)
    return (2 * precision * recall) / (precision + recall)


def script(true, predicted):
    """Exact match and F1 of all questions, of those with an answer and of those without."""
    exact, f1 = [], []
    for golds, said in zip(true, predicted, strict=True):
        kept = [one for one in golds if normalize(one)] or [""]
        exact.append(max(exact_of(one, said) for one in kept))
        f1.append(max(f1_of(one, said) for one in kept))
    has = np.array([bool(golds) for golds in true])
    return np.array(exact), np.array(f1), has


def draw(rng):
    words = ["the", "A", "an", "Paris", "paris", "in", "1912", "$5", "U.S.", "-", "Eiffel's", "tower,", "é", "…"]
    return " ".join(rng.choice(words, rng.randint(0, 5)))


def test_the_metrics_are_those_of_the_script():
    rng = np.random.RandomState(0)
    true = [[text for _ in range(rng.randint(0, 4)) if (text := draw(rng))] for _ in range(400)]
    predicted = [rng.choice([draw(rng), *golds, ""]) for golds in true]
    exact, f1, has = script(true, predicted)
    assert 0.2 < has.mean() < 0.95
    assert exact_match(true, predicted) == pytest.approx(exact.mean())
    assert answer_f1(true, predicted) == pytest.approx(f1.mean())
    values = evaluate_answers(true, predicted, n_bootstrap=5).metrics["value"].to_dict()
    assert values == pytest.approx(
        {
            "exact match": exact.mean(),
            "f1": f1.mean(),
            "answerable exact match": exact[has].mean(),
            "answerable f1": f1[has].mean(),
            "unanswerable right": exact[~has].mean(),
        }
    )
    assert f1[~has].mean() == exact[~has].mean()


def test_other_languages_have_no_articles_and_words_without_blanks():
    assert exact_match([["a Paris"]], ["Paris"]) == 1.0
    assert exact_match([["a Paris"]], ["Paris"], language="fr") == 0.0
    assert exact_match([["«Paris»"]], ["paris"], language="fr") == 1.0
    assert exact_match([["«Paris»"]], ["paris"]) == 0.0
    assert answer_f1([["東京都"]], ["東京"], language="ja") == pytest.approx(0.8)
    assert answer_f1([["東京都"]], ["東京"]) == 0.0


def test_answers_may_be_given_in_several_forms():
    oslo, none = {"text": ["Oslo"], "answer_start": [3]}, Answer("", None, None)
    true = ["Paris", ["Rome", "Roma"], oslo, None, none, np.array([])]
    predicted = [Answer("Paris", 0, 5), "roma", "Oslo.", Answer("", None, None), None, ""]
    result = evaluate_answers(true, predicted, n_bootstrap=5)
    assert result.metrics["value"].tolist() == [1.0] * 5
    assert (result.n, result.n_answerable) == (6, 3)


def test_the_intervals_are_those_of_resampled_questions():
    rng = np.random.RandomState(1)
    right = rng.rand(60) < 0.5
    result = evaluate_answers(["Paris"] * 60, np.where(right, "Paris", "Rome").tolist(), n_bootstrap=400)
    again = [right[rng.randint(60, size=60)].mean() for _ in range(4000)]
    low, high = np.quantile(again, [0.025, 0.975])
    row = result.metrics.loc["exact match"]
    assert row["value"] == pytest.approx(right.mean())
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.03)
    assert list(result.metrics.index) == ["exact match", "f1"]
    assert str(result).startswith("60 questions, 60 of them with an answer, 95 % intervals of 400 resamples\n\nmetric")
    again = AnswerEvaluation.from_json(result.to_json())
    assert str(again) == str(result)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (["a"], [], "true has 1 rows and predicted has 0"),
        ([], [], "true is empty"),
        ([3], ["a"], "Row 0: the right answers must be a text or a list of texts. Got 3"),
        ([["a", 3]], ["a"], "Row 0: an answer must be text or an Answer. Got 3"),
        (["a", "b"], ["a", 4], "Row 1: an answer must be text or an Answer. Got 4"),
    ],
)
def test_what_is_no_answer_is_refused(true, predicted, message):
    with pytest.raises(InputError, match=message):
        evaluate_answers(true, predicted)


class Says(BaseEstimator):
    """An extractor of another maker, which finds a word wherever it is asked."""

    def __init__(self, word="Paris", bad=None):
        self.word = word
        self.bad = bad

    def fit(self, X=None, y=None):
        return self

    def predict(self, X):
        if self.bad is not None:
            return self.bad
        return [
            Answer(self.word, start, start + len(self.word))
            if (start := row["context"].find(self.word)) >= 0
            else Answer("", None, None)
            for row in X
        ]

    def predict_top(self, X, k=3):
        return [[one] for one in self.predict(X)]


ROWS = [{"question": "Where?", "context": f"Ada lives in {city}."} for city in ("Paris", "Rome", "Paris", "Oslo")] * 10
Y = ["Paris", "Rome", "Paris", None] * 10


def test_extractors_are_evaluated_and_compared():
    result = evaluate(Says(), ROWS, Y, n_bootstrap=50)
    assert isinstance(result, AnswerEvaluation)
    assert result.metrics["value"].round(3).tolist() == [0.75, 0.75, 0.667, 0.667, 1.0]
    found = compare({"paris": Says(), "rome": Says("Bonn")}, ROWS, Y, n_bootstrap=200)
    assert found.metric == "answer F1"
    assert str(found).startswith("answer F1 on 40 rows")
    assert "paris beats rome by 50.0 points" in str(found)
    exact = compare({"paris": Says(), "in": Says("in Paris")}, ROWS, Y, metric="exact match", n_bootstrap=200)
    assert exact.values["value"].to_dict() == {"paris": 0.75, "in": 0.25}
    with pytest.raises(ParameterError, match="metric must be"):
        compare({"a": Says(), "b": Says()}, ROWS, Y, metric="accuracy")


def test_an_extractor_that_predicts_no_answers_is_refused():
    with pytest.raises(InputError, match=r"Says must predict fewshot.Answer. Got 'Paris' for question 0"):
        evaluate(Says(bad=["Paris"] * 40), ROWS, Y)
    with pytest.raises(InputError, match=r"Says predicts the answers to 1 questions. It was given 40"):
        evaluate(Says(bad=[Answer("Paris", 0, 5)]), ROWS, Y)


def test_different_doors_have_no_metric_in_common():
    clf = Classifier(FakeLM(lambda query: [1.0, 0.0])).fit(None, ["a", "b"])
    with pytest.raises(UnsupportedError, match=r"'clf' predict classes; 'says' predict answers: these have no metric"):
        compare({"clf": clf, "says": Says()}, ROWS, Y)
    with pytest.raises(UnsupportedError, match="'tagger' predict spans; 'says' predict answers"):
        compare({"tagger": Tagger(), "says": Says()}, ROWS, Y)


class Recalls(Says):
    """Finds the first word of a text, where it has been shown that there is one; remembers what it was shown."""

    seen: list = []  # noqa: RUF012

    def fit(self, X=None, y=None):
        Recalls.seen.append((X, y))
        self.known_ = {row["context"][slice(*places[0])] for row, places in zip(X or [], y or [], strict=True)}
        return self

    def predict(self, X):
        Recalls.seen.append(X)
        return [
            Answer(word, 0, 1) if (word := row["context"][0]) in self.known_ else Answer("", None, None) for row in X
        ]


def test_the_learning_curve_is_on_questions_about_held_out_texts():
    rows = [{"question": f"{q}?", "context": f"{'abcd'[i % 4]} {i}"} for i in range(20) for q in range(3)]
    answers = [row["context"][0] for row in rows]
    Recalls.seen = []
    curve = learning_curve(Recalls(), rows, answers, shots=[0, 4, 12, 500], draws=3, random_state=0)
    assert curve.draws[["shots", "draw"]].to_numpy().tolist() == [[0, 0]] + [[s, d] for s in (4, 12) for d in range(3)]
    assert list(curve.draws.columns) == ["name", "shots", "draw", "answer F1", "exact match", "seconds"]
    given, tested = Recalls.seen[::2], Recalls.seen[1::2]
    assert all(own == tested[0] for own in tested)
    assert curve.n_test == len(tested[0]) == 30
    assert not {row["context"] for X, _ in given[1:] for row in X} & {row["context"] for row in tested[0]}
    for few, many in zip(given[1:4], given[4:], strict=True):  # the same draw, with more
        assert many[0][:4] == few[0]
        assert (len(few[0]), len(many[0])) == (4, 12)
        assert all(row["context"][slice(*own)] == row["context"][0] for row, (own,) in zip(*many, strict=True))
    # "a" is an article, so that nothing is left of it, and no answer is right
    known = [{row["context"][0] for row in X or []} | {"a"} for X, _ in given]
    said = [np.mean([row["context"][0] in own for row in tested[0]]) for own in known]
    assert curve.draws["answer F1"].tolist() == curve.draws["exact match"].tolist() == pytest.approx(said)
    assert curve.skipped[["shots", "draws"]].to_numpy().tolist() == [[500, 3]]
    assert curve.skipped["reason"][0] == "there are 30 questions about texts that are not held out"


def test_the_learning_curve_of_extractors_that_all_ask_the_same_and_its_picture():
    lm = FakeLM(lambda query: [float(text == "Paris") for text in query.candidates])
    texts = [f"Ada lives in {place}, {i}." for i in range(6) for place in ("Paris", "Rome")]
    extractors = {"asks": Extractor(lm, question="Where?"), "learns": Extractor(HashEncoder(), question="Where?")}
    curve = learning_curve(extractors, texts, ["Paris", "Rome"] * 6, shots=[0, 2], draws=2, random_state=0)
    assert set(curve.draws["name"]) == {"asks"}
    assert "shows no vectors of tokens" in curve.skipped["reason"][0]
    pytest.importorskip("matplotlib").use("agg")
    display = LearningCurveDisplay.from_results(curve)
    assert (display.metric, display.ax_.get_xlabel()) == ("answer F1", "answered questions")
    with pytest.raises(InputError, match="can't be split"):
        learning_curve(extractors, texts[:1], ["Paris"])


def test_writers_have_no_learning_curve():
    with pytest.raises(UnsupportedError, match="use compare for writers"):
        learning_curve(Writer(FakeLM(lambda query: [0.0]), "{{ text }} {{ answer }}"), ["a"], ["b"])
