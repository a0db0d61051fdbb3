"""Fine-tuning of a copy of a model by the tags of words: the vectors of its tokens under the head of a tagger."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fewshot.errors import UnsupportedError
from fewshot.heads.chain import Chains
from fewshot.heads.tokens import TokenCRF
from fewshot.models.base import IntArray
from fewshot.models.dtypes import autocast, own_dtype
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.engine.layers import find_layers
from fewshot.models.engine.padding import Padding, scale_vectors
from fewshot.models.local import batches, compute_within_memory
from fewshot.models.randomness import seeded
from fewshot.task.span_task import SpanTask
from fewshot.task.spelling import FEATURES, spell
from fewshot.training.copies import as_for_training, own_copy
from fewshot.training.descent import Descent
from fewshot.training.examples import n_steps
from fewshot.training.finetune import Tuned, learning_rate
from fewshot.training.loop import GPU_PART_TOKENS, PART_TOKENS, TrainingStep, endless
from fewshot.training.lora import Parameters

__all__ = ["tune_tags"]

#: After how many steps the head is fitted again; see benchmarks/settle/tuned_tagging.py.
REFIT = 5
#: How often the loss is reported, evenly over the steps.
_MEASUREMENTS = 10


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
    layer = model.token_reader.check_layer(head.layer)
    with seeded(int(rng.randint(2**31 - 1))):
        body, finish = _own_copy(model, settings.parameters, layer)
    training = _Training(_around(model, body), body, task, head, layer=layer, dtype=own_dtype(_body_of(model)))
    n = len(training.tags)
    steps = settings.steps or n_steps(n, settings.batch_size)
    rate = settings.learning_rate or learning_rate("tags", settings.parameters, body)
    trained = [p for p in body.parameters() if p.requires_grad]
    descent = Descent(trained, steps, rate, title="Fine-tuning")
    size, order = min(settings.batch_size, n), endless(np.arange(n), rng)
    every = max(1, math.ceil(steps / _MEASUREMENTS))
    history: list[TrainingStep] = []
    losses: list[float] = []

    def gradients(step: int) -> float:
        return training.gradients(descent, [next(order) for _ in range(size)])

    with as_for_training(body, training.dtype), descent.shown():
        for step in range(steps):
            if step % REFIT == 0:
                training.fit_head(first=step == 0)
            losses.append(descent.take(step, gradients))
            if not (math.isfinite(losses[-1]) and all(p.isfinite().all() for p in trained)):
                raise UnsupportedError(
                    f"The weights are no numbers any more after step {step + 1} of {steps}, at the learning rate "
                    f"{descent.rate(step):.2g}. Lower learning_rate."
                )
            if (step + 1) % every == 0 or step + 1 == steps:
                history.append(TrainingStep(step + 1, float(np.mean(losses)), math.nan))
                losses = []
    n_trained = sum(p.numel() for p in trained if p.grad is not None)  # none above the layer that is read
    descent.clear()
    return _around(model, finish()), history, n_trained


def _body_of(model: Any) -> Any:
    """The transformers model within one of ours."""
    return model.model[0].model if isinstance(model, SentenceEncoder) else model.model


def _around(model: Any, body: Any) -> Any:
    """One of our models around another transformers model."""
    if not isinstance(model, SentenceEncoder):
        return model.around(body, None)
    other = model.copied(model.model.parameters())
    other.model[0].model = body
    return other


def _own_copy(model: Any, parameters: Parameters, layer: int) -> tuple[Any, Callable[[], Any]]:
    """A copy of the transformers model within one of ours, and what ends its training.

    The word embeddings stay, of which a few texts show a few, and so does what comes after the layer that is read.
    """
    given = _body_of(model)
    _, _, layers = find_layers(given)
    unread = [] if layers is None else layers[layer:]
    ids = {id(p) for module in (given.get_input_embeddings(), *unread) for p in module.parameters()}
    fixed = {name for name, p in given.named_parameters() if id(p) in ids}
    return own_copy(given, parameters, fixed=fixed)


class _Words:
    """The vectors of the words of some texts, with gradients.

    Parameters
    ----------
    model : SentenceEncoder or MaskedLM
    texts : sequence of str
    words : sequence of sequence of (start, end)
    layer : int
    """

    def __init__(self, model: Any, texts: Sequence[str], words: Sequence[Any], layer: int) -> None:
        self.reader, self.layer = model.token_reader, layer
        self.planned = self.reader.plan(texts, model.limit)
        self.padding = Padding(self.reader.body)
        self.members = [_members(bounds, own) for bounds, own in zip(self.planned.bounds, words, strict=True)]
        self.n_words = list(map(len, words))
        #: How many tokens are read of each text.
        self.sizes = [max(1, sum(map(len, self.planned.rows[rows]))) for rows in self.planned.of_texts]

    def vectors(self, texts: Sequence[int], *, check: bool = False) -> list[torch.Tensor]:
        """For each of these texts the unit vectors of its words; a word without tokens has zeros.

        With ``check``, which is for the type of the weights, it is found out which rows may be padded together.
        """
        body = self.reader.body
        rows = [row for i in texts for row in range(len(self.planned.rows))[self.planned.of_texts[i]]]
        states: dict[int, torch.Tensor] = {}
        lengths = [len(self.planned.rows[row]) for row in rows]

        def compute(batch: list[int]) -> list[torch.Tensor]:
            return self.reader.states(body, self.planned, [rows[i] for i in batch], self.layer)

        def receive(batch: list[int], found: list[torch.Tensor]) -> None:
            states.update(zip([rows[i] for i in batch], found, strict=True))

        self.padding.run(lengths, max(1, sum(lengths)), compute, receive, scale_vectors, check=check)
        dim = self.reader.dims[self.layer]
        none = torch.zeros(0, dim, device=body.device)
        made = []
        for i in texts:
            own = range(len(self.planned.rows))[self.planned.of_texts[i]]
            tokens = torch.cat([none, *(states[row].float() for row in own)])
            which, places = (torch.from_numpy(part).to(body.device) for part in self.members[i])
            sums = tokens.new_zeros(self.n_words[i], dim).index_add(0, places, tokens[which])
            made.append(functional.normalize(sums, dim=-1))  # of the sum as of the mean
        return made


def _members(tokens: tuple[IntArray, IntArray], words: Any) -> tuple[IntArray, IntArray]:
    """The tokens that overlap some word, and the number of that word for each."""
    starts, ends = tokens
    bounds = np.array(words, dtype=np.int64).reshape(-1, 2)
    firsts = np.searchsorted(ends, bounds[:, 0], side="right")
    counts = np.maximum(np.searchsorted(starts, bounds[:, 1], side="left") - firsts, 0)
    places = np.repeat(np.arange(len(bounds)), counts)
    within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    return firsts[places] + within, places


class _Training:
    """The words of a task, the names of its types, and the head that tells them apart for now."""

    def __init__(self, tuned: Any, body: Any, task: SpanTask, head: Any, *, layer: int, dtype: torch.dtype) -> None:
        self.body, self.given, self.dtype = body, head, dtype
        some = [i for i, own in enumerate(task.words) if len(own)]  # a text without words says nothing
        texts, words = [task.texts[i] for i in some], [task.words[i] for i in some]
        self.words = _Words(tuned, texts, words, layer)
        self.tags = [tags for tags in task.tags if len(tags)]
        groups = task.verbalizer.words
        names = [name for group in groups for name in group]
        self.names = _Words(tuned, names, [[(0, len(name))] for name in names], layer)
        self.owners = np.repeat(np.arange(len(groups)), list(map(len, groups)))
        self.spelling = [
            head.spelling * np.reshape(spell([text[start:end] for start, end in own]), (len(own), len(FEATURES)))
            for text, own in zip(texts, words, strict=True)
        ]
        self.part_tokens = PART_TOKENS if body.device.type == "cpu" else GPU_PART_TOKENS

    def features(self, texts: Sequence[int], *, check: bool = False) -> torch.Tensor:
        """The features of the words of some texts, as the head of a tagger has them."""
        made = []
        for i, vectors in zip(texts, self.words.vectors(texts, check=check), strict=True):
            parts = [vectors]
            if self.given.neighbors:
                padded = self.given.neighbors * functional.pad(vectors, (0, 0, 1, 1))
                parts += [padded[:-2], padded[2:]]
            if self.given.spelling:
                parts.append(vectors.new_tensor(self.spelling[i]))
            made.append(torch.cat(parts, dim=1))
        return torch.cat(made)

    def name_vectors(self, *, check: bool = False) -> torch.Tensor:
        """The vector of each type's names."""
        vectors = torch.cat(self.names.vectors(range(len(self.owners)), check=check))
        owners = torch.from_numpy(self.owners).to(vectors.device)
        sums = vectors.new_zeros(int(self.owners.max()) + 1, vectors.shape[1]).index_add(0, owners, vectors)
        return functional.normalize(sums, dim=-1)

    @torch.no_grad()
    def fit_head(self, *, first: bool) -> None:
        """Fit the head on the vectors as they are."""
        with autocast(self.body.device, torch.float32 if first else self.dtype):
            prior = self.name_vectors(check=first)
            found = [self.features(part, check=first) for part in self._parts(range(len(self.tags)))]
        order = [i for part in self._parts(range(len(self.tags))) for i in part]
        X, names = torch.cat(found).double().cpu().numpy(), prior.double().cpu().numpy()
        given = self.given
        head = TokenCRF(given.names, given.detector, given.own, given.transition, given.none_weight)
        head.fit(X, np.concatenate([self.tags[i] for i in order]), [len(self.tags[i]) for i in order], names)
        bare = head.coef_.copy()
        bare[:, : names.shape[1]] -= given.names * names  # which change as the vectors do
        self.weights, self.intercepts = prior.new_tensor(bare), prior.new_tensor(head.intercept_)
        self.transitions = head.transitions_

    def gradients(self, descent: Descent, texts: Sequence[int]) -> float:
        """Compute the gradients of the mean loss of the words of some texts, and return it."""
        n_words = sum(len(self.tags[i]) for i in texts)

        def whole(tokens: int) -> float:
            self.part_tokens = tokens
            descent.clear()
            return sum(self._part_gradients(part, n_words) for part in self._parts(texts)) / n_words

        loss, self.part_tokens = compute_within_memory(whole, self.part_tokens, "Training", self.body.device)
        return loss

    def _part_gradients(self, texts: Sequence[int], n_words: int) -> float:
        """The negative log-likelihood of the tags of some texts, whose gradients count for their share of the words.

        That of a word's log-weights is how probable its tags are, less those that it has.
        """
        with autocast(self.body.device, self.dtype):
            X, names = self.features(texts), self.name_vectors()
        logits = X @ self.weights.T + self.intercepts + self.given.names * X[:, : names.shape[1]] @ names.T
        tags = [self.tags[i] for i in texts]
        log_weights = np.pad(logits.detach().double().cpu().numpy(), ((0, 0), (1, 0)))  # None has 0
        targets = np.eye(log_weights.shape[1])[np.concatenate(tags)]
        chains = Chains(list(map(len, tags)))
        found = chains.infer(log_weights, self.transitions)
        logits.backward(logits.new_tensor((found.words - targets)[:, 1:] / n_words))
        true = (targets * log_weights).sum() + (chains.count(targets) * self.transitions).sum()
        return float(found.log_normalizer - true)

    def _parts(self, texts: Sequence[int]) -> Iterator[list[int]]:
        """Texts of like length, within the tokens of a part."""
        for part in batches([self.words.sizes[i] for i in texts], self.part_tokens):
            yield [texts[i] for i in part]
