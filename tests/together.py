"""Calls that many threads make together, and what a lone caller gets."""

from __future__ import annotations

import itertools
import os
import threading

import numpy as np
import pytest

from fewshot.models.base import Query, Turn

TEXTS = [f"I was charged {i} times this month{' and it is bad' * (i % 5)}." for i in range(24)]
WORDS = ("good", "bad", "terrible news")
LABELS = ["billing", "praise"] * 6
no_mass = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def together(calls, n_threads=8):
    """What each call returns when so many threads share them."""
    found, places = [None] * len(calls), itertools.count()
    begin = threading.Barrier(n_threads)

    def work():
        begin.wait()
        for i in iter(lambda: next(places), None):
            if i >= len(calls):
                return
            try:
                found[i] = calls[i]()
            except BaseException as error:
                found[i] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def check(found, expected):
    """Equal, up to the last digits: what was computed before in a call decides how a batch is cut."""
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, BaseException):
            raise one
        if isinstance(other[0], str):
            assert one == other
            continue
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def queries(kind: str, i: int) -> list[Query]:
    texts = [TEXTS[(i + j) % len(TEXTS)] for j in range(1 + i % 3)]
    if kind == "entailment":
        return [Query("It is about ", WORDS, ".", (Turn("premise", text),)) for text in texts]
    return [Query(f"Review: {text} It was ", WORDS, ".", (Turn("user", "Be brief. " * (i % 4)),)) for text in texts]
