"""Bad input: the error's type, and a message that names the offender and, where there is one, the cure."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from fewshot import (
    Auto,
    Classifier,
    ConformalClassifier,
    Embedding,
    Extractor,
    FakeLM,
    InputError,
    LabelPriorLogisticRegression,
    ModelLoadError,
    ParameterError,
    Prompting,
    Tagger,
    Template,
    TemplateError,
    UnsupportedError,
    VerbalizerError,
    Writer,
    adapt,
    evaluate,
    label_errors,
    learning_curve,
    next_to_label,
)
from fewshot.evaluation import draw_support
from tests.contract import NEW, TEXTS, HashEncoder, data, keyword_lm, prompting

X, Y = data(3)
NAMES = sorted(TEXTS)


def cases(*rows):
    """Parameters whose ids are the first column."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


# --- X ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [keyword_lm(), HashEncoder()], ids=["language model", "encoder"])
@pytest.mark.parametrize(
    ("bad", "message"),
    cases(
        ("empty list", [], r"X is empty: give at least one text"),
        ("empty array", np.array([]), r"X is empty"),
        ("empty frame", pd.DataFrame({"text": []}), r"X is empty"),
        ("bare string", "one text", r"list of texts\. Got one str: wrap it in a list, \['one text'\]"),
        ("bare bytes", b"one text", r"Got one bytes: wrap it"),
        ("mapping", {"text": ["a"]}, r"Got a mapping: wrap it in a list"),
        ("set", {"a", "b"}, r"Got a set, which has no order"),
        ("number", 3, r"list of texts or a DataFrame of fields\. Got int"),
        ("None inside", ["a", None], r"X\[1\] must be text\. Got None: a missing text\. Drop the row, or fill it"),
        ("NaN inside", ["a", float("nan")], r"X\[1\] must be text\. Got nan: a missing text"),
        ("NaN in a Series", pd.Series(["a", "b", None]), r"X\[2\] .*missing text"),
        ("NA in a string Series", pd.Series(["a", None], dtype="string"), r"X\[1\] .*<NA>: a missing text"),
        ("NA inside", ["a", pd.NA], r"X\[1\] must be text\. Got <NA>: a missing text"),
        ("null in polars", pl.Series(["a", None]), r"X\[1\] must be text\. Got None"),
        ("bytes inside", ["a", b"b"], r"X\[1\] must be text\. Got bytes: b'b'\. Decode them first"),
        ("number inside", ["a", "b", 3], r"X\[2\] must be text\. Got int: 3"),
        ("list inside", [["a"], ["b"]], r"X\[0\] must be text\. Got list: \['a'\]"),
        (
            "two dimensions",
            np.array([["a", "b"]] * 2),
            r"one-dimensional.*shape \(2, 2\): use X\[:, 0\] or a DataFrame",
        ),
        ("texts and mappings", ["a", {"text": "b"}], r"X mixes plain texts and mappings"),
    ),
)
def test_bad_texts_are_named_in_fit_and_in_predict(model, bad, message):
    with pytest.raises(InputError, match=message):
        Classifier(model).fit(bad, Y)
    clf = Classifier(model).fit(None, NAMES)
    for method in (clf.predict, clf.predict_proba, clf.decision_function, clf.preview):
        with pytest.raises(InputError, match=message):
            method(bad)


def test_predict_needs_rows():
    with pytest.raises(InputError, match="Got NoneType"):
        prompting().fit(None, NAMES).predict(None)


PAIR = "{{ premise }} So: {{ claim }}? {{ label }}"


@pytest.mark.parametrize("model", [keyword_lm(), HashEncoder()], ids=["language model", "encoder"])
@pytest.mark.parametrize(
    ("row", "error", "message"),
    cases(
        ("absent", {"premise": "a"}, TemplateError, r"Row 1: 'claim' is undefined; the row has .*\['premise'\]"),
        ("None", {"premise": "a", "claim": None}, InputError, r"Row 1: the field 'claim' is None: fill it, or drop"),
        ("NaN", {"premise": "a", "claim": np.nan}, InputError, r"Row 1: the field 'claim' is nan"),
        ("NA", {"premise": "a", "claim": pd.NA}, InputError, r"Row 1: the field 'claim' is <NA>"),
        ("NaN of 32 bits", {"premise": "a", "claim": np.float32("nan")}, InputError, r"Row 1: the field 'claim' is "),
        ("NaT", {"premise": "a", "claim": np.datetime64("NaT")}, InputError, r"Row 1: the field 'claim' is "),
        ("no time", {"premise": "a", "claim": pd.NaT}, InputError, r"Row 1: the field 'claim' is NaT"),
        ("masked", {"premise": "a", "claim": np.ma.masked}, InputError, r"Row 1: the field 'claim' is masked"),
        ("decimal", {"premise": "a", "claim": Decimal("sNaN")}, InputError, r"Row 1: the field 'claim' is Decimal"),
        ("complex", {"premise": "a", "claim": complex("nan")}, InputError, r"Row 1: the field 'claim' is "),
        ("null", {"premise": "a", "claim": pa.scalar(None, pa.string())}, InputError, r"Row 1: the field 'claim' is "),
        ("bytes", {"premise": b"a", "claim": "b"}, InputError, r"Row 1: the field 'premise' is b'a'"),
    ),
)
def test_a_bad_field_is_named_with_its_row(model, row, error, message):
    clf = Classifier(model, template=PAIR).fit(None, ["no", "yes"])
    with pytest.raises(error, match=message):
        clf.predict([{"premise": "a", "claim": "b"}, row])


@pytest.mark.parametrize("missing", [None, np.float32("nan"), np.datetime64("NaT"), pd.NA, np.ma.masked], ids=repr)
@pytest.mark.parametrize(
    ("source", "row"),
    [
        ("{{ tags | join(', ') }} {{ label }}", lambda missing: {"tags": ["a", missing]}),
        ("{% for tag in tags %}{{ tag }} {% endfor %}{{ label }}", lambda missing: {"tags": ["a", missing]}),
        ("{{ meta.place }} {{ label }}", lambda missing: {"meta": {"place": missing}}),
        ("{{ 'at ' ~ meta.place }} {{ label }}", lambda missing: {"meta": {"place": missing}}),
    ],
    ids=["joined", "looped", "inside", "with text"],
)
def test_nothing_missing_inside_a_field_is_printed(source, row, missing):
    clf = Classifier(keyword_lm(), source, strategy=Prompting()).fit(None, ["no", "yes"])
    with pytest.raises(TemplateError, match="says that a value is missing"):
        clf.predict([row(missing)])


def test_one_text_can_not_fill_two_fields():
    clf = Classifier(keyword_lm(), template=PAIR).fit(None, ["no", "yes"])
    with pytest.raises(TemplateError, match=r"Row 0: .*2 fields \['premise', 'claim'\].*one text: pass a DataFrame"):
        clf.predict(["a text"])


def test_a_bad_demonstration_is_named_with_its_row():
    rows = pd.DataFrame({"text": ["a", np.nan, "b"]})
    with pytest.raises(InputError, match="Row 1: the field 'text' is nan"):
        prompting(shots=3).fit(rows, NAMES)


# --- y and classes ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [keyword_lm(), HashEncoder()], ids=["language model", "encoder"])
@pytest.mark.parametrize(
    ("y", "message"),
    cases(
        ("too short", ["a", "b"], r"X has 3 rows and y has 2"),
        ("too long", ["a", "b", "a", "b"], r"X has 3 rows and y has 4"),
        ("one class", ["a", "a", "a"], r"at least two classes\. Got \['a'\]"),
        ("None", ["a", "b", None], r"y\[2\] is None.*Drop the row, label it"),
        ("NaN", ["a", float("nan"), "b"], r"y\[1\] is nan"),
        ("NaN among numbers", np.array([0, 1, np.nan]), r"y\[2\] is nan"),
        ("NA", ["a", pd.NA, "b"], r"y\[1\] is <NA>"),
        ("NA among integers", pd.Series([0, 1, None], dtype="Int64"), r"y\[2\] is <NA>"),
        ("missing in a Series", pd.Series(["a", np.nan, "b"]), r"y\[1\] is nan"),
        ("null in polars", pl.Series(["a", "b", None]), r"y\[2\] is None"),
        ("columns", np.array([["a", "c"]] * 3), r"y\[0, 0\] is .*'a'.*: a two-dimensional y is an indicator"),
        ("frame", pd.DataFrame({"y": ["a"] * 3, "z": 0}), r"y\[0, 0\] is 'a': a two-dimensional y is an indicator"),
        ("lists", [["a"], ["b"], ["a"]], r"y\[0\] must be one class\. Got \['a'\]"),
        ("string", "abc", r"list of class labels\. Got str: 'abc'"),
        ("number", 1, r"list of class labels\. Got int: 1"),
        ("mapping", {"a": "x", "b": "y", "c": "z"}, r"Got a mapping: label words go into verbalizer"),
        ("set", {"a", "b", "c"}, r"a class per row\. Got a set, which has no order"),
        ("strings and integers", ["a", "b", 1], r"y mixes int, str: make all classes of one type"),
        ("integers and floats", [0, 1, 0.5], r"y mixes float, int"),
    ),
)
def test_bad_labels_are_named(model, y, message):
    with pytest.raises(InputError, match=message):
        Classifier(model).fit(["text a", "text b", "text c"], y)


@pytest.mark.parametrize(
    ("verbalizer", "y", "error", "message"),
    cases(
        ("nothing at all", None, None, InputError, r"no classes\. Give labelled rows, .*fit\(None, \['a', 'b'\]\)"),
        ("a list alone", ["x", "y"], None, InputError, r"A list of label words needs the classes"),
        ("one name", None, ["a"], InputError, r"at least two classes\. Got \['a'\]"),
        ("one entry", {"a": "x"}, None, InputError, r"at least two classes\. Got \['a'\]"),
        ("integers", None, [0, 1], VerbalizerError, r"class 0 \(int\) is not a name.*Pass verbalizer=\{class: label"),
        ("floats", None, [0.5, 1.5], VerbalizerError, r"class 0\.5 \(float\) is not a name"),
        ("booleans", None, [True, False], VerbalizerError, r"class False \(bool\) is not a name"),
        ("shared word", {"a": "x", "b": ["y", "x"]}, None, VerbalizerError, r"'a' and 'b' share the label word 'x'"),
        ("one name twice", None, ["a b", "a_b"], VerbalizerError, r"'a b' and 'a_b' share the label word 'a b'"),
        ("short list", ["x"], ["a", "b"], VerbalizerError, r"words for 1 classes \(x\), and 2 classes: \['a', 'b'\]"),
        ("long list", list("xyz"), ["a", "b"], VerbalizerError, r"3 classes .* A list needs one entry per class"),
        ("unknown class", {"a": "x", "b": "y"}, ["a", "c"], VerbalizerError, r"class 'c' has no label words"),
        ("no words", {"a": "x", "b": []}, None, VerbalizerError, r"class 'b' has no label words"),
        ("blank word", {"a": "x", "b": " "}, None, VerbalizerError, r"class 'b' must be text that is not blank"),
        ("number as word", {"a": "x", "b": 1}, None, VerbalizerError, r"class 'b' must be text.*Got 1"),
        ("mixed classes", {"a": "x", 1: "y"}, None, VerbalizerError, r"Classes must be of one type"),
        ("string", "x y", ["a", "b"], VerbalizerError, r"mapping of classes to words, or a list.*Got 'x y'"),
    ),
)
def test_classes_and_words_that_do_not_fit_are_named(verbalizer, y, error, message):
    with pytest.raises(error, match=message):
        Classifier(keyword_lm(), verbalizer=verbalizer).fit(None, y)


def test_the_gallerys_words_must_name_every_class():
    with pytest.raises(VerbalizerError, match=r"class 'good' has no label words.*\['negative', 'positive'\]; pass"):
        Classifier(keyword_lm(), template="sst2/it_was").fit(["x", "y"], ["good", "negative"])


def test_wrappers_that_encode_labels_are_refused_without_a_list_of_words():
    """Otherwise the words "0" and "1" would be scored, and every prediction be noise."""
    vote = VotingClassifier([("a", prompting())])
    with pytest.raises(VerbalizerError, match=r"class 0 \(int\).*the list also works inside VotingClassifier"):
        vote.fit(X, Y)
    with pytest.raises(VerbalizerError, match=r"class 0 \(int\)"):
        cross_val_predict(prompting(), X, Y, cv=3, method="predict_proba")


# --- template -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "error", "message"),
    cases(
        ("no hole", "{{ text }}", TemplateError, r"one hole, written \{\{ label \}\}.*\. Got none in: '\{\{ text"),
        (
            "two holes",
            "{{ text }} {{ label }} {{ label }}",
            TemplateError,
            r"Got 2; the second .*\(line 1\):\n.*\n +\^",
        ),
        ("no field", "It was {{ label }}", TemplateError, r"at least one field, such as \{\{ text \}\}"),
        ("syntax", "a\n{{ text } {{ label }}", TemplateError, r"unexpected '\}' \(line 2\):\n +\{\{ text \}.*\n +\^"),
        ("unknown filter", "{{ text | shout }} {{ label }}", TemplateError, r"'shout'.*\(line 1\)"),
        ("unknown name", "sst2/it_wos", TemplateError, r"no template 'sst2/it_wos' .* near it: sst2/it_was"),
        ("name that climbs", "../sst2/it_was", TemplateError, r"no template '\.\./sst2/it_was'"),
        ("number", 3, InputError, r"template must be the text of a template, .*\. Got int: 3"),
        ("file", "mail.jinja", TemplateError, r"If it is a file, read it: Template\.from_file\('mail\.jinja'\)"),
        ("list of numbers", [3], InputError, r"Got int"),
    ),
)
def test_bad_templates_are_named(template, error, message):
    with pytest.raises(error, match=message):
        Classifier(keyword_lm(), template=template).fit(X, Y)


# --- strategies ---------------------------------------------------------------------------------


class OnlyScores:
    """A language model that can't do anything else."""

    fingerprint = "only scores"
    loglikelihoods = staticmethod(keyword_lm().loglikelihoods)

    def __repr__(self):
        return "OnlyScores()"


@pytest.mark.parametrize(
    ("strategy", "error", "message"),
    cases(
        ("too many shots", Prompting(99), InputError, r"shots=99 .*12 labelled rows: give more, or lower shots"),
        ("negative shots", Prompting(-1), ValueError, r"shots must be an integer of at least 0\. Got -1"),
        ("half a shot", Prompting(1.5), ValueError, r"shots must be an integer of at least 0\. Got 1\.5"),
        ("selection", Prompting(1, "closest"), ValueError, r"Got 'closest'"),
        ("read", Prompting(read="guess"), ValueError, r"read must be 'score' or 'generate'\. Got 'guess'"),
        ("encoders only", Embedding(), UnsupportedError, r"needs an encoder\. FakeLM.*use Prompting\(\), or Auto\(\)"),
        ("string", "prompting", InputError, r"strategy must be a strategy such as Prompting\(\).*Got 'prompting'"),
        ("class", Prompting, InputError, r"strategy must be a strategy such as Prompting\(\)"),
        ("estimator", LogisticRegression(), InputError, r"strategy must be a strategy.*Got LogisticRegression\(\)"),
    ),
)
def test_strategies_that_can_not_work_are_named(strategy, error, message):
    with pytest.raises(error, match=message):
        Classifier(keyword_lm(), strategy=strategy).fit(X, Y)


@pytest.mark.parametrize("rows", [(None, NAMES), (X, None)], ids=["names", "unlabelled"])
def test_shots_need_labelled_rows(rows):
    clf = Classifier(keyword_lm(), verbalizer={name: name for name in NAMES}, strategy=Prompting(shots=2))
    with pytest.raises(InputError, match=r"shots=2 needs labelled rows: call fit\(X, y\), or set shots=0"):
        clf.fit(*rows)


@pytest.mark.parametrize(
    ("model", "strategy", "message"),
    cases(
        ("shots", keyword_lm("entailment"), Prompting(2), r"what is asked of it: .* no place for shots=2"),
        ("answers", OnlyScores(), Prompting(read="generate"), r"OnlyScores\(\) can't generate text: use read='score'"),
        ("words", HashEncoder(), Prompting(), r"needs a language model\. .*HashEncoder.*use Embedding\(\), or Auto"),
        ("pairs", HashEncoder(), Embedding(SVC(decision_function_shape="ovo")), r"SVC scores pairs.*'ovr'"),
    ),
)
def test_a_model_that_can_not_serve_the_strategy_is_named(model, strategy, message):
    with pytest.raises(UnsupportedError, match=message):
        Classifier(model, strategy=strategy).fit(X, Y)


def test_a_head_needs_examples_of_two_classes():
    clf = Classifier(HashEncoder(), verbalizer={"a": "x", "b": "y"}, strategy=Embedding())
    with pytest.raises(InputError, match="Every labelled row is of the class 'a'"):
        clf.fit(["x", "y"], ["a", "a"])


@pytest.mark.parametrize("head", ["svm", SVC], ids=["name", "class"])
@pytest.mark.parametrize("names", [{name: name for name in NAMES}, None], ids=["words", "names"])
def test_a_head_must_be_a_classifier(head, names):
    with pytest.raises(ParameterError, match=r"head must be a scikit-learn classifier, .* Got ('svm'|<cl)"):
        Classifier(HashEncoder(), verbalizer=names, strategy=Embedding(head)).fit(X, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    cases(
        ("tuning", {"tuning": "contrastive"}, r"tuning must be Contrastive\(...\) or None\. Got 'contrastive'"),
        ("label prior", {"label_prior": "no"}, r"label_prior must be at least 0, or 'auto'\. Got 'no'"),
        ("below 0", {"label_prior": -1.0}, r"label_prior must be at least 0, or 'auto'\. Got -1\.0"),
    ),
)
def test_what_embedding_can_not_do_is_named(params, message):
    with pytest.raises(ParameterError, match=message):
        Classifier(HashEncoder(), strategy=Embedding(**params)).fit(X, Y)


@pytest.mark.parametrize("seed", ["x", -1, 2**32, 0.5, True])
@pytest.mark.parametrize(
    "fit",
    [
        lambda seed: Classifier(HashEncoder(), random_state=seed).fit(X, Y),
        lambda seed: Tagger(keyword_lm(), random_state=seed).fit(None, ["person", "place"]),
        lambda seed: Extractor(keyword_lm(), random_state=seed).fit(),
        lambda seed: Writer(keyword_lm(), "{{ text }} {{ answer }}", random_state=seed).fit(),
        lambda seed: ConformalClassifier(Classifier(HashEncoder()), 0.3, random_state=seed).fit(X, Y),
        lambda seed: evaluate(Classifier(HashEncoder()).fit(X, Y), X, Y, random_state=seed),
        lambda seed: next_to_label(None, X, random_state=seed),
        lambda seed: learning_curve(Classifier(HashEncoder()), X, Y, random_state=seed),
        lambda seed: label_errors(Classifier(HashEncoder()), X, Y, random_state=seed),
    ],
    ids=["classifier", "tagger", "extractor", "writer", "conformal", "evaluate", "next", "curve", "errors"],
)
def test_a_random_state_that_is_none_is_named(fit, seed):
    with pytest.raises(ParameterError, match=r"random_state must be an integer from 0 to 2\*\*32 - 1, .*\. Got "):
        fit(seed)


def test_a_classifier_that_is_not_fitted_says_so():
    for call in (lambda clf: clf.predict(X), lambda clf: clf.score(X, Y), lambda clf: clf.explain(X[0])):
        with pytest.raises(NotFittedError, match="This Classifier instance is not fitted yet"):
            call(Classifier(HashEncoder()))


@pytest.mark.parametrize("folder", [None, 3])
def test_a_folder_that_is_no_path_is_named(folder):
    with pytest.raises(ParameterError, match=rf"folder must be a path, as a text or a Path\. Got {folder}"):
        Classifier.load(folder)
    with pytest.raises(ParameterError, match=rf"folder must be a path, as a text or a Path\. Got {folder}"):
        Classifier(keyword_lm()).fit(X, Y).save(folder)
    with pytest.raises(ParameterError, match=rf"path must be a path, as a text or a Path\. Got {folder}"):
        Template.from_file(folder)


def test_a_head_must_have_scores():
    with pytest.raises(UnsupportedError, match="Ridge has neither predict_proba nor decision_function: use another"):
        Classifier(HashEncoder(), strategy=Embedding(Ridge())).fit(X, Y)


@pytest.mark.parametrize(
    ("weight", "message"),
    cases(
        ("too short", [1.0], r"sample_weight must be 12 numbers, one for each row\. Got shape \(1,\)"),
        ("word", "balanced", r"sample_weight must be numbers, as a list or an array\. Got 'balanced'"),
        ("a scalar", 1.0, r"12 numbers.*Got shape \(\)"),
        ("a column", np.ones((12, 1)), r"12 numbers.*Got shape \(12, 1\)"),
        ("negative", [1.0] * 11 + [-1.0], r"sample_weight\[11\] must be .* at least 0\. Got -1\.0"),
        ("NaN", [1.0, np.nan] + [1.0] * 10, r"sample_weight\[1\] must be a finite number.*Got nan"),
        ("all zero", [0.0] * 12, r"sample_weight is 0 for every row"),
        ("infinite", [np.inf] + [1.0] * 11, r"sample_weight\[0\] must be a finite number.*Got inf"),
    ),
)
def test_bad_weights_are_named(weight, message):
    with pytest.raises(InputError, match=message):
        Classifier(HashEncoder()).fit(X, Y, sample_weight=weight)


def test_bad_weights_are_named_in_score():
    clf = Classifier(HashEncoder()).fit(X, Y)
    for weight in ("balanced", [1.0], [-1.0] * 12):
        with pytest.raises(InputError, match="sample_weight"):
            clf.score(X, Y, sample_weight=weight)


def test_weights_need_labelled_rows():
    clf = Classifier(HashEncoder(), verbalizer={name: name for name in NAMES})
    for rows in ((None, NAMES), (X, None), (None, None)):
        with pytest.raises(InputError, match=r"sample_weight needs labelled rows: call fit\(X, y"):
            clf.fit(*rows, sample_weight=[1.0] * 3)


@pytest.mark.parametrize(
    ("clf", "message"),
    cases(
        ("prompting", prompting(), r"Prompting can't use sample_weight: leave it out"),
        ("auto", Classifier(keyword_lm()), r"Auto can't use sample_weight"),
        (
            "head",
            Classifier(HashEncoder(), strategy=Embedding(KNeighborsClassifier())),
            r"KNeighborsClassifier\.fit takes no sample_weight",
        ),
    ),
)
def test_weights_are_refused_by_who_can_not_use_them(clf, message):
    with pytest.raises(UnsupportedError, match=message):
        clf.fit(X, Y, sample_weight=[1.0] * 12)


# --- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [object(), 42, len, LogisticRegression()], ids=lambda model: type(model).__name__)
def test_an_object_that_is_no_model_is_refused(model):
    with pytest.raises(ModelLoadError, match=rf"{type(model).__name__} is not a model.*Pass a name, a folder"):
        Classifier(model).fit(X, Y)


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("read", ["score", "generate"])
def test_scores_that_are_not_numbers_are_refused_with_their_row(score, read):
    lm = FakeLM(lambda query: [score if "broken" in query.prefix else 0.0] * len(query.candidates))
    clf = Classifier(lm, strategy=Prompting(read=read)).fit(None, NAMES)
    with pytest.raises(UnsupportedError, match=r"Row 1: FakeLM\(.*\) gave NaN or infinite scores"):
        clf.predict_proba(["fine", "broken"])


def test_one_nan_among_the_candidates_is_refused():
    clf = Classifier(FakeLM(lambda query: [0.0, np.nan]), strategy=Prompting()).fit(None, ["a", "b"])
    with pytest.raises(UnsupportedError, match="Row 0"):
        clf.predict(["x"])


def test_an_impossible_candidate_among_others_has_probability_zero():
    for strategy in (Prompting(), Auto(), Prompting(calibration="contextual")):
        clf = Classifier(FakeLM(lambda query: [0.0, -np.inf]), strategy=strategy).fit(None, ["a", "b"])
        assert clf.predict_proba(["x"]).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("rows", [(None, NAMES), (X, Y)], ids=["zero-shot", "head"])
def test_vectors_that_are_not_numbers_are_refused(rows, monkeypatch):
    clf = Classifier(HashEncoder()).fit(*rows)
    monkeypatch.setattr(clf.model, "encode", lambda texts: np.full((len(texts), 64), np.nan))
    for call in (lambda: clf.predict(["broken"]), lambda: clf.fit(*rows)):
        with pytest.raises(UnsupportedError, match=r"HashEncoder.* gave NaN or infinite numbers for '"):
            call()


# --- label mass ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "strategy", "message"),
    cases(
        ("no mass", keyword_lm(), Prompting(), r"FakeLM\(keyword_scores\).*it has no label mass"),
        ("embedding", HashEncoder(), Embedding(), r"Embedding has no label_mass"),
        ("auto", HashEncoder(), None, r"An encoder has no label mass"),
    ),
)
def test_label_mass_is_refused_where_there_is_none(model, strategy, message):
    with pytest.raises(UnsupportedError, match=message):
        Classifier(model, strategy=strategy).fit(None, NAMES).label_mass(NEW)


@pytest.mark.parametrize(
    "call",
    [
        lambda: draw_support([["person"]], 1, random_state="one"),
        lambda: LabelPriorLogisticRegression(random_state="one").fit(np.eye(4), [0, 1, 0, 1]),
        lambda: adapt("embedded:masked", ["a text", "another"], random_state="one"),
    ],
)
def test_a_seed_of_what_is_called_alone_is_named(call):
    with pytest.raises(ParameterError, match="random_state must be an integer"):
        call()
