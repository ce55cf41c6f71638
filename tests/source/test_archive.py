"""Archives: members of zip and tar files read in place, local and remote, also from damaged or hostile archives."""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib

import dask
import pandas as pd
import pytest
from archive_factory import foreign_zip, make_tar, make_zip
from image_factory import image_bytes, row_of

from pandas_imgproc import from_glob
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import Source
from pandas_imgproc.source import archive as archive_module

N = 30


FILES = {f"train/{k} é#.jpg": image_bytes(k) for k in range(N)}
ARCHIVES = {
    "stored.zip": lambda: make_zip(FILES),
    "deflated.ZIP": lambda: make_zip(FILES, compression=zipfile.ZIP_DEFLATED),
    "plain.tar": lambda: make_tar({f"./{name}": data for name, data in FILES.items()}),
}


@pytest.fixture(params=ARCHIVES)
def archive(request, tmp_path):
    path = tmp_path / request.param
    path.write_bytes(ARCHIVES[request.param]())
    return path


def rows_of(column):
    return [row_of(image) for image in column.img.to_numpy()]


def load(names, **options):
    with dask.config.set(scheduler="synchronous"):
        return names.img.load_resized(8, **options)


def kind_of(root, name):
    with pytest.raises(UnreadableImageError) as caught:
        Source(root=str(root)).data(name)
    return caught.value.kind


def test_archive_members_are_read_in_place(archive):
    names = pd.Series([*FILES, "train/gone.jpg", "train", "../x.jpg"])
    column = load(names, root=archive, errors="coerce")
    assert rows_of(column.dropna()) == list(range(N))
    assert column.img.failures["kind"].tolist() == ["missing", "not_a_file", "outside_root"]


def test_archive_folder_as_root_reads_ids(archive):
    assert rows_of(load(pd.Series(range(N)), root=f"{archive}/train", suffix=" é#.jpg")) == list(range(N))


def test_archive_over_http_is_read_concurrently(archive, http_server):
    http_server.files["data/" + archive.name] = archive.read_bytes()
    http_server.fault = lambda path, k: (None, None, "503", None, "reset")[k % 5]
    root = http_server.url("data/" + archive.name)
    Source(root=root).data(next(iter(FILES)))  # builds the index, with one request after another
    http_server.max_in_flight, http_server.min_in_flight = 0, 4  # sequential requests would never be answered
    column = load(pd.Series([*FILES, "train/gone.jpg"]), root=root, errors="coerce")
    assert rows_of(column.dropna()) == list(range(N))
    assert column.img.failures["kind"].tolist() == ["missing"]
    assert http_server.max_in_flight > 3


def test_archive_in_bucket_is_read(archive, s3):
    fs, options = s3
    fs.pipe_file(f"bucket/data/{archive.name}", archive.read_bytes())
    column = load(pd.Series(list(FILES)), root=f"s3://bucket/data/{archive.name}", storage_options=options)
    assert rows_of(column) == list(range(N))


@pytest.mark.parametrize("pack", [make_zip, make_tar])
@pytest.mark.parametrize("folder", ["train", "a long name " * 20])
@pytest.mark.parametrize("version", [{}, {"ETag": ""}])
def test_remote_archive_that_was_replaced_is_indexed_again(http_server, pack, folder, version):
    """The files have one size, and another order: by the old index each of them would be that of another row."""
    files = {f"{folder}/{k}.bmp": image_bytes(k, "BMP") for k in range(N)}
    names, root = (
        pd.Series([*files, f"{folder}/new.bmp"]),
        http_server.url("x" + (".zip" if pack is make_zip else ".tar")),
    )
    name = root.rpartition("/")[2]
    http_server.files[name] = pack(files)
    http_server.headers.update(version)
    column = load(names, root=root, errors="coerce")
    assert rows_of(column.dropna()) == list(range(N))
    assert column.img.failures["kind"].tolist() == ["missing"]
    http_server.files[name] = pack({f"{folder}/new.bmp": image_bytes(N, "BMP"), **dict(reversed(files.items()))})
    n = N if version else N + 1  # without a version, a new member is found when another one has shown the change
    assert rows_of(load(names[:n], root=root)) == list(range(n))
    assert rows_of(load(names, root=root)) == list(range(N + 1))


def test_tar_that_is_replaced_while_it_is_read_gives_no_image_of_another_row(tmp_path):
    files = {f"{k}.bmp": image_bytes(k, "BMP") for k in range(N)}
    path = tmp_path / "x.tar"
    path.write_bytes(make_tar(files))
    opened, _ = archive_module.open_local(str(path), Source().config)
    path.write_bytes(make_tar(dict(reversed(files.items()))))
    data = path.read_bytes()
    for name in files:
        member = opened.index.get(name)
        start, stop = archive_module.byte_range(member, 0)
        with pytest.raises(UnreadableImageError, match="something else where the member should begin"):
            archive_module.extract(member, data[start:stop])


def test_archive_without_range_requests_is_unsupported(http_server):
    http_server.files["x.zip"] = make_zip(FILES)
    http_server.ranges = False
    try:
        column = load(pd.Series(list(FILES)), root=http_server.url("x.zip"), errors="coerce")
    finally:
        http_server.ranges = True
    assert set(column.img.failures["kind"]) == {"unsupported"}
    assert "parts of a file" in column.img.failures["message"].iloc[0]


def test_missing_archive_is_missing(tmp_path, http_server):
    assert kind_of(tmp_path / "gone.zip", "a.jpg") == "missing"
    assert kind_of(http_server.url("gone.zip"), "a.jpg") == "missing"


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_remote_tar_is_unsupported(http_server, mode):
    http_server.files["x.tar"] = make_tar(FILES, mode)
    assert kind_of(http_server.url("x.tar"), next(iter(FILES))) == "unsupported"


def test_tar_links_stay_inside_archive(tmp_path):
    links = [("link.jpg", "train/0 é#.jpg", tarfile.SYMTYPE), ("train/up.jpg", "../link.jpg", tarfile.SYMTYPE),
             ("hard.jpg", "train/1 é#.jpg", tarfile.LNKTYPE), ("out.jpg", "../../etc/passwd", tarfile.SYMTYPE),
             ("abs.jpg", "/etc/passwd", tarfile.SYMTYPE), ("loop.jpg", "loop.jpg", tarfile.SYMTYPE),
             ("pipe.jpg", "", tarfile.FIFOTYPE)]  # fmt: skip
    root = tmp_path / "x.tar"
    root.write_bytes(make_tar(FILES, links=links))
    source = Source(root=str(root))
    assert source.data("link.jpg")[0] == source.data("train/up.jpg")[0] == image_bytes(0)
    assert source.data("hard.jpg")[0] == image_bytes(1)
    kinds = [kind_of(root, f"{name}.jpg") for name in ("out", "abs", "loop", "pipe")]
    assert kinds == ["outside_root", "outside_root", "invalid_path", "missing"]


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "text", "flipped", "lzma"])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_damaged_archive_has_failure_kind(tmp_path, suffix, damage):
    intact = make_zip(FILES) if suffix == ".zip" else make_tar(FILES)
    middle = intact.index(image_bytes(3)) + 50
    data = {"cut": intact[: len(intact) // 2], "zeros": bytes(4000), "empty": b"", "text": b"no archive" * 400,
            "flipped": intact[:middle] + bytes([intact[middle] ^ 255]) + intact[middle + 1 :],
            "lzma": make_zip(FILES, compression=zipfile.ZIP_LZMA)}[damage]  # fmt: skip
    root = tmp_path / f"x{suffix}"
    root.write_bytes(data)
    column = load(pd.Series(list(FILES)), root=root, errors="coerce")
    assert set(column.img.failures["kind"]) <= {"corrupt", "unsupported", "truncated", "missing"}
    if suffix == ".zip":
        assert column.isna()[3]
    good = [row_of(image) for image in column.dropna().img.to_numpy()] if column.notna().any() else []
    assert set(good) <= set(range(N))


def test_member_larger_than_declared_is_corrupt(tmp_path):
    data = bytearray(make_zip({"a.jpg": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED))
    central = data.index(b"PK\1\2")
    data[central + 24 : central + 28] = (10).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    assert kind_of(tmp_path / "x.zip", "a.jpg") == "corrupt"


def test_index_is_built_once_per_archive_version(tmp_path, monkeypatch):
    built = []
    read_index = archive_module.read_index
    monkeypatch.setattr(archive_module, "read_index", lambda *args: built.append(1) or read_index(*args))
    (tmp_path / "x.zip").write_bytes(make_zip({"a.jpg": b"one"}))
    source = Source(root=str(tmp_path / "x.zip"))
    assert source.data("a.jpg")[0] == source.data("a.jpg")[0] == b"one"
    (tmp_path / "x.zip").write_bytes(make_zip({"a.jpg": b"another"}))
    assert source.data("a.jpg")[0] == b"another"
    assert len(built) == 2


def test_zip_of_windows_with_backslashes_is_read_by_either_name(tmp_path):
    (tmp_path / "x.zip").write_bytes(foreign_zip({b"train\\cat\\1.jpg": b"one", b"train\\empty\\": b""}))
    source = Source(root=str(tmp_path / "x.zip"))
    assert source.data("train/cat/1.jpg")[0] == source.data(r"train\cat\1.jpg")[0] == b"one"
    assert kind_of(tmp_path / "x.zip", "train/empty") == "missing"


def test_backslash_of_another_system_is_part_of_the_name(tmp_path):
    (tmp_path / "x.zip").write_bytes(foreign_zip({b"a\\b.jpg": b"one"}, system=3))
    assert Source(root=str(tmp_path / "x.zip")).data(r"a\b.jpg")[0] == b"one"
    assert kind_of(tmp_path / "x.zip", "a/b.jpg") == "missing"


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("grün/Straße.jpg", "cp437"), ("grün/Straße.jpg", "cp1252"), ("grün/été.jpg", "cp850"), ("写真/表.jpg", "cp932"),
     ("кот/1.jpg", "cp866"), ("кот/1.jpg", "cp1251"), ("照片/猫.jpg", "gbk"), ("고양이/1.jpg", "cp949"),
     ("grün/Straße.jpg", "utf-8")],
)  # fmt: skip
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_name_in_code_page_of_windows_is_found(tmp_path, name, encoding, separator):
    files = {name.replace("/", separator).encode(encoding): b"one", "日本".encode("cp932") + b".jpg": b"other"}
    (tmp_path / "x.zip").write_bytes(foreign_zip(files))
    assert Source(root=str(tmp_path / "x.zip")).data(name)[0] == b"one"
    assert kind_of(tmp_path / "x.zip", f"{name}x") == "missing"


def test_name_in_extra_field_is_that_of_the_member(tmp_path):
    for raw, name in ((b"\x81.jpg", "é.jpg"), (b"other", "ü.jpg")):  # one for another name is stale
        data = struct.pack("<BI", 1, zlib.crc32(raw)) + "é.jpg".encode()
        extra_field = struct.pack("<HH", 0x7075, len(data)) + data
        (tmp_path / "x.zip").write_bytes(foreign_zip({b"\x81.jpg": b"one"}, extra=extra_field))
        assert archive_module.list_members(str(tmp_path / "x.zip")) == [name]


def test_path_through_an_archive_is_read_without_root(archive, tmp_path):
    names = pd.Series([f"{archive}/{name}" for name in FILES] + [f"{archive}/gone.jpg"])
    column = load(names, errors="coerce")
    assert rows_of(column.dropna()) == list(range(N))
    assert column.img.failures["message"].tolist() == ["the archive has no such member"]
    names = pd.Series([f"{archive.name}/{name}" for name in FILES])
    assert rows_of(load(names, root=tmp_path)) == list(range(N))
    assert kind_of(tmp_path, f"{archive.name}/../../x.jpg") == "outside_root"
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "folder.zip" / "1.jpg").write_bytes(image_bytes(1))
    assert rows_of(load(pd.Series(["folder.zip/1.jpg"]), root=tmp_path)) == [1]


def test_sparse_member_and_negative_size_are_failures(tmp_path):
    data = bytearray(make_tar({"a.jpg": b"one"}))
    data[124:136] = b"\xff" * 11 + b"\x00"  # a negative size, at which tarfile goes back without end
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    (tmp_path / "x.tar").write_bytes(data)
    assert kind_of(tmp_path / "x.tar", "a.jpg") == "corrupt"


@pytest.mark.parametrize("damage", ["flipped header", "cut", "cut in a header"])
def test_members_before_the_damage_of_a_tar_are_read_and_those_behind_are_not_called_missing(tmp_path, damage):
    files = {f"train/{k}.jpg": data for k, data in enumerate(FILES.values())}
    data = make_tar(files)
    k = data.index(b"train/9.jpg")
    data = {
        "flipped header": data[:k] + b"\xee" + data[k + 1 :],
        "cut": data[: k + 700],
        "cut in a header": data[: k + 99],
    }[damage]
    root = tmp_path / "x.tar"
    root.write_bytes(data)
    column = load(pd.Series([*files]), root=root, errors="coerce")
    assert rows_of(column.dropna()) == list(range(9))
    assert set(column.img.failures["kind"]) <= {"corrupt", "truncated"}
    assert "the archive" in column.img.failures["message"].iloc[-1]
    with pytest.raises(UnreadableImageError, match=r"x\.tar.*damaged behind (9|10) members"):
        from_glob(root)


def test_long_header_of_a_tar_is_not_read_into_memory(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10**9
    (tmp_path / "x.tar").write_bytes(info.tobuf() + bytes(1024))
    assert kind_of(tmp_path / "x.tar", "a.jpg") == "too_large"
