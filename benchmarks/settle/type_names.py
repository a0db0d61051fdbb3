"""Whether everyday names of types beat the plain ones, for the head of a tagger.

    PYTHONPATH=benchmarks python benchmarks/settle/type_names.py DATA [--shots 1 5] [--draws 5]

The data, the judges and the supports are those of benchmarks/settle/tagging.py, of crossner_music as well: training
rows only. Plain names are the tags of the data, "-" to a blank; everyday names are those of templates/label_sets. F1 is
of whole entities, with its standard deviation over the draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sentences import draw_support
from tagging import JUDGES, KeptHead, as_sentence, columns, read_set, score

from fewshot import gallery, load
from fewshot.heads.readings import LEAST

SETS = {"wnut17_ner": "wnut17", "crossner_politics": "crossner_politics", "crossner_music": "crossner_music"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    encoder = load(cache_bytes=0)
    JUDGES["crossner_music"] = 200
    print("| set | shots | none | plain | everyday |\n" + "| --- " * 5 + "|")
    for folder, name in SETS.items():
        data = read_set(options.data / folder)
        everyday = gallery.get_label_set(name).take(data.types)
        names = {
            "none": (0.0, [[one] for one in data.types]),
            "plain": (None, [[one.replace("-", " ")] for one in data.types]),
            "everyday": (None, [[own] if isinstance(own, str) else own for own in everyday.values()]),
        }
        texts, words, _ = columns(data.judges)
        for shots in options.shots:
            supports = [
                [as_sentence(one, data.types) for one in draw_support(data.pool, shots, seed)]
                for seed in range(options.draws)
            ]
            cells = []
            for weight, own in names.values():
                found = []
                for support in supports:
                    head = KeptHead() if weight is None else KeptHead(names=weight)
                    head.fit(encoder, *columns(support), own)
                    found.append(score(data.judges, head.span_readings(texts, words), LEAST)[2])
                cells.append(f"{np.mean(found):.3f} ({np.std(found):.3f})")
            print(f"| {folder} | {shots} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
