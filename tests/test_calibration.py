"""Calibration: each method against its paper's formula, and what it may and may not learn from."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from fewshot import Classifier, FakeLM, InputError, Prompting, Template, TemplateError, UnsupportedError
from fewshot.calibration import PMI, Batch, BestOf, Contextual, DomainContext, Learned, as_prior
from tests.contract import HashEncoder

SOURCE = "---\ndomain_premise: 'Mood:'\n---\n{{ text }} Mood: {{ label }}"
TEXTS = ["a fun day", "so dull", "fun fun fun", "it rained", "quite dull and grey", "fun to see"]
MOODS = ["good", "bad", "good", "bad", "bad", "good"]
METHODS = [Contextual(), DomainContext(), PMI(), Batch(), Batch("arithmetic"), Batch(transductive=True)]
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)


def biased(query):
    """Favours "bad" by 3 whatever it reads; fun speaks for "good", and all other text a little against it."""
    text = query.prefix.rsplit("Mood:", 1)[0].lower()
    return [-1.0, -4.0 - 0.02 * len(text) + 0.8 * text.count("fun")]


def classifier(method, source=SOURCE, lm=biased, **params):
    strategy = Prompting(calibration=method, **params)
    return Classifier(FakeLM(lm), Template(source), {"bad": "bad", "good": "good"}, strategy, random_state=0)


def normalised(scores):
    shares = np.exp(scores)
    return shares / shares.sum(axis=-1, keepdims=True)


def asked(log):
    def lm(query):
        log.append(query)
        return biased(query)

    return lm


@every_method
def test_the_bias_is_taken_out(method):
    plain = classifier(None).fit(TEXTS)
    assert set(plain.predict(TEXTS)) == {"bad"}
    calibrated = classifier(method).fit(TEXTS)
    assert set(calibrated.predict(TEXTS)) == {"bad", "good"}
    assert calibrated.predict(["fun fun fun fun", "nothing here"]).tolist() == ["good", "bad"]


class TestFormulas:
    """q = p / prior, normalised, where the prior is a mean of normalised probabilities (PMI: the plain probability)."""

    def check(self, clf, prior):
        scores = np.array([biased(clf.template_.query(text, ["bad", "good"])) for text in TEXTS])
        wanted = normalised(scores) / prior
        assert np.allclose(clf.predict_proba(TEXTS), wanted / wanted.sum(axis=1, keepdims=True), atol=1e-12)

    def means(self, texts):
        template = Template(SOURCE)
        return normalised(np.array([biased(template.query(text, ["bad", "good"])) for text in texts])).mean(axis=0)

    def test_contextual(self):
        self.check(classifier("contextual").fit(), self.means(["N/A", "", "[MASK]"]))

    def test_batch(self):
        self.check(classifier(Batch("arithmetic")).fit(TEXTS[:4]), self.means(TEXTS[:4]))
        template = Template(SOURCE)
        shares = normalised(np.array([biased(template.query(text, ["bad", "good"])) for text in TEXTS[:4]]))
        self.check(classifier("batch").fit(TEXTS[:4]), np.exp(np.log(shares).mean(axis=0)))

    def test_transductive_batch(self):
        self.check(classifier(Batch("arithmetic", transductive=True)).fit(), self.means(TEXTS))

    def test_pmi(self):
        self.check(classifier("pmi").fit(), np.exp(np.array([-1.0, -4.0])))

    def test_domain_context(self):
        log = []
        clf = classifier("domain-context", lm=asked(log)).fit(TEXTS)
        texts = [query.prefix.removesuffix(" Mood: ").removesuffix(" Mood:") for query in log]
        vocabulary = {word for text in TEXTS for word in text.split()}
        assert len(texts) == 20
        size = round(np.mean([len(text.split()) for text in TEXTS]))
        assert all(len(text.split()) == size and set(text.split()) <= vocabulary for text in texts)
        self.check(clf, self.means(texts))


@every_method
def test_probes_are_scored_once_and_predictions_cost_one_call_a_text(method):
    log = []
    clf = classifier(method, lm=asked(log)).fit(TEXTS)
    wanted = {"Contextual": 3, "DomainContext": 20, "PMI": 1, "Batch": 0 if getattr(method, "transductive", 0) else 6}
    assert len(log) == wanted[type(method).__name__]
    log.clear()
    clf.predict(TEXTS)
    assert len(log) == len(TEXTS)


@every_method
def test_demonstrations_stand_before_the_probes_and_are_no_probes(method):
    log = []
    clf = classifier(method, lm=asked(log), shots=2).fit(TEXTS, MOODS)
    shown = [TEXTS[i] for i in clf.strategy_.demonstrations_]
    for query in log:
        context = "".join(turn.text for turn in query.context)
        assert all(text in context for text in shown)
        assert not any(query.prefix.startswith(text) for text in shown)


@every_method
def test_a_prediction_depends_on_its_neighbours_only_by_request(method):
    clf = classifier(method).fit(TEXTS)
    alone = np.vstack([clf.predict_proba([text]) for text in TEXTS])
    same = np.allclose(alone, clf.predict_proba(TEXTS))
    assert same == (not getattr(method, "transductive", False))


@every_method
def test_it_is_cloned_and_deterministic(method):
    clf = classifier(method)
    first, second = clone(clf).fit(TEXTS).predict_proba(TEXTS), clone(clf).fit(TEXTS).predict_proba(TEXTS)
    assert np.array_equal(first, second)
    assert not hasattr(method, "log_prior_")


def test_labels_choose_how_much_of_the_batch_prior_is_subtracted():
    fair = classifier("batch", lm=lambda query: np.log([5 / 6, 1 / 6])).fit(TEXTS, ["bad"] * 5 + ["good"])
    assert fair.strategy_.calibration_.strength_ == 0.0  # the bias is that of the labels
    even = classifier("batch").fit(TEXTS, MOODS)
    assert even.strategy_.calibration_.strength_ > 0.5
    assert classifier("batch").fit(TEXTS).strategy_.calibration_.strength_ == 1.0


def test_many_texts_are_sampled():
    log = []
    classifier(Batch(max_texts=10), lm=asked(log)).fit([f"text {i}" for i in range(50)])
    assert len({query.prefix for query in log}) == len(log) == 10


def test_several_fields_are_filled_each_from_its_own():
    log = []
    source = "{{ title }} | {{ body }} Mood: {{ label }}"
    rows = [{"title": "fun", "body": "a b c"}, {"title": "dull", "body": "d e f"}]
    classifier(DomainContext(5), source, asked(log)).fit(rows)
    for query in log:
        title, body = query.prefix.removesuffix(" Mood: ").split(" | ")
        assert title in {"fun", "dull"}
        assert len(body.split()) == 3
        assert set(body.split()) <= set("abcdef")
    log.clear()
    classifier("contextual", source, asked(log)).fit()
    assert log[0].prefix == "N/A | N/A Mood: "


@pytest.mark.parametrize("name", ["domain-context", "batch", "auto"])
def test_a_row_that_does_not_fill_the_template_is_named(name):
    rows = [{"title": "fun", "body": "a"}, {"title": "dull"}]
    with pytest.raises(TemplateError, match="Row 1: 'body' is undefined"):
        classifier(name, "{{ title }} | {{ body }} Mood: {{ label }}").fit(rows)


class TestLearned:
    def fit(self, X=TEXTS, y=MOODS, **params):
        return classifier("learned", **params).fit(X, y)

    def test_the_map_is_the_regularised_regression_on_batch_calibrated_scores(self):
        clf = self.fit()
        head = clf.strategy_.calibration_.head_
        batch = classifier("batch").fit(TEXTS).predict_log_proba(TEXTS)
        features = batch - batch.mean(axis=1, keepdims=True)
        logits = features @ head.coef_.T + head.intercept_
        wanted = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        np.testing.assert_allclose(clf.predict_log_proba(TEXTS), wanted, atol=1e-9)
        assert clf.predict(TEXTS).tolist() == MOODS

    def test_a_single_text_of_a_class_leaves_it_at_batch(self):
        X, y = TEXTS[:4], ["good", "bad", "bad", "bad"]
        clf, batch = self.fit(X, y), classifier("batch").fit(X)
        assert clf.strategy_.calibration_.head_ is None
        np.testing.assert_allclose(clf.predict_proba(TEXTS), batch.predict_proba(TEXTS))

    def test_it_needs_labels(self):
        with pytest.raises(InputError, match="Learned needs labels"):
            classifier("learned").fit(TEXTS)
        with pytest.raises(InputError, match="besides the demonstrations, and there are none"):
            self.fit(shots=6)

    def test_one_call_a_labelled_text(self):
        log = []
        self.fit(lm=asked(log))
        assert len(log) == len(TEXTS)


class TestTemperature:
    def test_it_has_the_lowest_penalised_loss_and_leaves_the_classes(self):
        raw = classifier(None).fit(TEXTS, MOODS).predict_log_proba(TEXTS)
        targets = np.array([["bad", "good"].index(name) for name in MOODS])
        clf = classifier("temperature").fit(TEXTS, MOODS)
        found = clf.strategy_.calibration_.temperature_

        def loss(temperature):
            scaled = np.log(normalised(raw / temperature))
            return -scaled[np.arange(len(targets)), targets].sum() + np.log(temperature) ** 2 / 2

        assert all(loss(found) < loss(found * factor) for factor in (0.5, 0.99, 1.01, 2.0))
        np.testing.assert_allclose(clf.predict_proba(TEXTS), normalised(raw / found), atol=1e-12)
        assert (clf.predict_proba(TEXTS).argmax(axis=1) == raw.argmax(axis=1)).all()

    def test_what_is_always_right_is_not_made_infinitely_sure(self):
        def right(query):
            return np.log([0.4, 0.6] if "fun" in query.prefix else [0.6, 0.4])

        few = classifier("temperature", lm=right).fit(TEXTS, MOODS).strategy_.calibration_.temperature_
        many = classifier("temperature", lm=right).fit(TEXTS * 50, MOODS * 50).strategy_.calibration_.temperature_
        assert 0.01 < many < few < 1

    def test_of_two_minima_the_lower_is_found(self):
        def hardly(query):
            return [0.0, 1e-3 if "fun" in query.prefix else -1e-3]

        clf = classifier("temperature", lm=hardly).fit(TEXTS * 10, MOODS * 10)
        found = clf.strategy_.calibration_.temperature_
        raw = np.array([hardly(Template(SOURCE).query(text, ["bad", "good"])) for text in TEXTS * 10])
        targets = np.array([["bad", "good"].index(name) for name in MOODS * 10])

        def loss(temperature):
            scaled = np.log(normalised(raw / temperature))
            return -scaled[np.arange(len(targets)), targets].sum() + np.log(temperature) ** 2 / 2

        assert loss(1.0) < min(loss(1.5), loss(0.5))  # here a search from 1 would end
        assert loss(found) <= min(map(loss, np.exp(np.arange(-12, 12, 0.01)))) + 1e-6

    def test_an_impossible_class_is_borne(self):
        def sure(query):
            return np.log([1.0, 1e-300]) if "fun" in query.prefix else np.array([0.0, -np.inf])

        clf = classifier("temperature", lm=sure).fit(TEXTS, MOODS)
        assert np.isfinite(clf.strategy_.calibration_.temperature_)
        assert clf.strategy_.calibration_.temperature_ > 1

    def test_it_needs_labels(self):
        with pytest.raises(InputError, match="Temperature needs labels"):
            classifier("temperature").fit(TEXTS)
        with pytest.raises(InputError, match="besides the demonstrations, and there are none"):
            classifier("temperature", shots=6).fit(TEXTS, MOODS)


class TestBestOf:
    def test_the_lowest_held_out_loss_wins(self):
        best = classifier("auto").fit(TEXTS, MOODS).strategy_.calibration_
        assert set(best.losses_) == {"none", "contextual", "domain-context", "pmi", "batch", "learned"}
        name = min(best.losses_, key=best.losses_.get)
        assert type(best.chosen_) is type(as_prior(name))
        fixed = classifier(name).fit(TEXTS, MOODS)
        np.testing.assert_allclose(
            classifier("auto").fit(TEXTS, MOODS).predict_proba(TEXTS), fixed.predict_proba(TEXTS)
        )

    def test_scores_that_are_right_are_left_alone(self):
        def sure(query):
            fun = "fun" in query.prefix
            return np.log([1e-6, 1 - 1e-6] if fun else [1 - 1e-6, 1e-6])

        best = classifier("auto", lm=sure).fit(TEXTS * 3, MOODS * 3).strategy_.calibration_
        assert best.losses_["none"] < 1e-5
        assert best.chosen_ is None
        assert classifier("auto", lm=sure).fit(TEXTS, MOODS).predict(TEXTS).tolist() == MOODS

    def test_the_held_out_loss_of_batch_by_hand(self):
        from sklearn.model_selection import StratifiedKFold

        targets = np.array([["bad", "good"].index(name) for name in MOODS])
        scores = np.array([biased(Template(SOURCE).query(text, ["bad", "good"])) for text in TEXTS])
        losses = np.empty(len(TEXTS))
        for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(scores, targets):
            fitted = Batch().fit(scores[train], targets[train], lambda words, rows: words)
            p = normalised(fitted.transform(scores[test]))
            losses[test] = -np.log(p[np.arange(len(test)), targets[test]])
        best = classifier("auto").fit(TEXTS, MOODS).strategy_.calibration_
        assert best.losses_["batch"] == pytest.approx(losses.mean())

    def test_without_labels_it_is_batch_and_without_texts_contextual(self):
        texts = classifier("auto").fit(TEXTS)
        assert isinstance(texts.strategy_.calibration_.chosen_, Batch)
        np.testing.assert_allclose(texts.predict_proba(TEXTS), classifier("batch").fit(TEXTS).predict_proba(TEXTS))
        bare = classifier("auto").fit()
        np.testing.assert_allclose(bare.predict_proba(TEXTS), classifier("contextual").fit().predict_proba(TEXTS))
        few = classifier("auto").fit(TEXTS[:2], MOODS[:2])
        assert isinstance(few.strategy_.calibration_.chosen_, Batch)

    def test_every_probe_is_scored_once(self):
        log = []
        classifier("auto", lm=asked(log)).fit(TEXTS, MOODS)
        assert len(log) == len(set(log))
        random = len(log) - len(TEXTS) - 3 - 1  # of 20 texts of random words, some may be the same
        assert 0 < random <= 20

    def test_demonstrations_may_use_up_all_rows(self):
        clf = classifier("auto", shots=6).fit(TEXTS, MOODS)
        assert isinstance(clf.strategy_.calibration_.chosen_, Contextual)


def test_by_name():
    assert isinstance(as_prior("learned"), Learned)
    assert isinstance(as_prior("auto"), BestOf)


class TestBadInput:
    def test_an_unknown_mean(self):
        with pytest.raises(InputError, match="mean must be 'geometric' or 'arithmetic'"):
            classifier(Batch("harmonic")).fit(TEXTS)

    @pytest.mark.parametrize("name", ["domain-context", "batch"])
    def test_no_texts_to_learn_from(self, name):
        with pytest.raises(InputError, match=r"from the texts of fit.*calibration='contextual'"):
            classifier(name).fit()

    def test_every_row_is_a_demonstration(self):
        with pytest.raises(InputError, match="besides the demonstrations, and there are none"):
            classifier("batch", shots=6).fit(TEXTS, MOODS)

    def test_no_premise(self):
        with pytest.raises(InputError, match=r"has no domain_premise: write it into the front matter"):
            classifier("pmi", "{{ text }} Mood: {{ label }}").fit()

    def test_a_premise_of_ones_own(self):
        clf = classifier(PMI("Mood:"), "{{ text }} Mood: {{ label }}").fit()
        assert clf.predict(["fun fun"]).tolist() == ["good"]

    def test_an_entailment_model_has_no_prompt_without_its_text(self):
        clf = Classifier(
            FakeLM(biased, kind="entailment"), Template(SOURCE), ["bad", "good"], Prompting(calibration="pmi")
        )
        with pytest.raises(UnsupportedError, match="entailment model has no prompt without its text"):
            clf.fit(None, ["bad", "good"])

    def test_a_generated_answer(self):
        with pytest.raises(UnsupportedError, match="no scores to calibrate"):
            classifier("contextual", read="generate").fit()

    @pytest.mark.parametrize("bad", ["context", 3, Batch, HashEncoder()], ids=repr)
    def test_not_a_calibration(self, bad):
        with pytest.raises(InputError, match=r"calibration must be one of 'contextual', 'domain-context', 'pmi'"):
            as_prior(bad)

    def test_nothing_to_ask(self):
        with pytest.raises(InputError, match=r"texts of Contextual must be a list of .* Got 'N/A'"):
            classifier(Contextual("N/A")).fit()
        with pytest.raises(InputError, match="at least one content-free text"):
            classifier(Contextual(())).fit()
        with pytest.raises(InputError, match="n_texts must be at least 1"):
            classifier(DomainContext(0)).fit(TEXTS)
