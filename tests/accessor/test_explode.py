"""Frames and tiles: long frames from headers, whose rows are put together again to the image."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import oriented, scene
from PIL import Image

from pandas_imgproc.codec import decode

BOX = ["x", "y", "w", "h"]


@pytest.fixture(autouse=True)
def _inline():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    scene(250, 170).save(folder / "scene.png")
    (folder / "turned.png").write_bytes(oriented(scene(250, 170), 6, "PNG"))
    scene(30, 20).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"no image")
    for number, n in enumerate((1, 3)):
        pages = [Image.new("L", (8, 8), 100 * number + 10 * k) for k in range(n)]
        pages[0].save(folder / f"{number}.tif", save_all=True, append_images=pages[1:])
    return folder


def frame_of(folder, *names):
    return pd.DataFrame({"image_path": [str(folder / name) for name in names], "label": range(len(names))})


@pytest.mark.parametrize(
    ("size", "stride"), [(64, None), ((50, 34), None), (100, 40), ((64, 48), (30, 48)), (400, 400)]
)
@pytest.mark.parametrize("name", ["scene.png", "turned.png"])
def test_tiles_together_are_the_image(folder, name, size, stride):
    tiles = frame_of(folder, name).img.tiles("image_path", size, stride=stride)
    image = np.asarray(scene(250, 170))
    together = np.zeros_like(image)
    pieces = tiles.img.map("image_path", lambda pixels: {"pixels": pixels.tobytes(), "width": pixels.shape[1]}, box=BOX)
    for (x, y), (data, width) in zip(tiles[["x", "y"]].astype(int).values, pieces.values, strict=True):
        piece = np.frombuffer(data, np.uint8).reshape(-1, width, 3)
        together[y : y + len(piece), x : x + width] = piece
    assert np.array_equal(together, image)
    width, height = size if isinstance(size, tuple) else (size, size)
    padded = tiles.img.load_resized("image_path", (width, height), box=BOX, outside="pad", background=9).img.to_numpy()
    for (x, y), tile in zip(tiles[["x", "y"]].astype(int).values, padded, strict=True):
        inside = image[y : y + height, x : x + width]
        assert np.array_equal(tile[: inside.shape[0], : inside.shape[1]], inside)
        assert (tile[inside.shape[0] :] == 9).all()
        assert (tile[:, inside.shape[1] :] == 9).all()


def test_tiles_are_numbered_row_by_row_and_none_is_redundant(folder):
    tiles = frame_of(folder, "scene.png").img.tiles("image_path", 100, stride=50)
    assert tiles["x"].unique().tolist() == [0, 50, 100, 150]
    assert tiles["y"].unique().tolist() == [0, 50, 100]
    assert tiles.index.names == [None, "tile"]
    assert tiles.index.get_level_values("tile").tolist() == list(range(12))
    assert tiles["x"].tolist()[:5] == [0, 50, 100, 150, 0]
    complete = frame_of(folder, "scene.png").img.tiles("image_path", 100, stride=50, keep_partial=False)
    assert complete[["x", "y"]].values.tolist() == [[x, y] for y in (0, 50) for x in (0, 50, 100, 150)]
    gaps = frame_of(folder, "scene.png").img.tiles("image_path", 10, stride=120)
    assert gaps["x"].unique().tolist() == [0, 120, 240]


def test_row_without_tile_is_one_missing_row(folder):
    frame = frame_of(folder, "small.png", "broken.png", "scene.png")
    frame.loc[3] = [None, 3]
    tiles = frame.img.tiles("image_path", 100, keep_partial=False, errors="coerce")
    assert tiles["label"].tolist() == [0, 1, 2, 2, 3]
    assert tiles["x"].isna().tolist() == [True, True, False, False, True]
    assert np.isnan(tiles.index.get_level_values("tile")).tolist() == [True, True, False, False, True]
    assert tiles.img.failures["kind"].tolist() == ["unidentified"]
    column = tiles.img.load_resized("image_path", 8, box=BOX, errors="coerce")
    assert column.isna().tolist() == [True, True, False, False, True]
    assert len(column.img.failures) == 0


def test_frames_are_rows_of_which_only_headers_are_read(folder, monkeypatch):
    frame = frame_of(folder, "1.tif", "broken.png", "0.tif", "scene.png").set_axis(["a", "b", "c", "d"])
    with monkeypatch.context() as patch:
        patch.setattr(decode, "_decode_all", None)
        pages = frame.img.frames("image_path", errors="coerce")
        frame.img.tiles("image_path", 99, errors="coerce")
    assert pages.index.names == [None, "frame"]
    labels, numbers = (pages.index.get_level_values(k) for k in range(2))
    assert labels.tolist() == ["a", "a", "a", "b", "c", "d"]
    assert numbers[:3].tolist() == [0, 1, 2]
    assert numbers.isna().tolist() == [False, False, False, True, False, False]
    images = pages.img.load_resized("image_path", 4, frame="frame", errors="coerce")
    assert images.isna().tolist() == [False, False, False, True, False, False]
    assert [int(np.asarray(images.iloc[k])[0, 0, 0]) for k in (0, 1, 2, 4)] == [100, 110, 120, 0]
    assert len(images.img.failures) == 0
    series = frame["image_path"].img.frames(errors="coerce")
    assert series.columns.tolist() == ["image_path"]
    assert series.index.equals(pages.index)


def test_names_that_the_result_needs_are_free(folder):
    frame = frame_of(folder, "scene.png")
    with pytest.raises(ValueError, match="the frame has a column 'w', and the result of tiles needs that name"):
        frame.assign(w=1).img.tiles("image_path", 8)
    with pytest.raises(ValueError, match="the index has a level 'frame', and the result of frames needs that name"):
        frame.rename_axis("frame").img.frames("image_path")
    with pytest.raises(ValueError, match="stride must be an int"):
        frame.img.tiles("image_path", 8, stride=(1, 2, 3, 4))
    with pytest.raises(TypeError, match="keep_partial=1 is not True or False"):
        frame.img.tiles("image_path", 8, keep_partial=1)


def test_dask_frames_and_tiles_are_lazy_and_equal_pandas(folder):
    frame = frame_of(folder, "1.tif", "small.png", "scene.png", "0.tif")
    ddf = dd.from_pandas(frame, npartitions=2)
    pages, tiles = ddf.img.frames("image_path"), ddf.img.tiles("image_path", 100)
    pd.testing.assert_frame_equal(pages.compute(), frame.img.frames("image_path"), check_dtype=False)
    expected = frame.img.tiles("image_path", 100)
    pd.testing.assert_frame_equal(tiles.compute(), expected, check_dtype=False)
    assert tiles.dtypes[BOX].tolist() == expected.dtypes[BOX].tolist()
    column = tiles.img.load_resized("image_path", 8, box=BOX, outside="pad").compute()
    same = expected.img.load_resized("image_path", 8, box=BOX, outside="pad")
    assert np.array_equal(column.img.to_numpy(), same.img.to_numpy())
    images = pages.img.load_resized("image_path", 4, frame="frame").compute()
    assert images.img.to_numpy()[:3, 0, 0, 0].tolist() == [100, 110, 120]


def test_columns_of_several_levels_are_exploded(folder):
    frame = frame_of(folder, "scene.png")
    frame.columns = pd.MultiIndex.from_tuples([("image", "path"), ("label", "")])
    tiles = frame.img.tiles(("image", "path"), 200)
    assert tiles[("x", "")].tolist() == [0, 200]
