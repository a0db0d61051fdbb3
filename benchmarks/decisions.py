"""The server of typed decisions over a real language model: latency, requests a second, and a soak.

    pip install -e ".[serve]"
    python benchmarks/decisions.py [--model embedded:causal] [--clients 1 8 64] [--questions 1 4] [--requests 64]
    python benchmarks/decisions.py --soak SECONDS [--clients 8]
    python benchmarks/decisions.py --alone REQUESTS

The server is a process of its own, as `fewshot serve` starts it; the clients are threads of this one, each with one
connection that it keeps. Every request has a state of its own of about 40 words. "sent one by one" is the same model in
this process without HTTP, asked about one request after another: what the server adds to it is HTTP, and what it saves
is by scoring together what waits. Latency is from the first byte sent to the last byte read.

A soak sends for SECONDS what clients send: each hundredth request is broken (no JSON, or an option too few), and each
hundredth client hangs up before its answer. It ends with SIGTERM while requests are under way. What was lost is
counted: requests that were accepted, whose client stayed, and that got neither an answer nor an error in the form of
the wire.
Memory is the server's resident set after each tenth of the time. --alone says what a model itself keeps, without HTTP
and threads: a tokenizer remembers the words that it has seen, so states with numbers of their own are more to it.

Accuracy, calibration and flips against transformers' pipeline("decision") are the cases of `real_lm.py`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from fewshot import load
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.models.wrappers import RememberedLM
from fewshot.serving.answerers import Job, ZeroShot
from fewshot.serving.memory import give_back

QUESTIONS: dict[str, Any] = {
    "about": {
        "type": "choice",
        "instructions": "What is it about?",
        "criteria": dict.fromkeys(("billing", "a bug", "praise", "an account")),
    },
    "angry": {"type": "noul", "instructions": "Is the customer angry?"},
    "urgent": {"type": "score", "instructions": "How urgent is it?", "criteria": ["low", "medium", "high"]},
    "team": {
        "type": "choice",
        "instructions": "Which team should answer?",
        "criteria": {"sales": "prices, contracts", "support": "something does not work", "accounts": "invoices"},
    },
}
TEXT = (
    "the app was charged again after an update and nobody in your team has answered my three mails about this invoice "
    "since monday so please refund it today or tell me when it will work as it did before on my phone"
)


def body(number: int, n_questions: int) -> dict[str, Any]:
    """A request with a state of its own."""
    words = np.random.default_rng(number).permutation(TEXT.split())
    state = f"Ticket {number}: {' '.join(words)}."
    return {"model": "any", "state": state, "questions": dict(list(QUESTIONS.items())[:n_questions])}


@contextmanager
def served(model: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server in a process of its own, and the process."""
    command = [sys.executable, "-m", "fewshot", "serve", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        try:
            yield urlsplit(address).netloc, process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0


def post(connection: http.client.HTTPConnection, payload: bytes) -> tuple[int, Any]:
    """Status and body of an answer."""
    connection.request("POST", "/v1/systemone", payload)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def measured(place: str, clients: int, n_questions: int, requests: int) -> tuple[float, float, float]:
    """Median and 99th percentile of the latency in milliseconds, and requests a second."""
    numbers = iter(range(clients + requests))
    lock, seconds = threading.Lock(), []

    def run() -> None:
        with closing(http.client.HTTPConnection(place)) as connection:
            post(connection, json.dumps(body(10**9 + clients, n_questions)).encode())
            started.wait()
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                began = time.perf_counter()
                assert post(connection, json.dumps(body(number + 10**6 * n_questions, n_questions)).encode())[0] == 200
                seconds.append(time.perf_counter() - began)

    started = threading.Barrier(clients + 1)
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(run) for _ in range(clients)]
        started.wait()
        began = time.perf_counter()
        for one in running:
            one.result()
        rate = len(seconds) / (time.perf_counter() - began)
    median, last = np.quantile(seconds, [0.5, 0.99]) * 1000
    return float(median), float(last), rate


def one_by_one(model: str, n_questions: int, requests: int) -> float:
    """Requests a second of the model in this process, asked about one request after another."""
    lm = load(model)
    answerer = ZeroShot(lm)

    def answer(number: int) -> None:
        request = SYSTEM_ONE.read_request(body(number, n_questions))
        prepared = answerer.prepare([Job(asked, request.state) for asked in request.questions])
        memory = RememberedLM(lm)
        memory.loglikelihoods(prepared.queries)
        prepared.finish(memory)

    answer(10**9)
    began = time.perf_counter()
    for number in range(requests):
        answer(number)
    return requests / (time.perf_counter() - began)


def table(arguments: argparse.Namespace) -> None:
    """Print latency and requests a second."""
    print("| questions | clients | p50, ms | p99, ms | requests a second | sent one by one |")
    print("| --- | --- | --- | --- | --- | --- |")
    with served(arguments.model) as (place, _):
        found = {
            (n, clients): measured(place, clients, n, max(arguments.requests, 2 * clients))
            for n in arguments.questions
            for clients in arguments.clients
        }
    alone = {n: one_by_one(arguments.model, n, arguments.requests) for n in arguments.questions}
    for (n, clients), (median, last, rate) in found.items():
        print(f"| {n} | {clients} | {median:.0f} | {last:.0f} | {rate:.1f} | {alone[n]:.1f} |")


@dataclass
class Soak:
    """What became of the requests of a soak."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ending: bool = False

    def note(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def client(self, place: str, seed: int) -> None:
        """Send until the end, on a connection that is kept."""
        draw = np.random.default_rng(seed)
        connection = http.client.HTTPConnection(place, timeout=120)
        number = seed * 10**6
        while not self.ending:
            number += 1
            try:
                if draw.random() < 0.01:
                    broken = b"{" if draw.random() < 0.5 else json.dumps({**body(number, 1), "questions": {}}).encode()
                    self.note("refused" if post(connection, broken)[0] == 422 else "wrong")
                elif draw.random() < 0.01:
                    connection.request("POST", "/v1/systemone", json.dumps(body(number, 1)).encode())
                    connection.close()
                    self.note("hung up")
                else:
                    status, said = post(connection, json.dumps(body(number, int(draw.integers(1, 5)))).encode())
                    self.note({200: "answered", 503: "asked to wait"}.get(status, "wrong"))
                    assert "answers" in said or "detail" in said
            except (OSError, http.client.HTTPException) as error:
                refused = isinstance(
                    error, ConnectionRefusedError | http.client.RemoteDisconnected | ConnectionResetError
                )
                self.note("not accepted at the end" if self.ending and refused else "lost")
                connection.close()


def resident(process: int) -> float:
    """Resident set of a process in MiB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def soak(arguments: argparse.Namespace) -> None:
    """Print what a soak lost, and what the server's memory did."""
    found, clients = Soak(), max(arguments.clients)
    with ThreadPoolExecutor(clients) as pool, served(arguments.model) as (place, process):
        running = [pool.submit(found.client, place, seed) for seed in range(clients)]
        memory = []
        for _ in range(10):
            time.sleep(arguments.soak / 10)
            memory.append(resident(process.pid))
        found.ending = True
        process.send_signal(signal.SIGTERM)
        for one in running:
            one.result()
    print(f"{clients} clients, {arguments.soak:g} s:", ", ".join(f"{n} {what}" for what, n in found.counts.items()))
    print(f"lost: {found.counts['lost']}, wrong: {found.counts['wrong']}")
    print("resident memory after each tenth of the time, MiB:", " ".join(f"{one:.0f}" for one in memory))


def alone(arguments: argparse.Namespace) -> None:
    """Print the memory of this process while it answers by itself: states with a number of their own, and without."""
    zero_shot, number = ZeroShot(load(arguments.model)), 0
    for numbered in (False, True):
        memory = []
        for tenth in range(11):
            for _ in range(arguments.alone // 10 if tenth else 0):
                number += 1
                made = body(number, 1 + number % 4)
                if not numbered:
                    made["state"] = made["state"].partition(": ")[2]
                request = SYSTEM_ONE.read_request(made)
                jobs = [Job(asked, request.state) for asked in request.questions]
                zero_shot.prepare(jobs).finish(zero_shot.model)
            give_back()
            memory.append(resident(os.getpid()))
        what = "with a number each" if numbered else "of the same words"
        print(f"{arguments.alone} states {what}, resident memory in MiB:", " ".join(f"{one:.1f}" for one in memory))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded:causal")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--questions", type=int, nargs="+", default=[1, 4], choices=range(1, len(QUESTIONS) + 1))
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    parser.add_argument("--alone", type=int, metavar="REQUESTS")
    arguments = parser.parse_args()
    if arguments.soak:
        soak(arguments)
    elif arguments.alone:
        alone(arguments)
    else:
        table(arguments)


if __name__ == "__main__":
    main()
