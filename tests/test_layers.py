"""Imports go down only, and two rooms on one floor do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas_imgproc

FLOORS = [
    {"errors", "_timing", "config", "_version", "_pickling", "_validation"},
    {"partition", "_shared_memory", "_delegates", "_atomic"},
    {"source", "codec", "features", "array", "cluster"},
    {"tasks"},
    {"kernel", "sinks"},
    {"execution", "discovery"},
    {"failures", "scaling"},
    {"accessor", "api"},
    {"dask_frames"},
    {"__init__", "cli"},
    {"__main__"},
]
FOLDER = Path(pandas_imgproc.__file__).parent
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(FOLDER).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        names |= {name.split(".")[1] for name in modules if name.startswith("pandas_imgproc.")}
    return {name for name in names if name in FLOOR}


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FOLDER.rglob("*.py")} == set(FLOOR)


def test_imports_go_down_only():
    wrong = [
        f"{room_of(path)} imports {other}"
        for path in FOLDER.rglob("*.py")
        for other in imported(path) - {room_of(path)}
        if FLOOR[other] >= FLOOR[room_of(path)]
    ]
    assert not wrong
