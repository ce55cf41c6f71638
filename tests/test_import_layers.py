"""Imports go down only, and two packages of one layer do not import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pandas_imgproc

LAYERS = [
    {"_text", "_file_uri", "_pickling"},
    {"_user_traceback"},
    {"errors", "_timing", "config", "_version", "_validation", "_labels", "_uninterrupted", "_sigint", "_gc_pause"},
    {"custom_files"},
    {"regions"},
    {"partition", "_shared_memory", "_delegates", "_atomic", "_atomic_imports"},
    {"source", "codec", "features", "array", "cluster"},
    {"tasks"},
    {"kernel", "sinks"},
    {"execution", "discovery", "location_hints"},
    {"failures", "scaling"},
    {"feeding"},
    {"accessor", "api", "unpacking"},
    {"dask_frames"},
    {"__init__", "cli", "sklearn"},
    {"__main__"},
]
ROOT = Path(pandas_imgproc.__file__).parent
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def imported_modules(source: str, module: str, *, is_package: bool) -> set[str]:
    """Return the absolute names of the modules, or of their attributes, that the source of a module imports."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def layer_members(names: set[str]) -> set[str]:
    """Return the modules and packages of the root that names belong to; ``__init__`` for an attribute of the root."""
    members = set()
    for name in names:
        root, *rest = name.split(".")
        if root == "pandas_imgproc":
            members.add(rest[0] if rest and rest[0] in LAYER else "__init__")
    return members


def upward_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return the imports of a module that do not go down."""
    member = module.split(".")[1] if "." in module else "__init__"
    others = layer_members(imported_modules(source, module, is_package=is_package)) - {member}
    return sorted(f"{module} imports {other}" for other in others if LAYER[other] >= LAYER[member])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_has_a_layer():
    members = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")}
    assert members == set(LAYER)


def test_imports_go_down_only():
    assert not [
        message
        for path in ROOT.rglob("*.py")
        for message in upward_imports(path.read_text(), module_name(path), is_package=path.stem == "__init__")
    ]


@pytest.mark.parametrize(
    ("source", "module", "is_package", "other"),
    [
        ("from pandas_imgproc.execution import Job", "pandas_imgproc.codec.resize", False, "execution"),
        ("import pandas_imgproc.execution.job as job", "pandas_imgproc.codec.resize", False, "execution"),
        ("from ..execution import Job", "pandas_imgproc.codec.resize", False, "execution"),
        ("from .. import execution", "pandas_imgproc.array.indexing", False, "execution"),
        ("from ..execution.job import Job", "pandas_imgproc.codec", True, "execution"),
        ("from .execution.job import Job", "pandas_imgproc.kernel", False, "execution"),
        ("def run():\n    from ..source import Source", "pandas_imgproc.codec.resize", False, "source"),
        ("from pandas_imgproc import __version__", "pandas_imgproc.codec.resize", False, "__init__"),
        ("import pandas_imgproc", "pandas_imgproc.codec.resize", False, "__init__"),
        ("from ..errors import failure", "pandas_imgproc.codec.resize", False, None),
        ("from .decode import load", "pandas_imgproc.codec.resize", False, None),
    ],
)
def test_upward_import_is_caught_in_every_form(source, module, is_package, other):
    expected = [f"{module} imports {other}"] if other else []
    assert upward_imports(source, module, is_package=is_package) == expected
