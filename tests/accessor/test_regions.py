"""Boxes and frames as columns: the same pixels in every method and execution, each file read and decoded once."""

from __future__ import annotations

import collections
import warnings

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import encoded, scene
from PIL import Image

import pandas_imgproc
from pandas_imgproc import codec
from pandas_imgproc.codec import decode, frames
from pandas_imgproc.execution import job as job_module

N_FILES, N_BOXES, SIZE = 6, 8, (16, 12)
BOX = ["x", "y", "w", "h"]


def position_image(width, height, number):
    """Return an image in which the color of a pixel is its position and a number."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x % 256, y % 256, np.full_like(x, number)], -1).astype(np.uint8)


def box_of(pixels):
    """Return the position of the first pixel, the size and the number of a crop."""
    return {"x": int(pixels[0, 0, 0]), "y": int(pixels[0, 0, 1]), "w": pixels.shape[1], "h": pixels.shape[0],
            "n": int(pixels[0, 0, 2])}  # fmt: skip


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Return a shuffled frame of boxes, several on each of a few files."""
    folder, rows, rng = tmp_path_factory.mktemp("regions"), [], np.random.default_rng(0)
    for number in range(N_FILES):
        path = str(folder / f"{number}.png")
        Image.fromarray(position_image(120, 90, number)).save(path)
        left, top = rng.integers(0, 100, N_BOXES), rng.integers(0, 70, N_BOXES)
        for k in range(N_BOXES):
            w, h = rng.integers(1, 120 - left[k]), rng.integers(1, 90 - top[k])
            rows.append((path, left[k], top[k], w, h, number))
    frame = pd.DataFrame(rows, columns=["image_path", *BOX, "n"])
    return frame.sample(frac=1, random_state=0).set_axis([f"row {k}" for k in range(len(frame))])


@pytest.fixture
def inline():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def counts(monkeypatch):
    """Return a counter of decoded images, and a list of the rows of each partition."""
    counter, partitions = collections.Counter(), []
    decode_all, run_partition = decode._decode_all, job_module.run_partition

    def counted(*args):
        counter["decoded"] += 1
        return decode_all(*args)

    def recorded(task, partition, *args):
        partitions.append(partition)
        return run_partition(task, partition, *args)

    monkeypatch.setattr(decode, "_decode_all", counted)
    monkeypatch.setattr(job_module, "run_partition", recorded)
    return counter, partitions


def crops(frame, **options):
    """Return the exact crop of each row as an array, by Pillow."""
    images = {path: np.asarray(Image.open(path)) for path in frame["image_path"].unique()}
    return [images[p][y : y + h, x : x + w] for p, x, y, w, h in frame[["image_path", *BOX]].itertuples(index=False)]


# ---- rows


def test_row_is_its_box_in_any_order_of_rows(boxes, inline):
    result = boxes.img.map("image_path", box_of, box=BOX)
    pd.testing.assert_frame_equal(result.astype("int64"), boxes[[*BOX, "n"]].astype("int64"))


def test_all_methods_and_executions_give_the_pixels_of_the_crops(boxes, inline, managed_cluster, tmp_path):
    expected = pd.Series(crops(boxes), index=boxes.index)
    column = boxes.img.load_resized("image_path", SIZE, box=BOX)
    pixels = column.img.to_numpy()
    assert np.array_equal(pixels, expected.img.load_resized(SIZE).img.to_numpy())
    with dask.config.set(scheduler=None):
        spread = boxes.img.load_resized("image_path", SIZE, box=BOX, npartitions=5)
    assert np.array_equal(spread.img.to_numpy(), pixels)
    assert spread.index.equals(boxes.index)
    hashes = boxes.img.hash("image_path", "pixel_md5", box=BOX)
    assert hashes.tolist() == expected.img.hash("pixel_md5").tolist()
    names = ["brightness", "dhash", "width"]
    features = boxes.img.features("image_path", names, box=BOX)
    assert np.allclose(features[names[0]], expected.img.features(names)[names[0]])
    assert features["width"].eq(120).all()  # of the file
    means = boxes.img.map_batches("image_path", lambda images: images.mean((1, 2)), size=SIZE, batch_size=5, box=BOX)
    assert np.allclose(means, pixels.mean((1, 2)))
    for positions, images in boxes.img.batches("image_path", SIZE, batch_size=7, shuffle=True, box=BOX):
        assert np.array_equal(images, pixels[positions])
    data = boxes.img.dataset("image_path", SIZE, box=BOX)
    assert all(np.array_equal(data[k][1], pixels[k]) for k in range(0, len(boxes), 9))
    varied = boxes.img.augment("image_path", lambda image: image, n=2, size=SIZE, box=BOX)
    assert np.array_equal(varied["image"].img.to_numpy(), np.repeat(pixels, 2, axis=0))
    files = boxes.img.save_resized("image_path", f"{tmp_path}/{{stem}}_{{index}}.png", SIZE, box=BOX)
    assert all(np.array_equal(Image.open(path), image) for path, image in zip(files, pixels, strict=True))


def test_dask_frame_of_boxes_equals_pandas(boxes, inline, tmp_path):
    ddf = dd.from_pandas(boxes.rename_axis("row"), npartitions=3, sort=False)
    expected = boxes.img.load_resized("image_path", SIZE, box=BOX)
    column = ddf.img.load_resized("image_path", SIZE, box=BOX).compute()
    assert np.array_equal(column.img.to_numpy(), expected.img.to_numpy())
    files = ddf.img.save_resized("image_path", f"{tmp_path}/{{row}}.png", SIZE, box=BOX).compute()
    assert all(np.array_equal(Image.open(path), np.asarray(image)) for path, image in zip(files, expected, strict=True))
    for positions, images in ddf.img.batches("image_path", SIZE, box=BOX):
        assert np.array_equal(images, expected.img.to_numpy()[positions])
    assert np.array_equal(ddf.img.dataset("image_path", SIZE, box=BOX)[3][1], expected.img.to_numpy()[3])
    lists = boxes.assign(bbox=boxes[BOX].values.tolist())
    listed = dd.from_pandas(lists, npartitions=2, sort=False).img.load_resized("image_path", SIZE, box="bbox")
    assert np.array_equal(listed.compute().img.to_numpy(), expected.img.to_numpy())
    twice = pd.concat([boxes.iloc[:9], boxes.iloc[:3]]).reset_index(drop=True)
    lazy = dd.from_pandas(twice, npartitions=2).img.features("image_path", "phash", box=BOX)
    found = lazy.img.issues(include="is_duplicate").compute()["is_duplicate"]
    assert (
        found.tolist()
        == twice.img.features("image_path", "phash", box=BOX)
        .img.issues(include="is_duplicate")["is_duplicate"]
        .tolist()
    )
    assert found.sum() == 6
    with pytest.raises(ValueError, match="names of columns"):
        ddf.img.load_resized("image_path", SIZE, box=np.zeros((len(boxes), 4)))
    with pytest.raises(KeyError, match=r"box='hh' is no column .* did you mean 'h'"):
        ddf.img.load_resized("image_path", SIZE, box=["x", "y", "w", "hh"])


def test_missing_and_impossible_boxes_cost_their_rows_only(boxes, inline):
    frame = boxes.iloc[:5].astype({"x": float}).copy()
    frame.iloc[1, 1] = np.nan
    frame.iloc[2, 3] = 0
    frame.iloc[3, 2] = 90
    column = frame.img.load_resized("image_path", SIZE, box=BOX, errors="coerce")
    assert column.isna().tolist() == [False, True, True, True, False]
    failures = column.img.failures
    assert failures["position"].tolist() == [2, 3]
    assert failures["kind"].tolist() == ["region", "region"]
    assert all(text.endswith("the image has 120 x 90 pixels") for text in failures["message"])


def test_missing_number_in_a_column_of_boxes_is_missing(boxes, inline):
    paths = boxes["image_path"].iloc[:5]
    box = pd.Series(
        [(1, 2, 3, None), (1, 2, pd.NA, 4), "[1, null, 3, 4]", (1, 2, np.nan, 4), [1, 2, 3, 4]], paths.index
    )
    column = paths.img.load_resized(SIZE, box=box, errors="raise")
    assert column.isna().tolist() == [True, True, True, True, False]


INF = float("inf")


@pytest.mark.parametrize("outside", ["clip", "pad"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_that_are_no_pixels_cost_their_rows_only(boxes, inline, outside):
    huge = [(INF, 0, 5, 5), (-INF, 0, INF, 5), (0, 0, INF, 5), (1e308, 1e308, 1e308, 1e308), (5, 5, 10, 10)]
    paths = boxes["image_path"].iloc[: len(huge)]
    for options in ({}, {"box_format": "cxcywh"}, {"margin": 1e300}):
        column = paths.img.load_resized(SIZE, box=huge, outside=outside, errors="coerce", **options)
        failures = column.img.failures
        assert failures["position"].tolist()[:4] == [0, 1, 2, 3]
        assert set(failures["kind"]) == {"region"}
        assert all("is not finite" in text for text in failures["message"][:3])
    wide = paths.iloc[:1].img.load_resized(SIZE, box=[(0, 0, 1e200, 1e200)], outside=outside, errors="coerce")
    assert wide.isna().tolist() == [outside == "pad"]
    assert all("larger than any image" in text and len(text) < 150 for text in wide.img.failures["message"])


def test_boxes_in_fractions_as_pixels_are_a_warning(boxes, inline):
    box = boxes[BOX].to_numpy() / [120, 90, 120, 90]
    with pytest.warns(UserWarning, match="box= holds numbers from 0 to 1 alone, .* need box_unit='fraction'") as seen:
        boxes["image_path"].img.load_resized(SIZE, box=box)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes["image_path"].img.load_resized(SIZE, box=box, box_unit="fraction")
        boxes["image_path"].img.load_resized(SIZE, box=np.tile([0, 1, 1, 1], (len(boxes), 1)))
        boxes["image_path"].iloc[:0].img.load_resized(SIZE, box=box[:0])


# ---- arguments


def test_formats_units_and_margin_describe_the_same_boxes(boxes, inline):
    expected = boxes.img.load_resized("image_path", SIZE, box=BOX, margin=0.1).img.to_numpy()
    x, y, w, h = (boxes[name].to_numpy(float) for name in BOX)
    forms = {
        "xyxy": [x - 0.1 * w, y - 0.1 * h, x + 1.1 * w, y + 1.1 * h],
        "cxcywh": [x + w / 2, y + h / 2, 1.2 * w, 1.2 * h],
    }
    for box_format, columns in forms.items():
        box = np.stack(columns, axis=1)
        given = boxes["image_path"].img.load_resized(SIZE, box=box, box_format=box_format)
        assert np.abs(given.img.to_numpy().astype(int) - expected).max() <= 1
        box = box / [120, 90, 120, 90]
        given = boxes["image_path"].img.load_resized(SIZE, box=box, box_format=box_format, box_unit="fraction")
        assert np.abs(given.img.to_numpy().astype(int) - expected).max() <= 1


def test_box_is_four_columns_levels_of_the_index_one_column_or_values(boxes, inline):
    expected = boxes.img.load_resized("image_path", SIZE, box=BOX)
    lists = boxes.assign(bbox=boxes[BOX].values.tolist())
    levels = boxes.set_index(["x", "y"], append=True)
    series = boxes["image_path"].img
    given = [
        lists.img.load_resized("image_path", SIZE, box="bbox"),
        lists.assign(bbox=lists["bbox"].map(str)).img.load_resized("image_path", SIZE, box="bbox"),
        levels.img.load_resized("image_path", SIZE, box=BOX),
        series.load_resized(SIZE, box=boxes[BOX]),
        series.load_resized(SIZE, box=boxes[BOX].to_numpy()),
        series.load_resized(SIZE, box=lists["bbox"]),
        boxes.astype(dict.fromkeys(BOX, "Float32")).img.load_resized("image_path", SIZE, box=BOX),
    ]
    two_levels = pd.concat({"train": boxes}, axis=1)
    names = [("train", name) for name in BOX]
    given.append(two_levels.img.load_resized(("train", "image_path"), SIZE, box=names))
    for column in given:
        assert np.array_equal(column.img.to_numpy(), expected.img.to_numpy())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"box": ["x", "y", "w", "hh"]}, KeyError, "box='hh' is no column or level of the frame; did you mean 'h'"),
        ({"box": ["x", "y", "w"]}, ValueError, r"has 3 names, and a box has four"),
        ({"box": ["x", "y", "w", "image_path"]}, TypeError, "the column 'image_path' holds .*, and not numbers"),
        ({"box": "image_path"}, TypeError, "and not four numbers, or a text"),
        ({"box": [["a", 0, 1, 1]] * 48}, TypeError, "holds other values than numbers"),
        ({"box": pd.Series([["a", 0, 1, 1]] * 48)}, TypeError, "and not four numbers"),
        ({"box": pd.DataFrame(np.ones((48, 4)) * 1j)}, TypeError, "holds complex128, and not numbers"),
        ({"box": np.zeros((3, 4))}, ValueError, "box= has 3 rows, and the column has 48"),
        ({"box": np.zeros((48, 5))}, ValueError, r"box= has the shape \(48, 5\)"),
        ({"box": pd.DataFrame(np.zeros((48, 4)))}, ValueError, "box= has another index"),
        ({"box": ["x", "y", "w", "n"], "box_format": "yxyx"}, ValueError, "box_format='yxyx' is not one of 'xywh'"),
        ({"box": BOX, "box_unit": "percent"}, ValueError, "box_unit='percent'"),
        ({"box": BOX, "outside": "crop"}, ValueError, "outside='crop'"),
        ({"box": BOX, "margin": -1}, ValueError, "margin=-1 is not a fraction"),
        ({"margin": 0.1}, ValueError, "margin= is about boxes"),
        ({"frame": "page"}, KeyError, "frame='page' is no column"),
        ({"frame": np.full(48, 0.5)}, ValueError, "frame= holds 0.5"),
        ({"frame": np.full(48, np.inf)}, ValueError, "frame= holds inf"),
        ({"frame": np.full(48, 1e300)}, ValueError, r"frame= holds 1e\+300"),
        ({"frame": "nothing"}, KeyError, "there are 'image_path', 'x', 'y', 'w', 'h', 'n'\"$"),
        ({"frame": True}, TypeError, "frame=True"),
        ({"frame": 1.0}, TypeError, "frame=1.0"),
    ],
)  # fmt: skip
def test_wrong_argument_raises_before_anything_is_read(boxes, options, error, message, monkeypatch):
    monkeypatch.setattr(job_module, "run_partition", None)
    with pytest.raises(error, match=message):
        boxes.img.load_resized("image_path", SIZE, **options)


def test_name_of_column_and_level_is_ambiguous(boxes, inline):
    frame = boxes.set_index("x", drop=False)
    with pytest.raises(ValueError, match="box='x' is both a column and a level"):
        frame.img.load_resized("image_path", SIZE, box=BOX)
    with pytest.raises(TypeError, match=r"box='x' names a column of a frame: use df\.img"):
        boxes["image_path"].img.load_resized(SIZE, box=BOX)
    with pytest.raises(ValueError, match="of one column of images"):
        frame.assign(second=frame["image_path"]).img.map_batches(
            ["image_path", "second"], len, size=8, box=["y", "y", "w", "h"]
        )
    with pytest.raises(ValueError, match="kind='md5' is of the bytes of a file"):
        boxes.img.hash("image_path", "md5", box=BOX)


# ---- frames


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "pages.tif"
    images = [Image.fromarray(position_image(40, 30, number)) for number in range(4)]
    images[0].save(path, save_all=True, append_images=images[1:])
    return str(path)


def numbers_of(column):
    return [None if image is pd.NA else int(np.asarray(image)[0, 0, 2]) for image in column]


def test_frame_is_a_number_a_column_a_level_or_values(pages, inline):
    frame = pd.DataFrame({"image_path": [pages] * 6, "page": [3, 0, 2, None, 1, 3]})
    expected = [3, 0, 2, None, 1, 3]
    levels = frame.assign(page=[3, 0, 2, 0, 1, 3]).set_index("page", append=True)
    for column in (
        frame.img.load_resized("image_path", 8, frame="page"),
        frame["image_path"].img.load_resized(8, frame=frame["page"]),
    ):
        assert numbers_of(column) == expected
    assert numbers_of(levels.img.load_resized("image_path", 8, frame="page")) == [3, 0, 2, 0, 1, 3]
    assert numbers_of(frame.img.load_resized("image_path", 8, frame=2)) == [2] * 6
    sheet = levels.img.show("image_path", frame="page")
    assert "6 of 6 rows" in repr(sheet)


def test_frame_beyond_the_last_is_a_failure_with_the_true_number(pages, inline):
    column = pd.Series([pages] * 3).img.load_resized(8, frame=[9, -1, 3], errors="coerce")
    assert column.img.failures["kind"].tolist() == ["region", "region"]
    assert column.img.failures["message"].tolist() == [
        "there is no frame 9: the image has 4, counted from 0",
        "there is no frame -1: the image has 4, counted from 0",
    ]
    assert numbers_of(column) == [None, None, 3]


def animation(name, mode):
    """Return an animation of small changes, partly transparent."""
    images = []
    for k in range(6):
        image = scene(60, 40).convert("RGBA")
        image.paste((250, 20 * k, 0, 255), (5 * k, 4, 5 * k + 12, 20))
        image.paste((0, 0, 0, 0), (40, 5 * k, 52, 5 * k + 8))
        images.append(image.convert(mode))
    options = {"disposal": 2} if name == "GIF" else {}
    return encoded(images[0], name, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("GIF", "RGBA"), ("GIF", "P"), ("GIF", "L"), ("PNG", "RGBA"), ("PNG", "L"), ("WEBP", "RGBA"), ("TIFF", "RGB"),
     ("TIFF", "P"), ("AVIF", "RGBA")],
)  # fmt: skip
def test_frames_of_one_file_are_those_of_the_file_opened_for_each(name, mode, inline, monkeypatch):
    data, opened = animation(name, mode), []
    open_image = frames.open_image
    monkeypatch.setattr(frames, "open_image", lambda *args: opened.append(args[2]) or open_image(*args))
    order = [4, 0, 2, 2, 5, 9, 1, 3, 4]
    for options in ({}, {"mode": "RGBA", "background": None}, {"mode": "L", "strict": True}):
        opened.clear()
        column = pd.Series([data] * 9).img.load_resized(24, frame=order, errors="coerce", **options)
        for number, image in zip(order, column, strict=True):
            if number == 9:
                assert image is pd.NA
            else:
                alone = pandas_imgproc.load_image(data, 24, frame=number, **options)
                assert np.array_equal(image, alone), (number, options)
        assert len(opened) < 7  # once in each partition


# ---- work


def test_each_image_is_decoded_once_in_each_partition(boxes, inline, counts):
    counter, partitions = counts
    boxes.img.load_resized("image_path", SIZE, box=BOX)
    images = sum(len(set(part.inputs)) for part in partitions)
    assert counter["decoded"] == images
    assert images <= N_FILES + len(partitions)  # a partition may end within an image


def test_boxes_of_one_image_are_decoded_once_and_many_are_divided(tmp_path, counts):
    counter, partitions = counts
    path = tmp_path / "large.jpg"
    scene(500, 400).resize((3200, 2500)).save(path)
    rng = np.random.default_rng(0)
    box = np.concatenate([rng.integers(0, 2000, (200, 2)), rng.integers(20, 800, (200, 2))], axis=1)
    column, small = pd.Series([str(path)] * 200), pd.Series([encoded(scene(64, 48), "JPEG")] * 3000)
    with dask.config.set(scheduler="threads"):
        pixels = column.img.load_resized(64, box=box).img.to_numpy()
        assert counter["decoded"] == len(partitions) == 1
        two = column[:2].img.load_resized(64, box=box[[17, 17]]).img.to_numpy()
        partitions.clear()
        small.img.load_resized(8, box=np.tile([1, 2, 30, 40], (3000, 1)))
    assert np.array_equal(pixels[17], two[0])
    assert len(partitions) > 1


def test_map_batches_decodes_each_image_once_in_each_partition(boxes, inline, counts):
    counter, partitions = counts
    frame = pd.concat([boxes] * 4)
    numbers = frame.img.map_batches("image_path", lambda images: np.arange(len(images)), size=8, batch_size=4, box=BOX)
    assert numbers.tolist() == [k % 4 for k in range(len(frame))]
    assert counter["decoded"] == sum(len(set(part.inputs)) for part in partitions)


def test_remote_file_is_requested_once_in_each_partition(http_server, inline, counts):
    _, partitions = counts
    http_server.files.update({f"{k}.png": encoded(Image.fromarray(position_image(60, 50, k))) for k in range(3)})
    names = [f"{k % 3}.png" for k in range(24)] + ["gone.png"] * 4
    frame = pd.DataFrame({"url": names, "x": [k % 24 for k in range(28)], "y": 2, "w": 9, "h": 8})
    result = frame.img.map("url", box_of, box=BOX, root=http_server.url(), errors="coerce")
    assert result["x"].tolist()[:24] == frame["x"].tolist()[:24]
    assert result["n"].tolist()[:24] == [k % 3 for k in range(24)]
    assert result.img.failures["kind"].tolist() == ["missing"] * 4
    assert http_server.n_requests_by_path["1.png"] <= len(partitions)
    assert http_server.n_requests_by_path["gone.png"] <= len(partitions)


def test_failed_file_is_read_and_decoded_once_for_its_rows(tmp_path, inline, counts):
    counter, partitions = counts
    path = tmp_path / "half.png"
    path.write_bytes(encoded(scene(64, 48))[:2000])
    column = pd.Series([str(path)] * 9).img.load_resized(8, box=np.tile([0, 0, 9, 9], (9, 1)), errors="coerce")
    assert column.img.failures["kind"].tolist() == ["truncated"] * 9
    assert counter["decoded"] == len(partitions)


# ---- results on disk


def test_resumed_job_knows_the_boxes(boxes, inline, tmp_path, counts):
    _, partitions = counts
    out = tmp_path / "crops.npy"
    expected = boxes.img.load_resized("image_path", SIZE, box=BOX)
    boxes.iloc[:20].img.load_resized("image_path", SIZE, box=BOX, out=out)
    partitions.clear()
    column = boxes.img.load_resized("image_path", SIZE, box=BOX, out=out)
    assert sum(map(len, partitions)) == len(boxes) - 20
    assert np.array_equal(column.img.to_numpy(), expected.img.to_numpy())
    moved = boxes.assign(x=boxes["x"] + (np.arange(len(boxes)) == 30))
    with pytest.raises(pandas_imgproc.JournalError, match="row 30 has another path, or another box or frame"):
        moved.img.load_resized("image_path", SIZE, box=BOX, out=out)
    with pytest.raises(pandas_imgproc.JournalError, match="row 0 has another path, or another box or frame"):
        boxes.img.load_resized("image_path", SIZE, out=out)
    parts = boxes.img.load_resized("image_path", SIZE, box=BOX, out=tmp_path / "crops.parquet")
    assert parts.nunique() < 8  # parts of neighbors, not one for each row
    stored = pandas_imgproc.read_result(tmp_path / "crops.parquet")
    assert np.array_equal(stored.img.to_numpy(), expected.img.to_numpy())


def test_saved_crops_need_distinct_names_and_know_their_boxes(boxes, inline, tmp_path):
    with pytest.raises(ValueError, match="would both be written to"):
        boxes.img.save_resized("image_path", tmp_path / "crops", SIZE, box=BOX)
    to = f"{tmp_path}/{{stem}}_{{index}}.png"
    files = boxes.img.save_resized("image_path", to, SIZE, box=BOX)
    assert boxes.img.save_resized("image_path", to, SIZE, box=BOX).equals(files)
    with pytest.raises(pandas_imgproc.JournalError, match="written from another image, box or frame"):
        boxes.assign(x=0).img.save_resized("image_path", to, SIZE, box=BOX)
    folder = boxes["image_path"].iloc[0].rpartition("/")[0]
    beside = boxes.img.save_resized("image_path", "{dir}/crops/{index}.png", SIZE, box=BOX)
    assert len(beside) == len(boxes)
    assert len(pandas_imgproc.from_glob(folder)) == N_FILES


def test_strict_and_sixteen_bits_and_images_in_memory_have_boxes(inline):
    levels = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    data = encoded(Image.fromarray(levels))
    box = np.array([[3, 5, 20, 10]])
    full = pd.Series([data]).img.map(lambda pixels: pixels.tolist(), mode="L", size=None, strict=True, errors="coerce")
    assert len(full) == 1
    crop = pd.Series([data]).img.load_resized((20, 10), box=box, mode="L", strict=True).img.to_numpy()[0, :, :, 0]
    image = pd.Series([data]).img.load_resized((64, 48), mode="L").img.to_numpy()[0, :, :, 0]
    assert np.array_equal(crop, image[5:15, 3:23])
    column = pd.Series([data] * 2).img.load_resized((64, 48), mode="L")
    again = column.img.load_resized((20, 10), box=np.tile(box, (2, 1)), mode="L")
    assert np.array_equal(again.img.to_numpy()[1, :, :, 0], crop)
    assert codec.CHANNELS["L"] == 1
