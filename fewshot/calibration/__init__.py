"""Calibration: remove the bias of a language model towards some label words.

A language model prefers some label words for every text, such as common words or the last word of the prompt. Four
methods subtract a log-prior from the log-scores. They get this prior from different sources (`Contextual`,
`DomainContext`, `PMI`, `Batch`). `Learned` also learns a map from labels. `BestOf` chooses a method by
cross-validation. The probes of each method are scored once, in ``fit``. `Temperature` does not remove the bias; it only
scales the confidence.
"""

from fewshot.calibration.batch import Batch
from fewshot.calibration.best_of import BestOf, as_prior
from fewshot.calibration.learned import Learned
from fewshot.calibration.priors import PMI, Contextual, DomainContext, Prior
from fewshot.calibration.temperature import Temperature

__all__ = ["PMI", "Batch", "BestOf", "Contextual", "DomainContext", "Learned", "Prior", "Temperature", "as_prior"]
