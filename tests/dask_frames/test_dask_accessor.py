"""``.img`` on Dask frames: the results of pandas, lazily, with each scheduler."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import pandas as pd
import pytest
from cluster_subprocess import SubprocessCluster
from distributed import Client, KilledWorker, wait
from image_factory import row_image, row_of
from PIL import Image

from conftest import cluster_pids, wait_until
from pandas_imgproc import ImageDtype, UnreadableImageError, UnreadableImageWarning, read_result

cloudpickle.register_pickle_by_value(image_factory)

# Dask calls functions that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning")

N = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, two of them broken, and a CSV in four parts: labels restart in each, and one has no rows."""
    folder = tmp_path_factory.mktemp("frames")
    (folder / "pics").mkdir()
    for i in range(N):
        row_image(i * 90, (20 + i, 16)).save(folder / "pics" / f"{i}.png")
    (folder / "pics" / "4.png").write_bytes((folder / "pics" / "5.png").read_bytes()[:60])
    names = [str(folder / "pics" / f"{i}.png") for i in range(N)]
    names[7], names[9] = None, str(folder / "pics" / "gone.png")
    (folder / "pics" / "deep").mkdir()  # the only one of its part, whose common folder differs from that of all parts
    names[5] = str(shutil.move(names[5], folder / "pics" / "deep"))
    df = pd.DataFrame({"image_path": names, "label": list("ab") * (N // 2), "n": range(N)})
    for part, rows in enumerate([range(5), range(0), range(5, 6), range(6, N)]):
        df.iloc[rows].to_csv(folder / f"part-{part}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def ddf(folder):
    return dd.read_csv(str(folder / "part-*.csv"))


@pytest.fixture(scope="module")
def df(ddf):
    return ddf.compute(scheduler="synchronous")


@pytest.fixture(params=["threads", "managed", "subprocesses", "client of threads"])
def scheduler(request):
    """Dask scheduler: threads, the managed cluster, processes in other folders, or a client of threads."""
    if request.param == "threads":
        with ThreadPoolExecutor(2) as pool, dask.config.set(scheduler="threads", pool=pool):
            yield
    elif request.param == "managed":
        with request.getfixturevalue("managed_cluster").as_current():
            yield
    elif request.param == "subprocesses":
        started = SubprocessCluster(request.getfixturevalue("tmp_path"))
        try:
            started.worker("--nthreads", "2", "--no-nanny")
            with started.client() as client:
                client.wait_for_workers(1)
                yield
        finally:
            started.close()
    else:
        folder = str(request.getfixturevalue("tmp_path"))
        with Client(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", local_directory=folder
        ):
            yield


def functions():
    """Return two functions that are pickled by value, because workers cannot import this module."""

    def noisy(pixels, rng):
        return (pixels * rng.uniform(0.3, 1)).astype("uint8")

    def mean(pixels):
        return {"mean": float(pixels.mean()), "height": pixels.shape[0]}

    return noisy, mean


noisy, mean = functions()


def results_of(frame, to):
    """Return the result of each method of a frame but `show`, by name."""
    img, options = frame.img, {"errors": "coerce"}
    dtype = {"mean": "float64", "height": "int64"}
    return {
        "load_resized": img.load_resized("image_path", (6, 4), **options),
        "of a series": frame["image_path"].img.load_resized(4, fit="crop", **options),
        "verify": img.verify("image_path"),
        "metadata": img.metadata("image_path", **options),
        "features": img.features("image_path", ["brightness", "width", "phash", "md5"], **options),
        "hash": img.hash("image_path", "dhash", **options),
        "duplicate_groups": img.duplicate_groups("image_path", max_distance=8, **options),
        "issues": img.issues("image_path", ["is_dark", "is_odd_size"], **options),
        "issues by row": img.issues("image_path", ["is_dark"], **options),
        "map": img.map("image_path", mean, dtype=dtype, **options),
        "map to one": img.map("image_path", lambda pixels: pixels.shape[1], dtype="Int64", **options),
        "map to images": img.map("image_path", np.flipud, size=4, dtype=ImageDtype("uint8", (4, 4, 3)), **options),
        "augment": img.augment("image_path", noisy, n=2, size=4, seed=3, **options),
        "augment a series": frame["image_path"].img.augment(noisy, n=2, size=4, **options),
        "augment to files": img.augment(
            "image_path", noisy, 2, size=4, to=f"{to}/v/{{position}}_{{variant}}.png", **options
        ),
        "save_resized": img.save_resized("image_path", f"{to}/{{label}}/{{position}}_{{stem}}.png", 5, **options),
        "save_thumbnails": img.save_thumbnails("image_path", f"{to}/t", 8, **options),
        "download": img.download("image_path", f"{to}/d", **options),
    }


@pytest.fixture(scope="module")
def expected(df, tmp_path_factory):
    to = tmp_path_factory.mktemp("pandas")
    with dask.config.set(scheduler="threads"):
        results = results_of(df, to)
        df = df.assign(image=results["load_resized"])
        return {**results, "save": df.img.save("image", f"{to}/s/{{position}}.png", errors="coerce")}, to


def assert_same(result, expected, renamed=("", "")):
    if isinstance(expected, pd.DataFrame):
        assert list(result.columns) == list(expected.columns)
        pd.testing.assert_index_equal(result.index, expected.index)
        for name in expected.columns:
            assert_same(result[name], expected[name], renamed)
        return
    if expected.name == "path":
        result = result.str.replace(*map(str, renamed), regex=False)
    if isinstance(expected.dtype, pd.CategoricalDtype):  # in the order of the partitions
        assert set(result.cat.categories) == set(expected.cat.categories)
        result, expected = result.astype(object), expected.astype(object)
    pd.testing.assert_series_equal(result, expected)


def test_every_method_equals_pandas(scheduler, ddf, expected, tmp_path):
    wanted, to = expected
    lazy = results_of(ddf, tmp_path / "out")
    loaded = ddf.assign(image=lazy["load_resized"])
    lazy["save"] = loaded.img.save("image", f"{tmp_path}/out/s/{{position}}.png", errors="coerce")
    tables = {name: lazy[name].img.failures for name in lazy}
    results, failures = dask.compute(lazy, tables)
    for name, result in results.items():
        assert_same(result, wanted[name], (tmp_path / "out", to))
        pd.testing.assert_frame_equal(
            failures[name].drop(columns="position"), wanted[name].img.failures.drop(columns="position")
        )
    files = {path.relative_to(to): path.read_bytes() for path in to.rglob("*.png")}
    assert files == {
        path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.png")
    }
    assert len(files) > 4 * N


def test_dtypes_partitions_and_divisions_are_known_before_compute(folder, df):
    nowhere = df.assign(image_path="/nowhere/a.png").reset_index(drop=True)
    ddf = dd.from_pandas(nowhere, npartitions=3)
    loaded = ddf.img.load_resized("image_path", 4, errors="raise")
    assert loaded.dtype == ImageDtype("uint8", (4, 4, 3))
    assert loaded.divisions == ddf.divisions
    mapped = ddf.img.map("image_path", mean, dtype={"mean": "float64", "height": "int64"})
    assert mapped.dtypes.to_dict() == {"mean": np.float64, "height": pd.Int64Dtype()}  # rows may be missing
    long = ddf.img.augment("image_path", noisy, n=2, size=4)
    assert list(long.columns) == ["image_path", "label", "n", "image"]
    assert not long.known_divisions
    assert not ddf["image_path"].img.augment(noisy, n=2, size=4).known_divisions
    pd.testing.assert_frame_equal(
        ddf.img.features("image_path").partitions[0]._meta, ddf.img.features("image_path")._meta
    )
    assert ddf.img.verify("image_path").img.failures.dtypes["kind"] == loaded.img.failure_kind.dtype
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(UnreadableImageError, match=r"row 0 \(index 4\), '/nowhere/a.png': there is no such file"):
            loaded.partitions[1].compute()
        # Other partitions may have readable images: a partition without any is no error.
        with pytest.warns(
            UnreadableImageWarning, match=r"load_resized: 4 of 4 .*\(4 missing\); in its partition the first is row 0"
        ):
            ddf.img.load_resized("image_path", 4).partitions[1].compute()


def test_result_columns_assigned_to_their_frame_equal_pandas(ddf, df, tmp_path):
    with dask.config.set(scheduler="synchronous"):
        frame = ddf.assign(image=ddf.img.load_resized("image_path", 4, errors="coerce"))
        frame["failure"] = frame["image"].img.failure_kind
        frame["group"] = ddf.img.duplicate_groups("image_path", errors="coerce")
        wanted = df.assign(image=df.img.load_resized("image_path", 4, errors="coerce"))
        wanted["failure"] = wanted["image"].img.failure_kind
        wanted["group"] = df.img.duplicate_groups("image_path", errors="coerce")
        frame.to_parquet(tmp_path / "parts")
        stored = dd.read_parquet(tmp_path / "parts").compute()
        pd.testing.assert_frame_equal(stored, wanted, check_dtype=False, check_categorical=False)
        # Partitions computed alone have the same groups and random numbers.
        pd.testing.assert_frame_equal(frame.partitions[2:].compute(), wanted.iloc[5:])
        long = ddf.img.augment("image_path", noisy, n=1, size=4, errors="coerce").partitions[3].compute()
        same = df.img.augment("image_path", noisy, n=1, size=4, errors="coerce").iloc[6:]
        pd.testing.assert_frame_equal(long, same)
        block = frame["image"].img.to_numpy(na_value=7)
        np.testing.assert_array_equal(block, wanted["image"].img.to_numpy(na_value=7))
        hashes = ddf.img.hash("image_path", errors="coerce")
        groups = hashes.img.duplicate_groups(max_distance=4)
        pd.testing.assert_series_equal(groups.compute(), hashes.compute().img.duplicate_groups(max_distance=4))
        sheet = ddf.img.show("image_path", 6, title="label")
        assert repr(sheet).startswith("<contact sheet of the first 6 rows, 1 failed")
        assert np.array_equal(sheet.image, df.img.show("image_path", 6, title="label").image)
        assert repr(frame["image"].img.show(2)).startswith("<contact sheet of the first 2 rows;")


def test_duplicate_groups_do_not_depend_on_shuffled_order(df):
    many = pd.concat([df] * 8, ignore_index=True)
    many["bytes"] = [None if pd.isna(path) or "gone" in path else Path(path).read_bytes() for path in many.image_path]
    options = {"errors": "coerce"}
    with dask.config.set({"scheduler": "synchronous", "dataframe.convert-string": False}):  # bytes are not strings
        # The order in a partition differs in each computation, as with Dask's shuffle by disk in threads.
        moved = dd.from_pandas(many, npartitions=4).map_partitions(lambda part: part.sample(frac=1))
        moved["image"] = moved.img.load_resized("bytes", 8, **options)
        hashes = moved.img.features("image_path", ["pixel_md5", "width", "height"], **options)
        result = moved.assign(
            of_paths=moved.img.duplicate_groups("image_path", "pixels", **options),
            of_bytes=moved["bytes"].img.duplicate_groups("pixels", **options),
            of_images=moved["image"].img.duplicate_groups("pixels", **options),
            of_hashes=hashes["pixel_md5"].img.duplicate_groups("pixels"),
            odd=hashes.img.issues(include="is_odd_size", odd_size=0.1)["is_odd_size"],
        )
        result = result.compute()
    assert len(result) == len(many)
    lacking = result["n"].isin([4, 7, 9])
    for name in ("of_paths", "of_bytes", "of_images", "of_hashes"):
        groups = result.groupby("n")[name]
        assert (groups.nunique(dropna=False) == 1).all(), name
        assert (result[name].isna() == lacking).all(), name
        assert result[name].nunique() == N - 3, name
    features = many.img.features("image_path", ["pixel_md5", "width", "height"], **options)
    odd = features.img.issues(include="is_odd_size", odd_size=0.1)["is_odd_size"]
    assert 0 < odd.sum() < len(odd) - 1
    assert result.set_index("n")["odd"].groupby("n").agg(set).equals(odd.groupby(many["n"]).agg(set))


def test_new_index_labels_output_paths_and_groups(df, tmp_path):
    ddf = dd.from_pandas(df.reset_index(drop=True), npartitions=3)
    with dask.config.set(scheduler="synchronous"):
        reset = ddf.reset_index(drop=True)  # 0 to 3 in each partition
        with pytest.raises(ValueError, match=r"row 0 and row 4 \(index 0\) would both be written"):
            reset.img.load_resized("image_path", 4).img.save(f"{tmp_path}/{{index}}.png")
        reindexed = ddf.assign(n=ddf["n"] + 100).set_index("n", sorted=True)
        loaded = reindexed.assign(image=reindexed.img.load_resized("image_path", 4, errors="coerce"))
        files = loaded.img.save("image", f"{tmp_path}/{{index}}.png", errors="coerce").dropna().compute()
        assert [os.path.basename(path) for path in files] == [f"{label}.png" for label in files.index]
        grouped = reset.assign(group=reset.img.duplicate_groups("image_path", errors="coerce")).compute()
        wanted = df.img.duplicate_groups("image_path", errors="coerce")
        assert grouped["group"].fillna(-1).tolist() == wanted.fillna(-1).tolist()
        assert grouped.index.tolist() == [*range(4)] * 3


def test_partition_without_camera_has_the_same_dtype(tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "Model T"
    row_image(0, (8, 8)).save(tmp_path / "0.jpg", exif=exif)
    row_image(90, (8, 8)).save(tmp_path / "1.jpg")
    paths = pd.DataFrame({"image_path": [str(tmp_path / name) for name in ("0.jpg", "1.jpg")]})
    whole = paths.img.metadata("image_path")
    none = paths.iloc[1:].img.metadata("image_path")["camera"]
    assert none.cat.categories.dtype == whole["camera"].cat.categories.dtype
    result = dd.from_pandas(paths, npartitions=2).img.metadata("image_path").compute(scheduler="synchronous")
    pd.testing.assert_frame_equal(result, whole, check_categorical=False)
    assert "Model T" in result["camera"].iloc[0]


def test_undeclared_columns_are_failures(df, tmp_path):
    def columns_by_width(pixels):
        return {"a": 1, "b": 2} if pixels.shape[1] == 22 else {} if pixels.shape[1] == 23 else {"a": 1}

    some = df.iloc[:4].reset_index(drop=True)
    ddf, options = dd.from_pandas(some, npartitions=2), {"dtype": {"a": "int64"}, "errors": "coerce"}
    with dask.config.set(scheduler="synchronous"):
        computed = dask.compute(lazy := ddf.img.map("image_path", columns_by_width, **options), lazy.img.failures)
    some.img.map("image_path", columns_by_width, out=tmp_path / "map.parquet", **options)
    parts = read_result(tmp_path / "map.parquet")
    for result in (computed[0], parts):
        assert result.reset_index(drop=True).fillna(0).to_dict("list") == {"a": [1, 1, 0, 0]}
    assert computed[1][["kind", "message"]].to_numpy().tolist() == [
        ["function", "it returned 'b' too; by dtype= the columns are ['a']"]
    ]
    assert list(some.img.map("image_path", columns_by_width, **options).columns) == [
        "a",
        "b",
    ]  # without a declared dtype


def test_failure_names_the_file_of_a_function_pickled_by_value(df, managed_cluster):
    def fails(pixels):
        return 1 / 0

    ddf = dd.from_pandas(df.iloc[:2].reset_index(drop=True), npartitions=2)
    with managed_cluster.as_current():
        lazy = ddf.img.map("image_path", fails, dtype="float64", errors="coerce")
        messages = lazy.img.failures.compute()["message"]
    line = fails.__code__.co_firstlineno + 1
    assert set(messages) == {f"ZeroDivisionError: division by zero (fails, line {line} of test_dask_accessor.py)"}


def test_each_image_is_read_once_at_compute(http_server, tmp_path):
    http_server.files.update({f"{i}.png": image_factory.image_bytes(i, "PNG") for i in range(6)})
    names = pd.DataFrame({"url": [http_server.url(f"{i}.png") for i in [*range(6), 99]]})
    ddf = dd.from_pandas(names, npartitions=3)
    ddf["image"] = ddf.img.load_resized("url", 4, errors="coerce")
    ddf["why"] = ddf["image"].img.failure_kind
    with ThreadPoolExecutor(2) as pool, dask.config.set(scheduler="threads", pool=pool):
        files = ddf.img.save("image", f"{tmp_path}/{{position}}.png", errors="coerce")
        assert not http_server.n_requests_by_path
        done, table, files = dask.compute(ddf, ddf["image"].img.failures, files)
    assert [row_of(np.asarray(cell)) for cell in done["image"][:6]] == list(range(6))
    assert done["why"].dropna().to_dict() == {6: "missing"} == table["kind"].to_dict()
    assert files.notna().sum() == 6
    assert dict(http_server.n_requests_by_path) == dict.fromkeys([f"{i}.png" for i in [*range(6), 99]], 1)


def test_invalid_arguments_raise_before_compute(ddf, df, tmp_path):
    img = ddf.img
    with pytest.raises(ValueError, match=r"out= is for pandas; .* ddf.to_parquet\(folder\)"):
        img.load_resized("image_path", 4, out=tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"npartitions=3: a Dask frame has its own partitions; ddf.repartition"):
        img.hash("image_path", npartitions=3)
    with pytest.raises(ValueError, match=r"progress=True: the call is lazy; .*ProgressBar"):
        img.hash("image_path", progress=True)
    with pytest.raises(ValueError, match=r"a Dask column needs dtype=, because all parts must be alike"):
        img.map("image_path", mean)
    with pytest.raises(ValueError, match=r"a Dask column needs size=: the shape of all images"):
        img.augment("image_path", noisy)
    with pytest.raises(KeyError, match=r"no column 'image_pth'; did you mean 'image_path'"):
        img.verify("image_pth")
    with pytest.raises(TypeError, match=r"the column 'n' holds int64, not paths"):
        img.verify("n")
    with pytest.raises(TypeError, match=r"the column 'label' holds string, not images"):
        ddf["label"].img.to_numpy()
    with pytest.raises(KeyError, match=r"the frame has no column 'lable'; did you mean 'label'"):
        img.download("image_path", "{lable}/{name}")
    with pytest.raises(KeyError, match=r"brightness_p99"):
        img.issues(include="is_dark")
    with dask.config.set(scheduler="synchronous"):
        # The rows are in two partitions, and nothing is written.
        with pytest.raises(ValueError, match=r"row 0 and row 2 would both be written to"):
            img.save_resized("image_path", f"{tmp_path}/{{label}}.png", 4)
        images = ddf.assign(image=img.load_resized("image_path", 4)).img
        with pytest.raises(ValueError, match=r"row 0 and row 5 .* would both be written to"):
            images.save("image", f"{tmp_path}/{{index}}.png")
        with pytest.raises(ValueError, match=r"JPEG files cannot hold mode='RGBA'"):
            img.save_resized("image_path", f"{tmp_path}/{{n}}.jpg", 4, mode="RGBA")
    assert not list(tmp_path.iterdir())


def count_ledgers():
    """Return the number of crash ledgers (memfd) that this process has open, and the key of the managed cluster."""
    links = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd.isdigit())
    return sum("memfd:pandas-imgproc" in link for link in _readable(links))


def _readable(links):
    while True:
        try:
            yield next(links)
        except StopIteration:
            return
        except OSError:
            return


def test_rows_that_crash_their_worker_are_only_failures(managed_cluster, folder, df, tmp_path, monkeypatch):
    tries, before = tmp_path / "tries", count_ledgers()

    def crash(pixels):
        if pixels.shape[1] == 22:
            with tries.open("a") as file:
                file.write("x")
            os._exit(3)
        return pixels.shape[1]

    good = df[df["image_path"].notna() & ~df["image_path"].str.contains("4.png|gone", na=False)]
    ddf = dd.from_pandas(good.reset_index(drop=True), npartitions=2)
    widths = ddf.img.map("image_path", crash, dtype="Int64", errors="coerce")
    with managed_cluster.as_current():
        persisted = widths.persist()
        wait(persisted)
        # Results are lost with their workers and computed again, without the rows that crash.
        for pid in cluster_pids():
            os.kill(pid, signal.SIGKILL)
        computed, table = dask.compute(persisted, persisted.img.failures)
        del persisted
    assert computed.fillna(0).tolist() == [20, 21, 0, 23, 25, 26, 28, 30, 31]
    assert table["kind"].tolist() == ["worker_died"]
    assert len(tries.read_text()) == 2
    gc.collect()  # the last references to the futures
    assert wait_until(lambda: count_ledgers() == before)
    # Tasks of Dask are not retried for ever.
    scheduler = managed_cluster.cluster.scheduler
    assert scheduler.allowed_failures == 3
    monkeypatch.setattr(scheduler, "allowed_failures", 0)
    with managed_cluster.as_current(), pytest.raises(KilledWorker):
        ddf[["n"]].partitions[0].map_partitions(lambda part: os._exit(4), meta=ddf[["n"]]._meta).compute()


def test_shuffles_on_the_managed_cluster_preserve_rows(managed_cluster, folder, df, tmp_path):
    flag = tmp_path / "killed"

    def once(pixels):
        if row_of(pixels) == 90 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels[:4, :4].copy()

    ddf = dd.from_pandas(df.reset_index(drop=True), npartitions=3)
    ddf["image"] = ddf.img.map("image_path", once, dtype=ImageDtype("uint8", (4, 4, 3)), errors="coerce")
    with managed_cluster.as_current():
        persisted = ddf.persist()
        # On Python 3.11 Dask itself can hang in a sort whose frame the scheduler has not opened yet: both ask for
        # divisions, in two threads of a process, under one lock of functools.cached_property.
        wait(persisted)
        moved = [
            persisted.shuffle("label"),
            persisted.merge(persisted[["n"]], on="n"),
            persisted.sort_values("n", ascending=False),
            persisted.set_index("n").reset_index(),
            persisted.repartition(npartitions=2),
        ]
        moved = dask.compute(*moved)
    assert flag.exists()
    wanted = [i for i in range(N) if i not in (4, 7, 9)]
    for frame in moved:
        frame = frame.sort_values("n").dropna(subset=["image"])
        assert frame["n"].tolist() == wanted
        assert [row_of(np.asarray(cell)) for cell in frame["image"]] == [i * 90 for i in wanted]


def test_workers_warn_once_on_the_client(managed_cluster, ddf):
    with warnings.catch_warnings(record=True) as caught, managed_cluster.as_current():
        warnings.simplefilter("always")
        ddf.img.hash("image_path").compute()
        assert wait_until(lambda: len(caught) >= 2)
        time.sleep(0.1)
    messages = sorted(str(warning.message) for warning in caught if warning.category is UnreadableImageWarning)
    assert len(messages) == 2
    assert messages[0].startswith(
        "hash: 1 of 5 images of a partition could not be read (1 truncated); in its partition the first is row 4"
    )


def test_strict_applies_to_dask_frames(tmp_path):
    whole = image_factory.encoded(image_factory.scene(64, 48), "JPEG")
    for name, data in (("whole", whole), ("half", whole[: len(whole) // 2] + b"\xff\xd9")):
        (tmp_path / name).write_bytes(data)
    frame = dd.from_pandas(pd.DataFrame({"path": [str(tmp_path / "whole"), str(tmp_path / "half")]}), npartitions=2)
    with dask.config.set(scheduler="synchronous"):
        assert frame.img.load_resized("path", 4).compute().notna().all()
        strict = frame.img.load_resized("path", 4, strict=True, errors="coerce")
        assert strict.compute().isna().tolist() == [False, True]
        assert frame["path"].img.verify().compute()["kind"].astype(object).tolist()[1] == "truncated"
    with pytest.raises(TypeError, match="strict='no' is not True or False"):
        frame.img.load_resized("path", 4, strict="no")
