"""adapt(): continued pretraining of a language model on unlabelled text, with the model's own objective.

The loop is plain, not transformers' Trainer. The head is applied only where a word was hidden, since half of a step of
a small model is its vocabulary. Every step draws its masks from its own seed, so that a run that was killed goes on to
the same weights, bit for bit.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.checks import above, at_least, between, check_seed
from fewshot.errors import InputError, UnsupportedError
from fewshot.inputs import as_texts
from fewshot.models.base import IntArray
from fewshot.models.dtypes import cast, own_dtype
from fewshot.models.kinds import kind_of_own
from fewshot.models.loading import Loaded, load
from fewshot.models.locks import lock_of
from fewshot.models.reading import ReadingModel
from fewshot.training.blocks import hold_out
from fewshot.training.checkpoints import RunFolder, check_run_folder
from fewshot.training.copies import as_for_training
from fewshot.training.descent import Descent
from fewshot.training.objective import Objective

__all__ = ["Adaptation", "Measurement", "adapt", "pretraining_loss"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """What was measured after some step of `adapt`: mean losses in nats a token."""

    step: int
    tokens: int
    loss: float  # on the text trained on, since the measurement before; NaN at step 0
    held_out_loss: float


@dataclass(frozen=True)
class Adaptation:
    """The result of `adapt`: the adapted model and its losses.

    Parameters
    ----------
    model : MaskedLM or CausalLM
        The adapted model, of the kind that was given.
    history : tuple of Measurement
        The losses before the first step, at every checkpoint, and after the last step.
    """

    model: Any
    history: tuple[Measurement, ...]


def adapt(
    model: Any,
    texts: Sequence[str],
    *,
    folder: str | Path | None = None,
    epochs: float = 1.0,
    learning_rate: float = 1e-4,
    tokens_per_step: int = 8192,
    block_size: int = 128,
    mask_rate: float = 0.3,
    sampled_words: int | None = None,
    held_out: float = 0.01,
    save_steps: int = 500,
    random_state: int = 0,
) -> Adaptation:
    """Continue the pretraining of a language model on unlabelled text of your domain.

    A masked model learns to fill masked tokens, a causal model to predict the next token (Gururangan et al. 2020,
    "Don't Stop Pretraining"). The given model does not change. Texts are packed into blocks without padding. Dropout is
    off, since one pass over the text does not overfit (Geiping and Goldstein 2022, "Cramming"). The learning rate rises
    over the first 6 % of the steps, then falls linearly to 0. Gradients are clipped to norm 1. A float32 model is
    trained in float32 on every machine. A model that was loaded in 16 bits is trained in bfloat16 with a float32 copy
    of its weights. The adapted model has the dtype of the given one.

    Parameters
    ----------
    model : str, Path, tuple, MaskedLM or CausalLM
        Anything that `load` takes.
    texts : sequence of str
        Unlabelled texts, at least two.
    folder : str or Path, optional
        A new or empty folder, where the adapted model is saved as an ordinary model folder. During training, a
        checkpoint is written there. If the process is killed, the same call continues from the checkpoint. None writes
        nothing to disk.
    epochs : float
        Number of passes over the texts. It may be a fraction.
    learning_rate : float
        The highest learning rate of AdamW. Use 5e-4 if a new head must be learnt.
    tokens_per_step : int
        Number of tokens in a step.
    block_size : int
        Number of tokens in a block, special tokens included.
    mask_rate : float
        Share of tokens that a masked model must predict. BERT has 15 %; with more, each step teaches more (Wettig et
        al. 2022, "Should You Mask 15 %?"). Of these tokens, 80 % become the mask token, 10 % a random token, and 10 %
        stay.
    sampled_words : int, optional
        How many words of the vocabulary are sampled to estimate the softmax normaliser of each prediction, beside the
        words that the batch predicts. They are drawn evenly, and weighted to stand for all other words (Jean et al.
        2015). None computes the normaliser exactly.
    held_out : float
        Share of the texts (at most 1,000 texts) that are held out to measure the loss.
    save_steps : int
        Number of steps between checkpoints. At each checkpoint, the held-out loss is measured.
    random_state : int
        Seed of the order, the masks and the held-out texts.

    Returns
    -------
    Adaptation
        The adapted model, and the losses during training.

    Raises
    ------
    UnsupportedError
        When the model is neither masked nor causal.
    InputError
        When there are fewer than two texts, a number is out of its range, or the folder has other files.

    Examples
    --------
    >>> from fewshot import Classifier, adapt
    >>> adapted = adapt("FacebookAI/roberta-base", reviews, folder="roberta-reviews")  # doctest: +SKIP
    >>> [round(m.held_out_loss, 2) for m in adapted.history]  # doctest: +SKIP
    [2.61, 2.18]
    >>> Classifier(adapted.model, template="sst2/it_was").fit()  # doctest: +SKIP
    """
    settings = {name: value for name, value in locals().items() if name not in ("model", "texts", "folder")}
    _check_numbers(settings)
    check_run_folder(folder)
    lm = _language_model(model)
    texts = as_texts(texts)
    if len(texts) < 2:
        raise InputError(f"adapt() needs at least two texts, one of them to measure the loss. Got {len(texts)}.")
    said = hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=16).hexdigest()
    place = RunFolder(folder, settings | {"model": lm.fingerprint, "texts": said})
    with place.held():
        kept = place.restore()
        run = _Run(lm, texts, settings)
        run.model.requires_grad_(True)
        dtype = own_dtype(lm.model)
        with as_for_training(run.model, dtype):
            history = run.train(place, kept)
        cast(run.model, dtype)
        place.finish(run.model, lm.tokenizer)
    recipe = None
    if place.folder is not None:
        recipe = Loaded(str(place.folder), device=str(lm.device), kwargs=lm.recipe.own if lm.recipe else {})
    return Adaptation(lm.around(run.model, recipe), tuple(history))


def pretraining_loss(model: Any, texts: Sequence[str], *, block_size: int = 128, random_state: int = 0) -> float:
    """Measure how well a language model predicts a text, by its own objective.

    Parameters
    ----------
    model : str, Path, tuple, MaskedLM or CausalLM
        Anything that `load` takes.
    texts : sequence of str
        They are packed into blocks, as in `adapt`.
    block_size : int
        Number of tokens in a block, special tokens included.
    random_state : int
        Seed of the masks: BERT's 15 % are hidden from a masked model.

    Returns
    -------
    float
        Mean negative log-probability of the predicted tokens, in nats a token.

    Raises
    ------
    UnsupportedError
        When the model is neither masked nor causal.

    Examples
    --------
    >>> from fewshot.training.adapt import pretraining_loss
    >>> pretraining_loss("embedded:masked", ["The cat sat on the mat and looked at the dog."]) < 6
    True
    """
    lm = _language_model(model)
    with lock_of(lm.model):
        objective = Objective(lm, lm.model)
        return objective.mean_loss(objective.blocks(as_texts(texts), block_size), [random_state, 3])


def _language_model(model: Any) -> ReadingModel:
    lm = load(model)
    kind = kind_of_own(lm)
    if kind is None or kind.pretraining is None:
        raise UnsupportedError(f"Only masked and causal language models learn from unlabelled text. Got {lm!r}.")
    with lock_of(lm.model):
        if not lm.comes_apart:
            raise UnsupportedError(
                f"{lm!r} can't learn from unlabelled text: the head of its {type(lm.model).__name__} can't be told "
                "from its body. It still serves in Prompting(), Readout() and FineTuning()."
            )
    return lm


def _check_numbers(settings: dict[str, Any]) -> None:
    for name in ("mask_rate", "held_out"):
        between(name, settings[name], 0, 1)
    for name in ("epochs", "learning_rate", "tokens_per_step", "save_steps"):
        above(name, settings[name], 0)
    at_least("block_size", settings["block_size"], 8, more=" tokens")
    at_least("sampled_words", settings["sampled_words"], 1, optional=True)
    check_seed(settings["random_state"])


class _Run:
    """The text as blocks, an own copy of the model, and the loop."""

    def __init__(self, lm: ReadingModel, texts: Sequence[str], settings: dict[str, Any]) -> None:
        self.lm, self.settings = lm, settings
        self.seed = int(settings["random_state"])
        with lock_of(lm.model):
            self.model = copy.deepcopy(lm.model).float()
        self.objective = Objective(lm, self.model, settings["sampled_words"])
        held, seen = hold_out(len(texts), settings["held_out"], self.seed)
        self.held = self.objective.blocks([texts[i] for i in held], settings["block_size"])
        self.blocks = self.objective.blocks([texts[i] for i in seen], settings["block_size"])
        self.per_step: int = max(1, settings["tokens_per_step"] // self.blocks.shape[1])
        self.steps: int = max(1, math.ceil(settings["epochs"] * len(self.blocks) / self.per_step))
        self.descent = Descent(
            self.model.parameters(),
            self.steps,
            settings["learning_rate"],
            title="Adapting",
            warm=0.06,
            betas=(0.9, 0.98),
        )

    def train(self, place: RunFolder, state: dict[str, Any] | None) -> list[Measurement]:
        """Take every step that is left after a state that was kept, and return what was measured."""
        if state is None:
            start, history = 0, [Measurement(0, 0, math.nan, self.held_out_loss())]
        else:
            start, history = state["step"], [Measurement(**m) for m in state["history"]]
            self.model.load_state_dict(state["model"])
            self.descent.optimizer.load_state_dict(state["optimizer"])
        recent: list[float] = []
        with self.descent.shown(start):
            for step in range(start, self.steps):
                recent.append(
                    self.descent.take(step, lambda step: self.lm.within_memory(partial(self.gradients, step)))
                )
                done = step + 1
                if done % self.settings["save_steps"] == 0 or done == self.steps:
                    tokens = done * self.per_step * self.blocks.shape[1]
                    history.append(Measurement(done, tokens, float(np.mean(recent)), self.held_out_loss()))
                    logger.info("%s", history[-1])
                    recent = []
                    place.keep(
                        step=done,
                        history=[asdict(m) for m in history],
                        model=self.model.state_dict(),
                        optimizer=self.descent.optimizer.state_dict(),
                    )
        return history

    def step_blocks(self, step: int) -> IntArray:
        """The blocks of a step; every pass over the text has its own order."""
        wanted = np.arange(step * self.per_step, (step + 1) * self.per_step)
        epochs, places = np.divmod(wanted, len(self.blocks))
        orders = {e: np.random.default_rng([self.seed, 1, e]).permutation(len(self.blocks)) for e in np.unique(epochs)}
        return self.blocks[[orders[e][i] for e, i in zip(epochs, places, strict=True)]]

    def gradients(self, step: int, budget: int) -> float:
        """Compute the gradients of one step, in parts that memory has room for, and return its loss."""
        rng = np.random.default_rng([self.seed, 2, step])
        blocks = self.step_blocks(step)
        inputs, chosen = self.objective.asked(blocks, rng, self.settings["mask_rate"])
        self.descent.clear()
        total = 0.0
        for part in self.objective.parts(blocks, budget):
            loss = self.objective.loss(inputs[part], blocks[part], chosen[part], rng) / chosen.sum()
            loss.backward()
            total += loss.item()
        return total

    def held_out_loss(self) -> float:
        """Mean loss on the held-out texts."""
        return self.objective.mean_loss(self.held, [self.seed, 3])
