"""From options to classifiers: what is built, and under which names it is compared."""

from __future__ import annotations

import ast
import inspect
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.cli.app import WrongUsage
from fewshot.cli.options import NAMES, as_shots, as_template, as_words
from fewshot.errors import InputError
from fewshot.labels import are_numbers
from fewshot.strategies import STRATEGIES

if TYPE_CHECKING:
    from fewshot.classifier import Classifier
    from fewshot.task.template import Template

__all__ = ["Setup", "as_strategy", "check_unlabelled", "make_setups"]

_CALIBRATIONS = ("Batch", "Contextual", "DomainContext", "PMI")
#: And what are parameters of strategies.
_CALLABLE = {name.lower(): name for name in (*STRATEGIES, "LoRA", *_CALIBRATIONS)}


def as_strategy(text: str | None) -> Any:
    """A strategy from what would be written in Python, the name in any case; nothing of it is executed."""
    if text is None:
        return None
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        node = ast.Constant(None)
    call = ast.Call(node, [], []) if isinstance(node, ast.Name) else node
    made = _made(call, text) if isinstance(call, ast.Call) else None
    if type(made).__name__.lower() not in NAMES:
        raise WrongUsage(_expected(text))
    return made


def _expected(text: str) -> str:
    return (
        f"--strategy must be one of {', '.join(NAMES)}, or one of them with parameters, 'prompting(shots=4)'. Got "
        f"{text!r:.200}."
    )


def _made(call: ast.Call, text: str) -> Any:
    import fewshot
    from fewshot import calibration

    name = _CALLABLE.get(call.func.id.lower()) if isinstance(call.func, ast.Name) else None
    if name is None:
        raise WrongUsage(_expected(text))
    kind = getattr(calibration if name in _CALIBRATIONS else fewshot, name)
    try:
        given = {str(one.arg): _value(one.value, text) for one in call.keywords if one.arg}
        return kind(*[_value(one, text) for one in call.args], **given)
    except TypeError as error:
        known = ", ".join(inspect.signature(kind).parameters)
        raise WrongUsage(
            f"--strategy {text!r}: a parameter is unknown or missing. {name} takes {known or 'no parameters'}."
        ) from error


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call):
        return _made(node, text)
    if isinstance(node, ast.Name):  # a shell has quotes enough
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise WrongUsage(f"--strategy {text!r}: a parameter must be a number, a word or a strategy.") from error


@dataclass(frozen=True)
class Setup:
    """One classifier, as the command line describes it; shots None are all rows."""

    model: str | None = None
    template: str | None = None
    strategy: str | None = None
    shots: int | None = None
    words: str | None = None

    def check(self, shots: int | None = None, *, unlabelled: bool = False) -> None:
        """Refuse what can't be meant, before a file is read."""
        as_words(self.words)
        strategy = as_strategy(self.strategy)
        if getattr(strategy, "takes_unlabelled", False) and not unlabelled:
            raise WrongUsage(
                f"--strategy {self.strategy!r} learns from rows without labels: give --unlabelled FILE to classify, "
                "evaluate or compare."
            )
        size = self.shots if shots is None else shots
        shows_none = getattr(strategy, "only_shows", False) and not strategy.shots
        if size and shows_none and not _calibrates_on_texts(strategy):
            raise WrongUsage(
                f"--shots {size} would change nothing, since --strategy {self.strategy!r} shows the model no labelled "
                f"row. Say how many it shows: --strategy '{type(strategy).__name__.lower()}(shots=4)'."
            )

    def named(self, option: str) -> str:
        """What it is called where classifiers differ by that option."""
        value = getattr(self, option)
        if option == "shots":
            return f"{value} shots"
        return repr(value) if "{{" in value else str(value)

    def parts(self) -> tuple[Any, Template | None, Any]:
        """The template and label words, all classes being strings, as those in a file are."""
        template = as_template(self.template)
        words: Any = as_words(self.words)
        if words is None and template is not None and template.words is not None:
            words = {str(name): own for name, own in template.words.items()}
        return words, template, as_strategy(self.strategy)

    def classifier(self, seed: int, classes: Sequence[Any] = ()) -> Classifier:
        """The classifier, not fitted."""
        from fewshot.classifier import Classifier

        words, template, strategy = self.parts()
        if words is None and are_numbers(classes):
            example = ",".join(f"{name}=..." for name in list(classes)[:2])
            raise InputError(
                f"The classes {list(classes)[:5]} are numbers, not names that a model could know. Give their words: "
                f"--words {example}"
            )
        return Classifier(self.model, template, words, strategy, random_state=seed)

    def learns_unlabelled(self, beside_labels: bool) -> bool:
        """Whether rows without labels teach it something, beside labelled rows or without any."""
        strategy = as_strategy(self.strategy)
        if getattr(strategy, "takes_unlabelled", False):
            return True
        return not beside_labels and _calibrates_on_texts(strategy)

    def fitted(self, seed: int, X: Sequence[Any], y: Sequence[Any], unlabelled: Sequence[Any] = ()) -> Classifier:
        """The classifier, fitted on labelled rows and on rows without labels."""
        clf = self.classifier(seed, sorted(set(y)))
        return clf.fit([*X, *unlabelled], [*y, *[None] * len(unlabelled)])

    def zero_shot(self, seed: int, classes: Sequence[Any], unlabelled: Sequence[Any] = ()) -> Classifier:
        """The classifier, fitted on the names of the classes and on rows without labels."""
        clf = self.classifier(seed, classes)
        if not unlabelled:
            return clf.fit(None, classes or None)
        if classes and getattr(clf.template, "choices", None) is None:
            from fewshot.task.verbalizer import as_verbalizer

            named = as_verbalizer(clf.verbalizer, classes)  # every class must have words
            if clf.verbalizer is None:
                clf.set_params(verbalizer=named)
        return clf.fit(unlabelled)


def _calibrates_on_texts(strategy: Any) -> bool:
    from fewshot.calibration import as_prior

    calibration = getattr(strategy, "calibration", None)
    return calibration is not None and as_prior(calibration).uses_texts


def check_unlabelled(path: Path | None, learns: Iterable[bool]) -> None:
    """Refuse rows without labels that nobody would learn from, before a file is read."""
    if path is not None and not any(learns):
        raise WrongUsage(
            "--unlabelled needs a strategy that learns from rows without labels: --strategy distillation. If no row "
            "has a label, a strategy such as 'prompting(calibration=batch)' works too."
        )


_KEYS = [one.name for one in fields(Setup)]


def make_setups(
    options: Mapping[str, Sequence[Any] | None], words: str | None, named: Sequence[str] | None
) -> dict[str, Setup]:
    """Every combination of the repeated options, called by what varies, and those that were named one by one."""
    varied = [name for name, values in options.items() if len(values or ()) > 1]
    found: list[tuple[str, Setup]] = []
    if varied or not named:
        for values in product(*(values or [None] for values in options.values())):
            setup = Setup(words=words, **dict(zip(options, values, strict=True)))
            found.append((", ".join(setup.named(one) for one in varied) or "classifier", setup))
    given_once = {name: values[0] for name, values in options.items() if values and name not in varied}
    once = Setup(words=words, **given_once)
    found += [_named(text, once) for text in named or ()]
    twice = {name for i, (name, _) in enumerate(found) if name in dict(found[:i])}
    if twice:
        raise WrongUsage(f"Two of the classifiers are called {min(twice)!r}: drop one, or name it with --with.")
    return dict(found)


def _named(text: str, base: Setup) -> tuple[str, Setup]:
    name, colon, rest = text.partition(":")
    try:
        pairs = [pair.partition("=") for pair in shlex.split(rest)]
    except ValueError:  # a quotation mark is left open
        pairs = [("", "", "")]
    values: dict[str, Any] = {key: value for key, _, value in pairs}
    if not colon or not name.strip() or not values.keys() <= set(_KEYS) or not all(value for _, _, value in pairs):
        raise WrongUsage(
            f"--with must be 'NAME: key=value ...', with keys among {', '.join(_KEYS)}, and values with blanks in "
            f"quotes. Got {text!r}."
        )
    if "shots" in values:
        sizes = as_shots([values["shots"]])
        if len(sizes) != 1:
            raise WrongUsage(f"--with takes one number of shots. Got {text!r}.")
        values["shots"] = sizes[0]
    return name.strip(), replace(base, **values)
