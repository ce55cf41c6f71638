"""Sphinx configuration of the site: `sphinx-build -W docs build/site`. Nothing is downloaded, not even by a page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import sphinx_autosummary_accessors

import pandas_imgproc  # registers .img, which the reference documents

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "pandas_imgproc"
author = "The pandas_imgproc developers"
copyright = author  # noqa: A001  the name is Sphinx's
release = pandas_imgproc.__version__

extensions = [
    "myst_nb",  # pages in Markdown, which code hosts render too, and notebooks with stored outputs
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # a page for each method
    "sphinx_autosummary_accessors",  # ... of an accessor, under its public name: DataFrame.img.show
    "numpydoc",  # the docstring convention
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
default_role = "py:obj"  # `load_resized` in a docstring is a link if the object exists

nb_execution_mode = "off"
# Sphinx reads only its source folder.
shutil.copytree(
    Path(__file__).parents[1] / "examples", Path(__file__).parent / "examples",
    ignore=lambda _, names: [name for name in names if not name.endswith(".ipynb")], dirs_exist_ok=True,
)  # fmt: skip

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False  # quotes are part of values: "RGB"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings have the types
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = f"pandas_imgproc {release}"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {
    page: []
    for page in ("getting-started", "ten-minutes", "cookbook", "why", "coming-from", "changelog", "contributing")
}
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 5,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "coming-from": [], "index": []},
}


def _link_to_notebook_pages(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace links to notebook files by links to the pages of the site. On a code host the links open the files."""
    source[0] = re.sub(r"\]\(\.\./(examples/\w+\.ipynb)\)", r"](\1)", source[0])


def setup(app: Sphinx) -> None:
    """Connect the hooks of this configuration; called by Sphinx."""
    app.connect("source-read", _link_to_notebook_pages)
