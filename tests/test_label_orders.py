"""Orders of the listed label words: their mean, against asking about each order by itself."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from fewshot import (
    Channel,
    Classifier,
    FakeLM,
    ParameterError,
    Prompting,
    Readout,
    Template,
    UnsupportedError,
    load,
)
from fewshot.calibration import PMI, Batch, BestOf, Contextual, DomainContext, Learned
from fewshot.cli.setups import as_strategy
from fewshot.task.label_orders import label_orders
from tests.architectures import brute_force
from tests.conftest import language_model
from tests.own_choices import ANSWERS, LISTED, QUIZ, lm, said

WORDS = ["billing", "bug", "praise"]
LIST = "{{ text | shorten }}\n{% for word in labels %}- {{ word }}\n{% endfor %}Answer: {{ label }}"
HEAD = "---\ninstruction: \"Which of {{ labels | join(', ') }}?\"\n---\n{{ text }}: {{ label }}"
BOTH = Template("{{ labels | join('/') }} {{ text }}: {{ label }}", instruction="One of {{ labels | join(' or ') }}.")
NONE = "{{ text }} It was {{ label }}"
TEXTS = ["I was charged twice", "The app crashed again", "Lovely work", "A refund, please", "It hangs", "Thank you all"]
CLASSES = ["billing", "bug", "praise"] * 2
METHODS = [Contextual(), DomainContext(4), PMI("Answer: "), Batch(), Batch("arithmetic"), Learned(), BestOf()]


def classifier(template=LIST, model=None, words=WORDS, **params):
    words = words if isinstance(words, dict) else {word: word for word in words}
    return Classifier(model or lm(), template, words, Prompting(**params), random_state=0)


def orders_of(n, orders):
    """Brute force: rotations evenly spaced, each with its mirror, no order twice."""
    turned = [(*range(k, n), *range(k)) for k in range(n)]
    everything = list(dict.fromkeys(order[::step] for order in turned for step in (1, -1)))
    if orders == "all" or orders >= len(everything):
        return sorted(everything)
    rotations = -(-orders // 2)
    found = [everything[2 * (k * n // rotations)] for k in range(rotations)]
    return sorted([order for one in found for order in (one, one[::-1])][:orders])


def alone(template, row, words, demonstrations=(), model=None, n_orders=2):
    """Log-scores of the words under each order, asked one prompt at a time."""
    model, each = model or lm(), []
    for order in orders_of(len(words), n_orders):
        listed = [words[i] for i in order]
        query = template.query(row, words, labels=listed, demonstrations=demonstrations)
        each.append(model.loglikelihoods([query])[0].logprobs)
    return np.array(each)


class TestOrders:
    @pytest.mark.parametrize(("n", "orders"), product([1, 2, 3, 4, 5, 7, 77], [1, 2, 3, 4, 5, 6, 14, 1000, "all"]))
    def test_they_are_rotations_and_mirrors(self, n, orders):
        found = label_orders(n, orders)
        assert found[0] == tuple(range(n))
        most = n if n < 3 else 2 * n
        assert len(found) == len(set(found)) == (most if orders == "all" else min(orders, most))
        assert sorted(found) == orders_of(n, orders)

    @pytest.mark.parametrize(("n", "orders"), product([2, 3, 4, 6, 77], [2, 4, 6, "all"]))
    def test_under_an_even_number_every_word_has_the_same_mean_place(self, n, orders):
        places = np.argsort(label_orders(n, orders), axis=1)
        assert np.allclose(places.mean(axis=0), (n - 1) / 2)

    @pytest.mark.parametrize(("n", "orders"), [(n, o) for n in (2, 3, 5, 6) for o in (2, "all")] + [(4, 4), (6, 4)])
    def test_those_of_the_mirrored_list_are_the_same(self, n, orders):
        mirrored = [tuple(n - 1 - i for i in order) for order in label_orders(n, orders)]
        assert sorted(mirrored) == sorted(label_orders(n, orders))


class TestTheMean:
    @pytest.mark.parametrize("template", [LIST, HEAD, BOTH], ids=["body", "instruction", "both"])
    @pytest.mark.parametrize("orders", [1, 2, 3, 4, "all", 99])
    def test_scores_are_the_mean_over_single_orders(self, template, orders):
        clf = classifier(template, orders=orders).fit()
        each = np.array([alone(clf.template_, text, WORDS, n_orders=orders) for text in TEXTS])
        assert np.allclose(clf.predict_log_proba(TEXTS), log_softmax(each.mean(axis=1), axis=1), atol=1e-12)

    def test_one_order_is_what_it_was_to_the_last_bit(self):
        plain = classifier(shots=2).fit(TEXTS, CLASSES)
        assert (
            classifier(shots=2, orders=1).fit(TEXTS, CLASSES).predict_proba(TEXTS) == plain.predict_proba(TEXTS)
        ).all()

    @pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
    def test_of_a_real_model_it_is_that_of_one_sequence_at_a_time(self, name):
        model = load(language_model(name))
        clf = classifier(model=model, orders="all").fit()
        (asked,) = [asking.ask(TEXTS[:3]) for asking in clf.strategy_.askings_]
        for own, scores in zip(asked.forms, asked.answers, strict=True):
            assert len(set(own)) == 6
            wanted = np.mean([brute_force(model, query) for query in own], axis=0)
            assert np.allclose(scores.logprobs, wanted, atol=2e-4)

    def test_demonstrations_list_the_words_in_the_order_of_their_prompt(self):
        clf = classifier(BOTH, shots=2, orders=4).fit(TEXTS, CLASSES)
        shown = [(TEXTS[i], CLASSES[i]) for i in clf.strategy_.demonstrations_]
        new = [f"{text}?" for text in TEXTS]  # no text is its own demonstration
        each = np.array([alone(clf.template_, text, WORDS, shown, n_orders=4) for text in new])
        assert np.allclose(clf.predict_log_proba(new), log_softmax(each.mean(axis=1), axis=1), atol=1e-12)

    def test_wordings_are_averaged_each_over_its_orders(self):
        clf = classifier([LIST, NONE], orders=2).fit()
        each = [classifier(LIST, orders=2).fit(), classifier(NONE).fit()]
        wanted = np.mean([one.predict_log_proba(TEXTS) for one in each], axis=0)
        assert np.allclose(clf.predict_log_proba(TEXTS), log_softmax(wanted, axis=1), atol=1e-12)

    def test_the_mass_is_a_mean_as_well(self):
        model = load(language_model("llama"))
        (asked,) = [one.ask(TEXTS) for one in classifier(model=model, orders=4).fit().strategy_.askings_]
        each = [[one.mass for one in model.loglikelihoods(list(own))] for own in asked.forms]
        assert np.allclose(classifier(model=model, orders=4).fit().label_mass(TEXTS), np.mean(each, axis=1), atol=1e-6)

    def test_all_orders_are_one_call_and_the_same_question_is_asked_once(self):
        calls = []

        class Counted(FakeLM):
            def loglikelihoods(self, queries):
                calls.append(list(queries))
                return super().loglikelihoods(queries)

        model = Counted(lambda query: [said(query.prefix, word) for word in query.candidates])
        classifier(model=model, orders="all").fit().predict(TEXTS)
        assert [len(queries) for queries in calls] == [6 * len(TEXTS)]
        prefixes = [query.prefix.split("\n")[0] for query in calls[0]]
        assert prefixes == [text for text in TEXTS for _ in range(6)]  # what begins alike is side by side
        calls.clear()
        classifier([LIST, NONE], model, orders="all").fit().predict(TEXTS)
        assert sorted(len(queries) for queries in calls) == [len(TEXTS), 6 * len(TEXTS)]

    # not DomainContext: the order of the classes says how many numbers are drawn before its words
    @pytest.mark.parametrize(
        "method", [None, *(one for one in METHODS if not isinstance(one, DomainContext))], ids=repr
    )
    @pytest.mark.parametrize("orders", [2, "all"])
    def test_the_mirrored_list_gives_the_same_answers(self, method, orders):
        there = classifier(words=dict(zip("abc", WORDS, strict=True)), orders=orders, calibration=method)
        back = classifier(words=dict(zip("cba", WORDS, strict=True)), orders=orders, calibration=method)
        rows, one, two = TEXTS * 2, [*"abc"] * 4, [*"cba"] * 4
        there.fit(rows, one)
        back.fit(rows, two)
        new = [f"{text}?" for text in TEXTS]
        assert np.allclose(there.predict_proba(new), back.predict_proba(new)[:, ::-1], atol=1e-6)
        single = classifier(words=dict(zip("cba", WORDS, strict=True)), calibration=method).fit(rows, two)
        assert not np.allclose(there.predict_proba(new), single.predict_proba(new)[:, ::-1], atol=1e-3)


class TestCalibration:
    @pytest.mark.parametrize("method", METHODS, ids=repr)
    @pytest.mark.parametrize("template", [LIST, BOTH], ids=["body", "both"])
    def test_it_is_fitted_on_the_mean(self, method, template):
        """As with a model that gives the mean over the orders to whoever asks in the first of them."""
        listing = Template(template) if isinstance(template, str) else template

        def mean(query):
            before = "".join(turn.text for turn in query.context) + query.prefix
            each = []
            for order in label_orders(3, 4):
                turned = before
                for mark in ("- {}\n- {}\n- {}\n", "{}/{}/{}", "{} or {} or {}"):
                    turned = turned.replace(mark.format(*WORDS), mark.format(*(WORDS[i] for i in order)))
                each.append([said(turned, word, query.suffix) for word in query.candidates])
            return np.mean(each, axis=0)

        calibrated = classifier(listing, orders=4, calibration=method, shots=1).fit(TEXTS * 2, CLASSES * 2)
        wanted = classifier(listing, FakeLM(mean), calibration=method, shots=1).fit(TEXTS * 2, CLASSES * 2)
        assert np.allclose(calibrated.predict_proba(TEXTS), wanted.predict_proba(TEXTS), atol=1e-9)
        assert not np.allclose(
            calibrated.predict_proba(TEXTS),
            classifier(listing, calibration=method, shots=1).fit(TEXTS * 2, CLASSES * 2).predict_proba(TEXTS),
            atol=1e-3,
        )

    def test_the_prior_is_that_of_the_mean_by_its_formula(self):
        clf = classifier(orders=4, calibration=Contextual(["N/A", ""])).fit()
        each = [alone(clf.template_, text, WORDS, n_orders=4).mean(axis=0) for text in ("N/A", "")]
        wanted = logsumexp(log_softmax(each, axis=1), axis=0) - np.log(2)
        assert np.allclose(clf.strategy_.calibration_.log_prior_, wanted, atol=1e-12)

    def test_weights_and_the_order_of_demonstrations_are_learnt_on_the_mean(self):
        params = {"orders": 2, "calibration": "batch", "ensemble": "learned", "order": "lowest bias", "shots": 2}
        clf = classifier([LIST, HEAD], **params).fit(TEXTS, CLASSES)
        assert clf.strategy_.weights_.sum() == pytest.approx(1)
        assert np.isfinite(clf.predict_log_proba(TEXTS)).all()


class TestChoicesOfRows:
    @pytest.mark.parametrize("orders", [2, 3, "all"])
    def test_each_row_has_the_orders_of_its_own_choices(self, orders):
        clf = Classifier(lm(), LISTED, strategy=Prompting(orders=orders)).fit(QUIZ)
        for row, found in zip(QUIZ, clf.predict_log_proba(QUIZ), strict=True):
            each = alone(clf.template_, row, row["options"], n_orders=orders)
            wanted = log_softmax(each.mean(axis=0))
            assert np.allclose(found[: len(wanted)], wanted, atol=1e-12)

    @pytest.mark.parametrize("method", [Contextual(["N/A", "-"]), PMI("Answer: ")], ids=repr)
    def test_the_prior_of_a_row_is_that_of_its_mean(self, method):
        template = Template(LISTED, instruction="{{ labels | join(', ') }}?")
        clf = Classifier(lm(), template, strategy=Prompting(orders="all", calibration=method)).fit(QUIZ)
        for row, found in zip(QUIZ, clf.predict_log_proba(QUIZ), strict=True):
            options = row["options"]
            scores = alone(template, row, options, n_orders="all").mean(axis=0)
            if isinstance(method, PMI):
                each = []
                for order in orders_of(len(options), "all"):
                    head = template.instruction([options[i] for i in order]) + "\n\nAnswer: "
                    each.append([said(head, option) for option in options])
                prior = np.mean(each, axis=0)
            else:
                probes = [{**row, "q": text} for text in method.texts]
                empty = [alone(template, probe, options, n_orders="all").mean(axis=0) for probe in probes]
                prior = logsumexp(log_softmax(empty, axis=1), axis=0) - np.log(2)
            assert np.allclose(found[: len(options)], log_softmax(scores - prior), atol=1e-9)

    def test_demonstrations_bring_choices_of_their_own(self):
        clf = Classifier(lm(), LISTED, strategy=Prompting(2, orders="all"), random_state=0).fit(QUIZ, ANSWERS)
        (asked,) = [asking.ask(QUIZ) for asking in clf.strategy_.askings_]
        assert [len(own) for own in asked.forms] == [6, 2, 6, 2, 6, 6]
        assert np.isfinite(clf.predict_log_proba(QUIZ)[:, :2]).all()


class TestTheWindow:
    @pytest.mark.parametrize("limit", [18, 20, 24, 30, 44, 70])
    def test_every_order_shows_the_same_text_and_fits(self, limit):
        words = ["a b c d", "bug", "praise it"]
        model = FakeLM(lambda query: [0.0] * len(query.candidates), limit=limit)
        text = " ".join(f"w{i}" for i in range(40))
        clf = classifier(LIST, model, words, shots=2, orders="all").fit([text] * 3, words)
        (asked,) = [asking.ask([text]) for asking in clf.strategy_.askings_]
        (own,) = asked.forms
        assert (model.lengths(list(own)) <= limit).all()
        assert len({query.prefix.split("\n")[0] for query in own}) == 1
        assert len({len(query.context) for query in own}) == 1

    def test_the_longest_order_decides(self):
        """A model whose prompts are longer where the list begins with the first word."""

        class Odd(FakeLM):
            def lengths(self, queries):
                return super().lengths(queries) + np.array([5 * ("\n- bug" in q.prefix[:60]) for q in queries])

        model = Odd(lambda query: [0.0] * len(query.candidates), limit=24)
        text = " ".join(f"w{i}" for i in range(30))
        (asked,) = [one.ask([text]) for one in classifier(LIST, model, orders="all").fit().strategy_.askings_]
        (own,) = asked.forms
        assert (model.lengths(list(own)) <= 24).all()
        assert len({query.prefix.split("\n")[0] for query in own}) == 1
        assert max(model.lengths(list(own))) == 24

    def test_a_field_of_each_word_is_cut_where_it_stands(self):
        template = "{% for word in labels %}{{ word }}: {{ about[word] }}\n{% endfor %}{{ text }} {{ label }}"
        about = {word: " ".join(f"{word}{i}" for i in range(4 + 3 * k)) for k, word in enumerate(WORDS)}
        model = FakeLM(lambda query: [0.0] * len(query.candidates), limit=18)
        clf = classifier(template, model, orders="all").fit()
        (asked,) = [one.ask([{"about": about, "text": "so it is"}]) for one in clf.strategy_.askings_]
        (own,) = asked.forms
        lines = [frozenset(query.prefix.split("\n")) for query in own]
        assert len(set(lines)) == 1
        assert (model.lengths(list(own)) <= 18).all()


class TestWhatIsShown:
    def test_preview_and_explain_show_the_first_order_and_say_so(self):
        clf = classifier(orders=4, calibration="contextual").fit()
        assert str(clf.preview(TEXTS[:1])) == str(classifier(calibration="contextual").fit().preview(TEXTS[:1]))
        explained = clf.explain(TEXTS[0])
        assert "means over 4 orders of the listed label words" in str(explained)
        assert [one.probability for one in explained.classes] == pytest.approx(clf.predict_proba(TEXTS[:1])[0].tolist())
        assert "orders of the listed" not in str(classifier().fit().explain(TEXTS[0]))

    def test_a_kept_one_says_the_same(self, tmp_path):
        clf = classifier(BOTH, orders=4, shots=2, calibration="batch").fit(TEXTS, CLASSES)
        clf.save(tmp_path / "kept")
        again = Classifier.load(tmp_path / "kept", model=lm())
        assert again.strategy.orders == 4
        assert (again.predict_proba(TEXTS) == clf.predict_proba(TEXTS)).all()

    def test_the_command_line_takes_a_number_or_all(self):
        assert [as_strategy(f"prompting(orders={orders})").orders for orders in (2, "all")] == [2, "all"]

    def test_other_strategies_ask_in_the_first_order(self):
        for strategy in (Readout("labels"), Channel()):
            source = "{{ labels | join(', ') }} {{ label }} {{ text }}" if isinstance(strategy, Channel) else LIST
            clf = Classifier(lm(vocabulary=["a", "b"]), source, WORDS, strategy, random_state=0).fit(TEXTS, CLASSES)
            assert np.isfinite(clf.predict_log_proba(TEXTS)).all()


class TestErrors:
    @pytest.mark.parametrize("orders", [0, -1, 1.5, True, None, "some", [2]])
    def test_a_number_that_is_none(self, orders):
        with pytest.raises(ParameterError, match=r"orders must be .*'?all'?"):
            classifier(orders=orders).fit()

    @pytest.mark.parametrize("template", [NONE, [NONE, "{{ text }} {{ label }}"]])
    def test_a_template_that_lists_nothing(self, template):
        with pytest.raises(
            ParameterError, match=r"lists none that .* reads: use orders=1, or a template with 'labels'"
        ):
            classifier(template, orders=2).fit()
        classifier(template, orders=1).fit()

    def test_an_entailment_model_does_not_read_the_instruction(self):
        model = lm(kind="entailment")
        with pytest.raises(ParameterError, match="lists none that"):
            classifier(HEAD, model, orders=2).fit()
        assert np.isfinite(classifier(LIST, model, orders=2).fit().predict_log_proba(TEXTS)).all()

    def test_generated_answers_and_several_labels(self):
        model = lm(answer=lambda query: "bug")
        with pytest.raises(UnsupportedError, match="written under one order"):
            classifier(model=model, orders=2, read="generate").fit()
        with pytest.raises(UnsupportedError, match="leave orders at 1"):
            classifier(BOTH, orders=2).fit(TEXTS[:3], np.eye(3, dtype=int))
