"""Four questions about a text against one: what the text costs that is computed once.

    python benchmarks/questionnaire.py DATA [--texts 64] [--repeats 5]

DATA is the folder of the public sets; the texts are the first ones of a set's test rows. A Questionnaire of four
questions, one of its questions alone, and the four classifiers one by one are timed in turn, in one process, so that
whatever else the machine does falls on all alike. The model is embedded:causal without its chat template, the prompts
put the text first. Printed are medians and the median of the ratios of each round, and the tokens that each way
computes, of which no way to ask can do with fewer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from data import read

from fewshot import Classifier, Prompting, Questionnaire, load

QUESTIONS = {
    "topic": ("What is it about?", ["politics", "sports", "business", "technology"]),
    "tone": ("Which tone does it have?", ["neutral", "positive", "negative"]),
    "urgent": ("Is it urgent?", ["no", "yes"]),
    "reader": ("Who should read it?", ["everybody", "investors", "fans", "engineers"]),
}


def make(names, lm):
    form = "Text: {{{{ text }}}}\nQuestion: {asked} {words}\nAnswer: {{{{ label }}}}"
    return Questionnaire(
        {
            name: Classifier(
                lm, form.format(asked=QUESTIONS[name][0], words=", ".join(QUESTIONS[name][1])), strategy=Prompting()
            )
            for name in names
        }
    ).fit(None, {name: QUESTIONS[name][1] for name in names})


def timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="ag_news")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    texts = read(args.data / args.set, "test").text[: args.texts].tolist()
    lm = load("embedded:causal", chat=False)
    one, four = make(["topic"], lm), make(QUESTIONS, lm)
    together, alone = four.predict_proba(texts), {n: clf.predict_proba(texts) for n, clf in four.classifiers_.items()}
    print("largest difference of a probability:", max(np.abs(together[n] - alone[n]).max() for n in QUESTIONS))
    ways = {
        "one question": lambda: one.predict_proba(texts),
        "four questions": lambda: four.predict_proba(texts),
        "four classifiers one by one": lambda: [clf.predict_proba(texts) for clf in four.classifiers_.values()],
    }
    seconds, tokens = {name: [] for name in ways}, {}
    for i in range(args.repeats):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            lm._packed.n_computed = 0
            seconds[name].append(timed(ways[name]))
            tokens[name] = lm._packed.n_computed
        print({name: round(own[-1], 2) for name, own in seconds.items()}, flush=True)
    for name, own in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(own, seconds["one question"], strict=True))
        computed = tokens[name] / tokens["one question"]
        print(
            f"{name}: {statistics.median(own):.2f} s, {ratio:.2f} times one question, {computed:.2f} times its tokens"
        )


if __name__ == "__main__":
    main()
