"""Learning curves: nested draws, apart from the rows that are tested on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, ConformalClassifier, Embedding, FakeLM, InputError, Prompting, UnsupportedError
from fewshot.evaluation import LearningCurve, evaluate, learning_curve
from tests.contract import HashEncoder, keyword_scores
from tests.recorded import LABELS, METRICS, TEXTS, Recorded, frames_equal, tfidf

pytestmark = pytest.mark.long


class Spy(Recorded):
    """Remembers what it was fitted on."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):
        Spy.seen.append((list(X), list(y)))
        self.fitted_ = True
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes)), 1 / len(self.classes))


class TestLearningCurve:
    def test_draws_are_nested_balanced_and_apart_from_the_test_part(self):
        Spy.seen = []
        clf = Spy(tuple(sorted(set(LABELS))))
        curve = learning_curve(clf, TEXTS, LABELS, shots=[4, 1, 2], draws=3)
        assert curve.draws[["shots", "draw"]].to_numpy().tolist() == [[s, d] for s in (1, 2, 4) for d in range(3)]
        by = dict(zip([(s, d) for s in (1, 2, 4) for d in range(3)], Spy.seen, strict=True))
        for (size, draw), (texts, labels) in by.items():
            assert {name: labels.count(name) for name in set(LABELS)} == dict.fromkeys(LABELS, size)
            assert labels[:6] == sorted(set(LABELS))  # one of each class after the other
            assert texts == by[4, draw][0][: 6 * size]
            assert all(LABELS[TEXTS.index(t)] == label for t, label in zip(texts, labels, strict=True))
        assert len({tuple(by[4, draw][0]) for draw in range(3)}) == 3
        assert curve.n_test == 120
        assert len({text for texts, _ in Spy.seen for text in texts}) <= 120

    def test_a_language_model_scores_each_prompt_once(self):
        asked = []
        lm = FakeLM(lambda query: asked.append(query) or keyword_scores(query))
        clfs = {
            "zero": Classifier(lm, strategy=Prompting()),
            "calibrated": Classifier(lm, strategy=Prompting(calibration="learned")),
            "shown": Classifier(lm, strategy=Prompting(shots=2, selection="first")),
            "sets": ConformalClassifier(Classifier(lm, strategy=Prompting()), alpha=0.3, random_state=0),
        }
        curve = learning_curve(clfs, TEXTS, LABELS, shots=[0, 2, 4], draws=2)
        assert len(asked) == len(set(asked))
        plain = [query for query in asked if not query.context]
        assert len(plain) <= len(TEXTS)
        counts = curve.draws.groupby("name", sort=False).size().to_dict()
        assert counts == {"zero": 5, "calibrated": 4, "shown": 4, "sets": 4}
        zero = curve.draws[curve.draws.name == "zero"]
        assert zero["accuracy"].nunique() == 1  # it learns nothing from labels
        alone = learning_curve(clfs["shown"], TEXTS, LABELS, shots=[2], draws=2)
        shared = curve.draws[(curve.draws.name == "shown") & (curve.draws.shots == 2)]
        assert alone.draws["log loss"].tolist() == shared["log loss"].tolist()
        assert set(curve.skipped["shots"]) == {0}
        assert clfs["zero"].model is lm  # type: ignore[attr-defined]
        assert not hasattr(clfs["zero"], "model_")

    def test_the_fits_are_those_by_hand(self):
        """An encoder, all rows of the pool, and the same held-out part."""
        curve = learning_curve(
            Classifier(HashEncoder(), strategy=Embedding()), TEXTS, LABELS, shots=[0, 8], draws=1, random_state=3
        )
        rng = np.random.RandomState(3)
        from sklearn.model_selection import train_test_split

        pool, test = train_test_split(range(240), test_size=0.5, random_state=rng, stratify=LABELS)
        order = [rng.permutation([i for i in pool if LABELS[i] == name])[:8] for name in sorted(set(LABELS))]
        train = np.stack(order, axis=1).ravel()
        clf = Classifier(HashEncoder(), strategy=Embedding())
        held_out = [TEXTS[i] for i in test], [LABELS[i] for i in test]
        for shots, fitted in [
            (0, clf.fit(None, sorted(set(LABELS)))),
            (
                8,
                Classifier(HashEncoder(), strategy=Embedding()).fit(
                    [TEXTS[i] for i in train], [LABELS[i] for i in train]
                ),
            ),
        ]:
            row = curve.draws[curve.draws.shots == shots].iloc[0]
            wanted = evaluate(fitted, *held_out, n_bootstrap=1).metrics["value"]
            assert row[METRICS].tolist() == pytest.approx(wanted.tolist())

    def test_other_classifiers_have_no_zero_and_what_fails_is_told(self):
        clfs = {
            "tfidf": tfidf(),
            "folds": CalibratedClassifierCV(tfidf(), cv=3),
            "svm": make_pipeline(TfidfVectorizer(), LinearSVC()),
        }
        curve = learning_curve(clfs, TEXTS, LABELS, shots=(0, 2, 8, 20, 40), draws=2)
        found = curve.draws.groupby(["name", "shots"], sort=False).size().to_dict()
        fits = [*((name, size) for name in ("tfidf", "svm") for size in (2, 8, 20)), ("folds", 8), ("folds", 20)]
        assert found == dict.fromkeys(fits, 2)
        reasons = {
            (row["name"], row["shots"]): (row["draws"], row["reason"]) for row in curve.skipped.to_dict("records")
        }
        assert reasons["tfidf", 0] == (1, "Pipeline learns from labelled texts only")
        assert reasons["tfidf", 40] == (2, "the class 'billing' has 20 rows that are not held out")
        assert reasons["folds", 2][0] == 2
        assert reasons["folds", 2][1].startswith("ValueError: ")
        for name, _ in reasons:
            assert f"left out: {name} at" in str(curve)
        means = curve.summary()
        assert means["accuracy", "mean"]["tfidf"].is_monotonic_increasing
        assert curve.draws[curve.draws.name == "svm"]["log loss"].isna().all()
        frames_equal(LearningCurve.from_json(curve.to_json()), curve)

    def test_summary(self):
        curve = learning_curve(tfidf(), TEXTS, LABELS, shots=[2, 4], draws=4)
        summary = curve.summary()
        assert summary.index.tolist() == [("Pipeline", 2), ("Pipeline", 4)]
        values = curve.draws[curve.draws.shots == 4]["macro-F1"].to_numpy()
        assert summary.loc[("Pipeline", 4), ("macro-F1", "mean")] == pytest.approx(values.mean())
        assert summary.loc[("Pipeline", 4), ("macro-F1", "std")] == pytest.approx(values.std(ddof=1))
        lines = str(curve).splitlines()
        assert lines[1].split()[:4] == ["name", "shots", "draws", "accuracy"]
        assert lines[2].split()[:3] == ["Pipeline", "2", "4"]
        assert "±" in lines[2]
        assert "macro-F1" in curve._repr_html_()

    def test_the_seed_decides(self):
        first, again, other = (
            learning_curve(tfidf(), TEXTS, LABELS, shots=[2], draws=2, random_state=seed).draws.drop(columns="seconds")
            for seed in (0, 0, 1)
        )
        pd.testing.assert_frame_equal(first, again)
        assert not first.equals(other)

    def test_integer_classes_and_round_trip(self):
        numbers = [sorted(set(LABELS)).index(label) for label in LABELS]
        curve = learning_curve(tfidf(), TEXTS, np.array(numbers), shots=[2], draws=2)
        by_name = learning_curve(tfidf(), TEXTS, LABELS, shots=[2], draws=2)
        assert curve.draws["accuracy"].tolist() == by_name.draws["accuracy"].tolist()
        frames_equal(LearningCurve.from_json(curve.to_json()), curve)
        assert curve.skipped.columns.tolist() == ["name", "shots", "draws", "reason"]
        assert curve.skipped.empty

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
    def test_a_frame_stays_one_for_a_pipeline_that_picks_columns(self, make):
        X = make({"title": [text[:20] for text in TEXTS], "body": TEXTS})
        columns = ColumnTransformer([(name, CountVectorizer(), name) for name in ("title", "body")])
        curve = learning_curve(make_pipeline(columns, LogisticRegression()), X, LABELS, shots=[4], draws=1)
        assert len(curve.draws) == 1

    def test_bad_input(self):
        for shots in ([], [-1], [1.5], "2", ["2"]):
            with pytest.raises(InputError, match="shots must be integers of at least 0"):
                learning_curve(tfidf(), TEXTS, LABELS, shots=shots)
        for draws in (0, 2.5, None):
            with pytest.raises(InputError, match="draws must be an integer of at least 1"):
                learning_curve(tfidf(), TEXTS, LABELS, draws=draws)
        for size in (0.0, 1.5, 240, 3):
            with pytest.raises(InputError, match=f"can't be split with test_size={size}"):
                learning_curve(tfidf(), TEXTS, LABELS, test_size=size)
        with pytest.raises(InputError, match="can't be split"):
            learning_curve(tfidf(), [*TEXTS, "odd"], [*LABELS, "odd"])
        with pytest.raises(InputError, match=r"at least 1\. Got 0"):
            learning_curve({}, TEXTS, LABELS)
        with pytest.raises(InputError, match=r"Not a single fit was possible:\n- Pipeline at 0 shots: Pipeline learns"):
            learning_curve(tfidf(), TEXTS, LABELS, shots=[0, 100])
        with pytest.raises(UnsupportedError, match="must be a classifier"):
            learning_curve(Classifier, TEXTS, LABELS)
