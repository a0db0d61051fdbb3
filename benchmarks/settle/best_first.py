"""How many tokens a pass of the best-first search takes, and which: seconds and looks on questions of embedded:causal.

    PYTHONPATH=benchmarks python benchmarks/settle/best_first.py DATA [--dtype float32 bfloat16] [--questions 16]

The questions are those of benchmarks/best_first.py, of paragraphs that count as training. Seconds are those of one
thread of the processor for one question, all asked in one call.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from best_first import draw_queries, search

from fewshot import load
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
    print("| type | tokens a pass | one in | k | seconds a question | looked at |\n" + "| --- " * 6 + "|")
    for dtype in args.dtype:
        lm = load("embedded:causal", dtype=dtype, chat=False)
        lm.most_probable(queries[:1], 1)  # what is compared once a model is no part of the price
        for best_first.WORTH_A_PASS, best_first.SHARE in CHOICES:
            for k in (1, 5):
                seconds, _, looked = search(lm, queries, k)
                said = (dtype, best_first.WORTH_A_PASS, best_first.SHARE, k, f"{seconds:.2f}", f"{looked:.0f}")
                print("|", " | ".join(map(str, said)), "|", flush=True)


if __name__ == "__main__":
    main()
