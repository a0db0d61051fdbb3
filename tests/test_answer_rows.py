"""What an extractor takes: questions about texts, and answers in the forms that users have them in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fewshot import Answer, InputError
from fewshot.task.answer_rows import find_occurrences, read_answers, read_questions

CONTEXT = "Ada lives in Paris. Paris is old."
ASKED = read_questions([CONTEXT], "Where does Ada live?")


def read(row, context=CONTEXT):
    return read_answers(read_questions([context], "?"), [row])[0]


def test_questions_are_rows_with_two_fields_or_texts_with_one_question():
    rows = [{"question": "Who?", "context": "Ada left.", "title": "A"}, {"question": "", "context": "", "title": "B"}]
    for X in (rows, pd.DataFrame(rows)):
        asked = read_questions(X)
        assert [(one.question, one.context) for one in asked] == [("Who?", "Ada left."), ("", "")]
        assert asked[0].row == rows[0]
    (one,) = read_questions(["Ada left."], "Who?")
    assert dict(one.row) == {"question": "Who?", "context": "Ada left."}
    (one,) = read_questions([{"context": "Ada left.", "title": "A"}], "Who?")
    assert dict(one.row) == {"question": "Who?", "context": "Ada left.", "title": "A"}


@pytest.mark.parametrize(
    ("X", "question", "message"),
    [
        (["Ada left."], None, "nothing says what they are asked"),
        ([{"context": "Ada left."}], None, r"Row 0: the row has no field 'question', it has \['context'\]"),
        ([{"question": "Who?", "text": "Ada"}], None, "Row 0: the row has no field 'context'.*rename the column"),
        ([{"question": None, "context": "Ada"}], None, "Row 0: the field 'question' must be text. Got None"),
        ([{"question": "Who?", "context": float("nan")}], None, "Row 0: the field 'context' must be text. Got nan"),
        ([{"question": "Who?", "context": "Ada"}], "Where?", "Row 0: the row has a 'question' of its own"),
    ],
)
def test_questions_that_are_none_are_refused(X, question, message):
    with pytest.raises(InputError, match=message):
        read_questions(X, question)


@pytest.mark.parametrize(
    ("row", "places"),
    [
        ({"text": ["Paris"], "answer_start": [13]}, ((13, 18),)),
        (
            {"text": np.array(["Paris", "in Paris"], dtype=object), "answer_start": np.array([20, 10])},
            ((10, 18), (20, 25)),
        ),
        ({"text": "Paris", "answer_start": 13}, ((13, 18),)),
        ([{"text": "Paris", "answer_start": 13}, {"text": "Paris", "answer_start": 13}], ((13, 18),)),
        ({"text": ["Paris"]}, ((13, 18), (20, 25))),
        ({"text": [], "answer_start": []}, ()),
        ({"text": []}, ()),
        ("Paris", ((13, 18), (20, 25))),
        (["Paris is old", "old"], ((20, 32), (29, 32))),
        ((13, 18), ((13, 18),)),
        ([13, 18], ((13, 18),)),
        (np.array([13, 18]), ((13, 18),)),
        ([(13, 18), (20, 25)], ((13, 18), (20, 25))),
        (Answer("Paris", 20, 25, 0.7), ((20, 25),)),
        (Answer("", None, None, 0.7), ()),
        (None, ()),
        ("", ()),
        (float("nan"), ()),
        ([], ()),
    ],
)
def test_answers_in_each_form(row, places):
    assert read(row) == places


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"text": ["Paris"], "answer_start": [12]},
            "the answer 'Paris' is said to start at 12, where ' Pari' stands, and it stands at 13 and 20: correct",
        ),
        (
            {"text": ["paris"], "answer_start": [13]},
            "said to start at 13, where 'Paris' stands, where it is written 'Paris': write it so",
        ),
        ({"text": ["Rome"], "answer_start": [13]}, "where 'Pari' stands: an answer is a part of the text"),
        ({"text": ["Paris"], "answer_start": [-3]}, "is said to start at -3"),
        ({"text": ["Paris"], "answer_start": []}, "'text' has 1 answers and 'answer_start' has 0"),
        ({"text": [3], "answer_start": [3]}, "'text' must hold the texts of answers. Got 3"),
        ({"text": ["Paris"], "answer_start": [1.5]}, "'answer_start' must be whole numbers, in characters. Got 1.5"),
        ({"answers": []}, r"has the keys \['answers'\], and lacks 'text'"),
        ("Rome", "the answer 'Rome' does not stand in its text: an answer is a part of the text"),
        ("PARIS", "does not stand in its text, where it is written 'Paris': write it so"),
        ((13, 99), "the answer \\(13, 99\\) is no part of the text, which has 33 characters"),
        ((-2, 3), "is no part of the text"),
        ((13, 13), "the answer \\(13, 13\\) is empty"),
        ([None, "Paris"], "one of several answers says that there is none"),
        (7, "an answer must be of another form. Got 7"),
        (Answer("Rome", 13, 17), "the answer 'Rome' is said to start at 13"),
        (Answer("Rome", 1, None), "must begin and end at whole numbers"),
    ],
)
def test_an_answer_that_is_not_in_its_text_is_refused_with_its_row(row, message):
    with pytest.raises(InputError, match=f"Row 0: .*{message}"):
        read(row)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is None: give the answer"),
        ("Paris", "y must have an answer for each question. Got str"),
        ({"text": []}, "Got dict"),
        (["Paris", "Paris"], "X has 1 rows and y has 2"),
    ],
)
def test_a_y_that_is_no_column_is_refused(y, message):
    with pytest.raises(InputError, match=message):
        read_answers(ASKED, y)


def test_a_text_is_right_where_it_is_whole_words():
    assert find_occurrences("is", "This is it, is it?") == [(5, 7), (12, 14)]
    assert find_occurrences("hi", "This is it.") == [(1, 3)]
    assert find_occurrences("aa", "aaa") == [(0, 2), (1, 3)]
    assert find_occurrences("x", "This") == []


class Table:
    """As a Dataset of `datasets` is."""

    def __init__(self, rows):
        self.rows, self.column_names, self.features = rows, list(rows[0]), {}

    def __iter__(self):
        return iter(self.rows)

    def __getitem__(self, name):
        return [row[name] for row in self.rows]


def test_a_column_of_a_dataset():
    table = Table([{"question": "Where?", "context": CONTEXT, "answers": {"text": ["Paris"], "answer_start": [13]}}])
    asked = read_questions(table)
    assert read_answers(asked, "answers", table) == read_answers(asked, table["answers"]) == [((13, 18),)]
    with pytest.raises(InputError, match=r"y is 'answer', and the dataset has the columns \['question'"):
        read_answers(asked, "answer", table)
