"""Entities from a few annotated sentences: `Tagger` and its peers, on the same sentences.

    python benchmarks/tagging.py DATA [--shots 5 10] [--draws 5] [--sets wnut17_ner crossner_politics crossner_music]
        [--ways Tagger tuned lr crfsuite spacy trainer] [--seconds 20] [--dtype float32]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns sentence_id, token and tag (BIO). Supports are
drawn greedily from the training sentences in an order under a seed: a sentence is taken when it has a type with less
than so many mentions. "all" takes every training sentence (CrossNER has 100 to 200). All test sentences judge. F1 is
that of entities, micro-averaged: start, end and type must be right.

"tuned" is Tagger(strategy=FineTuning("tags")). Beside them there are "lr", scikit-learn's LogisticRegression on the
same token vectors (IO tags); "crfsuite", sklearn-crfsuite with the features of its own tutorial; "spacy", a blank
pipeline's ner, 60 epochs in batches of 4; "trainer", transformers' Trainer with AutoModelForTokenClassification on the
same encoder (BIO tags, 5e-5, the first token of a word), for --seconds. Each has one thread. --dtype is that of the
Tagger's encoder, tuned or not.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from against_setfit import encoder_folder
from sentences import Sentence, draw_support, entities_of, entity_scores, read_sentences
from sklearn.linear_model import LogisticRegression

from fewshot import FineTuning, Tagger, load

SETS = ["wnut17_ner", "crossner_politics", "crossner_music"]


class Found(NamedTuple):
    """Predicted tags, and what they took."""

    tags: list[list[str]]
    seconds: float


def ours(shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    """The door with its defaults."""
    return _tagged(None, shown, test, options)


def tuned(shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    """The door with an encoder that is tuned."""
    return _tagged(FineTuning("tags"), shown, test, options)


def _tagged(strategy: Any, shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    tagger = Tagger(load(cache_bytes=0, dtype=options.dtype), strategy=strategy, random_state=0)
    started = time.perf_counter()
    tagger.fit([one.tokens for one in shown], [one.tags for one in shown])
    seconds = time.perf_counter() - started
    return Found(tagger.predict(test), seconds)


def lr(shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    """Scikit-learn on the same token vectors."""
    encoder = load()
    started = time.perf_counter()
    X = np.concatenate(_word_vectors(encoder, [one.tokens for one in shown]))
    y = [tag.split("-", 1)[-1] for one in shown for tag in one.tags]
    clf = LogisticRegression(max_iter=1000).fit(X, y)
    seconds = time.perf_counter() - started
    return Found([_to_bio(clf.predict(part).tolist()) for part in _word_vectors(encoder, test)], seconds)


def _word_vectors(encoder: Any, sentences: list[list[str]]) -> list[Any]:
    """The mean vector of each word's tokens, at unit length."""
    texts = [" ".join(tokens) for tokens in sentences]
    made = []
    for tokens, found in zip(sentences, encoder.token_vectors(texts), strict=True):
        ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
        starts = ends - [len(token) for token in tokens]
        rows = np.zeros((len(tokens), found.vectors.shape[1]))
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            own = found.vectors[(found.starts < end) & (found.ends > start)]
            rows[i] = own.mean(axis=0) if len(own) else 0
        made.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
    return made


def _to_bio(tags: list[str]) -> list[str]:
    """Types of words as BIO, where neighbours of one type are one entity."""
    before = ["O", *tags]
    return [
        tag if tag == "O" else f"{'I' if tag == last else 'B'}-{tag}" for last, tag in zip(before, tags, strict=False)
    ]


def crfsuite(shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    """The peer with the features of its tutorial."""
    import sklearn_crfsuite

    started = time.perf_counter()
    crf = sklearn_crfsuite.CRF(algorithm="lbfgs", c1=0.1, c2=0.1, max_iterations=100, all_possible_transitions=True)
    crf.fit([_features(one.tokens) for one in shown], [one.tags for one in shown])
    seconds = time.perf_counter() - started
    return Found([list(tags) for tags in crf.predict([_features(tokens) for tokens in test])], seconds)


def _features(tokens: list[str]) -> list[dict[str, Any]]:
    def own(word: str, mark: str) -> dict[str, Any]:
        return {f"{mark}lower": word.lower(), f"{mark}title": word.istitle(), f"{mark}upper": word.isupper()}

    made = []
    for i, word in enumerate(tokens):
        features = {"bias": 1.0, "end": word[-3:], "end2": word[-2:], "digit": word.isdigit(), **own(word, "")}
        features |= own(tokens[i - 1], "-1:") if i else {"BOS": True}
        features |= own(tokens[i + 1], "+1:") if i + 1 < len(tokens) else {"EOS": True}
        made.append(features)
    return made


def spacy(shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    """A blank pipeline with an entity recogniser."""
    import spacy as library
    from spacy.tokens import Doc
    from spacy.training import Example

    nlp = library.blank("en")
    ner = nlp.add_pipe("ner")
    examples = []
    for one in shown:
        doc = Doc(nlp.vocab, words=one.tokens)
        places = [
            (doc[first].idx, doc[last - 1].idx + len(doc[last - 1]), label)
            for first, last, label in entities_of(one.tags)
        ]
        examples.append(Example.from_dict(doc, {"entities": places}))
        for _, _, label in places:
            ner.add_label(label)
    random.seed(0)
    started = time.perf_counter()
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        random.shuffle(examples)
        for i in range(0, len(examples), 4):
            nlp.update(examples[i : i + 4], sgd=optimizer, drop=0.2)
    seconds = time.perf_counter() - started
    docs = [ner(Doc(nlp.vocab, words=tokens)) for tokens in test]
    return Found([[f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc] for doc in docs], seconds)


def trainer(shown: list[Sentence], test: list[list[str]], options: argparse.Namespace) -> Found:
    """Transformers' Trainer on the same encoder, stopped after some seconds."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    names = sorted({tag for one in shown for tag in one.tags} | {"O"})
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(encoder_folder(), num_labels=len(names))

    def encoded(tokens: list[str], tags: list[str] | None = None) -> dict[str, Any]:
        found = tokenizer(tokens, is_split_into_words=True, truncation=True, max_length=256)
        words = found.word_ids()
        first = [w is not None and (i == 0 or words[i - 1] != w) for i, w in enumerate(words)]
        made = {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}
        if tags is None:
            return {**made, "first": [i for i, one in enumerate(first) if one]}
        return {**made, "labels": [names.index(tags[w]) if one else -100 for w, one in zip(words, first, strict=True)]}

    started = time.perf_counter()

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = time.perf_counter() - started > options.seconds

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            num_train_epochs=100,
            learning_rate=5e-5,
            per_device_train_batch_size=8,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            seed=0,
            use_cpu=True,
        )
        rows = [encoded(one.tokens, one.tags) for one in shown]
        collate = DataCollatorForTokenClassification(tokenizer)
        Trainer(model, settings, collate, rows, callbacks=[Stop()]).train()
    seconds = time.perf_counter() - started
    model.eval()
    made = []
    for tokens in test:
        own = encoded(tokens)
        with torch.no_grad():
            logits = model(torch.tensor([own["input_ids"]])).logits[0]
        tags = [names[int(logits[i].argmax())] for i in own["first"]]
        made.append(tags + ["O"] * (len(tokens) - len(tags)))  # what the window cuts
    return Found(made, seconds)


WAYS: dict[str, Callable[..., Found]] = {
    "Tagger": ours,
    "tuned": tuned,
    "lr": lr,
    "crfsuite": crfsuite,
    "spacy": spacy,
    "trainer": trainer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--shots", nargs="+", default=["5", "10"])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--ways", nargs="+", default=["Tagger"], choices=list(WAYS))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| set | shots | sentences | way | F1 (sd) | boundaries only | seconds to fit |\n" + "| --- " * 7 + "|")
    for name in options.sets:
        train, test = (read_sentences(options.data / name, part) for part in ("train", "test"))
        wanted = [entities_of(one.tags) for one in test]
        for shots in options.shots:
            scores: dict[str, list[tuple[float, float, float]]] = {}
            draws = 1 if shots == "all" else options.draws
            supports = [train if shots == "all" else draw_support(train, int(shots), seed) for seed in range(draws)]
            for shown in supports:
                for way in options.ways:
                    found = WAYS[way](shown, [one.tokens for one in test], options)
                    said = [entities_of(tags) for tags in found.tags]
                    scores.setdefault(way, []).append((*entity_scores(wanted, said), found.seconds))
            size = np.mean([len(one) for one in supports])
            for way, values in scores.items():
                f1, bounds, seconds = np.mean(values, axis=0)
                deviation = np.std([one[0] for one in values])
                line = [
                    name,
                    shots,
                    f"{size:.0f}",
                    way,
                    f"{f1:.3f} ({deviation:.3f})",
                    f"{bounds:.3f}",
                    f"{seconds:.2f}",
                ]
                print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
