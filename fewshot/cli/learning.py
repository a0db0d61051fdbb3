"""What classify and fit learn from: options and files in, a fitted classifier out; or one that was kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot import __version__
from fewshot.cli.app import WrongUsage
from fewshot.cli.data import by_number, classes_of, fields_of, read_beside, take_inputs
from fewshot.cli.formats import Format
from fewshot.cli.setups import Setup, check_unlabelled
from fewshot.cli.table import Table
from fewshot.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from fewshot.classifier import Classifier
    from fewshot.conformal import ConformalClassifier

__all__ = ["Lesson", "Ready", "load_kept"]


@dataclass(frozen=True)
class Lesson:
    """What a classifier learns from, as the command line says it."""

    setup: Setup
    names: Sequence[str]
    examples: Path | None
    unlabelled: Path | None
    text_column: str | None
    label_column: str
    seed: int
    form: Format

    def check(self) -> None:
        """Refuse what can't be meant, before a file is read."""
        self.setup.check(unlabelled=self.unlabelled is not None)
        check_unlabelled(self.unlabelled, [self.setup.learns_unlabelled(beside_labels=self.examples is not None)])
        known, shape, _ = self.setup.parts()
        if not self.names and not self.examples and not known and not by_number([shape]):
            raise WrongUsage("Give the classes: --labels a,b,c, or --examples FILE with a label column.")
        if self.examples is None and self.label_column != "label":
            raise WrongUsage(
                "--label-column is for labelled examples, and none are given: give a file of them, or leave it out."
            )

    def check_unused(self, option: str, labelled: bool = False) -> None:
        """Refuse beside a classifier that is there what would only tell how to make one."""
        given = {
            "--labels": self.names,
            "--examples": self.examples,
            "--unlabelled": self.unlabelled,
            "--model": self.setup.model,
            "--template": self.setup.template,
            "--words": self.setup.words,
            "--strategy": self.setup.strategy,
            "--label-column": self.label_column != "label" and not labelled,
            "--seed": self.seed,
        }
        used = [name for name, value in given.items() if value]
        if used:
            raise WrongUsage(f"{option} gives a fitted classifier: leave out {', '.join(used)}.")

    def fitted(
        self,
        tables: Mapping[Path, Callable[[], Table]],
        texts: Callable[[], Sequence[Any]] = tuple,
        skip_empty: bool = False,
    ) -> Classifier:
        """The classifier; the tables are those of files that are open already, the texts those that it is for."""
        shape = self.setup.parts()[1]
        fields, numbers = fields_of([shape], self.text_column), by_number([shape])
        more: list[Any] = []
        if self.unlabelled is not None:
            found = take_inputs(read_beside(self.unlabelled, self.form, tables), fields, empty=skip_empty)
            more = [text for text in found if text is not None]
        if self.examples is None:  # choices in a list are counted over the rows
            return self.setup.zero_shot(self.seed, self.names, more or (texts() if numbers else []))
        shown = read_beside(self.examples, self.form, tables)
        y = classes_of(shown, self.label_column, numbers)
        extra = set(self.names) - set(map(str, y))
        if extra:
            raise InputError(
                f"The labels {sorted(extra)} have no example in {str(self.examples)!r}: correct --labels, or add such "
                "rows."
            )
        return self.setup.fitted(self.seed, take_inputs(shown, fields), y, more)

    def with_sets(self, tables: Mapping[Path, Callable[[], Table]], alpha: float, method: str) -> ConformalClassifier:
        """The classifier, and what makes sets of classes of its probabilities: half the labelled rows are for that."""
        from fewshot.conformal import ConformalClassifier

        if self.examples is None or self.unlabelled is not None:
            raise WrongUsage("--alpha calibrates on labelled rows: give EXAMPLES, and leave --unlabelled out.")
        shape = self.setup.parts()[1]
        shown = read_beside(self.examples, self.form, tables)
        y = classes_of(shown, self.label_column, by_number([shape]))
        clf = self.setup.classifier(self.seed, sorted(set(y)))
        made = ConformalClassifier(clf, alpha, method=method, random_state=self.seed)
        return made.fit(take_inputs(shown, fields_of([shape], self.text_column)), y)

    def identity(self) -> dict[str, Any]:
        """All that what it predicts depends on, but for the model, in values of JSON."""
        words, shape, _ = self.setup.parts()
        return {
            "version": __version__,
            "labels": list(self.names),
            "examples": _digest(self.examples),
            "unlabelled": _digest(self.unlabelled),
            "label column": self.label_column,
            "model": self.setup.model,
            "template": None if shape is None else shape.source,
            "words": words,
            "strategy": self.setup.strategy,
            "seed": self.seed,
        }


def _digest(path: Path | None) -> str | None:
    if path is None or not path.is_file():  # a pipe can be read once
        return None if path is None else str(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Ready:
    """A fitted classifier, and where it was fitted with sets of classes what makes them of its probabilities."""

    clf: Classifier
    conformal: ConformalClassifier | None = None

    @classmethod
    def of(cls, made: Any) -> Ready:
        """From a classifier of either class."""
        from fewshot.questionnaire import unfrozen

        inner = getattr(made, "classifier_", None)
        return cls(made) if inner is None else cls(unfrozen(inner), made)


def load_kept(folder: Path, follow_paths: bool) -> Ready:
    """A classifier that was kept in a folder, and gives a text one label."""
    from fewshot.classifier import Classifier
    from fewshot.questionnaire import Questionnaire
    from fewshot.serving.kept import kept_class

    kind = kept_class(folder) or Classifier  # which says what is missing
    if kind is Questionnaire:
        raise UnsupportedError(
            f"{str(folder)!r} holds a Questionnaire, and on the command line a text has one answer: use "
            "Questionnaire.load() in Python, or fewshot serve."
        )
    made = Ready.of(kind.load(folder, follow_paths=follow_paths))
    if made.clf.multi_label_:
        raise UnsupportedError(
            f"{str(folder)!r} was fitted for several labels a text, and on the command line a text has one: use "
            "Classifier.load() in Python."
        )
    return made
