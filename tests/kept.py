"""Classifiers of every kind, to be kept and loaded again; run as a script, it loads what a test kept.

    python -m tests.kept FOLDER

compares the classifiers in the folder with the probabilities beside them, in a process that never saw them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fewshot import (
    Auto,
    AutomaticVerbalizer,
    Channel,
    Classifier,
    ConformalClassifier,
    Distillation,
    Embedding,
    FakeLM,
    FineTuning,
    LabelPriorLogisticRegression,
    LoRA,
    Prompting,
    Readout,
    Template,
    Verbalizer,
    load,
)
from fewshot.calibration import PMI, Batch, BestOf, Contextual
from fewshot.demonstrations import MMR, First, Nearest, Random, Stratified
from fewshot.persistence import folder as folders
from tests.contract import CASES, NEEDS_LABELS, NEW, TEXTS, HashEncoder, data, keyword_lm, letters

REVIEW = "{{ text }} It is about {{ label }}."
PAIRS = [{"title": f"Message {i}", "body": text} for i, text in enumerate(data(3)[0])]
KD_TREE = ("sklearn.metrics._dist_metrics.EuclideanDistance64", "sklearn.neighbors._kd_tree.KDTree")


def indicator() -> Any:
    """Each text with its class, and every third with the last class as well."""
    labels = data(3)[1]
    matrix = np.array([[name == label for name in TEXTS] for label in labels], dtype=np.int64)
    matrix[::3, 2] = 1
    return matrix


def impossible(query: Any) -> list[float]:
    """Scores with a word that can't be."""
    return [-np.inf if "bug" in word else float(len(query.prefix) % 7) for word in query.candidates]


@dataclass(frozen=True)
class Case:
    """A classifier, what it is fitted on, what it is asked, and the types that have to be trusted."""

    make: Callable[[], Any]
    fit: Callable[[], tuple[Any, Any]] = lambda: data(3)
    ask: Any = tuple(NEW)
    trusted: tuple[str, ...] = ()

    def fitted(self) -> Any:
        return self.make().fit(*self.fit())

    def given(self) -> list[Any]:
        """The models that are not kept."""
        return given_to(self.make())


def given_to(clf: Any) -> list[Any]:
    """The models of a classifier that it is not kept with."""
    clf = clf.classifier if isinstance(clf, ConformalClassifier) else clf
    clf = clf.estimator if isinstance(clf, FrozenEstimator) else clf
    found = (clf.model, getattr(clf.strategy, "encoder", None))
    return [one for one in found if isinstance(one, FakeLM | HashEncoder)]


def asked(strategy: Any, model: Any = None, **params: Any) -> Callable[[], Classifier]:
    made = {"random_state": 0, **params}
    return lambda: Classifier(
        model() if model else keyword_lm(),
        made.get("template", REVIEW),
        strategy=strategy(),
        **{key: value for key, value in made.items() if key != "template"},
    )


def shown(**params: Any) -> Callable[[], Classifier]:
    return asked(lambda: Prompting(4, encoder=HashEncoder(), **params))


def embedded(*args: Any, **params: Any) -> Callable[[], Classifier]:
    return asked(lambda: Embedding(*args, **params), HashEncoder)


def conformal() -> ConformalClassifier:
    clf = asked(Prompting)().fit(None, list(TEXTS))
    return ConformalClassifier(FrozenEstimator(clf), alpha=0.2)


LIGHT: dict[str, Case] = {
    **{f"contract {name}": Case(make, trusted=KD_TREE if "knn" in name else ()) for name, make in CASES},
    **{
        f"contract {name}, no example": Case(make, lambda: (None, list(TEXTS)))
        for name, make in CASES
        if name not in NEEDS_LABELS
    },
    # calibrations
    **{
        f"calibration {name}": Case(asked(lambda name=name: Prompting(calibration=name)))
        for name in ("contextual", "domain-context", "batch", "learned", "auto")
    },
    "calibration PMI": Case(asked(lambda: Prompting(calibration=PMI("Topic: ")))),
    "calibration transductive": Case(asked(lambda: Prompting(calibration=Batch("arithmetic", transductive=True)))),
    "calibration BestOf": Case(asked(lambda: Prompting(2, calibration=BestOf(max_texts=9)))),
    "calibration of what can't be": Case(
        asked(lambda: Prompting(calibration=Contextual(("a", "bc"))), lambda: FakeLM(impossible))
    ),
    # demonstrations
    "shown Stratified": Case(shown(selection=Stratified("interleaved"))),
    "shown Random": Case(shown(selection=Random("interleaved"))),
    "shown First": Case(shown(selection=First(), max_shot_tokens=20)),
    "shown Nearest": Case(shown(selection=Nearest(per_class=True))),
    "shown Nearest, as is": Case(shown(selection=Nearest(order="as is"))),
    "shown Nearest, common first": Case(shown(selection=Nearest(order="common first"))),
    "shown Nearest, shared": Case(shown(selection=Nearest(shared=True))),
    "shown MMR": Case(shown(selection=MMR(0.3))),
    "shown lowest bias": Case(shown(order="lowest bias")),
    "shown to several wordings": Case(
        shown(selection="mmr", ensemble="learned", calibration="batch"),
    ),
    # templates, verbalizers, classes
    "several wordings": Case(
        asked(lambda: Prompting(2, ensemble="learned"), template=[REVIEW, "{{ text }}\nTopic: {{ label }}"])
    ),
    "fields": Case(
        asked(
            lambda: Prompting(2),
            template=Template(
                "{{ text_a }}: {{ text_b | shorten }}\n{{ label }}", instruction="One of {{ labels | join(', ') }}."
            ).rename(text_a="title", text_b="body"),
        ),
        lambda: (PAIRS, data(3)[1]),
        PAIRS[::2],
    ),
    "orders of the labels": Case(
        asked(
            lambda: Prompting(2, orders=4, calibration="batch"),
            template=Template("{{ text }} {{ label }}", instruction="One of {{ labels | join(', ') }}."),
        )
    ),
    "choices": Case(
        asked(
            lambda: Prompting(2, calibration="contextual"), template="---\nchoices: options\n---\n{{ q }} {{ label }}"
        ),
        lambda: (
            [{"q": f"{i}?", "options": ["bill", "crash on start", "love"][: 2 + i % 2]} for i in range(6)],
            [0, 1, 0, 1, 0, 2],
        ),
        [{"q": "Which?", "options": ["refund", "love"]}, {"q": "And?", "options": ["crash", "love", "bill"]}],
    ),
    "numbered classes": Case(
        asked(
            lambda: Prompting(2, calibration="batch"), verbalizer={7: "billing", -1: ["bug report", "bug"], 3: "praise"}
        ),
        lambda: (data(3)[0], [{"billing": 7, "bug report": -1, "praise": 3}[name] for name in data(3)[1]]),
    ),
    "classes without names": Case(
        lambda: Classifier(HashEncoder(), strategy=Embedding(), random_state=0),
        lambda: (data(3)[0], [list(TEXTS).index(name) for name in data(3)[1]]),
    ),
    "true and false": Case(
        asked(lambda: Readout("labels"), verbalizer=Verbalizer({True: "billing", False: "bug report"})),
        lambda: (data(2)[0], [name == "billing" for name in data(2)[1]]),
    ),
    "numpy's names": Case(
        asked(
            Prompting,
            verbalizer={np.str_(name): np.str_(name) for name in TEXTS},
            random_state=np.random.RandomState(3),
        ),
        lambda: (None, None),
    ),
    "words found": Case(
        asked(
            Prompting,
            lambda: keyword_lm(vocabulary=("charged", "refund", "crash", "error", "love", "great")),
            verbalizer=AutomaticVerbalizer(1, "amulap"),
        )
    ),
    # several labels
    "labels": Case(
        asked(
            Prompting,
            template="{{ text }} Is it about {{ candidate }}? {{ label }}",
            verbalizer={name: name for name in TEXTS},
        ),
        lambda: (data(3)[0], indicator()),
    ),
    "labels entailed": Case(
        asked(
            Prompting,
            lambda: FakeLM(lambda query: [-1.0 - len(w) for w in query.candidates], kind="entailment"),
            verbalizer={name: name for name in TEXTS},
        ),
        lambda: (data(3)[0], indicator()),
    ),
    "labels of vectors": Case(
        asked(Embedding, HashEncoder, verbalizer={name: name for name in TEXTS}), lambda: (data(3)[0], indicator())
    ),
    "labels, foreign head": Case(
        asked(lambda: Embedding(LogisticRegression()), HashEncoder, verbalizer={name: name for name in TEXTS}),
        lambda: (data(3)[0], indicator()),
    ),
    # other strategies and heads
    "channel": Case(asked(lambda: Channel(4, "stratified"), template="A {{ label }} message: {{ text }}")),
    "readout prototypes": Case(asked(Readout.prototypes, lambda: keyword_lm(hidden=letters))),
    "readout regression": Case(asked(Readout.regression)),
    "readout joined": Case(
        asked(lambda: Readout("labels", LinearSVC(), embeddings=True, encoder=HashEncoder(), shots=2))
    ),
    "distilled": Case(
        asked(lambda: Distillation(Prompting(), encoder=HashEncoder())),
        lambda: (data(3)[0], [*data(3)[1][:6], *[None] * (len(data(3)[1]) - 6)]),
    ),
    "trees": Case(embedded(RandomForestClassifier(5)), trusted=("sklearn.tree._tree.Tree",)),
    "pipeline": Case(embedded(make_pipeline(StandardScaler(), LogisticRegression()))),
    "pipeline with a head of ours": Case(
        embedded(make_pipeline(StandardScaler(), LabelPriorLogisticRegression(C=1.0)))
    ),
    "a head of ours": Case(embedded(LabelPriorLogisticRegression(class_weight="balanced"))),
    "no label prior": Case(embedded(label_prior=0.0)),
    "conformal": Case(conformal),
    "conformal, fitted inside": Case(
        lambda: ConformalClassifier(asked(Prompting)(), 0.3, method="aps", random_state=0),
    ),
}


def tiny(name: str, **options: Any) -> Any:
    """A tiny model of `tests.conftest`, as a pair or loaded with options; torch is imported only where one is made."""
    from fewshot import load
    from tests.conftest import pair

    return load(pair(name), **options) if options else pair(name)


def tiny_encoder(**options: Any) -> Any:
    from fewshot import SentenceEncoder
    from tests.conftest import sentence_model

    return SentenceEncoder(sentence_model(), **options) if options else sentence_model()


def tuned() -> Embedding:
    from fewshot import Contrastive

    return Embedding(tuning=Contrastive(2))


def in_windows() -> Any:
    from fewshot import Windows

    return tiny_encoder(windows=Windows(8, "max"))


TORCH: dict[str, Case] = {
    "embedded": Case(asked(lambda: Prompting(calibration="auto"), lambda: "embedded:masked")),
    "embedded, readout": Case(asked(Readout, lambda: "embedded:masked")),
    "embedded, kNN": Case(
        asked(lambda: Readout.knn_prompting(3), lambda: load("embedded:masked", variant="independent"))
    ),
    "tiny masked pair": Case(asked(Prompting, lambda: tiny("bert"))),
    "tiny masked": Case(asked(lambda: Prompting(2), lambda: tiny("roberta", variant="independent"))),
    "tiny chat": Case(
        asked(lambda: Prompting(2, read="generate"), lambda: tiny("gpt2-chat", chat_template_kwargs={"a": 1}))
    ),
    "tiny channel": Case(asked(Channel, lambda: tiny("llama"), template="A {{ label }} one: {{ text }}")),
    "tiny seq2seq": Case(asked(Prompting, lambda: tiny("t5", hole="sentinel"))),
    "tiny entailment": Case(asked(Prompting, lambda: tiny("nli"))),
    "tiny masked, fine-tuned": Case(asked(lambda: FineTuning(steps=2), lambda: tiny("bert"))),
    "tiny causal, LoRA": Case(asked(lambda: FineTuning(parameters=LoRA(2), steps=2), lambda: tiny("llama"))),
    "tiny masked, layer": Case(asked(lambda: FineTuning("head", steps=2), lambda: tiny("bert"))),
    "tiny encoder, layer": Case(asked(lambda: FineTuning("head", steps=2), tiny_encoder)),
    "tiny encoder": Case(asked(Embedding, in_windows)),
    "tiny encoder, tuned": Case(asked(tuned, tiny_encoder)),
    "tiny encoder, Auto": Case(asked(Auto, tiny_encoder)),
    "tiny encoder beside": Case(asked(lambda: Prompting(2, "nearest", encoder=tiny_encoder()), lambda: tiny("bert"))),
}
EVERY = {**LIGHT, **TORCH}


def zero_shot(**params: Any) -> Classifier:
    """A light one, for tests of the folder."""
    return Classifier(keyword_lm(), REVIEW, strategy=Prompting(**params)).fit(None, list(TEXTS))


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change config.json, and its checksum with it, as anybody can."""
    rewritten(folder / "config.json", change)
    sealed(folder)


def rewritten(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file, but not its checksum."""
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def sealed(folder: Path) -> Path:
    """Make the checksums true again, as anybody can."""
    folders._seal(folder)
    return folder


def probabilities(clf: Any, case: Case) -> Any:
    return clf.predict_proba(list(case.ask))


def main(folder: Path) -> None:
    """Load every classifier that lies in the folder, and compare."""
    import warnings

    warnings.simplefilter("ignore")
    gaps = {}
    for path in sorted(folder.glob("*.npy")):
        name = path.stem
        case = EVERY[name]
        kind = ConformalClassifier if "conformal" in name else Classifier
        clf = kind.load(folder / name, model=case.given(), trusted=case.trusted)
        gaps[name] = float(np.abs(probabilities(clf, case) - np.load(path)).max())
    print(json.dumps(gaps))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
