"""Choosing and combining templates."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import (
    Classifier,
    FakeLM,
    InputError,
    Prompting,
    Template,
    TemplateError,
    UnsupportedError,
    select_template,
)
from fewshot.strategies.comparison import mutual_information

MOODS = {"bad": "bad", "good": "good"}
X = ["a fun day", "so dull", "fun fun fun", "it rained", "quite dull and grey", "fun to see"]
Y = ["good", "bad", "good", "bad", "bad", "good"]
CLEAR, BLIND, WRONG = "{{ text }} Mood: {{ label }}", "{{ text }} Colour: {{ label }}", "{{ text }} Not: {{ label }}"


def lm_of_wordings(query):
    """Reads the text only where the template asks for the mood; asked what it is not, it says the contrary."""
    text, _, asked = query.prefix.rpartition(" ")[0].rpartition(" ")
    strength = {"Mood:": 2.0, "Not:": -1.0}.get(asked, 0.0)
    return [strength * (text.count("fun") - 0.5) * (1 if word == "good" else -1) for word in query.candidates]


def ranked(templates, y=Y, **params):
    return select_template(templates, X, y, model=FakeLM(lm_of_wordings), verbalizer=MOODS, **params)


class TestSelectTemplate:
    def test_by_log_loss_with_labels(self):
        ranking = ranked([WRONG, BLIND, CLEAR])
        assert [one.source for one in ranking.templates] == [CLEAR, BLIND, WRONG]
        assert ranking.best.source == CLEAR
        assert ranking.by == "log loss"
        assert ranking.values[1] == pytest.approx(np.log(2))
        assert ranking.values == tuple(sorted(ranking.values))
        clf = Classifier(FakeLM(lm_of_wordings), CLEAR, MOODS, Prompting()).fit()
        columns = [["bad", "good"].index(name) for name in Y]
        loss = -clf.predict_log_proba(X)[np.arange(len(X)), columns].mean()
        assert ranking.values[0] == pytest.approx(loss)

    def test_by_mutual_information_without(self):
        ranking = ranked([BLIND, CLEAR], y=None)
        assert ranking.best.source == CLEAR
        assert ranking.by == "mutual information"
        assert ranking.values[1] == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("y", [Y, None], ids=["log loss", "mutual information"])
    def test_the_errors_are_those_of_the_differences_over_texts(self, y):
        ranking = ranked([WRONG, CLEAR, BLIND], y)
        assert ranking.errors[0] == 0
        proba = {}
        for one in ranking.templates:
            proba[one] = Classifier(FakeLM(lm_of_wordings), one, MOODS, Prompting()).fit().predict_proba(X)
        columns = [["bad", "good"].index(name) for name in Y]
        parts = [
            -np.log(p[np.arange(len(X)), columns]) if y else (p * np.log(p / p.mean(axis=0))).sum(axis=1)
            for p in proba.values()
        ]
        for part, value, error in zip(parts, ranking.values, ranking.errors, strict=True):
            assert value == pytest.approx(part.mean())
            assert error == pytest.approx((part - parts[0]).std() / np.sqrt(len(X)))

    def test_a_certain_prediction_has_a_finite_mutual_information(self):
        sure = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
        assert mutual_information(sure) == pytest.approx(np.log(2))

    def test_it_prints_a_table(self):
        lines = str(ranked([CLEAR, Template(BLIND, name="blind")])).splitlines()
        assert lines[0].split() == ["template", "log", "loss"]
        assert lines[2].split() == ["blind", "0.693"]

    def test_a_strategy_that_learns_is_held_out(self):
        ranking = ranked([CLEAR, BLIND], strategy=Prompting(calibration="batch"), random_state=1)
        assert ranking.best.source == CLEAR

    def test_integer_classes(self):
        words = {0: "bad", 1: "good"}
        ranking = select_template(
            [CLEAR], X, [int(y == "good") for y in Y], model=FakeLM(lm_of_wordings), verbalizer=words
        )
        assert ranking.values[0] < np.log(2)

    def test_bad_input(self):
        with pytest.raises(InputError, match="no template to choose"):
            ranked([])
        with pytest.raises(InputError, match="a class has a single labelled row"):
            select_template([CLEAR], X[:3], Y[:3], model=FakeLM(lm_of_wordings), verbalizer=MOODS)
        with pytest.raises(
            InputError, match=r"template must be the text of a template, .*, a Template or a question\. Got int"
        ):
            ranked([3])

    def test_mutual_information_against_its_definition(self):
        p = np.random.RandomState(0).dirichlet(np.ones(4), size=9)
        joint = p / len(p)  # of text and class
        wanted = (joint * np.log(joint / (joint.sum(0) * joint.sum(1, keepdims=True)))).sum()
        assert mutual_information(np.log(p)) == pytest.approx(wanted)


class TestEnsembles:
    def fit(self, templates, y=None, verbalizer=MOODS, **params):
        clf = Classifier(FakeLM(lm_of_wordings), templates, verbalizer, Prompting(**params), random_state=0)
        return clf.fit(X, y) if y is not None or params else clf.fit()

    def test_log_scores_are_averaged(self):
        each = [self.fit(one).predict_log_proba(X) for one in (CLEAR, BLIND, WRONG)]
        mean = np.mean(each, axis=0)
        mean -= np.logaddexp.reduce(mean, axis=1, keepdims=True)
        np.testing.assert_allclose(self.fit([CLEAR, BLIND, WRONG]).predict_log_proba(X), mean)
        np.testing.assert_allclose(self.fit((CLEAR,)).predict_log_proba(X), each[0])

    def test_learnt_weights_prefer_what_is_right(self):
        clf = self.fit([WRONG, CLEAR, BLIND], Y, ensemble="learned")
        weights = clf.strategy_.weights_
        assert weights.sum() == pytest.approx(1)
        assert weights.argmax() == 1
        assert (weights > 0).all()

    def test_learnt_weights_minimise_the_penalised_loss(self):
        clf = self.fit([WRONG, CLEAR], Y, ensemble="learned")
        scores = np.stack([self.fit(one).predict_log_proba(X) for one in (WRONG, CLEAR)])
        columns = [["bad", "good"].index(name) for name in Y]

        def loss(share):
            free = np.log([share, 1 - share])
            free -= free.mean()
            pooled = share * scores[0] + (1 - share) * scores[1]
            pooled -= np.logaddexp.reduce(pooled, axis=1, keepdims=True)
            return free @ free / 2 - pooled[np.arange(len(X)), columns].sum()

        grid = np.linspace(0.001, 0.999, 999)
        assert clf.strategy_.weights_[0] == pytest.approx(grid[np.argmin([loss(one) for one in grid])], abs=2e-3)

    def test_templates_bring_their_own_words(self):
        words = [
            "---\nwords: {bad: awful, good: lovely}\n---\n" + CLEAR,
            "---\nwords: {bad: poor, good: fine}\n---\n" + CLEAR,
        ]
        asked = []
        lm = FakeLM(lambda query: asked.append(query.candidates) or [0.0, 0.0])
        clf = Classifier(lm, words, strategy=Prompting()).fit()
        clf.predict(X[:1])
        assert asked == [("awful", "lovely"), ("poor", "fine")]
        assert clf.classes_.tolist() == ["bad", "good"]

    def test_each_wording_has_its_own_calibration(self):
        clf = self.fit([CLEAR, WRONG], calibration="batch")
        first, second = clf.strategy_.calibration_
        assert not np.allclose(first.log_prior_, second.log_prior_)

    def test_bad_input(self):
        with pytest.raises(InputError, match="template is an empty list"):
            self.fit([])
        with pytest.raises(InputError, match="templates are for different classes"):
            Classifier(FakeLM(lm_of_wordings), ["sst2/it_was", "ag_news/news"]).fit()
        with pytest.raises(ValueError, match=r"ensemble must be 'mean' or 'learned'\. Got 'vote'"):
            self.fit([CLEAR], Y, ensemble="vote")
        with pytest.raises(InputError, match="ensemble='learned' weighs the templates on labelled rows"):
            self.fit([CLEAR, BLIND], None, ensemble="learned")
        with pytest.raises(InputError, match="needs labelled rows besides the demonstrations"):
            self.fit([CLEAR, BLIND], Y, ensemble="learned", shots=6)
        with pytest.raises(UnsupportedError, match="asks in one wording, and there are 2 templates"):
            self.fit([CLEAR, BLIND], Y, read="generate")


class TestEachLabel:
    """Several labels a text: one yes-or-no question for each label."""

    SOURCE = "{{ text }}\nIs it about {{ candidate }}? {{ label }}"

    def clf(self, lm, template=None, **params):
        import pandas as pd

        y = pd.DataFrame({"rain": [1, 0, 1], "sun": [0, 1, 1]})
        return Classifier(lm, template or self.SOURCE, strategy=Prompting(**params)).fit(
            ["rain", "sun", "rain and sun"], y
        )

    def lm(self, asked):
        def f(query):
            asked.append(query)
            text, _, question = query.prefix.partition("\nIs it about ")
            yes = question.split("?")[0] in text
            return [-3.0 if yes else -1.0, -1.5]  # no, yes

        return FakeLM(f)

    def test_the_answer_is_the_log_odds_of_yes(self):
        asked = []
        clf = self.clf(self.lm(asked))
        assert not asked
        odds = clf.decision_function(["rain in May", "sun and rain", "fog"])
        np.testing.assert_allclose(odds, [[1.5, -0.5], [1.5, 1.5], [-0.5, -0.5]])
        assert [query.candidates for query in asked] == [("no", "yes")] * 6
        assert clf.predict(["rain", "fog"]).tolist() == [[1, 0], [0, 0]]
        np.testing.assert_allclose(clf.predict_proba(["fog"]), 1 / (1 + np.exp(0.5)))

    def test_several_words_of_a_label_are_averaged(self):
        from fewshot import Verbalizer

        lm = self.lm([])
        words = Verbalizer({"rain": ["rain", "drizzle"], "sun": "sun"}, multi_label=True)
        clf = Classifier(lm, self.SOURCE, words, Prompting()).fit()
        np.testing.assert_allclose(clf.decision_function(["rain"]), [[0.5, -0.5]])

    def test_an_entailment_model_says_the_odds_of_entailment(self):
        lm = FakeLM(lambda query: [np.log(0.9), np.log(0.2)], kind="entailment")
        clf = self.clf(lm, "{{ text }}\n\nIt is about {{ label }}.")
        np.testing.assert_allclose(clf.predict_proba(["x"]), [[0.9, 0.2]])

    def test_the_generic_templates_serve_every_kind(self):
        import pandas as pd

        y = pd.DataFrame({"rain": [1, 0], "sun": [0, 1]})
        for kind in ("causal", "masked", "seq2seq", "entailment"):
            lm = FakeLM(lambda query: [-1.0, -0.5], kind=kind)
            clf = Classifier(lm).fit(["a", "b"], y)
            assert clf.predict_proba(["rain"]).shape == (1, 2)
            assert "rain" in str(clf.preview(["It may rain."])) or kind == "entailment"
            if kind != "entailment":
                assert clf.strategy_.chosen_.each_label_.asking.task.verbalizer.candidates == ("No", "Yes")

    def test_rows_with_fields(self):
        template = "{{ title }}: {{ body }}\nIs it about {{ candidate }}? {{ label }}"
        import pandas as pd

        y = pd.DataFrame({"rain": [1, 0], "sun": [0, 1]})
        rows = pd.DataFrame({"title": ["rain", "sun"], "body": ["today", "soon"]})
        clf = Classifier(self.lm([]), template, strategy=Prompting()).fit(rows, y)
        assert clf.predict(rows).tolist() == [[1, 0], [0, 1]]

    def test_bad_input(self):
        with pytest.raises(TemplateError, match=r"needs the field \{\{ candidate \}\}"):
            self.clf(self.lm([]), "{{ text }} {{ label }}")
        for params in ({"shots": 2}, {"calibration": "batch"}, {"read": "generate"}):
            with pytest.raises(UnsupportedError, match="leave shots, calibration and read at their defaults"):
                self.clf(self.lm([]), **params)
        with pytest.raises(UnsupportedError, match="yes and no are asked for"):
            self.clf(self.lm([])).label_mass(["x"])
        with pytest.raises(TemplateError, match="'answers' must be words for no and yes"):
            Template("---\nanswers: [No, Yes]\n---\n" + self.SOURCE)
