"""`fewshot classify` on a large file: memory, speed, and what a kill costs.

    python benchmarks/batch.py DATA [--cases memory speed kills] [--rows 1000000] [--minutes 20] [--kills 20]
        [--format csv]

DATA holds one folder a set with train.csv.gz, columns text and label. Rows are the texts of SETS in turn, up to 200
characters, each with its number before it, so that no two are equal and no cache helps. Linux only.

"memory" classifies all of them by a model that costs nothing, so that reading, keeping and writing are all that is
measured. The resident set is looked at ten times a second from the moment at which the first step is done.
"speed" classifies from label names alone with the default encoder for at most so many minutes, and asks as often as it
answers how much it has done. Before and behind it, `predict` answers 4,000 of the same rows in memory, in a process of
its own, whose rate is taken from the middle of both.
"kills" ends a smaller run with SIGKILL at so many random moments, goes on by the same command, and compares the output
with that of a run that was let alone, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from data import read

SETS = ["ag_news", "banking77", "sst2", "trec6", "snips"]
LABELS = "world news,sports,business,technology,films,banking,music"
IN_MEMORY = 4000  # rows
COSTS_NOTHING = textwrap.dedent(
    """
    import sys, time, zlib
    import numpy as np
    from fewshot.cli import learning, main

    class Instant:
        template_ = report_ = None
        multi_label_, fingerprint, classes_ = False, "instant", np.array(["bad", "good"])
        def __init__(self, pause): self.pause, self.model_ = pause, self
        def predict_proba(self, X):
            time.sleep(self.pause)
            p = np.array([zlib.crc32(x.encode()) % 1000 / 1000 for x in X])
            return np.stack([p, 1 - p], axis=1)

    pause = float(sys.argv.pop())
    learning.Lesson.fitted = lambda self, *rest: Instant(pause)
    main()
    """
)
PREDICT = textwrap.dedent(
    """
    import csv, sys, time
    from fewshot import Classifier
    path, labels, n = sys.argv[1:]
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        texts = [next(rows)["text"] for _ in range(int(n) + 256)]
    clf = Classifier().fit(None, labels.split(","))
    clf.predict(texts[:256])
    started = time.perf_counter()
    clf.predict(texts[256:])
    print(int(n) / (time.perf_counter() - started))
    """
)


def write_rows(data: Path, path: Path, n: int) -> None:
    """Write so many rows of real texts, each with its number, without ever holding them."""
    texts = [text[:200] for name in SETS for text in read(data / name, "train").text]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "text"])
        out.writerows([i, f"{i} {texts[i % len(texts)]}"] for i in range(n))


def resident(process: subprocess.Popen[Any], field: str = "VmRSS") -> float:
    """Memory of a process in MiB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)


def command(file: Path, output: Path, pause: float | None) -> list[str]:
    """The command, with the default encoder or with a model that only waits."""
    program = ["-m", "fewshot"] if pause is None else ["-c", COSTS_NOTHING]
    labels = LABELS if pause is None else "bad,good"
    more = [] if pause is None else [str(pause)]
    return [sys.executable, *program, "classify", str(file), "--labels", labels, "--output", str(output), *more]


def memory(options: argparse.Namespace, folder: Path) -> None:
    """Memory and rows a second where the model costs nothing."""
    file, output = folder / "rows.csv", folder / f"out.{options.format}"
    write_rows(options.data, file, options.rows)
    started, seen, peak, part = time.perf_counter(), [], 0.0, output.with_name(f"{output.name}.part")
    with subprocess.Popen(command(file, output, 0.0)) as process:
        while process.poll() is None:
            if seen or (part.is_file() and part.stat().st_size):
                seen.append(resident(process))
            peak = max(peak, resident(process, "VmHWM"))
            time.sleep(0.1)
    seconds = time.perf_counter() - started
    assert process.returncode == 0
    tenth = max(1, len(seen) // 10)
    first, last = statistics.mean(seen[:tenth]), statistics.mean(seen[-tenth:])
    print(f"{options.rows} rows, {file.stat().st_size / 2**20:.0f} MiB of CSV to {options.format}, no model:")
    print(f"{options.rows / seconds:.0f} rows a second, {seconds:.0f} s, peak {peak:.0f} MiB")
    print(f"resident set: first tenth of the time {first:.0f} MiB, last {last:.0f} MiB, ratio {last / first:.3f}")


def in_memory(file: Path) -> float:
    """Rows a second of `predict` on rows in memory."""
    found = subprocess.run(
        [sys.executable, "-c", PREDICT, str(file), LABELS, str(IN_MEMORY)], check=True, capture_output=True, text=True
    )
    return float(found.stdout.split()[-1])


def speed(options: argparse.Namespace, folder: Path) -> None:
    """Rows a second and memory with the default encoder, against rows in memory."""
    file, output = folder / "rows.csv", folder / "out.csv"
    if not file.is_file():
        write_rows(options.data, file, options.rows)
    rates, part = [in_memory(file)], folder / "out.csv.part"
    marks, memories = [], []
    with subprocess.Popen(command(file, output, None)) as process:
        ends = time.perf_counter() + 60 * options.minutes
        while process.poll() is None and time.perf_counter() < ends:
            if part.is_file():
                done = sum(block.count(b"\n") for block in _blocks(part)) - 1
                if done > 0 and (not marks or done > marks[-1][1]):
                    marks.append((time.perf_counter(), done))
                if marks and marks[-1][1] > 1:  # before, torch and the encoder take their own
                    memories.append(resident(process))
            time.sleep(0.25)
        process.send_signal(signal.SIGKILL)
    rates.append(in_memory(file))
    rows = 256 * (marks[-1][1] - marks[0][1])
    rate, tenth = rows / (marks[-1][0] - marks[0][0]), max(1, len(memories) // 10)
    alone = statistics.mean(rates)
    print(f"default encoder, {rows} rows in {marks[-1][0] - marks[0][0]:.0f} s: {rate:.0f} rows a second")
    print(f"predict in memory, {IN_MEMORY} rows, before and behind it: {rates[0]:.0f} and {rates[1]:.0f} rows a second")
    print(f"ratio {rate / alone:.3f}")
    first, last = statistics.mean(memories[:tenth]), statistics.mean(memories[-tenth:])
    print(f"resident set: first tenth {first:.0f} MiB, last {last:.0f} MiB, ratio {last / first:.3f}")
    print(f"the most is {max(memories):.0f} MiB")


def _blocks(path: Path) -> Any:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")


def kills(options: argparse.Namespace, folder: Path) -> None:
    """Go on after SIGKILL at random moments, and compare."""
    file, whole, output = folder / "small.csv", folder / f"whole.{options.format}", folder / f"killed.{options.format}"
    write_rows(options.data, file, 20_000)
    subprocess.run(command(file, whole, 0.0), check=True, capture_output=True)
    draw, equal, begun = random.Random(0), 0, []
    for _ in range(options.kills):
        output.unlink(missing_ok=True)
        with subprocess.Popen(command(file, output, 0.05), stderr=subprocess.DEVNULL) as process:
            time.sleep(draw.uniform(0.5, 6.0))
            process.send_signal(signal.SIGKILL)
        part = output.with_name(f"{output.name}.part")
        begun.append(sum(block.count(b"\n") for block in _blocks(part)) - 1 if part.is_file() else 0)
        subprocess.run(command(file, output, 0.0), check=True, capture_output=True)
        equal += output.read_bytes() == whole.read_bytes()
        left = [path.name for path in folder.iterdir() if path.name.startswith((".", f"{output.name}."))]
        assert not left, left
    print(f"{options.kills} kills, with {min(begun)} to {max(begun)} of 79 steps done: {equal} outputs equal")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", nargs="+", default=["memory", "speed", "kills"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--format", default="csv", help="of the output: csv, jsonl, parquet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for case, run in (("memory", memory), ("speed", speed), ("kills", kills)):
            if case in options.cases:
                run(options, Path(name))


if __name__ == "__main__":
    main()
