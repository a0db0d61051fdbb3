"""How good a classifier is, which of several is better, and what more labels bring, each with its uncertainty."""

from fewshot.evaluation.comparison import Comparison, compare
from fewshot.evaluation.curve import LearningCurve, learning_curve
from fewshot.evaluation.metrics import calibration_error
from fewshot.evaluation.report import Evaluation, evaluate

__all__ = ["Comparison", "Evaluation", "LearningCurve", "calibration_error", "compare", "evaluate", "learning_curve"]
