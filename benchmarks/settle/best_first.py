"""How many tokens a pass of the best-first search takes, and which: seconds and looks on questions of embedded:causal.

    PYTHONPATH=benchmarks python benchmarks/settle/best_first.py DATA [--dtype float32 bfloat16] [--questions 16]

The questions are those of benchmarks/best_first.py, of paragraphs that count as training. The choices take turns, eight
questions in one call each. Seconds are those of one thread for one question: of the processor, and by the clock.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from best_first import TOPS, blocks, draw_queries, search

from fewshot import load
from fewshot.models.base import FloatArray
from fewshot.models.engine import best_first

CHOICES = [(16, 1), (16, 2), (32, 1), (32, 2), (32, 4), (64, 2), (64, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--questions", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    queries = draw_queries(args.data, args.questions)
    print(
        "| type | tokens a pass | one in | k | seconds a question | by the clock | looked at |\n" + "| --- " * 7 + "|"
    )
    for dtype in args.dtype:
        lm = load("embedded:causal", dtype=dtype, chat=False)
        lm.most_probable(queries[:1], 1)  # what is compared once a model is no part of the price
        found: dict[tuple[int, int, int], FloatArray] = defaultdict(lambda: np.zeros(3))
        for part in blocks(queries):
            for best_first.WORTH_A_PASS, best_first.SHARE in CHOICES:
                for k in TOPS:
                    seconds, _, looked = search(lm, part, k)
                    found[best_first.WORTH_A_PASS, best_first.SHARE, k] += np.array([*seconds, looked]) / len(queries)
        for choice, (seconds, clocked, looked) in found.items():
            print("|", " | ".join(map(str, (dtype, *choice, f"{seconds:.2f}", f"{clocked:.2f}", f"{looked:.0f}"))), "|")


if __name__ == "__main__":
    main()
