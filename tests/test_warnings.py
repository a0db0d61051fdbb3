"""What is warned of once a call and decided all the same: shortened rows, unlikely words, answers of no class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fewshot import (
    Auto,
    Classifier,
    FakeLM,
    LabelMassWarning,
    NoAnswerWarning,
    Prompting,
    PromptTooLongError,
    ShortenedWarning,
)
from fewshot.models.base import Scores
from tests.contract import NEW, TEXTS, HashEncoder, keyword_lm, keyword_scores, prompting

NAMES = sorted(TEXTS)
IT_WAS = "{{ text }} It was {{ label }}."


# --- the model's window -------------------------------------------------------------------------

LONG = "one two three four five six seven eight nine ten"


def test_shortened_rows_are_counted_in_one_warning():
    clf = Classifier(keyword_lm(limit=10), template=IT_WAS).fit(None, NAMES)
    for method in (clf.predict, clf.predict_proba, clf.decision_function):
        with pytest.warns(ShortenedWarning, match="window of 10 tokens, 2 of 3 rows were cut, by 4 tokens") as caught:
            method([LONG, "short", LONG])  # 10 words of text, and 4 of frame with "bug report"
        assert len(caught) == 1
        assert caught[0].filename == __file__


def test_a_shortened_row_is_read_up_to_the_cut():
    clf = Classifier(keyword_lm(limit=10), template=IT_WAS).fit(None, NAMES)
    with pytest.warns(ShortenedWarning):
        cut = clf.predict_proba([f"{LONG} refund"])
    np.testing.assert_array_equal(cut, clf.predict_proba(["one two three four five six"]))


def test_demonstrations_go_first_and_are_counted():
    clf = Classifier(keyword_lm(limit=24), template=IT_WAS, strategy=Prompting(shots=2)).fit([LONG, LONG], NAMES[:2])
    with pytest.warns(ShortenedWarning, match=r"2 of 2 rows show fewer than 2 demonstrations\.$") as caught:
        clf.predict(["short", "short too"])
    assert len(caught) == 1
    with pytest.warns(ShortenedWarning, match=r"1 of 1 rows were cut, by .* and 1 of 1 rows show fewer than 2 demon"):
        clf.predict([LONG * 3])


def test_rows_that_fit_are_not_warned_of():
    clf = Classifier(keyword_lm(limit=10), template=IT_WAS).fit(None, NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clf.predict(["one two three four five six"])[0] in NAMES


def test_a_prompt_that_can_not_be_cut_enough_is_named_with_its_row():
    template = "{{ kept }} {{ cut | shorten }} {{ label }}"
    clf = Classifier(keyword_lm(limit=8), template=template).fit(None, ["no", "yes"])
    rows = [{"kept": "a", "cut": "b"}, {"kept": LONG, "cut": "b"}]
    with pytest.raises(PromptTooLongError, match=r"Row 1: The prompt has 1\d tokens.*the model reads 8\. Shorten"):
        clf.predict(rows)


class NarrowEncoder(HashEncoder):
    """Reads four words, and says so."""

    limit = 4
    token_ends = staticmethod(keyword_lm().token_ends)
    lengths = staticmethod(keyword_lm().lengths)


def test_an_encoder_counts_the_rows_it_can_not_read_whole():
    clf = Classifier(NarrowEncoder()).fit(None, NAMES)
    with pytest.warns(ShortenedWarning, match=r"window of 4 tokens, 1 of 2 rows were cut, by 6 tokens") as caught:
        clf.predict([LONG, "one two three four"])
    assert len(caught) == 1
    assert caught[0].filename == __file__


# --- label mass ---------------------------------------------------------------------------------


def with_mass(mass):
    """A language model whose candidates have a given total probability."""
    return FakeLM(lambda query: Scores(np.array([-1.0, -2.0]), np.array([1, 1]), mass(query)))


def test_unlikely_label_words_are_warned_of_once_a_call():
    clf = Classifier(with_mass(lambda query: 0.002)).fit(None, ["no", "yes"])
    with pytest.warns(LabelMassWarning, match=r"median total probability is 0\.002\. Words: 'no', 'yes'") as caught:
        clf.predict(NEW)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("mass", [0.5, float("nan")])
def test_likely_or_unknown_label_words_are_not_warned_of(mass):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Classifier(with_mass(lambda query: mass)).fit(None, ["no", "yes"]).predict(NEW)) == len(NEW)


@pytest.mark.parametrize("strategy", [None, Auto(), Prompting()], ids=repr)
def test_label_mass_is_the_models_own(strategy):
    clf = Classifier(with_mass(lambda query: 1 / max(len(query.prefix), 1)), "{{ text }}{{ label }}", strategy=strategy)
    np.testing.assert_allclose(clf.fit(None, ["no", "yes"]).label_mass(["ab", "abcd"]), [0.5, 0.25])


# --- generated answers --------------------------------------------------------------------------


def answering(answer):
    return Classifier(FakeLM(keyword_scores, answer=answer), strategy=Prompting(read="generate")).fit(None, NAMES)


def test_answers_that_name_no_class_are_counted_and_scored_instead():
    clf = answering(lambda query: "Hard to say." if "charged" in query.prefix or "new" in query.prefix else "praise")
    with pytest.warns(NoAnswerWarning, match=r"2 of 6 generated answers name no class .* 'Hard to say\.'") as caught:
        proba = clf.predict_proba(NEW)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(proba[[0, 2]], prompting().fit(None, NAMES).predict_proba(NEW)[[0, 2]])
    assert (proba[[1, 3, 4, 5]].argmax(axis=1) == NAMES.index("praise")).all()


def test_an_answer_that_names_two_classes_names_none():
    with pytest.warns(NoAnswerWarning, match="1 of 1"):
        answering(lambda query: "billing or praise").predict(["A refund"])


def test_the_named_class_comes_first_and_the_others_share_by_score():
    proba = answering(lambda query: "Praise.").predict_proba(NEW)
    scored = prompting().fit(None, NAMES).predict_proba(NEW)
    np.testing.assert_allclose(proba[:, 2], 1 - 1e-6)
    np.testing.assert_allclose(proba[:, :2] / 1e-6, scored[:, :2] / scored[:, :2].sum(axis=1, keepdims=True))


def test_answers_are_cut_at_max_new_tokens():
    clf = answering(lambda query: "praise or billing, who knows")
    clf.set_params(strategy__max_new_tokens=1).fit(None, NAMES)
    assert clf.predict(["x"]).tolist() == ["praise"]
