"""The readers on whatever there is: any bytes are rows or a FewshotError, and tables come back as they were."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fewshot.cli.delimited import Delimited, text_lines
from fewshot.cli.formats import READ, Format
from fewshot.cli.json_rows import _Elements, as_json, parse_array, parse_lines
from fewshot.cli.options import as_shots, as_words
from fewshot.cli.reading import read
from fewshot.cli.setups import as_strategy, make_setups
from fewshot.cli.table import Table
from fewshot.cli.writing import lines_of
from fewshot.errors import FewshotError
from fewshot.tables import cells_to_line

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["", " ", '"', '""', "\r", "\n", "\r\n", ",", ";", "\t", "a,b", "\ufeff", "\u2028", "\x85", "sep=;", "'", "\\"]
)
NAME = CELL.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CELL,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELL, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(CELL, JSON, max_size=3), max_size=4)
CSV_LIKE = st.lists(st.sampled_from(['"', ",", ";", "\n", "\r", "\r\n", "\t", "a", "text", " ", "\0", "é"])).map(
    "".join
)
JSON_LIKE = st.lists(
    st.sampled_from(
        [
            '{"text":',
            "{",
            "}",
            "[",
            "]",
            '"',
            ",",
            ":",
            "1e999",
            "NaN",
            "\\ud800",
            '"text"',
            "null",
            "\n",
            "-",
            "9" * 400,
        ]
    )
).map("".join)
ANY = st.binary(max_size=60) | CSV_LIKE.map(str.encode) | JSON_LIKE.map(str.encode)

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tables(draw):
    columns = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    return columns, draw(st.lists(st.lists(CELL, min_size=len(columns), max_size=len(columns)), max_size=4))


def _delimited(source, delimiter):
    return Delimited("x", delimiter, True, lambda: contextlib.nullcontext(io.StringIO(source, newline="")))


@quick
@given(tables(), st.sampled_from(",;\t|"))
@example((["text"], [["a\rb"], [""], ["\n"]]), ",")
def test_a_delimited_table_comes_back(table, delimiter):
    columns, cells = table
    source = "".join(cells_to_line(own, delimiter) for own in (columns, *cells))
    found = _delimited(source, delimiter)
    rows = list(found.rows())
    assert (found.columns, [list(row.values()) for _, row in rows], found.n_blank) == (columns, cells, 0)
    starts = source.splitlines(keepends=True)
    assert all(1 <= line <= len(starts) + source.count("\r") for line, _ in rows)


@quick
@given(tables())
def test_what_is_written_is_what_csv_reads(table):
    columns, cells = table
    rows = [dict(zip(columns, own, strict=True)) for own in cells]
    text = "".join(lines_of("csv", Table("x", "csv", rows, columns), columns, rows))
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == [columns, *cells]


@quick
@given(st.lists(st.lists(CELL, min_size=1, max_size=1), max_size=5))
def test_one_column_as_other_tools_write_it_keeps_its_rows(cells):
    """An empty cell may be a blank line."""
    lines = [cells_to_line(own, ",") if own != [""] else "\n" for own in cells]
    assert [list(row.values()) for _, row in _delimited("text\n" + "".join(lines), ",").rows()] == cells


@quick
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8), max_size=5))
def test_texts_come_back(texts):
    lines = io.StringIO("".join(f"{text}\n" for text in texts), newline="")
    assert [row["text"] for _, row in text_lines(lines)] == texts


@quick
@given(ROWS)
def test_json_comes_back(rows):
    table = Table("x", "jsonl", rows, [])
    lines = io.StringIO("".join(lines_of("jsonl", table, [], rows)), newline="")
    assert [row for _, row in parse_lines(lines, "x")] == rows
    if rows:
        array = io.StringIO("".join(lines_of("json", table, [], rows)), newline="")
        assert [row for _, row in parse_array(array, "x")] == rows


@quick
@given(
    st.lists(JSON, max_size=5),
    st.integers(1, 40),
    st.sampled_from(["", " ", "\n", "]", ",", "1", "[", "nul"]),
    st.data(),
)
def test_an_array_that_is_read_in_blocks_is_what_json_reads(values, block, after, data):
    """Whatever the blocks cut, and wherever the text ends."""
    source = json.dumps(values, indent=data.draw(st.sampled_from([None, 1]))) + after
    source = source[: data.draw(st.integers(1, len(source)))]
    elements = _Elements(io.StringIO(source), "x")
    with mock.patch("fewshot.cli.json_rows._BLOCK", block):
        try:
            expected = json.loads(source)
        except json.JSONDecodeError as error:
            line = f", line {error.lineno}" if error.lineno > 1 else ""
            with pytest.raises(FewshotError, match=re.escape(f"'x'{line}: not JSON: ")):
                list(elements)
        else:
            assert list(elements) == expected


@quick
@given(
    st.recursive(st.floats() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(CELL, inner), max_leaves=5)
)
def test_what_is_written_is_strict_json(value):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads(as_json(value), parse_constant=refuse)


@quick
@given(
    st.lists(
        st.sampled_from(
            [
                "prompting",
                "embedding",
                "auto",
                "(",
                ")",
                "shots=",
                "4",
                ",",
                "'",
                "**",
                "*",
                "[",
                "]",
                "lora",
                "=",
                ".",
                " ",
            ]
        ),
        max_size=12,
    ).map("".join)
    | st.text(max_size=20)
)
@example("(" * 5000)
@example("prompting(" * 5000)
@example("prompting(shots=" + "9" * 5000 + ")")
def test_any_option_is_a_strategy_or_refused(text):
    with contextlib.suppress(FewshotError):
        assert hasattr(as_strategy(text), "fit")
    with contextlib.suppress(FewshotError):
        assert all(as_words(text).values())
    with contextlib.suppress(FewshotError):
        assert all(size >= 0 for size in as_shots([text]))
    with contextlib.suppress(FewshotError):
        assert make_setups({}, None, [f"a: {text}", "b: shots=1"]).keys() == {"a", "b"}


def outcome(data, name, form):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(data)
        try:
            table = read(file, form)
        except FewshotError:
            return None
        assert table.rows
        assert all(isinstance(key, str) for row in table.rows for key in row)
        assert not table.lines or len(table.lines) == len(table.rows)
        for row in table.rows:  # what was read can be written
            as_json(row).encode()
        for kind in ("csv", "json"):
            "".join(lines_of(kind, table, table.columns, table.rows)).encode()
        return table


@quick
@given(ANY, st.sampled_from(["x", "x.csv", "x.tsv", "x.txt", "x.json", "x.jsonl", "x.csv.gz", "x.jsonl.gz"]))
def test_any_bytes_are_rows_or_refused(data, name):
    outcome(gzip.compress(data) if name.endswith(".gz") and data[:1] < b"\x80" else data, name, Format())


@quick
@given(
    ANY,
    st.sampled_from([kind for kind in READ if kind != "parquet"]),
    st.sampled_from(["cp1252", "utf-16", "utf-7", "shift_jis", "utf-8", "hz"]),
    st.booleans(),
)
def test_any_bytes_in_any_encoding_are_rows_or_refused(data, kind, encoding, header):
    outcome(data, "x", Format(kind, None, encoding, header or kind in ("json", "jsonl")))


@quick
@given(st.binary(max_size=60), st.integers(0, 2000))
def test_any_bytes_are_no_parquet(data, cut):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "n": [1, 2]}), stream)
    whole = stream.getvalue()
    outcome(whole[:cut] + data + whole[cut + len(data) :], "x.parquet", Format())
