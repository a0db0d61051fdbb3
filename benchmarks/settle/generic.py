"""Which wording each generic template should have, by label names that it was not written for.

    PYTHONPATH=benchmarks python benchmarks/settle/generic.py DATA SCORES [--formats ...] [--sets ...]

DATA holds one folder a set with train.csv.gz, columns text and label. SCORES is a folder for the class log-scores of
zero-shot prompts, which are computed where they are not there. Only training rows are read:
``train.sample(n, random_state=0)``, n as below. Label names are as they are written in the data, underscores to blanks.
"batch" is ``Batch()`` without labels, fitted on one half of the rows and judged on the other, and the other way round.
A set's wording "by the others" has the highest balanced accuracy on the other sets, in the mean of raw and calibrated
answers and of the causal model's two formats; of wordings of one group only, since a group is a template.
Last, what `Auto` would take without labels: the wording of each template and format with the most mutual information,
of raw or of calibrated answers, beside today's default and the lowest calibrated log loss, which takes labels.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from data import read, spaced
from measures import calibrated, measure

from fewshot import Classifier, Prompting, Template, load
from fewshot.strategies.comparison import mutual_information

ROWS = {"ag_news": 60, "sst2": 40, "trec6": 40, "sms_spam": 40, "banking77": 16}  # of the causal model
MASKED_ROWS = 100
FORMATS = ["chat", "plain", "masked"]
LINES = "{% for one in labels %}- {{ one }}\n{% endfor %}"
LISTED_FIRST = "Classify each text into one of these categories: {{ labels | join(', ') }}."
CAUSAL: dict[str, tuple[str, str]] = {  # of each group and wording the instruction and the body
    "listed first, category": (LISTED_FIRST, "Text: {{ text | shorten }}\nCategory: {{ label }}"),
    "listed last, lines": ("", "Text: {{ text | shorten }}\nCategories:\n" + LINES + "Category: {{ label }}"),
    "listed last, question": (
        "",
        "{{ text | shorten }}\n\nWhich of these fits best?\n" + LINES + "Answer: {{ label }}",
    ),
    "unlisted, instruction": (
        "Classify each text by its category.",
        "Text: {{ text | shorten }}\nCategory: {{ label }}",
    ),
    "unlisted, category": ("", "Text: {{ text | shorten }}\nCategory: {{ label }}"),
    "unlisted, topic": ("", "Text: {{ text | shorten }}\nTopic: {{ label }}"),
    "unlisted, question": (
        "",
        "{{ text | shorten }}\n\nQuestion: Which category does this text belong to?\nAnswer: {{ label }}",
    ),
}
MASKED: dict[str, tuple[str, str]] = {
    "masked, [ category ]": ("", "{{ text | shorten }} [ Category: {{ label }} ]"),
    "masked, category": ("", "{{ text | shorten }} Category: {{ label }}."),
    "masked, topic": ("", "{{ text | shorten }} Topic: {{ label }}."),
    "masked, about": ("", "{{ text | shorten }} This is about {{ label }}."),
    "masked, it was": ("", "{{ text | shorten }} It was {{ label }}."),
    "masked, before": ("", "{{ label }}: {{ text | shorten }}"),
}
SETTLED = ["listed first, category", "listed last, lines", "unlisted, instruction"]  # one of each template
GROUPS = ["listed first", "listed last", "unlisted", "masked"]


def wordings_of(form: str) -> dict[str, tuple[str, str]]:
    """The wordings that a format is asked in."""
    return MASKED if form == "masked" else CAUSAL


Scores = dict[tuple[str, str], dict[str, Any]]  # of each format and set


def score(model: Any, data: Path, name: str, form: str, found: dict[str, Any]) -> dict[str, Any]:
    """Class log-scores of each wording, those that are there as they are, and the columns of the labels."""
    train = spaced(read(data / name, "train"))
    rows = train.sample(MASKED_ROWS if form == "masked" else ROWS[name], random_state=0)
    for wording, (instruction, body) in wordings_of(form).items():
        if wording in found:
            continue
        started = time.perf_counter()
        template = Template(body, instruction=instruction)
        clf = Classifier(model, template, strategy=Prompting()).fit(None, sorted(set(train.label)))
        found[wording] = clf.predict_log_proba(rows.text)
        print(f"{form} {name} {wording}: {time.perf_counter() - started:.0f} s", flush=True)
    return found | {"labels": np.searchsorted(sorted(set(train.label)), rows.label)}


def score_all(options: argparse.Namespace) -> Scores:
    """The scores of every format and set, from the folder where they are there."""
    options.scores.mkdir(parents=True, exist_ok=True)
    found = {}
    for form in options.formats:
        model = None
        for name in options.sets:
            path = options.scores / f"{form}-{name}.npz"
            found[form, name] = dict(np.load(path)) if path.exists() else {}
            if not wordings_of(form).keys() <= found[form, name].keys():
                if model is None:
                    options_of_load = {"chat": False} if form == "plain" else {}
                    model = load(f"embedded:{'masked' if form == 'masked' else 'causal'}", **options_of_load)
                found[form, name] = score(model, options.data, name, form, found[form, name])
                np.savez(path, **found[form, name])
    return found


def _measured(found: dict[str, Any], wording: str) -> Any:
    return measure(found[wording], found["labels"])


def report(scores: Scores, formats: list[str], sets: list[str]) -> None:
    """Print every wording on every set, and of each group the one that the other sets choose."""
    lines = {
        (form, wording): np.array([_measured(scores[form, name], wording) for name in sets])
        for form in formats
        for wording in wordings_of(form)
    }
    print("| balanced accuracy / log loss, raw; batch | " + " | ".join(sets) + " | mean |")
    print("| --- " * (len(sets) + 2) + "|")
    for (form, wording), line in lines.items():
        cells = (f"{a:.3f} / {b:.2f}; {c:.3f} / {d:.2f}" for a, b, c, d in [*line, line.mean(axis=0)])
        print(f"| {form}: {wording} | " + " | ".join(cells) + " |")
    print()
    for group in GROUPS:
        among = [form for form in formats if (form == "masked") == (group == "masked")]
        own = list(dict.fromkeys(wording for form, wording in lines if form in among and wording.startswith(group)))
        if not own:
            continue
        means = np.array([np.mean([lines[form, wording] for form in among], axis=0) for wording in own])
        chosen = [_best(np.delete(means, i, axis=1)) for i in range(len(sets))]
        left_out = np.mean([means[k, i] for i, k in enumerate(chosen)], axis=0)
        print(f"{group}: chosen by the others {dict(zip(sets, (own[k] for k in chosen), strict=True))}")
        print(f"  left out, {' '.join(f'{value:.3f}' for value in left_out)}; by all {own[_best(means)]}")


def report_choices(scores: Scores, sets: list[str]) -> None:
    """Print what is chosen among the settled wordings in both formats, and how that does."""
    ways = [(form, wording) for form in ("chat", "plain") for wording in SETTLED]

    def value(name: str, way: tuple[str, str], by: str) -> float:
        own = scores[way[0], name]
        if by == "the default":
            return float(way == ways[0])
        if by == "log loss":
            return -_measured(own, way[1])[3]
        return mutual_information(own[way[1]] if by == "raw mutual information" else calibrated(own[way[1]]))

    for by in ("the default", "raw mutual information", "calibrated mutual information", "log loss"):
        chosen = [max(ways, key=lambda way, name=name: value(name, way, by)) for name in sets]
        found = np.mean(
            [_measured(scores[way[0], name], way[1]) for name, way in zip(sets, chosen, strict=True)], axis=0
        )
        print(f"\nby {by}: {' '.join(f'{one:.3f}' for one in found)}, {list(map(': '.join, chosen))}")


def _best(means: Any) -> int:
    return int(means[:, :, [0, 2]].mean(axis=(1, 2)).argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--sets", nargs="+", default=list(ROWS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of few rows some classes are missing, and label words are unlikely
    scores = score_all(options)
    report(scores, options.formats, options.sets)
    if {"chat", "plain"} <= set(options.formats):
        report_choices(scores, options.sets)


if __name__ == "__main__":
    main()
