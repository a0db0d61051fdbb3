"""The command line: demo, classify, lint and templates."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from fewshot.errors import FewshotError, InputError

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Few- and zero-shot text classification with pretrained transformers.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_CHUNK = 256  # rows between two steps of the progress bar


@app.command()
def demo(
    picture: Annotated[Path, typer.Option(help="Where the confusion matrix is saved.")] = Path("confusion_matrix.png"),
) -> None:
    """Classify 240 customer-support messages: from label names alone, then from 8 examples per class."""
    from fewshot.demo import run

    for line in run(picture):
        typer.echo(line)


@app.command()
def classify(  # noqa: PLR0917 - typer reads the options from the signature
    file: Annotated[Path, typer.Argument(help="CSV or JSON Lines (.jsonl) with one text per row.")],
    labels: Annotated[str | None, typer.Option(help="Class names, separated by commas.")] = None,
    examples: Annotated[
        Path | None, typer.Option(help="CSV or JSON Lines of labelled rows, with the text column and 'label'.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub name or folder; the offline default if left out.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Gallery name, a .jinja file, or source with {{ label }} in it.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text; by default the template's fields, or 'text'.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where the rows go, with 'prediction' and 'probability'; default: screen.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Add a prediction and its probability to every row of a file.

    Zero-shot:   fewshot classify mail.csv --labels billing,praise,bug
    Few-shot:    fewshot classify mail.csv --examples labelled.csv --output out.csv
    """
    from fewshot.classifier import Classifier

    if not labels and not examples:
        raise InputError("Give the classes: --labels a,b,c, or --examples FILE with a label column.")
    rows = _read(file)
    clf = Classifier(model, _template(template), random_state=seed)
    if examples:
        shown = _read(examples)
        clf.fit(_texts(shown, examples, text_column, clf), _column(shown, examples, "label"))
        extra = set(_names(labels)) - set(clf.classes_)
        if extra:
            raise InputError(f"The labels {sorted(extra)} have no example in {str(examples)!r}.")
    else:
        clf.fit(None, _names(labels))
    texts = _texts(rows, file, text_column, clf)
    with _written(output) as stream:
        write = _writer(stream, rows, (output or file).suffix)
        for start in _steps(len(texts)):
            probabilities = clf.predict_proba(texts[start : start + _CHUNK])
            for row, p in zip(rows[start : start + _CHUNK], probabilities, strict=True):
                write({**row, "prediction": str(clf.classes_[p.argmax()]), "probability": round(float(p.max()), 4)})


@app.command()
def lint(
    file: Annotated[str, typer.Argument(help="A .jinja file, or a gallery name.")],
    model: Annotated[
        str | None, typer.Option(help="Hub name or folder; without one, only the text is checked.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="CSV or JSON Lines (.jsonl) of rows to fill it with.")] = None,
    labels: Annotated[str | None, typer.Option(help="Class names, separated by commas.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a template before compute is spent; exit code 1 when there are errors.

    fewshot lint mail.jinja --model HuggingFaceTB/SmolLM2-360M --data mail.csv --labels billing,praise,bug
    """
    from fewshot.errors import TemplateError
    from fewshot.lint import lint, unparsed
    from fewshot.task import gallery
    from fewshot.task.template import Template
    from fewshot.task.verbalizer import as_verbalizer

    rows = None if data is None else _read(data)
    if not Path(file).is_file() and not file.endswith(".jinja"):
        template = gallery.get(file)
    elif not Path(file).is_file():
        raise InputError(f"There is no file {file!r}.")
    else:
        try:
            template = Template.from_file(file)
        except TemplateError as error:
            _report(unparsed(Path(file).name, error), as_json)
            return
    words = as_verbalizer(template.words, _names(labels)) if labels else None
    _report(lint(template, model, rows, words), as_json)


@app.command()
def templates(
    name: Annotated[str | None, typer.Argument(help="A template to show, or a task to list.")] = None,
) -> None:
    """List the gallery, or show one template."""
    from fewshot.task import gallery

    if name and "/" in name:
        typer.echo(gallery.get(name).source)
        return
    typer.echo(gallery.table(name))


def main() -> None:
    """Run the command line; expected errors end with one line and exit code 1."""
    try:
        app()
    except FewshotError as error:
        typer.echo(f"fewshot: {error}", err=True)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _report(report: Any, as_json: bool) -> None:
    typer.echo(report.to_json() if as_json else str(report))
    if not report.ok:
        raise typer.Exit(1)


def _names(labels: str | None) -> list[str]:
    return [name.strip() for name in (labels or "").split(",") if name.strip()]


def _template(template: str | None) -> Any:
    from fewshot.task.template import Template

    if template is not None and template.endswith(".jinja"):
        return Template.from_file(template)
    return None if template is None else template.replace("\\n", "\n")


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        source = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"The file {str(path)!r} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"The file {str(path)!r} is not UTF-8: byte {error.object[error.start]:#x} at {error.start}. "
            "Save it as UTF-8."
        ) from error
    rows = _json_lines(path, source) if path.suffix in (".jsonl", ".ndjson") else _csv(path, source)
    if not rows:
        raise InputError(f"The file {str(path)!r} holds no rows.")
    return rows


def _json_lines(path: Path, source: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(source.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{str(path)!r}, line {number}: not JSON: {error.msg}.") from error
            if not isinstance(row, dict):
                raise InputError(f"{str(path)!r}, line {number}: a row must be an object. Got {type(row).__name__}.")
            rows.append(row)
    return rows


def _csv(path: Path, source: str) -> list[dict[str, Any]]:
    if "\0" in source:
        raise InputError(f"The file {str(path)!r} is not CSV: it holds a NUL byte.")
    reader = csv.DictReader(source.splitlines(keepends=True), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{str(path)!r}, after line {reader.line_num}: not valid CSV: {error}.") from error
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise InputError(
                f"{str(path)!r}, row {i}: a row needs {len(reader.fieldnames or ())} columns, as the header has."
            )
    return rows


def _column(rows: list[dict[str, Any]], path: Path, name: str) -> list[Any]:
    for i, row in enumerate(rows):
        if name not in row:
            raise InputError(f"{str(path)!r}, row {i}: there is no column {name!r}; there are {', '.join(row)}.")
    return [row[name] for row in rows]


def _texts(rows: list[dict[str, Any]], path: Path, text_column: str | None, clf: Any) -> list[Any]:
    """The column of the text, or all columns for a template of several fields."""
    from fewshot.task.template import Template

    template = clf.template
    if isinstance(template, str):
        from fewshot.task import gallery

        template = Template(template) if "{{" in template else gallery.get(template)
    fields = template.fields if isinstance(template, Template) else ("text",)
    if text_column is None and len(fields) > 1:
        for name in fields:
            _column(rows, path, name)
        return rows
    return _column(rows, path, text_column or fields[0])


def _steps(n: int) -> Iterator[int]:
    from tqdm import tqdm

    with tqdm(total=n, desc="Classifying", unit=" rows", disable=None) as bar:
        for start in range(0, n, _CHUNK):
            yield start
            bar.update(min(_CHUNK, n - start))


@contextmanager
def _written(output: Path | None) -> Iterator[IO[str]]:
    """A stream that becomes the output file only when everything has been written."""
    if output is None:
        yield sys.stdout
        return
    if not output.parent.is_dir():
        raise InputError(f"The folder {str(output.parent)!r} does not exist.")
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _writer(stream: IO[str], rows: list[dict[str, Any]], suffix: str) -> Any:
    if suffix in (".jsonl", ".ndjson"):
        return lambda row: stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    columns: Mapping[str, None] = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(stream, [*columns, "prediction", "probability"], lineterminator="\n")
    writer.writeheader()
    return writer.writerow
