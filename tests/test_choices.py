"""Choices per row: scores against their definitions, absent choices, errors, and everything around a classifier."""

from __future__ import annotations

import pickle
import zlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

from fewshot import (
    Auto,
    AutomaticVerbalizer,
    CachedLM,
    Channel,
    Choices,
    Classifier,
    ConformalClassifier,
    Embedding,
    FakeLM,
    InputError,
    Prompting,
    PromptTooLongError,
    Readout,
    Template,
    TemplateError,
    UnsupportedError,
    Verbalizer,
    VerbalizerError,
    evaluate,
    learning_curve,
    select_template,
)
from fewshot.calibration import PMI, Batch, Contextual
from fewshot.models.base import Query, Scores, Turn
from tests.contract import HashEncoder
from tests.test_models import causal_oracle, masked_oracle

NAMED = (
    "---\nchoices: [choice1, choice2]\nchoice: '{{ choice[:1] | lower }}{{ choice[1:] }}'\n"
    "domain_premise: \"{{ 'because ' if question == 'cause' else 'so ' }}\"\n---\n"
    "{{ premise }} {{ 'because' if question == 'cause' else 'so' }} {{ label }}."
)
LISTED = (
    "---\nchoices: options\n---\n{{ q }}\n{% for choice in labels %}- {{ choice }}\n{% endfor %}Answer: {{ label }}"
)
COPA = [
    {"premise": "The app was slow", "question": "cause", "choice1": "The update failed", "choice2": "I love it"},
    {"premise": "I was charged twice", "question": "effect", "choice1": "It was great", "choice2": "I asked for money"},
    {"premise": "The parcel came late", "question": "cause", "choice1": "It rained", "choice2": "The sun was out"},
    {"premise": "My card expired", "question": "effect", "choice1": "The payment failed", "choice2": "I slept"},
]
RIGHT = [0, 1, 0, 0]
QUIZ = [
    {"q": "Which is a colour?", "options": ["red", "a dog", "seven of them"]},
    {"q": "Which flies?", "options": ["a stone", "a bird"]},
    {"q": "Which is wet?", "options": ["the wide sea", "fire", "sand"]},
    {"q": "Who barks?", "options": ["a dog", "a cat"]},
    {"q": "Which is a fruit?", "options": ["a chair", "an apple", "a nail"]},
    {"q": "Which is a tool?", "options": ["a cloud", "the rain", "a nail"]},
]
ANSWERS = [0, 1, 0, 0, 1, 2]


def said(prefix, word, suffix=""):
    """A log-probability that depends on all of the text."""
    return -1.0 - zlib.crc32(f"{prefix}|{word}|{suffix}".encode()) / 2**30 - 0.1 * len(word)


def score(query):
    before = "".join(turn.text for turn in query.context) + query.prefix
    return [said(before, word, query.suffix) for word in query.candidates]


def lm(**params):
    return FakeLM(score, **params)


def classifier(template=NAMED, verbalizer=None, strategy=None, model=None):
    return Classifier(model or lm(), template, verbalizer, strategy or Prompting(), random_state=0)


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


# --- bad rows and labels --------------------------------------------------------------------------

GOOD = {"q": "Which?", "options": ["red", "blue", "green"]}
BAD_LISTS = [
    pytest.param(
        {"q": "Which?", "options": []}, InputError, r"the row has no choice: its field \['options'\]", id="none"
    ),
    pytest.param({"q": "Which?", "options": [None, ""]}, InputError, "the row has no choice", id="all absent"),
    pytest.param({"q": "Which?", "options": ["a", None, "b"]}, InputError, "choice 1 is None, and later", id="gap"),
    pytest.param({"q": "Which?", "options": ["a", 7]}, InputError, "choice 1 must be text. Got int: 7", id="number"),
    pytest.param({"q": "Which?", "options": "red"}, InputError, "must be a list of texts. Got 'red'", id="a text"),
    pytest.param({"q": "Which?", "options": None}, InputError, "must be a list of texts. Got None", id="missing"),
    pytest.param({"q": "Which?", "options": {"a": "b"}}, InputError, "must be a list of texts", id="mapping"),
    pytest.param({"q": "Which?"}, TemplateError, r"no field 'options' for a choice, it has \['q'\]", id="no field"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_LISTS)
def test_a_bad_list_is_named_with_its_row(bad, error, message):
    with pytest.raises(error, match=f"Row 1: .*{message}"):
        classifier(LISTED).fit([GOOD, bad])
    with pytest.raises(error, match=f"Row 1: .*{message}"):
        classifier(LISTED).fit([GOOD]).predict([GOOD, bad])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"choice1": None, "choice2": None}, InputError, "the row has no choice: its fields"),
        ({"choice1": ""}, InputError, "choice 0 is '', and later ones are there"),
        ({"choice2": 3.5}, InputError, r"choice 1 must be text\. Got float: 3\.5"),
        ({"choice2": b"x"}, InputError, r"choice 1 must be text\. Got bytes"),
        ({"choice2": ["x"]}, InputError, r"choice 1 must be text\. Got list"),
    ],
)
def test_bad_fields_are_named_with_their_row(change, error, message):
    for clf in (classifier(), classifier(strategy=Prompting(calibration="pmi"))):
        with pytest.raises(error, match=f"Row 1: .*{message}"):
            clf.fit().predict([COPA[0], {**COPA[1], **change}])


def test_a_field_that_is_not_there_is_not_taken_for_an_absent_choice():
    rows = [{name: value for name, value in row.items() if name != "choice2"} for row in COPA]
    with pytest.raises(TemplateError, match=r"Row 0: .*no field 'choice2' for a choice, .* set it to None"):
        classifier().fit().predict(rows)


def test_more_choices_than_fit_saw():
    clf = classifier(LISTED).fit(QUIZ)
    more = [*QUIZ, {"q": "Which?", "options": ["a", "b", "c", "d"]}]
    with pytest.raises(InputError, match=r"Row 6: the row has 4 choices, and .* 3 at most: .*Choices\(n_choices=4\)"):
        clf.predict(more)
    with pytest.raises(InputError, match="Row 6: the row has 4 choices"):
        classifier(LISTED, Choices(n_choices=3)).fit(more)


def test_plain_texts_have_no_choices():
    with pytest.raises(
        TemplateError, match="Row 0: the choices stand in the fields 'choice1', 'choice2', and the row is"
    ):
        classifier().fit(["one text"])
    with pytest.raises(TemplateError, match="Row 0: the choices stand in the field 'options', and the row is one text"):
        classifier(LISTED).fit(QUIZ).predict(["one text"])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 2, 0, 0, 1, 2], r"y\[1\] is 2, and row 1 has 2 choices, numbered from 0"),
        ([0, 1, 3, 0, 1, 2], r"y\[2\] is 3, and row 2 has 3 choices"),
        ([0, 1, -1, 0, 1, 2], r"y\[2\] is -1"),
        (["0", "1", "0", "0", "1", "2"], r"y\[0\] is '0': where rows bring their own choices, y is the number"),
    ],
)
def test_a_label_must_be_the_number_of_a_choice_of_its_row(y, message):
    with pytest.raises(InputError, match=message):
        classifier(LISTED).fit(QUIZ, y)


def test_nothing_is_left_of_a_choice():
    source = "---\nchoices: [a, b]\nchoice: '{{ choice.rstrip(\".\") }}'\n---\n{{ q }} {{ label }}"
    with pytest.raises(InputError, match=r"Row 0: nothing is left of the choice '\.\.\.'"):
        classifier(source).fit([{"q": "Which?", "a": "...", "b": "x"}])
    failing = source.replace("choice.rstrip", "choice.index")
    with pytest.raises(TemplateError, match="Row 0: 'choice' in the front matter can't be rendered"):
        classifier(failing).fit([{"q": "Which?", "a": "y", "b": "x"}])


# --- the template ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("choices: [one]", "a list of at least two fields"),
        ("choices: []", "a list of at least two fields"),
        ("choices: [a, a]", "a list of at least two fields"),
        ("choices: [a, 3]", "a list of at least two fields"),
        ("choices: 3", r"or one field that holds a list of texts\. Got 3"),
        ("choices: ''", "or one field"),
        ("choices: {a: b}", "a list of at least two fields"),
        ("choices: [a, b]\nwords: {x: y}", "give 'words' or 'choices'"),
        ("choices: [a, b]\nanswers: {'no': n, 'yes': y}", "give 'answers' or 'choices'"),
        ("choices: [a, label]", "names the hole or the list of label words"),
        ("choices: labels", "names the hole or the list of label words"),
        ("choice: '{{ choice }}'", "no 'choices' say which fields"),
        ("choices: [a, b]\nchoice: 3", r"'choice' must be text such as '\{\{ choice \| lower \}\}'"),
        ("choices: [a, b]\nchoice: nothing", "'choice' must be text such as|'choice' must use"),
        ("choices: [a, b]\nchoice: '{{ choice'", "choice"),
        ("choices: [a, b]\nfields: [q]", r"declares the fields \['q'\], the template uses \['q', 'a', 'b'\]"),
    ],
)
def test_front_matter_that_can_not_be(head, message):
    with pytest.raises(TemplateError, match=message):
        Template(f"---\n{head}\n---\n{{{{ q }}}} {{{{ label }}}}")


def test_the_fields_of_choices_are_fields_shown_or_not():
    template = Template(NAMED)
    assert template.fields == ("premise", "question", "choice1", "choice2")
    assert template.choices == ("choice1", "choice2")
    assert template.choices_of(COPA[0]) == ("the update failed", "i love it")
    assert Template(LISTED).choices == "options"
    assert Template("{{ text }} {{ label }}").choices is None
    with pytest.raises(TemplateError, match="takes no choices from its rows"):
        Template("{{ text }} {{ label }}").choices_of("x")


def test_renamed_fields_are_choices_under_their_new_names():
    template = Template(NAMED).rename(choice1="a", choice2="b", premise="text")
    rows = [{"text": r["premise"], "question": r["question"], "a": r["choice1"], "b": r["choice2"]} for r in COPA]
    assert template.choices == ("a", "b")
    assert np.allclose(classifier(template).fit().predict_proba(rows), classifier().fit().predict_proba(COPA))
    listed = Template(LISTED).rename(options="answers")
    assert listed.choices == "answers"
    assert listed.choices_of({"q": "Which?", "answers": ("a", "b")}) == ("a", "b")


def test_choices_can_be_given_beside_the_source():
    template = Template("{{ q }} {{ label }}", choices=["a", "b"])
    assert template == Template("{{ q }} {{ label }}", choices=("a", "b"))
    assert template != Template("{{ q }} {{ label }}", choices="a")
    assert template.render({"q": "Which?", "a": "x", "b": "y"}, "y") == "Which? y"


def test_a_template_and_a_verbalizer_are_pickled_and_compared():
    clf = classifier().fit()
    again = pickle.loads(pickle.dumps(clf.verbalizer_))
    assert again == clf.verbalizer_
    assert hash(again) == hash(clf.verbalizer_)
    assert again.of(COPA[0]) == clf.verbalizer_.of(COPA[0])
    assert Choices() == Choices() != Choices(token_aggregation="mean")
    assert Choices() != Verbalizer(())
    assert repr(Choices(token_aggregation="mean", n_choices=3)) == "Choices(token_aggregation='mean', n_choices=3)"
    assert repr(Choices()) == "Choices()"
    with pytest.raises(VerbalizerError, match="belong to no template yet"):
        Choices().of(COPA[0])


def test_an_absent_choice_is_not_defined():
    source = "---\nchoices: [a, b, c]\n---\n{{ q }} {{ a }}, {{ b }}%s {{ label }}"
    guarded = Template(source % "{% if c is defined %}, {{ c }}{% endif %}")
    row = {"q": "Which?", "a": "x", "b": "y", "c": None}
    assert guarded.render(row, "x") == "Which? x, y x"
    assert guarded.render({**row, "c": "z"}, "x") == "Which? x, y, z x"
    with pytest.raises(
        TemplateError, match=r"'c' is undefined \(this row has fewer choices: guard it with 'is defined'"
    ):
        Template(source % ", {{ c }}").prompt(row)


def test_a_list_in_the_row_may_be_of_any_kind():
    template = Template(LISTED)
    for options in (["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b", None], dtype=object)):
        found = template.choices_of({"q": "Which?", "options": options})
        assert found == ("a", "b")
        assert {type(text) for text in found} == {str}


def test_data_is_data_in_choices():
    row = {"q": "{{ 1 }}", "options": ["{{ label }}", "<mask> {% x %}"]}
    query = Template(LISTED).query(row, Template(LISTED).choices_of(row))
    assert query.prefix == "{{ 1 }}\n- {{ label }}\n- <mask> {% x %}\nAnswer: "
    assert query.candidates == ("{{ label }}", "<mask> {% x %}")


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


# --- what does not go together ------------------------------------------------------------------------


def test_label_words_and_choices_exclude_each_other():
    with pytest.raises(VerbalizerError, match="there are no label words to give: leave verbalizer out"):
        classifier(verbalizer={0: "a", 1: "b"}).fit()
    with pytest.raises(VerbalizerError, match=r"write 'choices: \[choice1, choice2\]'"):
        classifier("{{ text }} {{ label }}", Choices()).fit(["x"])
    with pytest.raises(VerbalizerError, match="there are no label words to find"):
        classifier(verbalizer=AutomaticVerbalizer()).fit(COPA, RIGHT)
    with pytest.raises(VerbalizerError, match=r"names 2 choices, and Choices\(\) says 3"):
        classifier(verbalizer=Choices(n_choices=3)).fit()
    with pytest.raises(UnsupportedError, match="A row has one right choice"):
        classifier().fit(COPA, np.eye(4, 2, dtype=int))
    for n in (1, 2.5, "3"):
        with pytest.raises(VerbalizerError, match="n_choices must be an integer of at least 2"):
            Choices(n_choices=n)
    with pytest.raises(VerbalizerError, match="token_aggregation must be one of"):
        Choices(token_aggregation="median")


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
