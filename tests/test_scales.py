"""Ordered classes: verbalizers and templates with a scale, levels, metrics against their definition, and intervals."""

from __future__ import annotations

import itertools
import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import cohen_kappa_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV

from fewshot import (
    AutomaticVerbalizer,
    Classifier,
    ConformalClassifier,
    Embedding,
    FakeLM,
    InputError,
    Prompting,
    Template,
    TemplateError,
    UnsupportedError,
    Verbalizer,
    gallery,
)
from fewshot.evaluation import Evaluation, compare, evaluate, learning_curve
from fewshot.evaluation.metrics import ORDERED_METRICS, compute_intervals, compute_metrics
from fewshot.evaluation.predictions import Predictions
from fewshot.persistence.classes import rebuild, take_state
from fewshot.task.scale import levels_of, scale_of
from fewshot.task.verbalizer import as_verbalizer
from tests.command import _keyword_model, run  # noqa: F401 - a fixture
from tests.contract import HashEncoder
from tests.recorded import Plain, Recorded, written

SCALE = ("poor", "fair", "good", "superb")  # sorted: fair, good, poor, superb
STARS = Verbalizer({name: name for name in SCALE}, ordered=True)
SORTED = sorted(SCALE)
RATED = "---\nwords: {poor: terrible, fair: okay, good: great}\nordered: true\n---\n{{ text }} It was {{ label }}."


def reader():
    """A language model whose probabilities stand in the text: those of the sorted classes."""
    return FakeLM(lambda query: np.log([float(p) for p in query.prefix.split()]).tolist())


def rated(verbalizer=STARS):
    return Classifier(reader(), "{{ text }} {{ label }}", verbalizer, Prompting()).fit()


def simulated(n, n_levels=4, seed=0):
    """Levels drawn from distributions with one or two peaks, of which the classifier sees an overconfident one."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(n_levels, 0.7), n)
    levels = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    shown = (true + 0.02) ** 1.7
    return shown / shown.sum(axis=1, keepdims=True), levels


def rows(n, seed=0):
    """Texts with the probabilities of the sorted classes, the labels, and both by level."""
    proba, levels = simulated(n, seed=seed)
    at = levels_of(SCALE, SORTED)
    return written(proba[:, at]), [SCALE[level] for level in levels], proba, levels


# verbalizers


def test_the_given_order_of_a_mapping_is_the_scale():
    assert STARS.scale == SCALE
    assert STARS.classes == tuple(SORTED)
    assert STARS.words == tuple((name,) for name in SORTED)
    numbers = Verbalizer({5: "awful", 1: "great", 3: "okay"}, ordered=True)
    assert (numbers.scale, numbers.classes) == ((5, 1, 3), (1, 3, 5))
    assert numbers.bind([1, 5]).scale == (5, 1, 3)
    assert numbers.labels == ("awful", "great", "okay")  # as a prompt lists them
    assert Verbalizer(pd.Series({2: "a", 1: "b"}).to_dict(), ordered=True).scale == (2, 1)


def test_a_list_is_the_scale_of_the_sorted_classes_or_of_its_own_words():
    listed = Verbalizer(["bad", ["okay", "fine"], "good"], ordered=True)
    assert listed.ordered
    assert listed.scale is None
    assert listed.bind([2, 0, 1]).scale == (0, 1, 2)
    assert listed.bind(["c", "a", "b"]).scale == ("a", "b", "c")
    assert listed.bind([0, 2]).scale == (0, 1, 2)  # a fold that lacks one
    by_name = Verbalizer(["poor", "fair", "good"], ordered=True).bind(["fair", "good", "poor"])
    assert by_name.scale == ("poor", "fair", "good")
    assert by_name.classes == ("fair", "good", "poor")


def test_others_have_no_scale():
    for verbalizer in (Verbalizer({"a": "x", "b": "y"}), Verbalizer(["x", "y"]).bind([0, 1])):
        assert verbalizer.scale is None
        assert not verbalizer.ordered


def test_equal_words_on_another_scale_are_another_verbalizer():
    words = {name: name for name in SCALE}
    assert Verbalizer(words, ordered=True) == STARS
    assert hash(Verbalizer(words, ordered=True)) == hash(STARS)
    turned = Verbalizer(dict(reversed(words.items())), ordered=True)
    assert len({STARS, turned, Verbalizer(words), Verbalizer(words, ordered=False)}) == 3
    assert clone(STARS) is STARS
    assert pickle.loads(pickle.dumps(turned)) == turned


def test_its_repr_makes_it_again():
    numbers = Verbalizer({3: ["awful", "bad"], 1: "great"}, ordered=True)
    assert repr(numbers) == "Verbalizer({3: ['awful', 'bad'], 1: 'great'}, ordered=True)"
    for verbalizer in (numbers, STARS):
        assert eval(repr(verbalizer)) == verbalizer
    assert repr(Verbalizer(["x", "y"], ordered=True)) == "Verbalizer({0: 'x', 1: 'y'}, ordered=True)"


# templates


def test_a_template_says_that_its_classes_are_ordered():
    assert Template(RATED).ordered
    assert Template(RATED).rename(text="review").ordered
    for source in (RATED.replace("ordered: true\n", ""), RATED.replace("true", "false")):
        assert not Template(source).ordered
    clf = Classifier(reader(), RATED, strategy=Prompting()).fit()
    assert clf.verbalizer_.scale == ("poor", "fair", "good")
    assert clf.classes_.tolist() == ["fair", "good", "poor"]


def test_the_numbers_of_a_template_are_read_as_the_labels_write_them():
    source = "---\nwords: {5: awful, 3: okay, 1: great}\nordered: true\n---\n{{ text }} {{ label }}"
    assert Classifier(reader(), source, strategy=Prompting()).fit().verbalizer_.scale == ("5", "3", "1")
    by_number = Classifier(reader(), source, strategy=Prompting()).fit(None, [1, 3, 5])
    assert by_number.verbalizer_.scale == (5, 3, 1)


def test_the_order_holds_under_other_words_for_the_same_classes():
    for words in (
        {"fair": "so so", "good": "nice", "poor": "bad"},
        Verbalizer({"good": "a", "poor": "b", "fair": "c"}),
    ):
        clf = Classifier(reader(), RATED, words, Prompting()).fit()
        assert clf.verbalizer_.scale == ("poor", "fair", "good")
        assert clf.verbalizer_.words == as_verbalizer(words, clf.classes_).words
    own = Verbalizer({"good": "a", "fair": "b", "poor": "c"}, ordered=True)
    assert Classifier(reader(), RATED, own, Prompting()).fit().verbalizer_ is own
    others = Classifier(reader(), RATED, {"good": "good", "bad": "bad"}, Prompting()).fit()
    assert others.verbalizer_.scale is None


def test_the_order_holds_under_words_that_the_model_finds():
    hints = {"dull": "bored", "okay": "fine", "great": "love"}
    lm = FakeLM(lambda query: [3.0 * (hints[word] in query.prefix) for word in query.candidates], vocabulary=hints)
    clf = Classifier(lm, RATED, AutomaticVerbalizer(1, "amulap"), Prompting())
    clf.fit(["bored", "love", "fine"], ["poor", "good", "fair"])
    assert clf.verbalizer_.scale == ("poor", "fair", "good")
    assert clf.verbalizer_.labels == ("dull", "okay", "great")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (RATED.replace("true", "yes"), "'ordered' must be true or false. Got 'yes'"),
        ("---\nordered: true\n---\n{{ text }} {{ label }}", "classes of 'words' stand lowest first. Got no 'words'"),
    ],
)
def test_an_order_that_is_none(source, message):
    with pytest.raises(TemplateError, match=message):
        Template(source)


def test_the_gallery_knows_which_tasks_are_ordered():
    ordered = [name for name in gallery.names() if gallery.get(name).ordered]
    assert ordered == [*gallery.names("sst5"), *gallery.names("yelp")]
    for name in ordered:
        scale = Classifier(reader(), name, strategy=Prompting()).fit().verbalizer_.scale
        feeling = ("very negative", "negative", "neutral", "positive", "very positive")
        assert scale in (feeling, ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"))


# levels


def test_the_expected_level_is_the_mean_of_the_levels():
    texts, _, proba, _ = rows(30)
    wanted = [sum(level * p for level, p in enumerate(row)) for row in proba]
    np.testing.assert_allclose(rated().expected_level(texts), wanted, atol=1e-12)
    turned = rated(Verbalizer({name: name for name in reversed(SCALE)}, ordered=True))
    np.testing.assert_allclose(turned.expected_level(texts), 3 - np.array(wanted), atol=1e-12)


def test_classes_without_an_order_have_no_levels():
    clf = rated({name: name for name in SCALE})
    with pytest.raises(UnsupportedError, match=r"'superb'\] are not ordered, .*Verbalizer\(.*, ordered=True\)"):
        clf.expected_level(["0.1 0.2 0.3 0.4"])


def test_a_text_of_several_classes_has_no_level():
    clf = Classifier(HashEncoder(), verbalizer=STARS, strategy=Embedding())
    clf.fit(["a", "b", "c", "d"], pd.DataFrame(np.eye(4, dtype=int), columns=list(SCALE)))
    assert scale_of(clf) is None
    with pytest.raises(UnsupportedError, match="several labels, so a text has no single level"):
        clf.expected_level(["a"])


def test_an_encoder_and_a_search_know_the_scale():
    texts, labels = ["so bad", "fair", "good", "superb"] * 4, ["poor", "fair", "good", "superb"] * 4
    clf = Classifier(HashEncoder(), verbalizer=STARS, strategy=Embedding()).fit(texts, labels)
    np.testing.assert_allclose(clf.expected_level(texts[:4]), [0, 1, 2, 3], atol=0.9)
    search = GridSearchCV(clone(clf), {"strategy": [Embedding()]}, cv=2).fit(texts, labels)
    assert scale_of(search) == scale_of(FrozenEstimator(clf)) == SCALE
    assert scale_of(Recorded()) is None


# kept


def test_a_kept_classifier_keeps_its_scale(tmp_path):
    texts, labels, _, _ = rows(40)
    clf = rated()
    sets = ConformalClassifier(FrozenEstimator(clf), method="ordinal-aps").fit(texts, labels)
    for one in (clf, sets):
        folder = one.save(tmp_path / type(one).__name__)
        again = type(one).load(folder, model=reader())
        np.testing.assert_array_equal(again.predict_proba(texts), one.predict_proba(texts))
        assert scale_of(again) == SCALE
        assert "Levels of a scale, lowest first: poor, fair, good, superb." in (folder / "README.md").read_text()
    assert again.predict_set(texts).tolist() == sets.predict_set(texts).tolist()
    template = Classifier(reader(), Template(RATED, words={"b": "x", "a": "y"}), strategy=Prompting()).fit()
    again = Classifier.load(template.save(tmp_path / "template"), model=reader())
    assert again.template_ == template.template_
    assert clone(again).fit().verbalizer_.scale == again.verbalizer_.scale == ("b", "a")


def test_what_was_kept_before_is_not_ordered(tmp_path):
    clf = rated({name: name for name in SCALE})
    config = (clf.save(tmp_path / "before") / "config.json").read_text()
    assert '"scale"' not in config  # so it is what earlier versions wrote
    again = Classifier.load(tmp_path / "before", model=reader())
    assert again.verbalizer_ == clf.verbalizer_
    assert again.verbalizer_.scale is None


@pytest.mark.parametrize("scale", [SCALE[:3], (*SCALE, "other"), (*SCALE[:3], "good"), list(SCALE), "poor"])
def test_a_scale_of_other_classes_is_refused(scale):
    state = take_state(STARS)
    assert rebuild("Verbalizer", state) == STARS
    with pytest.raises(InputError, match="has a scale of other classes than its own"):
        rebuild("Verbalizer", {**state, "scale": scale})


# metrics


def found(n=60, n_levels=4, seed=0):
    """Predictions whose columns are in another order than the scale, as are those of sorted names."""
    proba, levels = simulated(n, n_levels, seed)
    order = np.random.default_rng(seed).permutation(n_levels)  # the level of each column
    classes, column = [f"level {level}" for level in order], np.argsort(order)
    own = proba[:, order]
    scale = tuple(f"level {level}" for level in range(n_levels))
    return Predictions(classes, column[levels], own.argmax(axis=1), own, scale), proba, levels


def by_definition(proba, levels):
    """The four metrics in plain loops, and by scikit-learn."""
    said, n_levels = proba.argmax(axis=1), proba.shape[1]
    scores = []
    for row, level in zip(proba.tolist(), levels.tolist(), strict=True):
        gaps = [(sum(row[: k + 1]) - (level <= k)) ** 2 for k in range(n_levels - 1)]
        scores.append(sum(gaps) / (n_levels - 1))
    expected = [sum(k * p for k, p in enumerate(row)) for row in proba.tolist()]
    return {
        "quadratic kappa": cohen_kappa_score(levels, said, labels=range(n_levels), weights="quadratic"),
        "level MAE": mean_absolute_error(levels, said),
        "expected level MAE": mean_absolute_error(levels, expected),
        "RPS": sum(scores) / len(scores),
    }


@pytest.mark.parametrize("n_levels", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_metrics_are_those_of_their_definition(n_levels, seed):
    p, proba, levels = found(37, n_levels, seed)
    wanted = by_definition(proba, levels)
    values = compute_metrics(p)
    assert list(values)[-4:] == list(wanted)
    for name, value in wanted.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("name", list(ORDERED_METRICS))
def test_a_resample_is_measured_as_its_rows_are(name):
    p, proba, levels = found()
    counts = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=9)
    drawn = [np.repeat(np.arange(60), own) for own in counts]
    wanted = [by_definition(proba[at], levels[at])[name] for at in drawn]
    np.testing.assert_allclose(ORDERED_METRICS[name](p, counts), wanted, atol=1e-12)


def test_the_best_and_the_worst():
    at = np.array([0, 0, 1, 2, 2])
    right = Predictions([1, 2, 3], at, at, np.eye(3)[at], (1, 2, 3))
    values = compute_metrics(right)
    assert [values[name] for name in ORDERED_METRICS] == [1, 0, 0, 0]
    ends = np.array([0, 0, 2, 2])
    wrong = Predictions([1, 2, 3], ends, 2 - ends, np.eye(3)[2 - ends], (1, 2, 3))
    assert [compute_metrics(wrong)[name] for name in ORDERED_METRICS] == [-1, 2, 2, 1]


def test_where_all_is_one_level_there_is_no_agreement_to_speak_of():
    """Among the resamples of few rows there are such, and the interval is one all the same."""
    ones = np.ones(5, dtype=int)
    p = Predictions(["a", "b"], ones, ones, np.eye(2)[ones], ("a", "b"))
    assert compute_metrics(p)["quadratic kappa"] == 0
    p = replace(p, targets=np.array([1, 0, 1]), predicted=np.array([1, 0, 1]), proba=np.eye(2)[[1, 0, 1]])
    values = compute_metrics(p)
    assert values["quadratic kappa"] == 1
    low, high = compute_intervals(p, values, 200, 0.95, 0)["quadratic kappa"]
    assert (low, high) == (0, 1)


# evaluation


def test_evaluate_shows_them_where_the_classes_are_ordered():
    texts, labels, proba, levels = rows(80)
    result = evaluate(rated(), texts, labels, n_bootstrap=100)
    wanted = by_definition(proba, levels)
    assert result.metrics.index.tolist() == ["accuracy", "macro-F1", "log loss", "Brier", "ECE", *wanted]
    for name, value in wanted.items():
        shown = result.metrics.loc[name]
        assert shown["value"] == pytest.approx(value)
        assert shown["low"] < value < shown["high"]
    assert Evaluation.from_json(result.to_json()).metrics.equals(result.metrics)
    plain = evaluate(rated({name: name for name in SCALE}), texts, labels, n_bootstrap=100)
    pd.testing.assert_frame_equal(plain.metrics, result.metrics.iloc[:5])
    sets = ConformalClassifier(FrozenEstimator(rated())).fit(texts, labels)
    assert evaluate(sets, texts, labels, n_bootstrap=5).metrics.index.tolist() == [*result.metrics.index]


def test_compare_by_them_also_with_a_baseline():
    texts, labels, proba, levels = rows(80)
    clfs = {"baseline": Recorded(tuple(SORTED)), "ours": rated()}
    for metric, value in by_definition(proba, levels).items():
        result = compare(clfs, texts, labels, metric=metric, n_bootstrap=50)
        np.testing.assert_allclose(result.values["value"], value, atol=1e-9)
        assert f"no difference shown between baseline and ours: 0.000 of {metric}" in str(result).replace("-0", "0")
    with pytest.raises(UnsupportedError, match="'baseline' has no predict_proba, which 'RPS' needs"):
        compare({**clfs, "baseline": Plain(tuple(SORTED))}, texts, labels, metric="RPS")


def test_a_metric_of_ordered_classes_needs_them():
    texts, labels, _, _ = rows(10)
    clf = rated({name: name for name in SCALE})
    with pytest.raises(UnsupportedError, match="are not ordered"):
        compare({"a": clf, "b": clf}, texts, labels, metric="quadratic kappa")
    odd = [label.replace("poor", "a") for label in labels]
    with pytest.raises(InputError, match="does not know"):
        compare({"a": Recorded(("a", "b", "c", "d")), "b": rated()}, texts, odd, metric="RPS")


def test_a_learning_curve_has_them_where_the_classes_are_ordered():
    texts, labels = [f"{name} {i}" for i in range(6) for name in SCALE], list(SCALE) * 6
    clf = Classifier(HashEncoder(), verbalizer=STARS, strategy=Embedding())
    curve = learning_curve({"ours": clf, "other": clone(clf).set_params(verbalizer=None)}, texts, labels, shots=[2])
    assert list(curve.draws.columns)[-5:-1] == list(ORDERED_METRICS)
    by_name = curve.draws.groupby("name")["RPS"].apply(lambda own: own.notna().all())
    assert by_name.to_dict() == {"ours": True, "other": False}
    assert "quadratic kappa" in str(curve)
    assert ("RPS", "mean") in curve.summary().columns
    plain = learning_curve(clone(clf).set_params(verbalizer=None), texts, labels, shots=[2])
    assert "RPS" not in plain.draws.columns
    assert "RPS" not in str(plain)


# sets that are intervals


def grown(row):
    """For each level the probability of the interval that it is added to, word for word."""
    low = high = max(range(len(row)), key=lambda k: (row[k], -k))
    before = {low: 0.0}
    while len(before) < len(row):
        inside = sum(row[low : high + 1])
        down = high + 1 == len(row) or (low > 0 and row[low - 1] >= row[high + 1])
        low, high = (low - 1, high) if down else (low, high + 1)
        before[low if down else high] = inside
    return [before[k] for k in range(len(row))]


def intervals(alpha=0.2, seed=0):
    texts, labels, proba, levels = rows(400, seed)
    sets = ConformalClassifier(FrozenEstimator(rated()), alpha, method="ordinal-aps").fit(texts[:200], labels[:200])
    return sets, texts[200:], proba, levels


def test_an_interval_grows_from_the_most_probable_level():
    sets, texts, proba, levels = intervals()
    scores = sorted(grown(row)[level] for row, level in zip(proba[:200].tolist(), levels, strict=False))
    rank = int(np.ceil(201 * 0.8))
    assert sets.quantile_ == pytest.approx(scores[rank - 1], abs=1e-12)
    at = levels_of(SCALE, sets.classes_.tolist())
    wanted = [[grown(row)[level] <= sets.quantile_ + 1e-12 for level in at] for row in proba[200:].tolist()]
    assert sets.predict_set(texts).tolist() == wanted


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_sets_are_intervals_that_are_never_empty(alpha):
    sets, texts, _, _ = intervals(alpha)
    at = np.argsort(levels_of(SCALE, sets.classes_.tolist()))
    inside = sets.predict_set(texts)[:, at].astype(int)
    assert (inside.sum(axis=1) > 0).all()
    assert (np.abs(np.diff(inside, prepend=0, append=0, axis=1)).sum(axis=1) == 2).all()
    others = ConformalClassifier(FrozenEstimator(rated()), alpha, method="aps").fit(*rows(200)[:2])
    gaps = np.abs(np.diff(others.predict_set(texts)[:, at].astype(int), prepend=0, append=0, axis=1)).sum(axis=1)
    assert alpha == 0.5 or (gaps > 2).any()  # which the others have


def test_equal_probabilities_and_none_at_all():
    sets, _, _, _ = intervals()
    at = np.argsort(levels_of(SCALE, sets.classes_.tolist()))
    for row in itertools.product([0.0, 0.25, 0.5, 1.0], repeat=4):
        if sum(row) == 1:
            text = written([np.array(row)[levels_of(SCALE, SORTED)] + 1e-300])
            inside = np.flatnonzero(sets.predict_set(text)[0, at])
            assert inside.tolist() == list(range(inside[0], inside[-1] + 1))
            assert int(np.argmax(row)) in inside


class Rated(Recorded):
    """A classifier of ordered classes whose probabilities stand in the text."""

    verbalizer_ = STARS
    multi_label_ = False


@pytest.mark.parametrize("alpha", [0.05, 0.15])
def test_the_coverage_is_what_is_promised(alpha):
    """The mean of 200 draws of 99 calibration rows and 400 new ones; its standard error is about 0.003."""
    covered = []
    for seed in range(200):
        texts, labels, _, _ = rows(499, seed)
        sets = ConformalClassifier(FrozenEstimator(Rated(tuple(SORTED))), alpha, method="ordinal-aps")
        sets.fit(texts[:99], labels[:99])
        column = [SORTED.index(label) for label in labels[99:]]
        covered.append(sets.predict_set(texts[99:])[np.arange(400), column].mean())
        assert sets.quantile_ > 0  # so that no ties at 0 cover more
    error = np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) == pytest.approx(1 - alpha, abs=4 * error)
    assert error < 0.005


def test_intervals_need_an_order():
    texts, labels, _, _ = rows(20)
    sets = ConformalClassifier(FrozenEstimator(rated({name: name for name in SCALE})), method="ordinal-aps")
    with pytest.raises(UnsupportedError, match="are not ordered"):
        sets.fit(texts, labels)
    with pytest.raises(InputError, match="method must be 'lac', 'aps' or 'ordinal-aps'"):
        sets.set_params(method="ordinal").fit(texts, labels)


# the command line


def test_evaluate_prints_them_where_the_template_says_so(monkeypatch, capsys, tmp_path):
    path, template = tmp_path / "rated.jsonl", tmp_path / "rated.jinja"
    template.write_text(RATED)
    words = {"poor": "terrible", "fair": "okay", "good": "great"}
    said = [{"text": f"{word}, number {i}", "label": name} for i in range(5) for name, word in words.items()]
    path.write_text("\n".join(map(json.dumps, said)))
    ask = ("evaluate", path, "--shots", 0, "--strategy", "prompting", "--template")
    code, out, err = run(monkeypatch, capsys, *ask, template)
    assert (code, err) == (0, "")
    assert "quadratic kappa" in out
    assert "RPS" in out
    template.write_text(RATED.replace("ordered: true\n", ""))
    assert "RPS" not in run(monkeypatch, capsys, *ask, template)[1]
    twice = ("compare", *ask[1:4], "--strategy", "prompting", "--strategy", "prompting(calibration=contextual)")
    assert "are not ordered" in run(monkeypatch, capsys, *twice, "--template", template, "--metric", "RPS")[2]
