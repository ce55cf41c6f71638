"""`unpack`: members become files below a folder and never outside of it, also those of hostile archives."""

from __future__ import annotations

import gzip
import io
import os
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from archive_factory import ForeignZipInfo, foreign_zip, make_tar, make_zip
from image_factory import image_bytes

import pandas_imgproc
from pandas_imgproc import JournalError, UnreadableImageError, UnreadableImageWarning, from_glob, unpack
from pandas_imgproc.source import archive_stream

FILES = {f"{'cat' if k % 2 else 'dog'}/{k}.jpg": image_bytes(k) for k in range(9)}
MAKERS = {
    "x.zip": make_zip,
    "deflated.zip": lambda files: make_zip(files, compression=zipfile.ZIP_DEFLATED),
    "lzma.zip": lambda files: make_zip(files, compression=zipfile.ZIP_LZMA),
    "x.tar": make_tar,
    "x.tar.gz": lambda files: make_tar(files, "w:gz"),
    "x.tar.bz2": lambda files: make_tar(files, "w:bz2"),
    "x.tar.xz": lambda files: make_tar(files, "w:xz"),
    "x.tar.zst": lambda files: make_tar(files, "w:zst"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return an empty working folder, beside which nothing may be written."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "here"
    assert set(os.listdir(tmp_path)) <= {"here", "disk"}


def tree(folder="out"):
    """Return the files of a folder by name, without journals."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(".unpacked.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def inodes(folder="out"):
    return {name: os.stat(Path(folder, name)).st_ino for name in tree(folder)}


@pytest.mark.parametrize("name", MAKERS)
def test_members_become_files_and_a_second_call_writes_none(here, name):
    Path(name).write_bytes(MAKERS[name](FILES))
    paths = unpack(name, "out")
    assert paths.to_dict() == {member: f"out/{member}" for member in FILES}
    assert (paths.name, paths.index.name) == ("path", "member")
    assert tree() == FILES
    assert from_glob("out")["label"].tolist() == ["cat"] * 4 + ["dog"] * 5
    before = inodes()
    assert unpack(name, "out").equals(paths)
    assert inodes() == before
    journal = next(Path("out").glob(".*")).read_bytes()
    unpack(name, "out")
    assert next(Path("out").glob(".*")).read_bytes() == journal


# ---- hostile archives


def tar_of(*infos):
    """Return a tar of members, each with its bytes: `infos` are names with attributes, and "ok.jpg" is the last."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, attributes in [*infos, ("ok.jpg", {})]:
            info = tarfile.TarInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            info.size = 0 if info.type != tarfile.REGTYPE else 4
            archive.addfile(info, io.BytesIO(b"data"))
    return buffer.getvalue()


def zip_of(*names, mode=0, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in [*names, "ok.jpg"]:
            info = ForeignZipInfo(name.encode(), **options)
            info.filename, info.external_attr = name, (mode if name != "ok.jpg" else 0) << 16
            archive.writestr(info, b"data")
    return buffer.getvalue()


def encrypted_zip():
    data = bytearray(zip_of("x.jpg"))
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(magic) + offset] |= 1
    return bytes(data)


def lying_zip():
    """Return a zip of a member that is larger than its header claims."""
    data = bytearray(make_zip({"x.jpg": bytes(10**6), "ok.jpg": b"data"}, compression=zipfile.ZIP_DEFLATED))
    for magic, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(magic) + offset, 10)
    return bytes(data)


def overlapping_zip():
    """Return a zip of two members with the same bytes."""
    data = bytearray(make_zip({"x.jpg": b"data" * 50, "y.jpg": b"data" * 50, "ok.jpg": b"data"}))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    size = struct.unpack_from("<I", data, data.index(b"PK\1\2") + 20)[0]
    struct.pack_into("<II", data, data.index(b"PK\1\2") + 20, size + 100, size + 100)
    assert second
    return bytes(data)


def tar_of_link_to_itself():
    """Return a tar of a file, and of a hard link of its name to it."""
    return tar_of(("ok.jpg", {}), ("ok.jpg", {"type": LNK, "linkname": "ok.jpg"}))


def tar_of_link_as_a_folder():
    """Return a tar of a link, and of a file in a folder of its name."""
    return tar_of(("x", {"type": SYM, "linkname": "ok.jpg"}), ("x/y", {}))


SYM, LNK = tarfile.SYMTYPE, tarfile.LNKTYPE
REFUSED = {
    "climbs": ("../x.jpg", tar_of(("../x.jpg", {})), "outside_root", "climbs"),
    "climbs within": ("a/../../x.jpg", zip_of("a/../../x.jpg"), "outside_root", "climbs"),
    "climbs by backslashes": ("..\\x.jpg", tar_of(("..\\x.jpg", {})), "outside_root", "climbs"),
    "climbs in a zip of Windows": ("../x.jpg", zip_of("..\\x.jpg"), "outside_root", "climbs"),
    "absolute": ("/tmp/x.jpg", tar_of(("/tmp/x.jpg", {})), "outside_root", "absolute"),
    "absolute on Windows": ("C:/x.jpg", zip_of("C:\\x.jpg"), "outside_root", "absolute"),
    "link out": ("x.jpg", tar_of(("x.jpg", {"type": SYM, "linkname": "../y.jpg"})), "outside_root", "leads out"),
    "absolute link": ("x", tar_of(("x", {"type": SYM, "linkname": "/etc/passwd"})), "outside_root", "leads out"),
    "hard link out": ("x", tar_of(("x", {"type": LNK, "linkname": "../../etc/passwd"})), "outside_root", "leads out"),
    "link out of a zip": ("x", zip_of("x", mode=stat.S_IFLNK | 0o777), "missing", "link to 'data'"),
    "loop of links": ("x", tar_of(("x", {"type": SYM, "linkname": "x"})), "missing", "no file of the archive"),
    "link to itself": ("ok.jpg", tar_of_link_to_itself(), "invalid_path", "link to itself"),
    "link as a folder": ("x", tar_of_link_as_a_folder(), "invalid_path", "that of a folder"),
    "device": ("x", tar_of(("x", {"type": tarfile.BLKTYPE})), "not_a_file", "device"),
    "pipe": ("x", tar_of(("x", {"type": tarfile.FIFOTYPE})), "not_a_file", "pipe"),
    "pipe in a zip": ("x", zip_of("x", mode=stat.S_IFIFO | 0o666), "not_a_file", "pipe"),
    "other case": ("OK.jpg", None, "invalid_path", "in case or Unicode form only"),
    "control character": ("a\n.jpg", tar_of(("a\n.jpg", {})), "invalid_path", "control character"),
    "long name": ("a" * 300, zip_of("a" * 300), "invalid_path", "longer than 255"),
    "deep path": ("a/" * 3000 + "a", zip_of("a/" * 3000 + "a"), "invalid_path", "path is longer"),
    "file as a folder": ("ok.jpg/x.jpg", None, "invalid_path", "is a file"),
    "journal": (".x.unpacked.jsonl", zip_of(".x.unpacked.jsonl"), "invalid_path", "journal"),
    "encrypted": ("x.jpg", encrypted_zip(), "unsupported", "encrypted"),
    "larger than its header claims": ("x.jpg", lying_zip(), "corrupt", "cannot be unpacked"),
    "overlaps": ("x.jpg", overlapping_zip(), "corrupt", "overlaps"),
}


@pytest.mark.parametrize("hostility", REFUSED)
def test_hostile_member_is_refused_with_a_reason_and_the_others_are_unpacked(here, hostility):
    name, data, kind, reason = REFUSED[hostility]
    Path("x").write_bytes(data or make_zip({"ok.jpg": b"data", name: b"data"}))
    with pytest.warns(UnreadableImageWarning, match=rf"1 of \d members were not unpacked \(1 {kind}\)"):
        paths = unpack("x", "out")
    failed = paths.img.failures
    assert failed.index.tolist() == failed["path"].tolist() or len(name) > 500
    assert failed["kind"].tolist() == [kind]
    assert reason in failed["message"].iloc[0]
    assert paths.isna().sum() == 1
    assert tree().pop("ok.jpg") == b"data"
    assert all(not path.is_symlink() for path in Path("out").rglob("*"))
    assert sorted(os.listdir(".")) == ["out", "x"]
    Path("again").mkdir()
    with pytest.raises(UnreadableImageError, match=reason):
        unpack("x", "again", errors="raise")


def test_link_in_the_folder_is_not_followed(here, tmp_path):
    Path("secret").mkdir()
    Path("out").mkdir()
    Path("out/cat").symlink_to(Path("secret").absolute())
    Path("x.zip").write_bytes(make_zip(FILES))
    paths = unpack("x.zip", "out", errors="coerce")
    assert set(paths.img.failures["kind"]) == {"outside_root"}
    assert os.listdir("secret") == []


def test_file_of_the_archive_never_goes_through_its_own_link(here):
    files = [("cat", {"type": SYM, "linkname": "/tmp"}), ("cat/x.jpg", {})]
    Path("x.tar").write_bytes(tar_of(*files))
    paths = unpack("x.tar", "out", errors="coerce")
    assert paths.tolist()[1:] == ["out/cat/x.jpg", "out/ok.jpg"]
    assert set(tree()) == {"cat/x.jpg", "ok.jpg"}


def zeros_zip():
    return make_zip({f"{k}.jpg": bytes(10**6) for k in range(5)}, compression=zipfile.ZIP_DEFLATED)


def sparse_tar():
    """Return a tar of a sparse file of 2 TB."""
    info = tarfile.TarInfo("x.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"\x80" + (2 * 10**12).to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    return bytes(block) + bytes(1024)


def long_header_tar():
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10**9
    return io.BytesIO(info.tobuf() + b"a" * (5 * 10**7))


BOMBS = {
    "zip": zeros_zip,
    "gzip": lambda: make_tar({"x.jpg": bytes(10**7)}, "w:gz"),
    "zstd": lambda: make_tar({"x.jpg": bytes(10**7)}, "w:zst"),
    "sparse": sparse_tar,
    "header": lambda: long_header_tar().getvalue(),
    "empty files": lambda: make_tar({f"{k}.jpg": b"" for k in range(900)}, "w:gz"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_ends_the_call_and_writes_little(here, bomb):
    Path("x").write_bytes(BOMBS[bomb]())
    bound, message = ("1 GB", "longer than 16 MiB") if bomb == "header" else ("3 MB", "becomes larger than 3,000,000")
    with pytest.raises(UnreadableImageError, match=message) as caught:
        unpack("x", "out", max_bytes=bound, errors="coerce")
    assert caught.value.kind == "too_large"
    assert sum(map(len, tree().values())) <= 3 * 10**6
    assert len(tree()) < 800
    assert not [path for path in Path("out").rglob("*") if path.name.endswith(".partial")]


def test_bound_without_max_bytes_is_a_hundred_times_the_archive(here, monkeypatch):
    Path("x.tgz").write_bytes(BOMBS["gzip"]())
    unpack("x.tgz", "out")
    monkeypatch.setattr("pandas_imgproc.source.decompressed.MIN_BOUND_NBYTES", 10**6)
    with pytest.raises(UnreadableImageError, match="becomes larger"):
        unpack("x.tgz", "again")


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ("x.tar", "x.tar.gz", "x.zip") for damage in ("cut", "cut in a header", "text")]
    + [(name, damage) for name in ("x.tar", "x.tar.gz") for damage in ("flipped header", "negative")],
)
def test_damaged_archive_raises_and_keeps_what_was_unpacked(here, name, damage):
    data = MAKERS["x.tar"](FILES) if name != "x.zip" else make_zip(FILES)
    middle = data.index(b"cat/5.jpg")
    if damage == "negative":
        block = bytearray(data[middle : middle + 512])
        block[124:136] = b"\xff" * 11 + b"\x00"
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
        data = data[:middle] + bytes(block) + data[middle + 512 :]
    data = {"cut": data[: middle + 900], "cut in a header": data[: middle + 100], "text": b"no archive" * 999,
            "flipped header": data[: middle + 3] + b"\xee" + data[middle + 4 :]}.get(damage, data)  # fmt: skip
    if name == "x.tar.gz":
        data = gzip.compress(data)
    Path(name).write_bytes(data)
    with pytest.raises((UnreadableImageError, UnreadableImageWarning), match=r"corrupt|truncated"):
        unpack(name, "out")  # a warning is an error here
    assert tree().items() <= FILES.items()


def test_claimed_size_of_a_member_is_not_read_block_by_block(here):
    """A petabyte would take hours."""
    info = tarfile.TarInfo("a.jpg")
    info.size = 10**15
    Path("x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(UnreadableImageError, match="the archive ends within the member"):
        unpack("x.tar", "out", errors="coerce")
    with pytest.raises(UnreadableImageError, match="it ends within a member"):
        from_glob("x.tar")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_tar_whose_first_name_begins_as_a_zip_is_a_tar(here, name):
    Path(name).write_bytes(MAKERS[name]({"PKLot/1.jpg": b"one"}))
    assert unpack(name, "out").tolist() == ["out/PKLot/1.jpg"]


# ---- continuation


def test_page_in_place_of_an_archive_is_named(here):
    Path("x.zip").write_text("\n<!doctype html><title>Quota exceeded</title>")
    with pytest.raises(UnreadableImageError, match=r"x\.zip': the archive cannot be read: it is a page of HTML"):
        unpack("x.zip", "out")
    with pytest.raises(UnreadableImageError, match="it is a page of HTML"):
        from_glob("x.zip")


def test_deleted_and_truncated_files_are_written_again(here):
    Path("x.tar.gz").write_bytes(make_tar(FILES, "w:gz"))
    unpack("x.tar.gz", "out")
    before = inodes()
    Path("out/cat/1.jpg").unlink()
    Path("out/dog/2.jpg").write_bytes(b"")
    unpack("x.tar.gz", "out")
    assert tree() == FILES
    changed = {name for name, inode in inodes().items() if inode != before[name]}
    assert {"dog/2.jpg"} <= changed <= {"dog/2.jpg", "cat/1.jpg"}


def test_foreign_file_is_never_replaced_without_overwrite(here):
    Path("out/cat").mkdir(parents=True)
    Path("out/cat/5.jpg").write_bytes(b"mine")
    Path("x.zip").write_bytes(make_zip(FILES))
    for _ in range(2):
        with pytest.raises(JournalError, match=r"cat/5.jpg' exists, and it was not unpacked from 'x.zip'"):
            unpack("x.zip", "out")
    assert Path("out/cat/5.jpg").read_bytes() == b"mine"
    assert len(tree()) == 6  # up to it
    unpack("x.zip", "out", overwrite=True)
    assert tree() == FILES


def test_another_version_of_the_archive_needs_overwrite(here):
    Path("x.zip").write_bytes(make_zip(FILES))
    unpack("x.zip", "out")
    Path("x.zip").write_bytes(make_zip({"cat/1.jpg": b"new version"}))
    with pytest.raises(JournalError, match=r"another version of 'x.zip'"):
        unpack("x.zip", "out")
    unpack("x.zip", "out", overwrite=True)
    assert tree()["cat/1.jpg"] == b"new version"
    Path("y.zip").write_bytes(make_zip({"y.jpg": b"y"}))  # several archives may share a folder
    unpack("y.zip", "out")
    assert tree()["y.jpg"] == b"y"


SCRIPT = """
import os, signal, sys
import pandas_imgproc
from pandas_imgproc.sinks.unpacked_files import Unpacker
write, n = Unpacker._write, 0
def kill(self, path, member):
    global n
    n += 1
    if n > int(sys.argv[1]):
        chunks = iter(member.chunks())
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, path, member)
Unpacker._write = kill
pandas_imgproc.unpack("x.tar.gz", "out")
"""


def test_killed_call_continues(here):
    files = {f"{k % 3}/{k}.jpg": bytes([k % 256]) * 20 for k in range(1200)}
    Path("x.tar.gz").write_bytes(make_tar(files, "w:gz"))
    environment = {**os.environ, "PYTHONPATH": str(Path(pandas_imgproc.__file__).parents[1])}
    assert (
        subprocess.run([sys.executable, "-c", SCRIPT, "900"], env=environment, check=False).returncode
        == -signal.SIGKILL
    )
    assert len(tree()) == 900
    before = inodes()
    assert unpack("x.tar.gz", "out").notna().all()
    assert tree() == files
    assert inodes().items() > before.items()  # none was written twice


def test_killed_call_continues_after_a_repeated_member(here):
    files = [("a.jpg", b"old"), ("b.jpg", b"b"), ("a.jpg", b"newer"), ("c.jpg", b"c"), ("d.jpg", b"d")]
    with tarfile.open("x.tar.gz", "w:gz") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    environment = {**os.environ, "PYTHONPATH": str(Path(pandas_imgproc.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", SCRIPT, "4"], env=environment, check=False)
    assert tree() == {"a.jpg": b"newer", "b.jpg": b"b", "c.jpg": b"c"}
    for _ in range(2):
        assert unpack("x.tar.gz", "out").tolist() == [f"out/{name}" for name, _ in files]
        assert tree() == dict(files)


def test_links_become_hard_links_to_files_of_the_archive(here):
    links = [("later/b.jpg", "a.jpg", SYM), ("later/a.jpg", "../cat/1.jpg", SYM), ("hard.jpg", "dog/2.jpg", LNK)]
    Path("x.tar").write_bytes(make_tar(FILES, links=links))
    for _ in range(2):
        assert unpack("x.tar", "out").notna().all()
        assert tree() == {**FILES, "later/a.jpg": FILES["cat/1.jpg"], "later/b.jpg": FILES["cat/1.jpg"],
                          "hard.jpg": FILES["dog/2.jpg"]}  # fmt: skip
        assert inodes()["hard.jpg"] == inodes()["dog/2.jpg"]


def test_last_member_of_a_name_wins_as_in_place(here):
    with tarfile.open("x.tar", "w") as archive:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    for _ in range(2):
        assert unpack("x.tar", "out").tolist() == ["out/a.jpg"] * 2
        assert tree() == {"a.jpg": b"newer"}


def test_file_wins_over_a_link_before_it(here):
    Path("x.tar").write_bytes(tar_of(("a.jpg", {"type": SYM, "linkname": "b.jpg"}), ("b.jpg", {}), ("a.jpg", {})))
    for _ in range(2):
        assert unpack("x.tar", "out").tolist() == ["out/a.jpg", "out/b.jpg", "out/a.jpg", "out/ok.jpg"]
        assert inodes()["a.jpg"] != inodes()["b.jpg"]


def test_names_of_windows_are_decoded(here):
    Path("x.zip").write_bytes(foreign_zip({"写真\\表.jpg".encode("cp932"): b"one"}))
    assert unpack("x.zip", "out", encoding="cp932").tolist() == ["out/写真/表.jpg"]


def test_full_disk_is_named_and_the_same_call_continues(here, tiny_filesystem):
    files = {f"{k}.jpg": bytes([k]) * 10**6 for k in range(4)}
    Path("x.tar.gz").write_bytes(make_tar(files, "w:gz"))
    with pytest.raises(OSError, match=r"jpg' cannot be written: No space left.*the same call continues"):
        unpack("x.tar.gz", tiny_filesystem / "out")
    written = tree(tiny_filesystem / "out")
    assert written
    assert written.items() < files.items()
    Path("large.tar").write_bytes(make_tar(files))
    with pytest.raises(OSError, match=r"bytes free"):
        unpack("large.tar", tiny_filesystem / "other")
    for path in (tiny_filesystem / "out").glob("*"):
        path.unlink()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"archive": 7}, TypeError, "archive=7"),
        ({"archive": "s3://b/x.zip"}, ValueError, "archive='s3://b/x.zip' is not local"),
        ({"to": "s3://b/x"}, ValueError, "to='s3://b/x' is not local"),
        ({"max_bytes": "much"}, ValueError, "max_bytes='much'"),
        ({"max_bytes": 0}, ValueError, "max_bytes=0"),
        ({"errors": "ignore"}, ValueError, "errors='ignore'"),
        ({"encoding": "klingon"}, ValueError, "encoding='klingon'"),
        ({"archive": "gone.zip"}, FileNotFoundError, "gone.zip"),
    ],
)
def test_wrong_argument_is_refused_before_anything_is_written(here, arguments, error, message):
    Path("x.zip").write_bytes(make_zip(FILES))
    with pytest.raises(error, match=message):
        unpack(**{"archive": "x.zip", "to": "out", **arguments})
    assert os.listdir(".") == ["x.zip"]


def test_empty_archive_gives_an_empty_column(here):
    Path("x.zip").write_bytes(make_zip({}))
    assert len(unpack("x.zip", "out")) == 0


def test_memory_is_bounded_by_chunks(here, monkeypatch):
    monkeypatch.setattr(archive_stream, "_CHUNK_NBYTES", 1000)
    Path("x.zip").write_bytes(make_zip({"a.jpg": bytes(10**5)}, compression=zipfile.ZIP_DEFLATED))
    for member in archive_stream.ArchiveStream("x.zip"):
        assert max(map(len, member.chunks())) <= 1000
