"""What a writer writes, and the texts that it should have written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fewshot.errors import InputError
from fewshot.extras import need

__all__ = ["References", "Written", "as_streams", "corpus_chrf", "read_references"]

#: Of each row the texts that are right, the first of which is shown to others.
References = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Written:
    """A text that a model wrote, with its log-probability.

    Parameters
    ----------
    text : str
        The text without whitespace around it; "" if the model wrote nothing.
    logprob : float, optional
        The mean log-probability of its tokens, in nats; None if there is no text. It is ignored when texts are
        compared.

    Examples
    --------
    >>> from fewshot import Written
    >>> Written("Ein Hund.", -0.3) == Written("Ein Hund.")
    True
    """

    text: str
    logprob: float | None = field(default=None, compare=False)


def read_references(y: Any, n: int) -> References:
    """The reference texts of ``n`` rows: of each a text, or a list of texts any of which is right.

    Raises
    ------
    InputError
        When y is of another length, or a row has no text; the message names the row.
    """
    if y is None:
        raise InputError("y is missing: give each row its text, or a list of texts that are right.")
    if isinstance(y, str | bytes | Mapping) or not isinstance(y, Iterable):
        raise InputError(f"y must be a list, a text or a list of texts a row. Got {type(y).__name__}: {y!r:.60}.")
    given = list(y)
    if len(given) != n:
        raise InputError(f"X has {n} rows and y has {len(given)}: they must be of one length.")
    return [_texts(i, own) for i, own in enumerate(given)]


def _texts(i: int, given: Any) -> tuple[str, ...]:
    one = isinstance(given, str | Written) or not isinstance(given, Iterable) or isinstance(given, bytes | Mapping)
    texts = [text.text if isinstance(text, Written) else text for text in ([given] if one else given)]
    if not texts:
        raise InputError(f"y[{i}] is empty: give a text, or drop the row.")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"y[{i}] must be text, or a list of texts. Got {text!r:.60}: fill it in, or drop the row.")
    return tuple(str(text) for text in texts)


def as_streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: the first of each row, the second of each, and so on, None where it lacks."""
    most = max(map(len, references))
    return [[own[k] if k < len(own) else None for own in references] for k in range(most)]


def corpus_chrf(references: Sequence[Sequence[str]], texts: Sequence[str]) -> float:
    """The chrF of texts, from 0 to 100, by sacrebleu: Popović (2015), "chrF: character n-gram F-score".

    Raises
    ------
    NotInstalledError
        When sacrebleu is not installed.

    Examples
    --------
    >>> round(corpus_chrf([["Ein Hund."], ["Eine Katze.", "Die Katze."]], ["Ein Hund.", "Die Tatze."]), 1)
    70.0
    """
    metric = need("sacrebleu.metrics", "Texts are measured with").CHRF()
    return float(metric.corpus_score(list(texts), as_streams(references)).score)
