"""Tables, text, HTML and plot of a scaling report, from runs with given times."""

import re
import sys
from pathlib import Path

import pytest

from pandas_imgproc import MissingExtraError
from pandas_imgproc.execution import JobStats
from pandas_imgproc.scaling import ScalingReport
from pandas_imgproc.scaling.benchmark import TimedRun

ROOT = Path(__file__).parents[2]


def make_timing(workers, run, seconds, images=1000, failures=0, cpu=0.8, stages=None):
    busy, share = workers * seconds, {"read": 0.1, "decode": 0.7} if stages is None else dict.fromkeys(stages, 0.1)
    job = JobStats(
        name="load_resized", plan="", rows=images, n_skipped=0, n_finished=0, failures=failures, seconds=seconds,
        idle_seconds=seconds - 0.01, worker_seconds=0.9 * busy, cpu=cpu * busy,
        stages={name: part * busy for name, part in share.items()},
    )  # fmt: skip
    return TimedRun(workers, run, seconds, 0.01, [job])


def make_report(seconds, scaling="strong", cores=4, images=None, **more):
    """A report of runs with these durations: ``{workers: [seconds, …]}``."""
    timed_runs = [
        make_timing(workers, run + 1, taken, images[workers] if images else 1000, **more)
        for workers, runs in seconds.items()
        for run, taken in enumerate(runs)
    ]
    return ScalingReport(timed_runs, scaling, cores)


SCATTERED = {1: [1.0, 2.0, 1.5], 2: [0.6, 1.9, 1.2]}


def test_table_several_runs_has_medians_speedup_and_efficiency():
    report = make_report({1: [4.0, 5.0, 4.2], 2: [2.2, 2.1, 2.3], 4: [1.4, 1.5, 1.3]})
    assert list(report.table.columns) == ["workers", "seconds", "spread", "images/s", "speed-up", "efficiency"]
    assert report.table["seconds"].tolist() == [4.2, 2.2, 1.4]
    assert report.table["spread"].tolist() == pytest.approx([1.0, 0.2, 0.2])
    assert report.table["speed-up"].tolist() == pytest.approx([1, 4.2 / 2.2, 3.0])
    assert report.table["efficiency"].tolist() == pytest.approx([1, 2.1 / 2.2, 0.75])
    assert report.predicted["workers"].tolist() == [8, 16, 32]
    assert (report.predicted["from"] < report.predicted["speed-up"]).all()
    assert (report.predicted["speed-up"] < report.predicted["to"]).all()
    for words in ("Amdahl's law", "Recommended: 4 workers", "decode", "waiting"):
        assert words in str(report)
        assert words.replace("'", "&#x27;") in report._repr_html_()


def test_table_weak_scaling_compares_images_per_second():
    report = make_report({1: [2.0, 2.0, 2.01], 2: [2.5, 2.5, 2.5]}, "weak", images={1: 500, 2: 1000})
    assert report.table["speed-up"].tolist() == pytest.approx([1, 2 * 2.0 / 2.5])
    assert report.table["efficiency"].tolist() == pytest.approx([1, 0.8])
    assert report.law.fraction == pytest.approx(0.6, abs=0.01)  # 1.6 = (1 - p) + 2 p
    assert "Gustafson's law" in str(report)
    assert "500 to 1,000 images" in str(report)


def test_stages_several_workers_sum_to_worker_time():
    report = make_report({1: [2.0], 2: [1.0, 1.2]})
    assert report.stages.index.tolist() == ["read", "decode", "other", "waiting"]
    assert report.stages.sum().tolist() == pytest.approx([2.0, 2.2])  # ms of worker time: k * seconds / images
    assert report.stages.loc["waiting"].tolist() == pytest.approx([0.2, 0.22])


def test_recommended_workers_small_gain_stops_before():
    assert make_report({1: [4.0], 2: [2.1], 4: [1.9]}).recommended_workers == 2
    assert make_report({1: [4.0], 2: [3.9]}).recommended_workers == 1
    assert make_report({1: [4.0], 2: [3.9], 4: [1.0]}).recommended_workers == 1


def test_law_more_workers_than_cores_excludes_those_runs():
    report = make_report({1: [4.0, 4.0], 2: [2.0, 2.0], 8: [2.0, 2.0]}, cores=2)
    assert report.law.fraction == pytest.approx(1)
    assert report.predicted["workers"].tolist() == [4, 8, 16]
    assert "Warning: 8 workers are more than the 2 cores; the law is not fitted to them." in str(report)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ({1: [2.0, 2.1]}, "No law is fitted to 1 on 2 cores: it takes two numbers of workers"),
        ({1: [4.0, 4.1], 4: [3.9, 4.0]}, "No law is fitted to 1, 4 on 2 cores: it takes two numbers of workers"),
    ],
)
def test_law_single_number_within_cores_is_none(seconds, words):
    report = make_report(seconds, cores=2)
    assert report.law is None
    assert report.predicted.empty
    assert words in str(report)
    assert words in report._repr_html_()
    assert "1 worker with" in str(report)
    assert "of memory each" not in str(report)


def test_text_two_runs_has_no_interval():
    report = make_report({1: [10.0], 2: [5.26]})
    assert "2 runs for two unknowns: with repeat=2 there is a confidence interval" in str(report)
    assert report.predicted[["from", "to"]].isna().all(axis=None)


def test_text_scattered_runs_is_inconclusive():
    report = make_report(SCATTERED)
    assert report.predicted.empty
    assert "This is inconclusive" in str(report)
    assert "from    to" not in str(report)
    assert "this may be chance, because the law is inconclusive." in str(report)


def test_text_superlinear_runs_names_the_clipping():
    assert "clipped to 100%" in str(make_report({1: [2.0, 2.01, 2.0], 2: [0.8, 0.8, 0.801]}))


def test_text_unfair_runs_warns():
    text = str(make_report({1: [0.2], 2: [0.1]}, failures=3, cpu=0.05))
    assert "Warning: runs of 0.10 s are too short; use about 10,000 images or more." in text
    assert "other programs use the cores" in text
    assert "1,000 images (3 failed, which are counted as done), 1 run each" in text


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
    return [paragraph.strip() for paragraph in text.split("|")]


def test_text_and_documentation_have_the_same_words():
    shown = re.search(r"```text\n(.*?)\n```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)[1]
    stages = ("read", "decode", "resize", "transfer")
    report = make_report({1: [4.0, 4.2, 4.1], 2: [2.2, 2.1, 2.15]}, cores=2, stages=stages)
    assert wording(shown) == wording(str(report))


def test_plot_several_workers_draws_runs_and_law():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    speedup, stages = make_report({1: [4.0, 4.2], 2: [2.2, 2.1], 4: [1.3, 1.2]}).plot()
    runs = next(line for line in speedup.lines if line.get_label() == "run")
    assert runs.get_xdata().tolist() == [1, 1, 2, 2, 4, 4]
    labels = speedup.get_legend_handles_labels()[1]
    assert any(label.startswith("Amdahl's law, ") for label in labels)
    assert "95% interval" in labels
    assert stages.get_legend_handles_labels()[1] == ["read", "decode", "other", "waiting"]
    assert [text.get_text() for text in stages.get_legend().get_texts()] == ["waiting", "other", "decode", "read"]
    assert speedup.get_legend().get_bbox_to_anchor().y1 < speedup.bbox.y0  # below all lines
    pyplot.close("all")


def test_plot_without_conclusive_law_draws_runs_only():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    speedup, _ = make_report(SCATTERED).plot()
    assert speedup.get_legend_handles_labels()[1] == ["linear", "run", "median"]
    assert speedup.get_xlim()[1] < 4
    assert len(make_report({1: [2.0, 2.1]}).plot()) == len(pyplot.gcf().axes) == 1
    two_runs, _ = make_report({1: [4.0], 2: [2.2]}).plot()
    assert "95% interval" not in two_runs.get_legend_handles_labels()[1]
    pyplot.close("all")


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pandas-imgproc\[notebook\]'"):
        make_report({1: [4.0], 2: [2.2]}).plot()
