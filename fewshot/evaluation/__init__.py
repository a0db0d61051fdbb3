"""Evaluation: measure and compare classifiers, taggers, extractors and writers, with intervals."""

from fewshot.evaluation.answers import AnswerEvaluation, answer_f1, evaluate_answers, exact_match
from fewshot.evaluation.coherence import Coherence, coherence
from fewshot.evaluation.comparison import Comparison, compare
from fewshot.evaluation.curve import LearningCurve, learning_curve
from fewshot.evaluation.metrics import calibration_error
from fewshot.evaluation.multi_label import MultiLabelEvaluation
from fewshot.evaluation.report import Evaluation, evaluate
from fewshot.evaluation.spans import SpanEvaluation, evaluate_spans
from fewshot.evaluation.supports import draw_support
from fewshot.evaluation.writing import WritingEvaluation, evaluate_texts

__all__ = [
    "AnswerEvaluation",
    "Coherence",
    "Comparison",
    "Evaluation",
    "LearningCurve",
    "MultiLabelEvaluation",
    "SpanEvaluation",
    "WritingEvaluation",
    "answer_f1",
    "calibration_error",
    "coherence",
    "compare",
    "draw_support",
    "evaluate",
    "evaluate_answers",
    "evaluate_spans",
    "evaluate_texts",
    "exact_match",
    "learning_curve",
]
