"""The command that opens a page to work on a template: play."""

from __future__ import annotations

import json
import warnings
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from fewshot.checks import is_blank
from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command
from fewshot.cli.data import check_standard_input
from fewshot.cli.formats import Format
from fewshot.cli.reading import read
from fewshot.cli.table import Table
from fewshot.cli.writing import check_target
from fewshot.errors import FewshotWarning, InputError
from fewshot.extras import need

if TYPE_CHECKING:
    from fewshot.pages.play_page import Opened
    from fewshot.pages.playing import Sample

_MOST_CLASSES = 200  # more different labels are no classes, but texts or numbers


@command(
    "fewshot play mail.jinja --data mail.csv --model embedded:causal",
    "fewshot play sst2/it_was --data reviews.csv --model embedded:masked --output reviews.jinja",
    "fewshot play --data mail.csv --labels billing,praise,bug --open",
    "fewshot play mail.jinja --beside generic/listed --data mail.csv --model HuggingFaceTB/SmolLM2-360M",
)
def play(
    template: Annotated[
        str | None,
        typer.Argument(
            metavar="TEMPLATE",
            help="A .jinja file, a name from the gallery, or the text of a template. Default: the generic template for "
            "this kind of model.",
        ),
    ] = None,
    *,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="A file of rows to try the template on, with or without labels.")
    ],
    model: Annotated[str | None, typer.Option(metavar="NAME", help=opt.MODEL)] = None,
    labels: opt.Labels = None,
    words: opt.Words = None,
    beside: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="A second template, to compare with the first. Written in the same way."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A new .jinja file to save the template in. Default: TEMPLATE, if that is a file."
        ),
    ] = None,
    rows: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="The number of rows to show.")] = 20,
    first: Annotated[
        bool, typer.Option("--first", help="Take the first rows of the file, instead of random ones.")
    ] = False,
    seed: opt.Seed = 0,
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port of the page. 0 means any free port.")
    ] = 0,
    opens: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Edit a template on a page, with its prompts beside it.

    For each row, the page shows the prompt with its parts in colours, the text that was cut to fit the model, the
    probabilities of the label words, and the prediction beside the label of the file. It also shows what fewshot lint
    finds. The classes come from --labels, from the label column, or from the label words of the template.

    Only this machine can open the page, and its address contains a secret. Ctrl-C ends the command.
    """
    form, own, names = Format.said(*said), opt.as_words(words), opt.as_names(labels)
    check_standard_input(data)
    need("starlette", "fewshot play needs")
    need("uvicorn", "fewshot play needs")
    _check_output(output, [data, *(Path(one) for one in (template, beside) if one and one.endswith(".jinja"))])
    opened = [_opened(one, output if i == 0 else None) for i, one in enumerate([template, beside]) if one]
    table = read(data, form)
    known = _labels_of(table, columns.label_column)
    names = names or _classes_of(known, own)
    unknown = next((label for label in known if label is not None and names and label not in names), None)
    if unknown is not None:
        raise InputError(
            f"The label {unknown!r} in {table.name!r} is not among the classes {', '.join(names)}: correct it, or add "
            "it to the classes."
        )
    sample = _sample(table, known, columns.text_column, rows, None if first else seed)

    from fewshot.models.loading import load
    from fewshot.pages.play_page import play_page
    from fewshot.pages.playing import Playing
    from fewshot.serving.server import serve

    loaded = load(model)
    if template is None:
        opened.insert(0, _generic(loaded, output))
    playing = Playing(loaded, sample, names, own, seed)
    # the page shows what they say, at every change
    warnings.simplefilter("ignore", FewshotWarning)
    with play_page(playing, opened) as page:

        def say(url: str) -> None:
            address = url + page.path
            facts = {"url": address, "rows": len(sample.rows), "classes": names}
            typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else f"The playground: {address}")
            if opens:
                webbrowser.open(address)

        serve(page.app, "127.0.0.1", port, ready=say)


def _check_output(output: Path | None, inputs: Sequence[Path]) -> None:
    """Refuse a file that could not be saved to, or that is there: the page saves over nothing but its own template."""
    if output is None:
        return
    if output.suffix != ".jinja":
        raise WrongUsage(f"--output must end with .jinja, since it is the file of a template. Got {str(output)!r}.")
    check_target(output, inputs)
    if output.exists():
        raise InputError(
            f"--output {str(output)!r} exists already. To continue with it: fewshot play {output}. Or give another "
            "name."
        )


def _opened(template: str, output: Path | None) -> Opened:
    """A template and the file that it is saved to; one that does not parse can be mended in the page."""
    from fewshot.pages.play_page import Opened
    from fewshot.pages.template_file import TemplateFile

    saved = None if output is None else TemplateFile(output)
    if not template.endswith(".jinja"):
        shape = opt.as_template(template)
        assert shape is not None
        return Opened(shape.name or "the source that was given", shape.source, saved)
    path = Path(template)
    if not path.is_file():
        raise InputError(f"There is no file {template!r}. To begin one: fewshot play --output {template}.")
    file = TemplateFile(path)
    return Opened(path.name, file.source, saved or file)


def _generic(model: Any, output: Path | None) -> Opened:
    """The template that a classifier on this model has where none is given."""
    from fewshot.pages.play_page import Opened
    from fewshot.pages.template_file import TemplateFile
    from fewshot.task.resolve import templates_of

    (shape,) = templates_of(None, model, multi_label=False)
    return Opened(str(shape.name), shape.source, None if output is None else TemplateFile(output))


def _labels_of(table: Table, column: str) -> list[str | None]:
    """The class of each row, None where it has none; none at all where there is no such column by default."""
    if column == "label" and column not in table.columns:
        return [None] * len(table.rows)
    cells = table.column(column, "--label-column")
    return [None if is_blank(cell) else str(cell) for cell in cells]


def _classes_of(labels: Sequence[str | None], words: dict[str, list[str]] | None) -> list[str]:
    """The classes that --words or the labels of the rows name."""
    found = sorted({label for label in labels if label is not None})
    if len(found) > _MOST_CLASSES:
        raise InputError(
            f"The label column holds {len(found)} different labels. Give the classes with --labels, or another column "
            "with --label-column."
        )
    return list(words or found)


def _sample(table: Table, labels: Sequence[str | None], text_column: str | None, n: int, seed: int | None) -> Sample:
    """Some rows with their labels, in the order of the file: those drawn under the seed, or for None the first."""
    from fewshot.pages.playing import Sample

    if text_column is None and table.unnamed:
        text_column = table.columns[0]
    if text_column is not None:
        table.column(text_column, "--text-column")
    n_rows = len(table.rows)
    some = list(range(min(n, n_rows)))
    if seed is not None:
        some = sorted(np.random.RandomState(seed).permutation(n_rows)[:n].tolist())
    return Sample([table.rows[i] for i in some], [labels[i] for i in some], some, text_column)
