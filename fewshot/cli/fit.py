"""The command that keeps what it learned: fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command
from fewshot.cli.data import check_standard_input
from fewshot.cli.formats import Format
from fewshot.cli.learning import Lesson, Ready
from fewshot.cli.reading import read
from fewshot.cli.setups import Setup
from fewshot.cli.writing import try_writing
from fewshot.errors import InputError


@command(
    "fewshot fit labelled.csv --save tickets",
    "fewshot fit labelled.csv --save tickets --strategy embedding --overwrite",
    "fewshot fit labelled.csv --save tickets --alpha 0.1",
    "fewshot fit --labels billing,praise,bug --save tickets --json",
    "fewshot fit labelled.tsv --save reviews --model FacebookAI/roberta-base --template sst2/it_was",
)
def fit(
    examples: Annotated[
        Path | None, typer.Argument(metavar="EXAMPLES", help="A file of labelled rows. Without it, give --labels.")
    ] = None,
    *,
    save: Annotated[Path, typer.Option(metavar="DIR", help="The folder to save the classifier in.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a classifier that is already in this folder.")
    ] = False,
    labels: opt.Labels = None,
    unlabelled: opt.Unlabelled = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Also predict a set of classes for each text (conformal prediction). SHARE is the share of the texts "
            "whose set may lack the true class, such as 0.1. Half of the labelled rows are used to calibrate the sets.",
        ),
    ] = None,
    sets: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The method that makes the sets of --alpha: lac (the default), aps or ordinal-aps."
        ),
    ] = None,
    options: opt.SetupOptions,
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    seed: opt.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a classifier, and save it in a folder.

    Use the folder with fewshot classify --classifier and fewshot evaluate --classifier, or in Python with
    Classifier.load(). If the command fails, it leaves no half-written folder.
    """
    form, setup = Format.said(*said), Setup(**options._asdict())
    lesson = Lesson(setup, opt.as_names(labels), examples, unlabelled, *columns, seed, form)
    lesson.check()
    check_standard_input(examples, unlabelled)
    _check_folder(save, overwrite)
    if sets is not None and alpha is None:
        raise WrongUsage(
            "--sets names the method for the sets of --alpha: give --alpha too, such as --alpha 0.1, or leave it out."
        )
    tables = {} if examples is None else {examples: lambda: read(examples, form)}
    if alpha is None:
        made = Ready.of(lesson.fitted(tables))
    else:
        made = Ready.of(lesson.with_sets(tables, alpha, sets or "lac"))
    clf = made.clf
    (made.conformal or clf).save(save, overwrite=overwrite)
    classes = [str(name) for name in clf.classes_]
    chosen = None if clf.report_ is None else str(clf.report_.chosen)
    if as_json:
        found = {"classifier": str(save), "classes": classes, "rows": clf.n_texts_, "chosen": chosen}
        if made.conformal is not None:
            found |= {"alpha": alpha, "calibration rows": made.conformal.n_calibration_}
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    calibrated = f"; sets calibrated on {made.conformal.n_calibration_} more" if made.conformal else ""
    typer.echo(f"learned from {clf.n_texts_ or 'no'} rows" + (f"; chosen: {chosen}" if chosen else "") + calibrated)
    typer.echo(f"{len(classes)} classes, kept in {save}: fewshot classify FILE --classifier {save}")


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that could not be written, before anything is learned."""
    try:
        if folder.exists() and not overwrite:
            raise InputError(
                f"{str(folder)!r} exists already: give another folder with --save, or --overwrite to replace the "
                "classifier in it."
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--save {str(folder)!r} is a file: give the name of a folder.")
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        try_writing(folder.absolute())
    except OSError as error:
        raise InputError(f"--save {str(folder)!r} can't be made: {error.strerror or error}.") from error
