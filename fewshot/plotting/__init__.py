"""Plots for papers and notebooks, built like scikit-learn's displays: ``from_estimator``, ``from_predictions``.

They need matplotlib, which the extra ``plot`` installs. For a confusion matrix use scikit-learn's own
``ConfusionMatrixDisplay.from_estimator(clf, X, y)``.
"""

from fewshot.plotting.coverage import CoverageDisplay
from fewshot.plotting.curve import LearningCurveDisplay
from fewshot.plotting.prior import PriorDisplay
from fewshot.plotting.reliability import ReliabilityDisplay
from fewshot.plotting.templates import TemplateDisplay

__all__ = ["CoverageDisplay", "LearningCurveDisplay", "PriorDisplay", "ReliabilityDisplay", "TemplateDisplay"]
