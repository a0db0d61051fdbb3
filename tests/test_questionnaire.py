"""Questionnaire: several questions about one text are answered as one by one, in one call of the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from fewshot import (
    Auto,
    Classifier,
    ConformalClassifier,
    Embedding,
    FakeLM,
    InputError,
    ParameterError,
    Prompting,
    Questionnaire,
    Readout,
    TemplateError,
    UnsupportedError,
    load,
)
from fewshot.models.encoder import SentenceEncoder
from tests.conftest import pair, sentence_model
from tests.contract import HashEncoder
from tests.kept import edited
from tests.together import together

TEXTS = ["fun and new", "dull and new", "fun and old", "dull and old", "so much fun", "how dull"]
MOOD = ["good", "poor", "good", "poor", "good", "poor"]
AGE = ["new", "new", "old", "old", None, None]
FORMS = {"mood": "Text: {{ text }}\nMood: {{ label }}", "age": "Text: {{ text }}\nAge: {{ label }}"}
CLASSES = {"mood": ["good", "poor"], "age": ["new", "old"]}


class Counting(FakeLM):
    """Says how often it was called, and about what."""

    def __init__(self):
        super().__init__(self._hint)
        self.calls = []

    @staticmethod
    def _hint(query):
        hints = {"good": "fun", "poor": "dull", "new": "new", "old": "old"}
        return [2.0 * query.prefix.count(hints.get(word, word)) for word in query.candidates]

    def loglikelihoods(self, queries):
        self.calls.append(list(queries))
        return super().loglikelihoods(queries)


def asked(lm, strategy=None, **more):
    strategy = Prompting() if strategy is None else strategy
    return Questionnaire({name: Classifier(lm, form, strategy=strategy, **more) for name, form in FORMS.items()})


def labels():
    return pd.DataFrame({"mood": MOOD, "age": AGE})


def same(questionnaire, rows, *, atol=1e-6):
    """What it says is what its classifiers say one by one."""
    proba, table = questionnaire.predict_proba(rows), questionnaire.predict(rows)
    for name, clf in questionnaire.classifiers_.items():
        np.testing.assert_allclose(proba[name], clf.predict_proba(rows), atol=atol)
        assert table[name].tolist() == clf.predict(rows).tolist()


def test_all_questions_about_a_batch_are_one_call():
    lm = Counting()
    both = asked(lm).fit(None, CLASSES)
    assert lm.calls == []
    found = both.predict(TEXTS)
    (call,) = lm.calls
    assert found["mood"].tolist() == MOOD
    assert found["age"].tolist()[:4] == AGE[:4]
    assert [query.prefix[6:9] for query in call] == sorted(text[:3] for text in TEXTS for _ in FORMS)
    lm.calls.clear()
    both.predict_proba(TEXTS)
    assert len(lm.calls) == 1


def test_two_models_are_two_calls():
    first, second = Counting(), Counting()
    both = asked(first).set_params(age__model=second).fit(None, CLASSES)
    both.predict(TEXTS)
    assert [len(lm.calls[0]) for lm in (first, second)] == [len(TEXTS), len(TEXTS)]


@pytest.mark.parametrize(
    "strategy",
    [
        Prompting(shots=2),
        Prompting(calibration="batch"),
        Auto(),
        Readout("labels"),
        Prompting(shots=2, selection="nearest", encoder=HashEncoder()),
    ],
    ids=repr,
)
def test_the_answers_are_those_of_the_classifiers_one_by_one(strategy):
    questionnaire = asked(Counting(), strategy, random_state=0).fit(TEXTS, labels())
    same(questionnaire, [*TEXTS, "what a fun and old thing"])


@pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
@pytest.mark.parametrize("name", ["gpt2", "gpt2-chat", "bert", "t5"])
def test_real_models_answer_alike(name):
    questionnaire = asked(load(pair(name))).fit(None, CLASSES)
    same(questionnaire, TEXTS, atol=1e-4)


@pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
def test_threads_get_what_one_caller_gets():
    questionnaire = asked(load(pair("gpt2"))).fit(None, CLASSES)
    parts = [TEXTS[i:] + TEXTS[:i] for i in range(len(TEXTS))] * 4
    expected = [questionnaire.predict_proba(part) for part in parts[: len(TEXTS)]] * 4
    found = together([lambda part=part: questionnaire.predict_proba(part) for part in parts])
    for one, other in zip(found, expected, strict=True):
        assert not isinstance(one, BaseException), one
        for name in FORMS:
            np.testing.assert_allclose(one[name], other[name], atol=1e-4)


def test_several_wordings_and_orders_are_asked_in_the_same_call():
    lm = Counting()
    listed = Classifier(lm, "generic/listed", strategy=Prompting(orders=2))
    worded = Classifier(lm, list(FORMS.values()), strategy=Prompting())
    both = Questionnaire({"mood": listed, "age": worded}).fit(None, CLASSES)
    both.predict(TEXTS)
    assert [len(call) for call in lm.calls] == [4 * len(TEXTS)]
    same(both, TEXTS)


def test_an_average_of_strategies_asks_by_itself():
    clf = Classifier(Counting(), strategy=Auto(), random_state=0)
    both = Questionnaire({"mood": clf, "age": clf}).fit(TEXTS * 2, pd.DataFrame({"mood": MOOD * 2, "age": AGE * 2}))
    assert both.classifiers_["mood"].strategy_.beside_
    same(both, TEXTS)


def test_an_encoder_encodes_each_text_once(monkeypatch):
    encoder = SentenceEncoder(sentence_model())
    questionnaire = Questionnaire({name: Classifier(encoder, strategy=Embedding()) for name in FORMS}).fit(
        None, CLASSES
    )
    read = []
    inner = encoder.model.encode
    monkeypatch.setattr(encoder.model, "encode", lambda texts, **more: read.extend(texts) or inner(texts, **more))
    questionnaire.predict(TEXTS)
    assert set(read) == set(TEXTS)
    assert len(read) < 2 * len(TEXTS)  # one is read again to see that batches are sound


def test_a_missing_cell_leaves_its_row_out_of_that_question():
    for missing in (None, np.nan, pd.NA):
        Y = labels()
        Y["age"] = [*AGE[:4], missing, missing]
        questionnaire = asked(Counting(), Prompting(shots=2)).fit(TEXTS, Y)
        assert questionnaire.classifiers_["mood"].n_texts_ == 6
        assert questionnaire.classifiers_["age"].n_texts_ == 4
        assert questionnaire.classes_["age"].tolist() == ["new", "old"]


def test_rows_of_a_frame_are_left_out_by_place_and_the_index_is_kept():
    X = pd.DataFrame({"text": TEXTS}, index=list("uvwxyz"))
    questionnaire = asked(Counting(), Prompting(shots=2)).fit(X, labels())
    alone = Classifier(Counting(), FORMS["age"], strategy=Prompting(shots=2)).fit(TEXTS[:4], AGE[:4])
    np.testing.assert_array_equal(questionnaire.predict_proba(X)["age"], alone.predict_proba(TEXTS))
    assert questionnaire.predict(X).index.tolist() == list("uvwxyz")
    assert questionnaire.predict(X["text"]).index.tolist() == list("uvwxyz")
    assert questionnaire.predict(TEXTS).index.tolist() == list(range(6))


def test_a_question_without_labels_is_fitted_on_the_texts():
    words = {"new": "new", "old": "old"}
    questionnaire = asked(Counting(), Prompting(calibration="batch")).set_params(age__verbalizer=words)
    questionnaire.fit(TEXTS, labels().assign(age=None))
    assert questionnaire.classifiers_["age"].n_texts_ == 6
    assert not questionnaire.classifiers_["age"].class_counts_.any()


def test_questions_that_bring_their_words_need_nothing():
    words = {name: {one: one for one in own} for name, own in CLASSES.items()}
    questionnaire = asked(Counting()).set_params(mood__verbalizer=words["mood"], age__verbalizer=words["age"])
    for fitted in (questionnaire.fit(), questionnaire.fit(TEXTS)):
        assert fitted.predict(TEXTS)["mood"].tolist() == MOOD


def test_weights_go_to_the_rows_they_are_of():
    encoder = HashEncoder()
    questionnaire = Questionnaire({name: Classifier(encoder, strategy=Embedding()) for name in FORMS})
    weights = np.array([1.0, 2.0, 0.5, 1.0, 9.0, 9.0])
    questionnaire.fit(TEXTS, labels(), sample_weight=weights)
    alone = Classifier(encoder, strategy=Embedding()).fit(TEXTS[:4], AGE[:4], sample_weight=weights[:4])
    np.testing.assert_array_equal(questionnaire.predict_proba(TEXTS)["age"], alone.predict_proba(TEXTS))
    with pytest.raises(InputError, match="The question 'age': sample_weight must be 6 numbers, one for each row"):
        Questionnaire({"age": Classifier(encoder)}).fit(TEXTS, labels()[["age"]], sample_weight=[1.0])


def test_score_is_the_mean_accuracy_over_the_labelled_cells():
    questionnaire = asked(Counting()).fit(None, CLASSES)
    assert questionnaire.score(TEXTS, labels()) == 1.0
    wrong = labels().assign(age=["old", "new", "old", "old", None, None])
    assert questionnaire.score(TEXTS, wrong) == (1.0 + 0.75) / 2
    assert questionnaire.score(TEXTS, wrong.assign(mood=None)) == 0.75
    with pytest.raises(InputError, match="Y has no label to compare with"):
        questionnaire.score(TEXTS, wrong.assign(mood=None, age=None))


def test_parameters_are_reached_inside_and_clones_are_unfitted():
    questionnaire = asked(Counting()).fit(None, CLASSES)
    questionnaire.set_params(mood__strategy__shots=4, age=Classifier(template="other"))
    params = questionnaire.get_params()
    assert params["mood__strategy__shots"] == 4
    assert params["age__template"] == "other"
    other = clone(questionnaire)
    assert not hasattr(other, "classifiers_")
    assert other.classifiers["mood"] is not questionnaire.classifiers["mood"]
    assert other.get_params()["mood__model"] is params["mood__model"]
    assert questionnaire.set_params(classifiers={"x": Classifier()}, x__template="t").classifiers["x"].template == "t"
    with pytest.raises(ValueError, match="nothing"):
        questionnaire.set_params(nothing__template="t")


def test_a_grid_search_goes_through_it():
    named = {f"{name}__verbalizer": {one: one for one in own} for name, own in CLASSES.items()}
    search = GridSearchCV(asked(Counting()).set_params(**named), {"mood__strategy__shots": [0, 2]}, cv=3)
    assert search.fit(TEXTS[:4], labels()[:4]).cv_results_["mean_test_score"][0] == 1.0


def test_previews_and_explanations_are_by_question():
    questionnaire = asked(Counting()).fit(None, CLASSES)
    assert "Age: " in str(questionnaire.preview(TEXTS)["age"])
    assert str(questionnaire.explain("fun")["mood"]).startswith("good")


def test_other_classifiers_ask_by_themselves():
    lm = Counting()
    frozen = FrozenEstimator(Classifier(lm, FORMS["mood"], strategy=Prompting()).fit(None, CLASSES["mood"]))
    sets = ConformalClassifier(frozen, alpha=0.4)
    vectors = make_pipeline(HashEncoderStep(), LogisticRegression())
    questionnaire = Questionnaire({"frozen": frozen, "sets": sets, "vectors": vectors})
    questionnaire.fit(TEXTS, pd.DataFrame({"frozen": MOOD, "sets": MOOD, "vectors": MOOD}))
    same(questionnaire, TEXTS)
    assert questionnaire.classifiers_["frozen"].estimator is frozen.estimator
    with pytest.raises(UnsupportedError, match="The question 'sets': ConformalClassifier has no explain"):
        Questionnaire({"sets": sets}).fit(TEXTS, {"sets": MOOD}).explain("fun")


class HashEncoderStep(LogisticRegression):
    """A transformer of texts."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return HashEncoder().encode(list(X))


@pytest.mark.parametrize(
    ("classifiers", "message"),
    [
        ([Classifier()], "must be a mapping of names to classifiers"),
        ({}, "must be a mapping of names to classifiers"),
        ({"a__b": Classifier()}, "without '__'"),
        ({"classifiers": Classifier()}, "not 'classifiers'"),
        ({1: Classifier()}, "Got 1"),
        ({"mood": Classifier}, "The question 'mood' needs a classifier"),
        ({"mood": Questionnaire({"a": Classifier()})}, "The question 'mood' needs a classifier"),
    ],
)
def test_what_is_no_mapping_of_classifiers_is_refused(classifiers, message):
    with pytest.raises(ParameterError, match=message):
        Questionnaire(classifiers).fit(None, CLASSES)


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (TEXTS, {"mood": MOOD}, "Y has no column 'age'"),
        (TEXTS, {"mood": MOOD, "age": AGE, "aeg": AGE}, "Y has a column 'aeg', which is no question"),
        (TEXTS, MOOD, "Y must be a DataFrame or a mapping"),
        (None, labels(), "Without X, Y must be a mapping"),
        (TEXTS, {"mood": MOOD, "age": AGE[:3]}, "The question 'age': X has 6 rows and its column of Y has 3"),
        (TEXTS, {"mood": MOOD, "age": [["a"]] * 6}, "The question 'age': y\\[0\\] must be one class"),
        ([*TEXTS[:5], 1], labels(), "X\\[5\\] must be text"),
    ],
)
def test_a_fault_of_the_input_is_said(X, Y, message):
    with pytest.raises(InputError, match=message):
        asked(Counting()).fit(X, Y)


def test_an_error_names_its_question_and_leaves_the_previous_fit():
    questionnaire = asked(Counting()).fit(None, CLASSES)
    before = questionnaire.classifiers_
    with pytest.raises(TemplateError, match="The question 'age': "):
        questionnaire.set_params(age__template="{{ label }} {{ label }}").fit(TEXTS, labels())
    assert questionnaire.classifiers_ is before
    with pytest.raises(TemplateError, match="The question 'mood': Row 1: "):
        asked(Counting()).fit(None, CLASSES).predict([{"text": "a"}, {"title": "a"}])


def test_several_labels_a_text_are_refused():
    matrix = np.eye(2, dtype=int)[[0, 1, 0, 1, 0, 1]]
    with pytest.raises(
        UnsupportedError, match="The question 'mood': a question of a questionnaire gives each text one"
    ):
        asked(Counting()).fit(TEXTS, {"mood": matrix, "age": AGE})


@pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
def test_it_is_kept_in_one_folder_with_the_model_once(tmp_path):
    questionnaire = asked(load(pair("gpt2")), Prompting(shots=2), random_state=0).fit(TEXTS, labels())
    folder = questionnaire.save(tmp_path / "kept")
    again = Questionnaire.load(folder)
    expected = questionnaire.predict_proba(TEXTS)
    for name, found in again.predict_proba(TEXTS).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
    assert again.classifiers_["mood"].model_ is again.classifiers_["age"].model_
    assert [path.name for path in (folder / "models").iterdir()] == ["0"]
    card = (folder / "README.md").read_text()
    assert "# Questions about a text: mood, age" in card
    assert "Questionnaire.load" in card
    assert again.save(folder, overwrite=True) == folder
    with pytest.raises(InputError, match="holds a Questionnaire, not a Classifier"):
        Classifier.load(folder)


def test_a_model_of_ones_own_is_given_again(tmp_path):
    lm = Counting()
    folder = asked(lm).fit(None, CLASSES).save(tmp_path / "kept")
    assert Questionnaire.load(folder, model=lm).predict(TEXTS)["mood"].tolist() == MOOD


def test_a_folder_that_holds_something_else_as_a_classifier_is_refused(tmp_path):
    lm = Counting()
    folder = asked(lm).fit(None, CLASSES).save(tmp_path / "kept")

    def change(config):
        place = next(i for i, one in enumerate(config["nodes"]) if one.get("object") == "Prompting")
        attributes = config["nodes"][config["root"]["ref"]]["attributes"]
        config["nodes"][attributes["classifiers_"]["ref"]]["dict"][0][1] = {"ref": place}

    edited(folder, change)
    with pytest.raises(InputError, match="Questionnaire has a Prompting for the question 'mood'"):
        Questionnaire.load(folder, model=lm)
