"""Distillation: soft labels, weighted teachers, generations, and which rows count as unlabelled."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from fewshot import (
    Channel,
    Classifier,
    Distillation,
    Embedding,
    FakeLM,
    FineTuning,
    InputError,
    LabelMassWarning,
    Prompting,
    Readout,
    UnsupportedError,
    load,
)
from fewshot.heads.logistic import Problem, make_folds
from fewshot.strategies.distillation import _surest
from tests.conftest import language_model, sentence_model
from tests.contract import HashEncoder

SOURCE = "{{ text }} Mood: {{ label }}"
WORDS = {"bad": "bad", "good": "good"}
GOOD = ["a fun day", "fun all over", "such fun to see", "fun and games", "it was fun again", "what fun we had"]
BAD = ["so dull", "a dull tale", "dull and wet", "quite dull and grey", "dull as ever", "the dull part"]
X = [text for both in zip(GOOD, BAD, strict=True) for text in both]
Y = ["good", "bad"] * 6
NEW = ["fun for all", "a dull and grey day"]


def knows(query):
    own = query.prefix.rsplit("Mood:", 1)[0]
    scores = {"good": 1.5 * own.count("fun"), "bad": 1.5 * own.count("dull")}
    return [scores[word] - 5.0 for word in query.candidates]


def contrary(query):
    return [-score for score in knows(query)]


def distilled(strategy=None, lm=None, template=SOURCE, **params):
    strategy = strategy or Distillation(Prompting(), encoder=HashEncoder(), **params)
    return Classifier(lm or FakeLM(knows), template, WORDS, strategy, random_state=0)


class TestRows:
    def test_no_label_at_all(self):
        for y in (None, [None] * 12, np.array([None] * 12, dtype=object), [-1] * 12):
            clf = distilled().fit(X, y)
            assert clf.predict(NEW).tolist() == ["good", "bad"]
            assert clf.strategy_.soft_labels_.shape == (12, 2)
            assert clf.classes_.tolist() == ["bad", "good"]

    @pytest.mark.parametrize("mark", [None, -1])
    def test_some_labels(self, mark):
        y = [*Y[:6], *[mark] * 6]
        clf = distilled().fit(X, y)
        assert clf.predict(NEW).tolist() == ["good", "bad"]
        assert clf.strategy_.soft_labels_.shape == (6, 2)

    def test_minus_one_is_a_class_where_it_has_words(self):
        clf = Classifier(
            FakeLM(knows), SOURCE, {-1: "bad", 1: "good"}, Distillation(Prompting(), encoder=HashEncoder())
        )
        clf.fit(X, [1, -1, None, None, *[1, -1] * 4])
        assert clf.predict(NEW).tolist() == [1, -1]
        assert clf.strategy_.soft_labels_.shape == (2, 2)

    def test_minus_one_is_a_class_where_the_template_names_it(self):
        source = f"---\nwords: {{-1: bad, 1: good}}\n---\n{SOURCE}"
        clf = Classifier(FakeLM(knows), source, None, Distillation(Prompting(), encoder=HashEncoder()))
        clf.fit(X, [1, -1, None, None, *[1, -1] * 4])
        assert clf.predict(NEW).tolist() == [1, -1]
        assert clf.strategy_.soft_labels_.shape == (2, 2)

    def test_nan_is_an_error_and_says_what_marks_a_row(self):
        with pytest.raises(InputError, match=r"y\[1\] is nan: None, not NaN, marks an unlabelled row"):
            distilled().fit(X[:3], ["good", float("nan"), None])

    @pytest.mark.parametrize("strategy", [Prompting(), Prompting(2), Readout("labels"), Channel()], ids=repr)
    def test_other_strategies_name_the_unlabelled_row(self, strategy):
        with pytest.raises(InputError, match=r"y\[2\] is None: .*Distillation"):
            distilled(strategy).fit(X[:4], ["good", "bad", None, "bad"])

    def test_without_classes_there_is_nothing_to_label_with(self):
        clf = Classifier(FakeLM(knows), SOURCE, None, Distillation(Prompting(), encoder=HashEncoder()))
        with pytest.raises(InputError, match="There are no classes"):
            clf.fit(X, [None] * 12)

    def test_without_unlabelled_rows_there_is_nothing_to_learn_from(self):
        for given in ((X, Y), (None, ["bad", "good"])):
            with pytest.raises(InputError, match="learns from unlabelled rows"):
                distilled().fit(*given)


class TestTeaching:
    def test_soft_labels_are_what_the_teacher_says(self):
        clf = distilled(ask_student=False).fit(X)
        teacher = Classifier(FakeLM(knows), SOURCE, WORDS, Prompting()).fit(X)
        np.testing.assert_allclose(clf.strategy_.soft_labels_, teacher.predict_proba(X))

    @pytest.mark.parametrize("y", [None, [*Y[:6], *[None] * 6]], ids=["no labels", "labels"])
    def test_a_student_with_another_model_has_a_say_before_it_learns(self, y):
        free = X if y is None else X[6:]
        clf = distilled(ask_student=True).fit(X, y)
        teacher = Classifier(FakeLM(knows), SOURCE, WORDS, Prompting()).fit(X, y and Y)
        student = Classifier(HashEncoder(), SOURCE, WORDS, Embedding()).fit()
        product = teacher.predict_proba(free) * student.predict_proba(free)
        np.testing.assert_allclose(clf.strategy_.soft_labels_, product / product.sum(axis=1, keepdims=True))
        assert len(clf.strategy_.teachers_) == len(clf.strategy_.weights_) == 1

    def test_a_student_with_the_same_model_has_none(self):
        clf = Classifier(HashEncoder(), strategy=Distillation(Embedding())).fit(X, [*Y[:8], *[None] * 4])
        teacher = Classifier(HashEncoder(), strategy=Embedding()).fit(X[:8], Y[:8])
        np.testing.assert_allclose(clf.strategy_.soft_labels_, teacher.predict_proba(X[8:]))

    def test_the_default_student_is_held_back_by_the_number_of_rows(self):
        for rows in (X, X * 3):
            student = distilled().fit(rows).strategy_.student_
            head = student.head_
            assert head.tau_ == 10.0
            np.testing.assert_allclose(head.C_, 600 / len(rows), rtol=0.05)  # without what is improbable
            assert type(student.head.C) is float  # prints without the name of its type
        assert distilled(student=Embedding()).fit(X).strategy_.student_.head is None

    def test_the_default_student_tunes_an_encoder_that_can_be_tuned(self):
        encoder = load(sentence_model())
        clf = distilled(Distillation(Prompting(), encoder=encoder)).fit(X)
        assert clf.strategy_.student_.encoder_ is not encoder
        assert (clf.predict(X) == Y).all()
        plain = distilled(Distillation(Prompting(), Embedding(), encoder=encoder)).fit(X)
        assert plain.strategy_.student_.encoder_ is encoder

    def test_a_temperature_flattens_them(self):
        soft = distilled(temperature=4.0).fit(X).strategy_.soft_labels_
        assert (soft.max(axis=1) < distilled().fit(X).strategy_.soft_labels_.max(axis=1)).all()

    def test_the_student_learns_the_cross_entropy_of_the_soft_labels(self):
        """The definition: every row once for every class, weighted; scikit-learn's own regression is the oracle."""
        clf = distilled(student=Embedding(LogisticRegression())).fit(X)
        soft, vectors = clf.strategy_.soft_labels_, HashEncoder().encode(X)
        oracle = LogisticRegression().fit(
            np.vstack([vectors, vectors]), ["bad"] * 12 + ["good"] * 12, sample_weight=soft.T.ravel()
        )
        np.testing.assert_allclose(clf.predict_proba(NEW), oracle.predict_proba(HashEncoder().encode(NEW)), atol=1e-3)

    def test_labelled_rows_count_as_much_as_they_are_said_to(self):
        y = ["bad", "good", *[None] * 10]  # both wrong
        light = distilled(student=Embedding(label_prior=0.0), labelled_weight=1e-3).fit(X, y)
        heavy = distilled(student=Embedding(label_prior=0.0), labelled_weight=1e3).fit(X, y)
        assert light.predict(X[:2]).tolist() == ["good", "bad"]
        assert heavy.predict(X[:2]).tolist() == ["bad", "good"]

    def test_sample_weights_reach_the_student(self):
        y = ["bad", "good", *[None] * 10]
        clf = distilled(student=Embedding(label_prior=0.0)).fit(X, y, sample_weight=[1e3] * 2 + [1.0] * 10)
        assert clf.predict(X[:2]).tolist() == ["bad", "good"]

    def test_teachers_count_as_much_as_they_are_right(self):
        strategy = Distillation([Prompting(), Readout("labels")], encoder=HashEncoder())
        clf = distilled(strategy, FakeLM(contrary)).fit(X, [*Y[:8], *[None] * 4])
        wrong, right = clf.strategy_.weights_
        assert wrong == 0
        assert right == 1
        assert clf.predict(NEW).tolist() == ["good", "bad"]

    def test_every_template_is_a_teacher(self):
        clf = distilled(template=[SOURCE, "{{ text }} It is {{ label }} Mood:"]).fit(X)
        assert len(clf.strategy_.teachers_) == 2
        np.testing.assert_allclose(clf.strategy_.weights_, 0.5)
        assert clf.predict(NEW).tolist() == ["good", "bad"]

    def test_the_language_model_itself_can_be_the_student(self):
        student = FineTuning(steps=12, learning_rate=1e-2)
        clf = Classifier(
            language_model("bert"),
            "{{ text }} It was {{ label }}.",
            WORDS,
            Distillation(Prompting(calibration="batch"), student),
        )
        with pytest.warns(LabelMassWarning):  # the teacher's
            clf.fit(X, [*Y[:8], *[None] * 4])
        history = clf.strategy_.student_.history_
        assert history[-1].loss < history[0].loss
        assert len(clf.preview(X).rows) == 12

    def test_an_encoder_teaches_itself(self):
        clf = Classifier(HashEncoder(), strategy=Distillation(Embedding())).fit(X, [*Y[:8], *[None] * 4])
        assert clf.predict(NEW).tolist() == ["good", "bad"]

    def test_it_explains_by_its_student(self):
        clf = distilled().fit(X)
        assert clf.explain(NEW[0]).predicted == "good"
        assert len(clf.preview(NEW)) == 2

    def test_it_is_deterministic(self):
        y = [*Y[:6], *[None] * 6]
        one, other = (distilled(generations=2).fit(X, y).predict_proba(NEW) for _ in range(2))
        np.testing.assert_array_equal(one, other)


class TestGenerations:
    def test_sets_grow_by_five_and_end_with_all(self, monkeypatch):
        sizes = []
        surest = _surest
        monkeypatch.setattr(
            "fewshot.strategies.distillation._surest", lambda soft, size: sizes.append(size) or surest(soft, size)
        )
        distilled(generations=3).fit(X * 5)
        assert sizes == [3, 12, 60]

    def test_the_surest_of_each_class_come_first(self):
        soft = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.45, 0.55], [0.99, 0.01]])
        assert _surest(soft, 2).tolist() == [3, 5]
        assert _surest(soft, 4).tolist() == [0, 3, 4, 5]
        assert _surest(soft, 5).tolist() == [0, 1, 3, 4, 5]
        assert _surest(soft, 9).tolist() == [0, 1, 2, 3, 4, 5]


class TestBadInput:
    @pytest.mark.parametrize("params", [{"generations": 0}, {"temperature": 0.0}, {"labelled_weight": -1.0}], ids=str)
    def test_parameters_out_of_range_are_named(self, params):
        with pytest.raises(ValueError, match=f"{next(iter(params))} must be"):
            distilled(**params).fit(X)

    def test_no_teacher(self):
        with pytest.raises(InputError, match="empty list"):
            distilled(Distillation([])).fit(X)

    @pytest.mark.parametrize("name", ["student", "teacher"])
    @pytest.mark.parametrize("given", ["embedding", Embedding], ids=["name", "class"])
    def test_what_is_no_strategy_is_named(self, name, given):
        with pytest.raises(InputError, match=f"{name} must be a strategy such as"):
            distilled(Distillation(**{"teacher": Prompting(), "encoder": HashEncoder(), name: given})).fit(X)

    def test_a_student_that_asks_prompts_is_told_why_it_can_not_learn(self):
        with pytest.raises(UnsupportedError, match=r"A student learns from rows with weights, .*Prompting can't use"):
            distilled(student=Prompting()).fit(X)

    def test_a_student_without_weights_is_named(self):
        with pytest.raises(UnsupportedError, match="no sample_weight"):
            distilled(student=Embedding(KNeighborsClassifier(2))).fit(X)

    def test_a_teacher_that_distils_is_refused(self):
        with pytest.raises(UnsupportedError, match="raise generations"):
            distilled(Distillation(Distillation())).fit(X)

    def test_teachers_that_know_one_class_only_are_named(self):
        lm = FakeLM(lambda query: [9.0 * (word == "good") for word in query.candidates])
        with pytest.raises(InputError, match=r"every row the class 'good'.*calibration='batch'"):
            distilled(lm=lm).fit(X)

    def test_several_labels_are_refused(self):
        with pytest.raises(UnsupportedError, match="one class"):
            distilled().fit(X, np.eye(2, dtype=int)[[0, 1] * 6])


def test_folds_never_part_what_is_the_same_sample():
    """A soft label is the same vector with several classes: choosing tau and C must not see it on both sides."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 5))
    rows, classes = np.repeat(vectors, 2, axis=0), np.tile([0, 1], 30)
    splits = make_folds(Problem(rows, np.zeros((60, 2)), np.eye(2)[classes], np.ones(60), several=False), 0)
    assert len(splits) == 5
    for train, test in splits:
        assert not {rows[i].tobytes() for i in train} & {rows[i].tobytes() for i in test}
