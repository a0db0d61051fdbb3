"""Spans in every form: read and written again as they were, and each fault with its row and a cure."""

from __future__ import annotations

import dataclasses
import re
from itertools import groupby, pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from hypothesis import given
from hypothesis import strategies as st

from fewshot import FewshotWarning, InputError, Span
from fewshot.task.spans import Form, read_rows, read_spans, write_spans
from fewshot.task.tags import find_scheme, read_tags, write_tags
from fewshot.task.words import split_words

TEXT = "Ann Lee left New York."
SPANS = (Span(0, 7, "person"), Span(13, 21, "city"))
TOKENS = ["Ann", "Lee", "left", "New", "York", "."]
TAGS = {
    "types": ["person", "person", "O", "city", "city", "O"],
    "IO": ["I-person", "I-person", "O", "I-city", "I-city", "O"],
    "IOB2": ["B-person", "I-person", "O", "B-city", "I-city", "O"],
    "BIOES": ["B-person", "E-person", "O", "B-city", "E-city", "O"],
    "BILOU": ["B-person", "L-person", "O", "B-city", "L-city", "O"],
}
TUPLES = [(0, 7, "person"), (13, 21, "city")]
DICTS = [{"start": start, "end": end, "label": label} for start, end, label in TUPLES]
FORMS = {
    "Span": list(SPANS),
    "tuple": TUPLES,
    "list": [list(one) for one in TUPLES],
    "dict": DICTS,
    "entities of tuples": {"entities": TUPLES},
    "entities of dicts": {"entities": DICTS},
}


def doc(text, *spans):
    ents = [SimpleNamespace(start_char=start, end_char=end, label_=label) for start, end, label in spans]
    return SimpleNamespace(text=text, ents=ents)


def again(X, y):
    found = read_spans(X, y)
    return write_spans(found.spans, found.form, found.words if found.tokenised else None)


class TestSpan:
    def test_it_is_equal_without_its_probability_and_frozen(self):
        span = Span(0, 3, "a", 0.5)
        assert span == Span(0, 3, "a", 0.1)
        assert len({span, Span(0, 3, "a")}) == 1
        assert span != Span(0, 3, "b")
        with pytest.raises(dataclasses.FrozenInstanceError):
            span.start = 1  # type: ignore[misc]


class TestForms:
    @pytest.mark.parametrize("row", FORMS.values(), ids=FORMS)
    def test_each_is_read_and_written_again(self, row):
        empty = {"entities": []} if isinstance(row, dict) else []
        for y in ([row, empty], [empty, row]):
            X = [TEXT if one else "Nothing." for one in (y[0] == row, y[1] == row)]
            found = read_spans(X, y)
            assert found.spans == [SPANS if one == row else () for one in y]
            assert found.texts == X
            assert again(X, y) == y

    @pytest.mark.parametrize(("scheme", "tags"), TAGS.items(), ids=TAGS)
    def test_tags_are_read_and_written_again(self, scheme, tags):
        found = read_spans([TOKENS, []], [tags, []])
        assert found.texts == ["Ann Lee left New York .", ""]
        assert found.spans == [SPANS, ()]
        assert found.form == Form("tag", scheme)
        assert again([TOKENS, []], [tags, []]) == [tags, []]

    def test_spans_of_tokens_are_in_characters_of_the_joined_text(self):
        assert again([TOKENS], [TUPLES]) == [TUPLES]
        assert read_spans([["New York", "x"]], [[(0, 8, "city")]]).spans == [(Span(0, 8, "city"),)]

    @pytest.mark.parametrize("make", [list, pd.Series, pl.Series, lambda rows: np.array(rows, dtype=object), iter])
    def test_of_any_container(self, make):
        assert read_spans(make([TEXT, ""]), [TUPLES, []]).spans == [SPANS, ()]
        tokens = [TOKENS, ["x"]]
        assert read_spans(make(tokens), make([TAGS["IOB2"], ["O"]])).spans == [SPANS, ()]

    def test_arrays_and_numbers_of_numpy_are_plain_data(self):
        found = read_spans([np.array(TOKENS)], [np.array(TAGS["types"])])
        assert found.spans == [SPANS]
        assert {type(span.label) for span in found.spans[0]} == {str}
        (span,) = read_spans([TEXT], [[(np.int64(0), np.int64(7), np.str_("person"))]]).spans[0]
        assert [type(span.start), type(span.end), type(span.label)] == [int, int, str]

    def test_spans_come_from_left_to_right(self):
        assert read_spans([TEXT], [TUPLES[::-1]]).spans == [SPANS]

    def test_without_a_span_it_is_that_of_span(self):
        assert read_spans(["a", "b"], [[], []]).form == Form()

    def test_probabilities_are_kept_where_the_form_has_a_place(self):
        sure = [Span(0, 7, "person", 0.75)]
        assert [span.probability for row in again([TEXT], [sure]) for span in row] == [0.75]
        as_dict = write_spans([sure], Form("dict"))
        assert as_dict == [[{"start": 0, "end": 7, "label": "person", "probability": 0.75}]]
        assert read_spans([TEXT], as_dict).spans[0][0].probability == 0.75
        assert write_spans([sure], Form("tuple")) == [[(0, 7, "person")]]

    def test_other_keys_are_not_read(self):
        assert read_spans([TEXT], [[{**DICTS[0], "token_start": 0}]]).spans == [SPANS[:1]]
        assert read_spans([TEXT], [{"entities": TUPLES, "cats": {}}]).spans == [SPANS]

    def test_tags_of_plain_texts_are_spans(self):
        assert write_spans([list(SPANS)], Form("tag", "IOB2")) == [list(SPANS)]


class TestDocs:
    def test_they_have_their_spans(self):
        docs = [doc(TEXT, *TUPLES), doc("Nothing.")]
        for found in (read_spans(docs), read_spans(iter(docs)), read_spans([TEXT, "Nothing."], docs)):
            assert found.texts == [TEXT, "Nothing."]
            assert found.spans == [SPANS, ()]
        assert again(docs, None) == [list(SPANS), []]
        assert read_rows(docs) == ([TEXT, "Nothing."], None)

    def test_of_another_text_they_are_refused(self):
        with pytest.raises(InputError, match=r"^Row 1: the Doc in y is of another text than X: pass the Docs as X"):
            read_spans([TEXT, "Nothing!"], [doc(TEXT), doc("Nothing.")])

    @pytest.mark.parametrize("X", [[TEXT], [], 3, "text"])
    def test_without_them_y_must_be_given(self, X):
        with pytest.raises(InputError, match="y is None, and X holds no spaCy Docs"):
            read_spans(X)


class TestDatasets:
    def table(self, first="tokens"):
        names = ["O", "B-person", "I-person", "B-city", "I-city"]
        features = Features({first: Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=names))})
        rows = {first: [TOKENS, []], "ner_tags": [[names.index(tag) for tag in TAGS["IOB2"]], []]}
        return Dataset.from_dict(rows, features=features)

    def test_numbers_have_the_names_of_their_column(self):
        table = self.table()
        for X, y in ((table, "ner_tags"), (table, table["ner_tags"]), (table["tokens"], table["ner_tags"])):
            found = read_spans(X, y)
            assert found.spans == [SPANS, ()]
            assert again(X, y) == [TAGS["IOB2"], []]

    def test_rows_are_the_tokens_or_the_text(self):
        assert read_rows(self.table())[0] == [" ".join(TOKENS), ""]
        assert read_rows(Dataset.from_dict({"text": [TEXT], "id": [1]})) == ([TEXT], None)

    def test_their_faults(self):
        with pytest.raises(InputError, match=r"the dataset has the columns \['tokens', 'ner_tags'\]: name one"):
            read_spans(self.table(), "tags")
        with pytest.raises(InputError, match="rename the column of the texts to tokens, or text"):
            read_spans(self.table("words"), "ner_tags")
        wrong = self.table().map(lambda row: {"ner_tags": [-1 for _ in row["tokens"]]})
        with pytest.raises(InputError, match="Row 0: a tag is the number -1, and the dataset has names of 0 to 4"):
            read_spans(wrong, "ner_tags")


class TestSchemes:
    """Of tags: the spans are told by looping over runs, otherwise than the library does."""

    @staticmethod
    def runs(labels):
        """Drawn words: equal neighbours are one span, of the types "A" and "B"; None is no span."""
        ends = np.cumsum([len(list(group)) for _, group in groupby(labels)]).tolist()
        kinds = [kind for kind, _ in groupby(labels)]
        bounds = zip([0, *ends], ends, kinds, strict=False)
        return [(start, end, kind[0]) for start, end, kind in bounds if kind is not None]

    @pytest.mark.parametrize("scheme", ["types", "IO", "IOB1", "IOB2", "BIOES", "BILOU"])
    @given(labels=st.lists(st.sampled_from([None, "A1", "A2", "B1", "B2"]), max_size=9))
    def test_spans_are_written_and_read(self, scheme, labels):
        chunks = self.runs([one and one[0] for one in labels] if scheme in ("types", "IO") else labels)
        tags = write_tags(chunks, len(labels), scheme)
        assert len(tags) == len(labels)
        assert read_tags(tags, scheme) == chunks

    @pytest.mark.parametrize(
        ("tags", "scheme", "chunks"),
        [
            ("I-A B-A O I-B", "IOB1", [(0, 1, "A"), (1, 2, "A"), (3, 4, "B")]),
            ("B-A B-A O B-B", "IOB2", [(0, 1, "A"), (1, 2, "A"), (3, 4, "B")]),
            ("I-A I-B I-B O", "IO", [(0, 1, "A"), (1, 3, "B")]),
            ("A A O B-A", None, "two schemes"),
            ("S-A B-A I-A E-A", "BIOES", [(0, 1, "A"), (1, 4, "A")]),
            ("U-A B-A I-A L-A", "BILOU", [(0, 1, "A"), (1, 4, "A")]),
            ("O O", "types", []),
            ("geo-political O", "types", [(0, 1, "geo-political")]),
            ("B-a-b I-a-b", "IOB2", [(0, 2, "a-b")]),
        ],
    )
    def test_the_scheme_is_told_from_the_tags(self, tags, scheme, chunks):
        if scheme is None:
            with pytest.raises(InputError, match=chunks):
                find_scheme([tags.split()])
        else:
            assert find_scheme([tags.split()]) == scheme
            assert read_tags(tags.split(), scheme) == chunks

    @pytest.mark.parametrize(
        ("tags", "scheme", "chunks"),
        [
            ("O I-A B-A I-B I-B", "IOB2", [(1, 2, "A"), (2, 3, "A"), (3, 5, "B")]),
            ("E-A B-A O S-A I-A", "BIOES", [(0, 1, "A"), (1, 2, "A"), (3, 4, "A"), (4, 5, "A")]),
            ("B-A I-A U-A L-A", "BILOU", [(0, 2, "A"), (2, 3, "A"), (3, 4, "A")]),
        ],
    )
    def test_broken_rows_are_counted_and_read_as_conlleval_does(self, tags, scheme, chunks):
        good = write_tags([(0, 2, "A"), (2, 3, "A"), (4, 6, "A")], 7, scheme)
        with pytest.warns(FewshotWarning, match=f"The tags of 2 rows break the scheme {scheme}, those of row 1 first"):
            assert find_scheme([good, tags.split(), good, tags.split(), good]) == scheme
        assert read_tags(tags.split(), scheme) == chunks

    def test_iob1_writes_b_between_two_of_one_type_only(self):
        chunks = [(0, 1, "A"), (1, 2, "B"), (2, 3, "B"), (4, 5, "B")]
        assert write_tags(chunks, 5, "IOB1") == ["I-A", "I-B", "B-B", "O", "I-B"]

    def test_where_as_many_rows_break_iob1_it_is_iob2(self):
        with pytest.warns(FewshotWarning, match="The tags of 1 rows break the scheme IOB2, those of row 1 first"):
            assert find_scheme([["O", "B-A"], ["O", "I-A"]]) == "IOB2"

    def test_fewer_broken_rows_tell_iob1(self):
        rows = [["I-A", "B-A"], ["I-A", "O"], ["B-A", "O"]]
        with pytest.warns(FewshotWarning, match="The tags of 1 rows break the scheme IOB1, those of row 2 first"):
            assert find_scheme(rows) == "IOB1"


@st.composite
def texts_with_spans(draw):
    """A text, and spans of whole words that do not overlap, from left to right."""
    text = draw(st.text(st.sampled_from("abĉ1日本ไ.,' \n\u0301"), max_size=30))
    words = split_words(text)
    cuts = sorted(draw(st.sets(st.integers(0, max(len(words) - 1, 0)), max_size=6)))
    labels = draw(st.lists(st.sampled_from(["x", "y", 3, None]), min_size=len(cuts), max_size=len(cuts)))
    bounds = [(words[a][0], words[b - 1][1]) for a, b in pairwise([*cuts, len(words)])] if words else []
    return text, [(*one, label) for one, label in zip(bounds, labels, strict=False) if label is not None]


@given(st.lists(texts_with_spans(), min_size=1, max_size=4), st.sampled_from(["Span", "tuple", "list", "dict"]))
def test_spans_of_whole_words_are_read_and_written_again(rows, item):
    X, tuples = map(list, zip(*rows, strict=True))
    make = {"Span": lambda one: Span(*one), "tuple": tuple, "list": list}
    y = [
        [make.get(item, lambda one: dict(zip(("start", "end", "label"), one, strict=True)))(one) for one in row]
        for row in tuples
    ]
    assert again(X, y) == y
    assert again(X, [{"entities": row} for row in y]) == [{"entities": row} for row in y]


class TestFaults:
    """Each in the second row, with what cures it."""

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([(0, 23, "a")], "the span (0, 23, 'a') is no part of the text, which has 22 characters"),
            ([(-3, 3, "a")], "the span (-3, 3, 'a') is no part of the text"),
            ([(3, 3, "a")], "the span (3, 3, 'a') is empty: it must be text[start:end]"),
            ([(7, 3, "a")], "the span (7, 3, 'a') is no part of the text"),
            ([(4, 12, "b"), (0, 7, "a")], "the span (4, 12, 'b') overlaps the span (0, 7, 'a'): keep one of them"),
            ([(0, 7, "a"), (0, 7, "b")], "the span (0, 7, 'b') overlaps the span (0, 7, 'a')"),
            (
                [(14, 21, "a")],
                "begins or ends with a part of the word 'New': give the span of whole words, (13, 21), 'New York'",
            ),
            ([(13, 20, "a")], "a part of the word 'York': give the span of whole words, (13, 21), 'New York'"),
            ([(0, 4, "a")], "begins or ends with a blank: give the span of whole words, (0, 3), 'Ann'"),
            ([(3, 4, "a")], "the span (3, 4, 'a') has blanks only: drop it"),
            ([(0, 3, None)], "has the label None: drop the span, or name its type"),
            ([(0, 3, ["a"])], "has the label ['a']: drop the span, or name its type"),
            ([(0.0, 3, "a")], "must begin and end at whole numbers, in characters. Got (0.0, 3)"),
            ([(0, 3)], "a span must be (start, end, label). Got (0, 3)"),
            ((0, 3, "a"), "must be a list of spans. Got one span: wrap it in a list, [(0, 3, 'a')]"),
            ([{"start": 0, "end": 3, "type": "a"}], "y mixes forms"),
            ({"entities": [(0, 3, "a")]}, "y mixes forms. Write all of it in one: write spans as (start, end, label)"),
            ({"spans": []}, "a mapping in y must have the key 'entities'. Got ['spans']"),
            ("a", "a row of y must be a list. Got 'a'"),
            ([1, 0, 1], "a tag is the number 1: tags are names. Of a dataset pass the dataset itself"),
            ([True], "a span must be of another form. Got True"),
        ],
    )
    def test_of_a_row(self, row, message):
        with pytest.raises(InputError, match=f"^Row 1: .*{re.escape(message)}"):
            read_spans([TEXT, TEXT], [TUPLES, row])

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (["O", "B-a"], "there are 3 tokens and 2 tags: give each token a tag"),
            (["O", "B", "I"], "the tag 'B' has no type: write B-entity, or another name"),
            (["O", "B-", "I-"], "the tag 'B-' has no type"),
            (["", "O", "O"], 'a tag is empty: write "O" for a word in no span'),
            (["a", "O", "O"], "the tag 'a' and the tag 'B-b' before it are of two schemes"),
        ],
    )
    def test_of_tags(self, row, message):
        with pytest.raises(InputError, match=f"^Row 1: .*{re.escape(message)}"):
            read_spans([["x"], ["x", "y", "z"]], [["B-b"], row])

    def test_keys_that_a_span_lacks(self):
        with pytest.raises(InputError, match=r"^Row 0: a span has the keys \['start', 'end'\], and lacks \['label'\]"):
            read_spans([TEXT], [[{"start": 0, "end": 3}]])

    def test_two_schemes(self):
        with pytest.raises(InputError, match="the prefixes E, U, of BIOES and of BILOU: write all in one scheme"):
            read_spans([["x"], ["y"]], [["U-a"], ["E-a"]])

    def test_tags_under_entities(self):
        with pytest.raises(InputError, match=r"^Row 0: y mixes forms"):
            read_spans([["x"]], [{"entities": ["B-a"]}])

    def test_tags_of_a_text(self):
        with pytest.raises(InputError, match=r"^Row 0: y has tags, and X has a text: give X as lists of tokens"):
            read_spans(["x"], [["B-a"]])

    def test_spans_inside_a_token(self):
        with pytest.raises(InputError, match=r"a part of the word '10\.5%'.*\(0, 5\)"):
            read_spans([["10.5%"]], [[(0, 4, "number")]])

    @pytest.mark.parametrize("y", [3, "spans", {"entities": []}, {1, 2}])
    def test_no_rows(self, y):
        with pytest.raises(InputError, match=r"y must have the spans of each text\. Got"):
            read_spans(["x"], y)

    def test_two_lengths(self):
        with pytest.raises(InputError, match="X has 2 rows and y has 1: they must be of one length"):
            read_spans(["x", "y"], [[]])

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            ([["x"], "y"], r"X\[1\] is 'y': X mixes texts and lists of tokens"),
            ([["x"], ["y", ""]], "^Row 1: a token must be text, and not empty. Got '': drop it, with its tag"),
            ([["x"], ["y", 3]], "^Row 1: a token must be text, and not empty. Got 3"),
            (["x", None], r"X\[1\] must be text. Got None"),
            ("x", "X must be a list of texts"),
            ([], "X is empty"),
            (pd.DataFrame({"a": ["x"]}), "choose one column"),
            (pl.DataFrame({"a": ["x"]}), "choose one column"),
            (np.array([["x", "y"]]), "X must be one-dimensional"),
        ],
    )
    def test_of_X(self, X, message):
        with pytest.raises(InputError, match=message):
            read_rows(X)
