"""The command that opens the playground: what it reads, what it refuses, and the page that it serves."""

from __future__ import annotations

import json

import pytest

from fewshot import FakeLM
from tests.command import _keyword_model, run  # noqa: F401 - a fixture
from tests.contract import HashEncoder, keyword_lm

SOURCE = "Text: {{ text }}\nTopic: {{ label }}"


@pytest.fixture
def played(monkeypatch):
    """What the command would serve, and how."""
    import fewshot.pages.play_page as module

    found = {}
    whole = module.play_page

    def play_page(playing, opened, token=None):
        found.update(playing=playing, opened=opened)
        return whole(playing, opened, token="token")

    def serve(app, host, port, ready):
        found.update(host=host, port=port)
        ready(f"http://{host}:{port}")

    models = {None: HashEncoder(), "keyword": keyword_lm(), "masked": FakeLM(lambda query: [0.0], kind="masked")}
    monkeypatch.setattr(module, "play_page", play_page)
    monkeypatch.setattr("fewshot.serving.server.serve", serve)
    monkeypatch.setattr("fewshot.models.loading.load", lambda name=None: models.get(name, name))
    return found


@pytest.fixture(autouse=True)
def _data(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = [f"text {i},{'ab'[i % 2]}" for i in range(50)]
    (tmp_path / "mail.csv").write_text("\n".join(["text,label", *rows, "no label,"]) + "\n")
    (tmp_path / "mail.jinja").write_text(SOURCE + "\n")
    (tmp_path / "lines.txt").write_text("one\ntwo\n")


def test_a_file_is_opened_and_is_what_is_saved(played, tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "play", "mail.jinja", "--data", "mail.csv", "--model", "keyword")
    assert (code, err) == (0, "")
    assert out == "The playground: http://127.0.0.1:0/token/\n"
    (opened,) = played["opened"]
    assert (opened.source, opened.file.path.name) == (SOURCE, "mail.jinja")
    playing = played["playing"]
    assert (playing.names, len(playing.sample.rows)) == (("a", "b"), 20)
    numbers = playing.sample.numbers
    assert numbers == sorted(set(numbers)) != list(range(20))  # drawn, in the file's order
    for row, label, number in zip(playing.sample.rows, playing.sample.labels, numbers, strict=True):
        assert row["text"] == ("no label" if number == 50 else f"text {number}")
        assert label == (None if number == 50 else "ab"[number % 2])


def test_the_first_rows_or_others_under_another_seed(played, monkeypatch, capsys):
    drawn = []
    for more in (["--first"], [], ["--seed", "1"], ["--seed", "1"], ["--rows", "99"]):
        assert run(monkeypatch, capsys, "play", "mail.jinja", "--data", "mail.csv", *more)[0] == 0
        drawn.append(played["playing"].sample.numbers)
    assert drawn[0] == list(range(20))
    assert drawn[1] != drawn[2] == drawn[3]
    assert drawn[4] == list(range(51))


def test_without_a_template_it_is_the_generic_one_of_the_kind(played, monkeypatch, capsys):
    from fewshot import gallery

    for model, name in ((None, "encoder"), ("keyword", "causal"), ("masked", "masked")):
        chosen = [] if model is None else ["--model", model]
        code, out, err = run(monkeypatch, capsys, "play", "--data", "lines.txt", "--labels", "a,b", "--json", *chosen)
        assert (code, err) == (0, "")
        assert json.loads(out) == {"url": "http://127.0.0.1:0/token/", "rows": 2, "classes": ["a", "b"]}
        (opened,) = played["opened"]
        assert opened.source == gallery.get(f"generic/{name}").source
        assert opened.file is None
    assert played["playing"].sample.text_column == "text"


def test_a_gallery_template_is_saved_as_a_new_file(played, tmp_path, monkeypatch, capsys):
    arguments = ["play", "sst2/it_was", "--beside", "mail.jinja", "--data", "mail.csv", "--words", "a=bad,b=good"]
    assert run(monkeypatch, capsys, *arguments, "--output", "new.jinja")[0] == 0
    first, second = played["opened"]
    assert (first.name, first.file.path.name, second.file.path.name) == ("sst2/it_was", "new.jinja", "mail.jinja")
    assert not (tmp_path / "new.jinja").exists()
    first.file.save(first.source)
    assert (tmp_path / "new.jinja").read_text() == first.source + "\n"
    code, _, err = run(monkeypatch, capsys, *arguments, "--output", "new.jinja")
    assert (code, "exists already. To continue with it: fewshot play new.jinja." in err) == (1, True)


def test_a_template_that_does_not_parse_is_opened(played, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.jinja").write_text("{{ text }\n")
    assert run(monkeypatch, capsys, "play", "bad.jinja", "--data", "mail.csv")[0] == 0
    assert "(line 1)" in played["playing"].render(played["opened"][0].source)["error"]


def test_the_page_is_opened_in_the_browser(played, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr("webbrowser.open", seen.append)
    assert run(monkeypatch, capsys, "play", "mail.jinja", "--data", "mail.csv", "--open", "--port", "9")[0] == 0
    assert (seen, played["host"]) == (["http://127.0.0.1:9/token/"], "127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mail.jinja"], 2, "Missing option '--data'"),
        (["none.jinja", "--data", "mail.csv"], 1, "There is no file 'none.jinja'. To begin one: fewshot play --output"),
        (["sst3/it_was", "--data", "mail.csv"], 1, "There is no template 'sst3/it_was' in the gallery"),
        (["--data", "none.csv"], 1, "none.csv"),
        (["--data", "mail.csv", "--labels", "a,c"], 1, "The label 'b' in 'mail.csv' is not among the classes a, c"),
        (["--data", "mail.csv", "--label-column", "topic"], 1, "there is no column 'topic'"),
        (["--data", "mail.csv", "--text-column", "body"], 1, "there is no column 'body'"),
        (["--data", "mail.csv", "--output", "mail.csv"], 2, "--output must end with .jinja"),
        (
            ["--data", "mail.csv", "--output", "mail.jinja"],
            1,
            "exists already. To continue with it: fewshot play mail.jinja",
        ),
        (
            ["mail.jinja", "--data", "mail.csv", "--output", "mail.jinja"],
            1,
            "is the same file as the input 'mail.jinja'",
        ),
        (["--data", "mail.csv", "--output", "none/new.jinja"], 1, "The folder 'none' does not exist"),
        (["--data", "mail.csv", "--rows", "0"], 2, "--rows"),
    ],
)
def test_what_can_not_be_meant_is_refused(played, monkeypatch, capsys, arguments, code, message):
    found, out, err = run(monkeypatch, capsys, "play", *arguments)
    assert (found, out) == (code, "")
    assert message.casefold() in err.casefold()
    assert played == {}
