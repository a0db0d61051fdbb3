"""Fine-tuning of a copy of a model by the tags of words: the vectors of its tokens under the head of a tagger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fewshot.heads.chain import Chains
from fewshot.heads.tokens import TokenCRF
from fewshot.models.dtypes import autocast
from fewshot.task.span_task import SpanTask
from fewshot.task.spelling import FEATURES, spell
from fewshot.training.finetune import Tuned
from fewshot.training.under_head import HeadTraining, WordVectors, tune_under_head

__all__ = ["tune_tags"]

#: After how many steps the head is fitted again; see benchmarks/settle/tuned_tagging.py.
REFIT = 5


def tune_tags(model: Any, task: SpanTask, head: Any, settings: Any, rng: np.random.RandomState) -> Tuned:
    """Train a copy of an encoder or a masked model, so that a chain of tags is told by the vectors of words.

    In turn a head is fitted on the vectors as they are, and these are trained for some steps under that head.

    Parameters
    ----------
    model : SentenceEncoder or MaskedLM
        It stays as it is.
    task : SpanTask
        With texts.
    head : TokenHead
        Its layer, features and penalties are read.
    settings : FineTuning
        What is trained, for how long and how fast.
    rng : RandomState
        Draws the order of the texts.

    Raises
    ------
    UnsupportedError
        When the weights are no numbers any more.
    """
    return tune_under_head(
        model,
        lambda tuned, layer: _Training(tuned, model, task, head, layer),
        settings,
        rng,
        objective="tags",
        layer=head.layer,
        refit=REFIT,
    )


class _Training(HeadTraining):
    """The words of a task, the names of its types, and the head that tells them apart for now."""

    def __init__(self, tuned: Any, given: Any, task: SpanTask, head: Any, layer: int) -> None:
        some = [i for i, own in enumerate(task.words) if len(own)]  # a text without words says nothing
        texts, words = [task.texts[i] for i in some], [task.words[i] for i in some]
        super().__init__(tuned, given, WordVectors(tuned, texts, words, layer))
        self.head = head
        self.tags = [tags for tags in task.tags if len(tags)]
        groups = task.verbalizer.words
        names = [name for group in groups for name in group]
        self.names = WordVectors(tuned, names, [[(0, len(name))] for name in names], layer)
        self.owners = np.repeat(np.arange(len(groups)), list(map(len, groups)))
        self.spelling = [
            head.spelling * np.reshape(spell([text[start:end] for start, end in own]), (len(own), len(FEATURES)))
            for text, own in zip(texts, words, strict=True)
        ]

    def features(self, texts: Sequence[int], *, check: bool = False) -> torch.Tensor:
        """The features of the words of some texts, as the head of a tagger has them."""
        made = []
        for i, means in zip(texts, self.words.means(texts, check=check), strict=True):
            vectors = functional.normalize(means, dim=-1)
            parts = [vectors]
            if self.head.neighbors:
                padded = self.head.neighbors * functional.pad(vectors, (0, 0, 1, 1))
                parts += [padded[:-2], padded[2:]]
            if self.head.spelling:
                parts.append(vectors.new_tensor(self.spelling[i]))
            made.append(torch.cat(parts, dim=1))
        return torch.cat(made)

    def name_vectors(self, *, check: bool = False) -> torch.Tensor:
        """The vector of each type's names."""
        vectors = functional.normalize(torch.cat(self.names.means(range(len(self.owners)), check=check)), dim=-1)
        owners = torch.from_numpy(self.owners).to(vectors.device)
        sums = vectors.new_zeros(int(self.owners.max()) + 1, vectors.shape[1]).index_add(0, owners, vectors)
        return functional.normalize(sums, dim=-1)

    @torch.no_grad()
    def fit_head(self, *, first: bool) -> None:
        """Fit the head on the vectors as they are."""
        with autocast(self.body.device, torch.float32 if first else self.dtype):
            prior = self.name_vectors(check=first)
            found = [self.features(part, check=first) for part in self.parts(range(len(self.tags)))]
        order = [i for part in self.parts(range(len(self.tags))) for i in part]
        X, names = torch.cat(found).double().cpu().numpy(), prior.double().cpu().numpy()
        given = self.head
        head = TokenCRF(given.names, given.detector, given.own, given.transition, given.none_weight)
        head.fit(X, np.concatenate([self.tags[i] for i in order]), [len(self.tags[i]) for i in order], names)
        bare = head.coef_.copy()
        bare[:, : names.shape[1]] -= given.names * names  # which change as the vectors do
        self.weights, self.intercepts = prior.new_tensor(bare), prior.new_tensor(head.intercept_)
        self.transitions = head.transitions_

    def count(self, examples: Sequence[int]) -> int:
        """The words of some texts."""
        return sum(len(self.tags[i]) for i in examples)

    def part_gradients(self, examples: Sequence[int], n: int) -> float:
        """The negative log-likelihood of the tags of some texts, whose gradients count for their share of the words.

        That of a word's log-weights is how probable its tags are, less those that it has.
        """
        with autocast(self.body.device, self.dtype):
            X, names = self.features(examples), self.name_vectors()
        logits = X @ self.weights.T + self.intercepts + self.head.names * X[:, : names.shape[1]] @ names.T
        tags = [self.tags[i] for i in examples]
        log_weights = np.pad(logits.detach().double().cpu().numpy(), ((0, 0), (1, 0)))  # None has 0
        targets = np.eye(log_weights.shape[1])[np.concatenate(tags)]
        chains = Chains(list(map(len, tags)))
        found = chains.infer(log_weights, self.transitions)
        logits.backward(logits.new_tensor((found.words - targets)[:, 1:] / n))
        true = (targets * log_weights).sum() + (chains.count(targets) * self.transitions).sum()
        return float(found.log_normalizer - true)
