"""Choices per row: what rows, labels and templates must say, and what does not go together."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fewshot import (
    AutomaticVerbalizer,
    Choices,
    InputError,
    Prompting,
    Template,
    TemplateError,
    UnsupportedError,
    Verbalizer,
    VerbalizerError,
)
from tests.own_choices import COPA, LISTED, NAMED, QUIZ, RIGHT, classifier

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
