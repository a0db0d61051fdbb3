"""FineTuning: train the model itself on the labelled rows, by way of the prompt or of a classification layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import check_random_state

from fewshot.calibration import as_prior
from fewshot.checks import above, at_least, between, one_of
from fewshot.demonstrations import as_selector
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, ShortenedWarning, UnsupportedError, at_row, warn
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, is_encoder, is_language_model, kind_of
from fewshot.models.kinds import trains
from fewshot.models.local import available_memory, own_dtype
from fewshot.models.randomness import Draws, seeded
from fewshot.prompts.asking import Asking, fitted_selector, shown_rows
from fewshot.prompts.explaining import class_lines, question, raw_scores
from fewshot.strategies.base import Rows, Strategy
from fewshot.task.prompt import fit_text
from fewshot.task.task import Task
from fewshot.training.copies import LoRA, Parameters, own_copy
from fewshot.training.examples import BATCH_SIZE, Examples, class_weights, grouped, n_steps, set_apart
from fewshot.training.loop import Pace, train
from fewshot.training.new_layer import SequenceClassifier

__all__ = ["FineTuning"]

#: Settled on training rows of sst2, cr and trec6 (16 a class, seeds 10 and 11) with the embedded model, of this width.
_LEARNING_RATES = {"prompt": 5e-5, "head": 3e-4, "bias": 4e-3, "lora": 1e-3}
_WIDTH = 384


class FineTuning(Strategy):
    """Train an own copy of the model on the labelled rows.

    A float32 model is trained in float32 on every machine. One that was loaded in 16 bits (``load(dtype="bfloat16")``,
    or "fast" where that is bfloat16) computes its steps in bfloat16 over weights kept in float32, and the tuned model
    has the type that was given.

    Parameters
    ----------
    objective : {"prompt", "head"}
        "prompt" keeps the template and the label words: the loss is the cross-entropy of the class scores that
        prediction uses (Gao et al. 2021, "Making Pre-trained Language Models Better Few-shot Learners", LM-BFF). "head"
        puts a new classification layer on the body, trains with dropout, and ignores template and words but for the
        fields; an encoder knows only this one.
    parameters : {"all", "bias"} or LoRA
        What is trained. "bias" are the bias terms alone (Ben Zaken et al. 2022, "BitFit").
    steps : int, optional
        Steps of AdamW. None: from the number of examples.
    learning_rate : float, optional
        The highest; it rises over the first tenth of the steps and falls linearly. None: from ``parameters`` and the
        width of the model.
    batch_size : int
        Examples of a step.
    early_stopping : bool or "auto"
        Hold a share of the examples out, and keep the weights that had the lowest log loss on them. "auto" does so for
        the prompt where every class has 50 examples: with fewer, every example teaches more than it tells, and a new
        layer grows too sure of itself, which log loss punishes, long before it is as often right as it can be.
    validation_fraction : float
        That share.
    calibration : str or Prior, optional
        What is taken out of the label words' scores before training begins, and goes on being taken out (see
        `fewshot.calibration`): so training starts at the calibrated prompt. "batch" learns it from the examples.
    class_weight : dict, "balanced" or None
        Weights of classes, as in scikit-learn.
    shots : int
        Number of demonstrations in every prompt, over all classes; their rows are not trained on.
    selection : {"stratified", "random", "first"} or Selector
        Which labelled rows become demonstrations.

    Attributes
    ----------
    model_ : LanguageModel or SequenceClassifier
        The tuned model.
    history_ : list of TrainingStep
        The losses measured on the way.
    n_trained_ : int
        Numbers that were trained.

    Examples
    --------
    >>> from fewshot import Classifier, FineTuning
    >>> clf = Classifier("embedded:masked", "sst2/it_was", strategy=FineTuning(steps=4), random_state=0)
    >>> clf = clf.fit(["I loved it.", "What a joy.", "So dull.", "I fell asleep."], ["positive"] * 2 + ["negative"] * 2)
    >>> clf.predict(["A lovely film."]).tolist()
    ['positive']
    """

    takes_weights = True

    def __init__(
        self,
        objective: Literal["prompt", "head"] = "prompt",
        parameters: Parameters = "all",
        *,
        steps: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = BATCH_SIZE,
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.2,
        calibration: Any = "batch",
        class_weight: Any = None,
        shots: int = 0,
        selection: Any = "stratified",
    ) -> None:
        self.objective = objective
        self.parameters = parameters
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.calibration = calibration
        self.class_weight = class_weight
        self.shots = shots
        self.selection = selection

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Train a copy of the model; the given one stays as it is."""
        self._check(model)
        if X is None or y is None:
            raise InputError("FineTuning learns from labelled rows: call fit(X, y), or use Prompting().")
        rng = check_random_state(random_state)
        self.task_ = task
        selector = fitted_selector(as_selector(self.selection), self.shots, task, X, y, rng=rng)
        rows = np.setdiff1d(np.arange(len(X)), shown_rows(selector))
        targets = task.index([y[i] for i in rows])
        if len(set(targets.tolist())) < 2:
            raise InputError(
                f"FineTuning needs examples of two classes{' besides the demonstrations' if self.shots else ''}. Got "
                f"those of {sorted({str(y[i]) for i in rows})}."
            )
        weights = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
        weights = weights * class_weights(self.class_weight, targets, task.classes, weights)
        texts = [X[i] for i in rows]
        if self.objective == "head":
            self._fit_head(model, texts, targets, weights, rng=rng)
        else:
            asking = Asking(task, model, selector, rows=X, labels=y)
            self._fit_prompt(asking, texts, targets, weights, rng=rng)

    def _check(self, model: Any) -> None:
        one_of("objective", self.objective, ("prompt", "head"))
        if not isinstance(self.parameters, LoRA):
            one_of("parameters", self.parameters, ("all", "bias"), more=", or LoRA(...)")
        at_least("steps", self.steps, 1, optional=True)
        above("learning_rate", self.learning_rate, 0, optional=True)
        above("batch_size", self.batch_size, 0, optional=True)
        one_of("early_stopping", self.early_stopping, (True, False, "auto"))
        between("validation_fraction", self.validation_fraction, 0, 1)
        if self.objective == "head":
            self._check_head(model)
        elif not trains(model, "prompt"):
            kind = "an encoder" if is_encoder(model) and not is_language_model(model) else kind_of(model)
            raise UnsupportedError(
                f"FineTuning('prompt') trains local masked, causal and sequence-to-sequence models. Got {model!r} "
                f"({kind}): use FineTuning('head') or Embedding() with an encoder, Prompting() with any other model."
            )

    def _check_head(self, model: Any) -> None:
        if not trains(model, "head"):
            raise UnsupportedError(
                f"FineTuning('head') trains local transformers models and SentenceEncoders. Got {model!r}."
            )
        if self.shots:
            raise UnsupportedError("A classification layer reads the text alone: leave shots at 0.")

    def _fit_prompt(
        self, asking: Asking, texts: list[Row], targets: IntArray, weights: FloatArray, *, rng: Any
    ) -> None:
        model = asking.model
        queries = asking.queries(texts)
        if self.calibration is not None:
            asking.calibrate(as_prior(self.calibration), texts, [self.task_.classes[i] for i in targets], rng)
        asked, examples = grouped(queries, targets, weights, len(self.task_.classes), model.n_inputs)
        tokens = int(examples.sizes.max())
        _check_memory(tokens, model, len(self.task_.verbalizer.candidates))
        offset = self._offset(asking)
        with seeded(int(rng.randint(2**31 - 1))):
            copied, finish = own_copy(model.model, self.parameters)
        tuned = model.around(copied, None)

        def scores(rows: IntArray) -> Any:
            logprobs, n_tokens = tuned.differentiable([asked[i] for i in rows])
            return self.task_.verbalizer.aggregate(logprobs + logprobs.new_tensor(offset), n_tokens)

        self._train(copied, scores, examples, rng, own_dtype(model.model))
        self.model_ = model.around(finish(), None)
        asking.model = self.model_
        self.asking_: Asking | None = asking

    def _offset(self, asking: Asking) -> FloatArray:
        """What the calibration adds to the log-score of each label word."""
        none = np.zeros((1, len(self.task_.verbalizer.candidates)))
        if asking.calibration is None:
            return none
        offset = asking.calibration.transform(none)
        classes = np.arange(float(len(self.task_.classes)))[None]
        if not np.array_equal(asking.calibration.transform_classes(classes), classes):
            raise UnsupportedError(
                f"{asking.calibration!r} is learnt on class scores, which training changes: use 'batch', 'contextual', "
                "'domain-context', 'pmi' or None."
            )
        return offset

    def _fit_head(self, model: Any, texts: list[Row], targets: IntArray, weights: FloatArray, *, rng: Any) -> None:
        with seeded(int(rng.randint(2**31 - 1))):
            classifier = SequenceClassifier(model, len(self.task_.classes))
            dtype = own_dtype(classifier.model)
            copied, finish = own_copy(classifier.model, self.parameters, fresh=classifier.fresh)
        classifier.model = copied
        self.asking_ = None
        asked, examples = grouped(
            self._rows(classifier, texts), targets, weights, len(self.task_.classes), lambda rows: list(map(len, rows))
        )
        # the classic recipe has dropout, and the prompt, which begins where it can answer already, does without
        dropout = Draws(int(rng.randint(2**31 - 1)))

        def scores(rows: IntArray) -> Any:
            with dropout.turn():
                return classifier.logits([asked[i] for i in rows])

        self._train(copied, scores, examples, rng, dtype)
        classifier.model = finish()
        self.model_ = classifier

    def _rows(self, classifier: SequenceClassifier, X: Sequence[Row]) -> list[tuple[int, ...]]:
        texts, shortened = [], np.zeros(len(X), dtype=np.int64)
        for i, row in enumerate(X):
            with at_row(i):
                if isinstance(row, str):
                    texts.append(row)
                    continue
                fit = fit_text(self.task_.template.prompt(row), classifier)
                texts.append(fit.prompt.fields_text)
                shortened[i] = fit.n_cut
        rows, cut = classifier.rows(texts)
        cut += shortened
        if cut.any():
            warn(
                f"{(cut > 0).sum()} of {len(rows)} texts exceed the model's window of {classifier.limit} tokens and "
                f"were cut, by {int(np.median(cut[cut > 0]))} tokens in the median.",
                ShortenedWarning,
            )
        return rows

    def _train(self, copied: Any, scores: Any, examples: Examples, rng: Any, dtype: Any) -> None:
        new_layer = self.objective == "head"
        early = False if new_layer and self.early_stopping == "auto" else self.early_stopping
        held_out = set_apart(examples, early, self.validation_fraction, rng)
        n = len(examples.sizes) - len(held_out)
        rate = self.learning_rate or self._rate(copied)
        pace = Pace(self.steps or n_steps(n, self.batch_size), self.batch_size, rate)
        self.n_trained_ = sum(p.numel() for p in copied.parameters() if p.requires_grad)
        self.history_ = train(
            copied, scores, examples, pace, rng=rng, held_out=held_out, dtype=dtype, dropout=new_layer
        )

    def _rate(self, model: Any) -> float:
        """The learning rate that suits what is trained; wide models need a smaller one."""
        what = "lora" if isinstance(self.parameters, LoRA) else self.parameters
        rate = _LEARNING_RATES[self.objective if what == "all" else what]
        return rate * min(1.0, _WIDTH / _size(model, "hidden_size", "d_model", otherwise=768))

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes)."""
        if self.asking_ is None:
            return log_softmax(self.model_.scores(self._rows(self.model_, X)), axis=1)
        # the loss compares the label words with one another, so that their own mass says nothing any more
        return self.asking_.class_scores(self.asking_.queries(X), warn=False)

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """The tuned model's total probability of the label words' distinct first tokens, of shape (n_texts,)."""
        return self._prompt().label_mass(X)

    def preview(self, X: Sequence[Row]) -> Preview:
        """The prompts as they would be asked, without asking."""
        return self._prompt().preview(X)

    def explain(self, row: Row) -> Explanation:
        """The prompt, and what the tuned model says of each label word."""
        asking = self._prompt()
        with asking.remembering():
            asked = question(asking, row)
            before = None if asking.calibration is None else raw_scores(asking, row)
            return Explanation(class_lines(self.task_, self.log_scores([row]), before), (asked,))

    def _prompt(self) -> Asking:
        if self.asking_ is None:
            raise UnsupportedError("FineTuning('head') asks no prompt: it reads the text alone.")
        return self.asking_


def _size(model: Any, *names: str, otherwise: int) -> int:
    """A size that a model's config states under one of these names."""
    config = model.config.get_text_config()
    return next((int(getattr(config, name)) for name in names if getattr(config, name, None)), otherwise)


def _check_memory(tokens: int, model: Any, n_words: int) -> None:
    """Refuse a prompt whose label words are more than memory can train on at once."""
    layers = _size(model.model, "num_hidden_layers", "num_layers", otherwise=12)
    width = _size(model.model, "hidden_size", "d_model", otherwise=768)
    needed = tokens * layers * width * 4 * 24  # about 24 numbers a hidden unit wait for the backward pass
    if needed > available_memory(model.device):
        raise InputError(
            f"One text with its {n_words} label words puts {tokens} tokens into {model!r}: training on it needs about "
            f"{needed / 2**30:.0f} GiB. Use fewer label words, words of one token, or FineTuning('head')."
        )
