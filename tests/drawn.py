"""What plots are drawn of, and no figure that stays open."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def simulated(n, n_classes, seed=0, sharpness=2.0):
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(n_classes, 0.7), n)
    labels = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    shown = (true + 0.01) ** sharpness
    return shown / shown.sum(axis=1, keepdims=True), labels
