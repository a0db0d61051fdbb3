"""ServerLM: what all models behind an address share: who answered, what it took, and what is kept after a failure."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tqdm import tqdm

from fewshot.checks import at_least
from fewshot.errors import FewshotWarning, ParameterError, warn
from fewshot.models.base import Query, Scores
from fewshot.models.locks import lock_of
from fewshot.models.progress import show_progress
from fewshot.models.remote.rehearsal import rehearsal_at_work
from fewshot.models.remote.threads import work_through
from fewshot.models.remote.wire import Usage

__all__ = ["Answers", "Estimate", "Receive", "ServerLM", "Spent", "short_hash"]

Receive = Callable[[Mapping[Query, Scores]], None]


@dataclass(frozen=True)
class Spent:
    """What a server was asked so far, and what it cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None  # in the currency of the prices; None where there are none


@dataclass(frozen=True)
class Estimate:
    """What a server would be asked.

    Parameters
    ----------
    requests : int
    input_tokens : int or None
        Tokens of all prompts; None where the server alone knows its tokens.
    output_tokens : int or None
        Tokens that the server writes; where texts are generated, at most.
    cost : float or None
        In the currency of the model's prices; None without prices, or without tokens.
    """

    requests: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost: float | None = None


@dataclass(eq=False)
class Account:
    """What is known of a server so far; the same model asked in another format shares it."""

    spent: Spent = Spent()
    version: str | None = None  # the model that answered last
    warnings: list[str] = field(default_factory=list)  # of other threads, for the caller's
    left: dict[Query, Scores] = field(default_factory=dict)  # answers of calls that failed

    def __getstate__(self) -> dict[str, Any]:
        return vars(Account(version=self.version))


class Answers:
    """The scores of one call, as they come."""

    def __init__(self, found: dict[Query, Scores], receive: Receive | None) -> None:
        self.found = found
        self._receive = receive
        if found:
            self.take(found.copy())

    def take(self, new: Mapping[Query, Scores]) -> None:
        """Keep finished scores, and hand them to whoever waits for each."""
        self.found.update(new)
        if self._receive is not None:
            self._receive(new)

    def drop(self) -> None:
        """Forget all: what comes now is of another model."""
        self.found.clear()


class ServerLM(ABC):
    """A language model behind an address.

    Parameters
    ----------
    model : str
        What the server calls it.
    server : str or None
        What the fingerprint calls the server.
    concurrency : int
        Most requests at once.
    prices : mapping or None
        What a million tokens cost.
    """

    def __init__(self, model: str, *, server: str | None, concurrency: int, prices: Mapping[str, float] | None) -> None:
        at_least("concurrency", concurrency, 1, whole=True)
        if not isinstance(model, str) or not model.strip():
            raise ParameterError(f"model must be the name that the server knows. Got {model!r}.")
        if server is not None and not isinstance(server, str):
            raise ParameterError(f"server must be what the fingerprint calls the server, or None. Got {server!r}.")
        self.model_name, self.server, self.concurrency = model, server, concurrency
        self.prices = _checked_prices(prices)
        self._account = Account()

    def _place(self, url: str) -> str:
        """What the fingerprint calls the server: its own name, or a hash of the address."""
        return self.server or short_hash(url)

    @property
    def version(self) -> str | None:
        """What the last response says of the model and its version; None if nothing was asked yet."""
        return self._account.version

    @property
    def usage(self) -> Spent:
        """Requests, tokens and cost so far."""
        spent = self._account.spent
        return replace(spent, cost=_cost(spent, self.prices))

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Ask the server about all queries; each is asked once.

        Raises
        ------
        ServerError
            When the server refuses a request or gives no usable answer. Scores that arrived before are kept, and the
            next call does not ask for them again.
        UnsupportedError
            When a query can't be asked.
        """
        return self.receive_scores(queries, None)

    def receive_scores(self, queries: Sequence[Query], receive: Receive | None) -> list[Scores]:
        """Score all queries, and call ``receive`` with the scores of each query as they arrive, from any thread.

        Raises
        ------
        ServerError
            As `loglikelihoods` does.
        UnsupportedError
            As `loglikelihoods` does.
        """
        rehearsal = rehearsal_at_work()
        if rehearsal is not None:
            return rehearsal.scores(self, queries)
        return self._received(queries, receive)

    def _received(self, queries: Sequence[Query], receive: Receive | None) -> list[Scores]:
        account, distinct = self._account, dict.fromkeys(queries)
        answers = Answers({query: account.left[query] for query in distinct if query in account.left}, receive)
        try:
            self._ask_all([query for query in distinct if query not in answers.found], answers)
        except BaseException as error:
            account.left |= answers.found.copy()
            if not isinstance(error, Exception):  # Ctrl-C, which does not wait for what is at work
                self._leave()
            raise
        finally:
            self._warn()
        for query in distinct:
            account.left.pop(query, None)
        return [answers.found[query] for query in queries]

    @abstractmethod
    def _ask_all(self, queries: list[Query], answers: Answers) -> None:
        """Ask the server about distinct queries, and have ``answers`` take their scores."""

    @abstractmethod
    def planned(self, queries: Sequence[Query], max_new_tokens: int | None = None) -> Estimate:
        """Estimate the cost of scoring distinct queries, or of writing ``max_new_tokens`` for each, without asking."""

    @abstractmethod
    def _leave(self) -> None:
        """Leave the connections to who is still at work on them."""

    def _priced(self, requests: int, input_tokens: int, output_tokens: int) -> Estimate:
        spent = Estimate(requests, input_tokens, output_tokens)
        return replace(spent, cost=_cost(spent, self.prices))

    def _work(self, ask: Callable[[Any, threading.Event], None], jobs: Sequence[Any], title: str) -> None:
        """Ask ``ask(job, stopped)`` for each job, under a bar with what it takes."""
        before = self._account.spent

        def work(job: Any, stopped: threading.Event) -> None:
            ask(job, stopped)
            with lock_of(self._account):
                self._show(bar, before)

        with show_progress(len(jobs), title) as bar:
            work_through(work, jobs, self.concurrency)

    def _show(self, bar: tqdm[Any], before: Spent) -> None:
        now = self._account.spent
        tokens = now.input_tokens + now.output_tokens - before.input_tokens - before.output_tokens
        spent = Spent(0, now.input_tokens - before.input_tokens, now.output_tokens - before.output_tokens)
        cost = _cost(spent, self.prices)
        bar.set_postfix_str(f"{tokens} tokens" + (f", cost {cost:.4g}" if cost is not None else ""), refresh=False)
        bar.update()

    def _count(self, usage: Usage) -> None:
        """Count what a request took."""
        account = self._account
        with lock_of(account):
            now = account.spent
            total = Usage(now.input_tokens, now.output_tokens) + usage
            account.spent = Spent(now.requests + 1, total.input_tokens, total.output_tokens)

    def _see(self, version: str) -> None:
        """See who answers: another model than before gets a warning, and what the former left is not used."""
        account = self._account
        with lock_of(account):
            before, account.version = account.version, version
            if before is None or before == version:
                return
            account.warnings.append(
                f"{self!r} is now answered by {version!r}, and was by {before!r}: what was fitted or calibrated on the "
                "one need not hold for the other. Fit again, or ask for a version by its name."
            )
            account.left.clear()

    def _warn(self) -> None:
        with lock_of(self._account):
            said, self._account.warnings = self._account.warnings, []
        for message in said:
            warn(message, FewshotWarning)

    def __sklearn_clone__(self) -> Self:
        """Models are shared between clones, never copied."""
        return self


def short_hash(text: str) -> str:
    """A few letters that stand for a text in a fingerprint."""
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _cost(spent: Spent | Estimate, prices: Mapping[str, float] | None) -> float | None:
    """What tokens cost at the prices of a million; None without prices."""
    if prices is None or spent.input_tokens is None or spent.output_tokens is None:
        return None
    return (spent.input_tokens * prices["input"] + spent.output_tokens * prices["output"]) / 1e6


def _checked_prices(prices: Any) -> dict[str, float] | None:
    if prices is None:
        return None
    if not isinstance(prices, Mapping) or set(prices) != {"input", "output"}:
        raise ParameterError(f"prices must be of a million tokens each, {{'input': .., 'output': ..}}. Got {prices!r}.")
    for name, price in prices.items():
        at_least(f"prices[{name!r}]", price, 0)
    return {name: float(price) for name, price in prices.items()}
