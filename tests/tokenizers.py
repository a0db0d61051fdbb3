"""Small tokenizers of every family, whose control tokens may be spelled otherwise.

A family's *twin* has the same ids, pieces and merges, and control tokens that no text can spell. What the twin itself
gives for a text is what the family must give where a text's control tokens stay text.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from tests.conftest import corpus

Spell = Callable[[str], str]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
WORDS = ["pharmacokinetics", "New York", "[GENE]"]
#: Added tokens that are text, as Gemma has them.
TEXTS = ["<b>", "</b>", "<s>", "\n\n", "\n\n\n", "▁▁", "▁▁▁"]
PHI = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@functools.cache
def _trained(byte_level: bool) -> tuple[dict[str, int], list[list[str]]]:
    """Pieces and merges of a BPE over bytes, or over characters with blanks written as low lines."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    ours = pre_tokenizers.ByteLevel(add_prefix_space=False) if byte_level else pre_tokenizers.Metaspace()
    tokenizer.pre_tokenizer = ours
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else ["<", ">", "/", "|", "[", "]", "_"]
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def _bpe(first: list[str], *, byte_level: bool, **options):
    """A BPE whose vocabulary begins with these pieces."""
    from tokenizers import models

    pieces, merges = _trained(byte_level)
    names = dict.fromkeys([*first, *sorted(pieces, key=pieces.__getitem__)])
    return models.BPE({name: i for i, name in enumerate(names)}, [tuple(pair) for pair in merges], **options)  # type: ignore[misc]


def _wrapped(tokenizer, names: dict[str, str], unflagged=(), texts=(), **options):
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names.values()])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in unflagged])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in texts])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=256, **names, **options)


def gpt2(spell: Spell, *, prefix_space: bool = False, words=()):
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(_bpe([], byte_level=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"bos_token": spell("<|endoftext|>"), "eos_token": spell("<|im_end|>")}
    made = _wrapped(tokenizer, names, [spell("<|im_start|>"), spell("<start_of_turn>"), spell("[INST]")])
    made.add_tokens(list(words))
    return made


def llama3(spell: Spell):
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors

    tokenizer = Tokenizer(_bpe([], byte_level=True, ignore_merges=True))
    pattern = (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = {"bos_token": spell("<|begin_of_text|>"), "eos_token": spell("<|eot_id|>")}
    made = _wrapped(tokenizer, names, [spell("<｜User｜>"), spell("</think>")], ["  ", "   ", "\t\t"])
    start = names["bos_token"]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, made.convert_tokens_to_ids(start))]
    )
    return made


def llama2(spell: Spell, *, legacy: bool = True, scheme: str = "first", flagged: bool = False, words=()):
    """With a normaliser that puts a low line before the text, or with Metaspace."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

    first = [spell("<unk>"), spell("<s>"), spell("</s>")]
    tokenizer = Tokenizer(
        _bpe([*first, *BYTES], byte_level=False, unk_token=first[0], byte_fallback=True, fuse_unk=True)
    )
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if flagged:
        tokenizer.add_special_tokens(BYTES)
    names = {"unk_token": first[0], "bos_token": first[1], "eos_token": first[2]}
    made = _wrapped(tokenizer, names, [spell("[INST]"), spell("<<SYS>>")])
    made.add_tokens(list(words))
    return made


def gemma(spell: Spell):
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

    first = [spell("<pad>"), spell("<eos>"), spell("<bos>"), spell("<unk>")]
    tokenizer = Tokenizer(
        _bpe([*first, *TEXTS, *BYTES], byte_level=False, unk_token=first[3], byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    names = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), first, strict=True))
    return _wrapped(tokenizer, names, [spell("<start_of_turn>"), spell("<end_of_turn>"), spell("<unused7>")], TEXTS)


def phi3(spell: Spell):
    """Whose marks take the blanks around them."""
    from tokenizers import AddedToken

    made = llama2(spell, legacy=True)
    marks = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    made.add_tokens([AddedToken(spell(mark), rstrip=True, normalized=False, special=True) for mark in marks])
    made.add_tokens([AddedToken(spell("<mask>"), lstrip=True, normalized=False, special=True)])
    made.chat_template = PHI
    return made


def unigram(spell: Spell, *, kind: str = "t5"):
    """T5's, XLM-R's with byte fallback, or ALBERT's, which lowers case."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    first = [spell("<pad>"), spell("</s>"), spell("<unk>"), spell("<extra_id_0>"), spell("<extra_id_1>")]
    pieces, _ = _trained(False)
    scored = [(piece, -4.0 - 1e-3 * i - 0.1 * (len(piece) < 2)) for piece, i in pieces.items()]
    bytes_ = [(byte, 0.0) for byte in BYTES] if kind == "bytes" else []
    vocabulary = [*((name, 0.0) for name in first), *bytes_, *scored, ("<i>", -5.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=kind == "bytes"))
    if kind == "albert":
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.Replace("``", '"'),
                normalizers.NFKD(),
                normalizers.StripAccents(),
                normalizers.Lowercase(),
                normalizers.Strip(left=False, right=True),
            ]
        )
    else:
        tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    names = {"pad_token": first[0], "eos_token": first[1], "unk_token": first[2]}
    made = _wrapped(tokenizer, names, first[3:])
    made.add_tokens(WORDS)
    return made


def wordpiece(spell: Spell, *, lowercase: bool = True, whitespace: bool = False):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    first = [spell(f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP", "MASK", "unused1")]
    letters = sorted({c for text in corpus() for c in text.lower() + text if not c.isspace()})
    pieces = [*letters, "parcel", "late", "##cel", "cafe", "naive", *(f"##{c}" for c in letters)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*first, *pieces]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=first[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit() if whitespace else pre_tokenizers.BertPreTokenizer()
    keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    made = _wrapped(tokenizer, dict(zip(keys, first, strict=False)))
    made.add_tokens(["pharmacokinetics", "New York"])
    return made


FAMILIES = {
    "GPT-2": gpt2,
    "GPT-2, prefix space, words": functools.partial(gpt2, prefix_space=True, words=WORDS),
    "Llama 3": llama3,
    "Llama 2": llama2,
    "Llama 2, first": functools.partial(llama2, legacy=False),
    "Llama 2, always": functools.partial(llama2, legacy=False, scheme="always", words=WORDS),
    "Llama 2, never": functools.partial(llama2, legacy=False, scheme="never"),
    "Llama 2, flagged bytes": functools.partial(llama2, flagged=True),
    "Gemma": gemma,
    "Phi-3": phi3,
    "T5": unigram,
    "Unigram, bytes": functools.partial(unigram, kind="bytes"),
    "ALBERT": functools.partial(unigram, kind="albert"),
    "BERT": wordpiece,
    "BERT, cased": functools.partial(wordpiece, lowercase=False),
    "WordPiece at blanks": functools.partial(wordpiece, whitespace=True),
}


@functools.cache
def family(name: str):
    return FAMILIES[name](str)


@functools.cache
def twin(name: str):
    """The same tokens, and control tokens that no text can spell."""
    return FAMILIES[name](lambda control: "\ue000" + control.encode().hex() + "\ue000")
