"""Wrong labels: confident learning against plain loops, folds that no text leaks through, and what can't be judged."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, Embedding, InputError, LabelErrors, UnsupportedError, label_errors
from fewshot.labelling.errors import judge_labels
from tests.contract import HashEncoder
from tests.printed import Tolerant
from tests.recorded import LABELS, TEXTS, tfidf

WORDS = {"a": "red green blue", "b": "one two three", "c": "cat dog cow"}


def rows(n=24, seed=0):
    """Texts of three classes, each of words of its class alone, with a number of its own."""
    rng = np.random.default_rng(seed)
    labels = ["abc"[i % 3] for i in range(n)]
    texts = [f"{' '.join(rng.choice(WORDS[label].split(), 3))} text{i}" for i, label in enumerate(labels)]
    return texts, labels


class Watched(ClassifierMixin, BaseEstimator):
    """A classifier that notes what it is fitted on and asked about."""

    seen: ClassVar[list[tuple[list[str], list[str]]]] = []

    def fit(self, X, y):
        self.fitted_, self.classes_ = list(X), np.array(sorted(set(y)))
        return self

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X):
        Watched.seen.append((self.fitted_, list(X)))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@pytest.fixture
def watched():
    Watched.seen = []
    return Watched()


def off_diagonal(proba, targets):
    """As the paper has it, row by row: how many are counted off the diagonal of the confident joint."""
    classes = range(proba.shape[1])
    thresholds = []
    for k in classes:
        own = [p[k] for p, t in zip(proba, targets, strict=True) if t == k]
        thresholds.append(sum(own) / len(own) if own else float("inf"))
    count = 0
    for p, t in zip(proba, targets, strict=True):
        reached = [k for k in classes if p[k] >= thresholds[k]]
        count += bool(reached) and max(reached, key=lambda k: p[k]) != t
    return count


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes", [2, 5])
def test_it_is_confident_learning_by_a_plain_loop(seed, n_classes):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.full(n_classes, 0.5), 80)
    targets = np.where(rng.random(80) < 0.7, proba.argmax(axis=1), rng.integers(n_classes, size=80))
    suggested, confidence, wrong = judge_labels(proba, targets)
    count = off_diagonal(proba, targets)
    own = [p[t] for p, t in zip(proba, targets, strict=True)]
    best = [
        max((k for k in range(n_classes) if k != t), key=lambda k: p[k]) for p, t in zip(proba, targets, strict=True)
    ]
    doubtful = sorted((i for i in range(80) if proba[i, best[i]] > own[i]), key=lambda i: own[i])
    assert confidence.tolist() == own
    assert suggested.tolist() == best
    assert np.flatnonzero(wrong).tolist() == sorted(doubtful[:count])
    assert 0 < count < 80


def test_flipped_labels_are_found_with_their_class():
    texts, labels = rows(60)
    noisy = list(labels)
    for i in (4, 17, 33):
        noisy[i] = "abc"[("abc".index(labels[i]) + 1) % 3]
    found = label_errors(tfidf(), texts, noisy)
    assert sorted(found.rows["row"]) == [4, 17, 33]
    for row in found.rows.to_dict("records"):
        assert (row["text"], row["given"], row["suggested"]) == (
            texts[row["row"]],
            noisy[row["row"]],
            labels[row["row"]],
        )
        assert row["probability"] < row["suggested probability"]
    assert found.rows["probability"].is_monotonic_increasing
    assert (len(found.conflicts), found.unjudged, found.n) == (0, [], 60)


def test_the_probabilities_are_of_rows_that_were_held_out(watched):
    texts, labels = rows(30)
    label_errors(watched, texts, labels, cv=5)
    assert len(watched.seen) == 5
    assert sorted(text for _, asked in watched.seen for text in asked) == sorted(texts)
    for fitted, asked in watched.seen:
        assert not set(fitted) & set(asked)
        assert sorted(fitted + asked) == sorted(texts)
        assert sorted(labels[texts.index(text)] for text in asked) == ["a", "a", "b", "b", "c", "c"]


def test_equal_texts_stay_in_one_fold(watched):
    texts, labels = rows(30)
    texts += [f" {texts[0]}", texts[1].replace(" ", "  "), texts[0]]
    label_errors(watched, texts, [*labels, labels[0], labels[1], labels[0]])
    for fitted, asked in watched.seen:
        assert not {" ".join(text.split()) for text in fitted} & {" ".join(text.split()) for text in asked}


def test_equal_texts_with_different_labels_are_named_apart():
    texts, labels = rows(60)
    texts, noisy = [*texts, texts[0], texts[1] + " "], [*labels, "c", "b"]
    found = label_errors(tfidf(), texts, noisy)
    assert found.conflicts.to_dict("records") == [
        {"text": texts[0], "rows": (0, 60), "labels": ("a", "c"), "suggested": "a"}
    ]
    assert not {0, 60} & set(found.rows["row"])


def test_a_class_with_a_single_text_is_not_judged(watched):
    texts, labels = rows(30)
    texts, labels = [*texts, "odd", "odd ", "other"], [*labels, "rare", "rare", "rarest"]
    found = label_errors(watched, texts, labels)
    assert found.unjudged == ["rare", "rarest"]
    assert not any("odd" in text or "other" in text for part in watched.seen for one in part for text in one)
    assert str(found).endswith("Not judged, since they have a single text: 'rare', 'rarest'")
    assert found.n == 33


def test_a_class_with_two_texts_is_known_to_each_fold(watched):
    texts, labels = rows(30)
    label_errors(watched, [*texts, "odd", "even"], [*labels, "rare", "rare"], cv=5)
    for fitted, asked in watched.seen:
        assert len({"odd", "even"} & set(asked)) < 2
        assert {"odd", "even"} & set(fitted)


def test_the_seed_decides():
    texts, labels = rows(40)
    noisy = ["a" if i % 7 == 0 else label for i, label in enumerate(labels)]
    one, again, other = (label_errors(tfidf(), texts, noisy, random_state=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one.rows, again.rows)
    assert not one.rows["probability"].equals(other.rows["probability"])


def test_any_container_and_class():
    texts, labels = rows(40)
    numbers = ["abc".index(label) for label in labels]
    numbers[3] = 1
    wanted = label_errors(tfidf(), texts, numbers)
    assert wanted.rows["row"].tolist() == [3]
    assert type(wanted.rows["suggested"].tolist()[0]) is int
    for X, y in ((np.array(texts), np.array(numbers)), (pd.Series(texts), pd.Series(numbers))):
        pd.testing.assert_frame_equal(label_errors(tfidf(), X, y).rows, wanted.rows)
    frame = pd.DataFrame({"text": texts}, index=range(100, 140))
    ours = Classifier(HashEncoder(), strategy=Embedding())
    found = label_errors(ours, frame, labels)
    assert isinstance(found, LabelErrors)
    assert not hasattr(ours, "classes_")  # a clone was fitted


def test_it_prints():
    texts, labels = rows(60)
    texts[5] = "<b>cat</b> dog\x1b[31m cow " + "long " * 30
    labels[5] = "b"
    found = label_errors(tfidf(), [*texts, texts[8]], [*labels, "a"])
    lines = str(found).splitlines()
    assert lines[0] == f"{len(found.rows)} of 61 labels are probably wrong"
    assert lines[2].split() == ["row", "given", "suggested", "probability", "of", "the", "suggested", "text"]
    assert lines[3].split()[:3] == ["5", "b", "c"]
    assert max(map(len, lines)) < 130
    assert "1 texts occur with different labels" in str(found)
    assert "\x1b" not in str(found)
    html = found._repr_html_()
    assert "&lt;b&gt;cat" in html
    assert "<b>" not in html


class TestBadInput:
    def test_too_few_texts(self):
        for texts, labels in ((["x", "y"], ["a", "a"]), (["x", "y"], ["a", "b"]), (["x", "x", "y", "z"], [1, 1, 2, 2])):
            with pytest.raises(InputError, match=r"Only [01] of the .*two different texts.* Give at least two"):
                label_errors(tfidf(), texts, labels)

    def test_what_gives_no_probabilities(self):
        texts, labels = rows()
        with pytest.raises(UnsupportedError, match=r"a classifier with fit and predict_proba. Got Pipeline"):
            label_errors(make_pipeline(TfidfVectorizer(), LinearSVC()), texts, labels)
        with pytest.raises(UnsupportedError, match="clf must be a classifier of texts"):
            label_errors(LogisticRegression, texts, labels)

    def test_several_labels(self):
        with pytest.raises(UnsupportedError, match="y must be one class a text here"):
            label_errors(tfidf(), TEXTS[:3], np.eye(3, dtype=int))

    def test_numbers(self):
        for cv in (1, 2.5, None):
            with pytest.raises(InputError, match="cv must be an integer of at least 2"):
                label_errors(tfidf(), TEXTS, LABELS, cv=cv)


def test_the_blocks_of_the_page_print_what_they_say():
    page = (Path(__file__).resolve().parent.parent / "docs/labelling.md").read_text(encoding="utf-8")
    start = page.index("## Wrong labels")
    end = page.find("\n## ", start)
    source = "\n".join(
        re.findall(r"^```python\n(.*?)^```", page[start : end if end > 0 else None], re.DOTALL | re.MULTILINE)
    )
    test = doctest.DocTestParser().get_doctest(source, {}, "labelling.md", "labelling.md", 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append)
    assert runner.tries > 3
    assert not runner.failures, "".join(report)
