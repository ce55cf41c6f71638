"""Cells of any type: the same result from every executor, and one failed row for a cell that cannot travel."""

from __future__ import annotations

import io
import pathlib
import socket
import sys
import threading

import dask
import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from image_factory import row_image
from PIL import Image

import pandas_imgproc


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError("boom")


class Unloadable:
    def __reduce__(self):
        return eval, ("1 / 0",)


class Deadly:
    def __reduce__(self):
        return eval, ("__import__('os')._exit(3)",)


class UnpicklableArray(np.ndarray):
    __reduce__ = Unpicklable.__reduce__


class UnpicklableText(str):
    __slots__ = ()
    __reduce__ = Unpicklable.__reduce__


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of images of every mode, some with an orientation or transparency, and a half one."""
    folder = tmp_path_factory.mktemp("cells")
    noise = Image.effect_noise((60, 40), 50)
    rgb = Image.merge("RGB", (noise, noise.rotate(90, expand=False), noise.rotate(180)))
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb.save(folder / "plain.png")
    rgb.save(folder / "turned.png", exif=turned)
    rgb.save(folder / "turned.tif", exif=turned)
    rgb.quantize(20).save(folder / "palette.png", transparency=3)
    rgb.quantize(20).save(folder / "palette.gif", transparency=2)
    rgb.convert("L").save(folder / "gray.png")
    rgb.convert("1").save(folder / "bits.png")
    rgb.convert("CMYK").save(folder / "cmyk.tif")
    rgba = rgb.copy()
    rgba.putalpha(noise)
    rgba.save(folder / "alpha.png")
    rgba.convert("LA").save(folder / "gray_alpha.png")
    rgba.quantize(20).save(folder / "palette_alpha.png")
    rgb.save(folder / "key.png", transparency=rgb.getpixel((0, 0)))
    Image.fromarray((np.arange(2400, dtype=np.uint16) * 27).reshape(40, 60)).save(folder / "deep.png")
    data = (folder / "plain.png").read_bytes()
    (folder / "half.png").write_bytes(data[: len(data) // 2])
    return folder


def opened(images):
    """Return PIL images that are opened and not decoded yet, by the name of their file."""
    names = sorted(path.name for path in images.glob("*.*") if path.name != "half.png")
    return {name: Image.open(io.BytesIO((images / name).read_bytes())) for name in names}


def cells(images):
    """Return a column of every kind of cell, each named in the index; the files and sockets are its attribute."""
    path, pixels = images / "plain.png", np.asarray(row_image(7, (20, 16)))
    closed = Image.open(path)
    closed.close()
    file, sock, half = open(path, "rb"), socket.socket(), Image.open(images / "half.png")  # noqa: SIM115  closed by the caller
    values = {
        "half image": half, "closed image": closed, "loaded": row_image(3), "file": file,
        "lock": threading.Lock(), "socket": sock, "generator": (i for i in ()), "module": sys, "lambda": lambda: 0,
        "buffer": io.BytesIO(path.read_bytes()), "unpicklable": Unpicklable(), "unloadable": Unloadable(),
        "deadly": Deadly(), "open file": fsspec.open(str(path)), "array": pixels, "1-D": pixels[0, 0],
        "empty": pixels[:0], "objects": np.array([[threading.Lock()]], dtype=object), "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()), "memoryview": memoryview(path.read_bytes()),
        "array subclass": pixels.view(UnpicklableArray), "text subclass": UnpicklableText(path), "path": path,
        "pure path": pathlib.PurePosixPath(path), "text": np.str_(path), "number": np.int64(4), "none": None,
        "dict": {"bytes": path.read_bytes(), "path": "x.png"}, "dict of lock": {"bytes": threading.Lock(), "path": "x"},
        "dict with lock": {"bytes": path.read_bytes(), "path": "x.png", "more": threading.Lock()},
        "dict of image": {"bytes": row_image(5), "path": "y.png"}, "good": str(path),
    }  # fmt: skip
    column = pd.Series(list(values.values()), index=list(values), dtype=object, name="cell")
    return column, (file, sock, half)


def content(result):
    """Return the pixels of each row, or its failure without the row's label."""
    failed = result.img.failures
    rows = {
        name: (row.kind, row.message, row.path) for name, row in zip(failed.index, failed.itertuples(), strict=True)
    }
    return {
        name: rows.get(name, None if image is pd.NA else (image.shape, np.asarray(image).tobytes()))
        for name, image in result.items()
    }


@pytest.fixture
def inline():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def client_of_threads(tmp_path):
    with Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", local_directory=tmp_path
    ) as client:
        yield client


def load_inline(column):
    with dask.config.set(scheduler="synchronous"):
        return content(column.img.load_resized(8, errors="coerce"))


@pytest.mark.parametrize("executor", ["managed_cluster", "client_of_threads"])
def test_cell_of_any_type_gives_the_same_row_on_cluster_and_inline(images, executor, request):
    request.getfixturevalue(executor)
    column, files = cells(images)
    result = content(column.img.load_resized(8, npartitions=3, errors="coerce", progress=False))
    expected = load_inline(column)
    for file in files:
        file.close()
    assert result == expected
    kinds = {name: row[0] for name, row in expected.items() if row and isinstance(row[0], str)}
    assert kinds == {
        "half image": "truncated", "closed image": "corrupt", "1-D": "unidentified", "empty": "empty",
        "objects": "unsupported",
        **dict.fromkeys(
            ["file", "lock", "socket", "generator", "module", "lambda", "buffer", "unpicklable", "unloadable", "deadly",
             "open file", "number", "dict of lock"], "invalid_path",
        ),
    }  # fmt: skip
    assert expected["half image"][2] == str(images / "half.png")


def part_of_cells(k, folder):
    """Return a third of the cells, without those that hold a file; its name is in the graph, and not its cells."""
    column, files = cells(folder)
    for file in files:
        file.close()
    return column.drop(["half image", "file", "socket"])[k::3]


def test_cell_of_any_type_gives_the_same_row_on_dask_frame(images):
    with dask.config.set({"dataframe.convert-string": False}):  # else Dask makes texts of objects
        frame = dd.from_map(part_of_cells, range(3), folder=images, meta=pd.Series([], dtype=object, name="cell"))
    with dask.config.set({"scheduler": "synchronous", "dataframe.convert-string": False}):
        result = frame.img.load_resized(8, errors="coerce").compute()
    assert content(result) == load_inline(pd.concat([part_of_cells(k, images) for k in range(3)]))


@pytest.mark.parametrize("executor", ["managed_cluster", "inline"])
def test_opened_image_has_pixels_of_its_file(images, executor, request):
    request.getfixturevalue(executor)
    column = pd.Series(opened(images))
    options = {"npartitions": 2} if executor == "managed_cluster" else {}
    result = content(column.img.load_resized(12, reducing_gap=None, progress=False, **options))
    paths = pd.Series({name: str(images / name) for name in column.index})
    assert result == content(paths.img.load_resized(12, reducing_gap=None))


def test_cells_that_fail_are_rows_in_every_method(images, tmp_path, inline):
    column, files = cells(images)
    column = column.drop(["dict", "dict with lock", "dict of image"])
    expected = set(column.img.load_resized(8, errors="coerce").img.failures.index)
    methods = {
        "verify": lambda: column.img.verify(),
        "metadata": lambda: column.img.metadata(errors="coerce"),
        "features": lambda: column.img.features(errors="coerce"),
        "hash": lambda: column.img.hash(errors="coerce"),
        "map": lambda: column.img.map(np.mean, errors="coerce"),
        "augment": lambda: column.img.augment(lambda pixels: pixels, n=1, size=8, errors="coerce"),
        "save": lambda: column.img.save_resized(f"{tmp_path}/{{position}}.png", size=8, errors="coerce"),
        "npy": lambda: column.img.load_resized(8, out=tmp_path / "x.npy", errors="coerce"),
        "again": lambda: column.img.load_resized(8, out=tmp_path / "x.npy", errors="coerce"),
        "parquet": lambda: column.img.features(out=tmp_path / "x.parquet", errors="coerce"),
    }
    for name, call in methods.items():
        failed = call().img.failures.index
        rows = {label[0] if isinstance(label, tuple) else label for label in failed}
        assert rows == expected, name
    column.img.show()
    pandas_imgproc.read_result(tmp_path / "x.npy")
    for file in files:
        file.close()
