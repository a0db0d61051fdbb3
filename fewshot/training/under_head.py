"""Fine-tuning of a copy of a model under a head, which is fitted on its vectors of words."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from fewshot.errors import UnsupportedError
from fewshot.models.base import IntArray
from fewshot.models.dtypes import own_dtype
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.engine.layers import find_layers
from fewshot.models.engine.padding import Padding, scale_vectors
from fewshot.models.local import batches, compute_within_memory
from fewshot.models.randomness import seeded
from fewshot.training.copies import as_for_training, own_copy
from fewshot.training.descent import Descent
from fewshot.training.examples import n_steps
from fewshot.training.finetune import Tuned, learning_rate
from fewshot.training.loop import GPU_PART_TOKENS, PART_TOKENS, TrainingStep, endless
from fewshot.training.lora import Parameters

__all__ = ["HeadTraining", "WordVectors", "around", "body_of", "copy_below", "tune_under_head"]

#: How often the loss is reported, evenly over the steps.
_MEASUREMENTS = 10


def tune_under_head(
    model: Any,
    begin: Callable[[Any, int], HeadTraining],
    settings: Any,
    rng: np.random.RandomState,
    *,
    objective: Literal["tags", "span"],
    layer: int | None,
    refit: int | None,
) -> Tuned:
    """Train a copy of an encoder or a masked model, so that a head can tell more by the vectors of words.

    The head is fitted on the vectors as they are, and these are trained under that head, in turn where it is refitted.

    Parameters
    ----------
    model : SentenceEncoder or MaskedLM
        It stays as it is.
    begin : callable
        Gets the copy and the layer that the head reads, and returns the examples with their head.
    settings : FineTuning
        What is trained, for how long and how fast.
    rng : RandomState
        Draws the order of the examples.
    objective : {"tags", "span"}
    layer : int, optional
        What the head reads; None is the middle one.
    refit : int, optional
        After how many steps the head is fitted again. None: never.

    Raises
    ------
    UnsupportedError
        When the weights are no numbers any more.
    """
    layer = model.token_reader.check_layer(layer)
    with seeded(int(rng.randint(2**31 - 1))):
        body, finish = copy_below(model, settings.parameters, layer)
    training = begin(around(model, body), layer)
    steps = settings.steps or n_steps(training.n, settings.batch_size)
    rate = settings.learning_rate or learning_rate(objective, settings.parameters, body)
    trained = [p for p in body.parameters() if p.requires_grad]
    descent = Descent(trained, steps, rate, title="Fine-tuning")
    size, order = min(settings.batch_size, training.n), endless(np.arange(training.n), rng)
    every = max(1, math.ceil(steps / _MEASUREMENTS))
    history: list[TrainingStep] = []
    losses: list[float] = []

    def gradients(step: int) -> float:
        return training.gradients(descent, [next(order) for _ in range(size)])

    with as_for_training(body, training.dtype), descent.shown():
        for step in range(steps):
            if step == 0 or (refit is not None and step % refit == 0):
                training.fit_head(first=step == 0)
            losses.append(descent.take(step, gradients))
            if not (math.isfinite(losses[-1]) and all(p.isfinite().all() for p in trained)):
                raise UnsupportedError(
                    f"The weights became NaN or infinite in step {step + 1} of {steps}, at the learning rate "
                    f"{descent.rate(step):.2g}. Lower learning_rate."
                )
            if (step + 1) % every == 0 or step + 1 == steps:
                history.append(TrainingStep(step + 1, float(np.mean(losses)), math.nan))
                losses = []
    n_trained = sum(p.numel() for p in trained if p.grad is not None)  # none above the layer that is read
    descent.clear()
    return around(model, finish()), history, n_trained


def body_of(model: Any) -> Any:
    """The transformers model within one of ours."""
    return model.model[0].model if isinstance(model, SentenceEncoder) else model.model


def around(model: Any, body: Any) -> Any:
    """One of our models around another transformers model."""
    if not isinstance(model, SentenceEncoder):
        return model.around(body, None)
    other = model.copied(model.model.parameters())
    other.model[0].model = body
    return other


def copy_below(model: Any, parameters: Parameters, layer: int) -> tuple[Any, Callable[[], Any]]:
    """A copy of the transformers model within one of ours, and what ends its training.

    The word embeddings stay, of which a few texts show a few, and so does what comes after the layer that is read.
    """
    given = body_of(model)
    _, _, layers = find_layers(given)
    unread = [] if layers is None else layers[layer:]
    ids = {id(p) for module in (given.get_input_embeddings(), *unread) for p in module.parameters()}
    fixed = {name for name, p in given.named_parameters() if id(p) in ids}
    return own_copy(given, parameters, fixed=fixed)


class WordVectors:
    """The vectors of the words of some texts, with gradients.

    Parameters
    ----------
    model : SentenceEncoder or MaskedLM
    texts : sequence of str
    words : sequence of sequence of (start, end)
    layer : int
    questions : sequence of str, optional
        What each text is read after.
    """

    def __init__(
        self, model: Any, texts: Sequence[str], words: Sequence[Any], layer: int, questions: Sequence[str] | None = None
    ) -> None:
        self.reader, self.layer = model.token_reader, layer
        self.planned = self.reader.plan(texts, model.limit, questions)
        self.padding = Padding(self.reader.body)
        self.members = [_members(bounds, own) for bounds, own in zip(self.planned.bounds, words, strict=True)]
        self.n_words = list(map(len, words))
        self.lengths = [len(ids) for ids, _ in self.planned.rows]
        #: How many tokens are read of each text.
        self.sizes = [max(1, sum(self.lengths[rows])) for rows in self.planned.of_texts]

    def means(self, texts: Sequence[int], *, check: bool = False) -> list[torch.Tensor]:
        """For each of these texts the mean vectors of the tokens of its words; a word without tokens has zeros.

        With ``check``, which is for the type of the weights, it is found out which rows may be padded together.
        """
        body = self.reader.body
        rows = [row for i in texts for row in range(len(self.planned.rows))[self.planned.of_texts[i]]]
        states: dict[int, torch.Tensor] = {}
        lengths = [self.lengths[row] for row in rows]

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
            counts = torch.bincount(places, minlength=self.n_words[i]).clamp(min=1)
            made.append(sums / counts[:, None])
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


class HeadTraining(ABC):
    """The examples that vectors are trained on, and the head that is fitted on them for now.

    Parameters
    ----------
    tuned : SentenceEncoder or MaskedLM
        Around the copy that is trained.
    given : SentenceEncoder or MaskedLM
        Has the type that is computed in.
    words : WordVectors
        Of the examples.
    """

    def __init__(self, tuned: Any, given: Any, words: WordVectors) -> None:
        self.body, self.dtype, self.words = body_of(tuned), own_dtype(body_of(given)), words
        self.n = len(words.sizes)
        self.part_tokens = PART_TOKENS if self.body.device.type == "cpu" else GPU_PART_TOKENS

    @abstractmethod
    def fit_head(self, *, first: bool) -> None:
        """Fit the head on the vectors as they are; the first time in the type of the weights."""

    @abstractmethod
    def count(self, examples: Sequence[int]) -> int:
        """How many losses the mean loss of some examples is of."""

    @abstractmethod
    def part_gradients(self, examples: Sequence[int], n: int) -> float:
        """Compute the gradients of the loss of some examples, divided by ``n``, and return it undivided."""

    def gradients(self, descent: Descent, examples: Sequence[int]) -> float:
        """Compute the gradients of the mean loss of some examples, and return it."""
        n = self.count(examples)

        def whole(tokens: int) -> float:
            self.part_tokens = tokens
            descent.clear()
            return sum(self.part_gradients(part, n) for part in self.parts(examples)) / n

        loss, self.part_tokens = compute_within_memory(whole, self.part_tokens, "Training", self.body.device)
        return loss

    def parts(self, examples: Sequence[int]) -> Iterator[list[int]]:
        """Examples of like length, within the tokens of a part."""
        for part in batches([self.words.sizes[i] for i in examples], self.part_tokens):
            yield [examples[i] for i in part]
