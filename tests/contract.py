"""Small deterministic models, data, and the strategies that the contract suite runs over."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from fewshot import Auto, Classifier, Embedding, FakeLM, Prompting, Readout
from fewshot.models.base import Query

TEXTS = {
    "billing": [
        "I was charged twice",
        "Please send a refund",
        "The invoice is wrong",
        "Refund my last invoice",
        "My card was charged again",
    ],
    "bug report": [
        "The app will crash at start",
        "An error opens each time",
        "A crash after the update",
        "The page shows an error",
    ],
    "praise": ["I love this app", "Great work, thank you", "A great update, I love it"],
}
NEW = [
    "Why was I charged for that?",
    "There is an error when I log in",
    "Thank you, I love the new look",
    "A refund, please",
    "Another crash today",
    "What a great team",
]
ABOUT = {"billing": ("charged", "refund", "invoice"), "bug report": ("crash", "error"), "praise": ("love", "great")}
EXPECTED = ["billing", "bug report", "praise"] * 2  # the classes of NEW


def data(n_classes: int) -> tuple[list[str], list[str]]:
    """Labelled rows of two or three classes, in an order that mixes them."""
    names = list(TEXTS)[:n_classes]
    pairs = [(text, name) for name in names for text in TEXTS[name]]
    order = np.random.RandomState(0).permutation(len(pairs))
    return [pairs[i][0] for i in order], [pairs[i][1] for i in order]


def keyword_scores(query: Query) -> list[float]:
    """Score by the words of the row itself, with a weak habit of repeating the last answer that was shown."""
    own = " ".join(turn.text for turn in query.context if turn.role == "premise") + query.prefix
    shown = [turn.text for turn in query.context if turn.role == "assistant"]
    scores = []
    for word in query.candidates:
        hits = sum(hint in own.lower() for hint in ABOUT.get(word, (word,)))
        habit = 0.5 * bool(shown and shown[-1].startswith(word))
        scores.append(3.0 * hits + habit + zlib.crc32(f"{word}|{own}".encode()) / 2**32 - 8.0)
    return scores


def keyword_scores_around(query: Query) -> list[float]:
    """The same for a hole that may stand before the text."""
    return keyword_scores(replace(query, prefix=query.prefix + query.suffix))


def keyword_lm(kind: str = "causal", **params: Any) -> FakeLM:
    """A language model that knows what three kinds of support messages talk of."""
    return FakeLM(keyword_scores_around if kind == "masked" else keyword_scores, kind=kind, **params)


def letters(query: Query) -> list[int]:
    """A hidden state: how often each word that tells the kinds of messages apart is there."""
    return [query.prefix.lower().count(word) for words in ABOUT.values() for word in words]


class HashEncoder:
    """An encoder without weights: hashed character n-grams as unit vectors."""

    def __repr__(self):
        return "HashEncoder()"

    fingerprint_of = {"analyzer": "char_wb", "ngram_range": (2, 4), "n_features": 64, "norm": "l2"}  # noqa: RUF012

    @property
    def fingerprint(self) -> str:
        return f"hash:{self.fingerprint_of}"

    def encode(self, texts):
        return HashingVectorizer(**self.fingerprint_of).transform(texts).toarray()

    def __sklearn_clone__(self):
        return self


def case(model: Callable[[], Any], strategy: Callable[[], Any]) -> Callable[..., Classifier]:
    """A maker of fresh classifiers, so that no test sees another's."""
    return lambda **params: Classifier(**{"model": model(), "strategy": strategy(), "random_state": 0, **params})


CASES: list[tuple[str, Callable[..., Classifier]]] = [
    ("zero-shot", case(keyword_lm, Prompting)),
    ("zero-shot-masked", case(lambda: keyword_lm("masked"), Prompting)),
    ("zero-shot-seq2seq", case(lambda: keyword_lm("seq2seq"), Prompting)),
    ("zero-shot-entailment", case(lambda: keyword_lm("entailment"), Prompting)),
    ("shots", case(keyword_lm, lambda: Prompting(shots=4))),
    ("shots-random", case(keyword_lm, lambda: Prompting(shots=2, selection="random"))),
    ("shots-first", case(keyword_lm, lambda: Prompting(shots=3, selection="first"))),
    ("shots-nearest", case(keyword_lm, lambda: Prompting(shots=3, selection="nearest", encoder=HashEncoder()))),
    ("calibrated", case(keyword_lm, lambda: Prompting(calibration="auto"))),
    ("readout", case(keyword_lm, lambda: Readout("labels"))),
    ("readout-hidden", case(lambda: keyword_lm(hidden=letters), Readout)),
    ("readout-knn", case(lambda: keyword_lm(vocabulary=tuple(TEXTS)), lambda: Readout.knn_prompting(3))),
    ("generate", case(keyword_lm, lambda: Prompting(read="generate"))),
    ("generate-shots", case(keyword_lm, lambda: Prompting(shots=3, read="generate"))),
    ("embedding", case(HashEncoder, Embedding)),
    ("embedding-knn", case(HashEncoder, lambda: Embedding(head=KNeighborsClassifier(3)))),
    ("embedding-svm", case(HashEncoder, lambda: Embedding(head=LinearSVC()))),
    ("auto-lm", case(keyword_lm, Auto)),
    ("default-encoder", case(HashEncoder, lambda: None)),  # which is Auto() as well
]
NEEDS_LABELS = {  # can't be fitted zero-shot
    *("shots", "shots-random", "shots-first", "shots-nearest", "generate-shots"),
    *("readout", "readout-hidden", "readout-knn"),
}
CALIBRATES = {"calibrated", "auto-lm"}  # learns from unlabelled texts
TAKES_WEIGHTS = {"readout", "readout-hidden", "embedding", "embedding-svm", "default-encoder"}
MAKE = dict(CASES)
TEMPLATE = "{{ text_a }} {{ text_b }}\nTopic: {{ label }}"
every_case = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CASES])


def prompting(*args, **params):
    return Classifier(keyword_lm(), strategy=Prompting(*args, **params), random_state=0)


def fitted(make, n_classes=3, **params):
    return make(**params).fit(*data(n_classes))
