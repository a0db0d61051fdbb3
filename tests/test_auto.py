"""Auto: what is compared, on which folds, what is chosen, and what the report says."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from fewshot import Auto, Classifier, Contrastive, Embedding, FakeLM, FineTuning, LabelMassWarning, Prompting, load
from fewshot.datasets import load_tickets
from fewshot.strategies import auto as module
from fewshot.strategies import choosing, comparison
from fewshot.strategies.budget import Budget
from fewshot.strategies.comparison import Candidate, n_folds
from tests.conftest import language_model, sentence_model
from tests.contract import HashEncoder, keyword_lm, keyword_scores

pytestmark = pytest.mark.long

TEXTS, LABELS = load_tickets()
NAMES = ["frozen encoder, label names", "frozen encoder, no label names", "tuned encoder, label names"]


def few(n: int) -> tuple[list[str], list[str]]:
    """The first n tickets of each class."""
    rows = [i for name in sorted(set(LABELS)) for i in np.flatnonzero(np.array(LABELS) == name)[:n]]
    return [TEXTS[i] for i in rows], [LABELS[i] for i in rows]


@pytest.fixture
def encoder():
    return load(sentence_model())


@pytest.mark.parametrize(
    ("counts", "folds"), [([8, 9], 5), ([3, 9], 3), ([2, 2, 2], 2), ([1, 50], 0)], ids=lambda value: str(value)
)
def test_folds_follow_the_smallest_class(counts, folds):
    assert n_folds(np.repeat(np.arange(len(counts)), counts)) == folds


def test_it_compares_frozen_and_tuned_with_and_without_names(encoder):
    X, y = few(3)
    clf = Classifier(encoder, random_state=0).fit(X, y)
    report = clf.report_
    assert [one.name for one in report.candidates] == NAMES
    assert report.folds == 3
    assert report.rows.tolist() == list(range(len(X)))
    best, _ = module._best(report.candidates, np.unique(y, return_inverse=True)[1])
    assert report.chosen == repr(clf.strategy_.chosen_)
    assert (clf.strategy_.chosen_.tuning is not None) == ("tuned" in best.name)
    for one in report.candidates:
        assert one.log_loss == pytest.approx(log_loss(y, np.exp(one.log_scores), labels=clf.classes_))
        assert one.accuracy == np.mean(clf.classes_[one.log_scores.argmax(1)] == y)
        assert one.name in str(report)
    assert f"({len(X)} held-out examples, 3 folds)" in str(report)


def test_out_of_fold_scores_are_those_of_fits_that_did_not_see_the_row(encoder):
    X, y = few(2)
    X, y = np.array(X, dtype=object), np.array(y, dtype=object)
    clf = Classifier(encoder, random_state=7).fit(X, y)
    frozen = clf.report_.candidates[0]
    seed = int(np.random.RandomState(7).randint(2**31 - 1))
    for train, test in StratifiedKFold(2, shuffle=True, random_state=seed).split(X, y):
        alone = Classifier(encoder, strategy=Embedding()).fit(X[train], y[train])
        assert np.allclose(frozen.log_scores[test], alone.predict_log_proba(X[test]), atol=1e-9)


def candidate(name, log_loss, right, first=0):
    """A way that was right on so many of ten rows, all of the first class, beginning with this one."""
    scores = np.log([[0.6, 0.4] if first <= i < first + right else [0.4, 0.6] for i in range(10)])
    return Candidate(name, Embedding(), scores, log_loss, right / 10, 0.0)


@pytest.mark.parametrize(
    ("ways", "wanted", "why"),
    [
        ([(0.5, 6), (0.4, 5)], 1, "the lower log loss, 0.400 against 0.500"),
        ([(0.5, 6), (0.6, 6), (0.9, 8)], 2, "held-out accuracy 0.800 tuned and 0.600 frozen"),
        ([(0.5, 6), (0.6, 6), (0.9, 6)], 2, "held-out accuracy 0.600 tuned and 0.600 frozen"),
        ([(0.5, 6), (0.6, 6), (0.9, 5, 2)], 2, "held-out accuracy 0.500 tuned and 0.600 frozen"),
        ([(0.5, 6), (0.6, 9), (0.9, 3)], 0, "behind by more than a standard error (0.153)"),
    ],
    ids=["names or none by log loss", "tuned is better", "as good", "a little behind", "clearly behind"],
)
def test_names_by_log_loss_and_tuning_by_accuracy(ways, wanted, why):
    found = [candidate(name, *way) for name, way in zip(NAMES, ways, strict=False)]
    best, said = module._best(found, np.zeros(10, dtype=np.int64))
    assert best is found[wanted]
    assert why in said


@pytest.mark.parametrize("winner", range(3))
def test_the_winner_is_fitted_on_all_rows(encoder, monkeypatch, winner):
    monkeypatch.setattr(module, "_best", lambda found, targets: (found[winner], "rigged"))
    X, y = few(2)
    clf = Classifier(encoder, random_state=0).fit(X, y)
    wanted = [Embedding(), Embedding(label_prior=0.0), Embedding(tuning=Contrastive())][winner]
    assert repr(clf.strategy_.chosen_) == repr(wanted)
    alone = Classifier(encoder, strategy=wanted, random_state=0).fit(X, y)
    assert np.allclose(clf.predict_proba(TEXTS[:9]), alone.predict_proba(TEXTS[:9]))


def test_the_same_seed_chooses_and_predicts_the_same(encoder):
    X, y = few(3)
    clf = Classifier(encoder, random_state=3)
    first, second = clone(clf).fit(X, y), clone(clf).fit(X, y)
    assert np.array_equal(first.predict_proba(TEXTS[:9]), second.predict_proba(TEXTS[:9]))
    for one, other in zip(first.report_.candidates, second.report_.candidates, strict=True):
        assert np.array_equal(one.log_scores, other.log_scores)


def test_many_examples_are_compared_on_some_of_each_class(encoder, monkeypatch):
    monkeypatch.setattr(comparison, "_COMPARED", 12)
    X, y = few(9)
    report = Classifier(encoder, random_state=0).fit(X, y).report_
    n = len(set(y))
    assert len(report.rows) == max(12, 2 * n)
    counts = np.unique(np.array(y)[report.rows], return_counts=True)[1]  # type: ignore[call-overload]
    assert len(counts) == n
    assert counts.max() - counts.min() <= 1


class TestDefaults:
    def test_one_row_of_a_class_is_too_few_to_compare(self, encoder):
        X, y = few(1)
        clf = Classifier(encoder, random_state=0).fit(X, y)
        assert clf.strategy_.chosen_.tuning is not None
        assert clf.report_.candidates == ()
        assert "a class has a single row" in str(clf.report_)

    def test_equal_sample_weights_change_nothing(self, encoder):
        X, y = few(3)
        weighted = Classifier(encoder, random_state=0).fit(X, y, sample_weight=np.ones(len(X)))
        plain = Classifier(encoder, random_state=0).fit(X, y)
        assert [one.name for one in weighted.report_.candidates] == NAMES
        np.testing.assert_allclose(weighted.predict_proba(X), plain.predict_proba(X), atol=1e-6)

    def test_an_encoder_of_another_kind_stays_frozen(self):
        report = Classifier(HashEncoder(), random_state=0).fit(*few(3)).report_
        assert [one.name for one in report.candidates] == NAMES[:2]
        assert "only a SentenceEncoder can be tuned" in str(report)

    def test_several_labels_a_row(self):
        y = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
        clf = Classifier(HashEncoder(), verbalizer={"a": "a", "b": "b"}).fit(TEXTS[:4], y)
        assert repr(clf.strategy_.chosen_) == "Embedding()"
        assert "several labels" in str(clf.report_)

    def test_zero_shot_says_so(self):
        assert "there are no labelled rows" in str(Classifier(HashEncoder()).fit(None, ["a", "b"]).report_)

    @pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq", "entailment"])
    def test_language_models_compare_prompting_and_readout(self, kind):
        clf = Classifier(keyword_lm(kind), strategy=Auto(), random_state=0).fit(*few(4))
        report = clf.report_
        names = {one.name for one in report.candidates}
        wordings = [f", generic/{name}" for name in ("causal", "listed", "unlisted")]
        several = kind in ("causal", "seq2seq")
        asked = wordings if several else [""]
        assert names == {f"{way}{end}" for way in ("prompting", "readout of labels") for end in asked}
        best = sorted(report.candidates, key=lambda one: one.log_loss)[: 3 if several else 1]
        assert all(f"{one.log_loss:.3f}" in str(report) for one in best)
        chosen = [clf.strategy_.chosen_, *clf.strategy_.beside_]
        assert [type(one) for one in chosen] == [type(one.strategy) for one in best]
        assert report.chosen == ("the mean of " if several else "") + ", ".join(map(repr, chosen))
        if kind == "entailment" and isinstance(clf.strategy_.chosen_, Prompting):
            assert clf.strategy_.chosen_.calibration is None

    def test_a_model_that_shows_its_hidden_state_is_read(self):
        lm = keyword_lm(hidden=lambda query: [query.prefix.count(letter) for letter in "abcde"])
        report = Classifier(lm, strategy=Auto(), random_state=0).fit(*few(4)).report_
        assert "readout of hidden, generic/causal" in {one.name for one in report.candidates}

    def test_a_language_model_is_asked_nothing_twice_for_the_comparison(self):
        asked = []
        lm = FakeLM(lambda query: asked.append(query) or keyword_scores(query), kind="masked")
        clf = Classifier(lm, strategy=Auto(), random_state=0).fit(*few(4))
        compared = len(set(asked))
        final = 2 * compared  # the chosen strategy is fitted on the model itself
        assert compared <= len(asked) <= final
        assert clf.report_.folds == 4

    def test_a_language_model_with_one_row_a_class(self):
        clf = Classifier(keyword_lm("masked"), strategy=Auto()).fit(["x", "y"], ["a", "b"])
        assert "a class has a single row" in str(clf.report_)
        assert isinstance(clf.strategy_.chosen_, Prompting)

    def test_a_language_model_without_labels_is_calibrated_on_the_texts(self):
        clf = Classifier(keyword_lm("masked"), verbalizer={"a": "a", "b": "b"}).fit(["x", "y"])
        assert clf.strategy_.chosen_.calibration_.chosen_.log_prior_.shape == (2,)


def test_a_strategy_that_chooses_nothing_has_no_report():
    assert Classifier(HashEncoder(), strategy=Embedding()).fit(None, ["a", "b"]).report_ is None


class TestBudget:
    """A tiny model with a budget of minutes tries everything; one of milliseconds says what it left out."""

    X = ["a good day", "the food was cold", "we had a good time", "it rained all day", "a good friend", "so cold"] * 2
    Y = ("good", "bad") * 6

    def fitted(self, budget, model="bert", **params):
        words = {"bad": "bad", "good": "good"}
        lm = language_model(model) if isinstance(model, str) else model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LabelMassWarning)
            return Classifier(lm, "{{ text }} It was {{ label }}.", words, Auto(budget), **params).fit(self.X, self.Y)

    def test_without_one_nothing_is_fine_tuned(self):
        report = self.fitted(None, random_state=0).report_
        assert [one.name for one in report.candidates] == ["prompting", "readout of hidden"]

    def test_with_room_fine_tuning_is_compared_on_the_same_rows(self):
        clf = self.fitted(600.0, random_state=0)
        report = clf.report_
        names = [one.name for one in report.candidates]
        assert names == ["prompting", "readout of hidden", "fine-tuning"]
        best = min(report.candidates, key=lambda one: one.log_loss)
        assert type(clf.strategy_.chosen_) is type(best.strategy)

    def test_where_it_wins_it_is_fitted_on_all_rows(self, monkeypatch):
        plenty = choosing.finetuned

        def won(*args, **kwargs):
            return tuple(replace(one, log_loss=-1.0) for one in plenty(*args, **kwargs))

        monkeypatch.setattr(choosing, "finetuned", won)
        clf = self.fitted(600.0, random_state=0)
        assert isinstance(clf.strategy_.chosen_, FineTuning)
        assert clf.label_mass(self.X[:2]).shape == (2,)

    def test_without_room_it_says_so(self):
        report = self.fitted(1e-3, random_state=0).report_
        assert [one.name for one in report.candidates] == ["prompting", "readout of hidden"]
        assert "fine-tuning was not tried: the budget of 0.001 s was used up" in str(report)

    def test_a_step_is_timed_first(self, monkeypatch):
        monkeypatch.setattr(Budget, "left", property(lambda self: 1e-6))
        report = self.fitted(5.0, random_state=0).report_
        assert "it would take about" in str(report)

    @pytest.mark.parametrize(
        ("beside", "steps", "runs", "why"),
        [
            (0, 90, [1], None),
            (1, 60, [1, 1, 3], None),  # 120 s as fits of one step, but 5 fits and 60 steps are 65 s
            (1, 90, [1, 1, 3], "resting was not tried: it would take about 95 s, and 92 s of the budget of 100 s were"),
            (9, 60, [1], "resting was not tried: it would take about 600 s, and 90 s of the budget of 100 s were left"),
        ],
    )
    def test_what_a_fit_takes_beside_its_steps_counts_once_a_fit(self, monkeypatch, beside, steps, runs, why):
        clock, seen = [0.0], []
        monkeypatch.setattr("fewshot.strategies.budget.time.perf_counter", lambda: clock[0])

        def run(n):
            seen.append(n)
            clock[0] += beside + n

        budget = Budget(100.0)
        assert budget.allows("resting", run, fits=5, steps=steps) == (why is None)
        assert seen == runs
        assert [reason.startswith(why) for reason in budget.reasons] == ([] if why is None else [True])

    def test_a_model_that_cannot_be_trained_is_named(self):
        report = self.fitted(600.0, FakeLM(lambda query: [0.0 for _ in query.candidates])).report_
        assert "can't be fine-tuned" in str(report)

    def test_an_encoder_with_room_tries_a_classification_layer(self, encoder):
        report = Classifier(encoder, strategy=Auto(600.0), random_state=0).fit(*few(3)).report_
        assert [one.name for one in report.candidates] == [*NAMES, "fine-tuning"]
        assert "classification layer" in str(report)
        report = Classifier(encoder, strategy=Auto(600.0), random_state=0).fit(*few(2)).report_
        assert "three examples of every class" in str(report)

    def test_an_encoder_without_room_stays_frozen(self, encoder):
        X, y = few(2)
        clf = Classifier(encoder, strategy=Auto(1e-3), random_state=0).fit(X, y)
        assert clf.strategy_.chosen_.tuning is None
        assert [one.name for one in clf.report_.candidates] == NAMES[:2]
        assert "tuning the encoder was not tried" in str(clf.report_)

    @pytest.mark.parametrize("budget", [0, -1.0])
    def test_it_must_be_seconds(self, budget):
        with pytest.raises(ValueError, match="budget, in seconds, must be greater than 0"):
            self.fitted(budget)
