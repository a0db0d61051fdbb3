"""The session of labelling: what is next, what is said of it, what is taken back, and what is learned meanwhile."""

from __future__ import annotations

import hashlib
import threading
from itertools import count

import pytest

from fewshot import Classifier, Embedding, InputError, Prompting, Readout
from fewshot.datasets import load_tickets
from fewshot.labelling.picking import Pick
from fewshot.pages import learner as learning
from fewshot.pages.label_page import label_page
from fewshot.pages.labelling import Session
from fewshot.pages.labels_file import LabelsFile
from fewshot.pages.learner import Learned
from tests.contract import HashEncoder
from tests.labelled import CLASSES, session

TEXTS = [f"text {i}" for i in range(40)]


def drawn(texts):
    """The order in which texts are drawn: that of their hashes."""
    return sorted(range(len(texts)), key=lambda i: hashlib.sha256(repr(texts[i]).encode()).digest())


class Stub:
    """A learner that does nothing but what it is told."""

    def __init__(self):
        self.latest, self.busy, self.asked = Learned(), False, []

    def ask(self, classes, labels, without, soon):
        self.asked.append((list(classes), dict(labels), set(without), list(soon)))

    def close(self):
        pass


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def made(tmp_path, stub):
    made = Session(TEXTS, ["a", "b"], LabelsFile(tmp_path / "labels.csv", TEXTS), stub)
    yield made
    made.close()


def test_texts_come_in_a_drawn_order_until_some_are_chosen(made, stub):
    rows = []
    state = made.state("tab")
    for _ in range(3):
        rows.append(state["row"])
        assert "not been compared" in state["reason"]
        state = made.label("tab", state["row"], "a")
    assert rows == drawn(TEXTS)[:3]
    later = drawn(TEXTS)[30:32]
    stub.latest = Learned(3, [Pick(later[0], "why"), Pick(later[1], "because")], {later[1]: [("b", 0.75), ("a", 0.25)]})
    state = made.label("tab", state["row"], "b")
    assert "one in five" in state["reason"]  # the fifth is by chance
    state = made.label("tab", state["row"], "b")
    assert (state["row"], state["reason"], state["guess"]) == (later[0], "Chosen. Why.", None)
    state = made.label("tab", later[0], "b")
    assert (state["row"], state["guess"]) == (later[1], [("b", 0.75), ("a", 0.25)])


def test_the_first_guess_stays_while_a_text_is_shown(made, stub):
    row = made.state("tab")["row"]
    stub.latest = Learned(0, (), {row: [("a", 0.6), ("b", 0.4)]})
    assert made.state("tab")["guess"][0] == ("a", 0.6)
    stub.latest = Learned(5, (), {row: [("b", 0.9), ("a", 0.1)]})
    assert made.state("tab")["guess"][0] == ("a", 0.6)


def test_the_accuracy_is_of_guesses_before_the_label_on_a_random_sample(made, stub):
    stub.latest = Learned(0, (), {row: [("a", 0.6), ("b", 0.4)] for row in range(40)})
    for i in range(10):
        made.label("tab", made.state("tab")["row"], "ab"[i >= 8])
    found = made.state("tab")["accuracy"]
    assert (found["right"], found["n"], found["share"]) == (8, 10, 0.8)
    # Wilson 1927: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    assert (round(found["low"], 3), round(found["high"], 3)) == (0.490, 0.943)
    order = drawn(TEXTS)
    stub.latest = stub.latest._replace(picks=[Pick(row, "hard") for row in (order[11], order[12], order[39])])
    for _ in range(4):  # the first of them was shown before any was chosen
        made.label("tab", made.state("tab")["row"], "b")
    assert made.state("tab")["accuracy"]["n"] == 11
    assert made.state("tab")["chosen"] == (0, 3)
    made.label("tab", made.state("tab")["row"], "b")  # by chance, and those before it are in the sample now
    assert [i for i, row in enumerate(order) if made.labels()[row]] == [*range(14), 39]
    assert made.state("tab")["accuracy"]["n"] == 14
    assert made.state("tab")["chosen"] == (0, 1)


def test_it_learns_after_every_five_and_at_once_from_a_new_class(made, stub):
    assert len(stub.asked) == 1
    for _ in range(4):
        made.label("tab", made.state("tab")["row"], "a")
    assert len(stub.asked) == 1
    made.label("tab", made.state("tab")["row"], "b")
    assert sorted(stub.asked[1][1].values()) == ["a", "a", "a", "a", "b"]
    made.skip("tab", row := made.state("tab")["row"])
    made.label("tab", made.state("tab")["row"], " new one ", new=True)
    assert stub.asked[2][0] == ["a", "b", "new one"]
    assert stub.asked[2][2] == {row}
    assert len(stub.asked) == 3


def test_what_is_taken_back_is_as_before_and_shown_next(made):
    first = made.state("tab")["row"]
    state = made.label("tab", first, "a")
    made.label("tab", first, "b")
    state = made.skip("tab", state["row"], none=True)
    assert (state["none"], state["last"]["said"]) == (1, "none of these")
    state = made.undo("tab", state["last"]["act"])
    assert (state["none"], state["labelled"]) == (0, 1)
    state = made.undo("tab", state["last"]["act"])
    assert (state["row"], made.labels()[first]) == (first, "a")
    assert made.state("tab")["row"] == first  # it stays, with the label that it had
    state = made.undo("tab", state["last"]["act"])
    assert (state["row"], state["labelled"], state["last"]) == (first, 0, None)
    assert made.labels() == [None] * 40


def test_two_tabs_get_two_texts_and_lose_nothing(made):
    one, two = made.state("one")["row"], made.state("two")["row"]
    assert one != two
    mine = made.label("one", one, "a")["last"]["act"]
    state = made.label("two", one, "b")  # which two has not shown: the later one counts, and it is said
    assert (made.labels()[one], state["note"]) == ("b", f"Row {one} was a in another tab, and is b now.")
    with pytest.raises(InputError, match="taken back or changed already"):
        made.undo("one", mine)
    state = made.undo("two", state["last"]["act"])
    assert made.labels()[one] == "a"
    made.undo("one", mine)
    with pytest.raises(InputError, match="taken back or changed already"):
        made.undo("one", mine)
    assert made.labels() == [None] * 40


def test_the_last_text_is_shown_in_both_tabs(tmp_path, stub):
    made = Session(["x", "y", "x"], ["a"], LabelsFile(tmp_path / "l.csv", ["x", "y", "x"]), stub)
    assert {made.state("one")["row"], made.state("two")["row"]} in ({0, 1}, {1})
    made.label("one", made.state("one")["row"], "a")
    assert made.state("one")["row"] == made.state("two")["row"] is not None
    made.label("one", made.state("one")["row"], "a")
    assert made.state("two")["row"] is None
    assert (made.state("two")["texts"], made.state("two")["labelled"]) == (2, 2)  # equal texts are asked once
    made.close()


def test_what_was_skipped_can_be_asked_again(made):
    for _ in TEXTS:
        state = made.skip("tab", made.state("tab")["row"], none=made.state("tab")["row"] == 3)
    assert (state["row"], state["skipped"], state["none"]) == (None, 39, 1)
    state = made.again("tab")
    assert (state["skipped"], state["none"], state["row"] not in (None, 3)) == (0, 1, True)


def test_another_session_goes_on_where_one_was(tmp_path, stub):
    path = tmp_path / "labels.csv"
    rows = []
    for labels in (["a", "new"], ["a", "b"]):
        made = Session(TEXTS, ["a", "b"], LabelsFile(path, TEXTS), stub)
        assert made.state("tab")["labelled"] == len(rows)
        for name in labels:
            rows.append(made.state("tab")["row"])
            made.label("tab", rows[-1], name, new=True)
        made.close()
    made = Session(TEXTS, ["a", "b"], LabelsFile(path, TEXTS), stub)
    assert made.classes == ["a", "b", "new"]
    state = made.undo("tab", made.state("tab")["last"]["act"])
    assert (state["row"], state["labelled"]) == (rows[-1], 3)
    made.close()


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("label", {"row": 0, "label": "c"}, "There is no class 'c'"),
        ("label", {"row": 40, "label": "a"}, "There is no row 40"),
        ("label", {"row": -1, "label": "a"}, "There is no row -1"),
        ("label", {"row": "0", "label": "a"}, "'row' must be a whole number. Got '0'"),
        ("label", {"row": True, "label": "a"}, "'row' must be a whole number"),
        ("label", {"row": 0}, "'label' must be text. Got None"),
        ("label", {"row": 0, "label": "  ", "new": True}, "a name of at most 100"),
        ("label", {"row": 0, "label": "x\ny", "new": True}, "printable"),
        ("label", {"row": 0, "label": "x" * 101, "new": True}, "at most 100"),
        ("undo", {"act": 5}, "taken back or changed already"),
        ("state", {"tab": 5}, "'tab' must be text"),
    ],
)
def test_what_can_not_be_meant_is_refused(made, monkeypatch, name, said, message):
    calls = {}
    monkeypatch.setattr("fewshot.pages.label_page.page_application", lambda _, given: calls.update(given))
    label_page(made)
    with pytest.raises(InputError, match=message):
        calls[name]({"tab": "tab", **said})
    assert made.labels() == [None] * 40


# learning


def test_a_classifier_learns_in_the_background_and_chooses(tmp_path):
    texts, labels = load_tickets()
    with session(tmp_path / "labels.csv", texts, sorted(set(labels))) as made:
        learner = made._learner
        assert learner.wait()
        assert (learner.latest.n_labels, learner.latest.error) == (0, "")
        state = made.state("tab")
        for _ in range(10):
            state = made.label("tab", state["row"], labels[state["row"]])
        assert learner.wait()
        assert learner.latest.n_labels == 10
        given = {i for i, one in enumerate(made.labels()) if one is not None}
        assert len(learner.latest.picks) == 30
        assert not given & {pick.row for pick in learner.latest.picks}
        for pick in learner.latest.picks:
            assert abs(sum(share for _, share in learner.latest.guesses[pick.row]) - 1) < 1e-6


def test_what_can_not_be_learned_is_said_and_loses_no_label(tmp_path, monkeypatch, caplog):
    with session(tmp_path / "labels.csv", TEXTS) as made:
        assert made._learner.wait()
        monkeypatch.setattr(learning, "next_to_label", lambda *_, **__: 1 / 0)
        for i in range(5):
            state = made.label("tab", made.state("tab")["row"], CLASSES[i % 2])
        assert made._learner.wait()
        state = made.state("tab")
        assert (state["error"], state["labelled"]) == ("ZeroDivisionError: division by zero", 5)
        monkeypatch.undo()
        for i in range(5):
            state = made.label("tab", state["row"], CLASSES[i % 2])
        assert made._learner.wait()
        assert made.state("tab")["error"] == ""
    assert "ZeroDivisionError" in caplog.text


def test_nobody_waits_and_the_newest_labels_win(tmp_path, monkeypatch):
    begun, go_on, fits = threading.Event(), threading.Event(), []
    real = Classifier.fit

    def slow(self, X=None, y=None):
        fits.append(0 if y is None else len(y))
        begun.set()
        assert go_on.wait(30)
        return real(self, X, y)

    monkeypatch.setattr(Classifier, "fit", slow)
    with session(tmp_path / "labels.csv", TEXTS) as made:
        assert begun.wait(30)
        for i in range(20):  # four lessons are asked for while the first is at work
            made.label("tab", made.state("tab")["row"], CLASSES[i % 2])
        assert made.state("tab")["learning"]
        go_on.set()
        assert made._learner.wait()
        assert fits == [0, 20]


def test_the_strategy_is_one_of_seconds_unless_one_is_given():
    classes = ["bug_report", "b"]
    made = learning._unfitted(Classifier(), HashEncoder(), classes, learns=True)
    assert isinstance(made.strategy, Embedding)
    assert made.verbalizer == {"bug_report": "bug report", "b": "b"}
    from fewshot import FakeLM

    lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
    kinds = [type(learning._unfitted(Classifier(), lm, classes, learns=one).strategy) for one in (False, True)]
    assert kinds == [Prompting, Readout]
    asked = Classifier(template="sst2/it_was", strategy=Prompting(shots=2))
    made = learning._unfitted(asked, lm, ["positive", "negative", "neutral"], learns=True)
    assert repr(made.strategy) == repr(Prompting(shots=2))
    assert made.verbalizer["neutral"] == "neutral"
    assert made.verbalizer["positive"] != "positive"  # the template's own word


def test_a_file_without_any_class_needs_one(tmp_path):
    with pytest.raises(InputError, match="at least one class"), session(tmp_path / "labels.csv", TEXTS, []):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_threads_lose_nothing(made):
    numbers = count()

    def work(tab):
        for _ in range(10):
            state = made.state(tab)
            if state["row"] is not None:
                made.label(tab, state["row"], "a")
            next(numbers)

    threads = [threading.Thread(target=work, args=(f"tab {i}",)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert made.labels() == ["a"] * 40
    assert next(numbers) == 40
