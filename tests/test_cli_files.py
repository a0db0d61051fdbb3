"""Files of every odd kind that people have: read whole, or refused with a sentence that says where and what to do."""

from __future__ import annotations

import gzip
import io
import json
import sys

import pytest

from fewshot.cli.delimited import sniff
from fewshot.cli.formats import Format
from fewshot.cli.reading import read
from fewshot.errors import FewshotError, InputError
from tests.command import _keyword_model, run  # noqa: F401 - a fixture

NAMES = ("--labels", "good,bad")


@pytest.fixture
def classify(monkeypatch, capsys, tmp_path):
    """Write a file, classify it, and return exit code, standard output and standard error."""

    def classified(name, content, *arguments):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return run(monkeypatch, capsys, "classify", file, *NAMES, *arguments)

    return classified


def texts(tmp_path, content, name="mail.csv", **said):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row["text"] for row in read(file, Format(**said)).rows]


# rows out are rows in


def test_rows_out_are_rows_in(classify):
    code, out, err = classify("one.csv", 'text\ngood\n\n" "\nbad\n', "--skip-empty")
    assert code == 0
    assert out == "text,prediction,probability\ngood,good,0.7311\n,,\n ,,\nbad,bad,0.7311\n"
    assert "2 of 4 rows" in err
    assert "have no text and get no prediction: 1 (line 3), 2 (line 4)." in err


def test_rows_without_text_are_named(classify):
    code, out, err = classify("one.csv", "text\ngood\n\nbad\n")
    assert (code, out) == (1, "")
    assert "row 1 (line 3) has no text" in err
    assert "--skip-empty" in err
    code, _, err = classify("two.csv", "id,text\n" + "1,\n" * 7 + "2,bad\n")
    assert code == 1
    assert "rows 0 (line 2), 1 (line 3), 2 (line 4), 3 (line 5), 4 (line 6) and 2 more have no text" in err
    assert classify("rows.jsonl", '{"text": null}\n{"text": "bad"}\n')[0] == 1
    code, out, _ = classify("rows.jsonl", '{"text": null}\n{"text": "bad"}\n', "--skip-empty")
    assert json.loads(out.splitlines()[0]) == {"text": None, "prediction": None, "probability": None}
    code, _, err = classify("none.csv", "text\n \n", "--skip-empty")
    assert (code, "No row of" in err) == (1, True)


def test_of_several_fields_one_may_be_empty(classify):
    template = ("--template", "Text: {{ title }} {{ text }} {{ label }}")
    assert classify("two.csv", "title,text\n,good\nbad,\n", *template)[0] == 0
    code, _, err = classify("two.csv", "title,text\n,good\n,\n", *template)
    assert (code, "row 1 (line 3) has no text" in err) == (1, True)


@pytest.mark.parametrize(
    "content",
    [
        "id,text\r\n1,good\r\n2,bad\r\n",
        "id,text\r1,good\r2,bad\r",
        "id,text\n1,good\n2,bad",
        "\ufeffid,text\n1,good\n2,bad\n",
        "id,text\n1,good,\n2,bad,\n",
        '"id","text"\n"1","good"\n"2","bad"\n',
        "\n\nid,text\n1,good\n2,bad\n",
        "sep=,\r\nid,text\r\n1,good\r\n2,bad\r\n",
        "id,text\n1,good\n2,bad\n".encode("utf-16"),
        "id,text\n1,good\n2,bad\n".encode("utf-32"),
    ],
)
def test_one_table_in_many_forms(tmp_path, content):
    assert texts(tmp_path, content) == ["good", "bad"]


def test_cells_hold_anything(tmp_path):
    odd = ["a\nb", "a\r\nb", "a\rb", 'he said "no"', "a,b", " padded ", "\u2028", "\x85", "x" * 200_000]
    quoted = "".join('"' + text.replace('"', '""') + '"\n' for text in odd)
    assert texts(tmp_path, "text\n" + quoted) == odd


def test_blank_lines_of_a_wide_table_are_no_rows_and_said(classify):
    code, out, err = classify("two.csv", "id,text\n1,good\n\n2,bad\n\n")
    assert code == 0
    assert out.count("\n") == 3
    assert "has 2 blank lines, which are no rows of 2 cells" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,id\na,1,2\n", "line 2, row 0: a row needs 2 columns, as the header has. Got 3."),
        ("a.csv", 'text,id\n"a\nb",1\nx\n', "line 4, row 1: a row needs 2 columns"),
        ("a.csv", "text,text\na,b\n", "has the column text twice in its header"),
        ("a.csv", "text,,\na,b,c\n", "has no name for the columns 2, 3 in its header"),
        ("a.csv", b"text\ncaf\xe9\n", "is not UTF-8: byte 0xe9 at 8 (line 2). If it comes from a spreadsheet, try"),
        ("a.csv", "text\nn\0ul\n", "holds a NUL byte. If it is UTF-16, give --encoding utf-16"),
        (
            "a.csv",
            "id,Text\n1,good\n",
            "there is no column 'text'; there are id, Text. Choose 'Text' with --text-column 'Text'.",
        ),
        ("a.csv", "I loved every single minute of it\nbad\n", "if it is one, give --no-header"),
        ("a.csv", "id, Text\n1,good\n", "there are id, ' Text'. Choose ' Text' with --text-column ' Text'."),
        ("a.csv", "Nice. I liked it\n", "holds no rows below the names of columns in its first line. If that is a row"),
        ("a.txt", b"g\0o\0o\0d\0", "holds a NUL byte. If it is UTF-16"),
        ("a.csv", "x,good one\n1,bad\n", "there are x, good one. Choose one with --text-column.\n"),
        ("a.txt", "id,text\n1,good\n", "seems to name columns. If it is a table, give --format csv"),
        ("a.csv.gz", b"text\ngood\n", "is not a gzip file, or it is damaged"),
        ("a.csv.gz", gzip.compress(b"text\ngood\n", mtime=0)[:-9], "is not a gzip file, or it is damaged"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "line 1: the key 'text' occurs twice in an object."),
        ("a.jsonl", '{"text": "a"}\n{"text": NaN}\n', "line 2: not JSON: NaN. Write null"),
        ("a.jsonl", '{"text": "a", "n": 1e999}\n', "line 1: the number 1e999 is larger"),
        ("a.jsonl", '{"n": ' + "9" * 5000 + "}\n", "line 1: a number has too many digits"),
        ("a.jsonl", '{"n": ' + "[" * 100_000 + "\n", "line 1: nested too deep"),
        ("a.jsonl", '{"n": ' + "[" * 200 + "]" * 200 + "}\n", "line 1: nested too deep"),
        ("a.jsonl", '{"text": "half \\ud83d"}\n', "line 1: half a character"),
        ("a.jsonl", '{"text": {"body": "x"}}\n', "line 1, row 0: the column 'text' must be text. Got dict"),
        ("a.jsonl", '{"text": ["x"]}\n', "the column 'text' must be text. Got list"),
        ("a.jsonl", '{"text": true}\n', "the column 'text' must be text. Got bool"),
        ("a.jsonl", '"x"\n', "a row must be an object, such as"),
        ("a.json", "3", "a row must be an object"),
        ("a.json", '{\n"rows": [1]\n}', "must hold an array of objects. Got an object."),
        ("a.json", '[{"text": "a"}, 3]', "row 1: a row must be an object"),
        ("a.json", '[\n{"text": "a"},\n]', "line 3: not JSON"),
        ("a.json", "[]", "holds no rows"),
        ("a.csv", "", "holds no rows"),
        ("a.jsonl", "\n\n", "holds no rows"),
        ("a.txt", "", "holds no rows"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(classify, name, content, message):
    code, out, err = classify(name, content)
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("fewshot: ")
    assert err.count("\n") == 1


def test_json_that_is_sound_is_read(tmp_path):
    assert texts(tmp_path, '{"text": "a \\ud83d\\ude00"}\r\n\r\n{"text": "b"}', "a.jsonl") == ["a 😀", "b"]
    assert texts(tmp_path, '[{"text": "a"},\n {"text": "b"}]', "a.json") == ["a", "b"]
    assert texts(tmp_path, '{"text": "a"}\n{"text": "b"}\n', "a.json") == ["a", "b"]  # many a .json is JSON Lines
    nested = '{"text": "a", "deep": ' + "[" * 50 + "]" * 50 + "}"
    assert texts(tmp_path, nested, "a.ndjson") == ["a"]


# what the name of a file does not say


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found_and_said(classify, delimiter):
    lines = ["id,text", "1,so good; really | good", '2,"bad, so bad"']
    content = "\n".join(line.replace(",", delimiter, 1) for line in lines) + "\n"
    if delimiter in (";", "|"):
        content = content.replace("so good; really | good", '"so good; really | good"')
    code, out, err = classify("a.csv", content)
    assert code == 0
    assert f"is separated by {delimiter!r}." in err
    assert out.splitlines()[0] == delimiter.join(["id", "text", "prediction", "probability"])
    code, _, err = classify("a.csv", content, "--delimiter", {"\t": "tab"}.get(delimiter, delimiter))
    assert (code, err) == (0, "")
    assert classify("a.csv", content, "--delimiter", ",")[0] == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("text\nhello; world\n", ","),
        ("text\na|b\n", ","),
        ("id;text\n1;a, b\n2;c\n", ";"),
        ("id,text\n1,a;b\n", ","),
        ("a;b,c\n1;2,3\n", ","),
        ("a;b\n1;2;\n3;4;\n", ";"),
        ("id;text\n" + '1;"a\nb"\n' * 9000, ";"),
        ("", ","),
        ('"open', ","),
    ],
)
def test_the_delimiter_is_that_of_header_and_rows(source, expected):
    assert sniff(source, ",") == expected


def test_texts_line_by_line(classify, tmp_path):
    code, out, _ = classify("mail.txt", 'so good, a joy\n\n"bad" it broke\n', "--skip-empty")
    assert code == 0
    assert out.splitlines()[1:] == ['"so good, a joy",good,0.7311', ",,", '"""bad"" it broke",bad,0.7311']
    assert texts(tmp_path, "a\r\nb", "mail.txt") == ["a", "b"]
    assert texts(tmp_path, "text\nb\n", "mail.txt", kind="txt") == ["text", "b"]
    assert texts(tmp_path, "text\nb\n", "mail.txt", kind="csv") == ["b"]
    code, out, _ = classify("mail.txt", "so good\n", "--template", "Text: {{ review }} {{ label }}")
    assert (code, out.splitlines()[1]) == (0, "so good,good,0.7311")


def test_a_file_without_a_header(classify):
    code, out, _ = classify("a.csv", "so good\nbad\n", "--no-header")
    assert (code, out.splitlines()) == (0, ["text,prediction,probability", "so good,good,0.7311", "bad,bad,0.7311"])
    code, out, err = classify("a.csv", "1,so good\n2,bad\n", "--no-header")
    assert (code, "there are column_1, column_2" in err) == (1, True)
    code, out, _ = classify("a.csv", "1,so good\n2,bad\n", "--no-header", "--text-column", "column_2")
    assert (code, out.splitlines()[0]) == (0, "column_1,column_2,prediction,probability")


def test_an_index_without_a_name_is_a_column(classify):
    code, out, _ = classify("a.csv", ",text\n0,good\n")
    assert (code, out) == (0, ",text,prediction,probability\n0,good,good,0.7311\n")


def test_an_encoding_that_is_said(classify, tmp_path):
    code, out, _ = classify("a.csv", "text\ngood café\n".encode("cp1252"), "--encoding", "cp1252")
    assert (code, "good café,good" in out) == (0, True)
    assert texts(tmp_path, "text\nä\n".encode("utf-16-le"), encoding="utf-16-le") == ["ä"]
    for odd in ("rot13", "nope", "unicode_escape", "undefined", "base64"):
        assert classify("a.csv", "text\ngood\n", "--encoding", odd)[0] == 2


def test_zipped_files(classify):
    code, out, _ = classify("a.csv.gz", gzip.compress(b"text\ngood\n", mtime=0))
    assert (code, out.splitlines()[1]) == (0, "good,good,0.7311")
    code, out, _ = classify("a.jsonl.gz", gzip.compress(b'{"text": "bad"}\n'))
    assert (code, json.loads(out)["prediction"]) == (0, "bad")


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (b"text\nso good\n", ()),
        (b'{"text": "so good"}\n', ()),
        (b'[{"text": "so good"}]', ()),
        (gzip.compress(b"text\nso good\n", mtime=0), ()),
        (b"so good\n", ("--format", "txt")),
        (b"so good\n", ("--no-header",)),
        (b"id;text\n1;so good\n", ()),
    ],
)
def test_standard_input(monkeypatch, capsys, content, more):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code, out, _ = run(monkeypatch, capsys, "classify", "-", *NAMES, *more)
    assert code == 0
    assert "so good" in out
    assert "0.7311" in out


def test_one_text(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "classify", "It was good. Really, it was", *NAMES, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["prediction"] == "good"
    code, _, err = run(monkeypatch, capsys, "classify", "good " * 2000, *NAMES)
    assert code == 0
    code, _, err = run(monkeypatch, capsys, "classify", "my mial.csv", *NAMES)
    assert (code, "can't be read: No such file" in err) == (1, True)
    code, _, err = run(monkeypatch, capsys, "classify", "refund", *NAMES)
    assert (code, "There is no file 'refund'. If it is a text of one word: echo refund |" in err) == (1, True)
    code, _, err = run(monkeypatch, capsys, "classify", "half \ud83d text", *NAMES)
    assert (code, "terminal's own encoding" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "--format", "xls"], "--format must be one of csv, tsv, txt"),
        (["a.csv", "--delimiter", ";;"], "--delimiter must be one character"),
        (["a.csv", "--delimiter", '"'], "--delimiter must be one character"),
        (["a.jsonl", "--delimiter", ";"], "--delimiter is for .csv and .tsv files"),
        (["a.jsonl", "--no-header"], "--no-header is for .csv and .tsv files"),
        (["-", "--examples", "-"], "Standard input can be read once"),
        (["a b c", "--no-header"], "If it is a text, leave out --format"),
        (["a.csv", "--output", "x.json.parquet.gz"], "It must end with .csv"),
        (["a.csv", "--output", "x.csv", "--json"], "--json writes lines of JSON"),
        (["a.csv", "--seed", "-1"], "Invalid value for '--seed'"),
        (["a.csv", "--labels", "a,\udcff"], "Names must be text"),
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text\ngood\n")
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n')
    code, out, err = run(monkeypatch, capsys, "classify", *NAMES, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_every_command_reads_the_same_files(monkeypatch, capsys, tmp_path):
    rows = "".join(f"{word} {i};{word}\n" for i in range(4) for word in ("good", "bad"))
    (tmp_path / "a.csv").write_bytes(("text;label\n" + rows).encode("utf-16"))
    (tmp_path / "b.csv").write_text(rows.replace(";", "|"))
    zero = ("--shots", 0, "--strategy", "prompting")
    code, out, err = run(monkeypatch, capsys, "evaluate", tmp_path / "a.csv", *zero)
    assert (code, "is separated by ';'" in err, "accuracy  1.000" in out) == (0, True, True)
    columns = ("--no-header", "--text-column", "column_1", "--label-column", "column_2")
    assert run(monkeypatch, capsys, "evaluate", tmp_path / "b.csv", *zero, *columns)[0] == 0
    assert run(monkeypatch, capsys, "lint", "{{ text }} {{ label }}", "--data", tmp_path / "a.csv")[0] == 0
    code, _, err = run(monkeypatch, capsys, "lint", "{{ text }} {{ label }}", "--delimiter", ";")
    assert (code, "are for --data FILE" in err) == (2, True)


def test_a_label_is_one_class(tmp_path, monkeypatch, capsys):
    file = tmp_path / "a.jsonl"
    for label, message in (("[1]", "must be one class"), ("null", "is empty")):
        file.write_text(f'{{"text": "good", "label": {label}}}\n')
        code, _, err = run(monkeypatch, capsys, "evaluate", file, "--shots", 0)
        assert (code, message in err) == (1, True)


def test_parquet_names_what_is_wrong(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has the column 'text' twice: give every column a name of its own"):
        read(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for cut in range(0, len(data), 7):
        (tmp_path / "b.parquet").write_bytes(data[:cut])
        with pytest.raises(FewshotError):
            read(tmp_path / "b.parquet")
