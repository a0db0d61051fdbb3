"""Names of classes that an encoder reads alike are warned about, and those of known label sets are not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fewshot import Classifier, Embedding, FewshotWarning
from fewshot.datasets import load_tickets
from fewshot.labels import nearest_pairs

NAMES = sorted(set(load_tickets()[1]))


@pytest.mark.parametrize(
    "pair",
    [
        ("refund request", "refund requests"),
        ("film", "movie"),
        ("payment problem", "payment issue"),
        ("cafe", "café"),
        ("user interface", "user-interface"),
    ],
)
def test_near_synonyms_are_warned_about(pair):
    shown = "|".join(f"'{a}' and '{b}'" for a, b in (pair, pair[::-1]))
    with pytest.warns(FewshotWarning, match=f"reads the names of some classes alike.*({shown})"):
        Classifier(strategy=Embedding()).fit(None, [*NAMES, *pair])


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ["Business", "Sci/Tech", "Sports", "World"],
        ["anger", "joy", "optimism", "sadness"],
        ["abbreviation", "description", "entity", "human", "location", "number"],
        ["terrible", "bad", "okay", "good", "great"],
        ["very negative", "somewhat negative", "neutral", "somewhat positive", "very positive"],
        ["hate", "not-hate"],
        ["yes", "no"],
    ],
)
def test_those_of_known_sets_are_not(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(strategy=Embedding()).fit(None, names)


def test_a_description_tells_them_apart():
    said = {name: name for name in NAMES}
    said |= {"film": "Photographic material for cameras, on a roll.", "movie": "What is shown in a cinema."}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(strategy=Embedding()).fit(None, said)


def test_pairs_by_a_plain_loop():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = {(i, j): 1 - vectors[i] @ vectors[j] for i in range(6) for j in range(i + 1, 6)}
    middle = sorted(apart.values())[7]
    wanted = sorted(((pair, value / middle) for pair, value in apart.items()), key=lambda one: one[1])
    found = nearest_pairs(vectors)
    assert [pair for pair, _ in found] == [pair for pair, _ in wanted]
    assert [share for _, share in found] == pytest.approx([share for _, share in wanted])
