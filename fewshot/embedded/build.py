"""Make the embedded masked language model: give MiniLM a masked-LM head again, and train it on plain English.

    python -m fewshot.embedded.build CORPUS --folder build/embedded [--epochs 0.62] [--start EARLIER]

CORPUS is a text file (also gzipped) with one passage a line. The folder keeps the checkpoint, so that a killed build
goes on where it was, and afterwards the model in float32. The package gets the same model in 8 bits.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.models.embedded import write
from fewshot.models.loading import load
from fewshot.models.text.tokens import PlainTokenizer
from fewshot.training.adapt import adapt, pretraining_loss
from fewshot.training.blocks import hold_out

__all__ = ["attach_head", "build", "held_out_loss"]

_BLOCK = 96
_HELD_OUT = 0.004
_SEED = 0


def attach_head(encoder: Any, counts: NDArray[np.int64]) -> tuple[Any, Any]:
    """A masked language model, with its tokenizer: the body of a BERT-shaped sentence encoder, and a new head.

    Its output layer is its word embeddings. The head's bias begins at the log of the tokens' frequencies, which come
    from their ``counts``, so that training need not spend its first steps on them.
    """
    from transformers import BertForMaskedLM

    body, tokenizer = encoder.model[0].model, copy.deepcopy(encoder.model.tokenizer)
    config = copy.deepcopy(body.config)
    config.architectures = ["BertForMaskedLM"]
    torch.manual_seed(0)
    model = BertForMaskedLM(config)
    model.bert.load_state_dict({k: v for k, v in body.state_dict().items() if not k.startswith("pooler")})
    model.tie_weights()
    frequencies = (counts + 1) / (counts.sum() + len(counts))
    with torch.no_grad():
        model.cls.predictions.bias.copy_(torch.from_numpy(np.log(frequencies)))
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.model_max_length = int(body.config.max_position_embeddings)
    return model, tokenizer


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, gzipped or not."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    return [line for line in text.split("\n") if line.strip()]


def build(corpus: Path, folder: Path, epochs: float, start: Path | None = None) -> None:
    """Train, save, and write the package's copy.

    A thousand passages of the corpus, always the same ones, are kept out of training. Without the folder of an earlier
    build to start from, it is MiniLM with a new head that is trained.
    """
    texts = read_lines(corpus)
    _, seen = hold_out(len(texts), _HELD_OUT, _SEED)
    texts = [texts[i] for i in seen]
    adapted = adapt(
        _fresh(texts) if start is None else start,
        texts,
        folder=folder,
        epochs=epochs,
        learning_rate=5e-4 if start is None else 3e-4,
        tokens_per_step=2048,
        block_size=_BLOCK,
        sampled_words=4096,
        held_out=_HELD_OUT,
        save_steps=250,
        random_state=_SEED if start is None else _SEED + 1,  # another order and other masks
    )
    write(adapted.model.model, adapted.model.tokenizer)


def _fresh(texts: list[str]) -> tuple[Any, Any]:
    """MiniLM with a new head, which knows how often each word occurs."""
    encoder = load()
    tokenizer = encoder.model.tokenizer
    sample = np.random.default_rng(_SEED).choice(len(texts), min(len(texts), 50_000), replace=False)
    ids = PlainTokenizer(tokenizer).ids([texts[i] for i in sample])
    return attach_head(encoder, np.bincount(np.concatenate(ids), minlength=len(tokenizer)))


def held_out_loss(model: Any, texts: list[str]) -> float:
    """The loss of a model on the texts that `build` keeps out of training."""
    held, _ = hold_out(len(texts), _HELD_OUT, _SEED)
    return pretraining_loss(model, [texts[i] for i in held], block_size=_BLOCK)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=0.62)
    parser.add_argument("--start", type=Path, help="the folder of an earlier build, to train on from there")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("fewshot").setLevel(logging.INFO)
    build(options.corpus, options.folder, options.epochs, options.start)


if __name__ == "__main__":
    main()
