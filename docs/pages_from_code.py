"""What the site makes at each build: the API reference, the page of the command line and the contents.

`docs/api.md` and `docs/cli.md` hold a line such as ``<!-- made: names -->``, which is replaced when Sphinx reads them.
The contents are the links of `docs/index.md`, section by section, and those of `benchmarks/README.md` to its results.
The reference has a page a name of ``fewshot.__all__``, written to docs/api/, which git ignores.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

import fewshot
from fewshot import _HOME, _MODULES  # type: ignore[attr-defined]
from fewshot.cli import app as commands

if TYPE_CHECKING:  # so that the tests need no Sphinx
    from sphinx.application import Sphinx

FOLDER = Path(__file__).resolve().parent / "api"
#: The groups of the reference, and which rooms and modules of the package each shows, in this order.
GROUPS = {
    "Estimators": ("classifier", "questionnaire", "tagger", "extractor", "writer", "conformal"),
    "Strategies": ("strategies",),
    "What is asked": ("task",),
    "Models": ("models",),
    "Training": ("training", "heads"),
    "Labelling": ("labelling", "pages"),
    "Checks of rows and templates": ("linting",),
    "Evaluation": ("evaluation",),
    "Deciding and keeping": ("deciding", "estimating", "exporting", "persistence"),
    "Errors and warnings": ("errors",),
}
#: What calls return, and what a model of one's own may have; their names are imported from where they are.
TYPES = (
    "fewshot.deciding.Actions",
    "fewshot.display.answered.Answered",
    "fewshot.display.explanation.Explanation",
    "fewshot.display.marked.Marked",
    "fewshot.display.preview.Preview",
    "fewshot.evaluation.templates.TemplateRanking",
    "fewshot.linting.answers.AnswerLintReport",
    "fewshot.linting.report.LintReport",
    "fewshot.linting.spans.SpanLintReport",
    "fewshot.models.base.Generator",
    "fewshot.models.base.Reader",
    "fewshot.models.base.Window",
    "fewshot.strategies.comparison.Report",
)
#: Bases of which members are not shown: scikit-learn and Python explain them.
FOREIGN = (
    *("BaseEstimator", "ClassifierMixin", "TransformerMixin", "_SetOutputMixin", "_MetadataRequester"),
    *("Exception", "BaseException", "tuple", "str", "dict", "list", "Sequence", "Protocol", "Generic", "ABC", "object"),
)
#: Public modules. The server's is not among the names of the package, since it takes an extra.
MODULES = [*_MODULES, "serving"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", lambda _: write_reference())
    app.connect("source-read", fill)
    app.connect("autodoc-skip-member", is_foreign)
    app.connect("missing-reference", find_public)
    app.connect("autodoc-process-signature", shorten_arrays)
    return {"parallel_read_safe": True}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made into the pages that have something made."""
    if page == "docs/index":
        source[0] = with_contents(source[0])
    elif page == "benchmarks/README":  # its results are one part of the contents, below it
        pages = {link.partition(" <")[2]: link for link in linked(source[0]) if " <results/" in link}
        source[0] += "\n" + contents(list(pages.values()))
    elif page == "docs/api":
        source[0] = source[0].replace("<!-- made: names -->", list_names())
    elif page == "docs/cli":
        source[0] = source[0].replace("<!-- made: commands -->", describe_commands())


def with_contents(index: str) -> str:
    """The first page, each section of it with its links as a part of the site's contents."""
    first, *sections = re.split(r"^## ", index, flags=re.MULTILINE)
    parts = [first, contents(linked(first))]
    for section in sections:
        caption = section.partition("\n")[0]
        parts.append(f"## {section.rstrip()}\n\n{contents(linked(section), f':caption: {caption}')}")
    return "\n".join(parts)


def linked(text: str) -> list[str]:
    """The pages and notebooks to which a text leads, with the words of the link as Sphinx has titles of contents."""
    return [f"{words} <{page}>" for words, page in re.findall(r"\[([^]]+)\]\(([^)#:]+)\.(?:md|ipynb)\)", text)]


def contents(pages: list[str], *options: str) -> str:
    """A part of the contents at the side of each page."""
    return "\n".join(["```{toctree}", ":hidden:", *options, "", *pages, "```", ""])


def find_public(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Lead from a bare name, or from where a class is defined, to the page of the public name.

    A type that has no page stays text in a signature; in a docstring it is a mistake.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    name = target.rpartition(".")[2] if target.startswith("fewshot.") else target
    domain = env.get_domain("py")
    homes = ("fewshot", *(f"fewshot.{module}" for module in MODULES), *(path.rpartition(".")[0] for path in TYPES))
    known = next((f"{home}.{name}" for home in homes if f"{home}.{name}" in domain.objects), None)
    if known is not None:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", known, node, content)
    return content if node.get("reftype") == "class" and is_inside(name) else None


def is_foreign(app: Sphinx, what: str, name: str, *_: Any) -> bool | None:
    """Leave out the methods with which scikit-learn routes metadata."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def shorten_arrays(app: Sphinx, what: str, *arguments: Any) -> tuple[str | None, str | None]:
    """Write ``ndarray[tuple[Any, ...], dtype[float64]]`` of a signature as ``ndarray``."""
    *_, signature, returned = arguments
    long = r"numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[[^\]]*\]\]"
    return tuple(text and re.sub(long, "numpy.ndarray", text) for text in (signature, returned))  # type: ignore[return-value]


def is_inside(name: str) -> bool:
    """Whether a module of the package has that name."""
    return any(name in vars(module) for key, module in sys.modules.items() if key.startswith("fewshot."))


# the reference


def write_reference() -> None:
    """Write a page for each public name and module."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for name in names():
        (FOLDER / f"{name}.md").write_text(page_of(f"fewshot.{name}", getattr(fewshot, name)), encoding="utf-8")
    for path in TYPES:
        (FOLDER / f"{path.rpartition('.')[2]}.md").write_text(page_of(path, get(path)), encoding="utf-8")
    for name in MODULES:
        (FOLDER / f"{name}.md").write_text(page_of_module(name), encoding="utf-8")


def names() -> list[str]:
    """The public names that are no module."""
    return [name for name in fewshot.__all__ if name not in MODULES]  # type: ignore[attr-defined]


def public_module(name: str) -> ModuleType:
    """The module of that public name."""
    return import_module(_MODULES.get(name, f"fewshot.{name}"))


def get(path: str) -> Any:
    """What is at that path."""
    home, _, name = path.rpartition(".")
    return getattr(import_module(home), name)


def page_of(path: str, thing: Any) -> str:
    """The page of one class or function."""
    return f"# {path.rpartition('.')[2]}\n\n{block([directive(path, thing)])}"


def page_of_module(name: str) -> str:
    """The page of a public module: its docstring, and all its names that the package itself does not have."""
    module = public_module(name)
    parts = [f".. py:module:: fewshot.{name}", inspect.getdoc(module) or ""]
    own = [part for part in module.__all__ if part not in fewshot.__all__]  # type: ignore[attr-defined]
    parts += [directive(f"fewshot.{name}.{part}", getattr(module, part)) for part in own]
    also = [part for part in module.__all__ if part not in own]
    if also:
        parts.append("Also here: " + ", ".join(f":py:obj:`fewshot.{part}`" for part in also) + ".")
    return f"# fewshot.{name}\n\n{block(parts)}"


def directive(path: str, thing: Any) -> str:
    """The autodoc directive that documents it."""
    if inspect.isclass(thing):
        stop = ", ".join(FOREIGN)
        return f".. autoclass:: {path}\n   :inherited-members: {stop}"
    return f".. {'autofunction' if callable(thing) else 'autodata'}:: {path}"


def block(parts: list[str]) -> str:
    """Parts in reStructuredText, as numpydoc writes it, for a page in Markdown."""
    return "````{eval-rst}\n.. py:currentmodule:: fewshot\n\n" + "\n\n".join(parts) + "\n````\n"


def list_names() -> str:
    """All names by group, each with the first line of its docstring."""
    groups = defaultdict(list)
    for name in names():
        room = _HOME[name].split(".")[1]
        group = next((title for title, rooms in GROUPS.items() if room in rooms), None)
        if group is None:
            raise LookupError(f"fewshot.{name} is in no group of the reference: add {room!r} to GROUPS")
        groups[group].append(name)
    lines = []
    for title in GROUPS:
        lines += table(title, {name: getattr(fewshot, name) for name in groups[title]})
    lines += table("Types of results and of models", {path.rpartition(".")[2]: get(path) for path in TYPES})
    return "\n".join([*lines, *table("Modules", {name: public_module(name) for name in MODULES})])


def table(title: str, things: dict[str, Any]) -> list[str]:
    """A section with a table of names, and their pages in the contents."""
    rows = [f"| [`{name}`](api/{name}.md) | {as_text(summary(thing))} |" for name, thing in sorted(things.items())]
    pages = [f"api/{name}" for name in sorted(things)]
    return [f"## {title}", "", "| name | what it is |", "|---|---|", *rows, "", contents(pages)]


def summary(thing: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


# the command line


def describe_commands() -> str:
    """Every command: what its help says, as a section."""
    root: Any = typer.main.get_command(commands)
    context = root.context_class(root, info_name="fewshot", **root.context_settings)
    parts = [prose(root.help), examples(root)]
    for name in root.list_commands(context):
        command = root.commands[name]
        parts.append(describe(command, command.context_class(command, info_name=name, parent=context)))
    return "\n".join(parts)


def describe(command: Any, context: Any) -> str:
    """One command: what it does, its usage, its parameters, examples."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"## {context.command_path}", "", prose(command.help), "", "```console", f"$ {usage}", "```", ""]
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            lines += [code(record[0]), f": {as_text(record[1])}", ""]
    return "\n".join([*lines, examples(command)])


def prose(text: str) -> str:
    """The paragraphs of a help."""
    return "\n\n".join(as_text(" ".join(part.split())) for part in inspect.cleandoc(text).split("\n\n"))


def examples(command: Any) -> str:
    """The examples under a help, as lines of a shell."""
    lines = [line[2:] for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    shown = [line if line.startswith(" ") else f"$ {line}" for line in lines]  # an indented line goes on with the last
    return "\n".join(["```console", *shown, "```", ""]) if lines else ""


def as_text(text: str) -> str:
    """Plain text for a page in Markdown: names in backticks and options become code, and other markup is escaped."""
    parts = re.split(r"(``[^`]+``|`[^`]+`|(?<!\S)--[\w-]+)", text)
    return "".join(part if part[:1] == "`" else code(part) if part[:2] == "--" else escape(part) for part in parts)


def code(text: str) -> str:
    """Text in backticks."""
    return f"`{text}`"


def escape(text: str) -> str:
    """Text of which no character is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text)
