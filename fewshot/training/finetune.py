"""Fine-tuning of a copy of a model: through its prompt, or under a new classification layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from fewshot.errors import InputError
from fewshot.models.base import FloatArray, IntArray, Query
from fewshot.models.dtypes import own_dtype
from fewshot.models.local import available_memory, size_of
from fewshot.models.randomness import Draws, seeded
from fewshot.models.reading import ReadingModel
from fewshot.training.copies import own_copy
from fewshot.training.examples import Examples, group_equal, n_steps, set_examples_apart
from fewshot.training.loop import Pace, TrainingStep, train
from fewshot.training.lora import LoRA, Parameters
from fewshot.training.new_layer import SequenceClassifier

__all__ = ["Plan", "Tuned", "learning_rate", "tune_new_layer", "tune_prompt"]

#: Learning rates, settled with the embedded model on training rows of sst2, cr and trec6 (16 a class, seeds 10 and 11),
#: for tags by benchmarks/settle/tuned_tagging.py, and for spans by benchmarks/settle/tuned_answers.py.
_LEARNING_RATES = {"prompt": 5e-5, "head": 3e-4, "tags": 3e-4, "span": 3e-5, "bias": 4e-3, "lora": 1e-3}
#: Hidden units of that model.
_WIDTH = 384


#: The tuned model, the losses on the way, and how many numbers were trained.
Tuned = tuple[Any, list[TrainingStep], int]


@dataclass(frozen=True)
class Plan:
    """What is trained, on which labels, for how long and how fast."""

    settings: Any  # a FineTuning, whose parameters are read
    targets: IntArray  # the number of each row's class
    weights: FloatArray  # of the rows
    n_classes: int
    rng: np.random.RandomState

    def seed(self) -> int:
        """A new one in every call."""
        return int(self.rng.randint(2**31 - 1))


def tune_prompt(
    model: ReadingModel,
    queries: Sequence[Query],
    plan: Plan,
    aggregate: Callable[[torch.Tensor, Any], torch.Tensor],
    offset: FloatArray,
) -> Tuned:
    """Train a copy of a language model on the class scores of its prompts.

    Parameters
    ----------
    model : ReadingModel
        It stays as it is.
    queries : sequence of Query
        The prompt of each row.
    plan : Plan
    aggregate : callable
        Class scores, from the candidates' log-probabilities and their numbers of tokens.
    offset : ndarray of shape (1, n_candidates)
        What is added to the log-probabilities, as a calibration does.

    Raises
    ------
    InputError
        When memory has no room for one prompt with its candidates.
    """
    asked, examples = group_equal(queries, plan.targets, plan.weights, plan.n_classes, model.n_inputs)
    _check_memory(int(examples.sizes.max()), model, offset.shape[1])
    with seeded(plan.seed()):
        copied, finish = own_copy(model.model, plan.settings.parameters)
    tuned = model.around(copied, None)

    def scores(rows: IntArray) -> torch.Tensor:
        logprobs, n_tokens = tuned.differentiable([asked[i] for i in rows])
        return aggregate(logprobs + logprobs.new_tensor(offset), n_tokens)

    history, n_trained = _train("prompt", copied, scores, examples, plan, dtype=own_dtype(model.model))
    return model.around(finish(), None), history, n_trained


def tune_new_layer(model: Any, read: Callable[[SequenceClassifier], list[tuple[int, ...]]], plan: Plan) -> Tuned:
    """Train a copy of a model under a new classification layer; ``read`` gives the tokens that it reads of each row."""
    with seeded(plan.seed()):
        classifier = SequenceClassifier(model, plan.n_classes)
        dtype = own_dtype(classifier.model)
        classifier.model, finish = own_copy(classifier.model, plan.settings.parameters, fresh=classifier.fresh)
    asked, examples = group_equal(
        read(classifier), plan.targets, plan.weights, plan.n_classes, lambda rows: list(map(len, rows))
    )
    # the classic recipe has dropout, and the prompt, which begins where it can answer already, does without
    dropout = Draws(plan.seed())

    def scores(rows: IntArray) -> torch.Tensor:
        with dropout.turn():
            return classifier.logits([asked[i] for i in rows])

    history, n_trained = _train("head", classifier.model, scores, examples, plan, dtype=dtype)
    classifier.model = finish()
    return classifier, history, n_trained


def _train(
    objective: Literal["prompt", "head"],
    copied: Any,
    scores: Callable[[IntArray], torch.Tensor],
    examples: Examples,
    plan: Plan,
    *,
    dtype: torch.dtype,
) -> tuple[list[TrainingStep], int]:
    """Train a copy in place; return the losses on the way, and how many numbers were trained.

    ``dtype`` is the type of the model that was given, and ``scores`` computes class scores with gradients.
    """
    given, new_layer = plan.settings, objective == "head"
    early = False if new_layer and given.early_stopping == "auto" else given.early_stopping
    held_out = set_examples_apart(examples, early, given.validation_fraction, plan.rng)
    steps = given.steps or n_steps(len(examples.sizes) - len(held_out), given.batch_size)
    pace = Pace(steps, given.batch_size, given.learning_rate or learning_rate(objective, given.parameters, copied))
    n_trained = sum(p.numel() for p in copied.parameters() if p.requires_grad)
    history = train(copied, scores, examples, pace, rng=plan.rng, held_out=held_out, dtype=dtype, dropout=new_layer)
    return history, n_trained


def learning_rate(objective: Literal["prompt", "head", "tags", "span"], parameters: Parameters, model: Any) -> float:
    """The learning rate that suits what is trained; wide models need a smaller one."""
    what = "lora" if isinstance(parameters, LoRA) else parameters
    return _LEARNING_RATES[objective if what == "all" else what] * min(1.0, _WIDTH / _width(model))


def _width(model: Any) -> int:
    return size_of(model, "hidden_size", "d_model", otherwise=768)


def _check_memory(tokens: int, model: ReadingModel, n_words: int) -> None:
    """Refuse a prompt whose label words are more than memory can train on at once."""
    layers = size_of(model.model, "num_hidden_layers", "num_layers", otherwise=12)
    needed = tokens * layers * _width(model.model) * 4 * 24  # about 24 numbers a hidden unit wait for the backward pass
    if needed > available_memory(model.device):
        raise InputError(
            f"One text with its {n_words} label words puts {tokens} tokens into {model!r}: training on it needs about "
            f"{needed / 2**30:.0f} GiB. Use fewer label words, words of one token, or FineTuning('head')."
        )
