"""The most probable candidates by best-first search, against scoring all of them."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
import transformers as t

from fewshot import CachedLM, FakeLM, FewshotWarning, InputError, ParameterError, UnsupportedError
from fewshot.models.base import Query, Turn
from fewshot.models.causal import CausalLM
from fewshot.models.engine import best_first
from fewshot.models.engine.best_first import Searches
from fewshot.models.engine.frontier import Frontier
from fewshot.models.engine.packed import PackedForward
from fewshot.models.engine.proof import Proof
from fewshot.models.ranking import most_probable, rank
from fewshot.models.wrappers import RememberedLM
from tests.conftest import language_model, spread
from tests.test_packed import TOKENS, model

TEXTS = [
    "The parcel came late, and the invoice was wrong. I was charged twice for the parcel.",
    "Paris is in France. The app crashes on start, and again on start, in Paris.",
    "12 of 123 updates failed on 1 May; 12 did not.",
    "aaa aa a aaa aa",
    "Word",
]
ASKED = ["What came late?", "Who?", "Where is it, and how many were there of them in the end?"]
MODELS = ["GPT-2", "Llama", "Mistral, sliding", "Qwen2, sliding", "Gemma 3", "OPT"]


def spans(text: str, most: int) -> tuple[str, ...]:
    """All runs of at most so many words, each text once."""
    words = text.split(" ")
    pairs = itertools.combinations(range(len(words) + 1), 2)
    return tuple(dict.fromkeys(" ".join(words[i:j]) for i, j in pairs if j - i <= most))


def drawn(seed: int, n: int = 6) -> list[Query]:
    """Questions about texts, some about one text, some with turns before them, one asked twice."""
    drawn = np.random.RandomState(seed)
    queries = []
    for _ in range(n):
        text, asked = TEXTS[drawn.randint(len(TEXTS))], ASKED[drawn.randint(len(ASKED))]
        candidates = spans(text, drawn.randint(1, 6))
        shown = tuple(candidates[i] for i in drawn.permutation(len(candidates)))
        context = (Turn("system", "Answer from the text.\n"),) if drawn.rand() < 0.5 else ()
        suffix = "." if drawn.rand() < 0.3 else ""
        queries.append(Query(f"{text}\n{asked}\nAnswer:{' ' * drawn.randint(2)}", shown, suffix, context))
    return [*queries, queries[0]]


def assert_ranked(found, scores, k):
    """Equal to what all scores say, up to the rounding of another forward pass."""
    expected = rank(scores.logprobs, k)
    assert len(found.indices) == len(set(found.indices.tolist())) == min(k, len(scores.logprobs))
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-4)
    np.testing.assert_allclose(found.logprobs, scores.logprobs[found.indices], atol=1e-4)
    in_order = np.sort(scores.logprobs)[::-1]
    if not (np.diff(in_order[: k + 1]) > -1e-5).any():
        assert found.indices.tolist() == expected.indices.tolist()
    assert found.rest >= expected.rest - 1e-4


@functools.cache
def sharp(name: str) -> CausalLM:
    return CausalLM(model(name), TOKENS)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_it_finds_what_scoring_all_finds(name, k):
    lm = sharp(name)
    queries = [query for seed in range(4) for query in drawn(seed)]
    for found, scores in zip(lm.most_probable(queries, k), lm.loglikelihoods(queries), strict=True):
        assert_ranked(found, scores, k)
    assert lm._packed is not None, "the architecture fell back to scoring all"


@pytest.mark.parametrize("name", ["gpt2", "gpt2-chat", "llama", "llama-first"])
def test_it_joins_and_ends_candidates_as_scoring_does(name):
    lm = language_model(name)
    queries = [query for seed in (10, 11) for query in drawn(seed)]
    queries.append(Query("It is ", ("1", "12", "123", "true")))
    queries.append(Query("", ("true", "false")))
    scores = lm.loglikelihoods(queries)
    for k in (1, 2, 5, 1000):
        for found, one in zip(lm.most_probable(queries, k), scores, strict=True):
            assert_ranked(found, one, k)
    assert lm.most_probable([], 1) == []


def test_each_query_has_the_answer_that_it_has_alone():
    lm, queries = sharp("Llama"), drawn(20)
    for query, found in zip(queries, lm.most_probable(queries, 3), strict=True):
        (alone,) = lm.most_probable([query], 3)
        assert alone.indices.tolist() == found.indices.tolist()
        np.testing.assert_allclose(alone.logprobs, found.logprobs, atol=1e-4)


@pytest.mark.parametrize("pack", [8, 40])
def test_small_packs_and_caches_change_nothing(pack, monkeypatch):
    monkeypatch.setattr(CausalLM, "_pack_tokens", property(lambda self: pack))
    monkeypatch.setattr(best_first, "WORTH_A_PASS", 3 * pack)
    for name in ("Llama", "Mistral, sliding"):
        lm = CausalLM(model(name), TOKENS)
        lm.budget = 256
        queries = drawn(30)
        for found, scores in zip(lm.most_probable(queries, 3), lm.loglikelihoods(queries), strict=True):
            assert_ranked(found, scores, 3)


def test_it_looks_at_few_beginnings(monkeypatch):
    searches, init = [], Searches.__init__
    monkeypatch.setattr(Searches, "__init__", lambda self, *a, **b: (init(self, *a, **b), searches.append(self))[0])
    lm = CausalLM(spread(_llama(), 5.0).eval(), TOKENS)
    text = " ".join(TEXTS[:3])
    query = Query(f"{text}\nAnswer:", spans(text, 8))
    (joined,) = lm._joined([query])
    beginnings = {rest[:i] for rest in joined.rests for i in range(len(rest))}
    (found,) = lm.most_probable([query], 1)
    assert_ranked(found, lm.loglikelihoods([query])[0], 1)
    assert len(beginnings) > 500
    assert searches[0].n_looked < 0.2 * len(beginnings)


def _llama():
    torch.manual_seed(1)
    config = t.LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    return t.LlamaForCausalLM(config).float()


class Table:
    """A made-up language: what may follow each beginning, with few and exact probabilities, so that many are equal."""

    def __init__(self, seed: int) -> None:
        self.drawn = np.random.RandomState(seed)
        n, longest, tokens = self.drawn.randint(1, 40), self.drawn.randint(1, 6), self.drawn.randint(2, 5)
        rests = {tuple(self.drawn.randint(tokens, size=self.drawn.randint(1, longest + 1)).tolist()) for _ in range(n)}
        self.rests = [rest for _, rest in sorted((self.drawn.rand(), rest) for rest in rests)]
        self.known: dict[tuple[int, ...], np.ndarray] = {}

    def logprobs(self, begun: tuple[int, ...]) -> np.ndarray:
        if begun not in self.known:
            self.known[begun] = np.log2(self.drawn.permutation([0.5, 0.25, 0.125, 0.125, 0.0]) + 0.0)
        return self.known[begun]

    def scores(self) -> np.ndarray:
        return np.array([sum(self.logprobs(r[:i])[r[i]] for i in range(len(r))) for r in self.rests])


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("width", [1, 3])
def test_ties_and_candidates_that_begin_one_another(width):
    for seed in range(300):
        table = Table(seed)
        scores = table.scores()
        k = (1, 3, 50)[seed % 3]
        frontier = Frontier(table.rests, k)
        looked = []
        while not frontier.is_done:
            for taken in frontier.take(width):
                for node in (taken, *frontier.ahead(taken, width - 1)):
                    begun = frontier.tokens(node)
                    looked.append(begun)
                    frontier.receive(node, 0, table.logprobs(begun)[frontier.following(node)])
        found, expected = frontier.ranked(), rank(scores, k)
        assert found.indices.tolist() == expected.indices.tolist()
        assert found.logprobs.tolist() == expected.logprobs.tolist()
        assert found.rest >= expected.rest - 1e-9
        assert len(set(looked)) == len(looked) == frontier.n_taken
        if width == 1:  # no search that is sure could have looked at less
            least = expected.logprobs[-1]
            begun = [sum(table.logprobs(b[:i])[b[i]] for i in range(len(b))) for b in looked]
            assert all(bound >= least for bound in begun)


def test_what_is_a_tie_is_settled_by_number():
    lm = sharp("Llama")
    for queries in ([Query("It is ", ("b", "a", "c"))], [Query("It is ", ("c", "b", "a"))]):
        with torch.inference_mode():
            flat = CausalLM(_flat(), TOKENS)
        (found,) = flat.most_probable(queries, 2)
        assert found.indices.tolist() == [0, 1]
        assert found.rest >= found.logprobs[1] - 1e-6
    assert lm._packed is not None


def _flat():
    made = _llama()
    made.lm_head.weight.data.zero_()
    return made.eval()


def test_long_searches_score_all(monkeypatch):
    lm, queries = CausalLM(model("Llama"), TOKENS), drawn(40)
    scores, asked = lm.loglikelihoods(queries), []
    own = CausalLM._score
    monkeypatch.setattr(best_first, "MOST", 2)
    monkeypatch.setattr(best_first, "WORTH_A_PASS", 2)
    monkeypatch.setattr(CausalLM, "_score", lambda self, queries: (asked.extend(queries), own(self, queries))[1])
    for found, one in zip(lm.most_probable(queries, 2), scores, strict=True):
        assert_ranked(found, one, 2)
    assert asked


def test_a_model_that_cannot_share_prefixes_scores_all():
    lm, queries = CausalLM(model("Llama"), TOKENS), drawn(41)
    lm._packed = None
    for found, scores in zip(lm.most_probable(queries, 2), lm.loglikelihoods(queries), strict=True):
        assert_ranked(found, scores, 2)


def test_a_wrong_search_is_noticed(monkeypatch):
    lm, queries = CausalLM(model("Mistral, sliding"), TOKENS), drawn(42)
    assert lm._packed is not None
    lm._packed.window = None  # as if the window had been overlooked
    with pytest.warns(FewshotWarning, match="can't share prefixes between prompts"):
        found = lm.most_probable(queries, 2)
    for one, scores in zip(found, lm.loglikelihoods(queries), strict=True):
        assert_ranked(one, scores, 2)
    assert lm._packed is None


def test_only_new_strains_are_compared(monkeypatch):
    lm, queries, compared = CausalLM(model("Llama"), TOKENS), drawn(43), []
    own = Proof.error

    def error(self, rows, states):
        compared.append(len(rows))
        return own(self, rows, states)

    monkeypatch.setattr(Proof, "error", error)
    lm.most_probable(queries, 2)
    lm.most_probable(queries, 2)
    assert compared in ([1, 0], [2, 0])


def test_scores_that_are_no_numbers_are_not_hidden():
    broken = _llama()
    broken.lm_head.weight.data[5:] = torch.nan
    lm = CausalLM(broken.eval(), TOKENS)
    lm.__dict__["_packed"] = PackedForward(broken)
    query = Query("It is ", ("b", "a", "c"))
    with pytest.raises(UnsupportedError, match="NaN"):
        lm.most_probable([query], 2)
    with pytest.raises(UnsupportedError, match="NaN"):
        most_probable(FakeLM(lambda query: [-np.inf] * 3), [query], 2)


def test_memory_that_runs_out_halves_the_packs(monkeypatch):
    lm, queries = CausalLM(model("Llama"), TOKENS), drawn(44)
    scores, run = lm.loglikelihoods(queries), Searches.run

    def tight(self, asked, k):
        if self.pack > 100:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return run(self, asked, k)

    monkeypatch.setattr(Searches, "run", tight)
    for found, one in zip(lm.most_probable(queries, 2), scores, strict=True):
        assert_ranked(found, one, 2)
    assert lm.budget <= 100


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", None, True])
def test_how_many_must_be_a_number(k):
    for ask in (sharp("Llama").most_probable, functools.partial(most_probable, FakeLM(lambda query: [0.0]))):
        with pytest.raises(ParameterError, match="k must be"):
            ask([Query("It is ", ("a",))], k)


def test_what_cannot_be_scored_is_named():
    with pytest.raises(InputError, match="are the same tokens"):
        sharp("Llama").most_probable([Query("It is ", ("\ud800", "\ufffd", "a"))], 1)


def test_any_language_model_can_be_asked():
    calls = []
    lm = FakeLM(lambda query: calls.append(query) or [-3.0, -1.0, -2.0])
    query = Query("It is ", ("a", "b", "c"))
    (found,) = most_probable(lm, [query], 2)
    assert (found.indices.tolist(), found.logprobs.tolist(), found.rest) == ([1, 2], [-1.0, -2.0], -3.0)
    remembered = RememberedLM(lm)
    for k in (1, 2, 3):
        assert most_probable(remembered, [query], k)[0].indices.tolist() == [1, 2, 0][:k]
    assert len(calls) == 2


def test_seq2seq_scores_all():
    lm = language_model("t5")
    queries = drawn(50, n=2)
    for found, scores in zip(most_probable(lm, queries, 2), lm.loglikelihoods(queries), strict=True):
        assert_ranked(found, scores, 2)


def test_wrappers_hand_it_on(tmp_path, monkeypatch):
    lm, queries = sharp("Llama"), drawn(51)
    expected = [one.indices.tolist() for one in lm.most_probable(queries, 2)]
    asked, own = [], CausalLM.most_probable
    monkeypatch.setattr(
        CausalLM, "most_probable", lambda self, queries, k: (asked.append(len(queries)), own(self, queries, k))[1]
    )
    for wrapped in (RememberedLM(lm), CachedLM(lm, tmp_path / "scores.sqlite"), RememberedLM(RememberedLM(lm))):
        for _ in range(2):
            assert [one.indices.tolist() for one in most_probable(wrapped, queries, 2)] == expected
    assert asked == [len(set(queries)), 7, 7, len(set(queries))]
    wrapped = RememberedLM(lm)
    most_probable(wrapped, queries, 1)
    assert len(most_probable(wrapped, queries, 2)[0].indices) == 2


@pytest.mark.parametrize("name", ["gpt2", "gpt2-chat", "llama"])
def test_one_pair_shows_that_candidates_need_their_terminator(name, monkeypatch):
    lm, queries = language_model(name), drawn(60, n=12)
    queries.append(Query("It is ", ("b", "a", "c")))
    found = []
    for many in (0, 10**6):
        monkeypatch.setattr("fewshot.models.text.tokens._MANY", many)
        lm._continued._known = {}
        found.append(lm._joined(queries))
    assert found[0] == found[1]
