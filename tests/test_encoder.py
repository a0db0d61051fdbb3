"""SentenceEncoder: vectors, cache, and its life as a scikit-learn transformer; meaning on the real MiniLM."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from fewshot import Classifier, Embedding, SentenceEncoder, Windows, datasets, load
from fewshot.errors import InputError, ShortenedWarning
from fewshot.models import encoder as module
from tests.conftest import sentence_model


@pytest.fixture
def encoder():
    return load(sentence_model())


def test_vectors_are_those_of_sentence_transformers(encoder):
    texts = ["The parcel is late.", "I love it", "The parcel is late.", ""]
    np.testing.assert_allclose(encoder.encode(texts), sentence_model().encode(texts), atol=1e-5)
    assert encoder.encode(texts).dtype == np.float64
    assert encoder.encode([]).shape == (0, 32)


def test_a_text_is_encoded_once(encoder, monkeypatch):
    seen = []
    inner = encoder.model.encode
    encoder.encode(["so", "as", "not", "to be compared later"])  # batches are compared with rows alone, once
    monkeypatch.setattr(encoder.model, "encode", lambda texts, **kw: seen.extend(texts) or inner(texts, **kw))
    encoder.encode(["a", "b", "a"])
    encoder.encode(["b", "c"])
    assert seen == ["a", "b", "c"]


def test_the_cache_is_bounded_in_bytes(encoder):
    small = load(sentence_model(), cache_bytes=3 * (32 * 4 + 1))
    small.encode(list("abcdef"))
    assert list(small._cache) == ["d", "e", "f"]
    none = load(sentence_model(), cache_bytes=0)
    np.testing.assert_allclose(none.encode(["a"]), encoder.encode(["a"]), atol=1e-6)
    assert not none._cache


def test_the_fingerprint_knows_what_is_put_before_every_text():
    prints = {SentenceEncoder(sentence_model()).fingerprint}
    for prompts in ({"query": "query: "}, {"query": "a query: "}, {"query": "query: ", "other": "x"}):
        model = copy.deepcopy(sentence_model())
        model.prompts, model.default_prompt_name = prompts, "query"
        encoder = SentenceEncoder(model)
        prints.add(encoder.fingerprint)
        plain = SentenceEncoder(sentence_model()).encode([prompts["query"] + "late"])
        np.testing.assert_allclose(encoder.encode(["late"]), plain, atol=1e-5)
    assert len(prints) == 3  # a prompt that is not the default one says nothing


def test_special_tokens_in_a_text_are_text(encoder):
    plain, odd = encoder.encode(["a [ mask ] b", "a [MASK] b"])
    np.testing.assert_allclose(plain, odd, atol=1e-5)
    assert np.isfinite(encoder.encode(["\ud800 \x00 [SEP]"])).all()


def test_it_is_a_scikit_learn_transformer(encoder):
    texts, labels = datasets.load_tickets()
    pipeline = make_pipeline(encoder, LogisticRegression(max_iter=500)).fit(texts[:60], labels[:60])
    assert set(pipeline.predict(texts[60:70])) <= set(labels)
    assert clone(pipeline)[0] is encoder
    assert encoder.get_feature_names_out()[[0, -1]].tolist() == ["sentenceencoder0", "sentenceencoder31"]
    assert encoder.transform(texts[:3]).shape == (3, 32)
    with pytest.raises(InputError, match="one str"):
        encoder.transform("a bare string")


def test_the_cache_counts_what_it_holds_and_never_holds_more(monkeypatch):
    encoder = load(sentence_model(), cache_bytes=1000)
    measured = []
    monkeypatch.setattr(module, "_bytes", lambda text, vector: measured.append(text) or 32 * 4 + len(text.encode()))
    for i in range(60):
        encoder.encode([f"text {i % 17}", f"文字 {i % 5}", f"own {i}"])
        held = sum(vector.nbytes + len(text.encode()) for text, vector in encoder._cache.items())
        assert encoder._cached == held <= 1000
    assert len(measured) < 2 * 3 * 60 + 1  # once in and once out, however much lies there
    assert load(sentence_model(), cache_bytes=10).encode(["much too long for this"]).shape == (1, 32)


def test_out_of_memory_goes_on_with_smaller_batches_from_where_it_was(monkeypatch, caplog):
    encoder = load(sentence_model(), cache_bytes=0)
    texts = [f"text number {i} " + "and on " * (i % 7) for i in range(40)]
    expected = encoder.encode(texts)
    plain, sizes, done = encoder.model.encode, [], []

    def tight(part, **options):
        sizes.append(len(part))
        if len(sizes) > 1 and len(part) > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory")
        done.extend(part)
        return plain(part, **options)

    monkeypatch.setattr(encoder, "_budget", 400)
    monkeypatch.setattr(encoder.model, "encode", tight)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-6)
    assert sorted(done) == sorted(texts)  # each once: what was done before stays
    assert encoder._budget < 400
    assert "ran out of memory: going on with batches of" in caplog.text
    before = encoder._budget
    encoder.encode(texts)
    assert encoder._budget == before  # it does not try again what did not fit
    monkeypatch.setattr(encoder.model, "encode", lambda part, **options: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        encoder.encode(["a"])


def test_it_pickles_without_its_cache(encoder):
    encoder.encode(["a"])
    twin = pickle.loads(pickle.dumps(encoder))
    assert not twin._cache
    assert twin.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(twin.encode(["a"]), encoder.encode(["a"]), atol=1e-6)


def test_long_texts_are_cut_with_one_warning_that_counts(encoder):
    clf = Classifier(encoder, strategy=Embedding()).fit(None, ["a", "b"])
    long = "good " * 300
    with pytest.warns(ShortenedWarning, match="128 tokens, 2 of 3 rows were cut") as caught:
        clf.predict(["short", long, long])
    assert len(caught) == 1


def test_preview_counts_tokens(encoder):
    clf = Classifier(encoder).fit(None, ["a", "b"])
    (row,) = clf.preview(["good day"])
    assert row.n_tokens == len(encoder.token_ends(["good day"])[0])
    assert "The topic is ___." in row.text


def test_real_embeddings_know_what_label_names_mean(mini):
    clf = Classifier(mini).fit(None, ["billing", "bug report", "praise", "delivery"])
    messages = {
        "My card was charged twice": "billing",
        "The app crashes when I open it": "bug report",
        "Wonderful service, thank you so much!": "praise",
        "The parcel never arrived at my door": "delivery",
    }
    assert dict(zip(messages, clf.predict(list(messages)), strict=True)) == messages


def test_eight_examples_a_class_beat_none_on_the_tickets(mini):
    texts, labels = map(np.array, datasets.load_tickets())
    rng = np.random.RandomState(0)
    shown = np.concatenate(
        [rng.choice(np.flatnonzero(labels == name), 8, replace=False) for name in sorted(set(labels))]
    )
    rest = np.setdiff1d(np.arange(len(texts)), shown)
    few = Classifier(mini, strategy=Embedding()).fit(texts[shown], labels[shown]).score(texts[rest], labels[rest])
    none = Classifier(mini).fit(None, sorted(set(labels))).score(texts[rest], labels[rest])
    assert few > none > 0.4


def test_label_words_are_averaged_per_class(mini):
    one = Classifier(mini, verbalizer={"a": ["sport", "football"], "b": "politics"}).fit()
    frames = ["The topic is sport.", "The topic is football."]
    mean = mini.encode(frames).mean(0)
    np.testing.assert_allclose(one.strategy_.chosen_.prototypes_[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_text_pair_is_read_through_its_template(mini):
    template = "{{ question }} {{ answer }}\nThe answer is {{ label }}."
    clf = Classifier(mini, template=template).fit(None, ["yes", "no"])
    rows = [{"question": "Is it on?", "answer": "Sure."}]
    assert clf.predict(rows)[0] in ("yes", "no")
    assert "Is it on? Sure." in clf.preview(rows)[0].text


class TestWindows:
    text = " ".join(f"word{i}" for i in range(200))

    @pytest.fixture
    def encoder(self):
        return SentenceEncoder(sentence_model(), windows=Windows(stride=20))

    def test_every_token_of_a_long_text_is_read(self, encoder):
        ends = encoder.token_ends([self.text])[0]
        size = encoder.limit - 2
        cuts = encoder.windows.cut(ends, self.text, size)
        assert cuts[0][0] == 0
        assert cuts[-1][1] == len(self.text)
        assert all(later <= stop for (_, stop), (later, _) in itertools.pairwise(cuts))
        pieces = [self.text[start:stop] for start, stop in cuts]
        assert all(len(ends) <= size for ends in encoder.token_ends(pieces))
        assert all(piece.split()[0].startswith("word") for piece in pieces)
        assert set(" ".join(pieces).split()) == set(self.text.split())

    @pytest.mark.parametrize("reduce", ["mean", "max"])
    def test_a_long_text_is_the_reduction_of_its_windows(self, reduce):
        encoder = SentenceEncoder(sentence_model(), windows=Windows(stride=20, reduce=reduce))
        ends = encoder.token_ends([self.text])[0]
        cuts = encoder.windows.cut(ends, self.text, encoder.limit - 2)
        vectors = SentenceEncoder(sentence_model()).encode([self.text[start:stop] for start, stop in cuts])
        assert len(vectors) > 3
        joined = getattr(vectors, reduce)(axis=0)
        found = encoder.encode([self.text, "short"])
        assert found[0] / np.linalg.norm(found[0]) == pytest.approx(joined / np.linalg.norm(joined), abs=1e-5)
        assert np.linalg.norm(found[0]) == pytest.approx(np.linalg.norm(vectors, axis=1).mean(), rel=1e-5)

    def test_a_short_text_is_what_it_was(self, encoder):
        assert encoder.encode(["a short text"]) == pytest.approx(
            SentenceEncoder(sentence_model()).encode(["a short text"]), abs=1e-6
        )

    def test_a_word_longer_than_a_window_is_cut_all_the_same(self):
        ends = np.arange(1, 21)
        cuts = Windows(stride=5).cut(ends, "x" * 20, 8)
        assert cuts == [(0, 8), (5, 13), (10, 18), (15, 20)]
        assert Windows(stride=50).cut(ends, "x" * 20, 8) == [(0, 8), (8, 16), (16, 20)]

    def test_no_warning_where_nothing_is_cut(self, encoder):
        rows = [self.text, "a refund, please"]
        with pytest.warns(ShortenedWarning, match="1 of 2 rows were cut"):
            Classifier(SentenceEncoder(sentence_model())).fit(None, ["billing", "praise"]).predict(rows)
        Classifier(encoder).fit(None, ["billing", "praise"]).predict(rows)

    def test_windows_are_part_of_what_the_encoder_is(self, encoder):
        assert encoder.fingerprint != SentenceEncoder(sentence_model()).fingerprint
        again = pickle.loads(pickle.dumps(encoder))
        assert again.windows == Windows(stride=20)
        assert again.fingerprint == encoder.fingerprint

    @pytest.mark.parametrize(("params", "said"), [({"reduce": "sum"}, "reduce"), ({"stride": 0}, "stride")])
    def test_bad_numbers(self, params, said):
        with pytest.raises(ValueError, match=said):
            Windows(**params)
