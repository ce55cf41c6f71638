"""What the examples in docstrings stand on: a folder of small images, and the names every notebook has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

if TYPE_CHECKING:
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
def _names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(np=np, pd=pd)
