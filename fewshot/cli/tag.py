"""The command that finds spans in the rows of a file: tag."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command, note
from fewshot.cli.data import check_standard_input, fields_of, read_beside, take_inputs
from fewshot.cli.formats import Format
from fewshot.cli.options import FollowPaths, FormatOptions
from fewshot.cli.reading import read
from fewshot.cli.table import Table
from fewshot.errors import InputError, at_file

if TYPE_CHECKING:
    from fewshot.tagger import Tagger

_SAID_BY_FIT = ("broken tags", "long", "joined")  # findings
_STEP = 64  # texts that are tagged together, before their lines are written


@command(
    "fewshot tag mail.csv --examples annotated.jsonl",
    "fewshot tag mail.csv --examples annotated.jsonl --threshold 0.8 --json",
    "fewshot tag mail.csv --examples annotated.jsonl --save tagger",
    "fewshot tag mail.txt --tagger tagger",
    "fewshot tag mail.txt --types person,place --model embedded:causal",
)
def tag(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of texts to find spans in.")],
    *,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A .jsonl or .json file of annotated texts to learn from. Each has 'text' with 'spans' [[start, end, "
            "type], ...] or with spaCy's 'entities', or it has 'tokens' with 'tags'.",
        ),
    ] = None,
    tagger: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A saved tagger: the folder that --save or .save() wrote.")
    ] = None,
    follow_paths: FollowPaths = False,
    types: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="The names of the types to find. A language model is asked about them, without examples.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model: a sentence encoder, or a masked or other language model. It is given by its name on the "
            "hub, its folder, embedded:masked or embedded:causal. Default: a sentence encoder that needs no network.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="How to ask a language model: {{ text }} {{ span }} is a {{ label }}."),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column with the text. Default: 'text'.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="P", help="Show only spans that have at least this probability, above 0 and at most 1."),
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the tagger in this new folder.")] = None,
    as_json: AsJson = False,
    said: FormatOptions,
) -> None:
    """Find spans, such as persons and places.

    It shows each text with its spans marked. With --json it writes one line for each row: the text and its spans, each
    with start, end, label, text and probability. Start and end count characters from 0.
    """
    if [examples, tagger, types].count(None) != 2:
        raise WrongUsage(
            "Give exactly one of these: --examples FILE to learn from, --types A,B,... to ask a language model about, "
            "or --tagger DIR, a saved tagger."
        )
    if tagger is not None and any(one is not None for one in (model, template, save)):
        raise WrongUsage(
            "--tagger gives a saved tagger, which has its own model and template: leave out --model, --template and "
            "--save."
        )
    check_standard_input(file, examples)
    table = read(file, Format.said(*said))
    texts = take_inputs(table, fields_of([None], text_column))
    if tagger is not None:
        fitted = _kept(tagger, follow_paths)
        fitted.set_params(threshold=fitted.threshold if threshold is None else threshold)
    else:
        from fewshot.tagger import Tagger

        unfitted = Tagger(model, opt.as_template(template), threshold=threshold)
        fitted = unfitted.fit(*_learned(examples, said, text_column, opt.as_names(types)))
    if save is not None:
        note(f"the tagger is kept in {str(fitted.save(save))!r}")
    for first in range(0, len(texts), _STEP):
        part = texts[first : first + _STEP]
        typer.echo("\n".join(_lines(fitted, part)) if as_json else str(fitted.explain(part)))


def _kept(folder: Path, follow_paths: bool) -> Tagger:
    from fewshot.tagger import Tagger

    return Tagger.load(folder, follow_paths=follow_paths)


def _learned(
    path: Path | None, said: FormatOptions, text_column: str | None, types: list[str]
) -> tuple[list[Any] | None, list[Any]]:
    """The annotated texts of a file; without one, None and the types."""
    if path is None:
        return None, types
    from fewshot.linting import lint_spans

    X, y = _annotated(read_beside(path, Format.said(*said)), text_column or "text")
    with at_file(path):
        for one in lint_spans(X, y).findings:  # errors come first
            if one.level == "error":
                raise InputError(f"{one.message} {one.cure}")
            if one.kind not in _SAID_BY_FIT:
                note(f"{one.level} about {path}: {one.message}")
    return X, y


def _annotated(table: Table, text_column: str) -> tuple[list[Any], list[Any]]:
    """The texts, or token lists, and what is annotated in each."""
    if "tokens" in table.columns:
        return table.column("tokens", "--examples"), table.column("tags", "--examples")
    name = next((one for one in ("spans", "entities") if one in table.columns), None)
    if name is None:
        raise InputError(
            f"{table.name!r} has the columns {table.columns}: it needs {text_column!r} with 'spans' or 'entities', or "
            "'tokens' with 'tags'."
        )
    return table.column(text_column, "--text-column"), table.column(name, "--examples")


def _lines(tagger: Tagger, texts: list[str]) -> Iterator[str]:
    for text, spans in zip(texts, tagger.predict_spans(texts), strict=True):
        found = [
            {
                "start": span.start,
                "end": span.end,
                "label": span.label,
                "text": text[span.start : span.end],
                "probability": round(span.probability or 0.0, 4),
            }
            for span in spans
        ]
        yield json.dumps({"text": text, "spans": found}, ensure_ascii=False)
