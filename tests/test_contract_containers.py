"""The text contract: every container of texts, of labels and of fields gives the same result."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import cross_val_score

from fewshot import Template
from tests.contract import EXPECTED, MAKE, NEW, TEMPLATE, TEXTS, data, every_case, fitted

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]


def _dataset(rows):
    from datasets import Dataset

    return Dataset.from_list(rows)


def _datasets_column(texts):
    return _dataset([{"text": text} for text in texts])["text"]


CONTAINERS = {
    "tuple": tuple,
    "object array": lambda texts: np.array(texts, dtype=object),
    "str array": np.array,
    "Series, odd index": lambda texts: pd.Series(list(texts), index=[3] * len(texts)),
    "Series, string dtype": lambda texts: pd.Series(list(texts), dtype="string"),
    "Series, object dtype": lambda texts: pd.Series(list(texts), dtype=object),
    "polars": lambda texts: pl.Series("text", list(texts)),
    "datasets column": _datasets_column,
}


@every_case
def test_every_container_of_texts_gives_the_same_result(make):
    (X, y), expected = data(3), fitted(make).predict_proba(NEW)
    for name, container in CONTAINERS.items():
        proba = make().fit(container(X), y).predict_proba(container(NEW))
        np.testing.assert_array_equal(proba, expected, err_msg=name)


@pytest.mark.parametrize("name", ["shots", "embedding"])
@pytest.mark.parametrize(
    "container",
    [*CONTAINERS.values(), lambda y: pd.Series(y, dtype="category")],
    ids=[*CONTAINERS, "Series, category dtype"],
)
def test_every_container_of_labels_gives_the_same_result(name, container):
    X, y = data(3)
    clf = MAKE[name]().fit(X, container(y))
    np.testing.assert_array_equal(clf.classes_, sorted(TEXTS))
    np.testing.assert_array_equal(clf.predict_proba(NEW), fitted(MAKE[name]).predict_proba(NEW))


@every_case
def test_integer_classes_with_words_come_back_as_integers(make):
    X, y = data(3)
    words, expected = sorted(TEXTS), fitted(make).predict_proba(NEW)
    for container in (list, np.array, pd.Series, pl.Series):
        clf = make(verbalizer=dict(enumerate(words))).fit(X, container([words.index(name) for name in y]))
        assert clf.classes_.tolist() == [0, 1, 2]
        assert np.issubdtype(clf.predict(NEW).dtype, np.integer)
        np.testing.assert_array_equal(clf.predict_proba(NEW), expected)


@every_case
def test_labels_may_hold_blanks_marks_and_any_script(make):
    names = {"billing": "  two  words ", "bug report": "größer, “als”?", "praise": "好评 👍"}
    X, y = data(3)
    clf = make(verbalizer={names[name]: name for name in names}).fit(X, [names[name] for name in y])
    assert clf.classes_.tolist() == sorted(names.values())
    assert clf.score(NEW, [names[name] for name in EXPECTED]) > 0.8
    assert set(make().fit(X, [names[name] for name in y]).predict(NEW)) <= set(names.values())


FRAMES = {
    "pandas": pd.DataFrame,
    "pandas, odd index": lambda rows: pd.DataFrame(rows, index=["i"] * len(rows)),
    "polars": pl.DataFrame,
    "datasets": _dataset,
}


def _fields(texts, a="text_a", b="text_b"):
    return [{"number": i, a: "A customer writes:", b: text} for i, text in enumerate(texts)]


@every_case
def test_every_container_of_fields_gives_the_same_result(make):
    X, y = data(3)
    plain = make(template=TEMPLATE).fit(_fields(X), y)
    assert plain.score(_fields(NEW), EXPECTED) > 0.6
    for name, frame in FRAMES.items():
        proba = make(template=TEMPLATE).fit(frame(_fields(X)), y).predict_proba(frame(_fields(NEW)))
        np.testing.assert_array_equal(proba, plain.predict_proba(_fields(NEW)), err_msg=name)


@every_case
def test_a_template_with_renamed_fields_reads_other_columns(make):
    X, y = data(3)
    renamed = Template(TEMPLATE).rename(text_a="subject", text_b="body")
    clf = make(template=renamed).fit(pd.DataFrame(_fields(X, "subject", "body")), y)
    plain = make(template=TEMPLATE).fit(pd.DataFrame(_fields(X)), y)
    np.testing.assert_array_equal(
        clf.predict_proba(pd.DataFrame(_fields(NEW, "subject", "body"))),
        plain.predict_proba(pd.DataFrame(_fields(NEW))),
    )


@pytest.mark.parametrize("container", [np.array, pd.Series, pl.Series])
def test_containers_of_texts_cross_validate(container):
    X, y = data(3)
    assert cross_val_score(MAKE["zero-shot"](), container(X), container(y), cv=3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("frame", [list, pd.DataFrame, pl.DataFrame])
def test_containers_of_fields_cross_validate(frame):
    X, y = data(3)
    assert cross_val_score(MAKE["zero-shot"](template=TEMPLATE), frame(_fields(X)), y, cv=3).tolist() == [1, 1, 1]
