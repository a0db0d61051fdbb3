"""The command that answers questions by parts of the texts of a file: extract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.checks import is_blank
from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command, note
from fewshot.cli.data import check_standard_input, read_beside, take_inputs
from fewshot.cli.formats import Format
from fewshot.cli.options import FollowPaths, FormatOptions
from fewshot.cli.reading import read
from fewshot.cli.table import Table
from fewshot.errors import InputError, at_file

if TYPE_CHECKING:
    from fewshot.extractor import Extractor
    from fewshot.task.template import Template

_LONGEST_NUMBER = 18  # digits
_STEP = 64  # questions that are answered together, before their lines are written


@command(
    "fewshot extract mail.csv --question 'Which product is it about?' --model embedded:causal",
    "fewshot extract questions.jsonl --examples answered.jsonl --model embedded:causal --shots 4 --save extractor",
    "fewshot extract questions.jsonl --extractor extractor --threshold 0.5 --json",
)
def extract(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A file with the texts that hold the answers. They are in the column 'context'. With --question they "
            "may also be in 'text'.",
        ),
    ],
    *,
    question: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="One question for all texts. Default: the column 'question' of FILE."),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file of answered questions to learn from. It has the columns 'context', 'question' and 'answer'. "
            "'answer_start' may say where the answer begins. SQuAD's 'answers' may take their place. An empty answer "
            "means that the text holds none.",
        ),
    ] = None,
    extractor: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A saved extractor: the folder that --save or .save() wrote.")
    ] = None,
    follow_paths: FollowPaths = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model: a language model, a sentence encoder, or a model that was trained for question "
            "answering. It is given by its name on the hub, its folder, embedded:masked or embedded:causal.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="How to ask a language model: {{ context }} {{ question }} {{ answer }}"),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="How many of --examples a language model is shown in each prompt."),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The column with the text. Default: 'context', or 'text' with --question."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="P", help="Give only answers that have at least this probability, above 0 and at most 1."),
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the extractor in this new folder.")] = None,
    as_json: AsJson = False,
    said: FormatOptions,
) -> None:
    """Answer questions with a part of the text, or none.

    It shows each question with its text, in which the answer is marked, and the next best answers. With --json it
    writes one line for each row: the question, the text as context, and the answer with its start, end and probability.
    An empty answer means that the text holds none. Start and end count characters from 0.
    """
    if extractor is not None and any(one is not None for one in (examples, model, template, shots, save)):
        raise WrongUsage(
            "--extractor gives a saved extractor, which has its own model, template and examples: leave out "
            "--examples, --model, --template, --shots and --save."
        )
    if shots and examples is None:
        raise WrongUsage(f"--shots {shots} needs answered questions to show: give --examples FILE.")
    check_standard_input(file, examples)
    table, own = read(file, Format.said(*said)), opt.as_template(template)
    if extractor is not None:
        fitted = _kept(extractor, follow_paths, question, threshold)
        asking = getattr(fitted.strategy_, "asking_", None)
        own, question = None if asking is None else asking.task.template, fitted.question
    else:
        unfitted = _unfitted(model, own, shots, question=question, threshold=threshold)
        if examples is None:
            fitted = unfitted.fit()
        else:
            given = read_beside(examples, Format.said(*said))
            X, y = _learned(given, _fields(given, own, question, text_column))
            _check_examples(examples, X, y, question)
            fitted = unfitted.fit(X, y)
    rows = take_inputs(table, _fields(table, own, question, text_column))
    if save is not None:
        note(f"the extractor is kept in {str(fitted.save(save))!r}")
    for first in range(0, len(rows), _STEP):
        part = rows[first : first + _STEP]
        typer.echo("\n".join(_lines(fitted, part)) if as_json else f"{fitted.explain(part)}\n")


def _kept(folder: Path, follow_paths: bool, question: str | None, threshold: float | None) -> Extractor:
    """A kept extractor, with what is said anew."""
    from fewshot.extractor import Extractor

    fitted = Extractor.load(folder, follow_paths=follow_paths)
    said = {"question": question, "threshold": threshold}
    fitted.set_params(**{name: value for name, value in said.items() if value is not None})
    return fitted


def _unfitted(model: str | None, template: Template | None, shots: int | None, **more: Any) -> Extractor:
    from fewshot.extractor import Extractor
    from fewshot.strategies.prompting import Prompting

    strategy = None if shots is None else Prompting(shots=shots)
    return Extractor(model, template, None, strategy, random_state=0, **more)


def _fields(table: Table, template: Template | None, question: str | None, text_column: str | None) -> dict[str, str]:
    """The column that each field of a row is read from."""
    usual = "text" if question is not None and "context" not in table.columns and not table.unnamed else "context"
    asked = () if question is not None else ("question",)
    names = [name for name in (*asked, *(() if template is None else template.fields)) if name != "context"]
    if question is not None:
        names = [name for name in names if name != "question"]
    return {"context": text_column or usual, **{name: name for name in names}}


def _learned(table: Table, fields: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """The questions of a file, and their answers."""
    rows = take_inputs(table, fields)
    name = next((one for one in ("answers", "answer") if one in table.columns), "answer")
    answers = table.column(name)
    if name == "answers" or "answer_start" not in table.columns:
        return rows, answers
    starts = table.column("answer_start")
    return rows, [_placed(table, i, *one) for i, one in enumerate(zip(answers, starts, strict=True))]


def _placed(table: Table, i: int, answer: Any, start: Any) -> Any:
    """An answer with the place where it begins."""
    if is_blank(answer):
        return None
    if not str(start).isdecimal() or len(str(start)) > _LONGEST_NUMBER:
        raise InputError(
            f"{table.where(i)}: the column 'answer_start' must be where the answer begins, in characters from 0. "
            f"Got {start!r:.40}."
        )
    return {"text": [answer], "answer_start": [int(start)]}


def _check_examples(path: Path, X: list[Any], y: list[Any], question: str | None) -> None:
    """Say what is odd about the examples; what can't be learned from is refused."""
    from fewshot.linting import lint_answers

    with at_file(path):
        for one in lint_answers(X, y, question=question).findings:  # errors come first
            if one.level == "error":
                raise InputError(f"{one.message} {one.cure}")
            if one.kind != "lost":  # which fit says
                note(f"{one.level} about {path}: {one.message}")


def _lines(extractor: Extractor, rows: list[Any]) -> Iterator[str]:
    for row, answer in zip(rows, extractor.predict(rows), strict=True):
        own = {"context": row} if isinstance(row, str) else row
        said = {
            "question": extractor.question or own["question"],
            "context": own["context"],
            "answer": answer.text,
            "start": answer.start,
            "end": answer.end,
            "probability": round(answer.probability or 0.0, 4),
        }
        yield json.dumps(said, ensure_ascii=False)
