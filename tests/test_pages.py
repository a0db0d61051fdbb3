"""The application of a page: who gets in, what is answered, and that nothing from outside may load."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from fewshot.errors import InputError
from fewshot.pages import page as pages
from fewshot.pages.page import page_application
from fewshot.serving.server import running


def fail(said):
    raise InputError(f"No {said['what']} here.")


def crash(said):
    return 1 / 0


@pytest.fixture
def address(monkeypatch, tmp_path):
    for name in ("probe.html", "probe.js", "probe.css", "page.css", "page.js"):
        (tmp_path / "static").mkdir(exist_ok=True)
        (tmp_path / "static" / name).write_text(f"<!-- {name} -->")
    monkeypatch.setattr(pages, "files", lambda _: tmp_path)
    page = page_application("probe", {"echo": lambda said: {"got": said}, "fail": fail, "crash": crash})
    with running(page.app) as url:
        parts = urlsplit(url)
        yield parts.hostname, parts.port, page.path


def ask(address, method, path, body=None, **headers):
    connection = HTTPConnection(address[0], address[1], timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def post(address, name, body, **headers):
    headers = {"Content_Type": "application/json", **headers}
    return ask(address, "POST", f"{address[2]}call/{name}", body, **headers)


def test_a_page_and_its_files_are_behind_the_token(address):
    path = address[2]
    assert len(path.strip("/")) >= 22  # 128 bits
    kinds = {"": "html", "page.css": "css", "probe.css": "css", "page.js": "javascript", "probe.js": "javascript"}
    for name, kind in kinds.items():
        answer, content = ask(address, "GET", path + name)
        assert answer.status == 200
        assert content.startswith("<!--")
        assert kind in answer.headers["content-type"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/call/echo", "/wrong/", "/wrong/call/echo", "/page.css"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_answered_without_the_token(address, method, path):
    assert ask(address, method, path, b"{}", Content_Type="application/json")[0].status in (404, 405)


def test_a_name_that_only_leads_here_is_no_way_in(address):
    assert ask(address, "GET", address[2], Host="evil.example")[0].status == 400
    assert ask(address, "GET", address[2], Host="localhost:1234")[0].status == 200


def test_a_call_gets_an_object_and_answers_with_one(address):
    answer, content = post(address, "echo", json.dumps({"a": "é<b>"}))
    assert answer.status == 200
    assert json.loads(content) == {"got": {"a": "é<b>"}}


@pytest.mark.parametrize(
    ("name", "body", "status", "message"),
    [
        ("fail", b'{"what": "cat"}', 422, "No cat here."),
        ("crash", b"{}", 500, "That failed. The terminal says how."),
        ("other", b"{}", 404, "There is no such call."),
        ("echo", b"[]", 400, "Send a JSON object."),
        ("echo", b"{", 400, "JSON"),
        ("echo", b'{"a": "' + b"x" * 2**22 + b'"}', 413, "too much"),
    ],
)
def test_what_a_call_can_not_do_is_said(address, caplog, name, body, status, message):
    answer, content = post(address, name, body)
    assert answer.status == status
    assert message in json.loads(content)["error"]
    assert ("ZeroDivisionError" in caplog.text) == (name == "crash")


def test_a_form_of_another_page_can_not_call(address):
    assert post(address, "echo", b"{}", Content_Type="text/plain")[0].status == 415
