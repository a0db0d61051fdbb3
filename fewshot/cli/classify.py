"""The commands that predict: demo and classify."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli import predicting
from fewshot.cli.app import AsJson, WrongUsage, command
from fewshot.cli.data import by_number, check_standard_input, fields_of
from fewshot.cli.formats import Format, kind_of
from fewshot.cli.learning import Lesson, Ready, load_kept
from fewshot.cli.part import kept_part
from fewshot.cli.predicting import Columns, Survey
from fewshot.cli.reading import Rows, joined, one_text, open_rows
from fewshot.cli.setups import Setup
from fewshot.cli.writing import (
    Added,
    check_picture,
    check_rows_output,
    check_screen,
    kind_of_output,
    lines_of,
    save_rows,
    sweep,
    with_columns,
)
from fewshot.errors import InputError
from fewshot.files import is_plain, replace_when_done

_SCREEN = {"txt": "csv", "parquet": "csv"}  # what rows are printed as, where not as what they came in


@command("fewshot demo", "fewshot demo --picture matrix.png", "fewshot demo --json")
def demo(
    *,
    picture: Annotated[
        Path, typer.Option(metavar="FILE", help="The file for the picture of the confusion matrix.")
    ] = Path("confusion_matrix.png"),
    as_json: AsJson = False,
) -> None:
    """Show what fewshot does, on 240 support messages.

    First the messages are classified from the names of the six classes alone, then from 8 examples per class. This
    needs no network.
    """
    from fewshot.cli.demo import run

    check_picture(picture)
    found: dict[str, Any] = {}
    for line, facts in run(picture, replace_when_done):
        found |= facts
        if not as_json:
            typer.echo(line)
    if as_json:
        typer.echo(json.dumps(found, indent=1))


@command(
    "fewshot classify mail.csv --labels billing,praise,bug",
    'fewshot classify "I was charged twice" --labels billing,praise,bug',
    "fewshot classify mail.csv --examples labelled.csv --output out.csv",
    "fewshot classify mail.csv --classifier tickets --output out.parquet",
    "fewshot classify - --format txt --labels billing,praise,bug",
    "fewshot classify mail.csv --examples labelled.csv --model HuggingFaceTB/SmolLM2-360M --template mail.jinja",
    "fewshot classify reviews.tsv --template sst2/it_was --model FacebookAI/roberta-base --json",
    "fewshot classify reviews.csv --template sst2/it_was --model embedded:masked --strategy distillation \\",
    "    --unlabelled reviews.csv",
)
def classify(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="One or more files of rows to classify, with the same columns. - is standard input. Or one text, in "
            "quotes.",
        ),
    ],
    *,
    labels: opt.Labels = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A file of labelled rows to learn from. Without it, the classifier is zero-shot."
        ),
    ] = None,
    unlabelled: opt.Unlabelled = None,
    classifier: opt.Kept = None,
    follow_paths: opt.FollowPaths = False,
    options: opt.SetupOptions,
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Accept rows without text. Their prediction stays empty.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file to write: .csv, .tsv, .json or .jsonl, each also with .gz or .zst, or .parquet. Default: "
            "standard output.",
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A text before the names of the new columns, prediction and probability."),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Add a column for each class with its probability: probability_NAME."),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin again. Discard the finished rows that an earlier run left in OUTPUT.part."
        ),
    ] = False,
    seed: opt.Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Write each row as one line of JSON.")] = False,
) -> None:
    """Add a prediction and its probability to every row.

    Without labelled examples, the classes come from --labels, from --words, or from the label words of the template. If
    each row has its own choices, the prediction is the number of a choice, from 0. --unlabelled may name FILE itself:
    then the classifier also learns from the rows that it classifies. --classifier uses a saved classifier.

    The output has all rows of the input, with unchanged columns. Files of any size are read in parts, and twice before
    the first row is classified. Finished rows are kept in OUTPUT.part until all are done. If the command is killed, the
    same command continues from there.
    """
    form, setup = Format.said(*said), Setup(**options._asdict())
    lesson = Lesson(setup, opt.as_names(labels), examples, unlabelled, *columns, seed, form)
    output = None if output == Path("-") else output
    if restart and output is None:
        raise WrongUsage(
            "--restart discards the rows that an earlier run kept beside --output: give --output FILE, or leave it out."
        )
    paths = _paths(files)
    _check_files(lesson, classifier, paths, output, as_json)
    if classifier is None:
        lesson.check()
    rows = _rows(files, paths, form)
    made = load_kept(classifier, follow_paths) if classifier else None
    shape = made.clf.template_ if made else setup.parts()[1]
    if probabilities and by_number([shape]):
        raise WrongUsage(
            "--probabilities adds a column for each class, and here each row has its own choices: leave it out."
        )
    typed = output is not None and kind_of_output(output) == "parquet"
    survey = Survey(rows, fields_of([shape], columns.text_column), empty=skip_empty, typed=typed)
    sets = made is not None and made.conformal is not None
    taken = Columns.beside(survey.columns, rows.name, prefix, sets=sets)  # now, and not when all has been learned

    def ready() -> tuple[Ready, Columns]:
        tables = {paths[0]: rows.table} if len(paths) == 1 else {}
        done = made or Ready(lesson.fitted(tables, survey.texts, skip_empty))
        if not probabilities:
            return done, taken
        classes = [str(one) for one in done.clf.classes_]
        return done, Columns.beside(survey.columns, rows.name, prefix, classes, sets=sets)

    if output is None:
        done, names = ready()
        kind = "jsonl" if as_json else _SCREEN.get(rows.kind, rows.kind)
        found = _flushed(with_columns(survey.added(done, names, as_json=as_json)))
        for line in lines_of(kind, rows, [*survey.columns, *names.names], found):
            sys.stdout.write(line)
        sys.stdout.flush()
        return

    def save(target: Path, names: Columns, found: Iterator[Added]) -> None:
        all_columns = [*survey.columns, *names.names]
        save_rows(target, rows, all_columns, found, schema=survey.schema, types=names.types)

    if not is_plain(output):
        done, names = ready()
        save(output, names, survey.added(done, names, as_json=as_json))
        return
    from fewshot.persistence.folder import digest_of

    target = Path(os.path.realpath(output))
    kept = classifier and digest_of(classifier)
    run = lesson.identity() | {"input": rows.digest(), "format": repr(form), "classifier": kept}
    run |= {"step": predicting.STEP, "text column": columns.text_column, "skip-empty": skip_empty}
    run |= {"probabilities": probabilities}
    with kept_part(target, run, survey.n_rows, restart=restart) as part:
        done, names = ready()
        part.settle("model fingerprint", str(getattr(done.clf.model_, "fingerprint", "")))
        survey.complete(part, done, names, as_json=as_json)
        sweep(target)
        save(target, names, survey.kept(part, names))
        part.finished = True


def _paths(files: Sequence[str]) -> list[Path]:
    """The files, and those that a pattern with * or ? stands for; or the one text that is given instead."""
    found: list[Path] = []
    for one in files:
        if one == "-" or not glob.has_magic(one) or _is_there(one) or len(one.split()) > 1:
            found.append(Path(one))
            continue
        matching = sorted(map(Path, glob.glob(one, recursive=True)))  # noqa: PTH207 - it may be absolute
        if not matching:
            raise InputError(f"No file matches the pattern {one!r}: check it, or give the name of a file.")
        found += matching
    twice = next((str(one) for i, one in enumerate(found) if one in found[:i]), None)
    if twice is not None:
        raise InputError(f"The file {twice!r} is given twice: give each file once.")
    return found


def _check_files(
    lesson: Lesson, classifier: Path | None, paths: Sequence[Path], output: Path | None, as_json: bool
) -> None:
    """Refuse what can't be meant of the files, before one is read."""
    if classifier is not None:
        lesson.check_unused("--classifier")
    beside = [one for one in (lesson.examples, lesson.unlabelled) if one is not None]
    check_standard_input(*paths, *(one for one in beside if one is not lesson.unlabelled or [one] != paths))
    if output is None:
        check_screen([*paths, *beside])
        return
    if as_json and kind_of_output(output) != "jsonl":
        raise WrongUsage(f"--json writes lines of JSON, for which --output must end with .jsonl. Got {str(output)!r}.")
    check_rows_output(output, [*paths, *beside])


def _rows(files: Sequence[str], paths: Sequence[Path], form: Format) -> Rows:
    """The rows of files, or of a text that is given instead."""
    if len(files) == 1 and not files[0].strip():
        raise InputError(f"The text to classify is blank. Got {files[0]!r}: give a text, or the name of a file.")
    if len(paths) > 1 or str(paths[0]) == "-" or _is_there(str(paths[0])) or kind_of(paths[0])[0]:
        return joined([open_rows(path, form) for path in paths])
    file = files[0]
    if len(file.split()) < 2:
        raise InputError(
            f"There is no file {file!r}. If it is a text of one word: echo {file} | fewshot classify - --format txt ..."
        )
    if form != Format():
        raise WrongUsage(
            f"There is no file {file!r:.60}. If it is a text, leave out --format, --delimiter, --encoding and "
            "--no-header."
        )
    return one_text(file)


def _is_there(file: str) -> bool:
    try:
        return Path(file).exists()
    except OSError:  # the name is too long for one
        return False


def _flushed(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows for the screen, which shows what there is before more is computed."""
    for i, row in enumerate(rows):
        if i % predicting.STEP == 0:
            sys.stdout.flush()
        yield row
