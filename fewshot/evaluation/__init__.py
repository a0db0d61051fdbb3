"""How good a classifier or tagger is, which of several is better, what more labels bring, and how sure that is."""

from fewshot.evaluation.coherence import Coherence, coherence
from fewshot.evaluation.comparison import Comparison, compare
from fewshot.evaluation.curve import LearningCurve, learning_curve
from fewshot.evaluation.metrics import calibration_error
from fewshot.evaluation.report import Evaluation, evaluate
from fewshot.evaluation.spans import SpanEvaluation, evaluate_spans
from fewshot.evaluation.supports import draw_support

__all__ = [
    "Coherence",
    "Comparison",
    "Evaluation",
    "LearningCurve",
    "SpanEvaluation",
    "calibration_error",
    "coherence",
    "compare",
    "draw_support",
    "evaluate",
    "evaluate_spans",
    "learning_curve",
]
