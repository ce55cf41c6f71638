"""Command line: the methods' names, options and results, errors of one line, exit codes for scripts."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archive_factory import make_zip
from image_factory import encoded, image_bytes, row_of, scene
from PIL import Image

import pandas_imgproc
from pandas_imgproc.cli import main as cli_main
from pandas_imgproc.cli import parser
from pandas_imgproc.cli.main import EXIT_FAILED, EXIT_OK, EXIT_SIGINT, EXIT_SIGTERM, EXIT_USAGE, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with six images, two of them broken, and a table of them; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    for k in range(6):
        (tmp_path / "photos" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "ab"[k % 2] / f"{k:03d}.jpg").write_bytes(image_bytes(k) if k != 4 else b"")
    paths = [f"photos/{'ab'[k % 2]}/{k:03d}.jpg" for k in range(6)]
    rows = {"image_path": [*paths, "photos/gone.jpg", None], "label": list("ababab") + ["a", "b"], "id": range(8)}
    pd.DataFrame(rows).to_csv("train.csv", index=False)
    return tmp_path


def run(line, capfd):
    """Run a command line; return its exit code, its output and its messages on stderr."""
    return main(shlex.split(line)), *capfd.readouterr()


def test_load_resized_command_writes_the_methods_column(folder, capfd):
    code, out, err = run("load-resized train.csv image_path --size 16x8 --out x.npy --failures failed.csv", capfd)
    assert (code, out) == (EXIT_OK, "")
    assert "2 of 8 " in err
    assert "--failures failed.csv writes the table of them." in err
    assert "UnreadableImageWarning" not in err
    assert err.endswith("load-resized: 5 of 8 rows have an image, 2 failed, 1 without a path\n")
    column = pandas_imgproc.read_result("x.npy")
    same = pd.read_csv("train.csv").img.load_resized("image_path", size=(16, 8), errors="coerce")
    np.testing.assert_array_equal(column.img.to_numpy(na_value=0), same.img.to_numpy(na_value=0))
    assert pd.read_csv("failed.csv")["kind"].tolist() == ["empty", "missing"]


def test_save_resized_repeated_skips_written_files(folder, capfd):
    line = 'save-resized train.csv image_path "out/{label}/{stem}.png" --size 8 --errors coerce --out written.csv'
    assert run(line, capfd)[0] == EXIT_OK
    table = pd.read_csv("written.csv")
    assert table["path"].tolist()[:2] == ["out/a/000.png", "out/b/001.png"]
    assert [row_of(np.asarray(Image.open(path))) for path in table["path"].dropna()] == [0, 1, 2, 3, 5]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("out/*/*.png")}
    assert run(line, capfd)[0] == EXIT_OK
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("out/*/*.png")}
    code, _, err = run(line.replace("--size 8", "--size 9"), capfd)
    assert (code, err.count("\n")) == (EXIT_FAILED, 1)
    assert "size was [8, 8] and is [9, 9]; choose another to=, or --overwrite replaces it" in err


def test_input_pattern_or_folder_lists_its_images(folder, capfd):
    assert run('save-thumbnails "photos/a/*.jpg" thumbs --no-progress', capfd)[0] == EXIT_OK
    assert sorted(path.name for path in folder.glob("thumbs/*.jpg")) == ["000.jpg", "002.jpg"]
    code, out, err = run("verify photos", capfd)
    assert code == EXIT_FAILED  # as `sha256sum -c`, for a broken image
    assert "photos/a/004.jpg,a,empty,the file has no bytes" in out.splitlines()
    assert err == "verify: 5 of 6 rows have an image, 1 failed\n"
    assert run("verify photos/b", capfd)[0] == EXIT_OK


def test_strict_option_and_verify_find_half_jpeg(folder, capfd):
    whole = encoded(scene(64, 48), "JPEG")
    (folder / "two").mkdir()
    (folder / "two" / "a.jpg").write_bytes(whole)
    (folder / "two" / "b.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    assert run("save-resized two lenient --size 8", capfd)[2] == "save-resized: 2 of 2 rows have an image, 0 failed\n"
    code, _, err = run("save-resized two strict --size 8 --strict", capfd)
    assert (code, err.splitlines()[-1]) == (EXIT_OK, "save-resized: 1 of 2 rows have an image, 1 failed")
    code, out, _ = run("verify two", capfd)
    assert code == EXIT_FAILED
    assert "two/b.jpg,two,truncated,the file ends too early: libjpeg reports: Corrupt JPEG data: premature end" in out


@pytest.mark.parametrize("line", ["save-thumbnails photos photos/t", 'save-thumbnails photos "{dir}/{stem}_s.png"'])
def test_generated_files_below_the_input_folder_are_not_inputs(folder, capfd, line):
    assert run(line, capfd)[0] == EXIT_OK
    written = {
        path: path.stat().st_mtime_ns for path in [*folder.glob("photos/t/*/*.jpg"), *folder.glob("photos/*/*_s.png")]
    }
    assert len(written) == 5
    code, _, err = run(line, capfd)
    assert (code, err.splitlines()[-1]) == (EXIT_OK, "save-thumbnails: 5 of 6 rows have an image, 1 failed")
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert len(pandas_imgproc.from_glob("photos")) == 6
    pattern = "photos/t" if Path("photos/t").exists() else "photos/*/*_s.png"
    assert len(pandas_imgproc.from_glob(pattern)) == 5  # inputs, if their sources are not listed


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "jsonl"])
def test_output_table_has_input_rows_and_renames_taken_columns(folder, capfd, suffix):
    frame = pd.read_csv("train.csv").drop(columns="id").assign(width="mine")
    options = {"csv": {"index": False}, "jsonl": {"orient": "records", "lines": True}}.get(suffix, {})
    getattr(frame, f"to_{suffix.removesuffix('l') if suffix == 'jsonl' else suffix}")(f"t.{suffix}", **options)
    line = f"features t.{suffix} image_path --include width,phash --errors coerce"
    assert run(f"{line} --out f.csv", capfd)[0] == EXIT_OK
    table = pd.read_csv("f.csv")
    assert table.columns.tolist() == ["image_path", "label", "width", "width_features", "phash"]
    assert table["width_features"].tolist()[:3] == [32, 32, 32]
    assert table["width"].tolist() == ["mine"] * 8
    code, _, err = run(f"{line} --out f.parquet", capfd)  # the method writes the parts, and can continue them
    assert (code, err.splitlines()[-1]) == (EXIT_OK, "features: 5 of 8 rows have an image, 2 failed, 1 without a path")
    assert pandas_imgproc.read_result("f.parquet")["width"].tolist()[:3] == [32, 32, 32]


def test_csv_ids_of_digits_stay_text(folder, capfd):
    Path("ids.csv").write_text("id\n000\n002\n")
    assert run("load-resized ids.csv id --root photos/a --suffix .jpg --size 8 --out x.npy", capfd)[0] == EXIT_OK
    assert [row_of(pixels) for pixels in np.load("x.npy")] == [0, 2]


def test_csv_columns_roundtrip_unchanged(folder, capfd):
    rows = ["cls,price,image_path", "007,1.10,photos/a/000.jpg", "NA,,photos/b/001.jpg", "None,1e3,"]
    Path("t.csv").write_text("\n".join(rows))
    assert run("hash t.csv image_path --kind md5 --out h.csv", capfd)[0] == EXIT_OK
    assert [line.rpartition(",")[0] for line in Path("h.csv").read_text().splitlines()] == rows
    assert run('save-resized t.csv image_path "o/{cls}/{stem}.jpg" --size 8', capfd)[0] == EXIT_OK
    assert sorted(map(str, Path("o").glob("*/*.jpg"))) == ["o/007/000.jpg", "o/NA/001.jpg"]


def test_output_naming_the_input_table_is_a_usage_error(folder, capfd):
    before = Path("train.csv").read_bytes()
    Path("link.csv").symlink_to("train.csv")
    Path("hard.csv").hardlink_to("train.csv")
    line = "verify train.csv image_path"
    for options, expected in (
        ("--out train.csv", "--out 'train.csv' is the table that is read"),
        ("--out link.csv", "--out 'link.csv' is the table"),
        ("--failures ./hard.csv", "--failures './hard.csv' is the table"),
        ("--out v.csv --failures v.csv", "--failures 'v.csv' is the file of --out too"),
    ):
        code, _, err = run(f"{line} {options}", capfd)
        assert (code, err.count("\n")) == (EXIT_USAGE, 1)
        assert expected in err
    assert Path("train.csv").read_bytes() == before
    assert not Path("v.csv").exists()


def test_table_of_tiles_is_an_input_of_other_commands(folder, capfd):
    assert run("tiles train.csv image_path --size 20 --out tiles.csv --no-progress", capfd)[0] == EXIT_OK
    tiles = pd.read_csv("tiles.csv")
    assert tiles.columns.tolist()[-5:] == ["tile", "x", "y", "w", "h"]
    code, _, _ = run("load-resized tiles.csv image_path --size 8 --box x,y,w,h --out tiles.npy --no-progress", capfd)
    assert code == EXIT_OK
    assert len(np.load("tiles.npy")) == len(tiles) > len(pd.read_csv("train.csv"))


def test_show_command_writes_a_contact_sheet(folder, capfd):
    assert run("show train.csv image_path --title label,id --n 4 --out sheet.png", capfd) == (EXIT_OK, "", "")
    pd.DataFrame({"image": ["photos/a/000.jpg"], "mask": ["mask.png"], "x": 2, "y": 2, "s": 9}).to_csv("m.csv")
    Image.new("L", (32, 24), 3).save("mask.png")
    assert run("show m.csv image --mask mask --box x,y,s,s --out overlay.png", capfd) == (EXIT_OK, "", "")
    assert max(Image.open("overlay.png").getpixel((60, 70))) > 90  # blue of class 3 over the dark image of row 0
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 400


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("shw photos", EXIT_USAGE, 'Unknown command "shw". Did you mean "show"?'),
        ("verify train.csv image_pth", EXIT_USAGE, "the frame has no column 'image_pth'; did you mean 'image_path'?"),
        ("verify train.csv", EXIT_USAGE, "which column of 'train.csv' holds the images? It has ['image_path', 'label'"),
        ("verify nothing.csv image_path", EXIT_USAGE, "there is no table 'nothing.csv'"),
        ("verify nothing", EXIT_USAGE, "pattern='nothing': there is no such folder"),
        ("verify photos --out v.txt", EXIT_USAGE, "--out 'v.txt' is not a table"),
        ("verify photos --out no/v.csv", EXIT_USAGE, "there is no folder 'no'"),
        ("save-thumbnails photos", EXIT_USAGE, "name the output"),
        ("save-thumbnails a.jpg b.jpg c.jpg thumbs", EXIT_USAGE, "'c.jpg' is one word too many; quote a pattern"),
        ("save-resized train.csv image_path {lable}/{stem}.png --size 8", EXIT_USAGE, "did you mean 'label'?"),
        ("load-resized photos --folder data", EXIT_USAGE, "Unknown option: --folder. Did you mean --root?"),
        ("save-thumbnails photos --to thumbs", EXIT_USAGE, "Unknown option: --to. TO is positional: "),
        ("load-resized photos --sze 8 --out x.npy", EXIT_USAGE, "Unknown option: --sze. Did you mean --size?"),
        ("load-resized photos --size 8px --out x.npy", EXIT_USAGE, "Invalid value for --size: '8px' is neither"),
        ("load-resized photos --size 0 --out x.npy", EXIT_USAGE, "got 0: 1 is the least"),
        ("load-resized photos --size 8 --out x.csv", EXIT_USAGE, "--out 'x.csv' is neither a local NumPy file"),
        ("load-resized photos --out x.npy", EXIT_USAGE, "--size N|WxH is required"),
        ("load-resized photos --size -1 --out x.npy", EXIT_USAGE, "--size: '-1' is neither a number of pixels"),
        ("show photos --n 1.5 --out s.png", EXIT_USAGE, "Invalid value for --n: '1.5' is not a whole number"),
        ("issues photos --dark x", EXIT_USAGE, 'Invalid value for --dark: unable to convert "x" into float'),
        ("hash photos --errors wrn", EXIT_USAGE, 'for --errors. Choose from: "warn", "coerce", "raise"'),
        ("load-resized photos --size 8 --fit zz --out x.npy", EXIT_USAGE, "--fit 'zz' is not one of 'stretch', 'crop'"),
        ("load-resized photos --size 8", EXIT_USAGE, "--out PATH is required"),
        ("load-resized photos --out x.npy --size", EXIT_USAGE, "--size N|WxH is required"),
        ("verify photos --empty-formats", EXIT_USAGE, "Unknown option: --empty-formats"),
        ("verify", EXIT_USAGE, "name the images"),
        ("", EXIT_USAGE, "name a command"),
        ("verify photos --storage-options {secret", EXIT_USAGE, "--storage-options: the value is not JSON"),
        ("hash photos --kind phsh", EXIT_USAGE, "--kind 'phsh' is not one of 'phash'"),
        ("load-resized train.csv image_path --size 8 --out x.npy --no-overwrite", EXIT_USAGE, "--no-overwrite"),
        ("load-resized train.csv image_path --size 8 --out x.npy --errors raise", EXIT_FAILED, "row 4, "),
        ("load-resized train.csv image_path --size 8 --out no/x.npy", EXIT_USAGE, "there is no folder 'no'"),
        ("show photos --out s.xyz", EXIT_USAGE, "--out 's.xyz' is not an image: .png, .jpg"),
        ("download https://example.org/a.jpg to", EXIT_USAGE, "'https://example.org/a.jpg' is one image, not a folder"),
        ("verify empty.csv p", EXIT_USAGE, "the table 'empty.csv' is empty"),
        ("verify latin.csv p", EXIT_USAGE, "the table 'latin.csv' is not encoded as UTF-8; convert it: iconv"),
        ("unpack train.csv", EXIT_USAGE, "name an archive and a folder"),
        ("unpack gone.zip to", EXIT_USAGE, "there is no archive 'gone.zip'"),
        ("unpack photos to", EXIT_USAGE, "'photos' is a folder, not an archive"),
        ("unpack train.csv to", EXIT_FAILED, "'train.csv': the archive cannot be read"),
        ("unpack train.csv to --out x.xyz", EXIT_USAGE, "--out 'x.xyz' is not a table"),
        ("verify marks.csv p", EXIT_USAGE, "is it separated by ';'?"),
    ],
)  # fmt: skip
def test_error_is_one_line_with_its_exit_code(folder, capfd, line, code, message):
    for name, data in (("empty", b""), ("latin", b"p\n\xfc.jpg\n"), ("marks", b"p;x\na.jpg;1\n")):
        Path(f"{name}.csv").write_bytes(data)
    exit_code, out, err = run(line, capfd)
    assert (exit_code, out, err.count("\n")) == (code, "", 1)
    assert err.startswith("pandas_imgproc")
    assert message in err
    assert "secret" not in err


def test_unpack_command_writes_files_and_tables_and_continues(folder, capfd):
    Path("x.zip").write_bytes(make_zip({"a/1.jpg": b"one", "../2.jpg": b"two"}))
    line = "unpack x.zip to --out files.csv --failures refused.csv --max-bytes '1 GB'"
    for _ in range(2):
        code, out, err = run(line, capfd)
        assert (code, out) == (EXIT_OK, "")
        assert "--failures failed.csv writes the table of them." in err
        assert "result.img" not in err
        assert err.endswith("unpack: 1 of 2 members unpacked, 1 refused\n")
        assert pd.read_csv("files.csv")["path"].tolist()[0] == "to/a/1.jpg"
        assert pd.read_csv("refused.csv")["kind"].tolist() == ["outside_root"]
    assert run("unpack x.zip other --errors raise", capfd)[0] == EXIT_FAILED


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_text_of_excel_is_read(folder, tmp_path, capfd, encoding):
    table = tmp_path / "excel.tsv"
    table.write_text("bild\ttitle\nphotos/a/000.jpg\tgrün\n", encoding=encoding)
    code, _, err = run(f"verify {table} bild", capfd)
    assert code == EXIT_OK, err


def test_traceback_option_raises_the_error(folder):
    with pytest.raises(KeyError, match="image_pth"):
        main(shlex.split("verify train.csv image_pth --traceback"))


def test_help_of_upload_says_once_how_options_are_given(capfd):
    text = " ".join(run("upload --help", capfd)[1].replace("│", " ").split())
    assert text.count("are given by protocol") == 1
    assert "They are never shown. Those of the sources and those of the bucket are given by protocol." in text


def test_first_download_continues_nothing(folder, capfd):
    pd.DataFrame({"image_path": ["photos/a/000.jpg", None, "photos/a/000.jpg"]}).to_csv("some.csv", index=False)
    err = run("download some.csv image_path copies", capfd)[2]
    assert "continues" not in err
    assert "the other" not in err
    for path in Path("copies").rglob("000.jpg"):
        path.unlink()
    assert "before" not in run("download some.csv image_path copies", capfd)[2]
    assert "all 3 rows were finished before" in run("download some.csv image_path copies", capfd)[2]


def test_failure_of_a_url_names_no_local_folder(folder, capfd, http_server):
    pd.DataFrame({"url": [http_server.url("gone.jpg"), http_server.url("lost.jpg")]}).to_csv("urls.csv", index=False)
    code, _, err = run("download urls.csv url copies", capfd)
    assert code == EXIT_FAILED
    assert "404" in err
    assert "Looked in" not in err


def test_help_shows_docstrings_and_exit_codes(capfd):
    code, out, _ = run("--help", capfd)
    assert code == EXIT_OK
    assert all(f"│ {command} " in out for command in parser.EXAMPLES)
    assert all(f"\n  {number} " in out for number in (0, 1, 2, 130, 143))
    code, out, _ = run("save_thumbnails --help", capfd)
    text = " ".join(out.replace("│", " ").split())
    assert code == EXIT_OK
    assert "TABLE COLUMN TO [options]" in out
    assert "--size N|WxH Pixels: the bounds of the thumbnail. [default: 128]" in text
    assert "TO A folder, in which the" in text
    assert "--quality N 1 to 100, of JPEG, WebP and AVIF." in text  # as in save_resized
    assert "--errors CHOICE Policy for images" in text  # as in load_resized
    assert "[choices: warn, coerce, raise] [default: warn]" in text
    assert "--empty-" not in text
    assert "--no-exif-transpose" in run("load-resized --help", capfd)[1]


@pytest.mark.parametrize("command", parser.EXAMPLES)
def test_examples_parse_into_the_methods_parameters(command):
    method = parser.FUNCTIONS.get(command) or getattr(pd.DataFrame().img, parser.method_name(command))
    for example in parser.EXAMPLES[command]:
        (name, positionals, options), message = parser.parse([command, *shlex.split(example)], "")
        assert (name, message) == (command, None)
        assert len(options) == example.count("--")
        parameters = set(inspect.signature(method).parameters)
        assert set(options) - parameters <= {"out", "failures"}
        assert positionals


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--size 64x48 --reducing-gap none", {"size": (64, 48), "reducing_gap": None}),
        ("--size=64 --no_exif_transpose --no-progress", {"size": 64, "exif_transpose": False, "progress": False}),
        ("--size 8 --size 9 --max_pixels 1000", {"size": 9, "max_pixels": 1000}),
        ("--size 8 --formats PNG,GIF --schemes sftp", {"size": 8, "formats": ["PNG", "GIF"], "schemes": ["sftp"]}),
        ("""--size 8 --storage-options '{"anon": true}'""", {"size": 8, "storage_options": {"anon": True}}),
        ("--size 8 --box x,y,w,h --frame page", {"size": 8, "box": ["x", "y", "w", "h"], "frame": "page"}),
        ("--size 8 --box bbox --frame 3 --margin 0.1", {"size": 8, "box": "bbox", "frame": 3, "margin": 0.1}),
        ("--size 8 --background none --suffix none", {"size": 8, "background": None, "suffix": "none"}),
    ],
)
def test_option_words_become_python_values(words, options):
    request, message = parser.parse(["load_resized", "photos", "--out", "x.npy", *shlex.split(words)], "")
    assert message is None
    assert request == ("load-resized", ["photos"], {"out": "x.npy", **options})


def test_option_words_with_pydantic_loaded_are_not_validated():
    pytest.importorskip("pydantic")  # in this process cyclopts then validates values and defaults against type hints
    for command, examples in parser.EXAMPLES.items():
        for example in examples:
            assert parser.parse([command, *shlex.split(example)], "")[1] is None
    words = """load-resized photos --out x.npy --size 64x48 --reducing-gap none --storage-options '{"anon": true}'"""
    request, message = parser.parse(shlex.split(words), "")
    assert message is None
    assert request.options["size"] == (64, 48)
    assert request.options["storage_options"] == {"anon": True}


def test_command_line_without_extra_names_extra(monkeypatch, capfd):
    monkeypatch.setattr(cli_main, "parser", None)
    assert run("verify photos", capfd) == (
        EXIT_USAGE,
        "",
        'pandas_imgproc: error: the command line needs an extra: pip install "pandas-imgproc[cli]"\n',
    )


SIGNAL_AT_A_THIRD = """
import logging, os, re

class Signaling(logging.Handler):
    before = 0

    def emit(self, record):
        earlier = re.match(r"load_resized: continues after (\\d+) of 100 ", record.getMessage())
        self.before = int(earlier[1]) if earlier else self.before
        percent = re.match(r"load_resized: (\\d+)%", record.getMessage())
        third = self.before + 0.3 * (100 - self.before)
        if percent and int(percent[1]) >= third and "SIGNAL" in os.environ:
            os.kill(os.getpid(), int(os.environ.pop("SIGNAL")))

logging.getLogger("pandas_imgproc").addHandler(Signaling())
"""


def test_killed_command_continues_when_repeated(folder, capfd):
    """The command signals itself at a third of its rows, or of the rest of them."""
    (folder / "sitecustomize.py").write_text(SIGNAL_AT_A_THIRD)
    rows = pd.read_csv("train.csv").iloc[[0, 1, 2, 3, 5]]
    pd.concat([rows] * 20).to_csv("many.csv", index=False)
    line = "load_resized many.csv image_path --size 24 --npartitions 20 --out x.npy"
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "DASK_SCHEDULER": "synchronous"}
    env |= {"DASK_PANDAS_IMGPROC__PROGRESS_DELAY": "0"}
    n_records = 0
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, EXIT_SIGTERM), (signal.SIGINT, EXIT_SIGINT)):
        words = [sys.executable, "-m", "pandas_imgproc", *shlex.split(line)]
        done = subprocess.run(words, cwd=folder, env=env | {"SIGNAL": str(int(end))}, stderr=-1, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert ("stay on disk" in done.stderr) == (code > 0)
        before, n_records = n_records, (folder / "x.npy.journal").read_bytes().count(b'{"rows"')
        assert before < n_records
    code, _, err = run(line, capfd)
    assert (code, err.splitlines()[-1]) == (EXIT_OK, "load-resized: 100 of 100 rows have an image, 0 failed")
    assert [row_of(pixels) for pixels in np.load("x.npy", mmap_mode="r")[-5:]] == [0, 1, 2, 3, 5]


def test_closed_output_pipe_ends_without_an_error(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f"{sys.executable} -m pandas_imgproc hash photos --kind md5 --errors coerce | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr.count("roken")) == ("0\n", 0)


SIGINT_AT_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["MODULE"]:
            sys.meta_path.remove(self)
            for _ in range(int(os.environ["TIMES"])):
                os.kill(os.getpid(), signal.SIGINT)

if "-m" in sys.orig_argv:
    sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize(
    ("module", "command", "times"),
    [("pandas", "", 1), ("cyclopts", "", 2), ("distributed", " load-resized", 2), ("distributed", " verify", 1)],
)
def test_ctrl_c_is_one_line_at_any_time(folder, module, command, times):
    """During the imports, and while a command starts a cluster; once, and twice at once."""
    (folder / "sitecustomize.py").write_text(SIGINT_AT_IMPORT)
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "MODULE": module, "TIMES": str(times)}
    env |= {"DASK_PANDAS_IMGPROC__N_WORKERS": "1", "DASK_PANDAS_IMGPROC__DASHBOARD": "off"}
    line = "load_resized train.csv image_path --size 24 --out x.npy --npartitions 2"
    if command == " verify":
        line = "verify train.csv image_path --npartitions 2"
    words = [sys.executable, "-m", "pandas_imgproc", *shlex.split(line)]
    result = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    rest = {"": "", " verify": "; no result"}.get(command, "; finished rows stay on disk")
    assert (result.returncode, result.stderr) == (EXIT_SIGINT, f"pandas_imgproc{command}: interrupted{rest}\n")


@pytest.mark.parametrize("redirect", ["2>/dev/null", "2>&1"])
def test_closed_pipe_does_not_change_the_exit_code(folder, redirect):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f"{sys.executable} -m pandas_imgproc verify train.csv image_path {redirect} | true; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", line], cwd=folder, env=env, check=False).returncode == EXIT_FAILED


def test_command_without_terminal_streams_writes_its_files(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = f"exec {sys.executable} -m pandas_imgproc"
    line = f"{program} load-resized train.csv image_path --size 24 --out x.npy 0<&- 1>&- 2>&-"
    subprocess.run(["sh", "-c", line], cwd=folder, env=env, check=True)
    assert np.load("x.npy").shape[1:] == (24, 24, 3)
    closed = subprocess.run(
        ["sh", "-c", f"{program} hash photos 1>&-"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert closed.returncode == EXIT_USAGE
    assert closed.stderr.endswith("error: the standard output is closed; --out result.csv names a file for the table\n")
