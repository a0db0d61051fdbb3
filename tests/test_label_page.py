"""The labelling page in a real browser: keys, hostile rows, a kill, two tabs, a narrow window; and the command."""

from __future__ import annotations

import csv
import doctest
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from fewshot import Classifier, FewshotWarning, LabelWidget, ParameterError
from fewshot.pages.label_page import label_page
from fewshot.serving.server import running
from tests.browser import open_browser
from tests.command import _keyword_model, run  # noqa: F401 - a fixture
from tests.contract import HashEncoder
from tests.labelled import CLASSES, HOSTILE, session

pytestmark = pytest.mark.long
TEXTS = [f"I was charged {i} times" if i % 2 else f"The app crashes {i} times" for i in range(30)]


def kept(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


#: The browser's own words for answers that are no success, such as that of a label that could not be kept.
EXPECTED = re.compile("status of (404|422)")


def said(path):
    return [(row["text"], row["label"]) for row in kept(path)]


@contextmanager
def served(path, *args, **options):
    with session(path, *args, **options) as made:
        page = label_page(made)
        with running(page.app) as url:
            yield url + page.path, made


@pytest.fixture(scope="module")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture
def tab(browser):
    """Opens tabs, each of which must not have said anything on its console."""
    opened, heard = [], []

    def open_tab(url, **options):
        context = browser.new_context(**options)
        page = context.new_page()
        page.on("console", lambda one: heard.append(one.text) if not EXPECTED.search(one.text) else None)
        page.on("pageerror", lambda error: heard.append(str(error)))
        opened.append(context)
        page.goto(url)
        page.wait_for_selector(".class")
        return page

    yield open_tab
    for context in opened:
        context.close()
    assert heard == []


def until(page, condition):
    """Wait for a condition of the page; Playwright's own way takes eval, which the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"{condition}: {page.locator('body').inner_text()}"
        time.sleep(0.05)


def press(page, key, labelled):
    """Press a key, and wait until so many texts have a label and the next may come."""
    page.keyboard.press(key)
    until(page, f"document.title.startsWith('{labelled} of') && !busy")


def shown(page):
    return page.locator("#text").inner_text()


def test_labels_by_keys_undo_and_a_new_class(tmp_path, tab):
    path = tmp_path / "labels.csv"
    with served(path, TEXTS) as (url, made):
        page = tab(url)
        texts = [shown(page)]
        press(page, "1", 1)
        texts.append(shown(page))
        press(page, "3", 2)
        assert said(path) == [(texts[0], "billing"), (texts[1], "praise")]
        assert page.locator("#progress").inner_text() == "2 of 30 texts labelled"
        press(page, "u", 1)
        assert shown(page) == texts[1]
        assert [row["label"] for row in kept(path)] == ["billing"]
        page.keyboard.press("n")
        page.keyboard.type(" <i>thanks</i> 1")
        press(page, "Enter", 2)
        assert [row["label"] for row in kept(path)] == ["billing", "<i>thanks</i> 1"]
        assert page.locator(".class .name").all_inner_texts() == [*CLASSES, "<i>thanks</i> 1"]
        press(page, "4", 3)
        page.keyboard.press("0")
        until(page, "state.none == 1 && !busy")
        page.keyboard.press("s")
        until(page, "state.skipped == 1 && !busy")
        whole = "3 of 30 texts labelled, 1 of none of the classes, 1 skipped"
        assert page.locator("#progress").inner_text() == whole
        page.keyboard.press("9")  # there is no such class
        page.keyboard.press("Control+u")
        assert made._learner.wait()
        until(page, "document.getElementById('learned').innerText.includes('learned from')")
        assert len(kept(path)) == 3
        assert page.locator("[aria-live]").count() == 2


def test_hostile_rows_are_text_and_all_can_be_done(tmp_path, tab):
    path = tmp_path / "labels.csv"
    with served(path, HOSTILE) as (url, _):
        page = tab(url, viewport={"width": 375, "height": 700})
        for i in range(len(HOSTILE)):
            assert page.locator("#text").text_content() == HOSTILE[made_row(page)]
            assert page.locator("#text img, #text script, #text b").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 375
            press(page, "2", i + 1)
        assert "hacked" not in page.title()
        page.wait_for_selector("#done:not([hidden])")
        assert sorted(row["text"] for row in kept(path)) == sorted(HOSTILE)


def made_row(page):
    return page.evaluate("state.row")


def test_the_guess_is_shown_with_its_probabilities(tmp_path, tab):
    with served(tmp_path / "labels.csv", TEXTS) as (url, made):
        assert made._learner.wait()
        page = tab(url)
        page.wait_for_selector(".class.guessed")
        found = [int(text.rstrip("%").strip()) for text in page.locator(".probability").all_inner_texts()]
        assert abs(sum(found) - 100) <= 2
        widths = [page.evaluate("one => one.style.width", one) for one in page.locator(".bar").element_handles()]
        assert [round(float(width.removesuffix("%"))) for width in widths] == found
        assert page.locator("#interval").is_hidden()
        for i in range(5):  # one of which was drawn by chance
            press(page, "1", i + 1)
        assert "of a random sample" in page.locator("#accuracy").inner_text()
        assert page.locator("#interval").is_visible()


def test_two_tabs_show_two_texts_and_lose_nothing(tmp_path, tab):
    path = tmp_path / "labels.csv"
    with served(path, TEXTS) as (url, _):
        one, two = tab(url), tab(url)
        assert shown(one) != shown(two)
        texts = [shown(one), shown(two)]
        press(one, "1", 1)
        press(two, "2", 2)
        assert said(path) == list(zip(texts, CLASSES, strict=False))
        press(two, "u", 1)
        before = shown(two)
        two.reload()
        two.wait_for_selector(".class")
        assert shown(two) == before


def test_more_classes_than_keys_are_found_by_typing(tmp_path, tab):
    path = tmp_path / "labels.csv"
    with served(path, TEXTS, [f"class {i}" for i in range(40)]) as (url, _):
        page = tab(url, viewport={"width": 375, "height": 700})
        page.keyboard.press("/")
        page.keyboard.type("s 37")
        assert page.locator(".class .name").all_inner_texts() == ["class 37"]
        press(page, "Enter", 1)
        assert page.locator(".class").count() == 40
        press(page, "9", 2)
        assert [row["label"] for row in kept(path)] == ["class 37", "class 8"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_a_label_that_can_not_be_written_is_said_and_does_not_count(tmp_path, tab):
    path = tmp_path / "labels.csv"
    with served(path, TEXTS) as (url, _):
        page = tab(url)
        press(page, "1", 1)
        with path.open("a") as other:
            other.write("x")
        text = shown(page)
        page.keyboard.press("2")
        page.wait_for_selector("#message.error")
        assert "Another program has changed" in page.locator("#message").inner_text()
        assert shown(page) == text
        assert page.title() == "1 of 30 labelled"


def test_a_page_is_worked_by_keys_alone(tmp_path, tab):
    with served(tmp_path / "labels.csv", TEXTS) as (url, _):
        page = tab(url)
        names = []
        for _ in range(7):
            page.keyboard.press("Tab")
            at = "document.activeElement"
            names.append(page.evaluate(f"{at}.getAttribute('aria-label') || {at}.id"))
            style = page.evaluate(f"getComputedStyle({at}).outlineStyle")
            assert style == "solid", names
        assert names[0] == "The text"
        assert [name.split(",")[0] for name in names[1:4]] == CLASSES
        assert names[4:7] == ["none", "skip", "add"]


def test_the_widget_shows_the_page_and_has_the_labels(tmp_path, tab):
    with LabelWidget(TEXTS, CLASSES, tmp_path / "labels.csv", clf=Classifier(HashEncoder())) as widget:
        assert f'<iframe src="{widget.url}" title=' in widget._repr_html_()
        page = tab(widget.url)
        row = made_row(page)
        press(page, "2", 1)
        assert widget.labels[row] == "bug report"
        assert sum(label is not None for label in widget.labels) == 1
        assert repr(widget).startswith("LabelWidget(1 of 30 labelled: http://127.0.0.1:")
    assert len(kept(tmp_path / "labels.csv")) == 1


def test_the_page_works_in_the_frame_of_a_notebook(tmp_path, browser):
    """A notebook is a page of another address that shows what `_repr_html_` returns."""
    heard = []
    with LabelWidget(TEXTS, CLASSES, tmp_path / "labels.csv", clf=Classifier(HashEncoder())) as widget:
        notebook = Starlette(routes=[Route("/", lambda _: HTMLResponse(f"<h1>Notebook</h1>{widget._repr_html_()}"))])
        with running(notebook) as url, closing(browser.new_context()) as context:
            page = context.new_page()
            page.on("console", lambda one: heard.append(one.text) if not EXPECTED.search(one.text) else None)
            page.goto(url)
            frame = page.frame_locator("iframe")
            text = frame.locator("#text")
            text.click()
            first = text.inner_text()
            page.keyboard.press("1")
            frame.locator("#progress", has_text="1 of 30 texts labelled").wait_for()
            frame.locator(".class", has_text="praise").click()
            frame.locator("#progress", has_text="2 of 30 texts labelled").wait_for()
            assert widget.labels[TEXTS.index(first)] == "billing"
            assert sorted(filter(None, widget.labels)) == ["billing", "praise"]
    assert heard == []


def test_the_widget_takes_classifiers_and_says_what_was_odd(tmp_path):
    with pytest.raises(ParameterError, match=r"clf must be a Classifier, not fitted, or None\. Got HashEncoder"):
        LabelWidget(TEXTS, CLASSES, tmp_path / "labels.csv", clf=HashEncoder())
    (tmp_path / "labels.csv").write_text(f"row,text,label,guess,chosen\n3,{TEXTS[3]},praise,,\n4,The ap")
    with (
        pytest.warns(FewshotWarning, match="cut off"),
        LabelWidget(TEXTS, CLASSES, tmp_path / "labels.csv", clf=Classifier(HashEncoder())) as widget,
    ):
        assert [i for i, label in enumerate(widget.labels) if label] == [3]


def test_rows_of_fields_are_shown_and_kept_field_by_field(tmp_path, tab):
    rows = [{"title": f"<b>Title</b> {i}", "body": text} for i, text in enumerate(TEXTS)]
    clf = Classifier(HashEncoder(), "{{ title }}: {{ body }} It is about {{ label }}.")
    with served(tmp_path / "labels.csv", rows, clf=clf) as (url, made):
        assert made._learner.wait()
        page = tab(url)
        page.wait_for_selector(".class.guessed")
        row = rows[made_row(page)]
        assert shown(page).split("\n") == ["title", row["title"], "body", row["body"]]
        press(page, "1", 1)
        found = kept(tmp_path / "labels.csv")[0]
        assert {name: found[name] for name in row} == row


def test_the_page_of_the_documentation_runs():
    page = Path(__file__).resolve().parent.parent / "docs/labelling.md"
    section = page.read_text(encoding="utf-8").partition("## The labelling page\n")[2].partition("\n## ")[0]
    blocks = "\n".join(re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE))
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(blocks, {}, page.name, page.name, 0))
    assert runner.tries > 5
    assert not runner.failures


# the command


CODE = (
    "import sys\n"
    "import fewshot.pages.learner as learner\n"
    "from tests.contract import HashEncoder\n"
    "learner.load = lambda model: HashEncoder()\n"
    "from fewshot.cli import main\n"
    "main()\n"
)


@contextmanager
def started(folder, *arguments):
    """The command in a process of its own, with a model that needs no weights."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "label", "mail.csv", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=env,
    )
    try:
        yield process, json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


def write_mail(folder):
    with (folder / "mail.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([text] for text in TEXTS)])


def test_a_page_that_was_killed_goes_on_where_it_was(tmp_path, tab):
    write_mail(tmp_path)
    with started(tmp_path, "--classes", "a,b", "--json") as (process, url):
        page = tab(url)
        press(page, "1", 1)
        press(page, "2", 2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = kept(tmp_path / "labels.csv")
    assert [row["label"] for row in before] == ["a", "b"]
    page.close()
    with started(tmp_path, "--json") as (process, url):  # the classes are those of the labels
        page = tab(url)
        assert page.title() == "2 of 30 labelled"
        press(page, "1", 3)
        assert kept(tmp_path / "labels.csv")[:2] == before
        press(page, "u", 2)
        press(page, "u", 1)
        assert shown(page) == before[1]["text"]
        page.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert json.loads(process.stdout.read()) == {"labels": "labels.csv", "labelled": 1}
        assert process.stderr.read() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "mail.csv"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mail.csv"], 2, 'Give the classes: --classes "a,b,c"'),
        (["mail.csv", "--classes", "a,b", "--output", "x.json"], 2, "--output must end with .csv"),
        (["mail.csv", "--classes", "0,1"], 1, "are numbers, not names"),
        (
            ["mail.csv", "--classes", "a,b", "--output", "mail.csv"],
            1,
            "is the same file as the input 'mail.csv': give another name",
        ),
        (["mail.csv", "--classes", "a,b", "--output", "no/labels.csv"], 1, "The folder 'no' does not exist"),
        (["mail.csv", "--classes", "a,b", "--output", "other.csv"], 1, "'other.csv', line 2: row 0 of 'mail.csv' is"),
        (["none.csv", "--classes", "a,b"], 1, "none.csv"),
    ],
)
def test_what_can_not_be_labelled_is_refused(monkeypatch, capsys, tmp_path, arguments, code, message):
    write_mail(tmp_path)
    (tmp_path / "other.csv").write_text("row,text,label,guess,chosen\n0,something else,a,,\n")
    monkeypatch.chdir(tmp_path)
    found, out, err = run(monkeypatch, capsys, "label", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_command_ends_with_how_to_go_on(monkeypatch, capsys, tmp_path):
    write_mail(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fewshot.pages.learner.load", lambda _: HashEncoder())
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def serve(app, port, ready):
        ready(f"http://127.0.0.1:{port}")

    monkeypatch.setattr("fewshot.serving.server.serve", serve)
    code, out, err = run(monkeypatch, capsys, "label", "mail.csv", "--classes", "a,b", "--port", "9")
    assert (code, err, opened) == (0, "", [])
    first, last = out.splitlines()
    assert first.startswith("30 rows, 0 with a label: http://127.0.0.1:9/")
    assert last == "No label was given."
    Path("labels.csv").write_text(f"row,text,label,guess,chosen\n3,{TEXTS[3]},a,,\n")
    code, out, err = run(monkeypatch, capsys, "label", "mail.csv", "--open")
    assert (code, err) == (0, "")
    assert opened == [out.splitlines()[0].rpartition(" ")[2]]
    assert "1 labels in labels.csv: fewshot fit labels.csv --save DIR, or the same command to go on." in out
