"""Logistic regression around given logits: its optimum, and the log loss of its two constants on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit, log_softmax
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import check_random_state

from fewshot.models.base import FloatArray, IntArray

__all__ = ["Choice", "Optimum", "Problem", "held_out_losses", "make_folds", "weigh_choices"]

#: Share of the loss that a step of a fit on folds must gain, or the fit stops. Only the losses of these fits are used.
_SEARCH_GAIN = 1e-3
#: Variance of the normal prior on the intercepts that a choice of the label names alone (C 0) has; its mean is 0. It is
#: settled by benchmarks/settle/frozen_head.py, on training rows.
_INTERCEPT_VARIANCE = 1.0
#: Before any example a choice counts by C to this power: the weaker the penalty, the less.
#: Settled by the same script.
_C_POWER = -0.25
#: The least share of a choice in the average. What counts less is left out.
_LEAST_SHARE = 1e-3
#: A choice whose loss is this much above that of another on some folds is not tried on the others: they would have to
#: be as much in its favour for it to count at all. In nats.
_FAR = 20.0

#: A weight of the given logits, tau, and an inverse penalty, C.
Choice = tuple[float, float]


@dataclass(frozen=True)
class Optimum:
    """What is added to tau times the given logits."""

    V: FloatArray  # (n_classes, dim)
    b: FloatArray  # (n_classes,)
    n_iter: int


@dataclass(frozen=True)
class Problem:
    """Examples, the logits that they have without any weights, and what they are."""

    Z: FloatArray  # (n_samples, dim): less their mean, in units of their spread
    offsets: FloatArray  # the given logits, (n_samples, n_classes)
    targets: FloatArray  # 1 where a row is of a class, (n_samples, n_classes)
    weights: FloatArray
    several: bool  # whether a row may be of several classes: each is a logistic regression of its own
    variance: float = 1.0  # of the vectors in their own unit, which is that of C

    def rows(self, rows: IntArray) -> Self:
        """A part of the examples."""
        parts = self.Z[rows], self.offsets[rows], self.targets[rows], self.weights[rows]
        return type(self)(*parts, self.several, self.variance)

    def losses(self, logits: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The log loss of each row, and the log-probabilities of its classes."""
        if self.several:
            logs = log_expit(logits)
            return ((1 - self.targets) * logits - logs).sum(axis=1), logs  # log(1 - p) is log(p) less the logit
        logs = log_softmax(logits, axis=1)
        return -(self.targets * logs).sum(axis=1), logs

    def logits(self, tau: float, found: Optimum) -> FloatArray:
        """The logits of each row."""
        return self.Z @ found.V.T + found.b + tau * self.offsets

    def optimum(self, tau: float, C: float, *, max_iter: int, tol: float, gain: float | None = None) -> Optimum:
        """Minimise the weighted log loss plus the penalty on V; the intercepts are free.

        C 0 leaves V at nothing, and the intercepts are then near 0, by a normal prior. So names of which one is near to
        every text are seen through, and the intercepts of a few examples are not taken at their word.

        Parameters
        ----------
        tau : float
            Weight of the given logits.
        C : float
            Inverse strength of the penalty.
        max_iter : int
        tol : float
            Tolerance of L-BFGS on the gradient.
        gain : float, optional
            Share of the loss that a step must gain. None: what float64 can tell.
        """
        n_classes = self.targets.shape[1]
        Z = self.Z if C else self.Z[:, :0]
        dim = Z.shape[1]
        penalties = np.repeat(
            [1 / (C * self.variance), 0.0] if C else [0.0, 1 / _INTERCEPT_VARIANCE], [n_classes * dim, n_classes]
        )
        offsets = tau * self.offsets

        def objective(flat: FloatArray) -> tuple[float, FloatArray]:
            V, b = flat[: n_classes * dim].reshape(n_classes, dim), flat[n_classes * dim :]
            logits = Z @ V.T + b + offsets
            losses, logs = self.losses(logits)
            loss = self.weights @ losses + penalties @ (flat * flat) / 2
            pull = self.weights[:, None] * (np.exp(logs) - self.targets)
            return float(loss), np.concatenate([(pull.T @ Z).ravel(), pull.sum(axis=0)]) + penalties * flat

        first = np.zeros(n_classes * (dim + 1))
        limits = {"maxiter": max_iter, "gtol": tol, "ftol": 64 * np.finfo(np.float64).eps if gain is None else gain}
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options=limits)
        V = np.zeros((n_classes, self.Z.shape[1]))
        V[:, :dim] = found.x[: n_classes * dim].reshape(n_classes, dim)
        return Optimum(V, found.x[n_classes * dim :], int(found.nit))


def make_folds(problem: Problem, random_state: Any) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Stratified folds, at most five; none where they can't be made."""
    targets = problem.targets
    counts = targets.sum(axis=0)
    most = 5 if targets.shape[1] <= 20 else 3  # many classes make every fit dear
    n = int(min(most, counts.min(), (len(targets) - counts).min()))
    if n < 2:
        return []
    rng = check_random_state(random_state)
    if problem.several:
        order = rng.permutation(len(targets))
        parts = [order[i::n] for i in range(n)]
        return [(np.setdiff1d(order, part), part) for part in parts]
    classes = targets.argmax(axis=1)
    groups = np.unique(problem.Z.round(9), axis=0, return_inverse=True)[1].ravel()
    n_groups = int(groups.max()) + 1
    if len(set(zip(groups.tolist(), classes.tolist(), strict=True))) == n_groups:
        return list(StratifiedKFold(n, shuffle=True, random_state=rng).split(targets, classes))
    if n_groups < 2:
        return []
    # the same sample in several classes, as one with a soft label is: never on both sides
    folds = StratifiedGroupKFold(min(n, n_groups), shuffle=True, random_state=rng)
    return list(folds.split(targets, classes, groups))


def held_out_losses(
    problem: Problem,
    taus: Sequence[float],
    Cs: Sequence[float],
    splits: Sequence[tuple[IntArray, IntArray]],
    *,
    max_iter: int,
    tol: float,
) -> dict[Choice, float]:
    """Sum of the log losses of held-out examples, for tau and C about the best ones.

    Not every pair is tried: tau is improved, then C, until neither changes. Besides, C 0 is tried with every tau where
    it is among the choices: only intercepts have to be fitted for it. What is far behind after some folds is given up.

    Parameters
    ----------
    problem : Problem
    taus, Cs : sequence of float
        In rising order. Tau 0 with C 0 is left out, since it says nothing.
    splits : sequence of (train rows, test rows)
    """
    parts = [(problem.rows(train), problem.rows(test)) for train, test in splits]
    losses: dict[Choice, list[float]] = {}

    def loss(choice: Choice, n: int) -> float:
        """The loss on the first n folds."""
        tau, C = choice
        if tau == C == 0:
            return np.inf
        own = losses.setdefault(choice, [])
        for train, test in parts[len(own) : n]:
            found = train.optimum(tau, C, max_iter=max_iter, tol=tol, gain=_SEARCH_GAIN)
            own.append(float(test.weights @ test.losses(test.logits(tau, found))[0]))
        return sum(own[:n])

    def best(choices: list[Choice]) -> Choice:
        for n in range(1, len(parts) + 1):
            found = [loss(choice, n) for choice in choices]
            choices = [choice for choice, one in zip(choices, found, strict=True) if one <= min(found) + _FAR]
        return min(choices, key=lambda choice: loss(choice, len(parts)))

    before, C = (np.nan, np.nan), Cs[len(Cs) // 2]
    while True:
        tau = best([(tau, C) for tau in taus])[0]
        C = best([(tau, C) for C in Cs])[1]
        if (tau, C) == before:
            break
        before = tau, C
    if Cs[0] == 0:
        best([(tau, C), *((tau, 0.0) for tau in taus)])
    return {choice: sum(own) for choice, own in losses.items() if len(own) == len(parts)}


def weigh_choices(losses: dict[Choice, float], alone: float, variance: float) -> dict[Choice, float]:
    """How much each choice counts in the average: by its likelihood on held-out examples, whose summed loss is given.

    Before any example, one with C 0 counts as ``alone`` ones with C 1, and the others count by C to the power of -1/4,
    with C for vectors of variance 1.
    """
    logs = np.array([np.log((C * variance) ** _C_POWER if C else alone) - loss for (_, C), loss in losses.items()])
    counts = np.exp(logs - logs.max())
    counts[counts < _LEAST_SHARE * counts.sum()] = 0
    return {choice: share for choice, share in zip(losses, (counts / counts.sum()).tolist(), strict=True) if share}
