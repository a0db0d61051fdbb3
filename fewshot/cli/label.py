"""The command that serves a page to label texts: label."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command, note
from fewshot.cli.data import by_number, fields_of, take_inputs
from fewshot.cli.formats import Format
from fewshot.cli.reading import read
from fewshot.cli.setups import Setup
from fewshot.cli.writing import check_target


@command(
    'fewshot label mail.csv --classes "billing,praise,bug"',
    'fewshot label mail.csv --classes "billing,praise,bug" --output mail_labels.csv --open',
    "fewshot label mail.csv --output mail_labels.csv",
    'fewshot label reviews.txt --classes "positive,negative" --model embedded:causal --port 8080',
)
def label(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of rows without labels. - is standard input.")],
    *,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="The names of the classes, separated by commas. The page can add more. Default: the classes of the "
            "labels that are already in --output, or those of the template.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The .csv file for the labels. If it exists, labelling continues from it."),
    ] = Path("labels.csv"),
    options: opt.SetupOptions,
    text_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The column with the text. Default: the field of the template, usually 'text'."
        ),
    ] = None,
    said: opt.FormatOptions,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port of the page. 0 means any free port.")
    ] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    seed: opt.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Label texts on a page, with one key press for each text.

    The page is served on this machine, while a classifier learns in the background. It shows the text whose label would
    help the classifier most, and the prediction for it. At first the classifier knows only the names of the classes; it
    learns again after every few labels. One text in five is drawn by chance, and the accuracy is estimated by these.

    Every label is written to disk at once. If the page is killed, the same command continues where it stopped. Texts
    that you skip, or that fit none of the classes, are written into a second file beside OUTPUT, whose name ends with
    .skipped.csv. Only this machine can open the page, and its address contains a secret. Without --strategy, the page
    uses a classifier that learns in seconds; fewshot fit may choose a better and slower one. Ctrl-C ends the command.
    """
    setup = Setup(**options._asdict())
    setup.check()
    words, shape, _ = setup.parts()
    if by_number([shape]):
        raise WrongUsage(
            "In this template each row has its own choices, and the page labels with the same classes for all rows: "
            "give another --template, or leave it out."
        )
    names = opt.as_names(classes) or list(words or ())
    if not names and not output.exists():
        raise WrongUsage('Give the classes: --classes "a,b,c".')
    if output.suffix != ".csv":
        raise WrongUsage(f"--output must end with .csv. Got {str(output)!r}.")
    clf = setup.classifier(seed, names)
    check_target(output, [file])
    check_target(output.with_suffix(".skipped.csv"), [file])
    rows = take_inputs(read(file, Format.said(*said)), fields_of([shape], text_column))
    from fewshot.extras import need

    need("starlette", "fewshot label needs")
    need("uvicorn", "fewshot label needs")
    from fewshot.pages.label_page import label_page, open_session
    from fewshot.serving.server import serve

    session = open_session(rows, names, output, clf, seed=seed, data=repr(str(file)))
    for one in session.notes:
        note(one)
    page = label_page(session)

    def say(url: str) -> None:
        address = url + page.path
        if as_json:
            typer.echo(json.dumps({"url": address, "labels": str(output), "rows": len(rows)}, ensure_ascii=False))
        else:
            typer.echo(f"{len(rows)} rows, {_count(session.labels())} with a label: {address}")
        if open_page:
            webbrowser.open(address)

    try:
        serve(page.app, port=port, ready=say)
        _say_end(output, _count(session.labels()), as_json)  # before the end of a lesson is waited for
    finally:
        session.close()


def _say_end(output: Path, n: int, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"labels": str(output), "labelled": n}, ensure_ascii=False))
    elif n:
        typer.echo(f"{n} labels in {output}: fewshot fit {output} --save DIR, or the same command to go on.")
    else:
        typer.echo("No label was given.")


def _count(labels: list[str | None]) -> int:
    return sum(one is not None for one in labels)
