"""Every block of the README and of the pages of docs/ runs, each page by itself.

Hub names become tiny local models of the same kind, and outputs are compared.
"""

from __future__ import annotations

import csv
import doctest
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from fewshot.cli import main
from tests.conftest import NO_CAUSAL, has_causal, pair
from tests.printed import Tolerant, says_the_same

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Pages with tests of their own, and the files that have them.
ELSEWHERE = {
    "answers.md": "test_extractor.py",
    "batches.md": "test_recipes.py",
    "extending.md": "test_extending.py",
    "labelling.md": "test_picking.py",
    "playground.md": "test_cli_play.py",
    "tagging.md": "test_tagger.py",
    "writing.md": "test_writing.py",
}
#: The README and the pages of docs/, in folders as well, without those that are made when the site is built.
PAGES = {
    "README.md": ROOT / "README.md",
    **{
        path.relative_to(ROOT / "docs").as_posix(): path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not {"api", "_build"} & {*path.parts}
    },
}
BLOCKS = {
    page: re.findall(r"^```(\w+)\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for page, path in PAGES.items()
    if page not in ELSEWHERE
}
STAND_INS = {
    "FacebookAI/roberta-base": "roberta",
    "google/flan-t5-base": "t5",
    "facebook/bart-large-mnli": "nli",
    "Qwen/Qwen3-0.6B": "gpt2-chat",
    "deepset/roberta-base-squad2": "squad",
}
#: Blocks that load embedded:causal, or use what such a block has named.
NEEDS_CAUSAL = re.compile(r'"embedded:causal"|\b(lm|named)\b')


def python_blocks(page: str, with_outputs: bool) -> list[str]:
    return [body for language, body in BLOCKS[page] if language == "python" and (">>>" in body) == with_outputs]


def shell_lines(page: str) -> list[str]:
    return [line for language, body in BLOCKS[page] if language == "bash" for line in body.splitlines()]


def sessions(page: str) -> list[tuple[str, str]]:
    """Each command of the page's shell sessions, with what it prints."""
    shown = "".join(body for language, body in BLOCKS[page] if language == "console")
    steps = [step.partition("\n") for step in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in steps]


def pages(having: Callable[[str], list]) -> list[str]:
    return [page for page in BLOCKS if having(page)]


def test_every_block_is_of_a_kind_that_is_run():
    assert {language for blocks in BLOCKS.values() for language, _ in blocks} == {"console", "python", "bash"}
    examples = {page: sum(body.count(">>> ") for body in python_blocks(page, True)) for page in BLOCKS}
    assert examples["README.md"] > 15
    assert sum(examples.values()) > 115
    assert len(pages(lambda page: python_blocks(page, True))) >= 11


def test_the_readme_is_read_in_two_minutes():
    assert len(README.splitlines()) <= 200


def test_the_index_lists_every_page():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page in ("README.md", "index.md") or f"]({page})" in index, page


def test_the_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^):]+)\)", README):
        name, _, heading = target.partition("#")
        assert (ROOT / name).exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, target


@pytest.mark.parametrize(("page", "file"), ELSEWHERE.items())
def test_pages_that_are_left_out_have_tests_of_their_own(page, file):
    shown = (ROOT / "docs" / page).read_text(encoding="utf-8")
    tests = (ROOT / "tests" / file).read_text(encoding="utf-8")
    address = "The playground: http://127.0.0.1:"  # its command goes on until Ctrl-C
    assert f"docs/{page}" in tests or (address in shown and address in tests)


@pytest.mark.long
@pytest.mark.parametrize("page", pages(lambda page: python_blocks(page, True)))
def test_blocks_with_outputs_print_what_they_say(page, mini):
    blocks = [block for block in python_blocks(page, True) if has_causal() or not NEEDS_CAUSAL.search(block)]
    if not blocks:
        pytest.skip(NO_CAUSAL)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant(), optionflags=flags)
    runner.run(test, out=report.append)
    assert runner.tries >= sum(block.count(">>> ") for block in blocks) > 0
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("block", [block for page in BLOCKS for block in python_blocks(page, False)])
def test_blocks_with_hub_names_run_on_tiny_models(block, tmp_path):
    names = [name for name in STAND_INS if f'"{name}"' in block]
    assert names
    for name in names:
        model, tokenizer = pair(STAND_INS[name])
        folder = tmp_path / name.replace("/", "--")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        block = block.replace(f'"{name}"', repr(str(folder)))
    assert not re.search(r'"[\w.-]+/[\w.-]+"', block.replace('"sst2/it_was"', "")), "a hub name without a stand-in"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights expect no label word
        exec(compile(block, "a page", "exec"), {})


def test_every_stand_in_is_used():
    blocks = "".join(block for page in BLOCKS for block in python_blocks(page, False))
    assert all(f'"{name}"' in blocks for name in STAND_INS)


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs a command of ours in a folder with the files that the pages name; returns exit code and output."""
    (tmp_path / "mail.csv").write_text("text\nI was charged twice\nThank you so much!\n")
    (tmp_path / "more.csv").write_text("text\nMy card was charged\n")
    (tmp_path / "labelled.csv").write_text("text,label\nMy invoice is wrong,billing\nLovely,praise\n")
    shutil.copy(ROOT / "fewshot/datasets/tickets.csv", tmp_path)
    long = "Nothing happens, and it takes its time about it. " * 60
    rows = ["title,text,label", "Great fun,I laughed all the way home.,good", f'Two hours too long,"{long}",bad']
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
        assert sys.argv[0] == "fewshot"
        if sys.argv[1] == "label":
            return label_all(sys.argv[1:], {"I was charged twice": "billing", "Thank you so much!": "praise"})
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return done.value.code, said.out or said.err  # type: ignore[return-value]

    return run


def label_all(arguments: list[str], known: dict[str, str]) -> tuple[int, str]:
    """Serve the labelling page in a process of its own, give every text its label, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "fewshot", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        try:
            address = run.stdout.readline().split()[-1]

            def call(name: str, **said) -> dict:
                body = json.dumps({"tab": "one", **said}).encode()
                with urlopen(Request(f"{address}call/{name}", body, {"Content-Type": "application/json"})) as answer:
                    return json.load(answer)

            while (row := (state := call("state"))["row"]) is not None:
                (text,) = (value for _, value in state["fields"])
                call("label", row=row, label=known[text])
            run.send_signal(signal.SIGINT)
            return run.wait(timeout=60), run.stdout.read()
        finally:
            run.kill()


def says(want: str, got: str) -> bool:
    """Whether an output is what a page shows of it; a line of three dots stands for any lines."""
    pieces = [piece.strip("\n").splitlines() for piece in re.split(r"^\.\.\.$", want.strip("\n"), flags=re.MULTILINE)]
    lines, at = got.strip("\n").splitlines(), 0
    for number, piece in enumerate(pieces):
        first = range(at, len(lines) - len(piece) + 1) if number else range(at, at + 1)
        found = next((i for i in first if says_the_same("\n".join(piece), "\n".join(lines[i : i + len(piece)]))), None)
        if found is None:
            return False
        at = found + len(piece)
    return at == len(lines) or not pieces[-1]


def test_shell_lines_are_on_two_pages():
    assert {page: len(lines) for page in BLOCKS if (lines := shell_lines(page))} == {
        "README.md": 3,
        "command-line.md": 9,
    }


@pytest.mark.long
@pytest.mark.parametrize("page", pages(shell_lines))
def test_shell_blocks_run(page, shell, tmp_path, mini):
    for month in ("01", "02"):
        (tmp_path / f"2026-{month}.csv").write_text("text\nI was charged twice\n")
    for command in shell_lines(page):
        code, got = shell(command)
        assert code == 0, f"{command}\n{got}"
    if page == "README.md":
        with (tmp_path / "predictions.csv").open(newline="") as file:
            assert [row["prediction"] for row in csv.DictReader(file)] == ["billing"]
    else:
        assert (tmp_path / "out.csv").read_text().startswith("text,prediction,probability\n")
        assert (tmp_path / "curve.png").is_file()
        assert (tmp_path / "out.parquet").is_file()


def test_sessions_that_print_are_on_one_page():
    ran = {page: sum(command.startswith("fewshot ") for command, _ in sessions(page)) for page in BLOCKS}
    assert {page: n for page, n in ran.items() if n} == {"command-line.md": 5}


@pytest.mark.parametrize("page", pages(sessions))
def test_shell_sessions_print_what_they_say(page, shell, tmp_path, mini):
    for command, output in sessions(page):
        if command.startswith("cat "):
            (tmp_path / command.removeprefix("cat ")).write_text(output)
        elif command.startswith("fewshot "):
            code, got = shell(command)
            assert says(output, got), got
            assert code == (1 if re.search("^error: ", got, re.MULTILINE) else 0)
        else:  # these install, and are run by CI
            assert command.startswith(("make ", "pip install "))


def test_the_two_commands_are_those_of_the_makefile_and_of_ci():
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci/run").read_text()
    for target in ("demo", "test"):
        assert f"$ make {target} " in README
        assert re.search(rf"^{target}: \$\(STAMP\)", makefile, re.MULTILINE)
    assert re.search(r"^make test$", ci, re.MULTILINE)


def test_pictures_exist():
    for source in re.findall(r'<img src="([^"]+)"', README):
        assert (ROOT / source).is_file()


def test_numbers_are_compared_with_a_tolerance_and_text_without():
    assert says_the_same("accuracy 0.61 of 120", "accuracy 0.63 of 120\n")
    assert not says_the_same("accuracy 0.61 of 120", "accuracy 0.65 of 120")
    assert not says_the_same("accuracy 0.61 of 120", "accuracy 0.61 of 121")
    assert not says_the_same("accuracy 0.61", "accuracy 0.61 0.61")


def test_dots_stand_for_lines():
    assert says("a 0.51\n...\nd\n", "a 0.52\nb\nc\nd\n")
    assert says("...\nb\n...\n", "a\nb\nc\n")
    assert says("a\nb\n", "a\nb\n")
    assert not says("...\nb\n", "a\nb\nc\n")
    assert not says("b\n...\n", "a\nb\nc\n")
    assert not says("...\nd\n...\n", "a\nb\nc\n")
    assert not says("a\nb\n", "a\n")
