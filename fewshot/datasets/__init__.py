"""The small data set that ships with the library."""

from __future__ import annotations

import csv
from importlib import resources

__all__ = ["load_tickets"]


def load_tickets() -> tuple[list[str], list[str]]:
    """Return 240 customer-support messages and their classes.

    Written by hand for this library: six classes of 40 messages, a quarter of them hard cases in which the words of one
    class stand in a message of another. The class is what the writer wants handled: cancelling one order is a
    cancellation, a refund is billing, a wrong or damaged parcel is delivery, and a button that does nothing is a bug
    report whatever the button is for.

    Returns
    -------
    texts : list of str
        240 messages, in mixed order.
    labels : list of str
        "billing", "bug report", "cancellation", "delivery", "feature request" or "praise".

    Examples
    --------
    >>> from fewshot.datasets import load_tickets
    >>> texts, labels = load_tickets()
    >>> texts[4], labels[4]
    ("Good job on the redesign, it's clean and I find everything.", 'praise')
    """
    source = resources.files(__package__).joinpath("tickets.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(source.splitlines()))
    return [row["text"] for row in rows], [row["label"] for row in rows]
