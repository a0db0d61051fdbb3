"""The command line: a module for each group of commands; the heavy libraries are imported by the command that runs."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import suppress
from typing import Any

import typer

from fewshot.cli import (  # noqa: F401 - each registers its commands
    classify,
    evaluate,
    extract,
    fit,
    label,
    play,
    serve,
    show,
    tag,
    templates,
    write,
)
from fewshot.cli.app import WrongUsage, app, one_line_warnings
from fewshot.errors import FewshotError, VerbalizerError

__all__ = ["app", "main"]

_UsageError: Any = typer.BadParameter.__mro__[1]  # typer does not export it


def main() -> None:
    """Run the command line; expected errors end with one line, and exit code 1, or 2 for wrong usage."""
    with warnings.catch_warnings():
        one_line_warnings()
        _write_utf8()
        raise SystemExit(_run())


def _write_utf8() -> None:
    """Rows go out as UTF-8, as into files; only what a terminal shows follows the terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")


def _run() -> int:
    try:
        code = app(prog_name="fewshot", standalone_mode=False)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        return _silenced(1)
    except _UsageError as error:
        return _wrong(error)
    except WrongUsage as error:
        return _failed(str(error), 2)
    except VerbalizerError as error:
        return _failed(f"{error} On the command line: --words 'class=word, other=word'.", 1)
    except (FewshotError, ImportError) as error:  # a library that is not installed: the message says how to get it
        return _failed(str(error), 1)
    except OSError as error:  # of the machine, such as a full disk
        if error.filename is None:
            _silenced(1)
        return _failed(f"{error.filename or 'The output'}: {error.strerror or error}.", 1)
    except UnicodeEncodeError as error:
        return _failed(
            f"The terminal can't show {error.object[error.start]!r}: write into a file, or set its encoding.", 1
        )
    except MemoryError:
        return _failed("There is not enough memory: give fewer rows at once, or a smaller model.", 1)


def _silenced(code: int) -> int:
    """Let nothing more go where nothing more can be written."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _failed(message: str, code: int) -> int:
    typer.echo(f"fewshot: {message}", err=True)
    return code


def _wrong(error: Any) -> int:
    """What the parser found, and where to read on; without any argument, the help itself."""
    message, context = error.format_message(), error.ctx
    if "\n" in message:
        typer.echo(message, err=True)
        return 2
    where = "fewshot" if context is None else context.command_path
    return _failed(f"{message.rstrip('.')}. See {where} --help.", 2)
