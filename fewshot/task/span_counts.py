"""How many spans are found: counts of each text, and precision, recall and F1 of counts."""

from __future__ import annotations

from collections.abc import Sequence

from fewshot.task.spans import Span

__all__ = ["compute_ratios", "count_spans", "entity_f1"]


def count_spans(true: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> list[tuple[int, int, int]]:
    """Of each text, the spans that are right, that are predicted, and that are true.

    A span is right where a true one has the same bounds and the same label.
    """
    pairs = [(set(one), set(other)) for one, other in zip(true, predicted, strict=True)]
    return [(len(one & other), len(other), len(one)) for one, other in pairs]


def compute_ratios(right: int, predicted: int, true: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of counts; a ratio of nothing to nothing is 0."""
    return right / max(predicted, 1), right / max(true, 1), 2 * right / max(predicted + true, 1)


def entity_f1(true: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> float:
    """F1 of the spans of all texts together, from 0 to 1, the best; 0 where there are none.

    It is the F1 of the shared task CoNLL-2003 and of seqeval: a span counts where its bounds and its label are right.

    References
    ----------
    Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 Shared Task: Language-Independent Named Entity
    Recognition".

    Examples
    --------
    >>> from fewshot import Span
    >>> entity_f1([[Span(0, 4, "city")], []], [[Span(0, 4, "city")], [Span(0, 3, "city")]])
    0.6666666666666666
    """
    counts = count_spans(true, predicted)
    right, said, there = (sum(one[i] for one in counts) for i in range(3))
    return compute_ratios(right, said, there)[2]
