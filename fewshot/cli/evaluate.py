"""The commands that judge: evaluate, compare and learning-curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewshot.cli import options as opt
from fewshot.cli.app import AsJson, WrongUsage, command
from fewshot.cli.data import (
    Data,
    Source,
    check_share,
    check_standard_input,
    fields_of,
    read_beside,
    read_labelled,
    take_inputs,
)
from fewshot.cli.formats import Format
from fewshot.cli.judged import check_errors, save_errors
from fewshot.cli.learning import Lesson, load_kept
from fewshot.cli.setups import Setup, check_unlabelled, make_setups
from fewshot.cli.writing import check_picture, check_result
from fewshot.files import replace_when_done, save_text

if TYPE_CHECKING:
    from fewshot.classifier import Classifier
    from fewshot.evaluation import LearningCurve
    from fewshot.evaluation.tables import Result

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file of labelled rows.")]
Test = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Another file of labelled rows, to test on. The rows of FILE are then for learning."
    ),
]
HeldOut = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="The share of the rows of FILE to test on, such as 0.5. Both parts have the same shares of the classes.",
    ),
]
_METRICS = ("accuracy", "macro-F1", "log loss", "Brier")  # by which classifiers are compared
_ORDERED = ("quadratic kappa", "level MAE", "expected level MAE", "RPS")  # and those of ordered classes
_METRIC = f"The metric to compare by: {', '.join(_METRICS)}. For ordered classes also {', '.join(_ORDERED)}."
Errors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        help="A file for the rows with a wrong prediction, those with the highest probability first: .csv, .tsv, "
        ".json or .jsonl, each also with .gz or .zst, or .parquet.",
    ),
]
_SHOTS = (
    "The number of labelled rows of each class to learn from. They are drawn at random, by --seed. 0 means the class "
    "names alone. Default: all rows."
)


@command(
    "fewshot evaluate labelled.csv --held-out 0.5",
    "fewshot evaluate labelled.csv --shots 0",
    "fewshot evaluate labelled.csv --classifier tickets --output result.json",
    "fewshot evaluate train.csv --test test.csv --shots 8 --json",
    "fewshot evaluate labelled.csv --held-out 0.5 --errors wrong.csv",
    "fewshot evaluate reviews.tsv --held-out 0.5 --model embedded:masked --template sst2/it_was --strategy readout",
    "fewshot evaluate mail.csv --held-out 0.5 --model HuggingFaceTB/SmolLM2-360M --strategy 'prompting(shots=4)'",
)
def evaluate(
    file: File,
    *,
    test: Test = None,
    held_out: HeldOut = None,
    unlabelled: opt.Unlabelled = None,
    classifier: opt.Kept = None,
    follow_paths: opt.FollowPaths = False,
    options: opt.SetupOptions,
    shots: Annotated[int | None, typer.Option(metavar="N", min=0, help=_SHOTS)] = None,
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    output: opt.Result = None,
    errors: Errors = None,
    seed: opt.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a classifier on rows from which it did not learn.

    It prints accuracy, macro-F1, log loss, Brier score and calibration error, each with a 95 % bootstrap interval. It
    also prints precision, recall and F1 of each class, and which classes are confused. If the template says that its
    classes are ordered, it adds quadratic-weighted kappa, errors of the level and the ranked probability score.

    With --shots 0 nothing is learned, so all rows are for testing, unless --test or --held-out is given. A saved
    --classifier is also tested on all rows. --json prints the result as Evaluation.from_json reads it, and --output
    writes it into a file.

    --errors writes each row with a wrong prediction: its number in the file (from 0), its text, the true and the
    predicted class with their probabilities, and the labelled examples that are most similar.
    """
    setup = Setup(**options._asdict(), shots=shots)
    source = Source(file, test, held_out, *columns, seed, Format.said(*said))
    check_result(output, [file, test, unlabelled])
    if errors is not None:
        check_errors(errors, [one for one in (file, test, unlabelled, output) if one is not None])
    if classifier is not None:
        _check_kept(setup, source, unlabelled)
        clf = load_kept(classifier, follow_paths).clf
        learned, tested = f"kept in {classifier}", _tested([clf], source)
    else:
        given, tested, more = _rows({"": setup}, source, unlabelled)
        clf = _fitted(setup, given, tested, more, seed=seed)
        learned = _learned(setup, clf, given, more)
    from fewshot.evaluation import evaluate as measure

    result = measure(clf, tested.X, tested.y, random_state=seed)
    if errors is not None:
        save_errors(errors, result, tested)
    _show(result, output, as_json, f"{learned}\n{result}")


@command(
    "fewshot compare labelled.csv --held-out 0.5 --shots 0,8",
    "fewshot compare reviews.csv --held-out 0.5 --model embedded:masked --template sst2/it_was --template mine.jinja",
    "fewshot compare train.csv --test test.csv --model FacebookAI/roberta-base --model roberta-large --shots 16",
    "fewshot compare labelled.csv --classifier tickets --classifier tickets-2",
    "fewshot compare mail.csv --held-out 0.5 --metric 'log loss' --with 'vectors: strategy=embedding' \\",
    "    --with \"four shown: model=HuggingFaceTB/SmolLM2-360M strategy='prompting(shots=4)'\"",
)
def compare(
    file: File,
    *,
    test: Test = None,
    held_out: HeldOut = None,
    unlabelled: opt.Unlabelled = None,
    options: opt.SetupsOptions,
    shots: Annotated[list[str] | None, typer.Option(metavar="N,N,...", help=_SHOTS)] = None,
    with_: opt.With = None,
    classifier: Annotated[
        list[Path] | None,
        typer.Option(
            "--classifier",
            metavar="DIR",
            help="A saved classifier: the folder that fewshot fit or .save() wrote. Repeatable.",
        ),
    ] = None,
    follow_paths: opt.FollowPaths = False,
    metric: Annotated[str, typer.Option(metavar="NAME", help=_METRIC)] = "accuracy",
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    output: opt.Result = None,
    seed: opt.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say which of several classifiers is better.

    There are three ways to say which classifiers. Give --model, --template, --strategy or --shots several times: every
    combination is one classifier, and its name says what differs. Or describe each classifier with its own --with. Or
    give --classifier DIR several times: these are saved classifiers, named after their folders and tested on all rows.

    All classifiers are tested on the same rows, and on the same resamples of them. So each difference has an interval.
    --json prints the result as Comparison.from_json reads it.
    """
    named = make_setups(options.repeated(opt.as_shots(shots)), options.words, with_)
    kept = {one.resolve().name: one for one in classifier or ()}
    if classifier:
        given: dict[str, Any] = {
            "--model": options.model,
            "--template": options.template,
            "--strategy": options.strategy,
        }
        given |= {"--words": options.words, "--with": with_, "--shots": shots, "--unlabelled": unlabelled}
        _refuse_beside_kept({**given, "--held-out": held_out, "--test": test})
        if len(kept) < len(classifier):
            raise WrongUsage(
                "Two folders of --classifier have the same name: rename one, since the results are listed by these "
                "names."
            )
    if len(kept or named) < 2:
        raise WrongUsage(
            "There is one classifier, and nothing to compare it with. Repeat --model, --template, --strategy or "
            "--classifier, give several --shots 0,8, or name each: --with 'NAME: key=value ...'."
        )
    if metric not in (*_METRICS, *_ORDERED):
        raise WrongUsage(f"--metric must be one of {', '.join((*_METRICS, *_ORDERED))}. Got {metric!r}.")
    source = Source(file, test, held_out, *columns, seed, Format.said(*said))
    check_result(output, [file, test, unlabelled])
    if kept:
        clfs = {name: load_kept(folder, follow_paths).clf for name, folder in kept.items()}
        tested = _tested(list(clfs.values()), source)
        learned = "\n".join(f"{name}: kept in {folder}" for name, folder in kept.items())
    else:
        rows, tested, more = _rows(named, source, unlabelled)
        clfs = {name: _fitted(setup, rows, tested, more, seed=seed) for name, setup in named.items()}
        learned = "\n".join(f"{name}: {_learned(setup, clfs[name], rows, more)}" for name, setup in named.items())
    from fewshot.evaluation import compare as measure
    from fewshot.evaluation.tables import printed

    result = measure(clfs, tested.X, tested.y, metric=metric, random_state=seed)
    values = printed(result.values, ["", result.metric, "low", "high"])
    _show(result, output, as_json, f"{learned}\n\n{values}\n\n{result}")


@command(
    "fewshot learning-curve labelled.csv --picture curve.png",
    "fewshot learning-curve labelled.csv --shots 0,4,16 --draws 3 --strategy embedding --strategy auto",
    "fewshot learning-curve reviews.csv --model embedded:masked --template sst2/it_was --strategy readout --json",
)
def learning_curve(
    file: File,
    *,
    shots: Annotated[
        list[str],
        typer.Option(
            metavar="N,N,...", help="The numbers of labelled rows of each class. 0 means the class names alone."
        ),
    ] = ["0,2,4,8,16,32"],  # noqa: B006 - typer reads the default from here
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file for the picture of the curve: .png, .pdf or .svg.")
    ] = None,
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="How many times the labelled rows are drawn.")] = 5,
    held_out: Annotated[float, typer.Option(metavar="SHARE", help="The share of the rows to test on.")] = 0.5,
    options: opt.SetupsOptions,
    with_: opt.With = None,
    columns: opt.ColumnOptions,
    said: opt.FormatOptions,
    output: opt.Result = None,
    seed: opt.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show how much more labelled rows would help.

    It prints each metric for each number of labelled rows, as mean and standard deviation over several random draws of
    these rows. Give --model, --template or --strategy several times to compare classifiers, as with fewshot compare.
    All of them learn from the same draws. --json prints the result as LearningCurve.from_json reads it.
    """
    named = make_setups(options.repeated(), options.words, with_)
    sizes = opt.as_shots(shots)
    check_share(held_out)
    check_result(output, [file])
    if picture is not None:  # before anything is computed
        from fewshot.plotting.axes import need_matplotlib

        check_picture(picture, [file])
        need_matplotlib()
    for setup in named.values():
        setup.check(max(sizes, default=0))
    data = read_labelled(file, [setup.parts()[1] for setup in named.values()], *columns, Format.said(*said))
    from fewshot.evaluation import learning_curve as measure

    classes = sorted(set(data.y))
    clfs = {name: setup.classifier(seed, classes) for name, setup in named.items()}
    result = measure(clfs, data.X, data.y, shots=sizes, draws=draws, test_size=held_out, random_state=seed)
    if picture is not None:
        _draw(result, picture)
    _show(result, output, as_json, str(result))


def _show(result: Result, output: Path | None, as_json: bool, said: str) -> None:
    """Print a result, and keep it where it was asked for."""
    if output is not None:
        save_text(output, result.to_json() + "\n")
    typer.echo(result.to_json() if as_json else said)


def _check_kept(setup: Setup, source: Source, unlabelled: Path | None) -> None:
    """Refuse beside a kept classifier what would only tell how to make one, or what to learn from."""
    lesson = Lesson(setup, (), None, unlabelled, source.text_column, source.label_column, 0, source.form)
    lesson.check_unused("--classifier", labelled=True)
    _refuse_beside_kept({"--shots": setup.shots, "--held-out": source.share, "--test": source.test})


def _refuse_beside_kept(given: Mapping[str, Any]) -> None:
    """Refuse options that a kept classifier, which is tested on all rows, has no use for."""
    used = [name for name, value in given.items() if value is not None]
    if used:
        raise WrongUsage(f"--classifier tests a fitted classifier on all rows of FILE: leave out {', '.join(used)}.")


def _tested(clfs: Sequence[Classifier], source: Source) -> Data:
    """All rows, with the classes as the classifiers have them: those of a file are text."""
    shapes = [clf.template_ for clf in clfs]
    data = read_labelled(source.file, shapes, source.text_column, source.label_column, source.form)
    own = {str(name): name for clf in clfs for name in clf.classes_.tolist()}
    return Data(data.X, [own.get(str(name), str(name)) for name in data.y])


def _draw(result: LearningCurve, picture: Path) -> None:
    from matplotlib.figure import Figure

    from fewshot.plotting import LearningCurveDisplay

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    LearningCurveDisplay.from_results(result, ax=figure.add_subplot())
    with replace_when_done(picture) as new:
        figure.savefig(new, dpi=150, format=picture.suffix[1:].lower())


def _rows(named: Mapping[str, Setup], source: Source, unlabelled: Path | None) -> tuple[Data, Data, list[Any]]:
    """The rows to learn from, those to test on, and those without labels."""
    for setup in named.values():
        setup.check(unlabelled=unlabelled is not None)
    check_unlabelled(unlabelled, map(_learns_unlabelled, named.values()))
    source.check(learns=any(setup.shots != 0 for setup in named.values()))
    shapes = [setup.parts()[1] for setup in named.values()]
    check_standard_input(source.file, source.test, unlabelled)
    from fewshot.evaluation.tables import need_pandas

    need_pandas()  # now, and not when all is computed
    fields = fields_of(shapes, source.text_column)
    return *source.read(shapes), [] if unlabelled is None else take_inputs(read_beside(unlabelled, source.form), fields)


def _learns_unlabelled(setup: Setup) -> bool:
    return setup.learns_unlabelled(beside_labels=setup.shots != 0)


def _fitted(setup: Setup, given: Data, tested: Data, more: list[Any], *, seed: int) -> Classifier:
    own = more if _learns_unlabelled(setup) else []
    if setup.shots == 0:
        classes = sorted({*given.y, *tested.y})
        choices = getattr(setup.parts()[1], "choices", None)
        if choices is not None:  # the classes are numbers: as many as there are fields, or else all up to the largest
            classes = list(range(max(len(choices) if isinstance(choices, tuple) else 2, classes[-1] + 1)))
        return setup.zero_shot(seed, classes, own)
    drawn = given.drawn(setup.shots, seed)
    return setup.fitted(seed, drawn.X, drawn.y, own)


def _learned(setup: Setup, clf: Classifier, given: Data, more: list[Any]) -> str:
    """What it learned from, and what was chosen where there was a choice."""
    if setup.shots == 0:
        rows = "no rows"
    else:
        rows = f"{len(given.y) if setup.shots is None else setup.shots * len(set(given.y))} rows"
    if more and _learns_unlabelled(setup):
        rows += f" and {len(more)} without labels"
    return f"learned from {rows}" + (f"; chosen: {clf.report_.chosen}" if clf.report_ is not None else "")
