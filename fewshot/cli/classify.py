"""The commands that predict: demo and classify."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command
from fewshot.cli.data import by_number, classes_of, fields_of, inputs, unlabelled_rows
from fewshot.cli.files import check_output, read, writer, written
from fewshot.cli.setups import Setup, check_unlabelled
from fewshot.errors import InputError

_CHUNK = 256  # rows between two steps of the progress bar


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
    from fewshot.demo import run

    found: dict[str, Any] = {}
    for line, facts in run(picture):
        found |= facts
        if not as_json:
            typer.echo(line)
    if as_json:
        typer.echo(json.dumps(found, indent=1))


@command(
    "fewshot classify mail.csv --labels billing,praise,bug",
    "fewshot classify mail.csv --examples labelled.csv --output out.csv",
    "fewshot classify mail.csv --examples labelled.csv --model HuggingFaceTB/SmolLM2-360M --template mail.jinja",
    "fewshot classify reviews.tsv --template sst2/it_was --model FacebookAI/roberta-base --json",
    "fewshot classify reviews.csv --template sst2/it_was --model embedded:masked --strategy distillation \\",
    "    --unlabelled reviews.csv",
)
def classify(
    file: Annotated[Path, typer.Argument(help="Rows to classify.")],
    *,
    labels: opt.Labels = None,
    examples: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labelled rows to learn from; without them, zero-shot.")
    ] = None,
    unlabelled: opt.Unlabelled = None,
    model: opt.Model = None,
    template: opt.Template = None,
    words: opt.Words = None,
    strategy: opt.Strategy = None,
    text_column: opt.TextColumn = None,
    label_column: opt.LabelColumn = "label",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the rows go: .csv, .tsv or .jsonl. Default: the screen.")
    ] = None,
    seed: opt.Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Write each row as a line of JSON.")] = False,
) -> None:
    """Add a prediction and its probability to every row.

    Without labelled examples the classes come from --labels, from --words, or from a template that brings its label
    words. Where the rows bring their own choices, the prediction is the number of one, from 0. --unlabelled may name
    FILE itself: then the rows teach the classifier that classifies them.
    """
    setup = Setup(model, template, strategy, None, words)
    setup.check(unlabelled=unlabelled is not None)
    check_unlabelled(unlabelled, [setup.learns_unlabelled(beside_labels=examples is not None)])
    check_output(output)
    names = opt.as_names(labels)
    known, shape, _ = setup.parts()
    choices = by_number([shape])
    if not names and not examples and not known and not choices:
        raise WrongUsage("Give the classes: --labels a,b,c, or --examples FILE with a label column.")
    rows = read(file)
    fields = fields_of([shape], text_column)
    texts = inputs(rows, file, fields)
    more = unlabelled_rows(unlabelled, [shape], text_column)
    if examples:
        shown = read(examples)
        y = classes_of(shown, examples, label_column, choices)
        extra = set(names) - set(map(str, y))
        if extra:
            raise InputError(f"The labels {sorted(extra)} have no example in {str(examples)!r}.")
        clf = setup.fitted(seed, inputs(shown, examples, fields), y, more)
    else:  # choices in a list are counted over the rows
        clf = setup.zero_shot(seed, names, more or (texts if choices else []))
    suffix = ".jsonl" if as_json else (output or file).suffix
    with written(output) as stream:
        write = writer(stream, rows, ["prediction", "probability"], suffix)
        for start in _steps(len(texts)):
            probabilities = clf.predict_proba(texts[start : start + _CHUNK])
            for row, p in zip(rows[start : start + _CHUNK], probabilities, strict=True):
                write({**row, "prediction": str(clf.classes_[p.argmax()]), "probability": round(float(p.max()), 4)})


def _steps(n: int) -> Iterator[int]:
    from tqdm import tqdm

    with tqdm(total=n, desc="Classifying", unit=" rows", disable=None) as bar:
        for start in range(0, n, _CHUNK):
            yield start
            bar.update(min(_CHUNK, n - start))
