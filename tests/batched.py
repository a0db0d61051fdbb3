"""A light classifier for batches, and a Predictor of it that processes of any engine can import."""

from __future__ import annotations

import os
import signal

from fewshot import Classifier, Embedding
from fewshot.serving import Predictor
from tests.contract import HashEncoder, data

__all__ = ["Given", "failing", "fitted", "killed", "lost"]


def fitted() -> Classifier:
    """A classifier whose encoder has no weights."""
    return Classifier(HashEncoder(), strategy=Embedding(), random_state=0).fit(*data(3))


class Given(Predictor):
    """A Predictor with the model that the classifier of these tests was kept without, so that torch is not needed."""

    def __init__(self, folder, column="text", *, threads=None, **more):
        super().__init__(folder, column, model=HashEncoder(), **more)


def failing(fail, marker):
    """A Predictor that fails in the middle of the work, once of all processes; it is sent whole, and not by name."""

    class Failing(Given):
        calls = 0

        def __call__(self, batch):
            type(self).calls += 1
            if self.calls == 2:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    fail()
            return super().__call__(batch)

    return Failing


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def lost():
    raise ConnectionError("a machine is lost")
