"""The commands about templates: lint and templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command
from fewshot.cli.formats import Format
from fewshot.cli.reading import read

if TYPE_CHECKING:
    from fewshot.task.template import Template


@command(
    "fewshot lint mail.jinja",
    "fewshot lint mail.jinja --data mail.csv --labels billing,praise,bug",
    "fewshot lint mail.jinja --data mail.csv --model HuggingFaceTB/SmolLM2-360M --json",
    "fewshot lint sst2/it_was --model embedded:masked",
)
def lint(
    template: Annotated[
        str,
        typer.Argument(metavar="TEMPLATE", help="A .jinja file, a name from the gallery, or the text of a template."),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The name on the hub or the folder of a model. Without it, only the text is checked."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="A file of rows to fill the template with.")] = None,
    labels: opt.Labels = None,
    words: opt.Words = None,
    said: opt.FormatOptions,
    as_json: AsJson = False,
) -> None:
    """Check a template, before you spend time on a model.

    It checks the fields, the blanks around the hole, the label words and, with a model, their tokens. Each finding says
    how to correct it. The exit code is 1 when there are errors; warnings and hints leave it at 0.
    """
    from fewshot.errors import TemplateError
    from fewshot.linting import lint as check
    from fewshot.linting import unparsed
    from fewshot.task.verbalizer import as_verbalizer

    own = opt.as_words(words)
    form = Format.said(*said)
    if data is None and form != Format():
        raise WrongUsage("--format, --delimiter, --encoding and --no-header are for --data FILE.")
    rows = None if data is None else read(data, form).rows
    try:
        shape = opt.as_template(template)
    except TemplateError as error:
        if not Path(template).is_file():  # a name that the gallery does not have
            raise
        report = unparsed(Path(template).name, error)
    else:
        assert shape is not None
        verbalizer: Any = own or shape.words
        report = check(shape, model, rows, as_verbalizer(verbalizer, opt.as_names(labels)) if labels else own)
    typer.echo(report.to_json() if as_json else str(report))
    if not report.ok:
        raise typer.Exit(1)


@command(
    "fewshot templates", "fewshot templates sst2", "fewshot templates sst2/it_was", "fewshot templates sst2 --json"
)
def templates(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name of a template, or of a task.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the templates of the gallery, or show one of them.

    Without NAME it lists all templates. With the name of a task, such as sst2, it lists the templates of this task.
    With the name of a template, such as sst2/it_was, it shows this template.
    """
    from fewshot.task import gallery

    if name and "/" in name:
        template = gallery.get(name)
        typer.echo(_json({**_entry(template), "template": template.source}) if as_json else template.source)
        return
    table = gallery.table(name)
    typer.echo(_json([_entry(gallery.get(row.name)) for row in table]) if as_json else str(table))


def _entry(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "fields": list(template.fields),
        "words": template.words,
        "description": str(template.metadata.get("description", "")),
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
