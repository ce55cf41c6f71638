"""The words of the package: summary lines begin with the field's noun or a verb, and retired words stay retired."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

import pandas_imgproc

PACKAGE = Path(pandas_imgproc.__file__).parent
ROOT = PACKAGE.parent

PRONOUNS = {
    "what",
    "who",
    "whom",
    "whoever",
    "whatever",
    "somebody",
    "nobody",
    "anybody",
    "someone",
    "everybody",
}
NOT_A_NOUN = PRONOUNS | {
    "a",
    "an",
    "the",
    "how",
    "where",
    "when",
    "why",
    "which",
    "this",
    "that",
    "it",
    "they",
    "these",
}
NOT_A_VERB = NOT_A_NOUN | {"whether", "no", "not", "if", "as", "for", "in", "on", "to", "with", "all", "some", "one"}

RETIRED_IN_TEXT = [
    "picture", "pictures", "elsewhere", "somebody", "nobody", "whoever", "whatever", "patience", "patiently", "parcel",
    "parcels", "errand", "crew", "guilty", "verdict", "forgive", "forgiven", "twins", "in line", "by hand", "under way",
    "own cluster", "in passing", "passing reason", "let go", "colour", "colours", "behaviour", "grey", "told", "tells",
    "said", "says", "asked", "asks", "answer", "answers", "answered", "kept", "made here", "stamp", "stamps", "stands",
    "strike", "strikes", "borrow", "borrows", "promise", "promises", "promised", "settled", "clash", "clashes", "room",
    "nameless", "found out", "for ever", "as far as", "has it", "whole or not at all", "PIL's",
]  # fmt: skip
"""Everyday words for which the field has a term: see "Glossary" in docs/contributing.md."""

RETIRED_IN_NAMES = {
    "picture", "pictures", "elsewhere", "far", "asked", "told", "said", "patience", "patiently", "ahead", "parcel",
    "parcels", "errand", "crew", "starter", "borrow", "borrows", "stamp", "stamps", "strikes", "guilty", "verdict",
    "forgive", "forgiven", "twins", "room", "kept", "made", "settled", "promised", "answer", "answers", "longest",
    "widest", "highest", "narrowest", "least", "most", "colour", "colours", "grey", "somebody", "nobody", "whoever",
    "whatever", "passing", "disown", "clash", "clashes", "note", "notes", "place", "places", "turn", "turns", "there",
    "whole", "each", "wanted", "say", "says", "tells", "ask", "asks", "answered", "promise", "promises", "strike",
    "guilt", "twin", "beside", "forget", "house",
}  # fmt: skip
"""Parts of an identifier that no name in the package has."""

SPELLED_BY_USERS = {"grey", "full_grey"}
"""Names of the inputs of a feature, as `register_feature` takes them; methods of the same names provide them."""


class Docstring(NamedTuple):
    where: str
    kind: str
    text: str

    @property
    def summary(self) -> str:
        return self.text.strip().partition("\n")[0]


def docstrings_in(source: str, name: str) -> list[Docstring]:
    """Return each docstring of a module; `kind` is "noun" where it describes a thing and "verb" where an action."""
    docstrings = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        if text:
            where = f"{name}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', '')}"
            docstrings.append(Docstring(where, "verb" if is_action(node) else "noun", text))
    return docstrings


def is_action(node: ast.AST) -> bool:
    decorators = {ast.unparse(item).rpartition(".")[2] for item in getattr(node, "decorator_list", [])}
    is_attribute = decorators & {"property", "cached_property"} or any("contextmanager" in name for name in decorators)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_attribute


def faults_of(docstring: Docstring) -> list[str]:
    """Return the rules that a docstring breaks."""
    words = re.findall(r"[A-Za-z]+", re.sub(r"``.*?``|`.*?`", "Code", docstring.summary))
    if not words:
        return []
    faults = [f"{word!r} in the summary" for word in words if word.lower() in PRONOUNS]
    first = words[0].lower()
    if docstring.kind == "noun" and first in NOT_A_NOUN:
        faults.append(f"begins with {words[0]!r}, not with a noun")
    if docstring.kind == "verb" and (first in NOT_A_VERB or re.search(r"(?<!s)s$|ing$|ed$", first)):
        faults.append(f"begins with {words[0]!r}, not with a verb")
    return [*faults, *(f"retired: {word!r}" for word in retired_in(docstring.text))]


def retired_in(text: str) -> list[str]:
    text = re.sub(r"``.*?``|\"[^\"]*\"", "", text, flags=re.DOTALL)  # code, values as users type them, titles of papers
    return [word for word in RETIRED_IN_TEXT if re.search(rf"\b{word}\b", text, re.IGNORECASE)]


def comments_in(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def constant_docs_in(source: str) -> list[tuple[int, str]]:
    """Return the strings that document constants and attributes, and docstrings."""
    strings = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    return [
        (node.lineno, node.value) for node in strings if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def names_in(source: str) -> set[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def parts_of(name: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_docstrings_begin_with_noun_or_verb(path):
    wrong = {docstring.where: faults_of(docstring) for docstring in docstrings_in(path.read_text(), path.name)}
    assert not {where: faults for where, faults in wrong.items() if faults}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_comments_and_constants_have_no_retired_word(path):
    source = path.read_text()
    wrong = {line: retired_in(text) for line, text in [*comments_in(source), *constant_docs_in(source)]}
    assert not {line: words for line, words in wrong.items() if words}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_names_have_no_retired_word(path):
    assert not {name for name in names_in(path.read_text()) - SPELLED_BY_USERS if parts_of(name) & RETIRED_IN_NAMES}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_module_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=module_name)
def test_init_has_no_function_body(path):
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_are_absolute(path):
    tree = ast.parse(path.read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("path", sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md"]), ids=lambda path: path.name)
def test_pages_say_image(path):
    assert not re.search(r"\bpictures?\b", path.read_text(), re.IGNORECASE)


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Return what a worker does."""',
        'def f():\n    """Somebody calls this."""',
        'def f():\n    """Returns the size."""',
        'class A:\n    """The marks of a call."""',
        'class A:\n    """What travels to a worker."""',
        '"""A picture."""',
        'def f():\n    """Return the size.\n\n    Files that are elsewhere have none."""',
        'def f():\n    """Return the rows that are kept."""',
    ],
)
def test_rule_rejects_docstring(source):
    assert any(map(faults_of, docstrings_in(source, "x.py")))


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Return the size of an image."""',
        'class A:\n    """Crash ledger of one job.\n\n    What a worker writes is seen at once."""',
        'class A:\n    @property\n    def size(self):\n        """Width and height."""',
    ],
)
def test_rule_accepts_docstring(source):
    assert not any(map(faults_of, docstrings_in(source, "x.py")))


@pytest.mark.parametrize("name", ["_far_file", "MOST_ROWS", "FarFile", "n_strikes", "is_there"])
def test_rule_rejects_name(name):
    assert parts_of(name) & RETIRED_IN_NAMES
