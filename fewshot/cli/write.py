"""The command that writes a text for each row of a file: write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command, note
from fewshot.cli.data import check_standard_input, fields_of, read_beside, take_inputs
from fewshot.cli.formats import Format
from fewshot.cli.options import FollowPaths, FormatOptions, Seed
from fewshot.cli.reading import read

if TYPE_CHECKING:
    from fewshot.task.template import Template
    from fewshot.writer import Writer

_SHOTS = 8
_STEP = 64  # rows that are answered together, before their lines are written


@command(
    "fewshot write mail.csv --model NAME --template title/headline",
    "fewshot write en.csv --model NAME --template translation/en_de --examples pairs.csv --shots 8",
    "fewshot write en.csv --model NAME --template translation/en_de --examples pairs.csv --save de",
    "fewshot write en.csv --writer de --json",
)
def write(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of rows. A text is written for each row.")],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model: a causal or encoder-decoder language model, given by its name on the hub or its folder, "
            "or embedded:causal.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="The template: a name from the gallery, a .jinja file, or a text that ends with {{ answer }}.",
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file of rows with the right text for each. The model is shown some of them as examples.",
        ),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="How many of --examples a prompt shows. Default: 8, or all if there are fewer."
        ),
    ] = None,
    selection: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Which of --examples a prompt shows: nearest, mmr, random or first. random and first show all rows "
            "the same ones.",
        ),
    ] = "nearest",
    writer: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A saved writer: the folder that --save or .save() wrote.")
    ] = None,
    follow_paths: FollowPaths = False,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column with the text. Default: the fields of the template.")
    ] = None,
    answer_column: Annotated[
        str, typer.Option(metavar="NAME", help="The column of --examples with the right text.")
    ] = "answer",
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="The largest number of tokens of a text. Default: 64, or that of the saved writer."
        ),
    ] = None,
    stop: Annotated[
        str | None, typer.Option(metavar="TEXT", help=r"End each text before this text. \n is a line break.")
    ] = None,
    seed: Seed = 0,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the writer in this new folder.")] = None,
    as_json: AsJson = False,
    said: FormatOptions,
) -> None:
    """Write a text for each row, such as a translation.

    The template says what to write: a translation, a summary, a title. The command prints one line for each row. With
    --json each line is an object: the fields of the row, the text as 'answer', and the mean log-probability of its
    tokens as 'logprob'. None of the models inside this package can translate or summarise: give --model.
    """
    kept = writer is not None
    if kept == (template is not None) or (kept and any((model, examples, shots, max_new_tokens, stop, save))):
        raise WrongUsage(
            "Give --template, with --model and other options, or --writer DIR alone: a saved writer has its own "
            "settings."
        )
    if shots is not None and examples is None:
        raise WrongUsage(f"--shots {shots} needs rows with their texts to show: give --examples FILE.")
    check_standard_input(file, examples)
    table, own = read(file, Format.said(*said)), opt.as_template(template)
    if kept:
        fitted = _kept(writer, follow_paths)
        fields = fields_of([fitted.template_], text_column)
    else:
        fields = fields_of([own], text_column)
        pairs = _pairs(examples, said, fields, answer_column)
        n = min(_SHOTS, len(pairs[0] or ())) if shots is None else shots
        more = {"max_new_tokens": max_new_tokens or 64, "stop": stop and stop.replace("\\n", "\n")}
        fitted = _unfitted(model, own, n, selection, random_state=seed, **more).fit(*pairs)
    rows = take_inputs(table, fields)
    if save is not None:
        note(f"the writer is kept in {str(fitted.save(save))!r}")
    for first in range(0, len(rows), _STEP):
        part = rows[first : first + _STEP]
        for line in _objects(fitted, part) if as_json else _lines(fitted, part):
            typer.echo(line)


def _kept(folder: Path | None, follow_paths: bool) -> Writer:
    from fewshot.writer import Writer

    assert folder is not None
    return Writer.load(folder, follow_paths=follow_paths)


def _unfitted(model: str | None, template: Template | None, shots: int, selection: str, **more: Any) -> Writer:
    from fewshot.strategies.prompting import Prompting
    from fewshot.writer import Writer

    return Writer(model, template, None, Prompting(shots=shots, selection=selection), **more)


def _pairs(
    path: Path | None, said: FormatOptions, fields: dict[str, str], answer_column: str
) -> tuple[list[Any] | None, list[Any] | None]:
    """The rows of a file, and their texts; without one, None of both."""
    if path is None:
        return None, None
    table = read_beside(path, Format.said(*said))
    return take_inputs(table, fields), table.column(answer_column, "--answer-column")


def _lines(writer: Writer, rows: Sequence[Any]) -> Iterator[str]:
    """The texts, each in one line."""
    for text in writer.predict(rows):
        yield " ".join(text.splitlines())


def _objects(writer: Writer, rows: Sequence[Any]) -> Iterator[str]:
    (field, *_) = writer.template_.fields
    for row, one in zip(rows, writer.predict_written(rows), strict=True):
        own = {field: row} if isinstance(row, str) else row
        logprob = None if one.logprob is None else round(one.logprob, 4)
        yield json.dumps({**own, "answer": one.text, "logprob": logprob}, ensure_ascii=False)
