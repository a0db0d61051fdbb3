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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows without labels; - for standard input.")],
    *,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Class names, separated by commas; more can be added on the page. Default: those of the labels in "
            "--output, or of the template.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the labels go, and from where an earlier page goes on: .csv.")
    ] = Path("labels.csv"),
    options: opt.SetupOptions,
    text_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the text. Default: the template's own field, mostly 'text'."),
    ] = None,
    said: opt.FormatOptions,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 is any that is free.")] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    seed: opt.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Label texts on a page, with a key press each.

    The page is served on this machine, while a classifier learns in the background. It shows the text whose label would
    help the classifier most, and the prediction for it. At first the classifier knows only the names of the classes; it
    learns again after every few labels. One text in five is drawn by chance, and the accuracy is estimated by these.

    Every label is written to disk at once. If the page is killed, the same command continues where it stopped. What is
    skipped or of none of the classes is kept beside the labels, in a file of OUTPUT's name with .skipped.csv. The
    address has a secret in it, and only this machine is answered. Without --strategy it is one that is fitted in
    seconds; fewshot fit takes its time. Ctrl-C ends it.
    """
    setup = Setup(**options._asdict())
    setup.check()
    words, shape, _ = setup.parts()
    if by_number([shape]):
        raise WrongUsage("Rows that bring their own choices can't be labelled here: leave the template out.")
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

    need("starlette", "fewshot label takes")
    need("uvicorn", "fewshot label takes")
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
