"""Calibration: take what a language model says of every text out of what it says of one.

A model favours some label words whatever the text is: common ones, the one it saw last. Four methods are one operation,
log-scores minus a log-prior, with the prior from four sources (`Contextual`, `DomainContext`, `PMI`, `Batch`).
`Learned` goes on from there with labels, and `BestOf` chooses by cross-validation. Their probes are scored once, in
``fit``.
"""

from fewshot.calibration.best_of import BestOf, as_prior
from fewshot.calibration.learned import Learned
from fewshot.calibration.priors import PMI, Batch, Contextual, DomainContext, Prior

__all__ = ["PMI", "Batch", "BestOf", "Contextual", "DomainContext", "Learned", "Prior", "as_prior"]
