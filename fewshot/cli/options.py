"""Options that several commands share, and the values that are read from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from fewshot.cli.app import WrongUsage
from fewshot.errors import InputError
from fewshot.strategies import STRATEGIES

if TYPE_CHECKING:
    from fewshot.task import template as _template

MODEL = (
    "The model: its name on the Hugging Face hub, its folder, a GGUF file, embedded:masked or embedded:causal. "
    "Default: a sentence encoder that needs no network."
)
_TEMPLATE = (
    "The template: a name from the gallery (fewshot templates lists them), a .jinja file, or the text of a template "
    "itself, with {{ label }} where the class goes."
)
#: Strategies as the command line writes them; a tuning is a parameter of one.
NAMES = sorted(name.lower() for name in STRATEGIES if name != "Contrastive")
_STRATEGY = (
    f"How labelled rows are used: {', '.join(NAMES[:-1])} or {NAMES[-1]}. Parameters are written as in Python: "
    "'prompting(shots=4)'."
)

Labels = Annotated[str | None, typer.Option(metavar="A,B,...", help="The names of the classes, separated by commas.")]
Words = Annotated[
    str | None,
    typer.Option(
        metavar="A=X,B=Y,...",
        help="The words that stand for the classes in a prompt, such as 0=negative,1=positive. Needed where the names "
        "of the classes mean nothing to a model. A class may have several words: 1=good|great.",
    ),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file of rows without labels, from which the classifier also learns. It needs --strategy distillation. "
        "If no row has a label, a strategy with a calibration works too, such as 'prompting(calibration=batch)'.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="The seed of all random numbers.")]
Result = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Also write the result as JSON into this .json file.")
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--classifier", metavar="DIR", help="A saved classifier: the folder that fewshot fit or .save() wrote."
    ),
]
FollowPaths = Annotated[
    bool, typer.Option("--follow-paths", help="Allow what was saved to load its model from another local folder.")
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="SETUP",
        help="One classifier with a name: 'NAME: key=value ...'. The keys are model, template, strategy, shots and "
        "words. A key that is left out has the value of the option, if that is given once. Repeatable.",
    ),
]


class SetupOptions(NamedTuple):
    """How one classifier is made."""

    model: Annotated[str | None, typer.Option(metavar="NAME", help=MODEL)] = None
    template: Annotated[str | None, typer.Option(metavar="TEMPLATE", help=_TEMPLATE)] = None
    words: Words = None
    strategy: Annotated[str | None, typer.Option(metavar="NAME", help=_STRATEGY)] = None


class SetupsOptions(NamedTuple):
    """How several classifiers are made; each option may be given several times."""

    model: Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"{MODEL} Repeatable.")] = None
    template: Annotated[list[str] | None, typer.Option(metavar="TEMPLATE", help=f"{_TEMPLATE} Repeatable.")] = None
    words: Words = None
    strategy: Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"{_STRATEGY} Repeatable.")] = None

    def repeated(self, shots: Sequence[int] = ()) -> dict[str, Sequence[Any] | None]:
        """What the classifiers may differ in."""
        return {"model": self.model, "template": self.template, "strategy": self.strategy, "shots": shots}


class ColumnOptions(NamedTuple):
    """Where text and class stand in a row."""

    text_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The column with the text. Default: the field of the template, usually 'text'."
        ),
    ] = None
    label_column: Annotated[str, typer.Option(metavar="NAME", help="The column with the class.")] = "label"


class FormatOptions(NamedTuple):
    """What a file is, where its name does not say; `Format.said` checks it."""

    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="The format of FILE, if its name does not show it: csv, tsv, txt (one text per line), json, jsonl or "
            "parquet.",
        ),
    ] = None
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="The character between two cells, such as ';' or tab. Default: detected among , ; tab and |.",
        ),
    ] = None
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="The text encoding, such as cp1252. Default: UTF-8.")
    ] = None
    no_header: Annotated[
        bool,
        typer.Option("--no-header", help="FILE has no header line. Its columns are called column_1, column_2, ..."),
    ] = False


def as_names(labels: str | None) -> list[str]:
    """The names in a list that is separated by commas."""
    try:
        (labels or "").encode()
    except UnicodeEncodeError as error:
        raise WrongUsage(f"Names must be text in the terminal's own encoding. Got {labels!r}.") from error
    return [name.strip() for name in (labels or "").split(",") if name.strip()]


def as_words(words: str | None) -> dict[str, list[str]] | None:
    """Label words by class."""
    if words is None:
        return None
    pairs = [entry.partition("=") for entry in as_names(words)]
    found = {name.strip(): [word.strip() for word in own.split("|")] for name, _, own in pairs}
    if not pairs or len(found) < len(pairs) or not all(own.strip() for _, _, own in pairs):
        raise WrongUsage(f"--words must give every class its word, once: 0=negative,1=positive. Got {words!r}.")
    return found


def as_shots(shots: Sequence[str] | None) -> list[int]:
    """Numbers of rows, each once, from options such as "0,8"."""
    entries = [entry for one in shots or () for entry in as_names(one)]
    if any(not re.fullmatch(r"\d{1,9}", entry) for entry in entries):
        raise WrongUsage(
            f"--shots must be whole numbers of at least 0, such as 0,8. Got {','.join(shots or ())!r:.80}."
        )
    return [int(entry) for entry in entries]


def as_template(template: str | None) -> _template.Template | None:
    r"""A template from a file, its source (in which ``\n`` is a line break) or the gallery."""
    from fewshot.task import gallery
    from fewshot.task.template import Template

    if template is None:
        return None
    if template.endswith(".jinja"):
        if not Path(template).is_file():
            raise InputError(f"There is no file {template!r}: check the name of the template.")
        return Template.from_file(template)
    return gallery.template_of(template.replace("\\n", "\n"))
