"""The scaling report: laws that are recovered, real runs on one and two workers, and what is left as it was."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from dask.dataframe import from_pandas
from image_factory import scene

import pandas_imgproc
from pandas_imgproc import MissingExtraError, UnreadableImageWarning, cluster
from pandas_imgproc.scaling.laws import fitted, student
from pandas_imgproc.scaling.report import ScalingReport
from pandas_imgproc.scaling.runs import Timing

ROOT = Path(__file__).parent.parent


def timing(workers, run, seconds, images=1000, **more):
    figures = {"failures": 0, "caller": 0.01, "busy": 0.9 * workers * seconds, "cpu": 0.8 * workers * seconds}
    stages = {"read": 0.1 * workers * seconds, "decode": 0.7 * workers * seconds}
    return Timing(workers, run, "load_resized", images, **{"seconds": seconds, "stages": stages, **figures, **more})


def report_of(seconds, scaling="strong", cores=4, images=None, **more):
    """A report of runs that took so many seconds: ``{workers: [seconds, …]}``."""
    timings = [
        timing(workers, run + 1, taken, images[workers] if images else 1000, **more)
        for workers, runs in seconds.items()
        for run, taken in enumerate(runs)
    ]
    return ScalingReport(timings, scaling, cores)


# ---- laws


@pytest.mark.parametrize("p", [0.0, 0.5, 0.9, 1.0])
def test_a_law_is_recovered_from_exact_times(p):
    k = np.array([1, 1, 2, 4, 8])
    amdahl = fitted(k, 1 / (0.02 * ((1 - p) + p / k)), "strong")
    gustafson = fitted(k, 50 * ((1 - p) + p * k), "weak")
    for law in (amdahl, gustafson):
        assert law.fraction == pytest.approx(p, abs=1e-9)
        assert law.rate == pytest.approx(50)
        assert law.high - law.low < 1e-6
    assert amdahl.speedup(16) == pytest.approx(1 / ((1 - p) + p / 16))
    assert gustafson.speedup(16) == pytest.approx((1 - p) + p * 16)


@pytest.mark.parametrize(("workers", "noise"), [([1, 2], 0.03), ([1, 2, 4, 8], 0.1)])
@pytest.mark.parametrize("scaling", ["strong", "weak"])
def test_the_interval_holds_the_truth_as_often_as_it_says(workers, noise, scaling):
    rng, p = np.random.default_rng(3), 0.8
    k = np.repeat(workers, 3)
    times = (1 - p) + p / k if scaling == "strong" else k / ((1 - p) + p * k)
    images = 1 if scaling == "strong" else k
    held = 0
    for _ in range(400):
        law = fitted(k, images / (times * (1 + noise * rng.standard_normal(len(k)))), scaling)
        held += law.low <= p <= law.high
    assert 0.92 <= held / 400 <= 0.98


def test_student_is_student():
    table = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 7: 2.3646, 40: 2.0211}
    assert [student(0.95, degrees) for degrees in table] == pytest.approx(list(table.values()), rel=2e-3)


def test_as_many_runs_as_unknowns_have_no_interval():
    law = fitted([1, 2], [100, 190], "strong")
    assert law.fraction == pytest.approx(1 - (100 / 95 - 1), abs=1e-6)
    assert not law.has_interval
    report = report_of({1: [10.0], 2: [5.26]})
    assert "nobody knows how sure" in str(report)
    assert report.predicted[["from", "to"]].isna().all(axis=None)


def test_one_number_of_workers_has_no_law():
    report = report_of({1: [2.0, 2.1]})
    assert report.law is None
    assert report.predicted.empty
    assert "it takes two to tell" in str(report)
    assert "it takes two to tell" in report._repr_html_()
    assert "1 worker, with" in str(report)
    assert "of memory each" not in str(report)


def test_noise_is_told_from_knowledge():
    report = report_of({1: [1.0, 2.0, 1.5], 2: [0.6, 1.9, 1.2]})
    assert not report.law.is_telling
    assert "says nothing" in str(report)
    assert "from    to" not in str(report)
    assert report.predicted.empty
    assert "but that may be chance, as the law says nothing." in str(report)


def test_more_than_a_worker_each_is_cut_and_told():
    report = report_of({1: [2.0, 2.01, 2.0], 2: [0.8, 0.8, 0.801]})
    assert report.law.fraction == 1
    assert report.law.raw > 1.05
    assert "gained more than their number" in str(report)


# ---- what is made of runs


def test_the_table_has_medians_speedup_and_efficiency():
    report = report_of({1: [4.0, 5.0, 4.2], 2: [2.2, 2.1, 2.3], 4: [1.4, 1.5, 1.3]})
    assert list(report.table.columns[:6]) == ["workers", "seconds", "spread", "images/s", "speed-up", "efficiency"]
    assert report.table["seconds"].tolist() == [4.2, 2.2, 1.4]
    assert report.table["spread"].tolist() == pytest.approx([1.0, 0.2, 0.2])
    assert report.table["speed-up"].tolist() == pytest.approx([1, 4.2 / 2.2, 3.0])
    assert report.table["efficiency"].tolist() == pytest.approx([1, 2.1 / 2.2, 0.75])
    assert report.predicted["workers"].tolist() == [8, 16, 32]
    assert (report.predicted["from"] < report.predicted["speed-up"]).all()
    assert (report.predicted["speed-up"] < report.predicted["to"]).all()
    for sign in ("Amdahl's law", "Worth having: 4 workers", "decode", "waiting"):
        assert sign in str(report)
        assert sign.replace("'", "&#x27;") in report._repr_html_()


def wording(text):
    """The paragraphs of a report without figures, stages that change and line breaks."""
    stage = r"\w+ [+-]\d\.\d+"
    text = text.replace("\n\n", "|")
    for pattern, instead in {
        r"\s+": " ",
        rf"{stage}(, {stage})*": "stages",
        r"\d[\d,.]*": "#",
        " more of": " less of",
    }.items():
        text = re.sub(pattern, instead, text)
    return text.split("|")


def test_the_page_shows_what_is_printed():
    shown = re.search(r"```text\n(.*?)\n```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)[1]
    stages = dict.fromkeys(("read", "decode", "resize", "transfer"), 0.1)
    report = report_of({1: [4.0, 4.2, 4.1], 2: [2.2, 2.1, 2.15]}, cores=2, stages=stages)
    assert wording(shown) == wording(str(report))


def test_weak_scaling_compares_images_and_not_seconds():
    report = report_of({1: [2.0, 2.0, 2.01], 2: [2.5, 2.5, 2.5]}, "weak", images={1: 500, 2: 1000})
    assert report.table["speed-up"].tolist() == pytest.approx([1, 2 * 2.0 / 2.5])
    assert report.table["efficiency"].tolist() == pytest.approx([1, 0.8])
    assert report.law.fraction == pytest.approx(0.6, abs=0.01)  # 1.6 = (1 - p) + 2 p
    assert "Gustafson's law" in str(report)
    assert "500 to 1,000 images" in str(report)


def test_stages_add_up_to_the_workers_time():
    report = report_of({1: [2.0], 2: [1.0, 1.2]})
    assert report.stages.index.tolist() == ["read", "decode", "other", "waiting"]
    assert report.stages.sum().tolist() == pytest.approx([2.0, 2.2])  # ms of a worker: k * seconds / images
    assert report.stages.loc["waiting"].tolist() == pytest.approx([0.2, 0.22])


def test_workers_that_add_little_are_not_worth_having():
    assert report_of({1: [4.0], 2: [2.1], 4: [1.9]}).worth_having == 2
    assert report_of({1: [4.0], 2: [3.9]}).worth_having == 1


def test_more_workers_than_cores_are_noted_and_not_fitted():
    report = report_of({1: [4.0, 4.0], 2: [2.0, 2.0], 8: [2.0, 2.0]}, cores=2)
    assert report.law.fraction == pytest.approx(1)
    assert report.predicted["workers"].tolist() == [4, 8, 16]
    assert "Note: 8 workers are more than the 2 cores" in str(report)


def test_no_law_is_fitted_to_workers_beyond_the_cores():
    report = report_of({1: [4.0, 4.1], 4: [3.9, 4.0]}, cores=2)
    assert report.law is None
    assert report.predicted.empty
    for text in (str(report), report._repr_html_()):
        assert "No law can be fitted: of 1, 4 workers only 1 is not more than the 2 cores there are" in text


def test_what_makes_figures_doubtful_is_noted():
    text = str(report_of({1: [0.2], 2: [0.1]}, failures=3, cpu=0.05))
    assert "Note: runs of 0.10 s are too short to tell; take about 10,000 images or more." in text
    assert "other programs use the cores" in text
    assert "Note: 3 of 1,000 images failed" in text


def test_a_plot_has_every_run_and_the_law():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    speedup, stages = report_of({1: [4.0, 4.2], 2: [2.2, 2.1], 4: [1.3, 1.2]}).plot()
    runs = next(line for line in speedup.lines if line.get_label() == "a run")
    assert runs.get_xdata().tolist() == [1, 1, 2, 2, 4, 4]
    labels = speedup.get_legend_handles_labels()[1]
    assert any(label.startswith("Amdahl's law, ") for label in labels)
    assert "95% interval" in labels
    assert stages.get_legend_handles_labels()[1] == ["read", "decode", "other", "waiting"]
    assert speedup.get_legend().get_bbox_to_anchor().y1 < speedup.bbox.y0  # below all lines
    # What is printed without a law is drawn without one, and nothing is drawn where there is nothing to see.
    unsure, _ = report_of({1: [1.0, 2.0, 1.5], 2: [0.6, 1.9, 1.2]}).plot()
    assert not any("law" in label or "interval" in label for label in unsure.get_legend_handles_labels()[1])
    assert unsure.get_xlim()[1] < 4
    assert len(report_of({1: [2.0, 2.1]}).plot()) == len(pyplot.gcf().axes) == 1
    pyplot.close("all")


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pandas-imgproc\[notebook\]'"):
        report_of({1: [4.0], 2: [2.2]}).plot()


# ---- real runs


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    for number in range(4):
        scene(320, 240, number).save(folder / f"{number}.jpg")
    paths = [str(folder / f"{k % 4}.jpg") for k in range(119)] + ["gone.jpg"]
    return pd.DataFrame({"image_path": paths}, index=np.arange(120) % 7)


def test_a_call_is_run_on_one_and_two_workers(frame, own_cluster):
    ran = []

    def call(d):
        ran.append((len(d), cluster.manager._managed.n_workers, dask.config.get("scheduler")))
        answer = d.img.load_resized("image_path", size=64)
        assert answer.index.equals(d.index)
        return answer.img.to_numpy(na_value=0)

    with pytest.warns(UnreadableImageWarning, match="1 of 120") as said:
        report = pandas_imgproc.scaling_report(call, frame, n_workers=(2, 1), scaling="weak", repeat=1)
    assert len(said) == 1
    # One run that does not count; from the most workers down; some rows before those of a new cluster.
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
def test_what_cannot_be_timed_is_an_error_and_leaves_all_as_it_was(frame, tmp_path):
    def interrupted(d):
        assert cluster.monitor(cluster.existing_client()).n_threads() == 1
        raise KeyboardInterrupt

    def on_threads(d):
        with dask.config.set(scheduler="threads"):
            return d.img.load_resized("image_path", size=8)

    def closed(d):
        answer = d.img.load_resized("image_path", size=8)
        pandas_imgproc.close()
        return answer

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
        "ran in line on": on_threads,
        "Dask frames do is not timed": lambda d: from_pandas(d, npartitions=2).img.features("image_path").compute(),
        "closed the cluster that it is timed on.*must not choose a scheduler= or client": closed,
        "must not choose a scheduler= or client either": lambda d: pandas_imgproc.scaling_report(closed, d),
    }
    for words, call in calls.items():
        with pytest.raises(ValueError, match=words):
            pandas_imgproc.scaling_report(call, frame, n_workers=[1], repeat=1)
    assert cluster.existing_client().status == "running"
    assert cluster.manager._managed.n_workers == 1


@pytest.mark.filterwarnings("ignore::pandas_imgproc.UnreadableImageWarning")
def test_rows_without_a_file_of_their_own_were_not_done_before(frame, tmp_path):
    paths = frame.assign(image_path=[None, *frame["image_path"][1:]])

    def saved(d):
        return d.img.save_resized("image_path", tmp_path / "{stem}.jpg", size=8, overwrite=True)

    report = pandas_imgproc.scaling_report(saved, paths, n_workers=[1], repeat=1)
    assert report.runs["images"].tolist() == [5]  # four images and one that is gone
    with pytest.raises(ValueError, match="the call did 120 rows where its share of the frame is 60"):
        pandas_imgproc.scaling_report(
            lambda _: paths.img.load_resized("image_path", size=8), paths, (1, 2), scaling="weak", repeat=1
        )


def test_a_client_of_the_user_s_is_left_alone(frame):
    from distributed import Client

    with Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as client:
        with pytest.raises(ValueError, match=r"starts clusters of its own, and a client is active .*: close it"):
            pandas_imgproc.scaling_report(lambda d: d.img.load_resized("image_path", size=8), frame)
        assert client.status == "running"


def test_our_own_client_made_current_counts_as_active(frame, own_cluster):
    with own_cluster.as_current():
        with pytest.raises(ValueError, match=r"a client is active .*leave its with block"):
            pandas_imgproc.scaling_report(lambda d: d.img.load_resized("image_path", size=8), frame)
        assert own_cluster.status == "running"


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
        ({"n_workers": (1, 0)}, ValueError, "n_workers=0"),
        ({"n_workers": (1, 2.0)}, TypeError, "n_workers=2.0 is float"),
        ({"repeat": 0}, ValueError, "repeat=0"),
    ],
)
def test_mistakes_are_told_before_anything_starts(frame, arguments, kind, words):
    pandas_imgproc.close()
    given = {"call": lambda d: d.img.load_resized("image_path", size=8), "df": frame, **arguments}
    with pytest.raises(kind, match=words):
        pandas_imgproc.scaling_report(**given)
    assert cluster.existing_client() is None
