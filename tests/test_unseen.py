"""What no score shows while it goes wrong: how many folds, which rows, what marks a row, how much at once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fewshot import Auto, Classifier, Contrastive, FakeLM, Prompting, SentenceEncoder
from fewshot.calibration import Batch
from fewshot.errors import InputError
from fewshot.heads.logistic import make_folds
from fewshot.inputs import as_labels
from fewshot.models.base import Query
from fewshot.models.local import cut_into_chunks
from tests.conftest import sentence_model


@pytest.mark.parametrize(("n_classes", "expected"), [(2, 5), (20, 5), (21, 3)])
def test_many_classes_are_folded_three_times(n_classes, expected):
    targets = np.eye(n_classes, dtype=np.int64)[np.arange(6 * n_classes) % n_classes]
    vectors = np.random.RandomState(0).standard_normal((len(targets), 3))
    problem = SimpleNamespace(targets=targets, several=False, Z=vectors)
    assert len(make_folds(problem, 0)) == expected


def test_the_folds_of_auto_tune_less_than_the_final_fit():
    X = [f"{word} number {i}" for i in range(6) for word in ("refund", "thanks")]
    y = ["billing", "praise"] * 6
    clf = Classifier(SentenceEncoder(sentence_model()), strategy=Auto(), random_state=0).fit(X, y)
    tried = {one.name: one.strategy for one in clf.strategy_.report_.candidates}
    assert tried["tuned encoder, label names"].tuning.get_params() == Contrastive(4, layers=2).get_params()
    assert Contrastive().get_params() != Contrastive(4, layers=2).get_params()


def test_a_calibration_learns_from_rows_that_are_drawn():
    X = [f"text {i}" for i in range(60)]

    def asked(seed):
        seen = []

        def score(query):
            seen.append(query.prefix)
            return [0.0, -1.0]

        strategy = Prompting(calibration=Batch(max_texts=10))
        Classifier(FakeLM(score), "{{ text }} {{ label }}", {"a": "a", "b": "b"}, strategy, random_state=seed).fit(X)
        return sorted({int(prefix.split()[1]) for prefix in seen})

    first, second = asked(0), asked(1)
    assert len(first) == len(second) == 10
    assert first != second
    assert first not in (list(range(10)), list(range(50, 60)))
    assert max(first) >= 10


def test_only_the_marks_themselves_are_unlabelled():
    assert as_labels([1.0, -1.0, None], 3, unlabelled=[None, -1]) == [1.0, -1.0, None]
    assert as_labels([True, False, None], 3, unlabelled=[None, 1, 0]) == [True, False, None]
    assert as_labels(["a", -1, None], 3, unlabelled=[None, -1]) == ["a", None, None]
    with pytest.raises(InputError, match=r"y\[1\] is nan"):
        as_labels(["a", float("nan")], 2, unlabelled=[None, -1])


def test_what_is_planned_at_once_counts_every_candidate():
    few, many = ([Query("x" * 84, tuple(map(str, range(n)))) for _ in range(12)] for n in (1, 6))
    assert [len(part) for part in cut_into_chunks(few, 600)] == [6, 6]
    assert [len(part) for part in cut_into_chunks(many, 600)] == [1] * 12
