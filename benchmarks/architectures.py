"""Every architecture in transformers' auto mappings: is it scored exactly, refused by `load`, or wrong?

    python benchmarks/architectures.py [--kind causal masked] [--only llama gpt_neo]

Each is built tiny, with random weights (tests/architectures.py), and scores short prompts, long ones (longer than any
window or chunk, and near the limit) and both in one call; the truth is the model's own forward pass over one unpadded
sequence at a time. Each runs in a process of its own, forked from one that has imported everything, with a time limit.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import transformers

from fewshot import FewshotError
from tests import architectures

warnings.simplefilter("ignore")


def outcome(kind: str, name: str, tolerance: float) -> str:
    """What becomes of one architecture, in a line."""
    try:
        model, tokenizer = architectures.build(kind, name)
    except Exception as error:
        return f"can't be built here | {type(error).__name__}: {first_line(error)}"
    from fewshot import load

    try:
        lm = load((model, tokenizer))
    except FewshotError as error:
        return f"refused by load | {first_line(error)}"
    except Exception as error:
        return f"fails in load | {type(error).__name__}: {first_line(error)}"
    try:
        worst = architectures.largest_difference(lm)
    except Exception as error:
        if os.environ.get("TRACE"):
            import traceback

            traceback.print_exc()
        return f"fails after load | {type(error).__name__}: {first_line(error)}"
    if not worst <= tolerance:
        return f"wrong | {worst:.2g} nats, {architectures.way(lm)}"
    return f"exact ({architectures.way(lm)}) | {worst:.0e}"


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:240]


def apart(compute: Callable[[], str], seconds: int) -> str:
    """The result of a forked process, which may crash or take too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, compute().encode()[:60000])
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], seconds)
    found = os.read(reader, 65536).decode() if ready else ""
    os.close(reader)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ready:
        return f"takes too long | more than {seconds} seconds"
    return found or f"crashes | status {status}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", default=list(architectures.MAPPINGS), choices=list(architectures.MAPPINGS))
    parser.add_argument("--only", nargs="+", help="names as in the mappings")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="nats a candidate")
    parser.add_argument("--seconds", type=int, default=60, help="the most that one architecture may take")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    architectures.warm_up()
    started = time.perf_counter()
    for kind in options.kind:
        counts: Counter[str] = Counter()
        print(f"\n| {kind} | outcome | |\n| --- | --- | --- |", flush=True)
        for name in architectures.names(kind):
            if options.only and name not in options.only:
                continue
            found = apart(lambda kind=kind, name=name: outcome(kind, name, options.tolerance), options.seconds)
            counts[found.partition(" | ")[0]] += 1
            print(f"| {name} | {found} |", flush=True)
        print(f"\n{kind}: {', '.join(f'{n} {what}' for what, n in counts.most_common())}", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    main()
