"""The commands that predict: demo and classify."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command, note
from fewshot.cli.data import check_standard_input, fields_of, take_inputs
from fewshot.cli.formats import Format, kind_of
from fewshot.cli.learning import Lesson, load_kept
from fewshot.cli.parquet import arrow_of
from fewshot.cli.part import Part, kept_part
from fewshot.cli.reading import one_text, read
from fewshot.cli.setups import Setup
from fewshot.cli.table import Table
from fewshot.cli.writing import (
    check_picture,
    check_rows_output,
    check_screen,
    is_plain,
    kind_of_output,
    lines_of,
    replace_when_done,
    save_rows,
    sweep,
)
from fewshot.errors import FewshotError, InputError

if TYPE_CHECKING:
    from fewshot.classifier import Classifier

_CHUNK = 256  # rows of a step, after which what is known is printed or kept
_SCREEN = {"txt": "csv", "parquet": "csv"}  # what rows are printed as, where not as what they came in


@command("fewshot demo", "fewshot demo --picture matrix.png", "fewshot demo --json")
def demo(
    *,
    picture: Annotated[Path, typer.Option(metavar="FILE", help="Where the confusion matrix is saved.")] = Path(
        "confusion_matrix.png"
    ),
    as_json: AsJson = False,
) -> None:
    """Show what it does, on 240 messages to customer support.

    They are classified from the names of the six classes alone, then from 8 examples per class. No network is needed.
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
    file: Annotated[str, typer.Argument(help="Rows to classify; - for standard input; or one text, in quotes.")],
    *,
    labels: opt.Labels = None,
    examples: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labelled rows to learn from; without them, zero-shot.")
    ] = None,
    unlabelled: opt.Unlabelled = None,
    classifier: opt.Kept = None,
    follow_paths: opt.FollowPaths = False,
    options: opt.SetupOptions,
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Pass over rows without text: their prediction is left blank.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the rows go: .csv, .tsv, .json or .jsonl, also as .gz, or .parquet. Default: the screen.",
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Before the names of the columns that are added: prediction, probability."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, where an earlier run has left FILE.part beside --output.")
    ] = False,
    seed: opt.Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Write each row as a line of JSON.")] = False,
) -> None:
    """Add a prediction and its probability to every row.

    Without labelled examples the classes come from --labels, from --words, or from a template that brings its label
    words. Where the rows bring their own choices, the prediction is the number of one, from 0. --unlabelled may name
    FILE itself: then the rows teach the classifier that classifies them. --classifier uses one that fewshot fit kept.

    Rows out are rows in, and no column of theirs is changed. What is done is kept in OUTPUT.part until all is: after a
    kill the same command goes on from there.
    """
    form, setup = Format.said(*said), Setup(**options._asdict())
    lesson = Lesson(setup, opt.as_names(labels), examples, unlabelled, *columns, seed, form)
    path = Path(file)
    output = None if output == Path("-") else output
    if restart and output is None:
        raise WrongUsage("--restart is for --output FILE, beside which an earlier run left what it had done.")
    _check_files(lesson, classifier, path, output, as_json)
    if classifier is None:
        lesson.check()
    table = _rows(file, form)
    names = _names(table, prefix)
    made = load_kept(classifier, follow_paths) if classifier else None
    texts = take_inputs(
        table, fields_of([made.template_ if made else setup.parts()[1]], columns.text_column), empty=skip_empty
    )
    _say_skipped(texts, table)
    if output is not None and kind_of_output(output) == "parquet":
        arrow_of(table)  # now, and not when all is computed

    def ready() -> Classifier:
        own = [text for text in texts if text is not None]
        return made if made else lesson.fitted({path: table}, own, skip_empty)

    if output is None or not is_plain(output):
        found = _steps_of(ready(), texts)
        if output is None:
            _print(table, names, "jsonl" if as_json else _SCREEN.get(table.kind, table.kind), found)
        else:
            save_rows(output, table, _added(names, [one for step in found for one in step]))
        return
    target = Path(os.path.realpath(output))
    run = lesson.identity() | {"input": table.digest, "format": repr(form), "classifier": _digest(classifier)}
    run |= {"step": _CHUNK, "text column": columns.text_column, "skip-empty": skip_empty}
    with kept_part(target, run, len(texts), restart=restart) as part:
        clf = ready()
        part.settle("model fingerprint", str(getattr(clf.model_, "fingerprint", "")))
        results = [one for step in _steps_of(clf, texts, part) for one in step]
        sweep(target)
        save_rows(target, table, _added(names, results))
        part.finished = True


def _check_files(lesson: Lesson, classifier: Path | None, path: Path, output: Path | None, as_json: bool) -> None:
    """Refuse what can't be meant of the files, before one is read."""
    if classifier is not None:
        lesson.check_unused("--classifier")
    beside = [one for one in (lesson.examples, lesson.unlabelled) if one is not None]
    check_standard_input(path, *(one for one in beside if one is not lesson.unlabelled or one != path))
    if output is None:
        check_screen([path, *beside])
        return
    if as_json and kind_of_output(output) != "jsonl":
        raise WrongUsage(f"--json writes lines of JSON, for which --output must end with .jsonl. Got {str(output)!r}.")
    check_rows_output(output, [path, *beside])


def _rows(file: str, form: Format) -> Table:
    """The rows of a file, or of a text that is given instead."""
    path = Path(file)
    if not file.strip():
        raise InputError(f"There is no text in {file!r}.")
    try:
        there = file == "-" or path.exists()
    except OSError:  # the name is too long for one
        there = False
    if there or kind_of(path)[0]:
        return read(path, form)
    if len(file.split()) < 2:
        raise InputError(
            f"There is no file {file!r}. If it is a text of one word: echo {file} | fewshot classify - --format txt ..."
        )
    if form != Format():
        raise WrongUsage(f"There is no file {file!r:.60}, and a text needs none of --format, --delimiter, --encoding.")
    return one_text(file)


def _names(table: Table, prefix: str | None) -> tuple[str, str]:
    """What the added columns are called, so that none of the rows' own is touched."""
    own = ("prediction", "probability")
    names = (f"{prefix or ''}{own[0]}", f"{prefix or ''}{own[1]}")
    taken = [name for name in names if name in table.columns]
    if not taken:
        return names
    if prefix is not None:
        raise InputError(f"{table.name!r} has a column {taken[0]!r} of its own: give another --prefix.")
    free, i = "fewshot_", 1
    while any(f"{free}{name}" in table.columns for name in own):
        i += 1
        free = f"fewshot{i}_"
    names = (f"{free}{own[0]}", f"{free}{own[1]}")
    note(
        f"{table.name!r} has a column {taken[0]!r} of its own, which stays: what is added is called {names[0]} and "
        f"{names[1]}. Choose with --prefix."
    )
    return names


def _say_skipped(texts: Sequence[Any], table: Table) -> None:
    rows = [i for i, text in enumerate(texts) if text is None]
    if rows:
        first = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        note(f"{len(rows)} of {len(texts)} rows of {table.name!r} have no text and get no prediction: {first}.")


def _digest(classifier: Path | None) -> str | None:
    """What is in the folder of a kept classifier."""
    sums = None if classifier is None else classifier / "checksums.json"
    return hashlib.sha256(sums.read_bytes()).hexdigest() if sums and sums.is_file() else str(classifier)


def _added(names: Sequence[str], results: Sequence[Any]) -> dict[str, list[Any]]:
    return {name: [one[i] for one in results] for i, name in enumerate(names)}


def _print(table: Table, names: Sequence[str], kind: str, steps: Iterator[list[Any]]) -> None:
    """Write rows to the screen as they come."""

    def rows() -> Iterator[dict[str, Any]]:
        i = 0
        for step in steps:
            for found in step:
                yield {**table.rows[i], **dict(zip(names, found, strict=True))}
                i += 1
            sys.stdout.flush()

    for line in lines_of(kind, table, [*table.columns, *names], rows()):
        sys.stdout.write(line)


def _steps_of(clf: Classifier, texts: Sequence[Any], part: Part | None = None) -> Iterator[list[Any]]:
    """The prediction and its probability of each row, step by step; those in the part are not computed again."""
    for number, start in enumerate(_steps(len(texts))):
        if part is not None and number < len(part.steps):
            yield part.steps[number]
            continue
        found = _step(clf, texts[start : start + _CHUNK], start)
        if part is not None:
            part.add(found)
        yield found


def _step(clf: Classifier, texts: Sequence[Any], start: int) -> list[Any]:
    asked = [text for text in texts if text is not None]
    try:
        probabilities = iter(clf.predict_proba(asked) if asked else ())
    except FewshotError as error:
        if start:  # messages count from the first row of the step
            error.args = (f"Counting from row {start}: {error}",)
        raise
    found: list[Any] = []
    for text in texts:
        p = None if text is None else next(probabilities)
        found.append([None, None] if p is None else [str(clf.classes_[p.argmax()]), round(float(p.max()), 4)])
    return found


def _steps(n: int) -> Iterator[int]:
    from tqdm import tqdm

    with tqdm(total=n, desc="Classifying", unit=" rows", disable=None) as bar:
        for start in range(0, n, _CHUNK):
            yield start
            bar.update(min(_CHUNK, n - start))
