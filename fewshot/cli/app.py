"""The application that commands register with, and its kind of error."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from fewshot import __version__
from fewshot.errors import FewshotError, FewshotWarning

__all__ = ["AsJson", "WrongUsage", "app", "command", "note", "one_line_warnings", "shorten_message"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class WrongUsage(FewshotError):
    """The command line itself can't be meant like this, whatever the files hold; exit code 2."""


def note(message: str) -> None:
    """Say on standard error what was decided for the user."""
    typer.echo(f"fewshot: note: {message}", err=True)


def shorten_message(text: str, width: int = 40) -> str:
    """A name for a message, in quotes where it would not read as one word."""
    cut = text if len(text) <= width else text[: width - 3] + "..."
    return cut if cut.isprintable() and cut == cut.strip() and cut else repr(cut)


def _examples(lines: tuple[str, ...]) -> str:
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])  # \b: these lines are not wrapped


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    epilog=_examples(
        (
            "fewshot classify mail.csv --labels billing,praise,bug",
            'fewshot label mail.csv --classes "billing,praise,bug"',
            "fewshot evaluate labelled.csv --held-out 0.5",
            "fewshot compare labelled.csv --held-out 0.5 --shots 0,8",
            "fewshot lint mail.jinja --data mail.csv",
        )
    ),
)


def command(*examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose help ends with examples; a parameter may be a NamedTuple of options."""
    return lambda function: app.command(epilog=_examples(examples))(_spread(function))


def _spread(function: Callable[..., None]) -> Callable[..., None]:
    """The function with each option of its records as a parameter, since typer knows no records."""
    params: list[inspect.Parameter] = []
    records = {}
    for param in inspect.signature(function, eval_str=True).parameters.values():
        record = param.annotation
        if not hasattr(record, "_fields"):
            params.append(param)
            continue
        records[param.name] = record
        for name, hint in get_type_hints(record, include_extras=True).items():
            params.append(param.replace(name=name, annotation=hint, default=record._field_defaults[name]))

    @functools.wraps(function)
    def spread(**options: Any) -> None:
        made = {key: record(*map(options.pop, record._fields)) for key, record in records.items()}
        function(**options, **made)

    spread.__signature__ = inspect.Signature(params)  # type: ignore[attr-defined]
    spread.__annotations__ = {param.name: param.annotation for param in params}
    return spread


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of fewshot.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Few- and zero-shot text classification with pretrained transformers.

    Files may be .csv, .tsv, .txt (one text per line), .json (an array of objects), .jsonl (one object per line) or
    .parquet. All but .parquet may be compressed: .csv.gz, .csv.zst. The name - means standard input.

    The text is in the column 'text', and the class in the column 'label'. --text-column and --label-column name other
    columns. A template with several fields reads the columns of the same names.

    Exit codes: 0 success, 1 something failed, 2 wrong usage.
    """


def one_line_warnings() -> None:
    """Let the library's warnings read like its errors, without the line of source that gave rise to them."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, FewshotWarning):
            typer.echo(f"fewshot: warning: {message}", err=True)
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = show
