"""How descriptions of classes should reach a masked model and an encoder, zero-shot.

    PYTHONPATH=benchmarks python benchmarks/settle/descriptions.py DATA [--kinds masked encoder labelled]
        [--rows 200]

DATA holds one folder a set with train.csv.gz, columns text and label. Only training rows are read:
``train.sample(rows, random_state=0)``. The descriptions below were written once, from what the labels mean, before
anything was measured: a few words and a sentence of each class. Both are asked in each form, and their mean counts.
"batch" is ``Batch()`` without labels, fitted on one half of the rows and judged on the other, and the other way round.
Last, the form that the other sets choose, by the mean of raw and calibrated balanced accuracy. "labelled" is the
encoder with the default head and a few labelled rows of each class; other training rows judge.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from data import draw, read
from measures import measure
from scipy.special import log_softmax
from sklearn.preprocessing import normalize

from fewshot import Classifier, LabelPriorLogisticRegression, Prompting, Template, load

Meanings = dict[str, tuple[str, str]]
SETS: dict[str, tuple[str, Meanings]] = {  # what is asked, and a few words and a sentence about each class
    "ag_news": (
        "What is the news about?",
        {
            "Business": ("companies, markets, the economy", "News about companies, markets, money or the economy."),
            "Sci/Tech": ("science, software, the internet", "News about science, computers, software or the internet."),
            "Sports": ("games, teams, athletes", "News about games, teams, athletes or tournaments."),
            "World": ("politics, war, diplomacy", "News about governments, wars, elections or foreign affairs."),
        },
    ),
    "sst2": (
        "What does the reviewer think of the film?",
        {
            "negative": ("the reviewer dislikes the film", "The reviewer finds the film bad, dull or a waste of time."),
            "positive": ("the reviewer likes the film", "The reviewer finds the film good, moving or worth seeing."),
        },
    ),
    "cr": (
        "What does the customer think of the product?",
        {
            "negative": ("a complaint about the product", "The customer complains about the product or a part of it."),
            "positive": ("praise of the product", "The customer praises the product or a part of it."),
        },
    ),
    "trec6": (
        "What does the question ask for?",
        {
            "abbreviation": ("what letters stand for", "The question asks what an abbreviation stands for."),
            "description": (
                "a definition, a reason, a manner",
                "The question asks for a definition, reason or manner.",
            ),
            "entity": (
                "an animal, a product, a work",
                "The question asks for a thing, such as an animal or a product.",
            ),
            "human": ("a person or a group", "The question asks for a person or a group of people."),
            "location": ("a city, a country, a place", "The question asks for a place, such as a city or a country."),
            "numeric": ("a date, a count, a sum", "The question asks for a number, such as a date or a count."),
        },
    ),
    "sms_spam": (
        "What kind of message is this?",
        {
            "ham": ("a message from a friend", "A message that a person wrote to somebody they know."),
            "spam": ("advertising, prizes, fraud", "An advertisement, a prize to be claimed or an attempt at fraud."),
        },
    ),
    "tweeteval_emotion": (
        "What does the writer feel?",
        {
            "anger": ("annoyed, furious", "The writer is annoyed or furious about something."),
            "joy": ("happy, amused", "The writer is happy or amused."),
            "optimism": ("hope, encouragement", "The writer is hopeful, or encourages others."),
            "sadness": ("grief, depression", "The writer is sad, lonely or depressed."),
        },
    ),
    "tweeteval_hate": (
        "Is this hate speech?",
        {
            "hate": ("an attack on women or migrants", "The writer attacks women or immigrants as a group."),
            "not-hate": ("no group is attacked", "The writer attacks no group of people."),
        },
    ),
}

LINES = "{% for one in labels %}- {{ one }}: {{ descriptions[one] }}\n{% endfor %}"
NAMES = "{% for one in labels %}- {{ one }}\n{% endfor %}"
TEXT = "{{ text | shorten }}"
MASKED = {  # of each form the source; the descriptions of a form without "descriptions" are left out
    "text, asked, hole": TEXT + "\n{asked}\n{{ label }}.",
    "text, asked, hole in one line": TEXT + " {asked} {{ label }}.",
    "asked, hole, text": "{asked} {{ label }}: " + TEXT,
    "hole, text (generic)": "{{ label }}: " + TEXT,
    "text, asked, names, hole": TEXT + "\n{asked}\n" + NAMES + "{{ label }}.",
    "text, asked, list, hole (before)": TEXT + "\n{asked}\n" + LINES + "{{ label }}.",
    "list, text, asked, hole": LINES + TEXT + "\n{asked}\n{{ label }}.",
    "asked, list, hole, text": "{asked}\n" + LINES + "{{ label }}: " + TEXT,
    "list, hole, text": LINES + "{{ label }}: " + TEXT,
}


MEANS = (("text, asked, hole", "list, text, asked, hole"), ("asked, hole, text", "asked, list, hole, text"))


def masked(model: Any, texts: Any, asked: str, meanings: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The class log-scores of each form, for both descriptions."""

    def said(source: str, meant: dict[str, str] | None) -> Any:
        template = Template(source.replace("{asked}", asked), words=names, descriptions=meant)
        return Classifier(model, template, strategy=Prompting()).fit().predict_log_proba(texts)

    names = {name: name.replace("-", " ") for name in meanings[0]}
    alike = {form: said(source, None) for form, source in MASKED.items() if "descr" not in source}
    found = []
    for meant in meanings:
        own = alike | {form: said(source, meant) for form, source in MASKED.items() if "descr" in source}
        for plain, listed in MEANS:
            own[f"mean of {plain}; {listed}"] = log_softmax((own[plain] + own[listed]) / 2, axis=1)
        found.append(own)
    return found


GENERIC = "The topic is {}."
SHOTS = (2, 8)
FRAMES: dict[str, Callable[[str, str, str], list[str]]] = {  # from frame, name and description: what is averaged
    "name": lambda frame, name, means: [frame.format(name)],
    "name: description (before)": lambda frame, name, means: [frame.format(f"{name}: {means}")],
    "name (description)": lambda frame, name, means: [frame.format(f"{name} ({means})")],
    "description": lambda frame, name, means: [frame.format(means)],
    "mean of name; name: description": lambda frame, name, means: [
        frame.format(name),
        frame.format(f"{name}: {means}"),
    ],
    "mean of name; description": lambda frame, name, means: [frame.format(name), frame.format(means)],
    "mean of name; bare description": lambda frame, name, means: [frame.format(name), means],
    "mean of name; bare name: description": lambda frame, name, means: [frame.format(name), f"{name}: {means}"],
    "bare name: description": lambda frame, name, means: [f"{name}: {means}"],
    "bare description": lambda frame, name, means: [means],
}


def encoder(model: Any, texts: Any, asked: str, meanings: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The class log-scores of each form, in the generic frame and after the question, for both descriptions."""
    vectors, found = normalize(model.encode(list(texts))), []
    for meant in meanings:
        found.append({})
        for where, frame in (("generic", GENERIC), ("asked", f"{asked} {{}}.")):
            for form in FRAMES:
                means = class_prompts(model, frame, form, meant)
                found[-1][f"{where}: {form}"] = log_softmax(10 * vectors @ means.T, axis=1)
    return found


def class_prompts(model: Any, frame: str, form: str, meant: dict[str, str]) -> Any:
    """The unit vector of each class."""
    prompts = [FRAMES[form](frame, name.replace("-", " "), text.removesuffix(".")) for name, text in meant.items()]
    return normalize(np.stack([normalize(model.encode(own)).mean(axis=0) for own in prompts]))


def few(data: Path, n: int, sets: list[str], draws: int) -> None:
    """Print the accuracy of the default head around each form's class prompts, from a few labelled rows of each class.

    The descriptions of a few words and of a sentence, and the draws, are in the mean.
    """
    model = load()
    print(
        "\n| rows of each class | class prompts | "
        + " | ".join(sets)
        + " | mean |\n"
        + "| --- " * (len(sets) + 3)
        + "|"
    )
    for shots in SHOTS:
        table: dict[str, list[float]] = {}
        for name in sets:
            _, meanings = SETS[name]
            train = read(data / name, "train")
            each: dict[str, list[float]] = {}
            for seed in range(draws):
                shown = draw(train, shots, seed)
                rows = train.drop(shown.index).sample(n, random_state=seed)
                X, new = (normalize(model.encode(part.text.tolist())) for part in (shown, rows))
                y, wanted = (np.searchsorted(sorted(meanings), part.label) for part in (shown, rows))
                for form, i in itertools.product(FRAMES, (0, 1)):
                    meant = {label: meanings[label][i] for label in sorted(meanings)}
                    head = LabelPriorLogisticRegression().fit(X, y, class_prompts(model, GENERIC, form, meant))
                    each.setdefault(form, []).append(float((head.predict(new) == wanted).mean()))
            for form, own in each.items():
                table.setdefault(form, []).append(float(np.mean(own)))
        for form, values in table.items():
            print(f"| {shots} | {form} | " + " | ".join(f"{value:.3f}" for value in [*values, np.mean(values)]) + " |")


def compare(kind: str, data: Path, n: int, sets: list[str]) -> None:
    """Print each form on every set, and what the other sets choose."""
    model = load("embedded:masked") if kind == "masked" else load()
    lines: dict[str, list[Any]] = {}
    for name in sets:
        asked, meanings = SETS[name]
        train = read(data / name, "train")
        rows = train.sample(min(n, len(train)), random_state=0)
        labels = np.searchsorted(sorted(meanings), rows.label)
        meant = [{label: meanings[label][i] for label in sorted(meanings)} for i in (0, 1)]
        each = (masked if kind == "masked" else encoder)(model, rows.text, asked, meant)
        for form in each[0]:
            lines.setdefault(form, []).append(np.mean([measure(own[form], labels) for own in each], axis=0))
        print(f"{kind} {name}:", {form: own[-1].round(2).tolist() for form, own in lines.items()}, flush=True)
    print(f"\n| {kind}: balanced accuracy / log loss, raw; batch | " + " | ".join(sets) + " | mean |")
    print("| --- " * (len(sets) + 2) + "|")
    for form, own in lines.items():
        cells = (f"{a:.3f} / {b:.2f}; {c:.3f} / {d:.2f}" for a, b, c, d in [*own, np.mean(own, axis=0)])
        print(f"| {form} | " + " | ".join(cells) + " |")
    values = np.array([np.mean(np.array(own)[:, [0, 2]], axis=1) for own in lines.values()])
    chosen = [int(np.delete(values, i, axis=1).mean(axis=1).argmax()) for i in range(len(sets))]
    print("\nchosen by the others:", dict(zip(sets, (list(lines)[k] for k in chosen), strict=True)))
    print(f"left out: {np.mean([values[k, i] for i, k in enumerate(chosen)]):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["masked", "encoder", "labelled"])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--draws", type=int, default=5, help="of labelled rows")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # label words are unlikely in some forms
    for kind in options.kinds:
        if kind == "labelled":
            few(options.data, options.rows, options.sets, options.draws)
        else:
            compare(kind, options.data, options.rows, options.sets)


if __name__ == "__main__":
    main()
