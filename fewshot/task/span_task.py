"""SpanTask: what a tagger learns and finds, resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.errors import UnsupportedError
from fewshot.task.verbalizer import Verbalizer

__all__ = ["NOTHING", "Chunk", "SpanTask"]

#: The first word of a span, the word after its last, and the number of its type.
Chunk = tuple[int, int, int]
#: What a language model calls a span of no type, where nothing else is said.
NOTHING = ("part of the text",)


@dataclass(frozen=True)
class SpanTask:
    """The annotated texts of a tagger, its types and their names. A strategy gets it in ``fit_spans``.

    Parameters
    ----------
    texts : sequence of str
        Empty where a tagger is fitted on names alone.
    words : sequence of sequence of (start, end)
        The bounds of the words of each text, in characters.
    chunks : sequence of sequence of (first word, word after the last, type)
        The spans of each text; types are numbers from 0 on.
    verbalizer : Verbalizer
        The types, sorted, and the names of each.
    template : str, Path, Template or None
        How a language model is asked, as it was given.
    max_words : int or None
        The most words of a span that is predicted.
    nothing : sequence of str
        What a language model calls a span of no type.

    Examples
    --------
    >>> from fewshot import Verbalizer
    >>> from fewshot.task.span_task import SpanTask
    >>> words = [[(0, 3), (4, 8), (8, 9)]]
    >>> task = SpanTask(["Ada left."], words, [[(0, 1, 0)]], Verbalizer({"person": "person"}))
    >>> [tags.tolist() for tags in task.tags]
    [[1, 0, 0]]
    """

    texts: Sequence[str]
    words: Sequence[Sequence[tuple[int, int]]]
    chunks: Sequence[Sequence[Chunk]]
    verbalizer: Verbalizer
    template: Any = None
    max_words: int | None = None
    nothing: Sequence[str] = NOTHING

    def need_texts(self, strategy: object) -> None:
        """Refuse a task of names alone on behalf of a strategy that learns from annotated texts."""
        if not self.texts:
            raise UnsupportedError(
                f"{type(strategy).__name__} needs annotated texts: from names alone it finds next to nothing. Annotate "
                "five spans of each type, and call fit(texts, spans)."
            )

    @property
    def tags(self) -> list[NDArray[np.int64]]:
        """The tag of each word of each text: 0 for None, and the number of its type from 1 on."""
        made = []
        for words, chunks in zip(self.words, self.chunks, strict=True):
            tags = np.zeros(len(words), dtype=np.int64)
            for first, after, kind in chunks:
                tags[first:after] = 1 + kind
            made.append(tags)
        return made
