"""FakeLM's fingerprint tells functions apart by what they do, and by nothing else."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from fewshot import FakeLM

WEIGHT = 1.0


def weighted(query):
    return [WEIGHT for _ in query.candidates]


def through_another(query):
    return weighted(query)


def make(bias):
    return lambda query: [bias for _ in query.candidates]


class Scorer:
    factor = 2.0

    def __init__(self, bias):
        self.bias = bias

    def __call__(self, query):
        return [self.bias * self.factor for _ in query.candidates]

    def score(self, query):
        return self(query)


class Slotted:
    __slots__ = ("bias",)

    def __init__(self, bias):
        self.bias = bias

    def __call__(self, query):
        return [self.bias for _ in query.candidates]


def with_default(bias):
    def f(query, bias=bias):
        return [bias for _ in query.candidates]

    return f


def with_keyword(bias):
    def f(query, *, bias=bias):
        return [bias for _ in query.candidates]

    return f


def inside_another(bias):
    return make(make(bias))


MAKERS = {
    "closure": make,
    "default": with_default,
    "keyword": with_keyword,
    "array": lambda bias: make(np.arange(3) + bias),
    "nested": lambda bias: make({"a": [bias, {1, 2}]}),
    "function in a closure": inside_another,
    "partial": lambda bias: functools.partial(lambda bias, query: [bias], bias),
    "callable object": Scorer,
    "object with slots": Slotted,
    "bound method": lambda bias: Scorer(bias).score,
    "wrapped": lambda bias: functools.lru_cache(make(bias)),
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_what_a_function_holds_is_in_its_fingerprint(maker):
    assert FakeLM(maker(1.0)).fingerprint == FakeLM(maker(1.0)).fingerprint
    assert FakeLM(maker(1.0)).fingerprint != FakeLM(maker(2.0)).fingerprint


@pytest.mark.parametrize("f", [weighted, through_another])
def test_what_a_function_uses_is_in_its_fingerprint(f, monkeypatch):
    before = FakeLM(f)
    assert before.fingerprint == FakeLM(f).fingerprint
    monkeypatch.setattr(sys.modules[__name__], "WEIGHT", 2.0)
    assert before.fingerprint != FakeLM(f).fingerprint


def test_a_class_attribute_and_a_name_in_the_code_count(monkeypatch):
    before = FakeLM(Scorer(1.0)).fingerprint
    monkeypatch.setattr(Scorer, "factor", 3.0)
    assert FakeLM(Scorer(1.0)).fingerprint != before
    assert FakeLM(lambda query: query.prefix).fingerprint != FakeLM(lambda query: query.suffix).fingerprint
    assert FakeLM(np.log).fingerprint != FakeLM(np.exp).fingerprint
    f = make(1.0)
    others = [FakeLM(f, answer=make("a")), FakeLM(f, hidden=make(0.0)), FakeLM(f, vocabulary=["a"]), FakeLM(f, limit=7)]
    assert len({lm.fingerprint for lm in [FakeLM(f), *others]}) == 5


def test_what_cannot_be_told_shares_its_fingerprint_with_nothing():
    for value in (threading.Lock(), (i for i in range(3))):
        f = make(value)
        assert FakeLM(f).fingerprint != FakeLM(f).fingerprint
    lm = FakeLM(make(threading.local()))
    assert lm.fingerprint == lm.fingerprint


def test_calls_do_not_change_it_and_it_goes_along_in_a_pickle():
    calls = []
    lm = FakeLM(lambda query: calls.append(query) or [0.0])
    before = lm.fingerprint
    calls.append(1)
    assert lm.fingerprint == before
    kept = FakeLM(Scorer(1.0))
    assert pickle.loads(pickle.dumps(kept)).fingerprint == kept.fingerprint


def test_it_is_the_same_in_another_process():
    code = "from tests.test_fake import *; print(*[FakeLM(m(1.5)).fingerprint for m in MAKERS.values()], sep='\\n')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert said[:-1] == [FakeLM(maker(1.5)).fingerprint for maker in MAKERS.values()]
