"""URIs of local files: decoded in each argument and cell that takes a path."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of

import pandas_imgproc

NAMES = [
    "plain.png",
    "a b.png",
    "a#b.png",
    "a?b.png",
    "100%.png",
    "a%20b.png",
    "it's (1), é.png",
    "\N{GRINNING FACE}.png",
]
FORMS = ["file:///", "file://localhost/", "file:/", "FILE:///"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my photos")
    for row, name in enumerate(NAMES):
        row_image(row).save(folder / name)
    return folder


def rows_of(column):
    return [row_of(np.asarray(image)) for image in column]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "distributed"])
def test_cells_are_decoded(folder, form, scheduler, managed_cluster):
    uris = pd.Series([(folder / name).as_uri().replace("file:///", form, 1) for name in NAMES])
    with dask.config.set(scheduler=scheduler):
        assert rows_of(uris.img.load_resized(8)) == list(range(len(NAMES)))


def test_literal_name_after_the_scheme_is_read_where_there_is_no_decoded_one(folder):
    uris = pd.Series([f"file://{folder}/{name}" for name in NAMES])
    # "a%20b.png" is the URI of "a b.png", which exists.
    assert rows_of(uris.img.load_resized(8)) == [0, 1, 2, 3, 4, 1, 6, 7]
    assert rows_of(pd.Series([f"{folder}/a%20b.png"]).img.load_resized(8)) == [5]


def test_arguments_are_decoded(folder, tmp_path):
    names, uri = pd.Series(NAMES), folder.as_uri()
    assert "%20" in uri or " " not in str(folder)
    assert rows_of(names.img.load_resized(8, root=uri)) == list(range(len(NAMES)))
    assert sorted(pandas_imgproc.from_glob(uri)["image_path"]) == sorted(str(folder / name) for name in NAMES)
    assert len(pandas_imgproc.from_glob(f"{uri}/a*.png")) == 4
    assert pandas_imgproc.load_image((folder / "a b.png").as_uri(), size=8).shape == (8, 8, 3)
    target = tmp_path / "to this"
    saved = names.img.save_resized(target.as_uri(), 8, root=folder)
    assert [path for path in saved if not path.startswith(f"{target}/")] == []
    for name in ("x y.npy", "x y.parquet"):
        out = tmp_path / name
        names.img.load_resized(8, root=folder, out=out.as_uri())
        assert out.exists()
        assert rows_of(pandas_imgproc.read_result(out.as_uri())) == list(range(len(NAMES)))


def test_uri_does_not_lead_out_of_the_root(folder, tmp_path):
    row_image(1).save(tmp_path / "secret.png")
    inside, outside = (folder / "a b.png").as_uri(), (tmp_path / "secret.png").as_uri()
    escaping = f"{folder.as_uri()}/..%2F..%2F{tmp_path.parent.name}%2F{tmp_path.name}%2Fsecret.png"
    result = pd.Series([inside, outside, escaping]).img.load_resized(8, root=folder, errors="coerce")
    assert result.isna().tolist() == [False, True, True]
    assert set(result.img.failures["kind"]) == {"outside_root"}
