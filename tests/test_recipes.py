"""The pages "10 minutes" and "Cookbook": their code runs as it stands."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_of(page):
    return BLOCK.findall((DOCS / page).read_text())


def recipes():
    """Return the title and the code of each recipe."""
    sections = re.split(r"^### (.*)\n", (DOCS / "cookbook.md").read_text(), flags=re.MULTILINE)
    return dict(zip(sections[1::2], ("\n".join(BLOCK.findall(text)) for text in sections[2::2]), strict=True))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture
def _photos():
    rng = np.random.default_rng(0)
    paths = [f"photos/{'cat' if k % 2 == 0 else 'dog'}/{k // 2}.jpg" for k in range(24)]
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(path)
    frame = pd.DataFrame({"image_path": paths, "label": [path[7:10] for path in paths]})
    frame.assign(price=np.arange(24) / 2, product_id=np.arange(24) // 3).to_csv("train.csv", index=False)


def test_cookbook_has_twenty_recipes():
    assert len(recipes()) == 20
    assert all(recipes().values())


@pytest.mark.parametrize("title", recipes())
@pytest.mark.usefixtures("_photos")
def test_recipe_runs(title):
    names = {}
    exec(compile(code_of("cookbook.md")[0], "cookbook.md", "exec"), names)
    exec(compile(recipes()[title], f"{title} in cookbook.md", "exec"), names)
    column = names.get("images", names.get("column"))
    if column is not None and "failures" not in title:
        assert column.notna().all()


def test_ten_minutes_run_from_top_to_bottom():
    names = {"__name__": "__main__"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile("\n".join(code_of("ten-minutes.md")), "ten-minutes.md", "exec"), names)
    assert [str(warning.message)[:41] for warning in caught] == ["2 of 40 images could not be read and are "]
    assert names["X"].shape == (38, 3, 32, 32)
    assert names["column"].notna().all()
    assert (names["good"].groupby("label")["redness"].mean() > 0).tolist() == [False, True]
