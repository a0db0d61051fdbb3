"""What tests of the labelling page share: hostile rows, and a session whose classifier needs no weights."""

from __future__ import annotations

from contextlib import contextmanager

from fewshot import Classifier
from fewshot.pages.label_page import open_session
from tests.contract import HashEncoder

HOSTILE = [
    "<img src=x onerror=\"document.title='hacked'\">",
    "</script><script>document.title='hacked'</script>",
    "مرحبا بالعالم <b>bold</b>",
    "emoji 👩‍👩‍👧‍👦, quotes \" and ' and, commas; {{ label }}",
    "=HYPERLINK(1)\r\nsecond line\rthird\n\nfifth\ttab",
    "long " * 2000,
    "w" * 10_000,
]
CLASSES = ["billing", "bug report", "praise"]


@contextmanager
def session(path, rows=HOSTILE, classes=CLASSES, clf=None, **options):
    """A session over a file, which is closed afterwards."""
    made = open_session(rows, classes, path, clf or Classifier(HashEncoder()), **options)
    try:
        yield made
    finally:
        made.close()
