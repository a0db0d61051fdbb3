"""Plots: pictures whose labels can be read."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from fewshot.plotting import CoverageDisplay, LearningCurveDisplay, PriorDisplay, ReliabilityDisplay, TemplateDisplay
from fewshot.plotting.axes import format_label
from tests.drawn import _no_figure_stays_open, simulated  # noqa: F401 - a fixture

mpl.use("Agg")

LONG = [
    "balance not updated after bank transfer or a cheque, and nobody knows why it takes so long in this place",
    "card payment fee charged",
    "declined cash withdrawal",
    "getting a spare card for a family member",
    "$100 off$ coupon $x_1",
    "_pending_top_up",
    *("lost or stolen phone", "refund not showing up", "verify source of funds", "exchange rate", "a", "b"),
]


@pytest.fixture(params=["default", "dark_background"])
def style(request):
    import matplotlib.pyplot as plt

    with plt.style.context(request.param):
        yield request.param


# --- learning curves ----------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [[0], [5], range(33), [0, 10, 11, 1000]])
def test_any_shots(shots):
    draws = pd.DataFrame({"name": "a", "shots": list(shots), "accuracy": 0.9})
    display = LearningCurveDisplay.from_results(draws)
    assert display.ax_.get_xticks().tolist() == list(shots)
    assert display.ax_.get_legend().get_title().get_text() == ""  # a single draw has no spread
    boxes = [box for box in boxes_of(display, display.ax_.get_xticklabels()) if box.width]
    assert boxes
    assert not overlapping(boxes)


# --- what all share -----------------------------------------------------------------------------


def boxes_of(display, artists):
    display.figure_.canvas.draw()
    renderer = display.figure_.canvas.get_renderer()
    return [one.get_window_extent(renderer) for one in artists]


def in_sight(places, labels, limits):
    """Labels of the ticks that are drawn."""
    return [one for place, one in zip(places, labels, strict=True) if min(limits) <= place <= max(limits)]


def overlapping(boxes):
    return [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize("n_classes", [2, 12])
def test_labels_can_be_read(style, n_classes):
    proba, labels = simulated(200, n_classes)
    classes = sorted(LONG[:n_classes])
    y = [classes[i] for i in labels]
    name = "zero-shot prompting with an instruction, as it is, and with $dollars$"
    displays = [
        ReliabilityDisplay.from_predictions(y, proba, classes=classes, name=name),
        CoverageDisplay.from_predictions(y, proba, classes=classes, name=name),
        PriorDisplay.from_predictions(y, {name: proba, "_low": proba, "third": proba}, classes=classes),
        TemplateDisplay(classes, np.linspace(0, 1, n_classes), "log loss").plot(),
    ]
    for display in displays:
        ax, background = display.ax_, mpl.colors.to_rgb(display.ax_.get_facecolor())  # type: ignore[attr-defined]
        ticks = [*in_sight(ax.get_xticks(), ax.get_xticklabels(), ax.get_xlim())]
        ticks += in_sight(ax.get_yticks(), ax.get_yticklabels(), ax.get_ylim())
        boxes = [box for box in boxes_of(display, [*ticks, ax.xaxis.label, ax.yaxis.label]) if box.width]
        assert not overlapping(boxes)
        frame = display.figure_.bbox  # type: ignore[attr-defined]
        legend = ax.get_legend()
        for box in [*boxes, *([legend.get_window_extent()] if legend else [])]:
            assert box.x0 >= frame.x0 - 1
            assert box.x1 <= frame.x1 + 1
            assert box.y0 >= frame.y0 - 1
            assert box.y1 <= frame.y1 + 1
        for line in ax.get_lines():
            assert contrast(mpl.colors.to_rgb(line.get_color()), background) > 2.2


def contrast(one, other):
    """As in the Web Content Accessibility Guidelines."""
    linear = [np.where(np.array(c) <= 0.04045, np.array(c) / 12.92, ((np.array(c) + 0.055) / 1.055) ** 2.4)
              for c in (one, other)]  # fmt: skip
    dark, light = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("short", "short"),
        ("a " * 80, "a a a a a a a a a a a a a a a a\n" * 2 + "a a a a a a a a a a a a a a a …"),
        ("$x$", r"\$x\$"),
        ("_hidden", " _hidden"),
        ("two\nlines", "two lines"),
        (" ", "' '"),
        (3, "3"),
        ("Here it is, the review: {{ text }}", "Here it is, the review:\n{{ text }}"),
    ],
)
def test_names_as_labels(name, label):
    assert format_label(name) == label
