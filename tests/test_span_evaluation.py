"""Predicted spans against true ones: the counts of a plain loop, intervals of plain resamples, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot import InputError, ParameterError, Span
from fewshot.errors import NotInstalledError
from fewshot.evaluation.spans import SpanEvaluation, entity_f1, evaluate_spans
from fewshot.task.tags import read_tags
from tests.recorded import frames_equal

METRICS = ["precision", "recall", "f1", "boundary precision", "boundary recall", "boundary f1"]
CITY, PERSON = Span(0, 4, "city"), Span(5, 8, "person")


def as_spans(tags):
    """Each word has two characters and a blank after it."""
    return [Span(3 * first, 3 * after - 1, label) for first, after, label in read_tags(tags, "IOB2")]


def simulated(n, seed=0):
    """Tags of n sentences, and others that often agree with them."""
    rng = np.random.RandomState(seed)
    letters = np.array(["O", "B-x", "I-x", "B-y", "I-y"])
    true = [rng.choice(letters, p=[0.5, 0.2, 0.1, 0.1, 0.1], size=rng.randint(0, 9)).tolist() for _ in range(n)]
    return true, [[tag if rng.rand() < 0.7 else str(rng.choice(letters)) for tag in row] for row in true]


def count_by_words(true, predicted, with_label=True):
    """Right, predicted and true spans, from the tags alone: where one begins, and how far its I- tags go."""

    def spans(tags):
        found = []
        for i, tag in enumerate(tags):
            kind = tag[2:]
            before = tags[i - 1][2:] if i else ""
            if tag != "O" and (tag[0] == "B" or before != kind):
                after = i + 1
                while after < len(tags) and tags[after] == f"I-{kind}":
                    after += 1
                found.append((i, after, kind if with_label else ""))
        return found

    counts = [0, 0, 0]
    for one, other in zip(true, predicted, strict=True):
        there, said = spans(one), spans(other)
        counts[0] += sum(span in there for span in said)
        counts[1] += len(said)
        counts[2] += len(there)
    return counts


def ratios(right, said, there):
    precision, recall = right / said if said else 0.0, right / there if there else 0.0
    return [precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0]


class TestValues:
    @pytest.mark.parametrize("seed", range(5))
    def test_they_are_those_of_a_plain_loop(self, seed):
        true, predicted = simulated(40, seed)
        spans = [as_spans(tags) for tags in true], [as_spans(tags) for tags in predicted]
        result = evaluate_spans(*spans, n_bootstrap=2)
        wanted = ratios(*count_by_words(true, predicted)) + ratios(*count_by_words(true, predicted, False))
        assert result.metrics.index.tolist() == METRICS
        assert result.metrics["value"].tolist() == pytest.approx(wanted, abs=1e-12)
        assert entity_f1(*spans) == pytest.approx(wanted[2], abs=1e-12)
        for name in "xy":
            own = [[[tag if tag[2:] == name else "O" for tag in row] for row in rows] for rows in (true, predicted)]
            right, said, there = count_by_words(*own)
            assert result.types.loc[name].tolist() == pytest.approx([*ratios(right, said, there), there], abs=1e-12)

    @given(st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y"]), max_size=6))
    def test_what_is_all_right_is_1(self, tags):
        spans = [as_spans(tags)]
        assert entity_f1(spans, spans) == (1.0 if spans[0] else 0.0)

    def test_by_hand(self):
        true, predicted = [[CITY, PERSON], []], [[CITY, Span(5, 8, "city")], [Span(0, 2, "city")]]
        result = evaluate_spans(true, predicted, n_bootstrap=2)
        assert result.metrics["value"].tolist() == pytest.approx([1 / 3, 1 / 2, 0.4, 2 / 3, 1, 0.8])
        assert result.types.loc["city"].tolist() == pytest.approx([1 / 3, 1, 0.5, 1])
        assert result.types.loc["person"].tolist() == [0, 0, 0, 1]
        assert result.n == 2

    def test_without_any_span_all_is_0(self):
        assert entity_f1([], []) == 0
        result = evaluate_spans([[], []], [[], []], n_bootstrap=5)
        assert (result.metrics == 0).all(axis=None)
        assert len(result.types) == 0
        assert "2 texts" in str(result)

    def test_texts_let_spans_be_of_any_form(self):
        tags = ["B-city", "O"]
        result = evaluate_spans([tags, ["O"]], [[(0, 4, "city")], []], [["Rome", "fell"], ["x"]], n_bootstrap=2)
        assert result.metrics.loc["f1", "value"] == 1


class TestIntervals:
    def test_they_are_percentiles_over_texts_drawn_again(self):
        true, predicted = simulated(30)
        result = evaluate_spans(
            [as_spans(tags) for tags in true],
            [as_spans(tags) for tags in predicted],
            n_bootstrap=400,
            level=0.8,
            random_state=3,
        )
        drawn = np.random.RandomState(3).randint(30, size=(400, 30))
        again = [count_by_words([true[i] for i in rows], [predicted[i] for i in rows]) for rows in drawn]
        wanted = np.quantile([ratios(*counts) for counts in again], [0.1, 0.9], axis=0).T
        assert result.metrics.loc[METRICS[:3], ["low", "high"]].to_numpy() == pytest.approx(wanted, abs=1e-12)

    def test_they_go_through_json_and_print(self):
        true, predicted = simulated(10)
        result = evaluate_spans(*([as_spans(tags) for tags in rows] for rows in (true, predicted)), n_bootstrap=10)
        again = SpanEvaluation.from_json(result.to_json())
        frames_equal(again, result)
        assert str(again) == str(result)
        assert "boundary recall" in str(result)
        assert "<table" in result._repr_html_()


class TestFaults:
    @pytest.mark.parametrize(
        ("true", "predicted", "message"),
        [
            ([[CITY]], [[CITY], []], "true has 1 rows and predicted has 2: they must be of one length"),
            ([[]], [[(0, 4, "city")]], r"predicted\[0\] has \(0, 4, 'city'\), which is no Span: give the texts"),
            ([["B-city"]], [[]], r"true\[0\] has 'B-city', which is no Span"),
            ([], [], "true is empty: give the spans of at least one text"),
        ],
    )
    def test_of_rows(self, true, predicted, message):
        with pytest.raises(InputError, match=message):
            evaluate_spans(true, predicted)

    @pytest.mark.parametrize("wrong", [{"n_bootstrap": 0}, {"level": 1}])
    def test_of_parameters(self, wrong):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            evaluate_spans([[CITY]], [[CITY]], **wrong)

    def test_without_pandas(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(NotInstalledError, match="pandas"):
            evaluate_spans([[CITY]], [[CITY]])
