"""What the embedded masked language model knows: its masked-LM loss, zero-shot accuracy, and ten plain sentences.

    python benchmarks/embedded_lm.py CORPUS DATA [--model embedded:masked] [--rows-from test]

CORPUS is the text file that the model was built from: the loss is measured on the passages that the build kept out
(`python -m fewshot.embedded.build`), in blocks of 96 tokens of which 15 % are hidden (80/10/10), always the same ones.
DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. Balanced accuracy with gallery
templates, once raw, and once with ``Prompting(calibration="batch")``: less the label words' mean log-shares on
up to 500 unlabelled training rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from data import read, some
from sklearn.metrics import balanced_accuracy_score

from fewshot import Classifier, Prompting, load
from fewshot.embedded.build import held_out_loss, read_lines
from fewshot.models.base import Query

SETS = {
    "sst2": "sst2/it_was",
    "cr": "sst2/it_was",
    "ag_news": "ag_news/news",
    "tweeteval_emotion": "emotion/it_made_me",
    "trec6": "trec/colon",
}
SENTENCES = [
    "The capital of France is ___.",
    "She opened the door and walked into the ___.",
    "The film was so boring that I fell ___.",
    "He plays ___ for a living.",
    "We had dinner at a small ___ near the station.",
    "The president gave a ___ to the nation.",
    "My phone battery ___ after an hour.",
    "It was raining, so I took my ___.",
    "I would ___ recommend this book.",
    "Scientists have discovered a new ___ of bird.",
]


def fill(model: object, sentence: str) -> list[str]:
    """The five words of the model's vocabulary that it finds most probable in the gap."""
    words = tuple(word for word in sorted(model.tokenizer.get_vocab()) if word.isalpha())
    prefix, _, suffix = sentence.partition("___")
    scores = model.loglikelihoods([Query(prefix, words, suffix)])[0].logprobs
    return [words[i] for i in scores.argsort()[::-1][:5]]


def accuracy(model: object, data: Path, name: str, template: str, part: str) -> tuple[float, float, float]:
    """Balanced accuracy raw and with the label prior subtracted, and seconds."""
    train, rows = (read(data / name, one).replace({"label": {"numeric": "number"}}) for one in ("train", part))
    rows = some(rows)
    train = train.drop(rows.index) if part == "train" else train
    started = time.perf_counter()
    raw = Classifier(model, template, strategy=Prompting()).fit()
    lifted = Classifier(model, template, strategy=Prompting(calibration="batch")).fit(some(train, 500).text)
    scores = [balanced_accuracy_score(rows.label, clf.predict(rows.text)) for clf in (raw, lifted)]
    return *scores, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded:masked")
    parser.add_argument("--rows-from", choices=["test", "train"], default="test", help="train: to choose templates on")
    options = parser.parse_args()
    started = time.perf_counter()
    model = load(options.model)
    print(f"loaded in {time.perf_counter() - started:.2f} s")
    print(f"masked-LM loss {held_out_loss(model, read_lines(options.corpus)):.3f} nats a token")
    print("| set | template | raw | label prior subtracted | seconds |\n| --- | --- | --- | --- | --- |")
    for name, template in SETS.items():
        raw, lifted, seconds = accuracy(model, options.data, name, template, options.rows_from)
        print(f"| {name} | {template} | {raw:.3f} | {lifted:.3f} | {seconds:.1f} |", flush=True)
    print("\n| sentence | best words |\n| --- | --- |")
    for sentence in SENTENCES:
        print(f"| {sentence} | {', '.join(fill(model, sentence))} |")


if __name__ == "__main__":
    main()
