"""evaluate, compare and learning_curve of taggers, against plain loops; supports; what is no tagger beside one."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fewshot import Classifier, FakeLM, InputError, ParameterError, Span, Tagger, UnsupportedError, load
from fewshot.evaluation import LearningCurve, compare, draw_support, evaluate, evaluate_spans, learning_curve
from fewshot.plotting import LearningCurveDisplay
from tests.conftest import sentence_model
from tests.recorded import frames_equal
from tests.test_tagger import SPANS, TAGS, TEXTS, TOKENS

NAMES = ["Ada", "Bob", "Eve", "Tom", "Mia", "Leo", "Ida", "Max"]
MANY = [
    f"{NAMES[i % 8]} saw {NAMES[(3 * i + 1) % 8]} {i} times." if i % 4 else f"It rained {i} times." for i in range(24)
]
OF_MANY = [[Span(0, 3, "a"), Span(8, 11, "b" if i % 3 else "c")] if i % 4 else [] for i in range(24)]


class Guesser(BaseEstimator):
    """Every name but the first ones is of type a; remembers what it was fitted on."""

    seen: list = []  # noqa: RUF012

    def __init__(self, skip=0):
        self.skip = skip

    def fit(self, X, y):
        if X is None:
            raise UnsupportedError("annotate some texts")
        Guesser.seen.append((X, y))
        return self

    def predict(self, X):
        return self.predict_spans(X)

    def predict_spans(self, X):
        texts = [text if isinstance(text, str) else " ".join(text) for text in X]
        return [
            [Span(at, at + 3, "a") for name in NAMES[self.skip :] if (at := text.find(name)) >= 0] for text in texts
        ]


@pytest.fixture(scope="module")
def tagger():
    return Tagger(load(sentence_model())).fit(TEXTS, SPANS)


def f1(true, found, ratio=2, with_label=True):
    """From pairs of text number and span, in one set each."""
    sets = [
        {(i, s.start, s.end, s.label if with_label else "") for i, row in enumerate(rows) for s in row}
        for rows in (true, found)
    ]
    right, said, there = len(sets[0] & sets[1]), len(sets[1]), len(sets[0])
    return [right / max(said, 1), right / max(there, 1), 2 * right / max(said + there, 1)][ratio]


WAYS = {"entity F1": (2, True), "boundary F1": (2, False), "precision": (0, True), "recall": (1, True)}


class TestEvaluate:
    @pytest.mark.parametrize(
        ("X", "y"),
        [
            (TEXTS, SPANS),
            (TEXTS, [{"entities": own} for own in SPANS]),
            (TEXTS, [[{"start": a, "end": b, "label": label} for a, b, label in own] for own in SPANS]),
            (TOKENS, TAGS),
        ],
    )
    def test_it_is_evaluate_spans_of_what_is_predicted(self, tagger, X, y):
        found = evaluate(tagger, X, y, n_bootstrap=20, random_state=3)
        wanted = evaluate_spans(y, tagger.predict_spans(X), X, n_bootstrap=20, random_state=3)
        frames_equal(found, wanted)
        assert found.metrics.loc["f1", "value"] == tagger.score(X, y)

    def test_of_docs_no_y_is_needed(self, tagger):
        ents = [[SimpleNamespace(start_char=a, end_char=b, label_=label) for a, b, label in own] for own in SPANS]
        docs = [SimpleNamespace(text=text, ents=own) for text, own in zip(TEXTS, ents, strict=True)]
        assert evaluate(tagger, docs, None, n_bootstrap=5).metrics.loc["f1", "value"] == 1.0

    def test_whoever_finds_spans_is_measured(self):
        found = evaluate(Guesser(), MANY, OF_MANY, n_bootstrap=5)
        said = Guesser().predict_spans(MANY)
        assert found.metrics.loc["f1", "value"] == pytest.approx(f1(OF_MANY, said))
        assert found.metrics.loc["boundary f1", "value"] == 1.0

    @pytest.mark.parametrize(
        ("said", "message"),
        [([[]], "Odd predicts the spans of 1 texts. It was given 4"), ([[(0, 3, "a")]] * 4, "must predict lists of")],
    )
    def test_what_is_no_prediction(self, said, message):
        class Odd(Guesser):
            def predict_spans(self, X):
                return said

        with pytest.raises(InputError, match=message):
            evaluate(Odd(), TEXTS, SPANS)

    def test_the_card_shows_it(self, tagger, tmp_path):
        found = evaluate(tagger, TEXTS, SPANS, n_bootstrap=5)
        card = (tagger.save(tmp_path / "kept", metrics=found) / "README.md").read_text()
        assert f"## Metrics\n\n```\n{found}\n```" in card


class TestCompare:
    @pytest.mark.parametrize("metric", [None, *WAYS])
    def test_intervals_are_of_texts_drawn_again(self, metric):
        own = {"few": Guesser(skip=4), "all": Guesser()}
        found = compare(own, MANY, OF_MANY, metric=metric, n_bootstrap=100, level=0.8, random_state=5)
        ratio, labelled = WAYS[metric or "entity F1"]
        said = {name: one.predict_spans(MANY) for name, one in own.items()}
        drawn = np.random.RandomState(5).randint(len(MANY), size=(100, len(MANY)))
        values = {
            name: [f1([OF_MANY[i] for i in rows], [one[i] for i in rows], ratio, labelled) for rows in drawn]
            for name, one in said.items()
        }
        assert found.metric == (metric or "entity F1")
        assert found.n == len(MANY)
        for name, one in said.items():
            row = found.values.loc[name]
            assert row["value"] == pytest.approx(f1(OF_MANY, one, ratio, labelled))
            assert [row["low"], row["high"]] == pytest.approx(np.quantile(values[name], [0.1, 0.9]).tolist())
        (pair,) = found.pairs.to_dict("records")
        gaps = np.array(values[pair["a"]]) - values[pair["b"]]
        assert [pair["low"], pair["high"]] == pytest.approx(np.quantile(gaps, [0.1, 0.9]).tolist())

    def test_the_better_one_beats(self):
        found = compare({"few": Guesser(skip=4), "all": Guesser()}, MANY * 4, OF_MANY * 4)
        assert str(found).splitlines()[1].startswith("all beats few by")
        assert "points" in str(found)

    def test_what_can_not_be_compared(self):
        classifier = Classifier(FakeLM(lambda query: [0.0 for _ in query.candidates])).fit(None, ["x", "y"])
        with pytest.raises(UnsupportedError, match="'t' predict spans; 'c' predict classes"):
            compare({"t": Guesser(), "c": classifier}, MANY, OF_MANY)
        with pytest.raises(UnsupportedError, match="'t' predict spans; 'c' predict classes"):
            learning_curve({"t": Guesser(), "c": classifier}, MANY, OF_MANY)
        with pytest.raises(ParameterError, match="metric must be one of 'entity F1'"):
            compare({"a": Guesser(), "b": Guesser()}, MANY, OF_MANY, metric="accuracy")
        with pytest.raises(ParameterError, match="metric must be one of 'accuracy'"):
            compare({"a": classifier, "b": classifier}, ["x"], ["x"], metric="entity F1")


class TestSupports:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("shots", [1, 2, 5])
    def test_each_type_has_its_mentions_and_no_text_is_idle(self, seed, shots):
        rng = np.random.RandomState(seed)
        mentions = [rng.choice(list("abc"), p=[0.6, 0.3, 0.1], size=rng.randint(0, 4)).tolist() for _ in range(60)]
        drawn = draw_support(mentions, shots, seed)
        every = Counter(one for own in mentions for one in own)
        assert len(set(drawn)) == len(drawn)
        had = Counter()
        for i in drawn:  # each one brought a mention that lacked
            assert any(had[one] < shots for one in mentions[i])
            had.update(mentions[i])
        assert all(had[one] >= min(shots, every[one]) for one in every)
        assert drawn == draw_support(mentions, shots, seed)

    def test_without_mentions_there_is_nothing_to_draw(self):
        assert draw_support([[], []], 3) == []
        with pytest.raises(ParameterError, match="shots"):
            draw_support([["a"]], 0)


class TestCurve:
    def test_fits_are_on_supports_apart_from_the_held_out_texts(self):
        Guesser.seen = []
        curve = learning_curve(Guesser(), MANY, OF_MANY, shots=[2, 1], draws=3, random_state=1)
        assert list(curve.draws.columns) == ["name", "shots", "draw", *WAYS, "seconds"]
        assert curve.draws[["shots", "draw"]].to_numpy().tolist() == [[s, d] for s in (1, 2) for d in range(3)]
        assert curve.n_test == 12
        shown = {text for X, _ in Guesser.seen for text in X}
        for (X, y), size in zip(Guesser.seen, [1, 1, 1, 2, 2, 2], strict=True):
            counts = Counter(span.label for own in y for span in own)
            assert set(counts) == {"a", "b", "c"}
            assert min(counts.values()) >= size
            assert all(own == OF_MANY[MANY.index(text)] for text, own in zip(X, y, strict=True))
        test = [i for i, text in enumerate(MANY) if text not in shown]
        assert len(test) >= 12
        # what is held out is the same for all fits of an estimator that learns nothing
        assert curve.draws["entity F1"].nunique() == 1
        assert curve.draws["boundary F1"].tolist() == [1.0] * 6
        frames_equal(LearningCurve.from_json(curve.to_json()), curve)
        assert "entity F1" in str(curve)

    def test_zero_shots_and_too_many_are_left_out(self):
        curve = learning_curve({"a": Guesser()}, MANY, OF_MANY, shots=[0, 1, 50], draws=2)
        assert curve.skipped[["shots", "draws"]].to_numpy().tolist() == [[0, 1], [50, 2]]
        reasons = curve.skipped["reason"].tolist()
        assert reasons[0] == "UnsupportedError: annotate some texts"
        assert "no type has more than" in reasons[1]

    def test_a_tagger_learns_from_tokens_as_well(self, tagger):
        tokens, tags = TOKENS * 4, TAGS * 4
        curve = learning_curve(Tagger(tagger.model_), tokens, tags, shots=[1], draws=2)
        assert (curve.draws["entity F1"] > 0.3).all()
        Guesser.seen = []
        learning_curve(Guesser(), tokens, tags, shots=[1], draws=1)
        ((X, y),) = Guesser.seen
        assert all(row in TOKENS for row in X)
        assert all(Span(0, 3, "person") in own for own in y)
        assert (curve.draws["seconds"] > 0).all()

    def test_what_can_not_be_split(self):
        with pytest.raises(InputError, match="can't be split"):
            learning_curve(Guesser(), MANY, OF_MANY, test_size=100)
        with pytest.raises(InputError, match="not held out has a span"):
            learning_curve(Guesser(), MANY, [[] for _ in MANY])

    def test_it_is_drawn(self):
        pytest.importorskip("matplotlib").use("agg")
        curve = learning_curve({"all": Guesser(), "few": Guesser(4)}, MANY, OF_MANY, shots=[1, 2], draws=2)
        display = LearningCurveDisplay.from_results(curve)
        assert display.metric == "entity F1"
        assert display.ax_.get_xlabel() == "mentions per type"
        means = curve.draws.groupby(["name", "shots"])["entity F1"].mean()
        assert [line.get_ydata().tolist() for line in display.lines_] == [means["all"].tolist(), means["few"].tolist()]
