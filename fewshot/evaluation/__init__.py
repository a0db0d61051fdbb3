"""How good a classifier, tagger or writer is, which is better, what more labels bring, and how sure that is."""

from fewshot.evaluation.coherence import Coherence, coherence
from fewshot.evaluation.comparison import Comparison, compare
from fewshot.evaluation.curve import LearningCurve, learning_curve
from fewshot.evaluation.metrics import calibration_error
from fewshot.evaluation.report import Evaluation, evaluate
from fewshot.evaluation.spans import SpanEvaluation, evaluate_spans
from fewshot.evaluation.supports import draw_support
from fewshot.evaluation.writing import WritingEvaluation, evaluate_texts

__all__ = [
    "Coherence",
    "Comparison",
    "Evaluation",
    "LearningCurve",
    "SpanEvaluation",
    "WritingEvaluation",
    "calibration_error",
    "coherence",
    "compare",
    "draw_support",
    "evaluate",
    "evaluate_spans",
    "evaluate_texts",
    "learning_curve",
]
