"""The constants of FineTuning("tags"), one changed at a time, beside the frozen head of a tagger.

    PYTHONPATH=benchmarks python benchmarks/settle/tuned_tagging.py DATA [--shots 5 10] [--draws 2] [--only NAME ...]
        [--sets wnut17_ner crossner_politics]

DATA holds one folder a set with train.csv.gz (and dev.csv.gz), columns sentence_id, token and tag (BIO). Only training
rows are read, and of CrossNER its dev rows, which count as training here. Sentences judge that no example comes from:
300 training ones of wnut17_ner, 80 dev ones of CrossNER. Supports are drawn as in benchmarks/tagging.py. Each cell is
the mean F1 of whole entities over the draws; seconds are those of the processor for one fit, with one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from sentences import Sentence, draw_support, entities_of, entity_scores, read_sentences

from fewshot import FineTuning, LoRA, Tagger, TokenHead, load
from fewshot.training import finetune_tags

SETS = ["wnut17_ner", "crossner_politics"]
JUDGES = {"wnut17_ner": 300}
OTHERS = 80


def tags(layer: int | None = None, parameters: Any = "all", **settings: Any) -> FineTuning:
    """A strategy whose head reads a layer."""
    return FineTuning("tags", parameters, head=TokenHead(layer), **settings)


#: What is compared, and after how many steps the head is fitted again where that is not the default.
VARIANTS: dict[str, tuple[Any, int | None]] = {
    "frozen": (TokenHead(), None),
    "default": (tags(), None),
    **{f"rate {rate:g}": (tags(learning_rate=rate), None) for rate in (1e-4, 2e-4, 3e-4, 5e-4, 1e-3)},
    **{f"steps {n}": (tags(steps=n), None) for n in (6, 10, 20, 30, 40)},
    **{f"batch {n}": (tags(batch_size=n), None) for n in (8, 16, 32)},
    **{f"layer {n}": (tags(n), None) for n in (2, 3, 4, 5, 6)},
    **{f"refit {n}": (tags(), n) for n in (2, 5, 1000)},
    **{f"bias {rate:g}": (tags(None, "bias", learning_rate=rate), None) for rate in (4e-3, 1e-2)},
    **{f"LoRA {rate:g}": (tags(None, LoRA(), learning_rate=rate), None) for rate in (1e-3, 3e-3)},
}


def read_set(folder: Path) -> tuple[list[Sentence], list[Sentence]]:
    """The sentences that examples are drawn from, and those that judge."""
    train = read_sentences(folder, "train")
    dev = read_sentences(folder, "dev") if (folder / "dev.csv.gz").exists() else []
    judging, n = dev or train, JUDGES.get(folder.name, OTHERS)
    order = np.random.RandomState(0).permutation(len(judging))
    return (train if dev else [train[i] for i in order[n:]]), [judging[i] for i in order[:n]]


def measure(
    model: Any, strategy: Any, refit: int | None, shown: list[Sentence], judges: list[Sentence], seed: int
) -> tuple[float, float]:
    """F1 of whole entities, and the seconds of the fit."""
    tagger = Tagger(model, strategy=strategy, random_state=seed)
    started = time.process_time()
    with mock.patch.object(finetune_tags, "REFIT", refit or finetune_tags.REFIT):
        tagger.fit([one.tokens for one in shown], [one.tags for one in shown])
    seconds = time.process_time() - started
    said = [entities_of(own) for own in tagger.predict([one.tokens for one in judges])]
    return entity_scores([entities_of(one.tags) for one in judges], said)[0], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--shots", nargs="+", default=["5", "10"])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model = load(cache_bytes=0)
    cells = [(name, shots) for name in options.sets for shots in options.shots]
    print("| variant | " + " | ".join(f"{name}, {shots}" for name, shots in cells) + " | mean | seconds |")
    print("| --- " * (3 + len(cells)) + "|")
    sets = {name: read_set(options.data / name) for name in options.sets}
    for variant in options.only:
        strategy, refit = VARIANTS[variant]
        scores, seconds = [], []
        for name, shots in cells:
            pool, judges = sets[name]
            found = []
            for seed in range(1 if shots == "all" else options.draws):
                shown = pool if shots == "all" else draw_support(pool, int(shots), seed)
                found.append(measure(model, strategy, refit, shown, judges, seed))
            scores.append(np.mean([f1 for f1, _ in found]))
            seconds += [took for _, took in found]
        numbers = " | ".join(f"{one:.3f}" for one in [*scores, np.mean(scores)])
        print(f"| {variant} | {numbers} | {np.mean(seconds):.1f} |", flush=True)


if __name__ == "__main__":
    main()
