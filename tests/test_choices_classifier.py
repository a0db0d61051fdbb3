"""Choices per row: other strategies, and everything around a classifier."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

from fewshot import (
    Auto,
    Channel,
    Choices,
    Classifier,
    ConformalClassifier,
    Embedding,
    FakeLM,
    InputError,
    Prompting,
    Readout,
    Template,
    UnsupportedError,
    evaluate,
    learning_curve,
    select_template,
)
from tests.contract import HashEncoder
from tests.own_choices import ANSWERS, COPA, LISTED, NAMED, QUIZ, RIGHT, classifier, lm

# --- strategies -------------------------------------------------------------------------------------


def test_auto_prompts_with_the_prior_that_the_template_knows():
    clf = Classifier(lm(), NAMED).fit()
    assert repr(clf.strategy_.chosen_) == "Prompting(calibration='pmi')"
    assert repr(Classifier(lm(), LISTED).fit(QUIZ).strategy_.chosen_) == "Prompting()"
    assert repr(Classifier(lm(kind="entailment"), NAMED).fit(COPA).strategy_.chosen_) == "Prompting()"
    assert "no labelled rows" in str(clf.report_)


def knowing(query):
    """Likes short choices, and right ones where the choices are in the prompt's own words."""
    hints = {"colour": "red", "flies": "bird", "wet": "sea", "barks": "dog", "fruit": "apple", "tool": "nail"}
    own = query.prefix.splitlines()[0] if query.prefix else ""
    return [
        -0.3 * len(word) + 6.0 * any(hint in own and answer in word for hint, answer in hints.items())
        for word in query.candidates
    ]


def test_auto_compares_ways_to_prompt_on_labelled_rows():
    rows, y = QUIZ * 2, ANSWERS * 2
    source = LISTED.replace("---\nchoices", "---\ndomain_premise: 'Answer: '\nchoices")
    clf = Classifier(FakeLM(knowing), source, strategy=Auto(), random_state=0).fit(rows, y)
    names = [one.name for one in clf.report_.candidates]
    assert names == ["prompting", "prompting without calibration", "prompting with demonstrations"]
    assert clf.score(QUIZ, ANSWERS) == 1.0
    masked = Classifier(FakeLM(knowing, kind="masked"), source, random_state=0).fit(rows, y)
    assert [one.name for one in masked.report_.candidates] == ["prompting", "prompting without calibration"]
    plain = Classifier(FakeLM(knowing, kind="masked"), LISTED, random_state=0).fit(rows, y)
    assert "no other way" in str(plain.report_)
    assert repr(plain.strategy_.chosen_) == "Prompting()"


@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        (Readout("labels"), lm()),
        (Channel(), lm()),
        (Embedding(), HashEncoder()),
        (Auto(), HashEncoder()),
    ],
    ids=["readout", "channel", "embedding", "auto with an encoder"],
)
def test_strategies_of_fixed_words_refuse_by_name(strategy, model):
    with pytest.raises(UnsupportedError, match="each row brings its own choices: use Prompting"):
        classifier(strategy=strategy, model=model).fit(COPA, RIGHT)


def test_a_generated_answer_is_not_looked_for():
    with pytest.raises(UnsupportedError, match="use read='score'"):
        classifier(strategy=Prompting(read="generate")).fit()


def test_several_templates_are_averaged():
    other = NAMED.replace("{{ premise }} {{", "What follows? {{ premise }} {{")
    clf = classifier([NAMED, other]).fit()
    logs = np.mean([np.log(classifier(one).fit().predict_proba(COPA)) for one in (NAMED, other)], axis=0)
    assert np.allclose(clf.predict_proba(COPA), softmax(logs, axis=1))
    second = LISTED.replace("{{ q }}", "Question: {{ q }}")
    learned = classifier([LISTED, second], strategy=Prompting(ensemble="learned")).fit(QUIZ, ANSWERS)
    proba = learned.predict_proba(QUIZ)
    assert learned.strategy_.weights_.sum() == pytest.approx(1)
    assert np.allclose(proba.sum(axis=1), 1)
    assert proba[1, 2] == 0
    zero_shot = classifier([LISTED, second]).fit(None, [0, 1, 2])
    assert np.allclose(zero_shot.predict_proba(QUIZ).sum(axis=1), 1)
    with pytest.raises(InputError, match="for different classes"):
        classifier([NAMED, "---\nwords: {a: x, b: y}\n---\n{{ premise }} {{ label }}"]).fit()


# --- around the classifier ----------------------------------------------------------------------------


def test_a_frame_a_polars_frame_and_mappings_are_the_same_rows():
    rows = [{**row, "choice3": None} for row in COPA[:2]] + [{**row, "choice3": "it was so"} for row in COPA[2:]]
    source = NAMED.replace("[choice1, choice2]", "[choice1, choice2, choice3]")
    clf = classifier(source).fit()
    wanted = clf.predict_proba(rows)
    assert (clf.predict_proba(pd.DataFrame(rows)) == wanted).all()
    assert (clf.predict_proba(pl.DataFrame(rows)) == wanted).all()
    quiz = classifier(LISTED).fit(QUIZ)
    assert (quiz.predict_proba(pd.DataFrame(QUIZ)) == quiz.predict_proba(QUIZ)).all()
    assert (quiz.predict_proba(pl.DataFrame(QUIZ)) == quiz.predict_proba(QUIZ)).all()


def test_scikit_learn_all_the_way():
    X, y = pd.DataFrame(QUIZ * 2), ANSWERS * 2
    clf = classifier(LISTED, Choices(n_choices=3), model=FakeLM(knowing))
    assert clone(clf).verbalizer is clf.verbalizer
    assert cross_val_score(clf, X, y, cv=2, error_score="raise").tolist() == [1.0, 1.0]
    assert cross_val_score(clf, QUIZ * 2, y, cv=2, error_score="raise", scoring="neg_log_loss").max() < 0
    proba = cross_val_predict(clf, X, y, cv=2, method="predict_proba")
    assert np.allclose(proba.sum(axis=1), 1)
    grid = {
        "verbalizer": [Choices(n_choices=3), Choices(token_aggregation="per-byte", n_choices=3)],
        "strategy__shots": [0, 1],
    }
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    assert search.predict(X).tolist() == y


def test_a_fitted_classifier_is_pickled():
    clf = classifier(strategy=Prompting(shots=1, calibration="pmi")).fit(COPA, RIGHT)
    again = pickle.loads(pickle.dumps(clf))
    assert (again.predict_proba(COPA) == clf.predict_proba(COPA)).all()
    assert again.template_ == clf.template_


def test_a_failed_fit_leaves_the_previous_state():
    clf = classifier(LISTED).fit(QUIZ)
    before = clf.predict_proba(QUIZ)
    with pytest.raises(InputError):
        clf.fit(QUIZ, [5] * 6)
    assert (clf.predict_proba(QUIZ) == before).all()


def test_the_preview_shows_the_choices_of_each_row():
    clf = classifier(LISTED).fit(QUIZ)
    rows = [{"q": "Which?", "options": ["<b>red</b>", "blue", None]}, QUIZ[1]]
    assert str(clf.preview(rows)) == (
        "[0] 7 tokens\nWhich?\n- <b>red</b>\n- blue\nAnswer: ___\ncandidates: <b>red</b> | blue\n\n"
        "[1] 11 tokens\nWhich flies?\n- a stone\n- a bird\nAnswer: ___\ncandidates: a stone | a bird"
    )
    html = clf.preview(rows)._repr_html_()
    assert "&lt;b&gt;red&lt;/b&gt; | blue</span>" in html
    assert "a stone | a bird</span>" in html


def test_results_are_judged_like_any_others():
    clf = classifier(LISTED, Choices(n_choices=3), model=FakeLM(knowing)).fit(QUIZ)
    report = evaluate(clf, QUIZ, ANSWERS, n_bootstrap=20)
    assert "accuracy" in str(report)
    ranking = select_template([LISTED, LISTED.replace("{{ q }}", "Q: {{ q }}")], QUIZ * 2, ANSWERS * 2, model=lm())
    assert len(ranking.templates) == 2
    unlabelled = select_template([LISTED, LISTED.replace("{{ q }}", "Q: {{ q }}")], QUIZ, model=lm())
    assert np.isfinite(unlabelled.values).all()
    sets = ConformalClassifier(clf, alpha=0.2).fit(QUIZ * 5, ANSWERS * 5).predict_set(QUIZ)
    assert not sets[1, 2]
    curve = learning_curve(clf, QUIZ * 4, ANSWERS * 4, shots=[0, 2], draws=2)
    assert "accuracy" in str(curve)


def test_the_lint_looks_at_the_rows_own_choices():
    template = Template(LISTED)
    report = template.lint(lm(limit=14), QUIZ)
    assert report.ok
    assert report.words == ()
    assert report.tokens.longest == 17  # the first row, its longest choice in the list and at the end
    long = [{"q": "Which?", "options": ["red", "a very long answer"]}]
    (hint,) = (one for one in template.lint(lm(), long).findings if "times as long" in one.message)
    assert "Choices(token_aggregation='mean')" in hint.cure
    for verbalizer, source in ((Choices(token_aggregation="mean"), LISTED), (None, NAMED)):
        report = Template(source).lint(lm(), None if source == NAMED else long, verbalizer)
        assert report.ok
        assert not any("times as long" in one.message for one in report.findings)
    bad = template.lint(None, [*QUIZ, {"q": "Which?", "options": ["x", 7]}])
    assert [one.message for one in bad.findings if one.level == "error"] == [
        "1 of 7 rows can't fill the template; the first, row 6: choice 1 must be text. Got int: 7."
    ]
    assert "label words" in template.lint(None, QUIZ, {"a": "x", "b": "y"}).findings[0].message
    assert "an encoder" in template.lint(HashEncoder(), QUIZ).findings[0].message
    listing = Template("---\ninstruction: '{{ labels[1] }}?'\nchoices: [a, b]\n---\n{{ q }} {{ label }}")
    assert listing.lint(lm(), [{"q": "Which?", "a": "x", "b": "y"}]).ok
