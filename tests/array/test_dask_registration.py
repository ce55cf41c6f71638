"""Registration of the image dtype with Dask, in either order of import."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from pandas_imgproc import dask_frames
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.errors import failure

dask_frames.register()

import dask  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from dask.tokenize import tokenize  # noqa: E402

N = 20
DTYPE = ImageDtype("uint8", (4, 4, 3))

# Dask calls an argument that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning")


@pytest.fixture(params=["synchronous", "threads"])
def scheduler(request, tmp_path):
    # A pool and a folder per test: Dask keeps its threads, and shuffles leave their files behind.
    config = {"scheduler": request.param, "temporary_directory": str(tmp_path)}
    with ThreadPoolExecutor(2) as pool, dask.config.set(config, pool=pool):
        yield


@pytest.fixture
def df():
    pixels = np.zeros((N, 4, 4, 3), np.uint8)
    pixels[:] = np.arange(N).reshape(-1, 1, 1, 1)
    status = np.zeros(N, np.int32)
    status[[3, 11]] = 1, -1
    pixels[[3, 11]] = 0
    images = ImageArray(pixels, status, [failure(3, "3.jpg", "truncated", "half a file")])
    return pd.DataFrame({"k": np.arange(N)[::-1], "group": np.arange(N) % 3, "image": images})


@pytest.fixture
def ddf(df, scheduler):
    return dd.from_pandas(df, npartitions=4)


def assert_same(result, expected):
    """Compare frames with rows in any order, by their key k."""
    result = result.sort_values("k").reset_index(drop=True)[list(expected.columns)]
    pd.testing.assert_frame_equal(result, expected.sort_values("k").reset_index(drop=True))


def test_dask_frame_roundtrip_preserves_dtype_and_failures(df, ddf):
    assert ddf.dtypes["image"] == DTYPE
    assert ddf._meta_nonempty["image"].dtype == DTYPE
    pd.testing.assert_frame_equal(ddf.compute(), df)
    assert ddf.compute()["image"].array.failures[0]["path"] == "3.jpg"
    assert ddf["image"].compute().dtype == DTYPE


@pytest.mark.parametrize(
    "operation",
    [
        lambda d: d.persist(),
        lambda d: d.repartition(npartitions=2),
        lambda d: d.repartition(npartitions=7),
        lambda d: d.shuffle("group"),
        lambda d: d.shuffle("image"),
        lambda d: d.merge(d[["k"]], on="k"),
        lambda d: d[["k", "group"]].merge(d[["k", "image"]], on="k", how="left"),
        lambda d: d.set_index("k").reset_index(),
        lambda d: d.sort_values("k"),
        lambda d: d.map_partitions(lambda part: part.assign(k=part["k"])),
        lambda d: d.assign(z=d["k"] + 1),
        lambda d: dd.from_delayed(d.to_delayed(), meta=d._meta),
        lambda d: d.drop_duplicates(),
    ],
)
def test_dask_operation_preserves_image_of_row(df, ddf, operation):
    assert_same(operation(ddf).compute(), df)


def test_map_partitions_function_receives_image_array(df, ddf):
    means = ddf.map_partitions(
        lambda part: pd.Series(part["image"].array.to_pixels(na_value=0).mean(axis=(1, 2, 3)), index=part.index),
        meta=pd.Series(dtype=float),
    )
    expected = np.where(df["image"].isna(), 0, np.arange(N)).astype(float)
    assert means.compute().tolist() == expected.tolist()


def test_dask_reductions_count_images(ddf):
    assert len(ddf) == N
    assert ddf["image"].isna().sum().compute() == 2
    assert ddf["image"].nunique().compute() == N - 2
    assert len(ddf.dropna().compute()) == N - 2
    assert len(dd.concat([ddf, ddf]).compute()) == 2 * N
    first = ddf.groupby("group")["image"].first().compute().sort_index()
    assert [int(np.asarray(cell).max()) for cell in first] == [0, 1, 2]
    assert ddf.memory_usage().compute()["image"] == N * (4 * 4 * 3 + 4)


def test_dask_parquet_roundtrip(df, ddf, tmp_path):
    folder = tmp_path / "parts"
    ddf.to_parquet(folder)
    assert_same(dd.read_parquet(folder).compute(), df)
    assert_same(dd.read_parquet(folder, filesystem="arrow").compute(), df)
    assert_same(pd.read_parquet(folder), df)
    assert dd.read_parquet(folder, columns=["image"]).compute().dtypes.to_dict() == {"image": DTYPE}


def test_token_is_deterministic_and_depends_on_content(df):
    array = df["image"].array
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        token = tokenize(df)
        assert token == tokenize(df.copy())
        assert tokenize(array.dtype) == tokenize(ImageDtype("uint8", (4, 4, 3)))
        assert tokenize(array[0]) == tokenize(array[:1][0]) != tokenize(array[1])
        others = [
            array[:-1],
            array[::-1],
            ImageArray(array.pixels + np.uint8(1), array.status, array.failures),
            ImageArray(array.pixels, np.zeros(N, np.int32)),
            ImageArray(array.pixels, array.status, [failure(3, "4.jpg", "truncated", "half a file")]),
            array.astype("image[int8, (4, 4, 3)]"),
        ]
        assert len({tokenize(array), *map(tokenize, others)}) == 7
    assert dd.from_pandas(df, npartitions=4)._name == dd.from_pandas(df.copy(), npartitions=4)._name


def test_token_is_equal_in_another_process():
    code = (
        "import numpy as np, pandas_imgproc.dask_frames as d; d.register()\n"
        "from dask.tokenize import tokenize\n"
        "from pandas_imgproc.array import ImageArray\n"
        "print(tokenize(ImageArray(np.ones((2, 4, 4, 3), 'uint8'), [0, -1])))"
    )
    expected = tokenize(ImageArray(np.ones((2, 4, 4, 3), "uint8"), [0, -1]))
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == expected


@pytest.mark.parametrize("order", ["dask first", "dask last"])
def test_registration_works_in_either_import_order(order):
    library = (
        "import sys, pandas_imgproc.dask_frames as d; d.register(); d.register()\n"
        "print('dask.dataframe' in sys.modules)\n"
    )
    dask_import = "import dask.dataframe as dd\n"
    code = (dask_import + library if order == "dask first" else library + dask_import) + (
        "import numpy as np, pandas as pd\n"
        "from pandas_imgproc.array import ImageArray\n"
        "df = pd.DataFrame({'image': ImageArray(np.zeros((4, 2, 2, 3), 'uint8'))})\n"
        "print(dd.from_pandas(df, npartitions=2)._meta_nonempty['image'].dtype)\n"
        "print(type(dd.from_pandas(df, npartitions=2).img).__name__)\n"
    )
    lines = subprocess.check_output([sys.executable, "-c", code], text=True).split("\n")
    assert lines[:3] == [str(order == "dask first"), "image[uint8, (2, 2, 3)]", "DaskFrameImageAccessor"]
