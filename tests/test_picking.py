"""What to label next: the rules of the choice, against brute force where there is one."""

from __future__ import annotations

import doctest
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from fewshot import Classifier, Embedding, FakeLM, InputError, ParameterError, Pick, UnsupportedError, next_to_label
from fewshot.labelling import diversity, picking, pool
from fewshot.labelling.uncertainty import Guesses, entropy, margin
from tests.printed import Tolerant

WITHOUT = ["auto", "diverse", "typical", "random"]
ALL = [*WITHOUT, "entropy", "margin"]


class Points:
    """An encoder of texts such as "0.5 1": the numbers are the vector."""

    fingerprint = "points"
    kind = "encoder"

    def __init__(self):
        self.read = []

    def encode(self, texts):
        self.read.extend(texts)
        return np.array([[float(number) for number in text.split()] for text in texts])


class Sure:
    """A classifier whose probabilities are given for each text."""

    def __init__(self, proba, classes):
        self.given, self.classes_, self.model_ = proba, np.array(classes), Points()

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.array([self.given[text] for text in X])


def drawn(n, dim=5, seed=0):
    vectors = np.random.RandomState(seed).normal(size=(n, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def as_text(vectors):
    return [" ".join(f"{value:.6f}" for value in vector) for vector in vectors]


TEXTS = as_text(drawn(60))
TICKETS = ["charged twice", "charged again", "app crashes", "app is down", "great app", "great work", "charged late"]
TOPICS = ["billing", "billing", "bug", "bug", "praise", "praise", "billing"]


def fitted(rows=7, head=None):
    return make_pipeline(CountVectorizer(), head or LogisticRegression()).fit(TICKETS[:rows], TOPICS[:rows])


def classifier():
    rng = np.random.RandomState(1)
    return Sure({text: rng.dirichlet([1, 1, 1]) for text in TEXTS}, ["a", "b", "c"])


def constant(proba):
    return Sure(dict.fromkeys(TEXTS, proba), ["a", "b"])


@pytest.mark.parametrize("strategy", ALL)
def test_a_row_is_chosen_once_and_none_that_has_a_label_or_the_text_of_one(strategy):
    X = [*TEXTS[:20], *TEXTS[:20], TEXTS[30]]
    y: list[str | None] = [None] * 41
    y[3], y[25], y[40] = "a", "b", "a"
    clf = classifier()
    picks = next_to_label(clf, X, 100, y=y, strategy=strategy)
    assert all(isinstance(pick, Pick) and isinstance(pick.row, int) and pick.reason for pick in picks)
    # of equal texts the first; rows 3 and 23 are equal, 5 and 25 too
    assert sorted(pick.row for pick in picks) == [i for i in range(20) if i not in (3, 5)]
    assert next_to_label(clf, X, 100, y=y, strategy=strategy) == picks
    few = next_to_label(clf, X, 4, y=y, strategy=strategy)
    assert len({pick.row for pick in few}) == 4
    if strategy != "typical":  # there are as many clusters as rows are wanted
        assert [pick.row for pick in few] == [pick.row for pick in picks[:4]]


@pytest.mark.parametrize("strategy", ["diverse", "random"])
def test_what_is_drawn_depends_on_the_seed(strategy):
    found = {tuple(next_to_label(Points(), TEXTS, 5, strategy=strategy, random_state=seed)) for seed in range(5)}
    assert len(found) > 1


def test_nothing_is_left():
    assert next_to_label(Points(), TEXTS[:2], y=["a", "b"]) == []


def coverage(vectors, chosen, weights):
    squared = ((vectors[:, None] - np.asarray(chosen)[None]) ** 2).sum(axis=2)
    return (weights * np.exp(squared.min(axis=1) / (-2 * diversity._WIDTH**2))).sum()


@pytest.mark.parametrize("n_known", [0, 3])
def test_each_covering_row_raises_the_coverage_most(n_known):
    vectors, known, weights = drawn(30), drawn(n_known, seed=1), np.random.RandomState(2).rand(30)
    chosen = diversity.cover(vectors, known, 6, weights)
    for k, row in enumerate(chosen):
        before = [*known, *vectors[chosen[:k]]]
        after = [coverage(vectors, [*before, vector], weights) for vector in vectors]
        assert after[row] == pytest.approx(max(after), rel=1e-5)


def test_one_more_row_of_two_groups_is_of_the_group_without_a_label():
    left, right = drawn(10) * 0.1 + [1, 0, 0, 0, 0], drawn(10, seed=1) * 0.1 + [0, 1, 0, 0, 0]
    X = as_text(np.vstack([left, right]))
    for strategy in ("auto", "diverse", "typical"):
        (pick,) = next_to_label(Points(), X, 1, y=["a"] + [None] * 19, strategy=strategy)
        assert pick.row >= 10, strategy


def test_spread_rows_are_drawn_by_their_squared_distance():
    vectors = np.array([[1.0, 0.0], [np.cos(0.2), np.sin(0.2)], [0.0, 1.0]])
    far = ((vectors - vectors[0]) ** 2).sum(axis=1)
    first = [diversity.spread(vectors, vectors[:1], 1, np.random.RandomState(seed))[0] for seed in range(500)]
    shares = np.bincount(first, minlength=3) / 500
    assert shares[0] == 0
    assert shares == pytest.approx(far / far.sum(), abs=0.03)


def test_spread_takes_rows_without_a_distance_last():
    vectors = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    chosen = diversity.spread(vectors, vectors[:1], 4, np.random.RandomState(0))
    assert chosen[0] == 3
    assert sorted(chosen) == [0, 1, 2, 3]


def test_the_typical_row_of_a_cluster_is_nearest_to_the_others_on_average():
    groups = [normalize(drawn(9, seed=seed) * 0.2 + np.eye(5)[seed]) for seed in range(3)]
    chosen = diversity.typical(np.vstack(groups), np.empty((0, 5)), 3, np.random.RandomState(0))
    wanted = []
    for k, group in enumerate(groups):
        distances = np.sqrt(((group[:, None] - group[None]) ** 2).sum(axis=2))
        wanted.append(9 * k + distances.sum(axis=1).argmin())
    assert sorted(chosen) == wanted


def test_uncertainty_of_classes_that_exclude_each_other():
    guesses = Guesses(np.array([[0.5, 0.5, 0], [1 / 3] * 3, [1, 0, 0]]), ["a", "b", "c"], several=False)
    assert margin(guesses) == pytest.approx([1, 1, 0])
    assert entropy(guesses) == pytest.approx([np.log(2) / np.log(3), 1, 0], abs=1e-12)
    assert guesses.said(0) == "unsure: a 0.50, b 0.50"
    assert guesses.said(2) == "likely: a 1.00, b 0.00"


def test_uncertainty_of_several_labels_a_row():
    guesses = Guesses(np.array([[0.9, 0.45], [0.99, 0.98]]), ["a", "b"], several=True)
    assert margin(guesses) == pytest.approx([0.9, 0.04])
    own = [-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) for p in (0.9, 0.45, 0.99, 0.98)]
    assert entropy(guesses) == pytest.approx([np.mean(own[:2]), np.mean(own[2:])])
    assert guesses.said(0) == "unsure: b 0.45, a 0.90"


@pytest.mark.parametrize(("strategy", "measure"), [("entropy", entropy), ("margin", margin)])
def test_the_least_sure_rows_come_first(strategy, measure):
    clf = classifier()
    unsure = measure(Guesses(clf.predict_proba(TEXTS), ["a", "b", "c"], several=False))
    rows = [pick.row for pick in next_to_label(clf, TEXTS, 60, strategy=strategy)]
    assert rows == np.argsort(-unsure).tolist()


@pytest.mark.parametrize("clf", [None, "one class"])
def test_auto_without_a_classifier_of_two_classes_is_typical(clf):
    clf = Points() if clf is None else Sure({text: [1.0] for text in TEXTS}, ["a"])
    y = ["a"] * 3 + [None] * 57
    wanted = [pick.row for pick in next_to_label(Points(), TEXTS, 7, y=y, strategy="typical")]
    assert [pick.row for pick in next_to_label(clf, TEXTS, 7, y=y)] == wanted


def test_auto_looks_where_the_classifier_is_unsure():
    groups = [normalize(drawn(10, seed=seed) * 0.1 + np.eye(5)[seed]) for seed in range(2)]
    X = as_text(np.vstack(groups))
    for unsure in (0, 1):
        proba = {text: [0.5, 0.5] if i // 10 == unsure else [0.99, 0.01] for i, text in enumerate(X)}
        (pick,) = next_to_label(Sure(proba, ["a", "b"]), X, 1)
        assert pick.row // 10 == unsure
        assert pick.reason.startswith("unsure: a 0.50, b 0.50; stands for ")


def test_reasons_count_the_texts_that_a_row_stands_for():
    groups = [normalize(drawn(size, seed=seed) * 0.05 + np.eye(5)[seed]) for seed, size in enumerate((12, 7))]
    picks = next_to_label(Points(), as_text(np.vstack(groups)), 2)
    assert [pick.reason for pick in picks] == [f"stands for {size} texts" for size in (12, 7)]


@pytest.mark.parametrize("strategy", ["auto", "diverse", "typical"])
def test_of_many_texts_some_are_compared(strategy, monkeypatch):
    monkeypatch.setattr(picking, "_COMPARED", 20)
    encoder = Points()
    picks = next_to_label(encoder, TEXTS, 5, y=["a"] * 30 + [None] * 30, strategy=strategy)
    assert len({pick.row for pick in picks}) == 5
    assert min(pick.row for pick in picks) >= 30
    assert len(encoder.read) == 40
    if strategy == "auto":
        assert all("about" in pick.reason for pick in picks)


def test_of_many_texts_all_are_counted_also_those_that_are_hardly_compared(monkeypatch):
    monkeypatch.setattr(picking, "_COMPARED", 40)
    proba = {text: [0.5, 0.5] if i < 30 else [0.9, 0.1] for i, text in enumerate(TEXTS)}
    picks = next_to_label(Sure(proba, ["a", "b"]), TEXTS, 3)
    counts = [int(pick.reason.split("about ")[1].split()[0]) for pick in picks]
    assert sum(counts) == pytest.approx(60, abs=2)


def test_what_the_classifier_is_sure_of_is_hardly_compared(monkeypatch):
    monkeypatch.setattr(picking, "_COMPARED", 10)
    proba = {text: [0.5, 0.5] if i < 10 else [1, 0] for i, text in enumerate(TEXTS)}
    picks = next_to_label(Sure(proba, ["a", "b"]), TEXTS, 8)
    assert sum(pick.row < 10 for pick in picks) >= 7


def test_a_classifier_of_this_library():
    clf = Classifier(Points(), strategy=Embedding()).fit(TEXTS[:6], [0, 1] * 3)
    y = [0, 1] * 3 + [None] * 54
    for strategy in ALL:
        assert min(pick.row for pick in next_to_label(clf, TEXTS, 10, y=y, strategy=strategy)) >= 6


def test_rows_of_fields_are_read_through_the_template():
    rows = [{"a": a, "b": b} for a, b in itertools.product(("0.5", "1", "2"), ("1", "3"))]
    encoder = Points()
    clf = Classifier(encoder, "{{ a }} {{ b }}\nIt is {{ label }}.", strategy=Embedding(LogisticRegression()))
    clf.fit(rows[:4], [0, 1, 0, 1])
    encoder.read.clear()
    picks = next_to_label(clf, pd.DataFrame(rows), 9, y=[0, 1, 0, 1, None, None])
    assert sorted(pick.row for pick in picks) == [4, 5]
    assert "2 3" in encoder.read


class Letters(Points):
    """An encoder of any texts, by how often each letter is there."""

    def encode(self, texts):
        return np.array(
            [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=float
        )


def test_a_language_model_is_asked_and_its_texts_are_compared_by_the_default_encoder(monkeypatch):
    lm = FakeLM(lambda query: [query.prefix.count("app"), query.prefix.count("charged")])
    clf = Classifier(lm, "{{ text }} It was {{ label }}", {"bug": "bug", "billing": "billing"}).fit()
    rows = [pick.row for pick in next_to_label(clf, [*TICKETS[:4], "charged by the app"], 1, strategy="margin")]
    assert rows == [4]
    monkeypatch.setattr(pool, "load", Letters)
    picks = next_to_label(clf, TICKETS, 3)
    assert len({pick.row for pick in picks}) == 3
    assert all("; stands for " in pick.reason for pick in picks)


def test_a_pipeline_of_scikit_learn():
    picks = next_to_label(fitted(), np.array([*TICKETS, "charged app"]), 1, strategy="entropy", y=[*TOPICS, None])
    assert picks[0].row == 7
    assert "billing" in picks[0].reason


@pytest.mark.parametrize("head", [OneVsRestClassifier, MultiOutputClassifier])
def test_several_labels_a_row(head):
    targets = np.array([[topic == name for name in ("billing", "bug")] for topic in TOPICS]).astype(int)
    clf = make_pipeline(CountVectorizer(), head(LogisticRegression())).fit(TICKETS, targets)
    y = [*targets.tolist()[:5], None, None]
    for strategy in ("entropy", "margin"):
        assert {pick.row for pick in next_to_label(clf, TICKETS, y=y, strategy=strategy)} == {5, 6}
    assert next_to_label(clf, TICKETS, y=targets, strategy="margin") == []


def test_labels_of_a_series_and_of_an_array():
    marks = [None, "a", None]
    for y in (pd.Series(marks, dtype=object), np.array(marks, dtype=object), tuple(marks)):
        assert {pick.row for pick in next_to_label(Points(), TEXTS[:3], y=y)} == {0, 2}


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"n": 0}, ParameterError, "n must be an integer of at least 1"),
        ({"strategy": "best"}, ParameterError, "strategy must be one of 'auto'"),
        ({"strategy": "margin"}, ParameterError, "needs a fitted classifier"),
        ({"y": ["a"]}, InputError, "X has 60 rows and y has 1"),
        ({"y": [float("nan")] * 60}, InputError, "None, not NaN, marks an unlabelled row"),
        ({"y": [[0, 1]] + [[1]] + [None] * 58}, InputError, r"y\[1\] is"),
        ({"y": [[0, 1]] + [None] * 3}, InputError, "X has 60 rows and y has 4"),
        ({"X": []}, InputError, "X is empty"),
        ({"X": ["1 2", None]}, InputError, r"X\[1\] must be text"),
        ({"X": ["1 nan", "1 2"]}, UnsupportedError, "NaN or infinite vectors"),
        ({"clf": FakeLM(lambda query: [0.0])}, UnsupportedError, "which is neither"),
        ({"clf": LinearSVC().fit([[0], [1]], [0, 1])}, UnsupportedError, "CalibratedClassifierCV"),
        ({"clf": LogisticRegression}, UnsupportedError, "must be a fitted classifier"),
        ({"clf": Classifier()}, NotFittedError, "not fitted"),
        ({"clf": make_pipeline(CountVectorizer(), LogisticRegression())}, NotFittedError, "not fitted"),
        ({"clf": constant([float("nan"), 1])}, UnsupportedError, "NaN or infinite prob"),
        ({"clf": constant([-1, 2])}, UnsupportedError, "below 0 or above 1"),
        ({"clf": constant(0.5)}, UnsupportedError, "must be of shape"),
    ],
)
def test_what_is_wrong_is_named(given, kind, message):
    with pytest.raises(kind, match=message):
        next_to_label(**({"clf": Points(), "X": TEXTS} | given))


@pytest.mark.long
def test_the_page_prints_what_it_says():
    page = (Path(__file__).resolve().parent.parent / "docs/labelling.md").read_text(encoding="utf-8")
    (section,) = (part for part in page.split("\n## ") if part.startswith("What to label next"))
    source = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(source, {}, "labelling.md", "labelling.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant(), optionflags=doctest.ELLIPSIS)
    runner.run(test, out=report.append)
    assert runner.tries == len(test.examples) >= 9
    assert not runner.failures, "".join(report)
