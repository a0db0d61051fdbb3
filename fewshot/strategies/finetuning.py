"""FineTuning: train the model itself, by way of the prompt, of a classification layer or of the tags of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fewshot.calibration import as_prior
from fewshot.checks import above, at_least, between, one_of
from fewshot.demonstrations import as_selector
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, ParameterError, ShortenedWarning, UnsupportedError, warn
from fewshot.heads.readings import Reading
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, is_encoder, is_language_model, kind_of
from fewshot.models.kinds import trains
from fewshot.prompts.asking import Asking, fitted_selector, shown_rows
from fewshot.prompts.explaining import ask_question, class_lines
from fewshot.strategies.base import Rows, Strategy, fitted_texts
from fewshot.strategies.token_head import TokenHead, Words
from fewshot.task.span_task import SpanTask
from fewshot.task.task import Task
from fewshot.training.examples import BATCH_SIZE, class_weights
from fewshot.training.lora import LoRA, Parameters

if TYPE_CHECKING:
    from fewshot.training.finetune import Plan, Tuned
    from fewshot.training.new_layer import SequenceClassifier

__all__ = ["FineTuning"]


class FineTuning(Strategy):
    """Train an own copy of the model on the labelled rows, or for a `Tagger` on annotated texts.

    A float32 model is trained in float32 on every machine. One that was loaded in 16 bits (``load(dtype="bfloat16")``,
    or "fast" where that is bfloat16) computes its steps in bfloat16 over weights kept in float32, and the tuned model
    has the type that was given.

    Parameters
    ----------
    objective : {"prompt", "head", "tags"}
        "prompt" keeps the template and the label words: the loss is the cross-entropy of the class scores that
        prediction uses (Gao et al. 2021, "Making Pre-trained Language Models Better Few-shot Learners", LM-BFF). "head"
        puts a new classification layer on the body, trains with dropout, and ignores template and words but for the
        fields; of a `Classifier`, an encoder knows only this one. "tags" is that of a `Tagger`, and of no other: the
        token vectors of a sentence encoder or a masked model are trained under a `TokenHead`, which is fitted anew
        every few steps and at the end. Layers above the one that it reads, and word embeddings, stay as they are. Of
        the parameters from ``early_stopping`` to ``selection`` none is for tags.
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
    head : TokenHead, optional
        What tags words by the vectors that are trained. None: ``TokenHead()``.

    Attributes
    ----------
    model_ : LanguageModel, SentenceEncoder or SequenceClassifier
        The tuned model.
    head_ : TokenHead
        What tags words by its vectors; of "tags" alone.
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
        objective: Literal["prompt", "head", "tags"] = "prompt",
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
        head: TokenHead | None = None,
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
        if self.objective == "tags":
            raise UnsupportedError(
                "FineTuning('tags') learns spans, as in Tagger(strategy=FineTuning('tags')). To classify texts use "
                "FineTuning('head'), or FineTuning('prompt') with a language model."
            )
        way_of: type[_Prompt | _NewLayer] = _NewLayer if self.objective == "head" else _Prompt
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
        """Learn the spans of a tagger: train a copy of the model; the given one stays as it is.

        Raises
        ------
        UnsupportedError
            When the objective is not "tags", the model has no token vectors that can be trained, there is no annotated
            text, or a parameter has no meaning for tags.
        """
        from fewshot.training.finetune_tags import tune_tags

        self._check()
        self._refuse_spans(task, model)
        head = TokenHead() if self.head is None else clone(self.head)
        self.model_, self.history_, self.n_trained_ = tune_tags(
            model, task, head, self, check_random_state(random_state)
        )
        self.head_ = head.fit_spans(task, self.model_, random_state=random_state)
        return self

    def _refuse_spans(self, task: SpanTask, model: Any) -> None:
        if self.objective != "tags":
            raise UnsupportedError(
                f"FineTuning({self.objective!r}) classifies texts. A Tagger is tuned by "
                "Tagger(strategy=FineTuning('tags'))."
            )
        if not trains(model, "tokens"):
            raise UnsupportedError(
                f"FineTuning('tags') trains SentenceEncoders and local masked language models. Got {model!r} "
                f"({kind_of(model)}): use load() or load('embedded:masked'), or TokenHead(), which trains no model."
            )
        if self.shots or self.class_weight is not None or self.early_stopping is True:
            raise UnsupportedError(
                "FineTuning('tags') shows no demonstrations, weighs words by its head and takes all its steps: leave "
                "shots at 0, class_weight at None and early_stopping at 'auto'; see TokenHead(none_weight=...)."
            )
        task.need_texts(self)

    def span_readings(self, texts: Sequence[str], words: Sequence[Words]) -> Sequence[Reading]:
        """Return what it says of the spans of each text."""
        check_is_fitted(self, "head_")
        return self.head_.span_readings(texts, words)

    def _check(self) -> None:
        one_of("objective", self.objective, ("prompt", "head", "tags"))
        if not isinstance(self.parameters, LoRA):
            one_of("parameters", self.parameters, ("all", "bias"), more=", or LoRA(...)")
        at_least("steps", self.steps, 1, optional=True)
        above("learning_rate", self.learning_rate, 0, optional=True)
        above("batch_size", self.batch_size, 0, optional=True)
        one_of("early_stopping", self.early_stopping, (True, False, "auto"))
        between("validation_fraction", self.validation_fraction, 0, 1)
        if not isinstance(self.head, TokenHead | None):
            raise ParameterError(f"head must be TokenHead(...) or None. Got {self.head!r}.")

    @property
    def _way(self) -> _Prompt | _NewLayer:
        return _NewLayer(self.task_, self.model_) if self.asking_ is None else _Prompt(self.task_, self.asking_)

    def log_scores(self, X: Rows) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes)."""
        return self._way.log_scores(X)

    def label_mass(self, X: Rows) -> FloatArray:
        """The tuned model's total probability of the label words' distinct first tokens, of shape (n_texts,)."""
        return self._way.prompted.label_mass(X)

    def preview(self, X: Rows) -> Preview:
        """The prompts as they would be asked, without asking."""
        return self._way.prompted.preview(X)

    def explain(self, row: Row) -> Explanation:
        """The prompt, and what the tuned model says of each label word."""
        asking = self._way.prompted
        asked = asking.ask([row])
        asked.warn_of_cuts()
        before = None if asking.calibration is None else asked.raw_scores()
        lines = class_lines(self.task_, asking.class_scores(asked), before)
        return Explanation(lines, (ask_question(asked, asking.calibration),))


class _Prompt:
    """The way through the template and the label words."""

    def __init__(self, task: Task, asking: Asking) -> None:
        self.task, self.asking = task, asking

    @staticmethod
    def refuse(model: Any, shots: int) -> None:
        """Refuse models that can't be trained through a prompt."""
        if not trains(model, "prompt"):
            kind = "an encoder" if is_encoder(model) and not is_language_model(model) else kind_of(model)
            raise UnsupportedError(
                f"FineTuning('prompt') trains local masked, causal and sequence-to-sequence models. Got {model!r} "
                f"({kind}): use FineTuning('head') or Embedding() with an encoder, Prompting() with any other model."
            )

    @classmethod
    def begin(cls, task: Task, model: Any, selector: Any, X: Rows, y: Any) -> Self:
        """Get ready to train; see `Asking` for the parameters."""
        return cls(task, Asking(task, model, selector, rows=X, labels=y))

    @property
    def prompted(self) -> Asking:
        """What asks the tuned model."""
        return self.asking

    def tune(self, model: Any, texts: list[Row], plan: Plan) -> Tuned:
        """Train a copy of the model, and ask it from now on."""
        from fewshot.training.finetune import tune_prompt

        asked = self.asking.ask(texts)
        asked.warn_of_cuts()
        if plan.settings.calibration is not None:
            labels = [self.task.classes[i] for i in plan.targets]
            self.asking.calibrate(as_prior(plan.settings.calibration), texts, labels, plan.rng)
        tuned = tune_prompt(model, asked.queries, plan, self.asking.verbalizer.aggregate, self._offset())
        self.asking.model = tuned[0]
        return tuned

    def _offset(self) -> FloatArray:
        """What the calibration adds to the log-score of each label word."""
        none = np.zeros((1, len(self.task.verbalizer.candidates)))
        calibration = self.asking.calibration
        if calibration is None:
            return none
        classes = np.arange(float(len(self.task.classes)))[None]
        if not np.array_equal(calibration.transform_classes(classes), classes):
            raise UnsupportedError(
                f"{calibration!r} is learnt on class scores, which training changes: use 'batch', 'contextual', "
                "'domain-context', 'pmi' or None."
            )
        return calibration.transform(none)

    def log_scores(self, X: Rows) -> FloatArray:
        """Class scores of the tuned model."""
        # the loss compares the label words with one another, so that their own mass says nothing any more
        asked = self.asking.ask(X)
        asked.warn_of_cuts()
        return self.asking.class_scores(asked)


class _NewLayer:
    """The way with a classification layer, which reads the text alone; it has no classifier before the training."""

    asking: Asking | None = None

    def __init__(self, task: Task, classifier: Any = None) -> None:
        self.task, self.classifier = task, classifier

    @staticmethod
    def refuse(model: Any, shots: int) -> None:
        """Refuse models without weights of their own, and demonstrations."""
        if not trains(model, "head"):
            raise UnsupportedError(
                f"FineTuning('head') trains local transformers models and SentenceEncoders. Got {model!r}."
            )
        if shots:
            raise UnsupportedError("A classification layer reads the text alone: leave shots at 0.")

    @classmethod
    def begin(cls, task: Task, *_: Any) -> Self:
        """Get ready to train."""
        return cls(task)

    @property
    def prompted(self) -> NoReturn:
        """Refuse what needs a prompt."""
        raise UnsupportedError("FineTuning('head') asks no prompt: it reads the text alone.")

    def tune(self, model: Any, texts: list[Row], plan: Plan) -> Tuned:
        """Train a copy of the model under a new layer, which has nothing to calibrate."""
        from fewshot.training.finetune import tune_new_layer

        return tune_new_layer(model, lambda classifier: self._read(classifier, texts), plan)

    def log_scores(self, X: Rows) -> FloatArray:
        """Class scores of the new layer."""
        return log_softmax(self.classifier.scores(self._read(self.classifier, X)), axis=1)

    def _read(self, classifier: SequenceClassifier, X: Rows) -> list[tuple[int, ...]]:
        """The tokens of each row, as a classifier with a new layer reads it."""
        fitted = fitted_texts(self.task, X, classifier)
        rows, cut = classifier.rows([text for text, _ in fitted])
        cut += np.array([0 if fit is None else fit.n_cut for _, fit in fitted], dtype=np.int64)
        if cut.any():
            warn(
                f"{(cut > 0).sum()} of {len(rows)} texts exceed the model's window of {classifier.limit} tokens and "
                f"were cut, by {int(np.median(cut[cut > 0]))} tokens in the median.",
                ShortenedWarning,
            )
        return rows
