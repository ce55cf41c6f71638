"""Docs and README against the code: the snippet, the quoted messages, the API reference, the notebooks."""

import functools
import inspect
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import bomb, chunk, image_bytes, png, row_image, tiff
from PIL import Image

import pandas_imgproc
from pandas_imgproc.accessor import FrameImageAccessor, SeriesImageAccessor

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FAILURES = (DOCS / "failures.md").read_text()


# ---- README


def test_readme_snippet_prints_the_quoted_output(tmp_path):
    readme = (ROOT / "README.md").read_text()
    snippet, printed = re.findall(r"^```(?:python|text)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[:2]
    names = ["cat", "coffee", "temple", "dahlia", "rocket"]
    paths = [f"photos/{name}.jpg" for name in names]
    (tmp_path / "photos").mkdir()
    for row, path in enumerate(paths):
        row_image(row, (200, 150)).save(tmp_path / path)
    (tmp_path / paths[1]).unlink()
    (tmp_path / paths[3]).write_bytes((tmp_path / paths[3]).read_bytes()[:-200])
    labels = ["animal", "object", "place", "plant", "object"]
    pd.DataFrame({"image_path": paths, "label": labels}).to_csv(tmp_path / "train.csv", index=False)
    (tmp_path / "snippet.py").write_text(snippet + "assert X.shape == (5, 64, 64, 3)\n")
    done = subprocess.run(
        [sys.executable, "snippet.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    warned, _, frame = printed.partition("\n\n")
    warning = done.stderr[done.stderr.index("UnreadableImageWarning") :]
    # Pillow's message about truncation differs by version; the line of the script follows the warning.
    detail = re.compile("(?<=the file ends too early: ).*")
    lines, quoted = (
        [detail.sub("", line) for line in text.splitlines()] for text in (warning.rpartition("\n  ")[0], warned)
    )
    assert lines == quoted
    assert done.stdout == frame


def test_readme_parts_and_links_of_all_pages_exist():
    readme = (ROOT / "README.md").read_text()
    assert len(re.findall(r"^```sh$", readme, re.MULTILINE)) == 2
    assert len(re.findall(r"^- .*\]\(", readme, re.MULTILINE)) == 8
    assert (DOCS / "quickstart.png").stat().st_size < 300_000
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_night_of_the_remote_page_runs_as_printed(http_server, s3, tmp_path, monkeypatch):
    heading = "## From a list of URLs to a bucket"
    block = (DOCS / "remote.md").read_text().partition(heading)[2].partition("```python\n")[2].partition("```")[0]
    http_server.files.update({"a/0.jpg": image_bytes(0), "b/1.jpg": image_bytes(1), "b/2.jpg": b"<html>moved</html>"})
    names = ["a/0.jpg", "b/1.jpg", "b/2.jpg", "gone.jpg"]
    pd.DataFrame({"url": [http_server.url(name) for name in names]}).to_csv(tmp_path / "urls.csv", index=False)
    fs, options = s3
    monkeypatch.setattr("fsspec.config.conf", {"s3": options})
    monkeypatch.chdir(tmp_path)
    with dask.config.set(scheduler="synchronous"):
        exec(block.replace("gs://bucket", "s3://bucket/night"), {"pd": pd})
    for folder in ("raw", "small"):
        assert sorted(fs.find(f"bucket/night/{folder}"))[-2:] == [f"bucket/night/{folder}/{name}" for name in names[:2]]


# ---- Messages of docs/failures.md; … is a variable part


def pattern(message):
    return re.compile(".*".join(re.escape(part) for part in re.split(r" ?… ?", message)), re.DOTALL)


HEADINGS = re.findall(r"^### `(\w+: .*)`$", FAILURES, re.MULTILINE)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Return a frame with every kind of column, in the folder of its images: two readable ones and an empty one."""
    folder, before = tmp_path_factory.mktemp("failures"), Path.cwd()
    os.chdir(folder)
    Path("photos").mkdir()
    Path("thumbs").mkdir()
    for row in range(2):
        row_image(row).save(f"photos/{row}.jpg")
    Path("photos/2.jpg").touch()
    Path("thumbs/0.jpg").write_bytes(b"a foreign file")
    np.save("foreign.npy", np.zeros(3))
    load_coerced(pd.DataFrame({"image_path": ["photos/0.jpg"]}), out="done.npy")
    names = [f"{row}.jpg" for row in range(3)]
    paths = [f"photos/{name}" for name in names]
    yield pd.DataFrame({"image_path": paths, "name": names, "stem": ["photos/0"] * 3, "id": range(3), "label": "one"})
    os.chdir(before)


def load(frame, column="image_path", size=64, **options):
    return frame.img.load_resized(column, size, **options)


def load_coerced(frame, **options):
    return load(frame, errors="coerce", **options)


def without_s3fs(_):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "s3fs", None)
        patch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
        pd.Series(["s3://bucket/a.jpg"]).img.load_resized(64)


def without_simplejpeg(frame):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "simplejpeg", None)
        load(frame, strict=True)


def without_resizer(frame):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cykooz_resizer", None)
        load(frame, engine="simd")


def growing_list(_, lengths):
    return [0.0] * next(lengths)


def fails_in_two_ways(pixels, row):
    if row["id"]:
        raise KeyError("one")
    raise ValueError("zero")


def damaged_journal(frame):
    load_coerced(frame, out="damaged.npy")
    with Path("damaged.npy.journal").open("a") as file:
        file.write("no JSON\n")
    pandas_imgproc.read_result("damaged.npy")


PROVOKED = [
    load,
    lambda f: load(f, "name"),
    lambda f: load(f, "stem"),
    lambda f: load(f, "label"),
    lambda f: f.iloc[:2].img.map("image_path", lambda pixels: 1 / 0),
    lambda f: f.iloc[:2].img.map("image_path", fails_in_two_ways, with_columns=["id"]),
    lambda f: f.iloc[:2].img.map("image_path", lambda pixels, row: 1 / int(row["id"]), with_columns=["id"]),
    lambda f: load(f, errors="raise"),
    lambda _: pandas_imgproc.from_glob("nowhere"),
    lambda f: load(f, "image_pth"),
    lambda f: load(f, "id"),
    lambda f: load(f, size="64"),
    lambda f: load(f, size=(64, 64, 3)),
    lambda f: load(f, fit="cover"),
    lambda f: load(f, errors="ignore"),
    lambda f: load(f, formats=["JXL"]),
    lambda f: f.img.features("image_path", ["brightnes"]),
    lambda f: f.img.save_resized("image_path", "o/{label}.jpg", 8),
    lambda f: f.img.save_resized("image_path", "o/{lable}.jpg", 8),
    without_s3fs,
    without_simplejpeg,
    without_resizer,
    lambda f: load(f, engine="simd", reducing_gap=None),
    lambda f: load_coerced(f).img.to_numpy(),
    lambda f: load(f.loc[np.zeros(400_000, int)], size=20_000),
    lambda f: load_coerced(f).array.__setitem__(0, np.zeros((3, 3, 3), "uint8")),
    lambda f: f.assign(image=load_coerced(f)).sort_values("image"),
    lambda f: load(f, out="x.npz"),
    lambda f: f.img.augment("image_path", lambda pixels: pixels, out="x.npy"),
    lambda f: f.img.map("image_path", lambda pixels: 1.0, out="x.parquet"),
    lambda f: load_coerced(f, out="done.npy", size=32),
    lambda f: load_coerced(f, out="foreign.npy"),
    lambda f: f.iloc[:2].img.save_thumbnails("image_path", "thumbs"),
    lambda f: f.img.map("image_path", len, modes="L"),
    lambda f: f.img.map("image_path", functools.partial(max, key=threading.Lock())),
    lambda f: f["image_path"].img.show(title=f["label"].iloc[1:]),
    lambda f: f.img.map("image_path", functools.partial(growing_list, lengths=itertools.count(1)), errors="coerce"),
    lambda f: f.img.map_batches("image_path", lambda images: images[1:], size=8, errors="coerce"),
    lambda f: f.img.map_batches("image_path", functools.partial(functools.partial, 5), size=8),
    lambda _: pandas_imgproc.read_result("nowhere.npy"),
    damaged_journal,
    lambda _: pandas_imgproc.get_client(n_workers=0),
    lambda _: pandas_imgproc.get_client(memory_limit="10 MB"),
    lambda _: with_dashboard("on"),
    lambda f: with_row_timeout(f, "long"),
]


def with_dashboard(value):
    with dask.config.set({"pandas-imgproc.dashboard": value}):
        pandas_imgproc.get_client()


def with_row_timeout(frame, value):
    with dask.config.set({"pandas-imgproc.row-timeout": value}):
        load(frame)


def message_of(provoke, frame):
    """Return the warning or the error of a call."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            provoke(frame)
        except Exception as error:
            text = error.args[0] if isinstance(error, KeyError) else str(error)
            return f"{type(error).__name__}: {text}"
    return f"{warned[0].category.__name__}: {warned[0].message}"


def test_quoted_messages_are_those_of_the_code(frame, managed_cluster):
    unused = {heading for heading in HEADINGS if not heading.startswith("ClusterError")}
    for provoke in PROVOKED:
        text = message_of(provoke, frame)
        found = {heading for heading in HEADINGS if pattern(heading).fullmatch(text)}
        assert found, text
        unused -= found
    assert not unused


def test_quoted_cluster_messages_are_in_the_source():
    source = "".join(path.read_text() for path in (ROOT / "pandas_imgproc").rglob("*.py"))
    for heading in (heading for heading in HEADINGS if heading.startswith("ClusterError")):
        assert all(part in source for part in re.split(r" ?… ?", heading.removeprefix("ClusterError: ")))


def holed():
    noisy = io.BytesIO()
    Image.effect_noise((160, 120), 90).save(noisy, "JPEG")
    data = noisy.getvalue()
    return data[:2000] + bytes(500) + data[2500:]


def many_scans():
    file = io.BytesIO()
    Image.effect_noise((16, 16), 90).save(file, "JPEG", progressive=True)
    data, scan = file.getvalue(), file.getvalue().rindex(b"\xff\xda")
    return data[:scan] + data[scan:-2] * 65 + data[-2:]


def damaged_deflate():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "TIFF", compression="tiff_adobe_deflate")
    tags, data = Image.open(file).tag_v2, bytearray(file.getvalue())
    data[tags[273][0] + tags[279][0] - 1] ^= 1  # of its checksum
    return bytes(data)


def test_failure_messages_are_in_table_of_kinds(tmp_path):
    files = {
        "html": b"<!DOCTYPE html><h1>404</h1>", "text": b"hello there", "zeros": bytes(5000), "empty": b"",
        "lfs": b"version https://git-lfs.github.com/spec/v1", "heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "half": image_bytes(0)[:-100], "ended": image_bytes(0)[:-40] + b"\xff\xd9", "bomb": bomb(14_000, 14_000),
        "cr3": b"\0\0\0\x18ftypcrx " + bytes(100), "fits": b"SIMPLE  =" + b" " * 99, "apple": b"\0\5\x16\7" + bytes(99),
        "bands": tiff(np.zeros((8, 40), np.uint8), 8, 5, n_bands=5),
        "ls": image_bytes(0).replace(b"\xff\xc0", b"\xff\xf7"),
        "xcode":
        b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + png(np.zeros((8, 8)), 8, 0)[8:33] + chunk(b"IDAT", bytes(9)),
        "flipped": image_bytes(0, "PNG").replace(b"IDATx\x9c", b"IDATx\x9d"),
        "rows": png(np.zeros((8, 8)), 8, 0, size=(8, 9)),
        "hole": holed(), "many": many_scans(), "deflate": damaged_deflate(),
        "codes": image_bytes(0).replace(b"\xff\xda", b"stray\xff\xda"),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    data_uri = "data:image/png;base64,iVBORw0KGgo="
    inputs = [
        *files,
        "folder",
        "gone",
        "",
        "a\0b",
        17,
        "../x.jpg",
        {"image": b""},
        data_uri,
        np.zeros((3, 8, 8), np.uint8),
    ]
    report = pd.Series(inputs, dtype=object).img.verify(root=tmp_path)
    report = pd.concat([report, pd.Series(["ftp://host/a.jpg", "http://host:x/a.jpg"]).img.verify()])
    photo = pd.Series([image_bytes(0)] * 2)
    for options in ({"box": np.array([[4, 3, 0, 9], [99, 99, 9, 9]])}, {"frame": 9}):
        regions = photo.img.load_resized(8, **options, errors="coerce").img.failures
        report = pd.concat([report, regions[["kind", "message"]].astype(object)])
    assert report["kind"].notna().all()
    table, kinds = {}, []
    for line in FAILURES.split("## Failure kinds")[1].split("\n## ")[0].splitlines():
        if line.startswith(("| `", "| |")):
            first, _, messages, _ = (cell.strip() for cell in line.strip("|").split("|"))
            kinds = re.findall(r"`(\w+)`", first) or kinds  # an empty cell continues the kind above
            for kind in kinds:
                table.setdefault(kind, []).extend(re.findall(r"`([^`]+)`", messages))
    assert set(table) == set(pandas_imgproc.FAILURE_KINDS)
    for kind, message in report.itertuples(index=False):
        assert any(pattern(listed).fullmatch(message) for listed in table[kind]), (kind, message)
    source = "".join(path.read_text() for path in (ROOT / "pandas_imgproc").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    for kind, listed in ((kind, listed) for kind, messages in table.items() for listed in messages):
        is_provoked = any(pattern(listed).fullmatch(message) for message in report["message"][report["kind"] == kind])
        in_source = all(part in source for part in re.split(r" ?… ?", listed))
        assert is_provoked or in_source or kind == "function" or "redirect" in listed, f"{kind}: {listed}"


# ---- API reference


def test_api_reference_lists_all_public_names():
    reference = (DOCS / "api.md").read_text()
    for owner, accessor in (("DataFrame", FrameImageAccessor), ("Series", SeriesImageAccessor)):
        for name in (name for name in dir(accessor) if not name.startswith("_")):
            assert re.search(rf"^   {owner}\.img\.{name}$", reference, re.MULTILINE), f"{owner}.img.{name}"
    for name in set(pandas_imgproc.__all__) - {"__version__"}:
        assert re.search(rf"^( {{3}}|\.\. py:data:: ){name}$", reference, re.MULTILINE), name


def test_frame_methods_document_the_column():
    for name, method in inspect.getmembers(FrameImageAccessor, inspect.isfunction):
        if not name.startswith("_"):
            assert "Parameters\n----------\ncolumn : label" in method.__doc__, name


# ---- Notebooks; .ci/notebooks.py runs them


@pytest.mark.parametrize("name", ["quickstart", "features", "embeddings", "errors"])
def test_notebook_outputs_are_of_one_complete_run(name):
    text = (ROOT / "examples" / f"{name}.ipynb").read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "UnreadableImageWarning" in text
    assert len(text.encode()) < 500_000
    assert not re.search(r"/(tmp|home|root|Users)/", text)


# ---- masks and boxes


def test_page_of_masks_and_boxes_runs_on_tables_of_competitions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    masks, annotations = [], []
    for k in range(3):
        ids = np.zeros((240, 320), "uint8")
        ids[60:180, 80:240] = 1 + k
        Image.fromarray(ids).save(f"{k}_mask.png")
        Image.fromarray(np.stack([80 * ids] * 3, -1)).save(f"images/{k}.jpg")
        masks.append((f"images/{k}.jpg", f"{k}_mask.png", "train"))
        annotations += [{"id": k, "image_id": 7 + k, "category_id": 1 + k, "bbox": [80.0, 60.0, 160.0, 120.0]}] * 2
        (tmp_path / "labels" / f"{k}.txt").write_text("1 0.5 0.5 0.5 0.5\n0 0.1 0.1 0.1 0.1\n")
    pd.DataFrame(masks, columns=["image_path", "mask_path", "split"]).to_csv("segmentation.csv", index=False)
    images = [{"id": 7 + k, "file_name": f"{k}.jpg", "width": 320, "height": 240} for k in range(3)]
    Path("annotations.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    names: dict[str, object] = {}
    page = (DOCS / "segmentation-and-detection.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, names)  # the page as a user runs it
    assert sorted(set(names["y"][..., 0].ravel().tolist())) == [0, 1, 2, 3]
    Image.fromarray(names["COLORS"][[[0, 2, 1]]]).save("colors.png")
    assert names["class_numbers"](Path("colors.png").read_bytes()).tolist() == [[0, 2, 1]]
    assert names["aug"][["x", "y", "w", "h"]].notna().all().all()
    assert np.asarray(Image.open("aug/2_4_mask.png")).max() == 3
    assert len(list(Path("aug/images").iterdir())) == 15 + 1  # and the manifest
    shutil.copytree("images", "train2017")
    Path("annotations.json").rename("instances_train.json")
    Image.new("RGB", (320, 240)).save("images/background.jpg")  # no labels, as YOLO has it for images of nothing
    Path("labels", "empty.txt").write_text("")
    page = (DOCS / "regions.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for block in (block for block in blocks if "instances_train.json" in block or '"labels"' in block):
        exec(block, names)
        crops = names["df"]["crop"].img.to_numpy()
        assert len(crops) == 6
        assert crops[0].min() > 60
    for file in Path("aug/labels").glob("*.txt"):
        label, x, y, w, h = map(float, file.read_text().splitlines()[0].split())
        pixels = np.asarray(Image.open(f"aug/images/{file.stem}.jpg"))
        top, bottom = round(256 * (y - h / 2)), round(256 * (y + h / 2))
        left, right = round(256 * (x - w / 2)), round(256 * (x + w / 2))
        assert label == 1
        assert pixels[top + 6 : bottom - 6, left + 6 : right - 6].min() > 40


def _public_objects():
    """Return all that a user can ask for help on, by name."""
    found = {name: getattr(pandas_imgproc, name) for name in pandas_imgproc.__all__}
    for accessor in (FrameImageAccessor, SeriesImageAccessor):
        found |= {f"img.{name}": getattr(accessor, name) for name in dir(accessor) if not name.startswith("_")}
    for cls in [value for value in found.values() if isinstance(value, type)]:
        found |= {f"{cls.__name__}.{name}": value for name, value in vars(cls).items() if not name.startswith("_")}
    return found | {"pandas_imgproc": pandas_imgproc}


def test_examples_need_no_fixture():
    for name, value in _public_objects().items():
        assert "getfixture" not in (inspect.getdoc(value) or ""), name


def test_signatures_begin_with_what_most_calls_need_and_name_choices():
    signature = inspect.signature(FrameImageAccessor.load_resized)
    assert list(signature.parameters)[2:7] == ["size", "fit", "root", "suffix", "errors"]
    for name in ("fit", "errors", "mode", "resample", "engine", "color_profile", "box_format", "box_unit", "outside"):
        parameter = signature.parameters[name]
        assert "Literal[" in str(parameter.annotation), name
        assert repr(parameter.default) in str(parameter.annotation), name


def test_constants_are_described():
    reference = (DOCS / "api.md").read_text()
    for name in (name for name in pandas_imgproc.__all__ if name.isupper()):
        assert re.search(rf"^\.\. py:data:: {name}\n   :type: .*\n\n   \w", reference, re.MULTILINE), name


def test_stored_outputs_name_rows_as_messages_do():
    for path in [*(ROOT / "examples").glob("*.ipynb"), ROOT / "README.md", *DOCS.glob("*.md")]:
        found = re.findall(r"row \d+ \(label [^)]*\)", path.read_text())
        assert not found or path.name == "changelog.md", f"{path.name}: {found[0]}"


def test_architecture_page_names_every_module():
    package, page = ROOT / "pandas_imgproc", (DOCS / "how-it-works.md").read_text()
    missing = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if not path.stem.startswith("__") and path.parent.name != "cli" and path.parent.name != "scaling"
        if f"`{path.stem}`" not in page
    ]
    assert missing == []
