"""CandidateSpans: every span of a text is a row, which a strategy of rows gives a type or None."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fewshot.display.preview import Preview
from fewshot.errors import FewshotWarning, TemplateError, UnsupportedError, warn
from fewshot.heads.segments import SegmentReading
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, formats_of, kind_of
from fewshot.strategies.base import as_strategy
from fewshot.task.resolve import templates_of
from fewshot.task.span_task import Chunk, SpanTask
from fewshot.task.task import Task

__all__ = ["CandidateSpans"]

#: The start and the end of each word of a text, in characters.
Words = Sequence[tuple[int, int]]
#: The first word of a span, and the word after its last.
Place = tuple[int, int]
#: The fields of a row.
FIELDS = ("text", "span")
#: Rows that are classified in one call, unless a single text has more.
_BLOCK = 4096
#: Rows of None for each annotated span, and the share of them that touch one.
_PER_SPAN, _NEAR = 3, 0.25
#: The share of candidates that are of some type, and as how many candidates of annotated texts it counts. These four
#: were tried on training rows; benchmarks/settle/candidates.py measures what comes of them.
_SHARE, _WEIGHT = 0.04, 30


class CandidateSpans(BaseEstimator):  # type: ignore[misc]
    r"""Classify every span of a text by a strategy of rows, and read the text as a set of spans that do not overlap.

    A candidate is a span of up to ``max_words`` words that begins and ends with a word of letters or digits. Its row
    has the fields ``text`` and ``span``. Its classes are the numbers of the types, and one more for None.

    The rows to learn from are the annotated spans, and of the other candidates three times as many, drawn under
    random_state: a quarter of them overlap or touch an annotated span, where there are so many. What a strategy learns
    from these rows is taken as it is. A correction for the candidates that were not drawn made it find nothing.

    What a strategy merely asks is calibrated within each text, if it has no calibration of its own: from the log-odds
    of a type against None their mean over the candidates of the text is subtracted, and the logarithm of the share of
    that type among candidates is added. It is counted in annotated texts, and starts from 4 % for all types together.
    So a prediction does not depend on other texts. A text of very few words has nothing that a name could stand out
    from. It is batch calibration (Zhou et al. 2023), with the candidates of a text for the batch.

    The templates of the library are sentences to complete. So a chat model is asked with them as a base model is,
    without its chat template, which in trials told names from other spans far better. A template of one's own is asked
    as the model was loaded.

    Parameters
    ----------
    strategy : Strategy
        Of rows, such as Prompting() or Readout().

    Attributes
    ----------
    strategy_ : Strategy
        The fitted one.
    max_words_ : int or None
        The most words of a candidate.
    log_shares_ : ndarray of shape (n_types,) or None
        The logarithm of the share of each type among candidates; None where the strategy learns it, or is calibrated.

    Examples
    --------
    >>> from fewshot import FakeLM, Prompting, Verbalizer
    >>> from fewshot.strategies.candidates import CandidateSpans
    >>> from fewshot.task.span_task import SpanTask
    >>> lm = FakeLM(lambda query: [9.0 * ('"Ada"' in query.prefix), 0.0])
    >>> task = SpanTask([], [], [], Verbalizer({"person": "person"}))
    >>> candidates = CandidateSpans(Prompting()).fit_spans(task, lm)
    >>> (reading,) = candidates.span_readings(["Ada left."], [[(0, 3), (4, 8), (8, 9)]])
    >>> [place[:3] for place in reading.find()]
    [(0, 1, 0)]
    """

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy

    def fit_spans(self, task: SpanTask, model: Any, *, random_state: Any = None) -> Self:
        """Learn from the candidates of annotated texts, or get ready to ask without any.

        Raises
        ------
        UnsupportedError
            When an encoder is to find types from their names alone.
        TemplateError
            When the template has other fields than ``text`` and ``span``, or lacks ``span``.
        """
        if not task.texts and kind_of(model).reads == "fields":
            raise UnsupportedError(
                "An encoder needs annotated texts: from names alone it finds next to nothing. Annotate five spans of "
                "each type, and call fit(texts, spans), or ask a language model, such as Tagger('embedded:causal')."
            )
        asked = _rows_task(task, model)
        if task.template is None:
            model = formats_of(model)[-1]
        strategy = as_strategy(self.strategy)
        rows, labels = None, None
        if task.texts:
            _warn_of_signs(task)
            rows, labels = draw_rows(task, check_random_state(random_state))
        strategy.fit(asked, model, rows, labels, random_state=random_state)
        asks = getattr(strategy, "only_shows", False) and strategy.calibration is None
        self.strategy_, self.max_words_ = strategy, task.max_words
        self.log_shares_ = count_log_shares(task) if asks else None
        return self

    def span_readings(self, texts: Sequence[str], words: Sequence[Words]) -> list[SegmentReading]:
        """Return what it says of the spans of each text."""
        places = [find_candidates(text, own, self.max_words_) for text, own in zip(texts, words, strict=True)]
        readings = []
        for block in _blocks(places):
            asked: dict[tuple[int, str], int] = {}  # an equal span of a text is asked about once
            rows: list[Row] = []
            where = []
            for i in block:
                own = []
                for first, after in places[i]:
                    span = texts[i][words[i][first][0] : words[i][after - 1][1]]
                    if (i, span) not in asked:
                        asked[i, span] = len(rows)
                        rows.append(_row(texts[i], span))
                    own.append(asked[i, span])
                where.append(own)
            odds = self._log_odds(rows)
            for i, own in zip(block, where, strict=True):
                bounds = np.array(places[i], dtype=np.int64).reshape(-1, 2)
                found = odds[own]
                if self.log_shares_ is not None and own:
                    found = found - found.mean(axis=0) + self.log_shares_
                readings.append(SegmentReading(len(words[i]), bounds[:, 0], bounds[:, 1], found))
        return readings

    def _log_odds(self, rows: Sequence[Row]) -> FloatArray:
        """Of each type against None, of shape (n_rows, n_types)."""
        if not rows:
            return np.zeros((0, len(self.strategy_.task_.classes) - 1))
        scores = self.strategy_.log_scores(rows)
        return scores[:, :-1] - scores[:, -1:]

    def preview(self, texts: Sequence[str], words: Sequence[Words]) -> Preview:
        """The prompts about the first candidate of each text.

        Raises
        ------
        UnsupportedError
            When the strategy has no preview.
        """
        shown = getattr(self.strategy_, "preview", None)
        if shown is None:
            raise UnsupportedError(
                f"{type(self.strategy_).__name__} has no preview: use Prompting() to see its prompts."
            )
        rows = []
        for text, own in zip(texts, words, strict=True):
            for first, after in find_candidates(text, own, self.max_words_)[:1]:
                rows.append(_row(text, text[own[first][0] : own[after - 1][1]]))
        return shown(rows)


def find_candidates(text: str, words: Words, max_words: int | None) -> list[Place]:
    """The spans of a text that may be of some type, by their first words."""
    solid = [any(map(str.isalnum, text[start:end])) for start, end in words]
    most = len(words) if max_words is None else max_words
    return [
        (first, after)
        for first in range(len(words))
        if solid[first]
        for after in range(first + 1, min(first + most, len(words)) + 1)
        if solid[after - 1]
    ]


def draw_rows(task: SpanTask, rng: np.random.RandomState) -> tuple[list[Row], list[int]]:
    """The rows to learn from, and the number of the class of each.

    None has the number after that of the last type.
    """
    none = len(task.verbalizer.words)
    rows: list[Row] = []
    labels: list[int] = []
    near: list[Row] = []
    far: list[Row] = []
    for text, words, chunks in zip(task.texts, task.words, task.chunks, strict=True):
        spans = {text[words[first][0] : words[after - 1][1]]: kind for first, after, kind in chunks}
        rows += [_row(text, span) for span in spans]
        labels += spans.values()
        for first, after in find_candidates(text, words, task.max_words):
            span = text[words[first][0] : words[after - 1][1]]
            if span not in spans:
                spans[span] = none  # an equal one later in the text is the same row
                (near if _touches((first, after), chunks) else far).append(_row(text, span))
    wanted = _PER_SPAN * len(rows)
    n_near = min(len(near), max(round(_NEAR * wanted), wanted - len(far)))
    drawn = _draw(near, n_near, rng) + _draw(far, min(len(far), wanted - n_near), rng)
    return rows + drawn, labels + [none] * len(drawn)


def count_log_shares(task: SpanTask) -> FloatArray:
    """The logarithm of the share of each type among the candidates of annotated texts, drawn to what is usual."""
    n_types = len(task.verbalizer.words)
    kinds = [kind for chunks in task.chunks for _, _, kind in chunks]
    n_candidates = sum(len(find_candidates(*one, task.max_words)) for one in zip(task.texts, task.words, strict=True))
    counts = np.bincount(np.array(kinds, dtype=np.int64), minlength=n_types) + _WEIGHT * _SHARE / n_types
    return np.log(counts / (n_candidates + _WEIGHT))


def _warn_of_signs(task: SpanTask) -> None:
    """Say how many annotated spans are no candidates, since they begin or end with a sign."""
    lost = 0
    for text, words, chunks in zip(task.texts, task.words, task.chunks, strict=True):
        candidates = set(find_candidates(text, words, None))
        lost += sum((first, after) not in candidates for first, after, _ in chunks)
    if lost:
        warn(
            f"{lost} spans of y begin or end with a sign, that is a word without letters and digits. Such spans can't "
            "be predicted: end them at a word.",
            FewshotWarning,
        )


def _touches(place: Place, chunks: Sequence[Chunk]) -> bool:
    """Whether a span shares a word with an annotated one, or stands beside it."""
    return any(place[0] <= after and first <= place[1] for first, after, _ in chunks)


def _draw(rows: Sequence[Row], size: int, rng: np.random.RandomState) -> list[Row]:
    return [rows[i] for i in rng.permutation(len(rows))[:size]]


def _row(text: str, span: str) -> Row:
    return dict(zip(FIELDS, (text, span), strict=True))


def _blocks(places: Sequence[Sequence[Place]]) -> Iterator[list[int]]:
    """The numbers of the texts that are asked about in one call."""
    block: list[int] = []
    size = 0
    for i, own in enumerate(places):
        if block and size + len(own) > _BLOCK:
            yield block
            block, size = [], 0
        block.append(i)
        size += len(own)
    if block:
        yield block


def _rows_task(task: SpanTask, model: Any) -> Task:
    """What is asked about a row: the types by their numbers, and None as the last class."""
    template = kind_of(model).spans if task.template is None else task.template
    templates = templates_of(template, model, False)
    for own in templates:
        if "span" not in own.fields or not set(own.fields) <= set(FIELDS):
            raise TemplateError(
                "A tagger asks about a span of a text: its template has the fields 'text' and 'span', such as "
                f"'{{{{ text }}}} The name {{{{ span }}}} is a {{{{ label }}}}.'. {own} has {list(own.fields)}."
            )
    words = dict(enumerate((*task.verbalizer.words, task.nothing)))
    one = Task(templates[0], task.verbalizer.with_words(words), np.arange(len(words)))
    return replace(one, others=tuple(replace(one, template=other) for other in templates[1:]))
