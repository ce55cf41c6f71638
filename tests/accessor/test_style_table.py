"""Styled table in a real browser: hostile texts in every place of it stay texts."""

from __future__ import annotations

import copy
import pathlib

import numpy as np
import pandas as pd
import pytest

import pandas_imgproc
from pandas_imgproc import ImageArray

# It ends an attribute, a style element and a comment first, and then runs.
HOSTILE = "\"'></style>--><img src=x onerror='document.title=\"PWNED\"'><script>document.title='PWNED'</script>"


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def frame():
    """Return a frame with a hostile text as every kind of label, name and cell."""
    cells = [HOSTILE, [HOSTILE], pathlib.PurePosixPath(HOSTILE)]
    columns = {"text": cells, HOSTILE: pd.Categorical([HOSTILE, None, "b"]), "number": [1.5, 2, 3]}
    frame = pd.DataFrame({**columns, "image": ImageArray(np.zeros((3, 8, 8, 3), "uint8"), [0, 0, -1])})
    frame.index = pd.MultiIndex.from_arrays([[HOSTILE, HOSTILE, "b"], [(HOSTILE,), "\udcff", 3]], names=[HOSTILE, None])
    frame.columns.name = HOSTILE
    return frame


def tooltips(frame):
    return pd.DataFrame(HOSTILE + "\\", index=frame.index, columns=frame.columns)


TABLES = {
    "default": lambda df: pandas_imgproc.style(df),
    "caption": lambda df: pandas_imgproc.style(df).set_caption(HOSTILE),
    "long caption": lambda df: pandas_imgproc.style(df).set_caption((HOSTILE, HOSTILE)),
    "format": lambda df: pandas_imgproc.style(df).format(precision=1).format("<b>{}</b>", ["text"], na_rep=HOSTILE),
    "labels": lambda df: pandas_imgproc.style(df).format_index(lambda label: label).format_index(lambda n: n, axis=1),
    "css": lambda df: pandas_imgproc.style(df).map(lambda _: f"color: {HOSTILE.replace(':', '').replace(';', '')}"),
    "tooltips": lambda df: pandas_imgproc.style(df).set_tooltips(tooltips(df)),
    "copy": lambda df: copy.deepcopy(pandas_imgproc.style(df)),
    "levels": lambda df: pandas_imgproc.style(df.T.reset_index(drop=True).T.set_axis(pd.MultiIndex.from_product(
        [[HOSTILE], range(4)], names=[HOSTILE, HOSTILE]), axis=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_hostile_texts_of_styled_table_stay_texts(page, frame, name):
    page.set_content(f"<title>safe</title>{TABLES[name](frame).to_html()}", wait_until="load")
    assert page.title() == "safe"
    assert page.locator("script, img[src=x]").count() == 0
    assert page.locator("td img").count() == 2, "the images, and nothing else"
    assert page.locator("th", has_text="<script>").count() >= 3, "labels and names are shown as they are"


def test_thumbnails_survive_formatters_and_have_requested_size(page, frame):
    page.set_content(pandas_imgproc.style(frame[["image"]], size=48).format(precision=1).to_html(), wait_until="load")
    sizes = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.naturalHeight])")
    assert sizes == [[48, 48], [48, 48]]


def test_series_of_images_is_a_table_of_one_column(frame):
    html = pandas_imgproc.style(frame["image"].reset_index(drop=True)).to_html()
    assert html.count("<img") == 2


def test_style_of_anything_else_is_refused():
    with pytest.raises(TypeError, match="neither a DataFrame nor a Series"):
        pandas_imgproc.style([1])
    with pytest.raises(ValueError, match="size=0"):
        pandas_imgproc.style(pd.DataFrame(), size=0)


@pytest.mark.parametrize("named", [True, False])
def test_hostile_captions_of_contact_sheet_stay_texts(page, frame, named):
    frame = frame if named else frame.reset_index(drop=True)
    sheet = frame.img.show("image", title=["text", HOSTILE])
    page.set_content(f"<title>safe</title>{sheet._repr_html_()}", wait_until="load")
    assert page.title() == "safe"
    assert page.locator("img").count() == 2
