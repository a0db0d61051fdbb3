"""Fine-tuning of a copy of a model by answered questions: the vectors of words under the head of an extractor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fewshot.models.dtypes import autocast
from fewshot.task.extracts import ExtractTask
from fewshot.training.finetune import Tuned
from fewshot.training.under_head import HeadTraining, WordVectors, tune_under_head

__all__ = ["tune_span"]

#: After how many steps the head is fitted again, and then at the end as well. None: never, since a head that is fitted
#: on vectors which know its examples leans on them too much; see benchmarks/settle/tuned_answers.py.
REFIT: int | None = None


def tune_span(model: Any, task: ExtractTask, head: Any, settings: Any, rng: np.random.RandomState) -> Tuned:
    """Train a copy of an encoder or a masked model, so that an answer among the spans is told by the vectors of words.

    The head is fitted on the vectors as they are, and these are trained under that head.

    Parameters
    ----------
    model : SentenceEncoder or MaskedLM
        It stays as it is.
    task : ExtractTask
        With answered questions.
    head : SpanHead
        It is fitted, and reads the copy from then on.
    settings : FineTuning
        What is trained, for how long and how fast.
    rng : RandomState
        Draws the order of the questions.

    Raises
    ------
    InputError
        When no example has an answer that is a candidate.
    UnsupportedError
        When the weights are no numbers any more.
    """
    tuned = tune_under_head(
        model,
        lambda tuned, layer: _Training(tuned, model, task, head, layer),
        settings,
        rng,
        objective="span",
        layer=head.layer,
        refit=REFIT,
    )
    head.model_ = tuned[0]
    if REFIT is not None:
        head.fit_answers(task, tuned[0])
    return tuned


class _Training(HeadTraining):
    """The candidates of answered questions, and the head that weighs them for now."""

    def __init__(self, tuned: Any, given: Any, task: ExtractTask, head: Any, layer: int) -> None:
        self.head, self.examples = head, head.prepare(task, tuned)
        questions = [one.asked.question for one in self.examples] if head.pairs else None
        asked, passages = [one.asked for one in self.examples], [one.passage for one in self.examples]
        self.meanings = head.meanings(asked, passages)  # of the copy before it is trained
        texts = [one.passage.text for one in self.examples]
        words = [one.passage.bounds for one in self.examples]
        super().__init__(tuned, given, WordVectors(tuned, texts, words, layer, questions))

    def count(self, examples: Sequence[int]) -> int:
        """The questions."""
        return len(examples)

    @torch.no_grad()
    def fit_head(self, *, first: bool) -> None:
        """Fit the head on the vectors as they are."""
        vectors: dict[int, Any] = {}
        with autocast(self.body.device, torch.float32 if first else self.dtype):
            for part in self.parts(range(self.n)):
                found = self.words.means(part, check=first)
                vectors.update({i: own.double().cpu().numpy() for i, own in zip(part, found, strict=True)})
        X = self.head.learn(self.examples, [vectors[i] for i in range(self.n)], self.meanings)
        features, weights = self.head.word_weights()
        rest = self.head.head_.coef_.copy()
        rest[features] = 0.0
        #: What else is known of each candidate says so much.
        self.known = [self._tensor(rows @ rest + one.offsets) for one, rows in zip(self.examples, X, strict=True)]
        self.weights, self.center = self._tensor(weights), self._tensor(self.head.center_)

    def part_gradients(self, examples: Sequence[int], n: int) -> float:
        """The negative log-likelihood of some right answers; where several are right, their probabilities add."""
        with autocast(self.body.device, self.dtype):
            found = self.words.means(examples)
        loss = torch.zeros((), device=self.body.device)
        for i, means in zip(examples, found, strict=True):
            logits = self.known[i] + self._say(i, means)
            right = torch.from_numpy(self.examples[i].right).to(logits.device)
            loss = loss + logits.logsumexp(0) - logits[right].logsumexp(0)
        (loss / n).backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _say(self, i: int, means: torch.Tensor) -> torch.Tensor:
        """What the vectors of words say of the candidates of a question; nothing of no answer."""
        one = self.examples[i]
        first, after = torch.from_numpy(one.passage.spans[one.rows].T).to(means.device)
        inside, begins, ends, before, behind = ((means - self.center) @ self.weights.T).T
        sums = functional.pad(inside.cumsum(0), (1, 0))
        said = (sums[after] - sums[first]) / (after - first) + begins[first] + ends[after - 1]
        said = said + functional.pad(before, (1, 1))[first] + functional.pad(behind, (1, 1))[after + 1]
        return functional.pad(said, (0, len(one.right) - len(one.rows)))

    def _tensor(self, values: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.body.device)
