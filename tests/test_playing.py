"""Playing: what a template's source does to a few rows, apart from the page; and the file that it is saved to."""

from __future__ import annotations

import json
import threading
import time

import pytest

from fewshot import Classifier, FakeLM, InputError, Template, TemplateError
from fewshot.pages import playing as module
from fewshot.pages.newest import Newest
from fewshot.pages.play_page import Opened, _Calls
from fewshot.pages.playing import Playing, Sample
from fewshot.pages.template_file import TemplateFile
from tests.contract import ABOUT, HashEncoder, keyword_lm

TEXTS = ["A refund, please", "Another crash today", "I love this app", "Nothing to say"]
LABELS = ["billing", "bug report", "billing", None]
NAMES = list(ABOUT)
HOSTILE = ["<img src=x onerror=alert(1)>", "{{ 7*7 }}", "</script>"]
DIVIDES = "{{ 10 // (text | int(5)) }} {{ label }}"
SOURCE = "Text: {{ text }}\nTopic: {{ label }}"


def sample(texts=TEXTS, labels=LABELS, **more):
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    return Sample(rows, labels, [*range(len(texts))], **more)


def never(query):
    raise AssertionError("the model was asked")


def texts_of(shown):
    return [(kind, text) for kind, text in shown["parts"]]


def last(playing, *sources):
    return [*playing.score(sources)][-1]


# --- rendering ------------------------------------------------------------------------------------


def test_prompts_come_in_parts_and_the_model_is_not_asked():
    found = Playing(FakeLM(never), sample(), NAMES).render("Text: {{ text }}\nTopic: {{ label }}.")
    assert (found["error"], len(found["rows"])) == (None, 4)
    hole = "billing | bug report | praise"
    assert texts_of(found["rows"][0]) == [
        ("text", "Text: "),
        ("field", TEXTS[0]),
        ("text", "\nTopic: "),
        ("hole", hole),
        ("text", "."),
    ]
    assert found["rows"][0]["heading"] == "7 tokens"
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "hostile", ["<img src=x onerror=alert(1)>", "{{ 7*7 }}", "</script>", "{% raw %}", "\ud800", "\x00"]
)
def test_a_rows_text_is_a_field_whatever_it_is(hostile):
    found = Playing(FakeLM(never), sample([hostile], ["billing"]), NAMES).render(SOURCE)
    assert ("field", hostile) in texts_of(found["rows"][0])


def test_the_prompt_is_that_of_the_classifier():
    lm = keyword_lm()
    source = "---\ninstruction: \"One of {{ labels | join(', ') }}.\"\n---\nText: {{ text }}\nTopic: {{ label }}"
    (shown,) = Playing(lm, sample(TEXTS[:1], LABELS[:1]), NAMES).render(source)["rows"]
    preview = Classifier(lm, Template(source)).fit(None, NAMES).preview(TEXTS[:1])[0]
    assert "".join("___" if kind == "hole" else text for kind, text in shown["parts"]) == preview.text
    assert shown["parts"][0] == ["instruction", "One of billing, bug report, praise.\n\n"]


def test_what_is_cut_is_shown_where_it_stood():
    source = "Text: {{ text }}\nTopic: {{ label }}"
    (shown,) = Playing(FakeLM(never, limit=8), sample(["one two three four five six seven"], [None]), NAMES).render(
        source
    )["rows"]
    cut = dict(shown["parts"])["cut"]
    assert cut.split()[-1] == "seven"
    assert shown["n_cut"] == len(cut.split())
    assert dict(shown["parts"])["field"] + cut == "one two three four five six seven"


def test_turns_of_a_chat_are_marked():
    class Chatting(FakeLM):
        chat = True

    source = "---\ninstruction: Decide.\n---\nText: {{ text }}\nTopic: {{ label }}"
    (shown,) = Playing(Chatting(never), sample(["x"], [None]), NAMES).render(source)["rows"]
    kinds = [(kind, text) for kind, text in shown["parts"] if kind in ("turn", "instruction", "field", "hole")]
    assert [text if kind == "turn" else kind for kind, text in kinds] == [
        "system",
        "instruction",
        "user",
        "field",
        "assistant",
        "hole",
    ]


def test_an_encoder_shows_the_text_and_the_prompt_of_a_class_and_encodes_nothing(monkeypatch):
    encoder = HashEncoder()
    monkeypatch.setattr(encoder, "encode", never)
    (shown,) = Playing(encoder, sample(["x"], [None]), NAMES).render("{{ text }}\nIt is {{ label }}.")["rows"]
    assert ("field", "x") in texts_of(shown)
    assert ("hole", "billing | bug report | praise") in texts_of(shown)


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("Text: {{ text }}\nTopic: {{ label", "(line 2)", 2),
        ("---\ntask: x\n---\n{{ text }\n{{ label }}", "(line 4)", 4),
        ("{{ text }}", "hole", None),
        ("", "hole", None),
        ("{% macro x() %}{% endmacro %}{{ text }} {{ label }}", "macro", 1),
    ],
)
def test_a_source_that_does_not_parse_is_an_error_with_its_line(source, message, line):
    found = Playing(FakeLM(never), sample(), NAMES).render(source)
    assert message in found["error"]
    assert (found["line"], found["rows"]) == (line, [])
    assert "^" in found["error"] or line is None
    assert found["findings"][0]["level"] == "error"


def test_lint_looks_at_the_rows():
    found = Playing(FakeLM(never), sample(), NAMES).render("{{ txt }} {{ label }}")
    assert "no row has it" in found["findings"][0]["message"]
    assert "{{ text }}" in found["findings"][0]["cure"]
    assert all("'txt' is undefined" in row["error"] for row in found["rows"])
    glued = Playing(FakeLM(never), sample(), NAMES).render("{{ text }} Topic:{{ label }}")
    assert any("Nothing separates the hole" in one["message"] for one in glued["findings"])


def test_a_row_that_can_not_be_rendered_leaves_the_others():
    found = Playing(FakeLM(never), sample(["5", "0"], [None, None]), NAMES).render(
        "{{ 10 // (text | int) }} {{ label }}"
    )
    assert "parts" in found["rows"][0]
    assert "ZeroDivisionError" in found["rows"][1]["error"]
    assert not found["rows"][1]["error"].startswith("Row 0")


ENDLESS = "{{ text }}{% for i in range(1000) %}{% for j in range(1000) %}x{% endfor %}{% endfor %}{{ label }}"


def test_an_endless_template_is_an_error_soon(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    found = Playing(FakeLM(never), sample(), NAMES).render(ENDLESS)
    assert "steps" in found["rows"][0]["error"]
    assert "seconds to render: simplify the template" in found["rows"][-1]["error"]


def test_classes_come_from_names_or_from_the_template():
    bare = Playing(FakeLM(never), sample())
    assert "There are no classes: give their words in the front matter" in bare.render(SOURCE)["error"]
    own = bare.render("---\nwords: {0: bad, 1: good}\n---\n" + SOURCE)
    assert ("hole", "bad | good") in texts_of(own["rows"][0])
    numbers = Playing(FakeLM(never), sample(labels=["0", "1", "0", "1"]), ["0", "1"])
    assert "are numbers, not names" in numbers.render(SOURCE)["error"]
    assert numbers.render("---\nwords: {0: bad, 1: good}\n---\n" + SOURCE)["error"] is None
    assert (
        "'c'"
        in Playing(FakeLM(never), sample(), ["0", "c"]).render("---\nwords: {0: a, 1: b}\n---\n" + SOURCE)["error"]
    )


def test_a_row_without_text_is_passed_over():
    playing = Playing(keyword_lm(), sample(["A refund", None, " "], ["billing"] * 3), NAMES)
    assert [row.get("error") for row in playing.render(SOURCE)["rows"]] == [None, *["The row has no text."] * 2]
    (found,) = last(playing, SOURCE)
    assert (found["rows"][1:], found["accuracy"]["n"]) == ([None, None], 1)


def test_one_column_fills_the_only_field():
    playing = Playing(FakeLM(never), Sample([{"review": "Fun."}], [None], [0], "review"), NAMES)
    assert ("field", "Fun.") in texts_of(playing.render("{{ sentence }} {{ label }}")["rows"][0])
    assert ("field", "Fun.") in texts_of(playing.render("{{ review }} {{ label }}")["rows"][0])


# --- scoring --------------------------------------------------------------------------------------


def test_scores_are_those_of_the_classifier():
    (found,) = last(Playing(keyword_lm(), sample(), NAMES), SOURCE)
    clf = Classifier(keyword_lm(), Template(SOURCE), random_state=0).fit(None, NAMES)
    assert [row["predicted"] for row in found["rows"]] == clf.predict(TEXTS).tolist()
    for row, wanted in zip(found["rows"], clf.predict_proba(TEXTS).tolist(), strict=True):
        assert [one["label"] for one in row["classes"]] == NAMES
        assert [one["probability"] for one in row["classes"]] == pytest.approx(wanted)
        assert sum(one["share"] for one in row["words"]) == pytest.approx(1)
    assert [one["word"] for one in found["words"]] == NAMES


def test_accuracy_counts_the_rows_with_a_label():
    (found,) = last(Playing(keyword_lm(), sample(), NAMES), SOURCE)
    assert [row["predicted"] for row in found["rows"][:3]] == ["billing", "bug report", "praise"]
    assert (found["accuracy"]["right"], found["accuracy"]["n"]) == (2, 3)
    # Wilson (1927) by hand: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    p, n, z = 2 / 3, 3, 1.959964
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    wanted = [(p + z * z / (2 * n) + sign * half) / (1 + z * z / n) for sign in (-1, 1)]
    assert [found["accuracy"]["low"], found["accuracy"]["high"]] == pytest.approx(wanted, abs=1e-6)
    (bare,) = last(Playing(keyword_lm(), sample(labels=[None] * 4), NAMES), SOURCE)
    assert bare["accuracy"] is None


def test_an_encoder_is_scored_as_well():
    source = "Review: {{ text }}\nIt is {{ label }}."
    (found,) = last(Playing(HashEncoder(), sample(), NAMES), source)
    wanted = Classifier(HashEncoder(), Template(source)).fit(None, NAMES).predict_proba(TEXTS)  # of the texts alone
    for row, own in zip(found["rows"], wanted.tolist(), strict=True):
        assert [one["probability"] for one in row["classes"]] == pytest.approx(own)
    assert found["rows"][0]["classes"][0]["similarity"] is not None
    json.dumps(found, allow_nan=False)


def test_rows_may_bring_their_own_choices():
    rows = [{"q": "Which?", "a": "love", "b": "crash"}]
    playing = Playing(keyword_lm(), Sample(rows, ["0"], [0]), ["0", "1"])
    source = "---\nchoices: [a, b]\n---\n{{ q }} {{ label }}"
    assert ("hole", "love | crash") in texts_of(playing.render(source)["rows"][0])
    (found,) = last(playing, source)
    assert found["rows"][0]["predicted"] in ("0", "1")
    assert found["accuracy"]["n"] == 1


def test_rows_that_can_not_be_rendered_are_passed_over():
    (found,) = last(Playing(keyword_lm(), sample(["5", "0"], ["praise"] * 2), NAMES), DIVIDES)
    assert (found["rows"][1], found["accuracy"]["n"]) == (None, 1)
    (none,) = last(Playing(keyword_lm(), sample(), NAMES), "{{ txt }} {{ label }}")
    assert none["error"] == "No row can be rendered, so none is classified."


def test_two_templates_are_scored_and_one_that_fails_leaves_the_other():
    bad, good = last(Playing(keyword_lm(), sample(), NAMES), "{{ text }", SOURCE)
    assert "(line 1)" in bad["error"]
    assert (good["error"], good["accuracy"]["n"]) == (None, 3)


def test_what_is_known_is_not_asked_again():
    asked = []
    playing = Playing(FakeLM(lambda query: asked.append(query) or [0.0] * len(query.candidates)), sample(), NAMES)
    first = last(playing, SOURCE)
    n = len(asked)
    assert n > 0
    assert last(playing, SOURCE) == first
    assert len(asked) == n


def test_a_copy_has_the_scores_of_the_first():
    first, second = last(Playing(keyword_lm(), sample(), NAMES), SOURCE, SOURCE)
    assert len(first["rows"]) == 4
    assert first == second


def test_an_error_of_the_model_is_said():
    (found,) = last(Playing(FakeLM(lambda query: [0.0]), sample(), NAMES), SOURCE)
    assert "one number per candidate" in found["error"]


# --- the newest request ---------------------------------------------------------------------------


def wait(worker, ticket):
    end = time.monotonic() + 10
    while (state := worker.state(ticket)).get("running") and time.monotonic() < end:
        time.sleep(0.005)
    return state


def test_only_the_newest_is_computed():
    began, go, steps = threading.Event(), threading.Event(), []

    def compute(job):
        for i in range(3):
            began.set()
            assert go.wait(10)
            steps.append((job, i))
            yield job, i

    worker = Newest(compute)
    old = worker.ask("old")
    assert began.wait(10)
    passed_over, new = worker.ask("passed over"), worker.ask("new")
    go.set()
    assert wait(worker, new) == {"running": False, "found": ("new", 2), "error": None}
    assert worker.state(old) == worker.state(passed_over) == {"stale": True}
    assert steps == [("old", 0), ("new", 0), ("new", 1), ("new", 2)]
    worker.close()
    assert not worker._thread.is_alive()


def test_what_fails_is_said_and_the_next_is_computed(caplog):
    def compute(job):
        yield 1
        raise InputError("No cat here.") if job else ZeroDivisionError

    worker = Newest(compute)
    assert wait(worker, worker.ask(True)) == {"running": False, "found": 1, "error": "No cat here."}
    assert wait(worker, worker.ask(False))["error"] == "That failed. The terminal says how."
    assert "ZeroDivisionError" in caplog.text
    worker.close()


# --- the file -------------------------------------------------------------------------------------


def test_a_file_is_saved_and_what_others_wrote_is_not_lost(tmp_path):
    path = tmp_path / "mail.jinja"
    path.write_text("{{ text }} {{ label }}\n")
    file = TemplateFile(path)
    assert file.source == "{{ text }} {{ label }}"
    assert file.save("a {{ text }} {{ label }}") is None
    assert path.read_text() == "a {{ text }} {{ label }}\n"
    assert file.save("b {{ text }} {{ label }}") is None  # its own save is no change
    path.write_text("theirs\n")
    assert "has been changed since it was read" in file.save("c")
    assert path.read_text() == "theirs\n"
    assert file.read() == "theirs"
    assert file.save("c") is None
    path.unlink()
    assert "is gone" in file.save("d")
    assert file.save("d", overwrite=True) is None
    assert path.read_text() == "d\n"
    assert [one.name for one in tmp_path.iterdir()] == ["mail.jinja"]


def test_a_new_file_does_not_replace_one_that_came_meanwhile(tmp_path):
    file = TemplateFile(tmp_path / "new.jinja")
    (tmp_path / "new.jinja").write_text("theirs")
    assert "has been changed" in file.save("mine")
    assert (tmp_path / "new.jinja").read_text() == "theirs"


def test_line_breaks_stay_and_text_must_be_text(tmp_path):
    path = tmp_path / "mail.jinja"
    path.write_bytes(b"{{ text }}\r\n{{ label }}\r\n")
    file = TemplateFile(path)
    assert file.source == "{{ text }}\n{{ label }}"
    file.save("é {{ text }}\n{{ label }}")
    assert path.read_bytes() == "é {{ text }}\r\n{{ label }}\r\n".encode()
    with pytest.raises(InputError, match="no character"):
        file.save("\ud800")
    path.write_bytes(b"\xff")
    with pytest.raises(TemplateError, match="UTF-8"):
        file.read()


def test_the_page_writes_nothing_but_its_own_files(tmp_path):
    file = TemplateFile(tmp_path / "mail.jinja")
    calls = _Calls(Playing(FakeLM(never), sample(), NAMES), [Opened("x", SOURCE), Opened("y", SOURCE, file)], None)
    for side in (0, 2, -1, None, "1", "/etc/passwd"):
        with pytest.raises(InputError, match="no file"):
            calls.save({"side": side, "source": "x", "path": str(tmp_path / "other")})
    assert calls.save({"side": 1, "source": "x"}) == {"changed": None}
    assert [one.name for one in tmp_path.iterdir()] == ["mail.jinja"]
    for sources in (None, [], ["a"] * 3, [1], "ab"):
        with pytest.raises(InputError, match="sources must be one or two texts"):
            calls.render({"sources": sources})
    for name in ("../../etc/passwd", None, "/etc/passwd"):
        with pytest.raises(TemplateError, match="no template"):
            calls.open({"name": name})
