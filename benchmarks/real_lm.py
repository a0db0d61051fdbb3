"""A real language model (embedded:causal) on five known sets: our ways to ask it, and three peers on the same weights.

    pip install -e ".[bench]"
    python benchmarks/real_lm.py DATA [--cases accuracy speed questions demonstrations table] [--sets ...] [--ways ...]
        [--rows 200] [--results FILE] [--dtype float32 bfloat16] [--cpu-time]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label; blanks stand for the underscores
of labels. Measured on ``test.sample(200, random_state=0)`` (banking77: 154). Unlabelled texts are
``train.sample(64, random_state=0)``, labelled ones eight of each class, and the 16 demonstrations are drawn from these
in turns of the classes; 4 and 8 are the first of them. No way sees a label of a test row.

Everything runs in one process on the same torch weights and tokenizer: transformers' pipeline("decision"), whose prompt
is its own; skorch's ZeroShotClassifier and FewShotClassifier with their own prompts; and lm-evaluation-harness with the
words of generic/causal without a chat template. skorch and lm-evaluation-harness, which compute every label behind
every prompt anew, judge the first of these rows only: 50 zero-shot and 20 with demonstrations. Flips are the share of
the first 50 rows whose answer is another when the label words are listed in reverse and everything is fitted again.

"accuracy" appends a line a set and way to FILE, so that parts can run alone, and "table" prints what is in it. "speed"
is that of predicting, after `fit`, the first 16 test rows of a set, in turns of the ways.
"questions" asks four questions about each text in one call, in turns with the decision pipeline: with its own prompts,
to which its answers must be ours, and with the label words as answers, none listed. "demonstrations" is the case of
`scoring.py` on this model; "of ideal" is its measure.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from data import draw, read, spaced
from sklearn.metrics import balanced_accuracy_score

from fewshot import Auto, Classifier, LabelMassWarning, Prompting, Readout, calibration_error, load
from fewshot.models.base import Query
from fewshot.models.wrappers import RememberedLM

SETS = {"ag_news": 200, "banking77": 154, "sst2": 200, "trec6": 200, "sms_spam": 200}
UNLABELLED, PER_CLASS, SHOWN = 64, 8, 16
FLIPPED, TIMED = 50, 16  # rows
LISTED = "Classify each text into one of these categories: "
QUESTIONS = {
    "What is it about?": ("world", "sports", "business", "technology"),
    "How does it sound?": ("positive", "negative", "neutral"),
    "Does it name a company?": ("yes", "no"),
    "How urgent is it?": ("it can wait", "this week", "today"),
}


@dataclass
class Known:
    """One set: its label words, and the rows that a way may see of it and is judged on."""

    name: str
    words: tuple[str, ...]
    unlabelled: pd.DataFrame
    labelled: pd.DataFrame
    shown: pd.DataFrame
    test: pd.DataFrame

    @classmethod
    def read(cls, data: Path, name: str, rows: int) -> Known:
        train, test = (spaced(read(data / name, part)) for part in ("train", "test"))
        labelled = draw(train, PER_CLASS, seed=0)
        turns = labelled.assign(turn=labelled.groupby("label").cumcount()).sample(frac=1, random_state=0)
        return cls(
            name,
            tuple(sorted(set(train.label))),
            train.sample(UNLABELLED, random_state=0),
            labelled,
            turns.sort_values("turn", kind="stable")[:SHOWN],
            test.sample(min(rows, SETS[name], len(test)), random_state=0),
        )


Predict = Callable[[list[str]], Any]  # probabilities of the words in their order
Way = Callable[[Any, Known, tuple[str, ...]], Predict]  # the model, the set, and its words as they are listed


def ours(strategy: Callable[[], Any], template: str | None = None, see: str = "") -> Way:
    """A strategy of ours. Its classes are numbers, so that the words can be listed in any order."""

    def fitted(lm: Any, known: Known, words: tuple[str, ...]) -> Predict:
        codes = {word: f"{i:02d}" for i, word in enumerate(words)}
        verbalizer = {code: word for word, code in codes.items()}
        clf = Classifier(lm, template, verbalizer=verbalizer, strategy=strategy(), random_state=0)
        if see == "unlabelled":
            clf.fit(known.unlabelled.text.tolist(), None)
        elif see:
            rows = getattr(known, see)
            clf.fit(rows.text.tolist(), rows.label.map(codes).tolist())
        else:
            clf.fit(None, list(verbalizer))
        if hasattr(clf, "report_") and isinstance(clf.strategy, Auto):
            print(f"{known.name}: {clf.report_}", flush=True)
        return clf.predict_proba

    return fitted


def prompting(**options: Any) -> Callable[[], Any]:
    return lambda: Prompting(**options)


def shots(n: int) -> Callable[[], Any]:
    return prompting(shots=n, selection="first")


def pipeline(lm: Any, known: Known, words: tuple[str, ...]) -> Predict:
    """transformers' decision pipeline; it adds tokens to its tokenizer, so it is given one of its own."""
    decide = decision_pipeline(lm)
    question = {"type": "choice", "instructions": "Which of these fits best?", "criteria": dict.fromkeys(words)}

    def predict(texts: list[str]) -> Any:
        answers = [decide({"state": text, "questions": {"q": question}})["q"]["probabilities"] for text in texts]
        return np.array([[answer[word] for word in words] for answer in answers])

    return predict


def decision_pipeline(lm: Any) -> Any:
    from transformers.decision.configuration_utils import DecisionConfig

    tokenizer = copy.deepcopy(lm.tokenizer)
    return transformers.pipeline("decision", model=lm.model, tokenizer=tokenizer, decision_config=DecisionConfig())


def skorch(few: bool) -> Way:
    def fitted(lm: Any, known: Known, words: tuple[str, ...]) -> Predict:
        from skorch.llm import FewShotClassifier, ZeroShotClassifier

        tokenizer = copy.deepcopy(lm.tokenizer)
        if few:
            clf = FewShotClassifier(model=lm.model, tokenizer=tokenizer, max_samples=SHOWN, random_state=0)
            clf.fit(known.shown.text.tolist(), known.shown.label.tolist())
        else:
            clf = ZeroShotClassifier(model=lm.model, tokenizer=tokenizer).fit(None, list(words))
        clf.classes_ = np.array(words, dtype=object)
        clf.label_ids_ = tokenizer(list(words))["input_ids"]

        def predict(texts: list[str]) -> Any:
            clf.cached_model_.clear()
            return clf.predict_proba(texts)

        return predict

    return fitted


def harness(few: bool) -> Way:
    """lm-evaluation-harness; a label word's log-probability behind the words of our generic/causal."""

    def fitted(lm: Any, known: Known, words: tuple[str, ...]) -> Predict:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        peer = HFLM(pretrained=lm.model, tokenizer=copy.deepcopy(lm.tokenizer), batch_size=16, max_length=4096)
        rows = known.shown if few else known.shown[:0]
        told = "".join(f"Text: {text}\nCategory: {word}\n\n" for text, word in zip(rows.text, rows.label, strict=True))

        def predict(texts: list[str]) -> Any:
            lead = f"{LISTED}{', '.join(words)}.\n\n{told}"
            pairs = [(f"{lead}Text: {text}\nCategory:", f" {word}") for text in texts for word in words]
            asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
            found = [value for value, _ in peer.loglikelihood(asked, disable_tqdm=True)]
            return softmax(np.reshape(found, (len(texts), -1)))

        return predict

    return fitted


def softmax(scores: Any) -> Any:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


LISTING = "generic/listed"
WAYS: dict[str, Way] = {
    "zero-shot, raw": ours(prompting()),
    "batch": ours(prompting(calibration="batch"), see="unlabelled"),
    "4 orders": ours(prompting(orders=4), LISTING),
    "4 orders, batch": ours(prompting(orders=4, calibration="batch"), LISTING, "unlabelled"),
    "Auto, unlabelled": ours(Auto, see="unlabelled"),
    "4 shots": ours(shots(4), see="shown"),
    "8 shots": ours(shots(8), see="shown"),
    "16 shots": ours(shots(16), see="shown"),
    "Readout, 8 per class": ours(Readout, see="labelled"),
    "Auto, 8 per class": ours(Auto, see="labelled"),
    "transformers pipeline": pipeline,
    "skorch zero-shot": skorch(few=False),
    "skorch 16 shots": skorch(few=True),
    "lm-eval zero-shot": harness(few=False),
    "lm-eval 16 shots": harness(few=True),
}
PEERS = [name for name in WAYS if name.split()[0] in ("transformers", "skorch", "lm-eval")]
FEWER = {"skorch zero-shot": 50, "lm-eval zero-shot": 50, "skorch 16 shots": 20, "lm-eval 16 shots": 20}
#: Ways whose flips are measured: those that see no label, but for the slow peers, and Auto, whose report says whether
#: it lists the words.
FLIPS = [
    name for name in WAYS if name not in FEWER and not any(part in name for part in ("shots", "per class", "Auto"))
]


def measured(name: str, lm: Any, known: Known) -> dict[str, Any]:
    """A line of the results: what a way gets right on the test rows."""
    way, rows, words = WAYS[name], known.test[: FEWER.get(name)], np.array(known.words)
    given = lm.lm if name.startswith("Auto") else lm  # Auto remembers what it asks itself
    texts, labels = rows.text.tolist(), rows.label.to_numpy()
    proba = way(given, known, known.words)(texts)
    answers = words[proba.argmax(axis=1)]
    right = proba[np.arange(len(proba)), np.searchsorted(words, labels)]
    line = {
        "set": known.name,
        "way": name,
        "balanced accuracy": float(balanced_accuracy_score(labels, answers)),
        "log loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
        "ECE": calibration_error(proba.max(axis=1), answers == labels),
        "rows": len(rows),
    }
    if name in FLIPS:
        turned = words[::-1]
        other = way(given, known, tuple(turned))(texts[:FLIPPED])
        line["flips"] = float(np.mean(turned[other.argmax(axis=1)] != answers[:FLIPPED]))
    return line


def accuracy(options: argparse.Namespace, lm: Any) -> None:
    for name in options.sets:
        known = Known.read(options.data, name, options.rows)
        memory = RememberedLM(lm)
        for way in options.ways:
            if len(known.words) > 26 and way in PEERS:
                continue  # the pipeline has letters for 26 options; the others take minutes a text with 77
            begin = time.perf_counter()
            line = measured(way, memory, known)
            line["seconds"] = time.perf_counter() - begin
            print(json.dumps(line), flush=True)
            if options.results:
                with options.results.open("a") as file:
                    file.write(json.dumps(line) + "\n")


def speed(options: argparse.Namespace, lm: Any) -> None:
    """Texts a second of predicting the same rows, the median of three turns."""
    for name in options.sets:
        known = Known.read(options.data, name, TIMED)
        ways = [way for way in options.ways if len(known.words) <= 26 or way not in PEERS]
        texts, seconds = known.test.text.tolist(), {way: [] for way in ways}
        fitted = {way: WAYS[way](lm, known, known.words) for way in ways}
        for _ in range(3):
            for way in ways:
                begin = time.perf_counter()
                fitted[way](texts)
                seconds[way].append(time.perf_counter() - begin)
        for way in ways:
            print(f"| {name} | {way} | {len(texts) / np.median(seconds[way]):.2f} |", flush=True)


def table(results: Path) -> None:
    """Balanced accuracy on each set, and the means of the sets that every way can answer."""
    frame = pd.read_json(results, lines=True).drop_duplicates(["set", "way"], keep="last")
    sets = [name for name in SETS if name in set(frame.set)]
    few = [name for name in sets if name != "banking77"]
    print("| | " + " | ".join(sets) + " | mean of the four | log loss | ECE | flips |")
    print("| --- " * (len(sets) + 5) + "|")
    for way in [way for way in WAYS if way in set(frame.way)]:
        own = frame[frame.way == way].set_index("set")
        cells = [f"{own['balanced accuracy'][name]:.3f}" if name in own.index else "-" for name in sets]
        mean = own.reindex(few)[["balanced accuracy", "log loss", "ECE", "flips"]].mean(skipna=False)
        told = ["-" if np.isnan(value) else f"{value:.3f}" for value in mean]
        print(f"| {way} | {' | '.join([*cells, *told])} |")


def questions(options: argparse.Namespace, lm: Any) -> None:
    """Four questions about each text in one call, in turns with the pipeline."""
    from scoring import ideal_rate, shared_length, timed

    news = read(options.data / "ag_news", "test").text.tolist()
    print("| four questions about each | wording | pipeline, texts / s | ours | ratio | of ideal | answers apart |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    decide = decision_pipeline(lm)
    asked = {
        f"{i}": {"type": "choice", "instructions": said, "criteria": dict.fromkeys(choices)}
        for i, (said, choices) in enumerate(QUESTIONS.items())
    }
    for title, n_words, most in (("text as it is", 0, 12), ("text of 400 words", 400, 4)):
        n = min(most, options.rows)
        texts = news[:n] if not n_words else [" ".join(" ".join(news[i::n]).split()[:n_words]) for i in range(n)]
        requests = [{"state": text, "questions": asked} for text in texts]
        ways = {
            wording: [make(text, *question) for text in texts for question in QUESTIONS.items()]
            for wording, make in (("the pipeline's", decision_query), ("label words, unlisted", word_query))
        }
        theirs, times, shares = [], {name: [] for name in ("pipeline", *ways)}, {name: [] for name in ways}
        found = {wording: lm.loglikelihoods(queries) for wording, queries in ways.items()}  # and what is checked once
        for _ in range(3):
            seconds, theirs = timed(lambda requests=requests: [decide(request) for request in requests])
            times["pipeline"].append(seconds)
            for wording, queries in ways.items():
                lm._continued._known, lm._packed.n_computed = {}, 0
                seconds, _ = timed(lambda queries=queries: lm.loglikelihoods(queries))
                computed, shared = lm._packed.n_computed, shared_length(lm._joined(queries))
                rest = computed - shared
                times[wording].append(seconds)
                shares[wording].append(computed / seconds / ideal_rate(lm.model, shared, rest // n, rest, len(queries)))
        expected = [list(answer["probabilities"].values()) for one in theirs for answer in one.values()]
        pairs = zip(found["the pipeline's"], expected, strict=True)
        apart = max(float(np.abs(softmax(a.logprobs[None])[0] - np.array(b)).max()) for a, b in pairs)
        peer = float(np.median(times["pipeline"]))
        for wording in ways:
            own, share = float(np.median(times[wording])), float(np.median(shares[wording]))
            told = f"{apart:.1e}" if wording == "the pipeline's" else ""
            print(
                f"| {title} | {wording} | {n / peer:.2f} | {n / own:.2f} | {peer / own:.2f} | {share:.2f} | {told} |",
                flush=True,
            )


def word_query(text: str, said: str, choices: tuple[str, ...]) -> Query:
    """The same question, whose answer is a label word."""
    return Query(f"{text}\n\n{said} ", choices)


def decision_query(text: str, said: str, choices: tuple[str, ...]) -> Query:
    """The decision pipeline's prompt, to a letter."""
    letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)])
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True))
    last = f"Answer with the letter of the option that fits best (A to {letters[-1]}) only."
    return Query(f"{text}\n\n{said}\n{lines}\n{last}", letters)


def demonstrations(options: argparse.Namespace, lm: Any) -> None:
    """16 demonstrations and 64 texts of AG News against lm-evaluation-harness, plain text on both sides."""
    from scoring import causal_case

    from fewshot.models.base import Turn

    news, test = (read(options.data / "ag_news", part) for part in ("train", "test"))
    told = "".join(
        f"Article: {' '.join(text.split()[:22])}\nTopic: {label}\n\n"
        for text, label in zip(news.text[:SHOWN], news.label[:SHOWN], strict=True)
    )
    words = tuple(f" {word}" for word in sorted(set(news.label)))
    queries = [
        Query(f"Article: {text}\nTopic:", words, "", (Turn("user", told),))
        for text in test.text[: min(64, options.rows)]
    ]
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = None
    print(
        "| case | seconds | lm-eval, scaled | ratio | tokens / nodes | of ideal | error, ours / plain forward "
        "| against peer |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for _ in range(options.repeats):
        title = f"16 demonstrations, 4 labels, {len(queries)} texts, {lm.model.dtype}"
        causal_case(title, queries, lm.model, tokenizer, min(8, len(queries)), None, with_peer=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    every = ["accuracy", "speed", "questions", "demonstrations", "table"]
    parser.add_argument("--cases", nargs="+", default=every, choices=every)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--dtype", nargs="+", default=["float32"], help="of the speed cases: float32, bfloat16")
    parser.add_argument("--results", type=Path, help="a file of JSON lines")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processor's seconds and not the clock's, on a machine that others use; set OMP_NUM_THREADS=1",
    )
    options = parser.parse_args()
    if options.cpu_time:
        time.perf_counter = time.process_time  # also in scoring.py
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore", LabelMassWarning)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}\n")
    if "accuracy" in options.cases:
        accuracy(options, load("embedded:causal"))
    for dtype in options.dtype:
        for case, run in (("speed", speed), ("questions", questions), ("demonstrations", demonstrations)):
            if case in options.cases:
                print(f"\n{dtype}\n", flush=True)
                run(options, load("embedded:causal", dtype=dtype))
    if "table" in options.cases and options.results:
        table(options.results)


if __name__ == "__main__":
    main()
