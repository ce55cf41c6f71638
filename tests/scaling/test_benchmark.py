"""Benchmark of real calls on managed clusters of one and two workers, and calls that cannot be timed."""

import dask
import numpy as np
import pandas as pd
import pytest
from dask.dataframe import from_pandas
from image_factory import scene

import pandas_imgproc
from pandas_imgproc import UnreadableImageWarning, cluster
from pandas_imgproc.scaling.benchmark import interleaved_order, subsample


def test_interleaved_order_alternates_direction():
    assert interleaved_order([1, 2, 4], 2) == [(1, 4), (1, 2), (1, 1), (2, 1), (2, 2), (2, 4)]


def test_subsample_spaces_rows_evenly():
    assert subsample(pd.Series(range(8)), 4).tolist() == [0, 2, 4, 6]


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    for i in range(4):
        scene(320, 240, i).save(folder / f"{i}.jpg")
    paths = [str(folder / f"{k % 4}.jpg") for k in range(119)] + ["gone.jpg"]
    return pd.DataFrame({"image_path": paths}, index=np.arange(120) % 7)


def test_scaling_report_two_numbers_of_workers_times_each_on_its_cluster(frame, managed_cluster):
    ran = []

    def call(d):
        ran.append((len(d), cluster.manager._managed.n_workers, dask.config.get("scheduler")))
        result = d.img.load_resized("image_path", size=64)
        assert result.index.equals(d.index)
        return result.img.to_numpy(na_value=0)

    with pytest.warns(UnreadableImageWarning, match="1 of 120") as caught:
        report = pandas_imgproc.scaling_report(call, frame, n_workers=(2, 1), scaling="weak", repeat=1)
    assert len(caught) == 1
    # The first run is not counted; from the largest number down; a new cluster warms up on some rows.
    assert ran == [(rows, k, "distributed") for rows, k in [(120, 2), (120, 2), (32, 1), (60, 1)]]
    assert report.runs[["workers", "run", "images"]].to_numpy().tolist() == [[2, 1, 120], [1, 1, 60]]
    assert report.runs["failures"].max() == 1
    assert {"read", "decode", "resize"} <= set(report.stages.index)
    assert report.stages.loc["transfer", 2] > 0  # pixels of 1.4 MB go into the shared block
    assert (report.stages.loc["decode"] > 0).all()
    assert (report.runs["busy"] <= report.runs["workers"] * report.runs["seconds"]).all()
    assert (report.runs["cpu"] <= report.runs["busy"]).all()
    assert (report.runs["caller"] < report.runs["seconds"]).all()
    assert report.name == "load_resized"
    assert cluster.manager._managed.n_workers == 2
    assert dask.config.get("scheduler", None) is None


@pytest.mark.filterwarnings("ignore::pandas_imgproc.UnreadableImageWarning")
def test_scaling_report_untimeable_call_raises_and_restores_cluster(frame, tmp_path):
    def interrupted(d):
        assert cluster.worker_monitor(cluster.existing_client()).n_threads() == 1
        raise KeyboardInterrupt

    def on_threads(d):
        with dask.config.set(scheduler="threads"):
            return d.img.load_resized("image_path", size=8)

    def closed(d):
        result = d.img.load_resized("image_path", size=8)
        pandas_imgproc.close()
        return result

    def on_dask_frame(d):
        return from_pandas(d, npartitions=2).img.features("image_path").compute()

    pandas_imgproc.close()
    with pytest.raises(KeyboardInterrupt):
        pandas_imgproc.scaling_report(interrupted, frame, n_workers=[1])
    assert cluster.existing_client() is None
    assert dask.config.get("scheduler", None) is None

    pandas_imgproc.get_client(n_workers=1)
    calls = {
        "did no rows": len,
        r"found 4 rows done.*overwrite=True": lambda d: d.img.save_thumbnails("image_path", tmp_path, size=8),
        "did no rows: it found 1 row done": lambda d: d[:1].img.save_thumbnails("image_path", tmp_path, size=8),
        "ran inline on": on_threads,
        "computations of Dask frames are not timed": lambda d: (
            from_pandas(d, npartitions=2).img.features("image_path").compute()
        ),
        "closed the cluster that it is timed on.*must not choose a scheduler= or client": closed,
        "must not choose a scheduler= or client either": lambda d: pandas_imgproc.scaling_report(closed, d),
    }
    for words, call in calls.items():
        with pytest.raises(ValueError, match=words):
            pandas_imgproc.scaling_report(call, frame, n_workers=[1], repeat=1)
    assert cluster.existing_client().status == "running"
    assert cluster.manager._managed.n_workers == 1


@pytest.mark.filterwarnings("ignore::pandas_imgproc.UnreadableImageWarning")
def test_scaling_report_skipped_rows_are_not_counted(frame, tmp_path):
    paths = frame.assign(image_path=[None, *frame["image_path"][1:]])

    def saved(d):
        return d.img.save_resized("image_path", tmp_path / "{stem}.jpg", size=8, overwrite=True)

    report = pandas_imgproc.scaling_report(saved, paths, n_workers=[1], repeat=1)
    assert report.runs["images"].tolist() == [5]  # four images and one that is missing
    with pytest.raises(ValueError, match="the call did 120 rows where its share of the frame is 60"):
        pandas_imgproc.scaling_report(
            lambda _: paths.img.load_resized("image_path", size=8), paths, (1, 2), scaling="weak", repeat=1
        )


def test_scaling_report_active_client_raises_and_preserves_client(frame):
    from distributed import Client

    with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as client:
        with pytest.raises(ValueError, match=r"starts managed clusters, and a client is active .*: close it"):
            pandas_imgproc.scaling_report(lambda d: d.img.load_resized("image_path", size=8), frame)
        assert client.status == "running"


def test_scaling_report_managed_client_as_current_raises(frame, managed_cluster):
    with managed_cluster.as_current():
        with pytest.raises(ValueError, match=r"a client is active .*leave its with block"):
            pandas_imgproc.scaling_report(lambda d: d.img.load_resized("image_path", size=8), frame)
        assert managed_cluster.status == "running"


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"call": 3}, TypeError, "call is int, not a function"),
        ({"df": [1]}, TypeError, "df is list"),
        ({"df": from_pandas(pd.DataFrame({"a": [1]}), npartitions=1)}, TypeError, "df is a Dask DataFrame; .*compute"),
        ({"df": pd.DataFrame()}, ValueError, "df has 0 rows"),
        ({"scaling": "big"}, ValueError, "'strong', 'weak'"),
        ({"n_workers": 4}, TypeError, r"n_workers=4 is no list"),
        ({"n_workers": (2, 4)}, ValueError, "has no 1"),
        ({"n_workers": (1, 0)}, ValueError, "n_workers=0 is not a whole number from 1 up"),
        ({"n_workers": (1, 2.0)}, TypeError, "n_workers=2.0 is not a whole number from 1 up"),
        ({"repeat": 0}, ValueError, "repeat=0 is not a whole number from 1 up"),
    ],
)
def test_scaling_report_invalid_argument_raises_before_cluster_starts(frame, arguments, kind, words):
    pandas_imgproc.close()
    valid = {"call": lambda d: d.img.load_resized("image_path", size=8), "df": frame}
    with pytest.raises(kind, match=words):
        pandas_imgproc.scaling_report(**valid | arguments)
    assert cluster.existing_client() is None
