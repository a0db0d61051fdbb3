"""The command line: wrong usage, strategies and lists in options, help, and what a shell sees."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
import typer

import fewshot.cli as cli
from fewshot.cli.app import WrongUsage
from fewshot.cli.options import as_shots, as_words
from fewshot.cli.setups import as_strategy
from tests.command import _keyword_model, run  # noqa: F401 - a fixture

pytestmark = pytest.mark.long


# usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "mail.csv"], "Give the classes: --labels a,b,c"),
        (["classify", "mail.csv", "--labels", "a,b", "--output", "x.xls"], "It must end with .csv, .tsv"),
        (
            ["classify", "mail.csv", "--labels", "a,b", "--strategy", "magic"],
            "one of auto, channel, distillation, embedding,",
        ),
        (["classify", "mail.csv", "--words", "a=x,a=y"], "--words must give every class its word, once"),
        (["classify"], "Missing argument 'FILE...'. See fewshot classify --help."),
        (["clasify"], "No such command 'clasify'"),
        (["evaluate", "x.csv", "--lables", "a"], "No such option"),
        (["evaluate", "x.csv", "--shots", "-1"], "Invalid value for '--shots'"),
        (["evaluate", "x.csv"], "Say which rows to test on: --test FILE, or --held-out 0.5"),
        (["evaluate", "x.csv", "--held-out", "0.5", "--test", "y.csv"], "not both"),
        (
            ["evaluate", "x.csv", "--held-out", "50"],
            "--held-out must be a share above 0 and below 1, such as 0.5. Got 50",
        ),
        (
            ["evaluate", "x.csv", "--held-out", "0.5", "--shots", "4", "--strategy", "Prompting()"],
            "'prompting(shots=4)'",
        ),
        (["evaluate", "x.csv", "--held-out", "0.5", "--shots", "4", "--strategy", "channel"], "'channel(shots=4)'"),
        (["compare", "x.csv", "--held-out", "0.5", "--strategy", "auto"], "There is one classifier, and nothing to"),
        (["compare", "x.csv", "--shots", "0,0"], "Two of the classifiers are called '0 shots'"),
        (["compare", "x.csv", "--shots", "0,x"], "--shots must be whole numbers of at least 0, such as 0,8. Got '0,x'"),
        (["compare", "x.csv", "--with", "a"], "--with must be 'NAME: key=value ...'"),
        (["compare", "x.csv", "--with", "a: modle=b"], "with keys among model, template, strategy, shots, words"),
        (["compare", "x.csv", "--with", "a: model='b"], "--with must be"),
        (["compare", "x.csv", "--with", "a: shots=0,8"], "--with takes one number of shots"),
        (["learning-curve", "x.csv", "--strategy", "prompting"], "--shots 32 would change nothing"),
        (
            ["evaluate", "x.csv", "--shots", "0", "--text-column", "a", "--template", "{{ a }} {{ b }} {{ label }}"],
            "--text",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)  # there are no files: nothing is read
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fewshot: ")
    assert message.casefold() in err.casefold()  # versions of click differ in capitals
    assert err.count("\n") == 1


def test_strategies_are_written_as_in_python():
    from fewshot import Contrastive, Distillation, Embedding, FineTuning, LoRA, Prompting, Readout
    from fewshot.calibration import Batch

    assert repr(as_strategy("Prompting(shots=4, calibration=contextual)")) == repr(
        Prompting(shots=4, calibration="contextual")
    )
    assert repr(as_strategy(" prompting(8, 'nearest', order='lowest bias')")) == repr(
        Prompting(8, "nearest", order="lowest bias")
    )
    assert repr(as_strategy("embedding(tuning=contrastive(steps=4))")) == repr(Embedding(tuning=Contrastive(steps=4)))
    assert repr(as_strategy("readout('labels', shots=2)")) == repr(Readout("labels", shots=2))
    assert repr(as_strategy("finetuning(parameters=lora(rank=4))")) == repr(FineTuning(parameters=LoRA(rank=4)))
    assert repr(as_strategy("distillation(prompting(calibration=batch))")) == repr(
        Distillation(Prompting(calibration="batch"))
    )
    shares = as_strategy("prompting(calibration=batch(class_prior={'ham': 0.9, 'spam': 0.1}))").calibration
    assert repr(shares) == repr(Batch(class_prior={"ham": 0.9, "spam": 0.1}))
    estimated = as_strategy("prompting(calibration=batch(class_prior=estimated, prior_strength=30))").calibration
    assert repr(estimated) == repr(Batch(class_prior="estimated", prior_strength=30))
    assert as_strategy(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "contrastive",
        "batch(class_prior=estimated)",
        "open('x')",
        "os.system('true')",
        "prompting(",
        "prompting(shots=open('x'))",
        "prompting(shots=x+1)",
        "prompting(shot=4)",
        "prompting(**{'shots': 1}, *x)",
        "prompting(1)(2)",
        "[auto][0]",
        "auto\0",
    ],
)
def test_nothing_else_is_a_strategy(text):
    with pytest.raises(WrongUsage, match="--strategy"):
        as_strategy(text)


def test_lists_in_options():
    assert as_shots(["0,2", "4"]) == [0, 2, 4]
    assert as_shots(None) == []
    assert as_words("a = x | y , b=z") == {"a": ["x", "y"], "b": ["z"]}
    assert as_words(None) is None


# help


def commands():
    found = typer.main.get_command(cli.app)
    return found, sorted(found.commands)  # type: ignore[attr-defined]


def shell_lines(help_text):
    examples = help_text.partition("Examples:\n")[2].replace("\\\n", " ")
    return [shlex.split(line) for line in examples.splitlines() if line.strip()]


@pytest.mark.parametrize("name", commands()[1])
def test_every_help_ends_with_examples_whose_options_exist(monkeypatch, capsys, name):
    code, out, _ = run(monkeypatch, capsys, name, "--help")
    assert code == 0
    lines = shell_lines(out)
    assert len(lines) >= 3
    command = commands()[0].commands[name]
    for program, own, *arguments in lines:
        assert (program, own) == ("fewshot", name)
        command.make_context(name, arguments)  # raises where an option is unknown or an argument missing


def test_every_command_has_json():
    root, names = commands()
    assert len(names) == 15
    for name in names:
        assert "--json" in {option for parameter in root.commands[name].params for option in parameter.opts}


def test_the_first_help_lists_the_commands_whole(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    listed = out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == [
        "demo",
        "classify",
        "evaluate",
        "compare",
        "learning-curve",
        "extract",
        "fit",
        "label",
        "play",
        "serve",
        "show",
        "tag",
        "lint",
        "templates",
        "write",
    ]
    assert "..." not in listed
    assert len(shell_lines(out)) == 5


def call(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "fewshot", *arguments], capture_output=True, text=True, check=False, **options
    )


def test_as_a_program():
    assert call("--version").stdout.strip() == __import__("fewshot").__version__
    done = call()
    assert done.returncode == 2
    assert "Commands:" in done.stderr
    done = call("compare", "no.csv")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-m", "fewshot", "templates"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"], ["compare", "x.csv"], ["templates"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['fewshot', *{arguments!r}]\n"
        "from fewshot.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    err = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    heavy = {"torch", "transformers", "sentence_transformers", "pandas", "sklearn", "scipy"}
    assert not heavy & set(re.findall(r"'(\w+)'", err.splitlines()[-1]))
