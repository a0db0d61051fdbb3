"""How the site is built: `make docs`.

Sphinx, with numpydoc since that is how the docstrings are written, and myst-parser since the pages are Markdown. MkDocs
with Material, the other candidate, is in maintenance mode. The source folder is the whole project, so that one and the
same link of a page leads to a notebook here and where the project is browsed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "docs")]  # for mathml and pages_from_code

import fewshot  # noqa: E402

project = "fewshot"
release = version = fewshot.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "mathml", "pages_from_code"]

# pages
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "fewshot/embedded/masked/README.md",
    "[A-Z]*.md",  # README.md, CHANGELOG.md and their neighbours
]
exclude_patterns = [".*", "**/__pycache__", "docs/_build", "docs/site_root", "docs/site_static", "shared", "tests"]
myst_enable_extensions = ["deflist", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are shown as they are kept; tests/test_notebooks.py runs them
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # nothing is loaded from outside

# API reference
default_role = "py:obj"  # `Classifier` in a docstring is a link
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False  # autodoc lists them, each with its docstring

# strict about references; what is named here belongs to others, whose pages can't be asked for without a network
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(abc|collections\.abc|pathlib|os|typing)\..*"),  # Python
    ("py:.*", r"(numpy|np|scipy|sklearn|pandas|pd|torch|transformers|sentence_transformers|pyarrow|starlette)\..*"),
    ("py:class", r"Axes|SentenceTransformer"),  # of others as well: imported for type checkers only
]

# looks
html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"fewshot {release}"
html_extra_path = ["site_root"]
html_static_path = ["site_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
smartquotes = False  # -- begins an option, and quotes are data
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"
