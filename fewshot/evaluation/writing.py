"""How good written texts are: BLEU and chrF by sacrebleu, with their signatures and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.checks import one_of
from fewshot.errors import InputError
from fewshot.evaluation.metrics import compute_percentiles, draw_resamples
from fewshot.evaluation.predictions import check_resampling
from fewshot.evaluation.tables import Result, make_frame, make_intervals, need_pandas, printed
from fewshot.extras import need
from fewshot.inputs import as_rows
from fewshot.models.base import FloatArray, IntArray
from fewshot.task.written import References, Written, as_streams, read_references

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TEXT_METRICS", "WritingEvaluation", "evaluate_texts", "evaluate_writer", "resample_writers"]

TEXT_METRICS = ("chrF", "BLEU")


@dataclass(frozen=True, eq=False)
class WritingEvaluation(Result):
    """The metrics of written texts; prints as a table.

    Attributes
    ----------
    metrics : DataFrame
        chrF and BLEU, from 0 to 100, and the length ratio, which is the number of tokens of the texts divided by that
        of the references. Each has its value and the ends of its interval, low and high.
    signatures : DataFrame
        The signatures of sacrebleu for chrF and BLEU, which say how each was computed.
    n_empty : int
        Number of empty texts. They are measured like all others.
    n : int
        Number of texts.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    """

    metrics: pd.DataFrame
    signatures: pd.DataFrame
    n_empty: int
    n: int
    n_bootstrap: int
    level: float

    def __str__(self) -> str:
        said = (
            f"{self.n} texts, {self.n_empty} of them empty, {100 * self.level:g} % intervals of {self.n_bootstrap} "
            "resamples"
        )
        signed = [f"{name}: {own}" for name, own in self.signatures["signature"].items()]
        return "\n\n".join([said, printed(self.metrics, ["metric", "value", "low", "high"]), "\n".join(signed)])


class _Measure:
    """One metric of sacrebleu, computed from counts of each text, so that resamples take sums only."""

    def __init__(self, name: str, references: References, texts: Sequence[str]) -> None:
        metrics = need("sacrebleu.metrics", "Texts are measured with")
        self._metric = {"chrF": metrics.CHRF, "BLEU": metrics.BLEU}[name]()
        # what its own resampling and its tests of significance use: there is no public way to the counts
        counts = self._metric._extract_corpus_statistics(list(texts), as_streams(references))  # noqa: SLF001
        self.counts: IntArray = np.asarray(counts, dtype=np.int64)
        self.signature = str(self._metric.get_signature())

    def score(self, totals: IntArray) -> float:
        """The metric of texts with these counts in all."""
        return float(self._metric._compute_score_from_stats(totals.tolist()).score)  # noqa: SLF001

    def resample(self, drawn: IntArray) -> list[float]:
        """The metric under resamples, given as how often each text is drawn."""
        return [self.score(totals) for totals in drawn @ self.counts]


def evaluate_texts(
    references: Any, texts: Sequence[str], *, n_bootstrap: int = 1000, level: float = 0.95, random_state: int = 0
) -> WritingEvaluation:
    """Compare texts from any source with references.

    Parameters
    ----------
    references : list
        The right text for each row, or a list of several right texts.
    texts : list of str
        The texts to measure. An empty text counts as entirely wrong.
    n_bootstrap : int
        Number of resamples of the rows for the intervals.
    level : float
        Confidence level of the intervals, above 0 and below 1.
    random_state : int
        Seed of the resamples, which are the same for all metrics.

    Returns
    -------
    WritingEvaluation

    Raises
    ------
    InputError
        When there are no texts, ``references`` and ``texts`` have different lengths, or an element is not a text.
    NotInstalledError
        When pandas or sacrebleu is not installed.

    Notes
    -----
    BLEU is that of Papineni et al. (2002), chrF that of Popović (2015), both as sacrebleu computes them (Post 2018, "A
    Call for Clarity in Reporting BLEU Scores"), over all texts together. Give the texts in their original case and not
    tokenised, since sacrebleu tokenises them. The length ratio counts the tokens of BLEU, and uses the reference that
    is closest in length.

    The intervals are percentiles over resamples of the texts. They show how much the value would vary with other texts.

    Examples
    --------
    >>> from fewshot.evaluation import evaluate_texts
    >>> result = evaluate_texts(["Ein Hund läuft.", "Eine Katze."], ["Ein Hund läuft.", ""], n_bootstrap=200)
    >>> result.metrics["value"].round(1).to_dict()
    {'chrF': 63.9, 'BLEU': 47.2, 'length ratio': 0.6}
    >>> result.n_empty
    1
    """
    need_pandas()
    check_resampling(n_bootstrap, level)
    written = _take_texts(texts, "texts")
    true = read_references(references, len(written))
    measures = {name: _Measure(name, true, written) for name in TEXT_METRICS}
    bleu = measures["BLEU"].counts[:, :2]
    values = {name: one.score(one.counts.sum(axis=0)) for name, one in measures.items()}
    values["length ratio"] = _ratio(bleu.sum(axis=0))
    resampled: dict[str, list[float]] = {name: [] for name in values}
    for drawn in draw_resamples(len(written), n_bootstrap, random_state):
        for name, one in measures.items():
            resampled[name] += one.resample(drawn)
        resampled["length ratio"] += map(_ratio, drawn @ bleu)
    ends = [compute_percentiles(np.array(own), level) for own in resampled.values()]
    table = make_intervals("metric", list(values), list(values.values()), ends)
    signed = {"metric": list(measures), "signature": [one.signature for one in measures.values()]}
    n_empty = sum(not text.strip() for text in written)
    return WritingEvaluation(table, make_frame(signed, "metric"), n_empty, len(written), int(n_bootstrap), float(level))


def _ratio(lengths: IntArray) -> float:
    said, there = lengths.tolist()
    return said / there if there else 0.0


def _take_texts(texts: Any, name: str) -> list[str]:
    found = [one.text if isinstance(one, Written) else one for one in texts]
    if not found:
        raise InputError(f"{name} is empty: give at least one.")
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"{name}[{i}] must be text. Got {text!r:.60}.")
    return found


def evaluate_writer(writer: Any, X: Any, y: Any, **resampling: Any) -> WritingEvaluation:
    """Measure a fitted writer on rows with their texts; see `evaluate`."""
    references = read_references(y, len(as_rows(X)))
    need("sacrebleu", "Texts are measured with")
    return evaluate_texts(references, _written(writer, X, len(references), type(writer).__name__), **resampling)


def resample_writers(
    writers: Mapping[str, Any], X: Any, y: Any, *, metric: str, n_bootstrap: int, random_state: int
) -> tuple[FloatArray, FloatArray, int]:
    """The metric of each writer, the same under resamples of the rows, and the number of rows.

    The second is of shape (n_writers, n_bootstrap): all writers have the same resamples.

    Parameters
    ----------
    writers : mapping of str to estimator
    X, y
        As for `Writer.score`.
    metric : str
        One of `TEXT_METRICS`.
    n_bootstrap : int
    random_state : int
    """
    one_of("metric", metric, TEXT_METRICS)
    references = read_references(y, len(as_rows(X)))
    need("sacrebleu", "Texts are measured with")
    n = len(references)
    each = [_Measure(metric, references, _written(one, X, n, repr(name))) for name, one in writers.items()]
    values = np.array([one.score(one.counts.sum(axis=0)) for one in each])
    blocks = draw_resamples(n, n_bootstrap, random_state)
    resampled = np.concatenate([[one.resample(drawn) for one in each] for drawn in blocks], axis=1)
    return values, resampled, n


def _written(writer: Any, X: Any, n: int, name: str) -> list[str]:
    """What a writer writes, checked: it may be of another maker."""
    texts = _take_texts(writer.predict(X), f"what {name} predicts")
    if len(texts) != n:
        raise InputError(f"{name} predicts {len(texts)} texts. It was given {n} rows.")
    return texts
