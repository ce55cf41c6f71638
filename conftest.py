"""What the examples in docstrings stand on: a folder of small images, and the names every notebook has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``red.png``, ``blue.jpg`` and ``half.jpg``, which is cut off."""
    folder = tmp_path_factory.mktemp("photos")
    Image.new("RGB", (30, 20), "red").save(folder / "red.png")
    Image.new("RGB", (20, 30), "blue").save(folder / "blue.jpg")
    whole = Image.effect_noise((60, 40), 50).convert("RGB")
    whole.save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(data[: len(data) // 2])
    return folder


@pytest.fixture(autouse=True)
def _folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run an example in a folder of its own, in which it makes the files that it reads."""
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(request.node, pytest.DoctestItem):
            patch.chdir(tmp_path_factory.mktemp("example"))
        yield


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(np=np, pd=pd)
