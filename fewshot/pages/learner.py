"""Learning in the background: one thread, the newest labels, and what it found for the page to show."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fewshot.classifier import Classifier
from fewshot.errors import FewshotError
from fewshot.inputs import Row
from fewshot.labelling.picking import Pick, next_to_label
from fewshot.models.base import is_language_model
from fewshot.models.loading import load
from fewshot.strategies.embedding import Embedding
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.readout import Readout
from fewshot.task import gallery

__all__ = ["Learned", "Learner"]

logger = logging.getLogger(__name__)

_PICKS = 30  # rows that are chosen at once: enough for a person until the next lesson is done
#: Rows among which is chosen, drawn by chance from more: what a model reads within some ten seconds on a laptop.
_POOL, _POOL_ASKED = 2000, 100  # of an encoder, which reads a text once; of a language model, which is asked each time
_LAST = 3  # seconds that a lesson may go on when the page ends; nothing of it is kept

Guess = list[tuple[str, float]]


class Learned(NamedTuple):
    """What a classifier makes of the labels.

    ``picks`` are the rows to label next. ``guesses`` are, for these and some more rows, the classes with their
    probabilities, the most probable first. ``n_labels`` of 0: it knows the names of the classes alone.
    """

    n_labels: int = 0
    picks: Sequence[Pick] = ()
    guesses: Mapping[int, Guess] = {}
    error: str = ""


class _Wish(NamedTuple):
    classes: list[str]
    labels: dict[int, str]
    without: set[int]
    soon: list[int]


class Learner:
    """A thread that fits a classifier on the newest labels, whenever it is asked to.

    Nobody waits for it: ``latest`` is what it found last. What can't be learned is said in ``latest.error``, and the
    next labels are tried again.

    Parameters
    ----------
    clf : Classifier
        What is fitted, again and again, as a new one. Without a strategy of its own it gets one that is fitted in
        seconds: `Embedding` on an encoder; on a language model `Prompting`, and with labels `Readout`.
    rows : sequence
        The texts, or fields by name.
    seed : int
        Of the draw of the rows among which is chosen.
    """

    def __init__(self, clf: Classifier, rows: Sequence[Row], seed: int = 0) -> None:
        self._clf, self._rows, self._seed = clf, rows, seed
        self._drawn = np.random.RandomState(seed).permutation(len(rows))
        self.latest = Learned()
        self._wish: _Wish | None = None
        self._working = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="fewshot-label", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether it has not yet learned what it was last asked to."""
        return self._working or self._wish is not None

    def ask(self, classes: Sequence[str], labels: Mapping[int, str], without: set[int], soon: Sequence[int]) -> None:
        """Learn from these labels of rows, in place of what was asked before and is not begun.

        ``without`` are rows that are not to be chosen, ``soon`` rows of which a guess is wanted first.
        """
        with self._changed:
            self._wish = _Wish(list(classes), dict(labels), set(without), list(soon))
            self._changed.notify_all()

    def wait(self, timeout: float = 60) -> bool:
        """Wait until nothing is to be learned; False where that takes longer. For tests."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.busy, timeout)

    def close(self) -> None:
        """Learn nothing more; what is at work may take some seconds."""
        with self._changed:
            self._closed, self._wish = True, None
            self._changed.notify_all()
        self._thread.join(timeout=_LAST)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._working = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._wish is not None or self._closed)
                if self._closed or self._wish is None:
                    return
                wish, self._wish, self._working = self._wish, None, True
            try:
                self._learn(wish)
            except FewshotError as error:
                self.latest = self.latest._replace(error=str(error))
            except Exception as error:  # whatever a model or a head raises: labelling goes on without it
                logger.exception("Learning from the labels failed")
                self.latest = self.latest._replace(error=f"{type(error).__name__}: {error}")

    def _learn(self, wish: _Wish) -> None:
        labelled = sorted(wish.labels)
        y = [wish.labels[row] for row in labelled]
        model = load(self._clf.model)
        clf = _unfitted(self._clf, model, wish.classes, learns=len(set(y)) > 1)
        if len(set(y)) > 1:
            clf.fit([self._rows[row] for row in labelled], y)
        else:
            clf.fit()
        n_labels = len(y) if len(set(y)) > 1 else 0
        guesses = self._guesses(clf, wish.soon)
        # what is next in line gets its guess at once; choosing among all takes longer
        self.latest = Learned(n_labels, self.latest.picks, {**self.latest.guesses, **guesses})
        size = _POOL_ASKED if is_language_model(model) else _POOL
        free = [int(row) for row in self._drawn if row not in wish.labels and row not in wish.without][:size]
        pool = labelled + sorted(free)
        if not free or self._closed:
            self.latest = Learned(n_labels, (), guesses)
            return
        known = [wish.labels.get(row) for row in pool]
        found = next_to_label(clf, [self._rows[row] for row in pool], _PICKS, y=known, random_state=self._seed)
        picks = [Pick(pool[one.row], one.reason) for one in found]
        self.latest = Learned(n_labels, picks, guesses | self._guesses(clf, [one.row for one in picks]))

    def _guesses(self, clf: Classifier, numbers: Sequence[int]) -> dict[int, Guess]:
        if not numbers:
            return {}
        names = [str(name) for name in clf.classes_]
        found = clf.predict_proba([self._rows[row] for row in numbers])
        return {
            row: sorted(zip(names, own.tolist(), strict=True), key=lambda one: -one[1])
            for row, own in zip(numbers, found, strict=True)
        }


def _unfitted(clf: Classifier, model: Any, classes: Sequence[str], *, learns: bool) -> Classifier:
    """A new classifier of these classes; those without label words of their own are called by their names."""
    template = gallery.template_of(clf.template) if isinstance(clf.template, str) else clf.template
    words = clf.verbalizer if clf.verbalizer is not None else getattr(template, "words", None)
    if words is None or isinstance(words, Mapping):
        own = {str(name): word for name, word in (words or {}).items()}
        words = {name: own.get(name) or name.replace("_", " ").strip() or name for name in classes}
    strategy = clf.strategy
    if strategy is None:
        strategy = (Readout() if learns else Prompting()) if is_language_model(model) else Embedding()
    return Classifier(model, template, words, strategy, random_state=clf.random_state)
