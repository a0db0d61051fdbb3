"""ExtractiveModel: answers to questions in texts, under a model trained to mark where they begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from fewshot.errors import InputError, ModelLoadError, at_row, broken
from fewshot.models.answering import AnswerScores, Places, score_places
from fewshot.models.base import FloatArray, IntArray
from fewshot.models.engine.trial import draw_samples, try_forward
from fewshot.models.locks import alone
from fewshot.models.pairs import PairModel
from fewshot.models.progress import show_progress
from fewshot.models.recipe import Recipe
from fewshot.models.text.bounds import find_bounds
from fewshot.models.text.tokens import Typed
from fewshot.models.windows import cover_tokens

__all__ = ["ExtractiveModel"]

#: How many questions are tokenised at once: memory does not grow with the data.
_QUESTIONS = 256


@dataclass(frozen=True)
class _Reading:
    """One question with its text, as the model reads it: a row for each window of the text."""

    bounds: tuple[IntArray, IntArray]  # where the tokens of the text start and end
    windows: list[slice]  # the tokens of the text in each row
    rows: list[Typed]
    start: int  # where the text begins in each row
    none: list[int]  # the token of each row that stands for no answer


class ExtractiveModel(PairModel):
    r"""A question-answering model, which scores each token of a text as the start and the end of the answer.

    Such models are ``...ForQuestionAnswering`` in transformers, for example those trained on SQuAD. The score of a span
    is :math:`s_i + e_j`: the start logit of its first token plus the end logit of its last token. The score of no
    answer is the same sum at the token ``[CLS]``, or at the first token if there is no ``[CLS]`` (Devlin et al. 2019,
    "BERT: Pre-training of Deep Bidirectional Transformers", section 4.3). A text that is too long is read in windows
    that overlap by half. The score of a span is then the highest among the windows that contain the whole span. The
    score of no answer is the lowest among all windows, as in the SQuAD evaluation of transformers (``run_qa.py``).

    Parameters
    ----------
    model : PreTrainedModel
        A ``...ForQuestionAnswering`` of transformers.
    tokenizer : PreTrainedTokenizerBase
        The question comes before the text, or after it if the tokenizer pads on the left, as in the training of such
        models.
    recipe : Recipe, optional
        How `load` made it.

    Raises
    ------
    ModelLoadError
        When the model does not return two logits for each token.

    Examples
    --------
    >>> from fewshot import load
    >>> model = load("deepset/roberta-base-squad2")  # doctest: +SKIP
    >>> (found,) = model.answer_scores(["Who was it?"], ["It was Ada."], [[(0, 2), (7, 10)]])  # doctest: +SKIP
    >>> found.scores.argmax()  # doctest: +SKIP
    1
    """

    kind = "extractive"

    def __init__(self, model: Any, tokenizer: Any, *, recipe: Recipe | None = None) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        pair = self.frame.join(*draw_samples(self.model, tokenizer).tolist())
        logits = try_forward(repr(self), lambda: SimpleNamespace(logits=self._logits([pair])))
        if logits.shape != (1, 2, len(pair[0])):
            raise ModelLoadError(
                f"{self!r} can't be used: for a pair of {len(pair[0])} tokens it gives logits of shape "
                f"{tuple(logits.shape)}, and not two a token."
            )

    @property
    def question_first(self) -> bool:
        """Whether the question comes before its text."""
        return bool(self.tokenizer.padding_side == "right")

    @alone
    def answer_scores(
        self, questions: Sequence[str], contexts: Sequence[str], places: Sequence[Places]
    ) -> list[AnswerScores]:
        """Return, for each question, the scores of spans of its text.

        Parameters
        ----------
        questions : sequence of str
        contexts : sequence of str
            The text of each question.
        places : sequence of sequence of (start, end)
            The spans to score, in characters. The score is -inf for a span that begins or ends inside a token, and for
            a span that no window contains as a whole.

        Returns
        -------
        list of AnswerScores

        Raises
        ------
        InputError
            When a question or a text is empty, or a question fills more than half of what the model reads at once; the
            message names the row.
        UnsupportedError
            When the model returns NaN.
        """
        found: list[AnswerScores] = []
        with show_progress(len(questions), "Reading answers") as bar:
            for start in range(0, len(questions), _QUESTIONS):
                part = slice(start, start + _QUESTIONS)
                readings = self._plan(start, questions[part], contexts[part])
                rows = [row for reading in readings for row in reading.rows]
                logits = iter(self.within_memory(partial(self._run, rows)))
                for reading, own in zip(readings, places[part], strict=True):
                    found.append(_scores(reading, [next(logits) for _ in reading.rows], own))
                bar.update(len(readings))
        return found

    def _plan(self, start: int, questions: Sequence[str], contexts: Sequence[str]) -> list[_Reading]:
        asked, told = self.plain.ids(questions), self.plain.encodings(contexts)
        readings = []
        for row, (question, context) in enumerate(zip(asked, told, strict=True)):
            with at_row(start + row):
                if not (question and context.ids):
                    empty = "context" if question else "question"
                    raise InputError(f"The {empty} has no token: there is nothing to read.")
                readings.append(self._read(question, context.ids, find_bounds(contexts[row], context)))
        return readings

    def _read(self, question: list[int], context: list[int], bounds: tuple[IntArray, IntArray]) -> _Reading:
        """The rows of one question, a window of its text each."""
        size = self.limit - len(self.frame.join(question, ())[0])
        if size < self.limit // 2:
            raise InputError(
                f"The question has {len(question)} tokens, and {self!r} reads {self.limit} at once: less than half of "
                "them are left for the text. Shorten the question."
            )
        windows = [window for window, _ in cover_tokens(len(context), size)]
        first = self.question_first
        rows = [
            self.frame.join(question, context[window]) if first else self.frame.join(context[window], question)
            for window in windows
        ]
        before = len(self.frame.before[0])
        start = before + len(question) + len(self.frame.between[0]) if first else before
        return _Reading(bounds, windows, rows, start, [self._none_of(ids) for ids, _ in rows])

    def _none_of(self, ids: Sequence[int]) -> int:
        """The place of the token that stands for no answer."""
        named = (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id)
        return next((ids.index(token) for token in named if token in ids), 0)

    @torch.inference_mode()
    def _run(self, rows: Sequence[Typed], budget: int) -> list[FloatArray]:
        """The two logits of each token of some rows, each of shape (2, n_tokens)."""
        found: dict[int, FloatArray] = {}
        lengths = [len(ids) for ids, _ in rows]

        def compute(batch: list[int]) -> list[torch.Tensor]:
            logits = self._logits([rows[i] for i in batch])
            return [own[:, : lengths[i]] for own, i in zip(logits, batch, strict=True)]

        def receive(batch: list[int], logits: list[torch.Tensor]) -> None:
            found.update({i: own.cpu().double().numpy() for i, own in zip(batch, logits, strict=True)})

        self.padding.run(lengths, budget, compute, receive, lambda logits: logits.float().log_softmax(-1))
        if not all(np.isfinite(both).all() for both in found.values()):
            raise broken(self, "logits")
        return [found[i] for i in range(len(rows))]

    def _logits(self, pairs: Sequence[Typed]) -> torch.Tensor:
        """The logits of each token to begin an answer and to end one, of shape (n_pairs, 2, n_tokens)."""
        out = self.run_pairs(pairs)
        return torch.stack([out.start_logits, out.end_logits], dim=1)


def _scores(reading: _Reading, logits: Sequence[FloatArray], places: Places) -> AnswerScores:
    own = [
        both[:, reading.start : reading.start + window.stop - window.start]
        for both, window in zip(logits, reading.windows, strict=True)
    ]
    none = min(float(both[:, place].sum()) for both, place in zip(logits, reading.none, strict=True))
    asked = np.array(places, dtype=np.int64).reshape(-1, 2)
    return AnswerScores(score_places(reading.bounds, asked, reading.windows, own), none)
