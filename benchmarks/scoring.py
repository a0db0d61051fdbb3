"""Scoring speed against lm-evaluation-harness, an ideal, and plain transformers, in one run with the same weights.

    pip install -e ".[bench]"
    python benchmarks/scoring.py DATA [--cases demonstrations labels both generate masked error memory] [--dtype ...]
        [--without-peer]

DATA holds one folder a set (ag_news, banking77, trec6) with train.csv.gz and test.csv.gz, columns text and label.
The models are of the Llama shape with 124M parameters and of the BERT-base shape, with random weights: speed does not
depend on what they know. Tokenizers are byte-level BPE and WordPiece, trained on the texts. The peer scores a part of
the texts where all would take too long (said in the table), and its time is scaled. The ideal is the model's body on as
many tokens, in unmasked rows of the same length over a cached prefix of the same length, with its head applied at as
many positions.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

from fewshot.models.base import Query, Turn
from fewshot.models.causal import CausalLM
from fewshot.models.engine.packed import PackedForward
from fewshot.models.masked import MaskedLM

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def read(data: Path, name: str, part: str) -> pd.DataFrame:
    return pd.read_csv(data / name / f"{part}.csv.gz", keep_default_na=False, dtype=str)


def bpe(texts: list[str], vocabulary: int = 32000) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|end|>", pad_token="<|end|>", model_max_length=4096
    )


def llama(dtype: torch.dtype, layers: int = 12, width: int = 768, vocabulary: int = 50304) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=max(width // 64, 1),
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).to(device=DEVICE, dtype=dtype).eval()


def timed(compute: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = compute()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def peer(model: Any, tokenizer: Any) -> Any:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=4096)

    def score(queries: list[Query]) -> list[list[float]]:
        pairs = [("".join(t.text for t in q.context) + q.prefix, c) for q in queries for c in q.candidates]
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        values = iter(lm.loglikelihood(requests, disable_tqdm=True))
        return [[next(values)[0] for _ in q.candidates] for q in queries]

    return score


def brute_force(lm: CausalLM, queries: list[Query], model: Any) -> list[list[float]]:
    """One sequence at a time, with the model's own forward pass."""
    values = []
    with torch.inference_mode():
        for joined in lm._joined(queries):
            own = []
            for rest in joined.rests:
                ids = [*joined.common, *rest]
                logits = model(torch.tensor([ids], device=DEVICE)).logits[0].float()
                table = logits[len(joined.common) - 1 : -1].log_softmax(-1)
                own.append(float(table[range(len(rest)), list(rest)].sum()))
            values.append(own)
    return values


def ideal_rate(model: Any, prefix: int, width: int, tokens: int, reads: int) -> float:
    """Tokens a second of unmasked forwards in rows of this width over a cached prefix, at few positions read."""
    rows = max(1, min(512, tokens) // width)
    body = model.model
    with torch.inference_mode():
        cache = transformers.DynamicCache(config=model.config)
        name = PackedForward(model)._cache_name
        if prefix:
            ids = torch.randint(0, 32000, (1, prefix), device=DEVICE)
            body(input_ids=ids.expand(rows, -1), use_cache=True, **{name: cache})
        ids = torch.randint(0, 32000, (rows, width), device=DEVICE)
        done, started = 0, time.perf_counter()
        while done < tokens:
            hidden = body(input_ids=ids, use_cache=True, **{name: cache}).last_hidden_state.flatten(0, 1)
            model.lm_head(hidden[: reads * len(hidden) // tokens]).float().logsumexp(-1)
            if prefix:
                for layer in cache.layers:
                    layer.crop(-width)
            else:
                cache = transformers.DynamicCache(config=model.config)
            done += rows * width
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return done / (time.perf_counter() - started)


def causal_case(
    title: str, queries: list[Query], model: Any, tokenizer: Any, part: int, labels: int | None, *, with_peer: bool
) -> None:
    """One row of the table: ours on all queries, the peer on a part of them, an ideal, and the error to brute force."""
    lm = CausalLM(model, tokenizer)
    lm.loglikelihoods(queries[:1])  # the self-check, and warm caches
    assert lm._packed is not None
    ours, rates, n_computed = [], [], 0
    joined = lm._joined(queries)
    nodes = {
        (*j.common, *rest[:-1])[: i + 1] for j in joined for rest in j.rests for i in range(len(j.common + rest) - 1)
    }
    shared = shared_length(joined)
    n_reads = len({(*j.common, *rest[:i]) for j in joined for rest in j.rests for i in range(len(rest))})
    width = max(1, (len(nodes) - shared) // len(queries))
    for _ in range(3):
        lm._packed.forget()
        lm._packed.n_computed = 0
        lm._continued._known = {}
        ours.append(timed(lambda: lm.loglikelihoods(queries))[0])
        n_computed = lm._packed.n_computed
        rates.append(ideal_rate(model, shared, width, n_computed - shared, n_reads))
    seconds = float(np.median(ours))
    few = [Query(q.prefix, q.candidates[:labels], q.suffix, q.context) for q in queries[:part]]
    scale = len(queries) / part * len(queries[0].candidates) / len(few[0].candidates)
    told = ratio = agreement = "-"
    if with_peer:
        theirs, values = timed(lambda: peer(model, tokenizer)(few))
        told = f"{theirs * scale:.1f} ({part} texts{f', {labels} labels' if labels else ''})"
        ratio = f"{theirs * scale / seconds:.1f}"
        found = np.concatenate([s.logprobs for s in lm.loglikelihoods(few)])
        agreement = f"{np.abs(found - np.concatenate(values)).max():.1e}"
    check = queries[:2] if labels is None else few[:1]
    error, plain_error = errors(lm, model, check)
    share = (n_computed / seconds) / float(np.median(rates))
    print(
        f"| {title} | {seconds:.2f} | {told} | {ratio} | {n_computed / len(nodes):.3f} | {share:.2f} "
        f"| {error:.1e} / {plain_error:.1e} | {agreement} |",
        flush=True,
    )


def errors(lm: CausalLM, model: Any, queries: list[Query]) -> tuple[float, float]:
    """Largest error of ours, and of the plain forward pass in the same type, against brute force in float32."""
    exact = np.concatenate(brute_force(lm, queries, copy.deepcopy(model).float()))
    ours = np.concatenate([scores.logprobs for scores in lm.loglikelihoods(queries)])
    plain = np.concatenate(brute_force(lm, queries, model))
    return float(np.abs(ours - exact).max()), float(np.abs(plain - exact).max())


def error_case(queries: list[Query], tokenizer: Any) -> None:
    """Errors in bfloat16, on a few queries, for processors that compute it too slowly to time."""
    model = llama(torch.bfloat16)
    ours, plain = errors(CausalLM(model, tokenizer), model, [Query(q.prefix, q.candidates[:8]) for q in queries[:3]])
    print("\n| bfloat16, largest error to float32 brute force | ours | plain forward | ratio |")
    print("| --- | --- | --- | --- |")
    print(f"| 3 texts, 8 labels | {ours:.3f} | {plain:.3f} | {ours / plain:.2f} |", flush=True)


def shared_length(joined: list[Any]) -> int:
    """Tokens that all queries begin with."""
    n = 0
    first = joined[0].common
    while n < len(first) and all(len(j.common) > n and j.common[n] == first[n] for j in joined):
        n += 1
    return n


def masked_case(data: Path, texts: int = 256) -> None:
    """A cloze with six labels against the plain way: padded to 128, full-vocabulary logits at all positions."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    frame = read(data, "trec6", "train")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = ["abbreviation", "description", "entity", "human", "location", "number"]
    made.train_from_iterator(
        [*frame.text, *words * 100], trainers.WordPieceTrainer(vocab_size=30522, special_tokens=special)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
    )
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(transformers.BertConfig()).to(DEVICE).eval()
    lm = MaskedLM(model, tokenizer)
    queries = [Query(f"{text} It is about ", tuple(words), ".") for text in frame.text[:texts]]
    lm.loglikelihoods(queries[:8])
    ids = [tokenizer.convert_tokens_to_ids(word) for word in words]
    assert min(ids) > 4, "each label must be one token"

    def plain() -> np.ndarray[Any, Any]:
        values = []
        with torch.inference_mode():
            for start in range(0, texts, 32):
                batch = [f"{q.prefix}[MASK]." for q in queries[start : start + 32]]
                given = tokenizer(batch, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
                logits = model(**given.to(DEVICE)).logits.log_softmax(-1)
                at = (given.input_ids == tokenizer.mask_token_id).nonzero()
                values.append(logits[at[:, 0], at[:, 1]][:, ids].cpu().numpy())
        return np.concatenate(values)

    theirs, expected = timed(plain)
    ours = [timed(lambda: lm.loglikelihoods(queries)) for _ in range(3)]
    seconds = float(np.median([second for second, _ in ours]))
    error = np.abs(np.stack([s.logprobs for s in ours[0][1]]) - expected).max()
    print("\n| masked LM, BERT-base shape, trec6, 6 labels | seconds | plain, padded to 128 | ratio | difference |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| {texts} texts | {seconds:.2f} | {theirs:.1f} | {theirs / seconds:.1f} | {error:.1e} |", flush=True)


def generate_case(queries: list[Query], model: Any, tokenizer: Any, new: int = 8) -> None:
    """Free answers against transformers' batched generate."""
    lm = CausalLM(model, tokenizer)
    lm.generate(queries[:2], 1)
    tokenizer.padding_side = "left"
    prompts = ["".join(t.text for t in q.context) + q.prefix.rstrip(" ") for q in queries]

    def plain() -> list[str]:
        answers = []
        with torch.inference_mode():
            for start in range(0, len(prompts), 16):
                given = tokenizer(prompts[start : start + 16], padding=True, return_tensors="pt").to(DEVICE)
                given.pop("token_type_ids", None)
                out = model.generate(**given, max_new_tokens=new, do_sample=False, pad_token_id=tokenizer.pad_token_id)
                answers += tokenizer.batch_decode(out[:, given.input_ids.shape[1] :], skip_special_tokens=True)
        return answers

    theirs, expected = timed(plain)
    seconds, found = timed(lambda: lm.generate(queries, new))
    same = np.mean([a == b for a, b in zip(found, expected, strict=True)])
    print(
        "\n| free answers of up to 8 tokens, 16 demonstrations | seconds | transformers generate, batch 16 "
        "| ratio | equal |"
    )
    print("| --- | --- | --- | --- | --- |")
    print(f"| {len(queries)} texts | {seconds:.2f} | {theirs:.1f} | {theirs / seconds:.1f} | {same:.0%} |", flush=True)


def memory_case(data: Path, sizes: list[int]) -> None:
    """Peak memory above the weights, each in a process of its own."""
    print(
        "\n| memory, 2-layer model of 4,096 words, 77 labels | peak above the weights, MiB | results, MiB | seconds |"
    )
    print("| --- | --- | --- | --- |")
    for n in sizes:
        here = str(Path(__file__).parent)
        code = f"import sys; sys.path.insert(0, {here!r}); import scoring; scoring.peak({str(data)!r}, {n})"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        print(out.strip().splitlines()[-1], flush=True)


def memory(field: str) -> int:
    """A figure of this process in KiB: VmRSS now, or VmHWM at the highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def peak(data: str, n: int) -> None:
    frame = read(Path(data), "banking77", "train")
    labels = tuple(sorted(set(frame.label.str.replace("_", " "))))
    tokenizer = bpe([*frame.text, *labels], 4096)
    lm = CausalLM(llama(torch.float32, layers=2, width=64, vocabulary=4096), tokenizer)
    queries = [
        Query(f"Message {i}: {text}\nIntent: ", labels)
        for i, text in zip(range(n), np.resize(frame.text.to_numpy(), n), strict=True)
    ]
    lm.loglikelihoods(queries[:2])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of training the tokenizer (Linux)
    before = memory("VmRSS")
    seconds, scores = timed(lambda: lm.loglikelihoods(queries))
    above = (memory("VmHWM") - before) / 1024
    results = sum(s.logprobs.nbytes + s.n_tokens.nbytes for s in scores) / 2**20
    print(f"| {n:,} queries | {above:.0f} | {results:.0f} | {seconds:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    every = ["demonstrations", "labels", "both", "generate", "masked", "error", "memory"]
    parser.add_argument("--cases", nargs="+", default=every, choices=every)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--without-peer", action="store_true", help="leave lm-evaluation-harness out")
    parser.add_argument("--queries", type=int, nargs="+", default=[10_000, 100_000], help="sizes of the memory case")
    options = parser.parse_args()
    with_peer = not options.without_peer
    transformers.logging.set_verbosity_error()
    news, bank = read(options.data, "ag_news", "train"), read(options.data, "banking77", "train")
    tests = read(options.data, "ag_news", "test").text[:64], read(options.data, "banking77", "test").text[:32]
    tokenizer = bpe([*news.text, *bank.text])
    model = llama(getattr(torch, options.dtype))
    short = [" ".join(text.split()[:22]) for text in news.text[:16]]
    shown = "".join(f"Article: {t}\nTopic: {label}\n\n" for t, label in zip(short, news.label[:16], strict=True))
    topics = ("World", "Sports", "Business", "Tech")
    one = [
        Query(f"Article: {text}\nTopic:", tuple(f" {t}" for t in topics), "", (Turn("user", shown),))
        for text in tests[0]
    ]
    names = sorted(set(bank.label))
    intents = tuple(" " + name.replace("_", " ") for name in names)
    each = "".join(
        f"Message: {bank[bank.label == name].text.iloc[0]}\nIntent: {name.replace('_', ' ')}\n\n" for name in names
    )
    plain = [Query(f"Message: {text}\nIntent:", intents) for text in tests[1]]
    both = [Query(q.prefix, intents, "", (Turn("user", each),)) for q in plain]
    print(f"{DEVICE}, {torch.get_num_threads()} threads, {options.dtype}, torch {torch.__version__}\n")
    print(
        "| case | seconds | lm-eval 0.4.13, scaled | ratio | tokens / nodes | of ideal "
        "| error, ours / plain forward | against peer |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    if "demonstrations" in options.cases:
        causal_case("16 demonstrations, 4 labels, 64 texts", one, model, tokenizer, 16, None, with_peer=with_peer)
    if "labels" in options.cases:
        causal_case("77 labels, no demonstrations, 32 texts", plain, model, tokenizer, 4, None, with_peer=with_peer)
    if "both" in options.cases:
        causal_case("77 labels, 77 demonstrations, 32 texts", both, model, tokenizer, 1, 8, with_peer=with_peer)
    if "generate" in options.cases:
        generate_case(one, model, tokenizer)
    if "masked" in options.cases:
        masked_case(options.data)
    if "error" in options.cases:
        error_case(plain, tokenizer)
    if "memory" in options.cases:
        memory_case(options.data, options.queries)


if __name__ == "__main__":
    main()
