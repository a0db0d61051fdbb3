"""Calibration: remove the bias of a language model towards some label words.

A model favours some label words whatever the text is: common words, or the word it saw last. Four methods subtract a
log-prior from the log-scores; they differ in where the prior comes from (`Contextual`, `DomainContext`, `PMI`,
`Batch`). `Learned` adds a map that is learnt from labels. `BestOf` chooses by cross-validation. The probes of each
method are scored once, in ``fit``. `Temperature` leaves the bias, and scales how sure the scores are.
"""

from fewshot.calibration.batch import Batch
from fewshot.calibration.best_of import BestOf, as_prior
from fewshot.calibration.learned import Learned
from fewshot.calibration.priors import PMI, Contextual, DomainContext, Prior
from fewshot.calibration.temperature import Temperature

__all__ = ["PMI", "Batch", "BestOf", "Contextual", "DomainContext", "Learned", "Prior", "Temperature", "as_prior"]
