"""A fitted classifier as an answerer: it answers where the options of a question are its classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from fewshot.conformal import ConformalClassifier
from fewshot.errors import FewshotError, InputError, UnsupportedError
from fewshot.inputs import Row
from fewshot.models.remote.wire import Asked
from fewshot.prompts.pending import Pending
from fewshot.questionnaire import answered, pending_of, unfrozen
from fewshot.serving.answerers import Answer, Answers, Job, tokens_read

__all__ = ["Fitted"]


class Fitted:
    """A fitted classifier.

    Parameters
    ----------
    clf : Classifier, or a classifier of texts around one

    Raises
    ------
    UnsupportedError
        When it gives a text several labels, or takes its choices from each row.
    """

    by: Literal["fitted", "zero-shot"] = "fitted"

    def __init__(self, clf: Any) -> None:
        clf = unfrozen(clf.classifier_ if isinstance(clf, ConformalClassifier) else clf)
        if getattr(clf, "multi_label_", False):
            raise UnsupportedError(
                "The classifier was fitted for several labels a text, and a question has one answer: serve one "
                "classifier a label."
            )
        template = getattr(clf, "template_", None)
        if template is not None and template.choices is not None:
            raise UnsupportedError("The classifier takes its choices from each row: serve its model, which takes any.")
        self.clf = clf
        self.model = getattr(clf, "model_", clf)
        self._fields = () if template is None else template.fields
        self._columns = {_key(name): i for i, name in enumerate(clf.classes_.tolist())}

    def __str__(self) -> str:
        names = [str(name) for _, name in self._columns]
        return f"a fitted classifier of {', '.join(names[:6])}{', ...' * (len(names) > 6)}"

    def takes(self, asked: Asked) -> bool:
        """Whether the options are the classes, in whatever order; their descriptions may be any."""
        return set(map(_key, _values(asked))) == set(self._columns)

    def prepare(self, jobs: Sequence[Job]) -> Pending[Answers]:
        """Check the rows; all jobs are predicted at once, and a strategy that can wait lets others ask with it."""
        rows = [self._row(job) for job in jobs]
        read = [row if isinstance(row, FewshotError) else tokens_read(self.clf, row) for row in rows]
        good = [row for row, n in zip(rows, read, strict=True) if not isinstance(n, FewshotError)]
        pending = pending_of(self.clf, good) if good else None

        def finish(model: Any) -> Answers:
            clf = self.clf if pending is None else answered(self.clf, pending.finish(model))
            found = iter(clf.predict_proba(good) if good else ())
            return [
                n if isinstance(n, FewshotError) else Answer(next(found)[self._order(job.asked)], n)
                for job, n in zip(jobs, read, strict=True)
            ]

        return Pending(self.model, () if pending is None else pending.queries, finish)

    def _order(self, asked: Asked) -> list[int]:
        return [self._columns[_key(value)] for value in _values(asked)]

    def _row(self, job: Job) -> Row | FewshotError:
        """The state is the text of the one field, or an object that has every field."""
        if len(self._fields) < 2:
            return job.state
        try:
            found = json.loads(job.state)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not set(self._fields) <= set(found):
            return InputError(f"The state must be an object with the fields {', '.join(self._fields)}.")
        return {name: found[name] for name in self._fields}


def _values(asked: Asked) -> list[Any]:
    return [option.label if asked.type == "rating" else option.value for option in asked.options]


def _key(value: Any) -> tuple[bool, Any]:
    """What a class and an option are compared by: True is not the text "True", and a number is its own name."""
    return isinstance(value, bool), value if isinstance(value, bool | str) else str(value)
