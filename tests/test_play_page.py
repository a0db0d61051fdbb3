"""The playground in a real browser: what is typed is rendered, scored, compared and saved."""

from __future__ import annotations

import re
import threading

import pytest

from fewshot import FakeLM
from fewshot.pages.play_page import Opened, play_page
from fewshot.pages.playing import Playing, Sample
from fewshot.pages.template_file import TemplateFile
from fewshot.serving.server import running
from tests.browser import open_browser
from tests.contract import keyword_lm

pytestmark = pytest.mark.long

SOURCE = "Text: {{ text }}\nTopic: {{ label }}"
HOSTILE = ["<img src=x onerror=alert(1)>", "{{ 7*7 }}", "</script><script>alert(2)</script>"]
TEXTS = ["A refund, please", "Another crash today", *HOSTILE]
LABELS = ["billing", "praise", None, None, "praise"]
NAMES = ["billing", "bug report", "praise"]


def sample(texts=TEXTS, labels=LABELS):
    return Sample([{"text": text} for text in texts], labels, [*range(len(texts))])


@pytest.fixture(scope="module")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture
def visit(browser):
    """Opens the playground in a new page; nothing may be logged as an error, and no dialog may come up unasked."""
    opened, closing = [], []

    def go(opened_templates=None, lm=None, rows=None, **screen):
        playing = Playing(lm or keyword_lm(), rows or sample(), NAMES)
        served = play_page(playing, opened_templates or [Opened("mail", SOURCE)])
        page_of = served.__enter__()
        closing.append(served)
        server = running(page_of.app)
        url = server.__enter__()
        closing.append(server)
        context = browser.new_context(**screen)
        closing.append(context)
        page = context.new_page()
        faults = []
        page.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
        page.on("pageerror", lambda one: faults.append(str(one)))
        page.on("dialog", lambda one: (faults.append(f"dialog {one.message}"), one.dismiss()))
        page.goto(url + page_of.path)
        opened.append(faults)
        return page

    yield go
    for one in reversed(closing):
        one.close() if hasattr(one, "close") and not hasattr(one, "__exit__") else one.__exit__(None, None, None)
    for faults in opened:
        assert faults == []


def status(page, text):
    page.locator("#status", has_text=re.compile(f"^{text}$")).wait_for(timeout=20_000)


def row(page, i):
    return page.locator("#rows > li").nth(i)


def test_what_is_typed_is_rendered_and_scored(visit):
    page = visit()
    status(page, "computed")
    assert (
        row(page, 0).locator(".prompt").inner_text() == "Text: A refund, please\nTopic: billing | bug report | praise"
    )
    assert row(page, 0).locator(".part-field").inner_text() == "A refund, please"
    assert row(page, 0).locator("h3").inner_text() == "Row 0, labelled billing"
    assert "tokens" in row(page, 0).inner_text()
    assert "Predicted: billing ✓ right" in row(page, 0).inner_text()
    assert "Predicted: bug report ✗ wrong" in row(page, 1).inner_text()
    assert row(page, 2).locator(".right, .wrong").count() == 0  # it has no label
    right = len(re.findall("✓", page.locator("#rows").inner_text()))
    assert f"accuracy, {right} of 3 right (95 % interval" in page.locator("#results").inner_text()
    bars = row(page, 0).locator(".bar").evaluate_all("found => found.map(one => parseFloat(one.style.width))")
    numbers = [float(text) for text in row(page, 0).locator(".number").all_inner_texts()]
    assert bars == pytest.approx([100 * number for number in numbers], abs=0.1)
    assert sum(numbers) == pytest.approx(1, abs=0.002)
    page.locator("#source-0").press("Control+End")
    page.keyboard.type(" indeed")
    row(page, 0).locator(".part-text", has_text="indeed").wait_for()
    status(page, "computed")


def test_rows_are_never_markup(visit):
    page = visit()
    status(page, "computed")
    for i, text in enumerate(HOSTILE, 2):
        assert row(page, i).locator(".part-field").inner_text() == text
    assert page.locator("#rows img, #rows script").count() == 0
    page.locator("#source-0").fill("<b>{{ text }}</b> <img src=x> {{ label }}")
    row(page, 0).locator(".part-text", has_text="<img src=x>").wait_for()
    assert page.locator("#rows b, #rows img").count() == 0


def test_findings_and_errors_show_as_one_types(visit):
    page = visit()
    status(page, "computed")
    assert page.locator("#count-0").inner_text() == "Lint: 1 hint"  # which needs the model
    area = page.locator("#source-0")
    area.fill("{{ text }} Topic:{{ label }}")
    page.locator("#findings-0 li", has_text="Nothing separates the hole").wait_for()
    area.fill("Text: {{ text }}\nTopic: {{ label")
    error = page.locator("#error-0 pre", has_text="(line 2)")
    error.wait_for()
    *_, line, caret = error.inner_text().splitlines()
    assert (line.strip(), caret.strip()) == ("Topic: {{ label", "^")
    assert area.get_attribute("aria-invalid") == "true"
    page.get_by_role("button", name="Go to the line").click()
    assert area.evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)") == "Topic: {{ label"
    assert row(page, 0).locator(".prompt").count() == 1  # the last that parsed stays, dimmed
    status(page, "not all computed")
    assert "Predicted: billing" in row(page, 0).locator(".old").first.inner_text()  # and what was predicted with it
    area.fill(SOURCE)
    page.locator("#error-0").wait_for(state="hidden")
    status(page, "computed")


def test_an_endless_template_does_not_hang_the_page(visit):
    page = visit(rows=sample(TEXTS[:1], [None]))
    loops = "{% for i in range(1000) %}{% for j in range(1000) %}x{% endfor %}{% endfor %}"
    page.locator("#source-0").fill(f"{{{{ text }}}}{loops}{{{{ label }}}}")
    row(page, 0).locator(".error", has_text="steps").wait_for()
    page.locator("#source-0").fill(SOURCE)
    row(page, 0).locator(".part-field").wait_for()


class Slow:
    """Scores by which template was asked, which wait where the template says so until they may come."""

    def __init__(self):
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, query):
        if "slowly" in query.prefix:
            self.began.set()
            assert self.go.wait(20)
        best = "praise" if "slowly" in query.prefix else "bug report"
        return [3.0 * (word == best and "crash" in query.prefix) for word in query.candidates]


def test_scores_of_an_older_source_do_not_come_over_newer_ones(visit):
    slow = Slow()
    page = visit(lm=FakeLM(slow), rows=sample(["a crash"], ["billing"]))
    page.locator("#source-0").fill("slowly {{ text }} {{ label }}")
    page.locator("#status", has_text="computing").wait_for()
    assert "busy" in page.locator("#status").get_attribute("class")
    assert slow.began.wait(20)
    page.locator("#source-0").fill("fast {{ text }} {{ label }}")
    page.locator("#status", has_text="computing").wait_for()
    page.wait_for_timeout(1500)  # the newer one has been asked, and waits for the older
    slow.go.set()
    status(page, "computed")
    assert "Predicted: bug report" in row(page, 0).inner_text()
    assert row(page, 0).locator(".part-text").first.inner_text() == "fast "
    page.wait_for_timeout(1000)
    assert "Predicted: bug report" in row(page, 0).inner_text()
    assert row(page, 0).locator(".old").count() == 0


def test_nothing_is_typed_before_the_page_has_its_template(visit, browser):
    page = visit(lm=FakeLM(Slow()))
    held = []
    page.route("**/begin", lambda route: held.append(route))
    page.reload(wait_until="domcontentloaded")
    area = page.locator("#source-0")
    assert area.is_disabled()  # what was typed would be overwritten
    page.wait_for_timeout(200)
    held[0].continue_()
    area.fill("Typed {{ text }} {{ label }}")  # waits for what may be typed
    page.locator("#rows .part-text", has_text="Typed").first.wait_for()
    assert area.input_value() == "Typed {{ text }} {{ label }}"


def test_saving_writes_the_file_and_no_change_is_lost(visit, tmp_path):
    path = tmp_path / "mail.jinja"
    path.write_text(SOURCE + "\n")
    page = visit([Opened("mail.jinja", SOURCE, TemplateFile(path))])
    status(page, "computed")
    area = page.locator("#source-0")
    area.fill("New: {{ text }} {{ label }}")
    assert "Not saved" in page.locator("#saved-0").inner_text()
    area.press("Control+s")
    page.locator("#saved-0", has_text="As in").wait_for()
    assert path.read_text() == "New: {{ text }} {{ label }}\n"
    path.write_text("Theirs: {{ text }} {{ label }}\n")
    area.fill("Mine: {{ text }} {{ label }}")
    page.get_by_role("button", name="Save").first.click()
    page.locator("#changed", has_text="has been changed since").wait_for()
    assert path.read_text().startswith("Theirs")
    page.get_by_role("button", name="Take what is in the file").click()
    page.locator("#changed").wait_for(state="hidden")
    assert area.input_value() == "Theirs: {{ text }} {{ label }}"
    path.write_text("Again: {{ text }} {{ label }}\n")
    area.fill("Mine: {{ text }} {{ label }}")
    area.press("Control+s")
    page.get_by_role("button", name="Overwrite it").click()
    page.locator("#saved-0", has_text="As in").wait_for()
    assert path.read_text() == "Mine: {{ text }} {{ label }}\n"


def test_without_a_file_it_says_how_to_save(visit):
    page = visit()
    status(page, "computed")
    assert page.locator("#save-0").is_disabled()
    page.locator("#source-0").press("Control+s")
    page.locator("#message", has_text="--output FILE").wait_for()


def test_two_templates_side_by_side(visit):
    page = visit(rows=sample([*TEXTS[:2], "I love it"], NAMES))
    status(page, "computed")
    page.locator("#second").select_option("copy")
    assert page.locator("#source-1").input_value() == SOURCE
    page.locator("#source-1").fill("It is {{ label }}: nothing is read of {{ text[:0] }}it.")
    row(page, 0).locator(".prompt").nth(1).wait_for()
    status(page, "computed")
    results = page.locator("#results").inner_text()
    assert results.count("of 3 right") == 2
    assert re.search(r"Only A is right on \d of the rows, only B on \d", results)
    before = page.locator("#results strong").all_inner_texts()
    assert before[0] != before[1]
    page.get_by_role("button", name="Swap the two").click()
    status(page, "computed")
    assert page.locator("#source-1").input_value() == SOURCE
    assert page.locator("#results strong").all_inner_texts() == before[::-1]
    page.locator("#second").select_option("gallery/generic/listed")
    page.locator("#name-1", has_text="generic/listed").wait_for()
    page.locator("#second").select_option("")
    page.locator("#side-1").wait_for(state="hidden")
    status(page, "computed")


def test_the_keyboard_is_enough(visit):
    page = visit()
    status(page, "computed")
    page.locator("#source-0").focus()
    page.keyboard.press("Tab")  # leaves the text: it is no blank
    assert page.evaluate("document.activeElement.id") != "source-0"
    assert page.locator("#source-0").input_value() == SOURCE
    seen = set()
    while (name := page.evaluate("document.activeElement.tagName")) != "BODY":  # the end of the page
        seen.add(name)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.keyboard.press("Tab")
    assert seen == {"SELECT", "SUMMARY"}  # there is no file, and one template: nothing to save, to swap
    unnamed = page.evaluate(
        "[...document.querySelectorAll('textarea, select, button')].filter(one => "
        "!one.labels?.length && !one.textContent.trim() && !one.ariaLabel).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(visit, scheme):
    long = "wordwithoutanyblank" * 30
    page = visit(
        [Opened("mail", SOURCE + "\n" + "x" * 300), Opened("other", SOURCE)],
        rows=sample([long, "<b>" * 90], ["praise", None]),
        viewport={"width": 375, "height": 700},
        color_scheme=scheme,
    )
    status(page, "computed")
    page.locator("summary").first.click()
    page.locator("#source-0").fill("y" * 200 + "{{ text }} {{ lab")
    page.locator("#error-0 pre").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")


def test_a_server_that_ended_is_said(browser):
    playing = Playing(keyword_lm(), sample(), NAMES)
    context = browser.new_context()
    try:
        with play_page(playing, [Opened("mail", SOURCE)]) as served:
            with running(served.app) as url:
                page = context.new_page()
                page.goto(url + served.path)
                status(page, "computed")
            page.locator("#source-0").fill("{{ text }} {{ label }}")
            page.locator("#message", has_text="is fewshot still running").wait_for()
    finally:
        context.close()
