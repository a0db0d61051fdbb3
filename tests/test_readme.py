"""Every block of the README runs; hub names become tiny local models of the same kind, and outputs are compared."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest

from fewshot.cli import main
from tests.conftest import has_causal, pair
from tests.printed import Tolerant, says_the_same

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
STAND_INS = {
    "FacebookAI/roberta-base": "roberta",
    "google/flan-t5-base": "t5",
    "facebook/bart-large-mnli": "nli",
    "Qwen/Qwen3-0.6B": "gpt2-chat",
}
#: Blocks that load embedded:causal, or use what such a block has named.
NEEDS_CAUSAL = re.compile(r'"embedded:causal"|\b(lm|named)\b')


def python_blocks(with_outputs: bool) -> list[str]:
    return [body for language, body in BLOCKS if language == "python" and (">>>" in body) == with_outputs]


def test_every_block_is_of_a_kind_that_is_run():
    assert {language for language, _ in BLOCKS} == {"console", "python", "bash"}
    assert len(python_blocks(True)) >= 5


@pytest.mark.long
def test_blocks_with_outputs_print_what_they_say(mini):
    blocks = [block for block in python_blocks(True) if has_causal() or not NEEDS_CAUSAL.search(block)]
    source = "\n".join(blocks)
    test = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    report: list[str] = []
    runner = doctest.DocTestRunner(checker=Tolerant(), optionflags=flags)
    runner.run(test, out=report.append)
    assert runner.tries > 20
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("block", python_blocks(False))
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
        exec(compile(block, "README.md", "exec"), {})


def test_every_stand_in_is_used():
    assert all(f'"{name}"' in README for name in STAND_INS)


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs a command of ours in a folder with the files that the README names; returns exit code and output."""
    (tmp_path / "mail.csv").write_text("text\nI was charged twice\nThank you so much!\n")
    (tmp_path / "labelled.csv").write_text("text,label\nMy invoice is wrong,billing\nLovely,praise\n")
    shutil.copy(ROOT / "fewshot/datasets/tickets.csv", tmp_path)
    long = "Nothing happens, and it takes its time about it. " * 60
    rows = ["title,text,label", "Great fun,I laughed all the way home.,good", f'Two hours too long,"{long}",bad']
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        assert sys.argv[0] == "fewshot"
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return done.value.code, said.out or said.err  # type: ignore[return-value]

    return run


def says(want: str, got: str) -> bool:
    """Whether an output is what the README shows of it; a line of three dots stands for any lines."""
    pieces = [piece.strip("\n").splitlines() for piece in re.split(r"^\.\.\.$", want.strip("\n"), flags=re.MULTILINE)]
    lines, at = got.strip("\n").splitlines(), 0
    for number, piece in enumerate(pieces):
        first = range(at, len(lines) - len(piece) + 1) if number else range(at, at + 1)
        found = next((i for i in first if says_the_same("\n".join(piece), "\n".join(lines[i : i + len(piece)]))), None)
        if found is None:
            return False
        at = found + len(piece)
    return at == len(lines) or not pieces[-1]


@pytest.mark.long
def test_shell_blocks_run(shell, tmp_path, mini):
    commands = [line for language, body in BLOCKS if language == "bash" for line in body.splitlines()]
    assert len(commands) == 9
    for month in ("01", "02"):
        (tmp_path / f"2026-{month}.csv").write_text("text\nI was charged twice\n")
    for command in commands:
        assert shell(command)[0] == 0, command
    assert (tmp_path / "out.csv").read_text().startswith("text,prediction,probability\n")
    assert (tmp_path / "curve.png").is_file()
    assert (tmp_path / "out.parquet").is_file()


def test_shell_sessions_print_what_they_say(shell, tmp_path, mini):
    sessions = "".join(body for language, body in BLOCKS if language == "console")
    steps = [step.partition("\n") for step in re.split(r"^\$ ", sessions, flags=re.MULTILINE)[1:]]
    ran = 0
    for command, _, output in steps:
        if command.startswith("cat "):
            (tmp_path / command.removeprefix("cat ")).write_text(output)
        elif command.startswith("fewshot "):
            code, got = shell(command)
            assert says(output, got), got
            assert code == (1 if re.search("^error: ", got, re.MULTILINE) else 0)
            ran += 1
        else:  # these install, and are run by CI
            assert command.startswith(("make ", "pip install "))
    assert ran == 5


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
