"""How good a classifier is, which of several is better, and what more labels bring, each with its uncertainty."""

from fewshot.evaluation.coherence import Coherence, coherence
from fewshot.evaluation.comparison import Comparison, compare
from fewshot.evaluation.curve import LearningCurve, learning_curve
from fewshot.evaluation.metrics import calibration_error
from fewshot.evaluation.report import Evaluation, evaluate
from fewshot.evaluation.spans import SpanEvaluation, evaluate_spans

__all__ = [
    "Coherence",
    "Comparison",
    "Evaluation",
    "LearningCurve",
    "SpanEvaluation",
    "calibration_error",
    "coherence",
    "compare",
    "evaluate",
    "evaluate_spans",
    "learning_curve",
]
