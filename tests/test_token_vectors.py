"""Token vectors: every token with its place in the text and its hidden state, against a plain pass over one text."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewshot import CachedLM, SentenceEncoder, load
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.models import token_vectors as module
from fewshot.models.engine.layers import find_layers
from fewshot.models.engine.split import Whole
from fewshot.models.masked import MaskedLM
from fewshot.models.text.bounds import find_bounds
from fewshot.models.text.tokens import PlainTokenizer
from fewshot.models.tokens import is_tokens
from fewshot.models.windows import cover_tokens
from tests.architectures import build
from tests.conftest import language_model, pair, sentence_model
from tests.contract import NEW, HashEncoder
from tests.tokenizers import FAMILIES, family

TEXTS = [*NEW, "", "a", "My card was charged twice. " * 4, "İstanbul cafe\u0301 \ud800 😀", NEW[0], "a [ sep ] b </s>"]
MODELS = ["encoder", "bert", "roberta"]


def make(name):
    return load(sentence_model()) if name == "encoder" else MaskedLM(*pair(name))


def parts(model):
    """A body of transformers that nothing of ours has touched, and its tokenizer."""
    body = model.model[0].model if isinstance(model, SentenceEncoder) else model.model.base_model
    return body, model.model.tokenizer if isinstance(model, SentenceEncoder) else model.tokenizer


def states_of(body, ids):
    """Hidden states of every layer of one row, of shape (n_layers + 1, n_tokens, dim)."""
    ids, body = torch.tensor([ids]), copy.deepcopy(body)  # transformers leaves hooks in it, and others share it
    with torch.no_grad():
        found = body(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
    return np.stack([states[0].float().numpy() for states in found])


def plain(model, text, layer):
    """Tokens, offsets and vectors by transformers' own tokenizer and forward pass; for texts without control tokens."""
    body, tokenizer = parts(model)
    asked = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    own = [i for i, special in enumerate(asked["special_tokens_mask"]) if not special]
    return [asked["offset_mapping"][i] for i in own], states_of(body, asked["input_ids"])[layer][own]


@pytest.mark.parametrize("name", MODELS)
class TestEveryModel:
    """What holds of whatever shows its tokens."""

    @pytest.mark.parametrize("layer", [0, 1, 2, -1, None, np.int64(1)])
    def test_vectors_are_those_of_a_plain_pass_over_one_text(self, name, layer):
        model = make(name)
        texts = [text for text in TEXTS if "\ud800" not in text and "</s>" not in text]
        for text, found in zip(texts, model.token_vectors(texts, layer), strict=True):
            offsets, expected = plain(model, text, 1 if layer is None else layer)
            assert found.starts.dtype == found.ends.dtype == np.int64
            assert found.vectors.dtype == np.float32
            assert found.vectors.shape == (len(found.starts), 32)
            np.testing.assert_allclose(found.vectors, expected.reshape(-1, 32), atol=2e-5)
            cut = [(end - len(text[start:end].lstrip()), end) for start, end in offsets]
            assert list(zip(found.starts, found.ends, strict=True)) == cut

    def test_together_they_are_what_they_are_one_by_one(self, name):
        model = make(name)
        for text, found in zip(TEXTS, model.token_vectors(TEXTS), strict=True):
            (alone,) = model.token_vectors([text])
            np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-5)
            assert (found.starts.tolist(), found.ends.tolist()) == (alone.starts.tolist(), alone.ends.tolist())

    def test_nothing_gives_nothing(self, name):
        model = make(name)
        assert model.token_vectors([]) == []
        (found,) = model.token_vectors([""])
        assert found.vectors.shape == (0, 32)
        assert found.starts.shape == found.ends.shape == (0,)

    def test_control_tokens_in_a_text_are_text(self, name):
        model = make(name)
        text = "a [SEP] b </s> c"
        (found,) = model.token_vectors([text])
        spelt = [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]
        assert "[SEP]" not in spelt
        assert "</s>" not in spelt
        assert "".join(spelt) == text.replace(" ", "")
        tokenizer = parts(model)[1]
        assert len(spelt) > len(tokenizer(text, add_special_tokens=False).input_ids)  # which finds control tokens

    def test_a_lone_surrogate_is_one_replacement(self, name):
        model = make(name)
        odd, plain = model.token_vectors(["x \ud800y\udc00 z", "x \ufffdy\ufffd z"])
        np.testing.assert_array_equal(odd.vectors, plain.vectors)
        np.testing.assert_array_equal(odd.starts, plain.starts)
        np.testing.assert_array_equal(odd.ends, plain.ends)

    @pytest.mark.parametrize(("limit", "n_words"), [(128, 90), (9, 20), (10, 20), (3, 4), (128, 20)])
    def test_a_long_text_is_read_in_windows_by_brute_force(self, name, limit, n_words, monkeypatch):
        model = make(name)
        monkeypatch.setattr(type(model), "limit", property(lambda self: limit))
        text = " ".join(f"parcel{i}" for i in range(n_words))
        body, tokenizer = parts(model)
        first, *ids, last = tokenizer(text, truncation=False).input_ids
        size = limit - 2
        starts = [*range(0, max(0, len(ids) - size), max(1, size // 2)), max(0, len(ids) - size)]
        assert (len(starts) > 2) == (n_words != 20 or limit != 128)
        windows = [(start, states_of(body, [first, *ids[start : start + size], last])[1][1:-1]) for start in starts]
        expected = []
        for i in range(len(ids)):
            nearer = [min(i - start, start + len(states) - 1 - i) for start, states in windows]  # below 0: outside
            start, states = windows[int(np.argmax(nearer))]
            expected.append(states[i - start])
        short, long = model.token_vectors(["ticket", text], 1)
        np.testing.assert_allclose(long.vectors, expected, atol=2e-5)
        assert (np.diff(long.starts) > 0).all()
        assert text[long.starts[-1] : long.ends[-1]] == text[-(long.ends[-1] - long.starts[-1]) :]
        assert len(short.starts) < size or limit == 3

    @pytest.mark.parametrize("layer", [3, -2, True, 1.0, "1"])
    def test_a_layer_that_is_not_there_is_refused(self, name, layer):
        with pytest.raises(
            ParameterError, match=r"layer must be .* to 2, the number of layers .* -1 for the last, .* Got"
        ):
            make(name).token_vectors(["a"], layer)

    def test_special_tokens_that_fill_the_window_are_an_error(self, name, monkeypatch):
        model = make(name)
        monkeypatch.setattr(type(model), "limit", property(lambda self: 2))
        with pytest.raises(UnsupportedError, match="reads 2 tokens at once, which its special tokens fill"):
            model.token_vectors(["a"])

    def test_layers_above_are_not_computed_where_they_need_not_be(self, name):
        model = make(name)
        expected = model.token_vectors(TEXTS, 1)
        layers = find_layers(parts(model)[0])[2]
        calls = []
        hook = layers[1].register_forward_hook(lambda *_: calls.append(1))
        try:
            again = model.token_vectors(TEXTS, 1)
            assert not calls
            model.token_vectors(TEXTS, 2)
            assert calls
        finally:
            hook.remove()
        assert not layers[1]._forward_pre_hooks
        np.testing.assert_array_equal(again[0].vectors, expected[0].vectors)

    def test_where_no_pass_can_end_early_all_is_computed(self, name, monkeypatch):
        expected = make(name).token_vectors(TEXTS, 1)
        for found in (lambda body: (None, "", None), lambda body: (None, "", [body.embeddings, body.embeddings])):
            monkeypatch.setattr("fewshot.models.token_vectors.find_layers", found)
            for a, b in zip(expected, make(name).token_vectors(TEXTS, 1), strict=True):
                np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-5)

    def test_out_of_memory_goes_on_with_smaller_batches_from_where_it_was(self, name, monkeypatch, caplog):
        model = make(name)
        expected = model.token_vectors(TEXTS)
        plain_pass, sizes = module._early, []

        def tight(body, layer, **inputs):
            if len(inputs["input_ids"]) > 4:
                raise RuntimeError("DefaultCPUAllocator: not enough memory")
            sizes.append(len(inputs["input_ids"]))
            return plain_pass(body, layer, **inputs)

        monkeypatch.setattr(module, "_early", tight)
        for a, b in zip(expected, model.token_vectors(TEXTS), strict=True):
            np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-5)
        assert "ran out of memory: going on with batches of" in caplog.text
        assert sum(size for size in sizes if size > 1) <= len(set(TEXTS)) - 1  # none twice but to compare it

    def test_threads_agree_with_each_other(self, name):
        model = make(name)
        expected = model.token_vectors(TEXTS)
        wrong = []

        def ask():
            for a, b in zip(expected, model.token_vectors(TEXTS), strict=True):
                if not np.allclose(a.vectors, b.vectors, atol=1e-5):
                    wrong.append(a)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        body = parts(model)[0]
        for _ in range(5):  # meanwhile somebody else computes with the same weights
            with torch.no_grad():
                assert body(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state.shape == (1, 4, 32)
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_model_in_training_is_read_without_its_dropout_and_stays_in_training():
    model = copy.deepcopy(sentence_model())
    expected = SentenceEncoder(model).token_vectors(["The parcel is late."])[0].vectors
    model.train()
    for _ in range(2):
        found = SentenceEncoder(model).token_vectors(["The parcel is late."])[0].vectors
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_model_that_was_read_pickles_as_before(layer):
    encoder = SentenceEncoder(copy.deepcopy(sentence_model()))
    (found,) = encoder.token_vectors(["The parcel is late."], layer)
    (again,) = pickle.loads(pickle.dumps(encoder)).token_vectors(["The parcel is late."], layer)
    np.testing.assert_allclose(again.vectors, found.vectors, atol=1e-6)
    hooks = [module for module in encoder.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not hooks


def test_sixteen_bits_give_float32():
    model, tokenizer = pair("bert")
    lm = MaskedLM(copy.deepcopy(model).to(torch.bfloat16), tokenizer)
    (exact,), (found,) = language_model("bert").token_vectors(NEW[:1]), lm.token_vectors(NEW[:1])
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.vectors, exact.vectors, atol=0.2)


@pytest.mark.parametrize("name", ["albert", "convbert", "fnet", "longformer", "modernbert", "mpnet"])
def test_other_architectures_are_read_exactly(name):
    """Shared layers; two that mix positions whatever the mask; one that pads itself; one that ends with a norm."""
    model, tokenizer = build("masked", name)
    lm = MaskedLM(model, tokenizer)
    texts = [text for text in TEXTS if text and "\ud800" not in text]
    for layer in (0, 2, 4):
        for text, found in zip(texts, lm.token_vectors(texts, layer), strict=True):
            expected = states_of(model, tokenizer(text).input_ids)[layer][1:-1]
            np.testing.assert_allclose(found.vectors, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize(("name", "said"), [("funnel", "no hidden state of each token"), ("bart", "does not show")])
def test_a_model_without_a_hidden_state_of_each_token_is_refused(name, said):
    with pytest.raises(UnsupportedError, match=said):
        MaskedLM(*build("masked", name)).token_vectors(["a"])


def test_an_encoder_without_a_transformer_is_refused():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules.static_embedding import StaticEmbedding

    static = StaticEmbedding(pair("bert")[1].backend_tokenizer, embedding_dim=8)
    encoder = SentenceEncoder(SentenceTransformer(modules=[static], device="cpu"))
    with pytest.raises(UnsupportedError, match="no transformer"):
        encoder.token_vectors(["a"])


def test_who_shows_tokens(tmp_path):
    lm = language_model("bert")
    cached = CachedLM(lm, tmp_path / "scores.sqlite")
    assert is_tokens(lm)
    assert is_tokens(load(sentence_model()))
    assert is_tokens(cached)
    assert not is_tokens(HashEncoder())
    assert not is_tokens(language_model("gpt2"))
    np.testing.assert_array_equal(cached.token_vectors(["a"])[0].vectors, lm.token_vectors(["a"])[0].vectors)


@given(st.integers(1, 60), st.integers(1, 13))
def test_windows_cover_each_token_once_where_it_has_most_context(n_tokens, size):
    windows = cover_tokens(n_tokens, size)
    held = [range(window.start, window.stop) for window, _ in windows]
    assert all(len(one) == min(size, n_tokens) for one in held)
    assert all(b.start - a.start <= max(1, size // 2) for a, b in itertools.pairwise(held))
    chosen = [(k, i) for k, (_, own) in enumerate(windows) for i in held[k][own]]
    nearer = [[min(i - one.start, one.stop - 1 - i) for one in held] for i in range(n_tokens)]
    assert chosen == [(int(np.argmax(nearer[i])), i) for i in range(n_tokens)]


#: Blanks, accents in both forms, a Turkish dotted I, ligatures, emoji, other scripts, what normalisers drop.
STRANGE = [
    *("  Hello  world.\n\tÉcole", "cafe\u0301 nai\u0308ve café", "İstanbul İİ", "ﬁn eﬃcient ﬃ"),
    *("a😀b 👨‍👩‍👧", "x \ud800y", "漢字 kana", "ß Ǆ ½ …", "a\x00b\u200bc", "[SEP] <s> \u2581 x"),
]


def bounds(name, text):
    plain = PlainTokenizer(family(name))
    (encoding,) = plain.encodings([text])
    return encoding.tokens, list(zip(*map(np.ndarray.tolist, find_bounds(text, encoding)), strict=True))


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("name", FAMILIES)
def test_bounds_lie_in_the_text_and_begin_with_no_blank(name, text):
    _, found = bounds(name, text)
    assert all(0 <= start <= end <= len(text) for start, end in found)
    assert [end for _, end in found] == sorted(end for _, end in found)
    assert not any(text[start:end][:1] in (" ", "\n") for start, end in found)


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("name", ["GPT-2", "Llama 3", "Llama 2", "Gemma", "Phi-3"])
def test_tokens_of_bytes_cover_whole_characters(name, text):
    """These tokenizers drop nothing: a character is covered as often as it has tokens, at least once."""
    tokens, found = bounds(name, text)
    covered = {i for start, end in found for i in range(start, end)}
    assert {i for i, c in enumerate(text) if c not in " \n\t"} <= covered
    if name == "GPT-2":
        alphabet = PlainTokenizer(family(name)).tokenizer.backend_tokenizer.decoder
        for token, (start, end) in zip(tokens, found, strict=True):
            spelt = alphabet.decode([token]).strip()
            assert "\ufffd" in spelt or spelt == text[start:end].strip()  # half of a character can't be decoded


@pytest.mark.parametrize("text", STRANGE)
def test_tokens_of_words_are_their_characters_normalised(text):
    tokens, found = bounds("BERT", text)
    for token, (start, end) in zip(tokens, found, strict=True):
        letters = unicodedata.normalize("NFD", text[start:end]).lower()
        kept = "".join(c for c in letters if unicodedata.category(c) not in ("Mn", "Cc", "Cf"))
        assert token.startswith("\u2063") or kept == token.removeprefix("##")  # or it is unknown


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("BERT", "pharmacokinetics  İi", ["pharmacokinetics", "İ", "i"]),
        ("BERT", "cafe\u0301 late", ["cafe", "late"]),
        ("ALBERT", "ﬁn", ["ﬁn"]),
        ("Llama 2", "漢", ["", "漢", "漢", "漢"]),  # the blank before it is not in the text
        ("Llama 2", "  x", ["", "", "", "x"]),
        ("GPT-2", "\t😀", ["", "😀", "😀", "😀", "😀"]),
    ],
)
def test_bounds_of_a_few_texts(name, text, expected):
    assert [text[start:end] for start, end in bounds(name, text)[1]] == expected


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_hidden_states_of_a_model_that_is_not_taken_apart_leave_no_hook_either(kind):
    model = copy.deepcopy(pair(kind)[0])
    with torch.no_grad():
        found = Whole(model).hidden([0], [1], input_ids=torch.tensor([[5, 6, 7]]))
    pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        assert torch.equal(
            found[0], model(torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states[-1][0, 1]
        )
