"""Comparisons: differences of pairs on the same rows, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import InputError, UnsupportedError
from fewshot.evaluation import Comparison, compare, evaluate
from tests.recorded import METRICS, Plain, Recorded, frames_equal, reference, simulated, written

pytestmark = pytest.mark.long


class TestCompare:
    def pair(self, n=400, gain=0.0, seed=0):
        """Two classifiers that are right on mostly the same rows, the second more often by the gain."""
        rng = np.random.default_rng(seed)
        hard = rng.random(n)
        right = np.stack([hard + 0.05 * rng.standard_normal(n) < share for share in (0.7, 0.7 + gain)])
        proba = np.where(right, 0.8, 0.3)
        texts = written(*(np.stack([p, 1 - p], axis=1) for p in proba))
        return {"first": Recorded(("a", "b"), 0), "second": Recorded(("a", "b"), 1)}, texts, ["a"] * n

    @pytest.mark.parametrize("metric", METRICS[:-1])
    def test_a_difference_that_separate_intervals_hide(self, metric):
        result = compare(*self.pair(gain=0.05), metric=metric)
        (pair,) = result.pairs.to_dict("records")
        assert (pair["a"], pair["b"], pair["beats"]) == ("second", "first", True)
        assert 0 < pair["low"] < pair["difference"] < pair["high"]
        assert pair["better"] > 0.99
        values = result.values
        assert values.index.tolist() == ["second", "first"]
        assert values["low"].max() < values["high"].min()
        unit = "points" if metric in ("accuracy", "macro-F1") else f"of {metric}"
        statement = str(result).splitlines()[1]
        assert statement.startswith("second beats first by ")
        assert f" {unit} [" in statement

    def test_no_difference_is_not_called_one(self):
        """Of 100 pairs of equals, about one in twenty is called different, in either direction."""
        results = [compare(*self.pair(200, seed=seed), n_bootstrap=300) for seed in range(100)]
        assert sum(one.pairs["beats"].item() for one in results) <= 10
        quiet = next(one for one in results if not one.pairs["beats"].item())
        assert str(quiet).splitlines()[1].startswith("no difference shown between ")

    def test_a_classifier_does_not_beat_itself(self):
        proba, labels = simulated(50)
        clfs = {"one": Recorded(), "two": Recorded()}
        for metric in METRICS[:-1]:
            (pair,) = compare(clfs, written(proba), labels, metric=metric).pairs.to_dict("records")
            assert pair == {
                **{"a": "one", "b": "two", "difference": 0, "low": 0, "high": 0},
                **{"better": 0.5, "beats": False},
            }

    def test_rounding_is_no_difference(self):
        proba, labels = simulated(50)
        texts = written(proba, proba * (1 - 1e-13))
        result = compare({"one": Recorded(part=0), "two": Recorded(part=1)}, texts, labels, metric="log loss")
        assert not result.pairs["beats"].item()

    @pytest.mark.parametrize("metric", METRICS[:-1])
    def test_it_is_what_a_plain_loop_says(self, metric):
        first, labels = simulated(40, seed=1)
        second = simulated(40, seed=1, sharpness=0.5)[0][:, [1, 0, 2]]
        clfs = {"one": Recorded(part=0), "two": Recorded(part=1)}
        result = compare(clfs, written(first, second), labels, metric=metric, n_bootstrap=50, random_state=4)
        rng = np.random.RandomState(4)
        sign = 1 if metric in ("accuracy", "macro-F1") else -1
        gaps = []
        for _ in range(50):
            rows = rng.randint(40, size=40)
            one, two = (reference(metric, [labels[i] for i in rows], p[rows], list("abc")) for p in (first, second))
            gaps.append(sign * (one - two))
        (pair,) = result.pairs.to_dict("records")
        if pair["a"] == "two":
            gaps = [-gap for gap in gaps]
        assert [pair["low"], pair["high"]] == pytest.approx(np.quantile(gaps, [0.025, 0.975]))
        assert pair["better"] == pytest.approx(np.mean([(gap > 1e-12) + (abs(gap) <= 1e-12) / 2 for gap in gaps]))
        alone = evaluate(clfs["two"], written(first, second), labels, n_bootstrap=50, random_state=4)
        assert result.values.loc["two"].tolist() == pytest.approx(alone.metrics.loc[metric].tolist())

    def test_every_pair_best_first(self):
        proba, labels = simulated(90)
        parts = [proba[:, [1, 2, 0]], proba, np.full_like(proba, 1 / 3)]
        clfs = {name: Recorded(part=i) for i, name in enumerate(["worst", "best", "even"])}
        result = compare(clfs, written(*parts), labels, metric="log loss")
        assert result.pairs[["a", "b"]].to_numpy().tolist() == [["best", "even"], ["best", "worst"], ["even", "worst"]]
        assert len(str(result).splitlines()) == 4
        frames_equal(Comparison.from_json(result.to_json()), result)
        assert "worst" in result._repr_html_()

    def test_classifiers_of_different_classes(self):
        proba, labels = simulated(60, 2)
        wide = np.concatenate([np.zeros((60, 1)), proba], axis=1)
        clfs = {"two": Recorded(("a", "b"), 0), "three": Recorded(("z", "a", "b"), 1)}
        for metric in METRICS[:-1]:
            assert compare(clfs, written(proba, wide), labels, metric=metric).pairs["difference"].item() == 0

    def test_bad_input(self):
        clfs, texts, labels = self.pair(10)
        with pytest.raises(InputError, match=r"at least 2\. Got 1"):
            compare({"one": clfs["first"]}, texts, labels)
        with pytest.raises(InputError, match=r"at least 2\. Got list"):
            compare(list(clfs.values()), texts, labels)
        with pytest.raises(InputError, match=r"metric must be one of 'accuracy', .* Got 'ECE'"):
            compare(clfs, texts, labels, metric="ECE")
        with pytest.raises(InputError, match=r"name of a classifier must be a string\. Got 1"):
            compare({1: clfs["first"], 2: clfs["second"]}, texts, labels)
        with pytest.raises(UnsupportedError, match="'third' has no predict_proba, which 'Brier' needs"):
            compare({**clfs, "third": Plain(("a", "b"))}, texts, labels, metric="Brier")
        with pytest.raises(UnsupportedError, match=r"'third' must be a classifier of texts.* Got None"):
            compare({**clfs, "third": None}, texts, labels)
        compare({**clfs, "third": Plain(("a", "b"))}, texts, labels)
