"""The small data sets inside the library."""

from __future__ import annotations

import csv
import json
from importlib import resources

__all__ = ["load_news", "load_reviews", "load_tickets"]


def load_news() -> tuple[list[str], list[list[tuple[int, int, str]]]]:
    """Return 60 news sentences and their spans: persons, companies and places, all invented.

    They were written by hand for this library. Persons and companies occur with their full name and with a part of it.
    Seven sentences have no span.

    Returns
    -------
    texts : list of str
        60 sentences, in mixed order.
    spans : list of list of (start, end, type)
        The spans of each sentence, in characters. The types are "person", "company" and "place".

    Examples
    --------
    >>> from fewshot.datasets import load_news
    >>> texts, spans = load_news()
    >>> texts[8], spans[8]
    ('Halden said that it would pay all wages in full.', [(0, 6, 'company')])
    """
    source = resources.files(__package__).joinpath("news.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in source.splitlines()]
    return [row["text"] for row in rows], [[(a, b, label) for a, b, label in row["spans"]] for row in rows]


def load_reviews() -> tuple[list[str], list[str]]:
    """Return 120 short reviews of films, books, places and things, and whether each is positive.

    They were written by hand for this library. Many reviews have a counterpart in the other class about the same
    things, so that the subject does not give away the class.

    Returns
    -------
    texts : list of str
        120 reviews, in mixed order.
    labels : list of str
        "positive" or "negative", 60 of each.

    Examples
    --------
    >>> from fewshot.datasets import load_reviews
    >>> texts, labels = load_reviews()
    >>> texts[0], labels[0]
    ('I would not take it as a gift.', 'negative')
    """
    return _read_csv("reviews.csv")


def load_tickets() -> tuple[list[str], list[str]]:
    """Return 240 customer-support messages and their classes.

    They were written by hand for this library. There are six classes of 40 messages. A quarter of the messages are hard
    cases: they contain words that are typical of another class. The class is what the writer wants to be handled. To
    cancel one order is a cancellation, a refund is billing, a wrong or damaged parcel is delivery, and a button that
    does nothing is a bug report, whatever the button is for.

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
    return _read_csv("tickets.csv")


def _read_csv(name: str) -> tuple[list[str], list[str]]:
    source = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(source.splitlines()))
    return [row["text"] for row in rows], [row["label"] for row in rows]
