"""Examples, run as scripts, each in an empty folder."""

import filecmp
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from image_factory import row_image
from PIL import Image, ImageStat

import pandas_imgproc  # noqa: F401  registers .img

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "examples" / "quickstart.py"


# One process of each kind, and one thread in each: those of scikit-learn's small models mostly wait for one another.
ENVIRONMENT = {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"DASK_PANDAS_IMGPROC__N_WORKERS": "1", "DASK_PANDAS_IMGPROC__DASHBOARD": "off"}


def run(folder, *arguments, check=True, script=QUICKSTART):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder, env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path}, capture_output=True, text=True, check=check,
    )  # fmt: skip


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Return the finished quickstart of 150 images, and its folder of output."""
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("catalogue")
    return run(folder, "--images", 150), folder / "quickstart_output"


def test_quickstart_prints_frame_failures_and_speed(catalogue):
    done, _ = catalogue
    kinds = [line.split()[3] for line in done.stdout.split("failures shows the reasons:")[1].splitlines()[2:5]]
    assert kinds == ["missing", "truncated", "unidentified"]
    assert "image[uint8, (64, 64, 3)]" in done.stdout
    assert "to_numpy(na_value=0) is (150, 64, 64, 3)" in done.stdout
    assert "images per second" in done.stdout


def test_quickstart_warns_once_without_traceback(catalogue):
    done, _ = catalogue
    assert done.stderr.count("UnreadableImageWarning: 3 of 150 images") == 1
    assert "Traceback" not in done.stderr


def test_quickstart_contact_sheet_has_forty_tiles_and_three_failures(catalogue):
    _, folder = catalogue
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert 1000 < sheet.width <= 1200
        assert 850 < sheet.height <= 1000
        frames = [sheet.getpixel((20 + 142 * (i % 8) + 64, 30 + 20 + 178 * (i // 8) + 1)) for i in range(40)]
    assert frames.count((220, 179, 156)) == 3  # the band on top of the tile of a failure


def test_quickstart_catalogue_has_documented_formats_and_sizes(catalogue):
    _, folder = catalogue
    df = pd.read_csv(folder / "catalogue.csv")
    assert df["image_path"].is_unique
    found, orientations, sizes = set(), set(), set()
    for path in sorted((folder / "images").iterdir()):
        try:
            with Image.open(path) as image:
                found.add((image.format, image.mode))
                orientations.add(image.getexif().get(0x0112, 1))
                sizes.add(image.size)
        except OSError:
            continue
    assert {("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB")} <= found
    assert orientations == {1, 3, 6, 8}
    assert len(sizes) > 100
    assert all(190 <= edge <= 900 for size in sizes for edge in size)
    kinds = df["image_path"].img.verify(root=folder)["kind"].dropna()
    assert kinds.tolist() == ["missing", "truncated", "unidentified"]


def test_quickstart_catalogue_is_reproducible_over_other_files(catalogue, tmp_path, monkeypatch):
    """In another process than the first one, which is this one."""
    _, first = catalogue
    again = tmp_path / "quickstart_output"
    names = sorted(path.name for path in (first / "images").iterdir())
    (again / "images").mkdir(parents=True)
    (again / "images" / names[0]).write_text("of a run with fewer images")
    (again / "catalogue.csv").write_text("image_path")
    monkeypatch.syspath_prepend(QUICKSTART.parent)
    runpy.run_path(str(QUICKSTART))["make_catalogue"](again, 150)
    assert sorted(path.name for path in (again / "images").iterdir()) == names
    assert filecmp.cmpfiles(first / "images", again / "images", names, shallow=False)[0] == names
    assert filecmp.cmp(first / "catalogue.csv", again / "catalogue.csv", shallow=False)


@pytest.fixture
def user_folder(tmp_path):
    """Return a folder with images and a CSV of ids, one of which has no file."""
    (tmp_path / "photos").mkdir()
    for row in range(4):
        row_image(row, (50, 40)).save(tmp_path / "photos" / f"{row}.png")
    pd.DataFrame({"id": range(5), "name": list("abcde")}).to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def test_quickstart_loads_images_of_user_table(user_folder):
    done = run(user_folder, "train.csv", "id", "--size", 32, "--root", "photos", "--suffix", ".png", "--to", "seen")
    assert "is (5, 32, 32, 3)" in done.stdout
    assert "UnreadableImageWarning: 1 of 5" in done.stderr
    assert (user_folder / "seen" / "contact_sheet.png").exists()
    assert not (user_folder / "quickstart_output").exists()


def test_quickstart_accepts_column_named_image(user_folder):
    pd.DataFrame({"image": ["0.png", None, "2.png"]}).to_csv(user_folder / "image.csv")
    done = run(user_folder, "image.csv", "image", "--root", "photos")
    assert "is (3, 64, 64, 3)" in done.stdout
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.csv", "nam"], "did you mean 'name'?"),
        (["gone.csv", "name"], "No such file or directory: 'gone.csv'"),
        (["paths.csv", "path"], "It would be found with root='photos'."),
        (["train.csv", "id", "--root", "photos", "--suffix", ".png", "--caption", "titel"], "quickstart: titel"),
        (["--images", "3"], "--images must be at least 30"),
    ],
)
@pytest.mark.filterwarnings("ignore::pandas_imgproc.UnreadableImageWarning")
def test_quickstart_usage_error_has_message(user_folder, monkeypatch, capfd, arguments, message):
    pd.DataFrame({"path": ["0.png", "1.png"]}).to_csv(user_folder / "paths.csv", index=False)
    monkeypatch.chdir(user_folder)
    monkeypatch.setattr(sys, "argv", [str(QUICKSTART), *arguments])
    monkeypatch.syspath_prepend(QUICKSTART.parent)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(QUICKSTART), run_name="__main__")
    assert ended.value.code
    assert message in f"{ended.value.code}{capfd.readouterr().err}"


def test_features_example_improves_on_table(tmp_path):
    pytest.importorskip("sklearn")
    done = run(tmp_path, "--products", 80, script=ROOT / "examples" / "features.py")
    table_only, with_features = (float(line.split()[-1]) for line in done.stdout.splitlines()[-2:])
    assert with_features > table_only + 0.1
    photos = int(done.stdout.split()[0])
    n_failed = int(done.stdout.split("still in their rows: ")[1].split()[0])
    assert 0 < n_failed < photos / 20
    assert done.stderr.count("UnreadableImageWarning") == 1


@pytest.mark.parametrize("name", ["thumbnails", "resize_for_network", "catalogue"])
def test_published_job_is_timed_against_its_script(tmp_path, name):
    done = run(tmp_path, "--images", 9, script=ROOT / "examples" / f"{name}.py")
    assert done.stderr.count("UnreadableImageWarning: 2 of 9 images could not be read") == 1
    script, call = (line for line in done.stdout.splitlines() if line.startswith(("the script:", "one call:")))
    assert float(script.split()[2]) > 0
    assert float(call.split()[2]) > 0
    assert "IMG_0008.jpg  truncated" in done.stdout
    out = tmp_path / "example_output"
    if name == "catalogue":
        assert (
            "X is (9, 64, 64, 3) of uint8; with reducing_gap=None it is the script's, to the byte: True" in done.stdout
        )
        return
    ours = out / ("thumbnails" if name == "thumbnails" else "train")
    files = sorted(ours.glob("*/*.jpg"))
    assert len(files) == 7
    assert {path.parent.name for path in files} == {"dunes", "clouds", "leaves"}
    for path in files:
        with Image.open(path) as image, Image.open(out / "by_script" / path.name) as theirs:
            assert image.size == theirs.size == ((128, 96) if name == "thumbnails" else (600, 600))
            assert abs(sum(ImageStat.Stat(image).mean) - sum(ImageStat.Stat(theirs).mean)) < 3


@pytest.mark.parametrize("name", ["augmentation", "own_function"])
def test_user_function_is_timed_against_its_script(tmp_path, name):
    done = run(tmp_path, "--images", 6, script=ROOT / "examples" / f"{name}.py")
    assert done.stderr.count("UnreadableImageWarning: 2 of 6 images could not be read") == 1
    script, call = (line for line in done.stdout.splitlines() if line.startswith(("the script:", "one call:")))
    assert float(script.split()[2]) > 0
    assert float(call.split()[2]) > 0
    if name == "augmentation":
        assert len(list((tmp_path / "example_output" / "augmented").rglob("*.jpg"))) == 4 * 5


def test_scaling_study_prints_times_of_scripts_and_methods(tmp_path):
    script = ROOT / "examples" / "scaling_study.py"
    done = run(tmp_path, "--sizes", 500, "--processes", 1, "--scale", 1, "--variants", 1, script=script)
    assert "500 x 500: 4 images, 1 variants of each" in done.stdout
    header, ways = (line for line in done.stdout.splitlines() if "one call" in line or "parent reads" in line)
    assert header.index("the usual scripts") < header.index("one call")
    twice = ["parent", "reads", "workers", "read"] * 2
    assert ways.split() == [*twice, "separate", "savers", "augment", "augment(to=)"]
    seconds = next(line for line in done.stdout.splitlines() if line.startswith("seconds"))
    assert len(seconds.split()) == 2 + 7
    assert all(float(figure) > 0 for figure in seconds.split()[2:])
    files = [sorted((tmp_path / "example_output" / side).glob("*.jpg")) for side in ("by_scripts", "by_one_call")]
    assert [len(found) for found in files] == [4, 4]
    assert "Warning" not in done.stderr
