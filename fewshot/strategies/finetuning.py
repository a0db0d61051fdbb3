"""FineTuning: train the model itself, by way of the prompt, a new layer, the tags of words or answered questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import above, at_least, between, one_of
from fewshot.demonstrations import as_selector
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.heads.answers import AnswerReading
from fewshot.heads.readings import Reading
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, kind_of
from fewshot.models.kinds import trains
from fewshot.prompts.asking import fitted_selector, shown_rows
from fewshot.prompts.explaining import ask_question, class_lines
from fewshot.strategies.base import Rows, Strategy
from fewshot.strategies.span_head import SpanHead
from fewshot.strategies.token_head import TokenHead, Words
from fewshot.strategies.tuning_ways import NewLayerWay, PromptWay
from fewshot.task.extracts import Asked, ExtractTask
from fewshot.task.span_task import SpanTask
from fewshot.task.task import Task
from fewshot.training.examples import BATCH_SIZE, class_weights
from fewshot.training.lora import LoRA, Parameters

__all__ = ["FineTuning"]

#: The objectives under a head: whose they are, what they learn, and the head where none is given.
_UNDER_HEAD: dict[str, tuple[str, str, TokenHead | SpanHead]] = {
    "tags": ("Tagger", "spans", TokenHead()),
    "span": ("Extractor", "answers", SpanHead(pairs=True)),
}


class FineTuning(Strategy):
    """Train a copy of the model on labelled rows, a `Tagger`'s annotated texts or an `Extractor`'s answered questions.

    The given model does not change. A float32 model is trained in float32 on every machine. A model that was loaded in
    16 bits (``load(dtype="bfloat16")``, or "fast" where that means bfloat16) is trained in bfloat16 with a float32 copy
    of its weights. The tuned model has the dtype of the given one.

    Parameters
    ----------
    objective : {"prompt", "head", "tags", "span"}
        "prompt" keeps the template and the label words. The loss is the cross-entropy of the class scores that
        prediction uses (LM-BFF: Gao et al. 2021, "Making Pre-trained Language Models Better Few-shot Learners"). "head"
        puts a new classification layer on the model's body and trains with dropout. Of the template it uses only the
        fields, and no label words. In a `Classifier`, an encoder can be tuned with "head" only. "tags" is for a
        `Tagger`: the token vectors of a sentence encoder or a masked model are trained together with a `TokenHead`,
        which is fitted again every few steps and at the end. The layers above the one that the head reads, and the word
        embeddings, do not change. "span" does the same for an `Extractor`: each text is read after its question, and
        the head is a `SpanHead`, which is fitted once, before the training. The parameters from ``early_stopping`` to
        ``selection`` have no meaning for "tags" and "span".
    parameters : {"all", "bias"} or LoRA
        What is trained: all weights, only the bias terms ("bias", Ben Zaken et al. 2022, "BitFit"), or an adapter.
    steps : int, optional
        Number of AdamW steps. None: it depends on the number of examples.
    learning_rate : float, optional
        The highest learning rate. It rises over the first tenth of the steps, then falls linearly. None: it depends on
        ``parameters`` and on the width of the model.
    batch_size : int
        Number of examples in a step.
    early_stopping : bool or "auto"
        Whether to hold out a share of the examples, and to keep the weights with the lowest log loss on them. "auto"
        does so for "prompt" if every class has at least 50 examples: with fewer, each example is worth more in training
        than held out. "auto" never does so for "head": the log loss of a new layer rises, because it becomes
        overconfident, long before its accuracy is at its highest.
    validation_fraction : float
        The share of examples that early stopping holds out.
    calibration : str or Prior, optional
        The calibration of the label words' scores (see `fewshot.calibration`). It is fitted before training and applied
        in training and prediction, so training starts at the calibrated prompt. "batch" fits it on the examples.
    class_weight : dict, "balanced" or None
        Weights of classes, as in scikit-learn.
    shots : int
        Number of demonstrations in every prompt, over all classes. Their rows are not used for training.
    selection : {"stratified", "random", "first"} or Selector
        Which labelled rows become demonstrations.
    head : TokenHead or SpanHead, optional
        The head on the trained vectors that tags words or finds answers. None: ``TokenHead()`` for "tags",
        ``SpanHead(pairs=True)`` for "span".

    Attributes
    ----------
    model_ : LanguageModel, SentenceEncoder or SequenceClassifier
        The tuned model.
    head_ : TokenHead or SpanHead
        The fitted head that tags words or finds answers; only with "tags" and "span".
    history_ : list of TrainingStep
        The losses that were measured during training.
    n_trained_ : int
        How many weights (single numbers) were trained.

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
        objective: Literal["prompt", "head", "tags", "span"] = "prompt",
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
        head: TokenHead | SpanHead | None = None,
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
        self.head = head

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Train a copy of the model; the given one stays as it is."""
        from fewshot.training.finetune import Plan

        self._check()
        if self.objective in _UNDER_HEAD:
            door, what, _ = _UNDER_HEAD[self.objective]
            raise UnsupportedError(
                f"FineTuning({self.objective!r}) learns {what}, as in {door}(strategy=FineTuning({self.objective!r})). "
                "To classify texts use FineTuning('head'), or FineTuning('prompt') with a language model."
            )
        way_of: type[PromptWay | NewLayerWay] = NewLayerWay if self.objective == "head" else PromptWay
        way_of.refuse(model, self.shots)
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
        way = way_of.begin(task, model, selector, X, y)
        plan = Plan(self, targets, weights, len(task.classes), rng)
        self.model_, self.history_, self.n_trained_ = way.tune(model, [X[i] for i in rows], plan)
        self.asking_ = way.asking

    def fit_spans(self, task: SpanTask, model: Any, *, random_state: Any = None) -> Self:
        """Train a copy of the model on the spans of a tagger; the given model does not change.

        Raises
        ------
        UnsupportedError
            When the objective is not "tags", the model has no token vectors that can be trained, there is no annotated
            text, or a parameter has no meaning for tags.
        """
        from fewshot.training.finetune_tags import tune_tags

        self._check()
        head = self._own_head("tags", model)
        task.need_texts(self)
        self.model_, self.history_, self.n_trained_ = tune_tags(
            model, task, head, self, check_random_state(random_state)
        )
        self.head_ = head.fit_spans(task, self.model_, random_state=random_state)
        return self

    def _own_head(self, objective: str, model: Any) -> Any:
        """A head that is not fitted, of the door that asks, if model and parameters are for it."""
        door, _, head = _UNDER_HEAD[objective]
        if self.objective != objective:
            known = self.objective in _UNDER_HEAD
            does = f"is that of {_UNDER_HEAD[self.objective][0]}" if known else "classifies texts"
            raise UnsupportedError(
                f"FineTuning({self.objective!r}) {does}. {door} is tuned by {door}(strategy=FineTuning({objective!r}))."
            )
        name = type(head).__name__
        if not trains(model, "tokens"):
            raise UnsupportedError(
                f"FineTuning({objective!r}) trains SentenceEncoders and local masked language models. Got {model!r} "
                f"({kind_of(model)}): use load() or load('embedded:masked'), or {name}(), which trains no model."
            )
        if self.shots or self.class_weight is not None or self.early_stopping is True:
            more = "; see TokenHead(none_weight=...)" if objective == "tags" else ""
            raise UnsupportedError(
                f"FineTuning({objective!r}) shows no demonstrations, has no weights of classes and takes all its "
                f"steps: leave shots at 0, class_weight at None and early_stopping at 'auto'{more}."
            )
        own = clone(head if self.head is None else self.head)
        if getattr(own, "components", None) == 0:
            raise UnsupportedError("SpanHead(components=0) reads no vectors: there is nothing to train. Raise it.")
        return own

    def fit_answers(self, task: ExtractTask, model: Any, *, random_state: Any = None) -> Self:
        """Train a copy of the model on the answers of an extractor; the given model does not change.

        Raises
        ------
        UnsupportedError
            When the objective is not "span", the model has no token vectors that can be trained, there are no answered
            questions, or a parameter has no meaning for spans.
        InputError
            When no example has an answer that is one of the candidates.
        """
        from fewshot.training.finetune_span import tune_span

        self._check()
        head = self._own_head("span", model)
        tuned = tune_span(model, task, head, self, check_random_state(random_state))
        self.model_, self.history_, self.n_trained_ = tuned
        self.head_ = head
        return self

    def answer_readings(self, asked: Sequence[Asked]) -> list[AnswerReading]:
        """Return one reading for each question: how probable its answers are."""
        check_is_fitted(self, "head_")
        return self.head_.answer_readings(asked)

    def span_readings(self, texts: Sequence[str], words: Sequence[Words]) -> Sequence[Reading]:
        """Return one reading for each text: how probable its spans are."""
        check_is_fitted(self, "head_")
        return self.head_.span_readings(texts, words)

    def _check(self) -> None:
        one_of("objective", self.objective, ("prompt", "head", *_UNDER_HEAD))
        if not isinstance(self.parameters, LoRA):
            one_of("parameters", self.parameters, ("all", "bias"), more=", or LoRA(...)")
        at_least("steps", self.steps, 1, optional=True)
        above("learning_rate", self.learning_rate, 0, optional=True)
        above("batch_size", self.batch_size, 0, optional=True)
        if not isinstance(self.class_weight, Mapping):
            one_of("class_weight", self.class_weight, ("balanced", None), more=", or a mapping of classes to weights")
        one_of("early_stopping", self.early_stopping, (True, False, "auto"))
        between("validation_fraction", self.validation_fraction, 0, 1)
        of = _UNDER_HEAD.get(self.objective, ("", "", TokenHead()))[2]
        if not isinstance(self.head, type(of) | None):
            raise ParameterError(f"head must be {type(of).__name__}(...) or None. Got {self.head!r}.")

    @property
    def _way(self) -> PromptWay | NewLayerWay:
        return NewLayerWay(self.task_, self.model_) if self.asking_ is None else PromptWay(self.task_, self.asking_)

    def log_scores(self, X: Rows) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes)."""
        return self._way.log_scores(X)

    def label_mass(self, X: Rows) -> FloatArray:
        """Return the tuned model's total probability of the label words' distinct first tokens, of shape (n_texts,)."""
        return self._way.prompted.label_mass(X)

    def preview(self, X: Rows) -> Preview:
        """Show the prompts without asking the model."""
        return self._way.prompted.preview(X)

    def explain(self, row: Row) -> Explanation:
        """Show the prompt, and how probable each label word is to the tuned model."""
        asking = self._way.prompted
        asked = asking.ask([row])
        asked.warn_of_cuts()
        before = None if asking.calibration is None else asked.raw_scores()
        lines = class_lines(self.task_, asking.class_scores(asked), before)
        return Explanation(lines, (ask_question(asked, asking.calibration),))
