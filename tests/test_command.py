"""The methods from the shell: the same names, options and answers, one line for each mistake, exit codes to rely on."""

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
from pictures import row_bytes, row_of
from PIL import Image

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc.command import DONE, INTERRUPTED, STOPPED, TERMINATED, WRONG, main, parsers

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with six pictures, two of them broken, and a table of them; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    for k in range(6):
        (tmp_path / "photos" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "ab"[k % 2] / f"{k:03d}.jpg").write_bytes(row_bytes(k) if k != 4 else b"")
    paths = [f"photos/{'ab'[k % 2]}/{k:03d}.jpg" for k in range(6)]
    rows = {"image_path": [*paths, "photos/gone.jpg", None], "label": list("ababab") + ["a", "b"], "id": range(8)}
    pd.DataFrame(rows).to_csv("train.csv", index=False)
    return tmp_path


def run(line, capfd):
    """Run a command line; return its exit code, its output and what it said on stderr."""
    try:
        code = main(shlex.split(line))
    except SystemExit as exc:
        code = exc.code
    return code, *capfd.readouterr()


def test_the_column_is_the_methods(folder, capfd):
    code, out, said = run("load-resized train.csv image_path --size 16x8 --out x.npy --failures failed.csv", capfd)
    assert (code, out) == (DONE, "")
    assert "2 of 8 pictures could not be read" in said
    assert "--failures failed.csv writes the table of them." in said
    assert "UnreadableImageWarning" not in said
    assert said.endswith("load-resized: 5 of 8 rows have a picture, 2 failed, 1 without a path\n")
    column = pandas_imgproc.read_result("x.npy")
    same = pd.read_csv("train.csv").img.load_resized("image_path", size=(16, 8), errors="coerce")
    np.testing.assert_array_equal(column.img.to_numpy(na_value=0), same.img.to_numpy(na_value=0))
    assert pd.read_csv("failed.csv")["kind"].tolist() == ["empty", "missing"]


def test_files_and_the_same_command_again(folder, capfd):
    line = 'save-resized train.csv image_path "out/{label}/{stem}.png" --size 8 --errors coerce --out written.csv'
    assert run(line, capfd)[0] == DONE
    table = pd.read_csv("written.csv")
    assert table["path"].tolist()[:2] == ["out/a/000.png", "out/b/001.png"]
    assert [row_of(np.asarray(Image.open(path))) for path in table["path"].dropna()] == [0, 1, 2, 3, 5]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("out/*/*.png")}
    assert run(line, capfd)[0] == DONE
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("out/*/*.png")}
    code, _, said = run(line.replace("--size 8", "--size 9"), capfd)
    assert (code, said.count("\n")) == (STOPPED, 1)
    assert "size was [8, 8] and is [9, 9]; choose another to=, or --overwrite replaces it" in said


def test_patterns_and_folders(folder, capfd):
    assert run('save-thumbnails "photos/a/*.jpg" thumbs --no-progress', capfd)[0] == DONE
    assert sorted(path.name for path in folder.glob("thumbs/*.jpg")) == ["000.jpg", "002.jpg"]
    code, out, said = run("verify photos", capfd)
    assert code == STOPPED  # as `sha256sum -c`: something is broken
    assert "photos/a/004.jpg,a,empty,the file has no bytes" in out.splitlines()
    assert said == "verify: 5 of 6 rows have a picture, 1 failed\n"
    assert run("verify photos/b", capfd)[0] == DONE


@pytest.mark.parametrize("line", ["save-thumbnails photos photos/t", 'save-thumbnails photos "{dir}/{stem}_s.png"'])
def test_what_was_made_below_the_pictures_is_none_of_them(folder, capfd, line):
    assert run(line, capfd)[0] == DONE
    made = {
        path: path.stat().st_mtime_ns for path in [*folder.glob("photos/t/*/*.jpg"), *folder.glob("photos/*/*_s.png")]
    }
    assert len(made) == 5
    code, _, said = run(line, capfd)
    assert (code, said.splitlines()[-1]) == (DONE, "save-thumbnails: 5 of 6 rows have a picture, 1 failed")
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert len(pandas_imgproc.from_glob("photos")) == 6
    alone = "photos/t" if Path("photos/t").exists() else "photos/*/*_s.png"
    assert len(pandas_imgproc.from_glob(alone)) == 5  # they are pictures as well, where those they are of are not found


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "jsonl"])
def test_tables_stand_beside_the_rows_that_were_given(folder, capfd, suffix):
    frame = pd.read_csv("train.csv").drop(columns="id").assign(width="mine")
    how = {"csv": {"index": False}, "jsonl": {"orient": "records", "lines": True}}.get(suffix, {})
    getattr(frame, f"to_{suffix.removesuffix('l') if suffix == 'jsonl' else suffix}")(f"t.{suffix}", **how)
    line = f"features t.{suffix} image_path --include width,phash --errors coerce"
    assert run(f"{line} --out f.csv", capfd)[0] == DONE
    table = pd.read_csv("f.csv")
    assert table.columns.tolist() == ["image_path", "label", "width", "width_features", "phash"]
    assert table["width_features"].tolist()[:3] == [32, 32, 32]
    assert table["width"].tolist() == ["mine"] * 8
    code, _, said = run(f"{line} --out f.parquet", capfd)  # the method's own: parts that are continued
    assert (code, said) == (DONE, "features: 5 of 8 rows have a picture, 2 failed, 1 without a path\n")
    assert pandas_imgproc.read_result("f.parquet")["width"].tolist()[:3] == [32, 32, 32]


def test_names_of_digits_stay_as_they_are(folder, capfd):
    Path("ids.csv").write_text("id\n000\n002\n")
    assert run("load-resized ids.csv id --root photos/a --suffix .jpg --size 8 --out x.npy", capfd)[0] == DONE
    assert [row_of(pixels) for pixels in np.load("x.npy")] == [0, 2]


def test_other_columns_are_written_back_as_they_were(folder, capfd):
    rows = ["cls,price,image_path", "007,1.10,photos/a/000.jpg", "NA,,photos/b/001.jpg", "None,1e3,"]
    Path("t.csv").write_text("\n".join(rows))
    assert run("hash t.csv image_path --kind md5 --out h.csv", capfd)[0] == DONE
    assert [line.rpartition(",")[0] for line in Path("h.csv").read_text().splitlines()] == rows
    assert run('save-resized t.csv image_path "o/{cls}/{stem}.jpg" --size 8', capfd)[0] == DONE
    assert sorted(map(str, Path("o").glob("*/*.jpg"))) == ["o/007/000.jpg", "o/NA/001.jpg"]


def test_the_table_that_is_read_is_never_written_over(folder, capfd):
    before = Path("train.csv").read_bytes()
    Path("link.csv").symlink_to("train.csv")
    Path("hard.csv").hardlink_to("train.csv")
    line = "verify train.csv image_path"
    for options, said in (
        ("--out train.csv", "--out 'train.csv' is the table that is read"),
        ("--out link.csv", "--out 'link.csv' is the table"),
        ("--failures ./hard.csv", "--failures './hard.csv' is the table"),
        ("--out v.csv --failures v.csv", "--failures 'v.csv' is what --out names too"),
    ):
        code, _, err = run(f"{line} {options}", capfd)
        assert (code, err.count("\n")) == (WRONG, 1)
        assert said in err
    assert Path("train.csv").read_bytes() == before
    assert not Path("v.csv").exists()


def test_a_contact_sheet(folder, capfd):
    assert run("show train.csv image_path --title label,id --n 4 --out sheet.png", capfd) == (DONE, "", "")
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 400


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("shw photos", WRONG, "'shw' is no command; did you mean 'show'"),
        ("verify train.csv image_pth", WRONG, "the frame has no column 'image_pth'; did you mean 'image_path'?"),
        ("verify train.csv", WRONG, "which column of 'train.csv' holds the pictures? It has ['image_path', 'label'"),
        ("verify nothing.csv image_path", WRONG, "there is no table 'nothing.csv'"),
        ("verify nothing", WRONG, "pattern='nothing': there is no such folder"),
        ("verify photos --out v.txt", WRONG, "--out 'v.txt' is not a table"),
        ("verify photos --out no/v.csv", WRONG, "there is no folder 'no'"),
        ("save-thumbnails photos", WRONG, "say where to write"),
        ("save-thumbnails a.jpg b.jpg c.jpg thumbs", WRONG, "'c.jpg' is one word too many; quote a pattern"),
        ("save-resized train.csv image_path {lable}/{stem}.png --size 8", WRONG, "did you mean 'label'?"),
        ("load-resized photos --sze 8 --out x.npy", WRONG, "there is no option --sze; did you mean '--size'"),
        ("load-resized photos --size 8px --out x.npy", WRONG, "'8px' is neither a number of pixels (64) nor"),
        ("load-resized photos --size 0 --out x.npy", WRONG, "got 0: 1 is the least"),
        ("load-resized photos --size 8 --out x.csv", WRONG, "--out 'x.csv' is neither a NumPy file"),
        ("load-resized photos --out x.npy", WRONG, "the following arguments are required: --size"),
        ("verify photos --storage-options {secret", WRONG, "what is given is not JSON"),
        ("hash photos --kind phsh", WRONG, "--kind 'phsh' is not one of 'phash'"),
        ("load-resized train.csv image_path --size 8 --out x.npy --errors raise", STOPPED, "row 4 (label 4), 'photo"),
        ("load-resized train.csv image_path --size 8 --out no/x.npy", WRONG, "there is no folder 'no'"),
        ("show photos --out s.xyz", WRONG, "--out 's.xyz' is not a picture: .png, .jpg"),
        ("download https://example.org/a.jpg to", WRONG, "'https://example.org/a.jpg' is one picture, not a folder"),
        ("verify empty.csv p", WRONG, "the table 'empty.csv' is empty"),
        ("verify latin.csv p", WRONG, "the table 'latin.csv' is not encoded as UTF-8; write it so, as by: iconv"),
        ("verify marks.csv p", WRONG, "is it separated by ';'?"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(folder, capfd, line, code, said):
    for name, data in (("empty", b""), ("latin", b"p\n\xfc.jpg\n"), ("marks", b"p;x\na.jpg;1\n")):
        Path(f"{name}.csv").write_bytes(data)
    got, out, err = run(line, capfd)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert err.startswith("pandas_imgproc")
    assert said in err
    assert "secret" not in err


def test_the_whole_traceback_where_it_is_asked_for(folder):
    with pytest.raises(KeyError, match="image_pth"):
        main(shlex.split("verify train.csv image_pth --traceback"))


def test_help_says_what_the_docstrings_say(capfd):
    code, out, _ = run("--help", capfd)
    assert code == DONE
    assert all(f"\n  {command} " in out for command in parsers.EXAMPLES)
    assert all(f"\n  {number} " in out for number in (0, 1, 2, 130, 143))
    code, out, _ = run("save_thumbnails --help", capfd)
    text = " ".join(out.split())
    assert code == DONE
    assert "TABLE COLUMN TO [options]" in out
    assert "--size N|WxH Pixels: what the thumbnail lies within. Default: 128." in text
    assert "TO A folder, below which the pictures' own folders are kept" in text
    assert "--quality N 1 to 100, of JPEG, WebP and AVIF." in text  # as in save_resized
    assert "--errors {warn,coerce,raise} What becomes of pictures that cannot be read" in text  # as in load_resized


def test_every_argument_of_every_command_can_be_said():
    for command, examples in parsers.EXAMPLES.items():
        parser = parsers.of_command(command)
        own = inspect.signature(parsers.methods()[parsers.method_name(command)]).parameters
        for example in examples:
            words = shlex.split(example)
            asked = vars(parser.parse(words))
            unsaid = [name for name in own if name in asked and f"--{name.replace('_', '-')}" not in example]
            assert len(unsaid) > len(own) - len(words) - 3
            assert all(asked[name] == own[name].default for name in unsaid if f"no-{name}" not in example)


def test_killed_and_run_again_it_goes_on(folder, capfd):
    rows = pd.read_csv("train.csv").iloc[[0, 1, 2, 3, 5]]
    pd.concat([rows] * 2400).to_csv("many.csv", index=False)
    line = "load_resized many.csv image_path --size 24 --out x.npy"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_SCHEDULER": "synchronous"}
    journal = folder / "x.npy.journal"
    done = 1000
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)):
        words = [sys.executable, "-m", "pandas_imgproc", *shlex.split(line)]
        with subprocess.Popen(words, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
            assert wait_until(lambda done=done: journal.exists() and journal.stat().st_size > done)
            process.send_signal(end)
            said = process.communicate()[1]
        assert process.returncode == code, said
        assert "Traceback" not in said
        assert ("kept" in said) == (code > 0)
        done = journal.stat().st_size
    code, _, said = run(line, capfd)
    assert (code, said.splitlines()[-1]) == (DONE, "load-resized: 12,000 of 12,000 rows have a picture, 0 failed")
    assert [row_of(pixels) for pixels in np.load("x.npy", mmap_mode="r")[-5:]] == [0, 1, 2, 3, 5]


def test_whoever_reads_may_stop(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f"{sys.executable} -m pandas_imgproc hash photos --kind md5 --errors coerce | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr.count("roken")) == ("0\n", 0)
