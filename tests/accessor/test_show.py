"""`show`: the contact sheet of the first rows, as HTML and as a file."""

from __future__ import annotations

import base64
import io
import re

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import image_bytes, row_of
from PIL import Image

import pandas_imgproc
from pandas_imgproc.accessor.display.html import MAX_HTML_CHARS


@pytest.fixture
def frame(tmp_path):
    for k in range(30):
        (tmp_path / f"{k}.png").write_bytes(image_bytes(k))
    (tmp_path / "3.png").write_bytes(b"")
    paths = [str(tmp_path / f"{k}.png") for k in range(30)]
    paths[5] = None
    names = [f"<b>cup {k}</b> & ünï" for k in range(30)]
    return pd.DataFrame({"image_path": paths, "name": names, "price": range(30)}, index=np.arange(30) % 7)


def images(sheet):
    encoded = re.findall(r"base64,([^']+)'", sheet._repr_html_())
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in encoded]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_show_displays_first_rows_in_order(frame, scheduler):
    with dask.config.set(scheduler=scheduler):
        sheet = frame.iloc[::-1].img.show("image_path", n=4)
    assert [row_of(np.asarray(image)) for image in images(sheet)] == [29, 28, 27, 26]


def test_show_on_cluster_gives_same_html(frame, managed_cluster):
    with dask.config.set(scheduler="distributed"):
        sheet = frame.img.show("image_path")
    assert sheet._repr_html_() == frame.img.show("image_path")._repr_html_()


def test_show_reads_n_rows_and_displays_failures(frame):
    frame.iloc[10:, 0] = "/not/read.jpg"
    sheet = frame.img.show("image_path", n=10)
    assert (sheet.n, sheet.failures) == (10, 1)
    html = sheet._repr_html_()
    assert "empty" in html
    assert "the file has no bytes" in html
    assert html.count("<div class='no'>missing</div>") == 1


def test_html_escapes_text_and_preserves_order_of_titles(frame):
    html = frame.img.show("image_path", n=2, title=["price", "name"])._repr_html_()
    assert "<b>cup" not in html
    first = html.split("<figure>")[1]
    lines = re.findall(r"<figcaption[^>]*>([^<]*)<", first)
    assert lines == ["0", "0", "&lt;b&gt;cup 0&lt;/b&gt; &amp; ünï"]


def test_show_of_image_column_displays_its_failures(frame):
    frame["image"] = frame.img.load_resized("image_path", 32, errors="coerce")
    for sheet in (frame.img.show("image"), frame["image"].img.show()):
        assert sheet.failures == 1
        assert [row_of(np.asarray(image)) for image in images(sheet)] == [k for k in range(24) if k not in (3, 5)]


def test_sheet_is_saved_as_file(frame, tmp_path):
    sheet = frame.img.show("image_path", title="name")
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == sheet.image.size
        assert image.width <= 2000


def test_html_size_is_bounded():
    noise = np.random.default_rng(0).integers(0, 256, (200, 160, 160, 3), dtype="uint8")
    html = pd.Series(pandas_imgproc.ImageArray(noise)).img.show(n=200)._repr_html_()
    assert len(html) <= MAX_HTML_CHARS
    assert re.search(r"and \d+ more", html)


def test_tile_preserves_aspect_ratio(tmp_path):
    Image.new("RGB", (800, 200), "red").save(tmp_path / "wide.png")
    (image,) = images(pd.Series([tmp_path / "wide.png"]).img.show())
    assert image.size == (160, 40)


def test_show_accepts_empty_missing_and_undecodable_rows(frame):
    assert "no rows" in frame.iloc[:0].img.show("image_path")._repr_html_()
    assert pd.Series([None, None]).img.show().n == 2
    assert (
        pd.Series(["a\udcff.jpg"], index=pd.Index(["b\udcff"], dtype=object), dtype=object)
        .img.show()
        ._repr_html_()
        .encode()
    )
    many = frame.set_index(["name", "price"]).img.show("image_path", n=1)
    assert "ünï, 0<" in many._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"title": "nme"}, KeyError, "did you mean 'name'"),
        ({"n": 0}, ValueError, "n=0"),
        ({"n": 201}, ValueError, "n=201"),
        ({"n": "9"}, TypeError, "n='9'"),
    ],
)
def test_show_rejects_invalid_arguments(frame, arguments, error, message):
    with pytest.raises(error, match=message):
        frame.img.show("image_path", **arguments)


def test_title_series_needs_same_index(frame):
    html = frame["image_path"].iloc[::-1].img.show(n=1, title=[frame["price"].iloc[::-1]])._repr_html_()
    assert re.findall(r"<figcaption[^>]*>([^<]*)<", html) == ["1", "29"]
    with pytest.raises(ValueError, match="'price' is a column of another index"):
        frame["image_path"].iloc[::-1].img.show(n=1, title=frame["price"])


def test_thumbnail_formats_styled_table(frame):
    frame["image"] = frame.img.load_resized("image_path", 32, errors="coerce")
    html = frame[["image", "name"]].head(6).style.format({"image": pandas_imgproc.thumbnail}, escape="html").to_html()
    encoded = re.findall(r"base64,([^']+)'", html)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in encoded]
    assert [row_of(pixels) for pixels in shown] == [0, 1, 2, 4]  # 3 and 5 are missing
    assert {pixels.shape for pixels in shown} == {(96, 96, 3)}
    assert html.count("<img alt='' src='data:image/png;base64,") == 4
    assert "<b>cup" not in html


def test_title_name_on_series_raises(frame):
    with pytest.raises(TypeError, match=r"df\.img\.show"):
        frame["image_path"].img.show(title="name")


# ---- overlays


@pytest.fixture
def overlaid(tmp_path):
    """Return a frame of gray images of 200 x 100 pixels, with a mask of two classes and a box."""
    Image.new("RGB", (200, 100), (100, 100, 100)).save(tmp_path / "a.png")
    ids = np.zeros((100, 200), "uint8")
    ids[:, 100:150], ids[:, 150:] = 1, 2
    Image.fromarray(ids).save(tmp_path / "a_mask.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [str(tmp_path / "a.png")] * 4
    masks = [str(tmp_path / name) for name in ("a_mask.png", "a_mask.png", "broken.png", "a_mask.png")]
    frame = pd.DataFrame({"image_path": paths, "mask_path": masks, "kind": ["cup", "cat", "cup", "cup"]})
    return frame.assign(x=50.0, y=50.0, w=100.0, h=50.0).astype({"kind": "str"})


def is_painted(image, x, y):
    """Return whether a pixel of a tile is not gray, as the image is; JPEG leaves gray nearly gray."""
    pixel = image.getpixel((x, y))
    return max(pixel) - min(pixel) > 40


def test_show_lays_masks_over_images(overlaid):
    sheet = overlaid.img.show("image_path", mask="mask_path")
    first, second, last = images(sheet)
    assert first.size == (160, 80)
    for image in (first, second, last):
        assert not is_painted(image, 40, 40)
        left, right = image.getpixel((100, 40)), image.getpixel((140, 40))
        assert is_painted(image, 100, 40)
        assert is_painted(image, 140, 40)
        assert np.abs(np.subtract(left, right)).max() > 40
    assert sheet.failures == 1
    assert "unidentified" in sheet._repr_html_()
    assert overlaid.img.show("image_path", mask=overlaid["mask_path"])._repr_html_() == sheet._repr_html_()


def test_show_draws_boxes_with_labels(overlaid):
    overlaid.loc[3, "x"] = None
    sheet = overlaid.img.show("image_path", title="kind", box=["x", "y", "w", "h"])
    cup, cat, other, none = images(sheet)
    for image in (cup, cat, other):
        for x, y in ((40, 60), (80, 40), (80, 79), (119, 60)):  # its four sides, at 0.8 of the scale
            assert is_painted(image, x, y)
        assert is_painted(image, 42, 30)  # of the label above
        assert not is_painted(image, 80, 60)
        assert not is_painted(image, 20, 60)
    assert not any(is_painted(none, x, y) for x, y in ((40, 60), (80, 40), (80, 79)))
    color = np.array([image.getpixel((60, 40)) for image in (cup, cat, other)]).astype(int)
    assert np.abs(color[0] - color[2]).max() < 10 < np.abs(color[0] - color[1]).max()


def test_box_outside_of_the_image_is_not_drawn_and_a_label_leaves_its_box_free(overlaid):
    boxes = [(300, 10, 50, 50), (-60, 10, 50, 50), (50, 50, -20, 20), (50, 50, 0, 20), (20, 4, 60, 30)]
    paths = pd.Series([overlaid["image_path"].iloc[0]] * 6)
    *outside, top, endless = images(paths.img.show(box=[*boxes, (20, 20, float("inf"), 30)]))
    grid = [(x, y) for x in range(0, 160, 4) for y in range(0, 80, 4)]
    assert not any(is_painted(tile, *point) for tile in outside for point in grid)
    assert is_painted(top, 30, 3)
    assert not any(is_painted(top, x, 15) for x in range(22, 60))
    assert is_painted(top, 17, 35)  # its label
    assert is_painted(endless, 150, 16)
    assert not is_painted(endless, 150, 30)


def test_forms_of_boxes_are_drawn_alike(overlaid):
    expected = overlaid.img.show("image_path", box=["x", "y", "w", "h"])._repr_html_()
    corners, center = [[50, 50, 150, 100]] * 4, np.array([[0.5, 0.75, 0.5, 0.5]] * 4)
    shown = overlaid["image_path"].img.show(box=np.array(corners), box_format="xyxy")
    assert shown._repr_html_() == expected
    shown = overlaid.img.show("image_path", box=center, box_format="cxcywh", box_unit="fraction")
    assert shown._repr_html_() == expected
    with dask.config.set(scheduler="synchronous"):
        lazy = dd.from_pandas(overlaid, npartitions=2).img.show("image_path", box=["x", "y", "w", "h"])
    assert lazy._repr_html_() == expected


def test_image_columns_are_shown_with_masks_and_boxes(overlaid):
    overlaid["image"] = overlaid.img.load_resized("image_path", size=(200, 100))
    overlaid["mask"] = overlaid.img.load_resized("mask_path", size=(200, 100), mode="P", errors="coerce")
    from_files = overlaid.img.show("image_path", mask="mask_path", box=["x", "y", "w", "h"])
    assert overlaid.img.show("image", mask="mask", box=["x", "y", "w", "h"]).failures == 1
    pairs = zip(
        images(overlaid.img.show("image", mask="mask", box=["x", "y", "w", "h"])), images(from_files), strict=True
    )
    assert all(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() < 30 for one, other in pairs)
    with dask.config.set(scheduler="synchronous"):
        lazy = dd.from_pandas(overlaid, npartitions=2).img.show("image_path", mask="mask_path")
    assert lazy._repr_html_() == overlaid.img.show("image_path", mask="mask_path")._repr_html_()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask": "nothing"}, KeyError, "no column 'nothing'"),
        ({"box": ["x", "y"]}, ValueError, "a box has four"),
        ({"box": ["kind"] * 4}, TypeError, "and not numbers"),
        ({"box_format": "xyxy"}, ValueError, "there is no box="),
    ],
)
def test_wrong_overlay_raises(overlaid, options, error, message):
    with pytest.raises(error, match=message):
        overlaid.img.show("image_path", **options)
