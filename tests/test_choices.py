"""Choices per row: scores against their definitions, absent choices, demonstrations, calibrations, and models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from fewshot import (
    CachedLM,
    Choices,
    FakeLM,
    InputError,
    Prompting,
    PromptTooLongError,
    Template,
    TemplateError,
    UnsupportedError,
)
from fewshot.calibration import PMI, Batch, Contextual
from fewshot.models.base import Query, Scores, Turn
from tests.contract import HashEncoder
from tests.own_choices import ANSWERS, COPA, LISTED, NAMED, QUIZ, RIGHT, classifier, lm, said, score
from tests.test_models import causal_oracle, masked_oracle


def written(text):
    return text[:1].lower() + text[1:]


def asked(row):
    """What stands before the hole of a COPA row."""
    return f"{row['premise']} {'because' if row['question'] == 'cause' else 'so'} "


def copa_scores(rows, context=""):
    return np.array(
        [[said(context + asked(row), written(row[name]), ".") for name in ("choice1", "choice2")] for row in rows]
    )


# --- what is scored -----------------------------------------------------------------------------


def test_the_classes_are_the_numbers_of_the_choices():
    clf = classifier().fit()
    assert clf.classes_.tolist() == [0, 1]
    assert clf.classes_.dtype == np.int64
    predicted = clf.predict(COPA)
    assert predicted.dtype == np.int64
    assert predicted.tolist() == copa_scores(COPA).argmax(axis=1).tolist()


def test_probabilities_are_those_of_the_written_choices():
    proba = classifier().fit().predict_proba(COPA)
    assert np.allclose(proba, softmax(copa_scores(COPA), axis=1), atol=1e-12)
    assert np.allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("aggregation", "length"),
    [("sum", lambda text: 1), ("mean", lambda text: len(text.split())), ("per-byte", lambda text: len(text.encode()))],
)
def test_scores_are_divided_by_the_length_of_each_choice(aggregation, length):
    rows = [{"q": "Which?", "options": ["eins", "zwei Äpfel", "drei große Äpfel"]}, *QUIZ]
    clf = classifier(LISTED, Choices(token_aggregation=aggregation)).fit(rows)
    for row, proba in zip(rows, clf.predict_proba(rows), strict=True):
        texts = row["options"]
        prefix = f"{row['q']}\n{''.join(f'- {text}{chr(10)}' for text in texts)}Answer: "
        wanted = softmax([said(prefix, text) / length(text) for text in texts])
        assert np.allclose(proba[: len(texts)], wanted, atol=1e-12)
        assert (proba[len(texts) :] == 0).all()


def test_a_row_with_fewer_choices_gives_the_absent_ones_no_probability():
    clf = classifier(LISTED).fit(QUIZ)
    assert clf.classes_.tolist() == [0, 1, 2]
    for numbers, absent in ((clf.predict_proba(QUIZ), 0.0), (clf.predict_log_proba(QUIZ), -np.inf)):
        assert [row[2] == absent for row in numbers] == [len(row["options"]) == 2 for row in QUIZ]
    assert np.allclose(clf.predict_proba(QUIZ).sum(axis=1), 1)
    assert clf.decision_function(QUIZ).shape == (6, 3)


def test_a_single_choice_is_certain():
    clf = classifier(LISTED).fit(QUIZ)
    assert clf.predict_proba([{"q": "Which?", "options": ["the one"]}]).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("calibration", [None, "contextual", "pmi"])
def test_permuting_the_choices_permutes_the_probabilities(calibration):
    swapped = [{**row, "choice1": row["choice2"], "choice2": row["choice1"]} for row in COPA]
    clf = classifier(strategy=Prompting(calibration=calibration)).fit()
    assert np.allclose(clf.predict_proba(swapped), clf.predict_proba(COPA)[:, ::-1])


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NA, pd.NaT, "", " \n"])
@pytest.mark.parametrize("calibration", [None, "contextual", "pmi"])
def test_an_absent_choice_changes_nothing(nothing, calibration):
    source = NAMED.replace("[choice1, choice2]", "[choice1, choice2, choice3]")
    strategy = Prompting(calibration=calibration)
    three = classifier(source, strategy=strategy).fit().predict_proba([{**row, "choice3": nothing} for row in COPA])
    assert (three[:, 2] == 0).all()
    assert (three[:, :2] == classifier(strategy=strategy).fit().predict_proba(COPA)).all()
    padded = [{**row, "options": [*row["options"], nothing, nothing]} for row in QUIZ]
    plain = classifier(LISTED).fit(QUIZ)
    assert (plain.predict_proba(padded) == plain.predict_proba(QUIZ)).all()
    assert (classifier(LISTED).fit(padded).predict_proba(padded) == plain.predict_proba(QUIZ)).all()


def test_equal_choices_are_equally_probable_and_scored_once():
    log = []

    def f(query):
        log.append(query.candidates)
        return score(query)

    clf = classifier(LISTED, model=FakeLM(f)).fit(None, [0, 1, 2])
    proba = clf.predict_proba([{"q": "Which?", "options": ["none", "red", "none"]}])[0]
    assert proba[0] == proba[2]
    assert proba.sum() == pytest.approx(1)
    assert log == [("none", "red")]


def test_a_prediction_does_not_depend_on_other_rows():
    clf = classifier(LISTED, strategy=Prompting(calibration="contextual")).fit(QUIZ)
    alone = np.vstack([clf.predict_proba([row]) for row in QUIZ])
    assert np.allclose(alone, clf.predict_proba(QUIZ))


# --- how the number of classes is known -----------------------------------------------------------


def test_names_say_how_many_choices_there_are():
    for clf in (
        classifier().fit(),
        classifier().fit(None, [0, 1]),
        classifier().fit(COPA),
        classifier().fit(COPA, RIGHT),
    ):
        assert clf.classes_.tolist() == [0, 1]


def test_a_list_has_as_many_as_a_row_of_fit_has():
    fitted = (
        classifier(LISTED).fit(QUIZ),
        classifier(LISTED).fit(QUIZ, ANSWERS),
        classifier(LISTED).fit(None, [2, 0, 1]),
        classifier(LISTED, Choices(n_choices=3)).fit(),
        classifier(LISTED, Choices(n_choices=3)).fit(QUIZ[1:2]),
    )
    for clf in fitted:
        assert clf.classes_.tolist() == [0, 1, 2]
        assert np.allclose(clf.predict_proba(QUIZ), fitted[0].predict_proba(QUIZ))


def test_a_list_without_rows_needs_the_number():
    with pytest.raises(
        InputError, match=r"fit\(X\), or their numbers, fit\(None, \[0, 1, 2, 3\]\), or verb.*n_choices=4"
    ):
        classifier(LISTED).fit()


def test_one_choice_is_no_choice():
    with pytest.raises(InputError, match="No row has two choices"):
        classifier(LISTED).fit([{"q": "Which?", "options": ["red"]}])


@pytest.mark.parametrize(
    ("template", "classes", "message"),
    [
        (NAMED, [0, 1, 2], r"numbers of the choices, \[0, 1\]\. Got \[0, 1, 2\]"),
        (NAMED, [0], r"\[0, 1\]\. Got \[0\]"),
        (LISTED, [1, 2], r"\[0, 1\]\. Got \[1, 2\]"),
        (LISTED, [0], r"\[0, 1\]\. Got \[0\]"),
        (LISTED, ["a", "b"], r"y\[0\] is 'a': .* the number of the right one, an integer from 0"),
        (LISTED, [True, False], r"y\[0\] is True"),
        (LISTED, [0.0, 1.0], r"y\[0\] is 0\.0"),
    ],
)
def test_classes_that_are_no_numbers_of_choices(template, classes, message):
    with pytest.raises(InputError, match=message):
        classifier(template).fit(None, classes)


# --- demonstrations and instructions ----------------------------------------------------------------


def recorded(log, **params):
    def f(query):
        log.append(query)
        return score(query)

    return FakeLM(f, **params)


def test_a_demonstration_is_filled_with_the_right_choice_of_its_row():
    log = []
    clf = classifier(strategy=Prompting(shots=2, selection="first"), model=recorded(log)).fit(COPA, RIGHT)
    shown = "".join(asked(COPA[i]) + written(COPA[i][f"choice{RIGHT[i] + 1}"]) + ".\n\n" for i in (0, 1))
    assert np.allclose(clf.predict_proba(COPA[2:]), softmax(copa_scores(COPA[2:], shown), axis=1), atol=1e-12)
    assert {"".join(turn.text for turn in query.context) for query in log} == {shown}


def test_what_lists_the_label_words_lists_the_choices_of_each_row():
    source = (
        "---\ninstruction: \"Answer with {{ labels | join(' or ') }}.\"\nchoices: options\n---\n{{ q }} {{ label }}"
    )
    log = []
    clf = classifier(source, strategy=Prompting(shots=1, selection="first"), model=recorded(log)).fit(QUIZ, ANSWERS)
    clf.predict(QUIZ[1:3])
    assert [query.context[0] for query in log] == [
        Turn("system", "Answer with a stone or a bird.\n\n"),
        Turn("system", "Answer with the wide sea or fire or sand.\n\n"),
    ]
    assert [query.context[1:] for query in log] == [
        (Turn("user", "Which is a colour? "), Turn("assistant", "red\n\n"))
    ] * 2


@pytest.mark.parametrize(
    "strategy",
    [
        Prompting(shots=2, selection="nearest", encoder=HashEncoder()),
        Prompting(shots=2, order="lowest bias"),
        Prompting(shots=2, max_shot_tokens=20),
        Prompting(shots=2, calibration="pmi"),
        Prompting(shots=2, calibration="contextual"),
    ],
    ids=repr,
)
def test_every_way_to_show_demonstrations(strategy):
    source = LISTED.replace("---\nchoices", "---\ndomain_premise: 'Answer: '\nchoices")
    clf = classifier(source, strategy=strategy).fit(QUIZ, ANSWERS)
    proba = clf.predict_proba(QUIZ)
    assert np.allclose(proba.sum(axis=1), 1)
    assert proba[1, 2] == proba[3, 2] == 0
    assert (np.delete(proba[:, 2], [1, 3]) > 0).all()


def test_choices_are_never_cut():
    source = "---\nchoices: [a, b]\n---\n{{ text }} {{ a }} or {{ b }}? {{ label }}"
    row = {"text": "word " * 30, "a": "red wine", "b": "blue"}
    log = []
    clf = classifier(source, model=recorded(log, limit=20)).fit()
    with pytest.warns(UserWarning, match="1 of 1 rows were cut"):
        clf.predict([row])
    assert log[0].prefix.endswith(" red wine or blue? ")
    assert log[0].candidates == ("red wine", "blue")
    looped = (
        "---\nchoices: options\n---\n{{ q }} {% for o in labels %}{{ loop.index }}) {{ o }} {% endfor %}{{ label }}"
    )
    clf = classifier(looped, model=recorded(log, limit=12)).fit(None, [0, 1])
    with pytest.warns(UserWarning, match="1 of 1 rows were cut"):
        clf.predict([{"q": "word " * 30, "options": ["red wine", "blue"]}])
    assert log[1].prefix.endswith(" 1) red wine 2) blue ")
    with pytest.raises(PromptTooLongError, match="Row 0: "):
        clf.predict([{"q": "word", "options": ["red " * 10, "blue"]}])


# --- calibration ------------------------------------------------------------------------------------


def test_pmi_takes_out_what_the_premise_says_of_the_rows_own_choices():
    clf = classifier(strategy=Prompting(calibration="pmi")).fit()
    prior = [
        [
            said("because " if row["question"] == "cause" else "so ", written(row[name]))
            for name in ("choice1", "choice2")
        ]
        for row in COPA
    ]
    assert np.allclose(clf.predict_proba(COPA), softmax(copa_scores(COPA) - prior, axis=1), atol=1e-12)
    fixed = classifier(strategy=Prompting(calibration=PMI("Then "))).fit()
    prior = [[said("Then ", written(row[name])) for name in ("choice1", "choice2")] for row in COPA]
    assert np.allclose(fixed.predict_proba(COPA), softmax(copa_scores(COPA) - prior, axis=1), atol=1e-12)


def test_pmi_stands_after_the_same_demonstrations():
    log = []
    strategy = Prompting(shots=1, selection="first", calibration="pmi")
    clf = classifier(strategy=strategy, model=recorded(log)).fit(COPA, RIGHT)
    assert not log  # the prior of a row is asked for with the row
    clf.predict(COPA[1:3])
    contexts = {"".join(turn.text for turn in query.context) for query in log}
    assert contexts == {"The app was slow because the update failed.\n\n"}
    assert sorted(query.prefix for query in log) == sorted([asked(COPA[1]), asked(COPA[2]), "so ", "because "])


def test_contextual_keeps_the_choices_and_empties_the_rest():
    log = []
    clf = classifier(LISTED, strategy=Prompting(calibration=Contextual(["N/A", ""])), model=recorded(log)).fit(QUIZ)
    assert not log
    proba = clf.predict_proba(QUIZ)
    assert len(log) == 3 * len(QUIZ)
    for row, found in zip(QUIZ, proba, strict=True):
        listed = "".join(f"- {text}\n" for text in row["options"])
        own, *probes = (
            softmax([said(f"{q}\n{listed}Answer: ", text) for text in row["options"]]) for q in (row["q"], "N/A", "")
        )
        wanted = own / np.mean(probes, axis=0)
        assert np.allclose(found[: len(own)], wanted / wanted.sum(), atol=1e-12)


@pytest.mark.parametrize("calibration", ["batch", "domain-context", "learned", "auto", Batch(transductive=True)])
def test_a_prior_of_all_texts_is_refused(calibration):
    for args in ((), (COPA,), (COPA, RIGHT)):
        with pytest.raises(
            UnsupportedError, match="each row brings its own choices: use calibration='pmi', 'contextual'"
        ):
            classifier(strategy=Prompting(calibration=calibration)).fit(*args)


def test_what_a_calibration_lacks_is_said_in_fit():
    with pytest.raises(InputError, match="has no domain_premise"):
        classifier(LISTED, strategy=Prompting(calibration="pmi")).fit(QUIZ)
    with pytest.raises(InputError, match="at least one content-free text"):
        classifier(strategy=Prompting(calibration=Contextual([]))).fit()
    with pytest.raises(UnsupportedError, match="entailment model has no prompt without its text"):
        classifier(strategy=Prompting(calibration="pmi"), model=lm(kind="entailment")).fit(COPA)
    unknown = NAMED.replace("question == 'cause' else 'so ' }}\"", "other == 'cause' else 'so ' }}\"")
    with pytest.raises(TemplateError, match=r"domain_premise, .* can't be rendered: 'other' is undefined"):
        classifier(unknown, strategy=Prompting(calibration="pmi")).fit(COPA)


def test_a_premise_of_fixed_words_can_not_use_fields():
    source = "---\ndomain_premise: '{{ text }} Mood: '\n---\n{{ text }} Mood: {{ label }}"
    with pytest.raises(TemplateError, match="may use fields only where rows bring their own choices, can't"):
        classifier(source, {"a": "x", "b": "y"}, Prompting(calibration="pmi")).fit()
    assert Template("{{ text }} {{ label }}").premise() is None


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_real_models_against_the_definition(name):
    model = load_tiny(name)
    rows = [*QUIZ[:3], {"q": "Which is it?", "options": ["great", "very good"]}]
    template = "---\nchoices: options\n---\n{{ q }} It was {{ label }}."
    proba = classifier(template, model=model).fit(rows).predict_proba(rows)
    for row, found in zip(rows, proba, strict=True):
        query = Query(f"{row['q']} It was ", tuple(row["options"]), ".")
        scores = causal_oracle(name, query) if name == "gpt2" else masked_oracle(name, query, "left-to-right")
        assert np.allclose(found[: len(scores)], softmax(scores), atol=1e-4)
        assert (found[len(scores) :] == 0).all()


def load_tiny(name):
    from tests.conftest import language_model

    return language_model(name)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-chat", "llama", "bert", "roberta", "t5", "nli"])
def test_every_kind_of_model_is_asked_like_any_query(name):
    model = load_tiny(name)
    template = Template("---\nchoices: options\n---\n{{ q }}\n\nIt was {{ label }}.")
    clf = classifier(template, Choices(token_aggregation="mean"), model=model).fit(QUIZ)
    queries = [template.query(row, row["options"], kind=model.kind) for row in QUIZ]
    for found, scores in zip(clf.predict_proba(QUIZ), model.loglikelihoods(queries), strict=True):
        wanted = softmax(scores.logprobs / scores.n_tokens)
        assert np.allclose(found[: len(wanted)], wanted, atol=1e-5)
    if name != "nli":
        mass = clf.label_mass(QUIZ)
        assert mass.shape == (6,)
        assert ((mass > 0) & (mass <= 1)).all()


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_choices_that_are_one_to_the_model_are_named_with_their_row(name):
    template = "---\nchoices: options\n---\n{{ q }} It was {{ label }}"
    clf = classifier(template, model=load_tiny(name)).fit(QUIZ)
    same = ["Great", "great"] if name == "bert" else ["great", " great"]
    with pytest.raises(InputError, match=r"Row 2: .* are the same tokens to this model"):
        clf.predict([*QUIZ[:2], {"q": "How was it?", "options": same}])


def test_a_cache_serves_rows_and_their_priors(tmp_path):
    log = []
    cached = CachedLM(recorded(log), tmp_path / "scores.sqlite")
    clf = classifier(strategy=Prompting(calibration="pmi"), model=cached).fit()
    first = clf.predict_proba(COPA)
    n = len(log)
    assert n == 8
    assert (clf.predict_proba(COPA) == first).all()
    assert len(log) == n


def test_no_model_is_blamed_for_not_expecting_whole_sentences():
    model = FakeLM(lambda query: Scores(np.array(score(query)), np.ones(len(query.candidates), dtype=np.int64), 1e-5))
    clf = classifier(model=model).fit()
    clf.predict(COPA)  # a LabelMassWarning would be an error
    assert (clf.label_mass(COPA) == 1e-5).all()
