"""How `FineTuning` classifies texts: through the prompt, or under a new classification layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from scipy.special import log_softmax

from fewshot.calibration import as_prior
from fewshot.errors import ShortenedWarning, UnsupportedError, warn
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, is_encoder, is_language_model, kind_of
from fewshot.models.kinds import trains
from fewshot.prompts.asking import Asking
from fewshot.strategies.base import Rows, fitted_texts
from fewshot.task.task import Task

if TYPE_CHECKING:
    from fewshot.training.finetune import Plan, Tuned
    from fewshot.training.new_layer import SequenceClassifier

__all__ = ["NewLayerWay", "PromptWay"]


class PromptWay:
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


class NewLayerWay:
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
