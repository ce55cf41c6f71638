"""How Sphinx makes the site: `sphinx-build -W docs build/site`. Nothing is fetched, neither here nor by a reader."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import sphinx_autosummary_accessors

import pandas_imgproc  # registers .img, which the reference describes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "pandas_imgproc"
author = "The pandas_imgproc developers"
copyright = author  # noqa: A001  Sphinx calls it so
release = pandas_imgproc.__version__

extensions = [
    "myst_nb",  # the pages are Markdown, which a code host shows as well, and notebooks as they are stored
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # a page for each method
    "sphinx_autosummary_accessors",  # ... of an accessor, under the name that people write: DataFrame.img.show
    "numpydoc",  # the form of the docstrings
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
default_role = "py:obj"  # `load_resized` in a docstring is a link, where there is such a thing

nb_execution_mode = "off"
# Sphinx reads its own folder only.
shutil.copytree(
    Path(__file__).parents[1] / "examples", Path(__file__).parent / "examples",
    ignore=lambda _, names: [name for name in names if not name.endswith(".ipynb")], dirs_exist_ok=True,
)  # fmt: skip

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False  # they are values: "RGB"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say them, in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "pandas_imgproc"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"getting-started": [], "coming-from": [], "changelog": [], "contributing": []}
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "coming-from": [], "index": []},
}


def _to_the_copies(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Let links to notebooks lead to the site's pages: on a code host they lead to the files."""
    source[0] = re.sub(r"\]\(\.\./(examples/\w+\.ipynb)\)", r"](\1)", source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls it."""
    app.connect("source-read", _to_the_copies)
