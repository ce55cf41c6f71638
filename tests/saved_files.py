"""Folders of numbered images, and checks of the files that were written from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from image_factory import encoded, row_image, row_of, scene
from PIL import Image

ROOT = Path(__file__).parent.parent
N = 40


def image_frame(folder):
    """Write N numbered images into two folders, and return the frame of their paths."""
    files = [folder / ("even", "odd")[number % 2] / f"{number}.png" for number in range(N)]
    for number, path in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        row_image(number, (24, 16)).save(path)
    frame = pd.DataFrame({"image_path": list(map(str, files)), "label": [f"class {k % 3}" for k in range(N)]})
    return frame.set_axis([f"row {k}" for k in range(N)])


def numbered_folder(folder, n):
    """Write n numbered images, and return their folder."""
    folder.mkdir()
    for number in range(n):
        row_image(number, (24, 16)).save(folder / f"{number}.png")
    return folder


def numbered_paths(folder, n_files=30, n=100):
    """Write numbered images, and return a column of n paths that repeats them."""
    for number in range(n_files):
        row_image(number, (24, 16)).save(folder / f"{number}.png")
    return pd.Series([str(folder / f"{i % n_files}.png") for i in range(n)])


def photo_folder(folder):
    """Write 150 JPEG files that take a while to decode; no test changes them."""
    data = [encoded(scene(400, 300, seed=seed), "JPEG", quality=90) for seed in range(10)]
    for number in range(150):
        (folder / f"{number}.jpg").write_bytes(data[number % 10])
    return folder


def mtimes(folder):
    """Return the modification time of each file below a folder."""
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("[!.]*") if path.is_file()}


def before_first(monkeypatch, owner, name, call):
    """Make a call, as of another program, before the first call of a method."""
    method = getattr(owner, name)

    def call_before(self, *args):
        monkeypatch.setattr(owner, name, method)
        call()
        return method(self, *args)

    monkeypatch.setattr(owner, name, call_before)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def check_files(paths, index, missing=()):
    """Check that every row has the file of its image."""
    pd.testing.assert_index_equal(paths.index, index)
    assert paths.name == "path"
    assert paths.dtype == pd.Series(dtype="str").dtype  # pandas 2 has objects
    for k, path in enumerate(paths):
        if k in missing:
            assert pd.isna(path)
        else:
            with Image.open(path) as image:
                assert row_of(np.asarray(image)) == k


def whole_files(folder, *, killed=False):
    """Return the file names of a folder, after a complete decode of each.

    Only the manifest may be there too, and the lease of a caller that was killed.
    """
    names = sorted(path.name for path in Path(folder).iterdir())
    hidden = [name for name in names if name.startswith(".")]
    assert [name for name in hidden if not (killed and name.endswith(".lease"))] == [".pandas-imgproc.jsonl"]
    files = [name for name in names if name not in hidden]
    for name in files:
        with Image.open(Path(folder) / name) as image:
            image.load()
    return files
