"""Demonstrations in prompts: chosen for each text, ordered against bias, within a token budget."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import Classifier, FakeLM, InputError, Prompting, UnsupportedError
from fewshot.demonstrations import Nearest, least_biased, orders
from tests.conftest import language_model
from tests.contract import HashEncoder

SOURCE = "{{ text }} Mood: {{ label }}"
MOODS = {"bad": "bad", "good": "good"}
X = ["a fun day", "so dull", "fun fun fun", "it rained", "quite dull and grey", "fun to see", "dull dull", "what fun"]
Y = ["good", "bad", "good", "bad", "bad", "good", "bad", "good"]


def recording(log, f=lambda query: [0.0, 0.0], **params):
    def lm(query):
        log.append(query)
        return f(query)

    return FakeLM(lm, **params)


def classifier(log=None, lm=None, **params):
    lm = lm or recording([] if log is None else log)
    return Classifier(lm, SOURCE, MOODS, Prompting(**params), random_state=0)


def shown(query):
    """Texts of the demonstrations, in prompt order."""
    return [turn.text.removesuffix(" Mood: ").removesuffix(" Mood:") for turn in query.context if turn.role == "user"]


class TestNearest:
    def test_each_text_sees_its_nearest_rows_last(self):
        log = []
        clf = classifier(log, shots=2, selection="nearest", encoder=HashEncoder()).fit(X, Y)
        assert clf.strategy_.demonstrations_.size == 0
        assert not log
        new = ["such fun to see", "dull dull dull"]
        clf.predict(new)
        vectors, texts = HashEncoder().encode(X), HashEncoder().encode(new)
        for text, vector in zip(new, texts, strict=True):
            (query,) = [query for query in log if query.prefix.startswith(text)]
            nearest = np.argsort(vectors @ vector, kind="stable")[-2:]
            assert shown(query) == [X[i] for i in nearest]

    def test_a_text_is_never_its_own_demonstration(self):
        for selection in ("nearest", "mmr", "stratified"):
            log = []
            clf = classifier(log, shots=4, selection=selection, encoder=HashEncoder()).fit(X, Y)
            clf.predict(X)
            assert log
            assert not any(query.prefix.startswith(text + " Mood") for query in log for text in shown(query))

    def test_texts_that_share_demonstrations_are_asked_one_after_the_other(self):
        log = []
        clf = classifier(log, shots=2, selection=Nearest(order="as is"), encoder=HashEncoder()).fit(X, Y)
        clf.predict(["fun", "dull", "fun fun", "dull and dull", "fun day"])
        contexts = [query.context for query in log]
        assert contexts == sorted(contexts)

    def test_calibration_asks_about_each_row_with_demonstrations_of_its_own(self):
        log = []
        classifier(log, shots=2, selection="nearest", encoder=HashEncoder(), calibration="batch").fit(X, Y)
        assert len(log) == len(X)
        assert all(len(shown(query)) == 2 for query in log)

    @pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
    @pytest.mark.parametrize("name", ["gpt2", "gpt2-chat", "llama"])
    def test_scores_are_those_of_each_prompt_by_itself(self, name):
        lm = language_model(name)
        clf = classifier(lm=lm, shots=2, selection="nearest", encoder=HashEncoder()).fit(X, Y)
        together = clf.predict_log_proba(X)
        alone = np.vstack([clf.predict_log_proba([text]) for text in X])
        np.testing.assert_allclose(together, alone, atol=1e-4)

    @pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
    @pytest.mark.parametrize("name", ["gpt2", "gpt2-chat"])
    def test_common_first_shows_the_same_rows_and_computes_fewer_tokens(self, name):
        new = ["fun", "dull", "fun fun", "dull and dull", "fun day", "a dull day", "it was fun", "rain"]
        said, computed = {}, {}
        for order in ("nearest last", "common first"):
            lm = language_model(name)
            clf = classifier(lm=lm, shots=5, selection="nearest", order=order, encoder=HashEncoder()).fit(X, Y)
            said[order] = [shown(query) for query in clf.strategy_.askings_[0].ask(new).queries]
            before = lm._packed.n_computed
            together = clf.predict_log_proba(new)
            computed[order] = lm._packed.n_computed - before
            alone = np.vstack([clf.predict_log_proba([text]) for text in new])
            np.testing.assert_allclose(together, alone, atol=1e-4)
        assert computed["common first"] < 0.9 * computed["nearest last"]
        assert said["common first"] != said["nearest last"]
        for ours, theirs in zip(said["common first"], said["nearest last"], strict=True):
            assert sorted(ours) == sorted(theirs)
            assert ours[-1] == theirs[-1]

    def test_the_default_encoder_is_used_where_none_is_given(self, mini):
        log = []
        clf = classifier(log, shots=1, selection="nearest").fit(
            ["a storm is coming", "the bank raised rates"], ["bad", "good"]
        )
        clf.predict(["interest on loans went up"])
        assert shown(log[-1]) == ["the bank raised rates"]


class TestLowestBias:
    def last_wins(self, query):
        """Repeats the last answer that it saw, but for one thing: fun is good."""
        answers = [turn.text.strip() for turn in query.context if turn.role == "assistant"]
        last = answers[-1] if answers else "bad"
        own = query.prefix.count("fun")
        return [float(last == "bad"), float(last == "good") + 0.4 * own]

    def test_it_is_the_order_with_the_most_even_answers(self):
        log = []
        lm = recording(log, self.last_wins)
        clf = classifier(lm=lm, shots=3, order="lowest bias").fit(X, Y)
        rows = clf.strategy_.demonstrations_
        assert sorted(rows) == sorted(classifier(shots=3).fit(X, Y).strategy_.demonstrations_)
        others = [i for i in range(len(X)) if i not in rows]
        first = classifier(shots=3).fit(X, Y).strategy_.demonstrations_

        def evenness(order):
            context = [(X[i], Y[i]) for i in first[order]]
            scores = [
                self.last_wins(clf.template_.query(X[i], ["bad", "good"], demonstrations=context)) for i in others
            ]
            share = np.mean(np.argmax(scores, axis=1))
            return min(share, 1 - share)

        tried = orders(3, 12, np.random.RandomState(0))
        assert evenness([first.tolist().index(i) for i in rows]) == max(evenness(order) for order in tried)

    def test_bad_input(self):
        with pytest.raises(InputError, match="every text of fit is one"):
            classifier(shots=8, order="lowest bias").fit(X, Y)
        with pytest.raises(UnsupportedError, match="needs the same demonstrations for all texts"):
            classifier(shots=2, selection="nearest", order="lowest bias", encoder=HashEncoder()).fit(X, Y)

    def test_several_templates_are_ordered_together(self):
        templates = [SOURCE, "{{ text }} It is {{ label }}"]
        clf = Classifier(
            recording([], self.last_wins), templates, MOODS, Prompting(3, order="lowest bias"), random_state=0
        )
        rows = clf.fit(X, Y).strategy_.demonstrations_
        assert len(set(rows.tolist())) == 3

    def test_an_unknown_order(self):
        with pytest.raises(ValueError, match=r"order must be 'as is'.*Got 'backwards'"):
            classifier(order="backwards").fit()

    def test_without_shots_there_is_nothing_to_order(self):
        log = []
        classifier(log, order="lowest bias").fit(X, Y)
        assert not log

    def test_least_biased_is_the_one_with_the_most_entropy(self):
        same, mixed = np.log([[0.9, 0.1], [0.8, 0.2]]), np.log([[0.9, 0.1], [0.2, 0.8]])
        assert least_biased(np.stack([same, mixed])) == 1


class TestTokenBudget:
    def test_the_nearest_demonstrations_stay(self):
        log = []
        clf = classifier(log, shots=4, selection="first", max_shot_tokens=9).fit(X, Y)
        clf.predict(["new text"])
        lm = FakeLM(lambda query: [0.0, 0.0])
        sizes = [
            sum(map(len, lm.token_ends([turn.text for turn in clf.template_.context([(X[i], Y[i])])])))
            for i in range(4)
        ]
        fitting = max(k for k in range(5) if sum(sizes[4 - k :]) <= 9)
        assert 0 < fitting < 4
        assert shown(log[-1]) == X[4 - fitting : 4]

    def test_a_model_that_cannot_count(self):
        class Bare:
            fingerprint = "bare"

            def loglikelihoods(self, queries):
                return []

        with pytest.raises(UnsupportedError, match="can't count tokens, which max_shot_tokens needs"):
            classifier(lm=Bare(), shots=2, max_shot_tokens=5).fit(X, Y)
