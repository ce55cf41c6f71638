"""Redirects over real servers: none out of root=, and no header or credential of the caller at another server."""

from __future__ import annotations

import io
import json
import zipfile

import aiohttp
import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import image_bytes, row_of

import pandas_imgproc
from pandas_imgproc.cli.main import main
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import make_source
from pandas_imgproc.source.redirects import parse_host

CANARY = "cAn4ry"
STATUS = [301, 302, 303, 307, 308]

SECRETS = {
    "headers": {
        name: f"{CANARY}-{name}"
        for name in ("X-Api-Key", "PRIVATE-TOKEN", "Authorization", "Cookie", "User-Agent", "Accept", "Referer", "Host",
                     "Accept-Encoding", "Proxy-Authorization", "x-amz-security-token", "Origin")
    },
    "cookies": {"session": f"{CANARY}-cookie"},
    "params": {"api_key": f"{CANARY}-param"},
}  # fmt: skip
CLIENT_SECRETS = {
    "headers": {"X-Client": f"{CANARY}-client"},
    "cookies": {"client": f"{CANARY}-cookie"},
}


@pytest.fixture
def home(http_server):
    return http_server


@pytest.fixture
def away(other_http_server):
    """Return a second server, with the images of rows 0 to 9 and a zip with them."""
    other_http_server.files.update({f"{k}.jpg": image_bytes(k) for k in range(10)})
    other_http_server.files["all.zip"] = zipped()
    return other_http_server


def zipped(first=0):
    """Return an archive of ten images, of the rows from `first` on."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for k in range(10):
            archive.writestr(f"{k}.jpg", image_bytes(first + k))
    return buffer.getvalue()


def load(names, **options):
    with dask.config.set(scheduler="synchronous"):
        return pd.Series(names).img.load_resized(8, errors="coerce", **options)


def row_read(name, **options):
    """Return the number of the image that is read, or the kind of failure."""
    column = load([name], **options)
    return column.img.failures["kind"].tolist()[0] if column.isna()[0] else row_of(column.img.to_numpy()[0])


def leaked(server):
    return [request for request in server.requests if CANARY in str(request)]


def kept(server):
    return all(request[2].get("X-Api-Key") == f"{CANARY}-X-Api-Key" for request in server.requests)


# ---- without a root


@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_redirect_carries_no_secret_to_another_origin(home, away, status, host):
    home.redirects["a.jpg"] = (status, away.url("1.jpg", host))
    assert row_read(home.url("a.jpg"), storage_options=SECRETS) == 1
    assert not leaked(away)
    assert kept(home)
    [(_, _, headers)] = away.requests
    assert headers["Host"] == f"{host}:{away.port}"
    assert headers["User-Agent"].startswith("pandas-imgproc")


def test_redirect_to_another_name_of_the_host_carries_no_secret(home):
    home.files["b.jpg"] = image_bytes(2)
    home.redirects["a.jpg"] = (302, home.url("b.jpg", "localhost"))
    assert row_read(home.url("a.jpg"), storage_options=SECRETS) == 2
    assert [CANARY in str(headers) for _, _, headers in home.requests] == [True, False]


@pytest.mark.parametrize("kind", ["client", "client_authorization", "client_auth", "auth"])
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_redirect_carries_no_secret_of_the_client(home, away, kind):
    client = {
        "client": lambda: {"client_kwargs": CLIENT_SECRETS},
        "client_authorization": lambda: {"client_kwargs": {"headers": {"Authorization": CANARY}}},
        "client_auth": lambda: {"client_kwargs": {"auth": aiohttp.BasicAuth("ann", CANARY)}},
        "auth": lambda: {"auth": aiohttp.BasicAuth("ann", CANARY)},
    }[kind]()
    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    assert row_read(home.url("a.jpg"), storage_options=client) == 1
    [(_, _, headers)] = away.requests
    assert not {"Authorization", "Cookie", "X-Client"} & set(headers), headers
    assert {"Authorization", "Cookie", "X-Client"} & set(home.requests[0][2])


def test_middleware_of_the_user_adds_header_at_its_server_only(home, away):
    async def add_token(request, handler):
        request.headers["X-Token"] = CANARY
        return await handler(request)

    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    assert row_read(home.url("a.jpg"), storage_options={"client_kwargs": {"middlewares": (add_token,)}}) == 1
    assert leaked(home)
    assert not leaked(away)


def test_client_of_the_user_is_guarded(home, away):
    async def get_client(loop=None):
        return aiohttp.ClientSession(loop=loop, headers={"X-Client": CANARY})

    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    options = {"get_client": get_client}
    assert row_read(home.url("a.jpg"), storage_options=options) == 1
    assert leaked(home)
    assert not leaked(away)
    assert row_read("a.jpg", root=home.url(), storage_options=options) == "outside_root"


def test_redirect_within_an_origin_keeps_headers(home):
    home.files["b/c.jpg"] = image_bytes(3)
    home.redirects.update({"a.jpg": (302, "b/d.jpg"), "b/d.jpg": (307, "/b/c.jpg")})
    assert row_read(home.url("a.jpg"), storage_options=SECRETS) == 3
    assert len(home.requests) == 3
    assert kept(home)


def test_redirect_there_and_back_keeps_headers_at_home(home, away):
    home.files["b.jpg"] = image_bytes(4)
    home.redirects["a.jpg"] = (302, away.url("hop"))
    away.redirects["hop"] = (302, home.url("b.jpg"))
    assert row_read(home.url("a.jpg"), storage_options=SECRETS) == 4
    assert not leaked(away)
    assert kept(home)


def test_user_and_password_of_url_stay_at_home(home, away):
    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    url = home.url("a.jpg").replace("//", f"//ann:{CANARY}@")
    assert row_read(url) == 1
    assert "Authorization" in home.requests[0][2]
    assert "Authorization" not in away.requests[0][2]


def test_signed_redirect_keeps_query(home, away):
    home.redirects["a.jpg"] = (302, away.url("1.jpg?X-Amz-Signature=3f9c&e=7"))
    assert row_read(home.url("a.jpg"), storage_options=SECRETS) == 1
    assert away.requests[0][1] == "/1.jpg?X-Amz-Signature=3f9c&e=7"


# ---- below a root

OUTSIDE = [
    "{away}1.jpg", "{localhost}train/b.jpg", "{home}secret.jpg", "/secret.jpg", "../secret.jpg", "..%2fsecret.jpg",
    "%2e%2e/secret.jpg", "%252e%252e/secret.jpg", "..\\secret.jpg", "..%5csecret.jpg", "sub/../../secret.jpg",
    "{home}train/../secret.jpg", "{home}train/%2e%2e/secret.jpg", "{home}training/b.jpg",
    "//localhost:{away_port}/1.jpg",
    "//ann:pw@localhost:{away_port}/1.jpg", "http://127.0.0.1:{home_port}@localhost:{away_port}/1.jpg",
    "http://127.0.0.1.:{home_port}/train/b.jpg", "http://[::ffff:127.0.0.1]:{home_port}/train/b.jpg",
    "http://127.1:{home_port}/train/b.jpg", "https://127.0.0.1:{home_port}/train/b.jpg", "HTTP://LOCALHOST:{away_port}/1.jpg",
    "\\\\localhost:{away_port}\\1.jpg", "/\\localhost:{away_port}/1.jpg", "http:\\\\localhost:{away_port}\\1.jpg",
    "http:/secret.jpg", "ftp://127.0.0.1/b.jpg", "file:///etc/passwd", "FILE:///etc/passwd", "data:image/png;base64,AA",
    "/Train/b.jpg", "/train%2f..%2fsecret.jpg",
]  # fmt: skip


@pytest.mark.parametrize("location", OUTSIDE)
def test_redirect_out_of_root_is_not_followed(home, away, location):
    home.files.update({"secret.jpg": image_bytes(5), "train/b.jpg": image_bytes(6), "training/b.jpg": image_bytes(7)})
    location = location.format(
        away=away.url(), home=home.url(), localhost=home.url(host="localhost"), home_port=home.port, away_port=away.port
    )
    home.redirects["train/a.jpg"] = (302, location)
    column = load(["a.jpg"], root=home.url("train"), storage_options=SECRETS)
    assert column.img.failures["kind"].tolist() == ["outside_root"], column.img.failures["message"].tolist()
    assert len(home.requests) == 1
    assert not away.requests


@pytest.mark.parametrize("status", STATUS)
def test_each_hop_stays_below_root(home, away, status):
    home.files["train/b.jpg"] = image_bytes(6)
    home.redirects.update({"train/a.jpg": (status, "c/a.jpg"), "train/c/a.jpg": (status, away.url("hop"))})
    away.redirects["hop"] = (status, home.url("train/b.jpg"))
    assert row_read("a.jpg", root=home.url("train")) == "outside_root"
    assert not away.requests
    assert row_read(home.url("train/a.jpg"), root=home.url("train/")) == "outside_root"


@pytest.mark.parametrize(
    "location",
    ["b.jpg", "./b.jpg", "/train/b.jpg", "{home}train/b.jpg", "sub/../b.jpg", "HTTP://127.0.0.1:{port}/train/b.jpg",
     "//127.0.0.1:{port}/train/b.jpg", "http://ann@127.0.0.1:{port}/train/b.jpg", "b.jpg?token=1", "/%74rain/b.jpg"],
)  # fmt: skip
def test_redirect_below_root_is_followed(home, location):
    home.files["train/b.jpg"] = image_bytes(6)
    home.redirects["train/a.jpg"] = (302, location.format(home=home.url(), port=home.port))
    assert row_read("a.jpg", root=home.url("train")) == 6


def test_root_with_encoded_characters_is_followed(home):
    home.files["my träin 100%/b.jpg"] = image_bytes(6)
    home.redirects["my träin 100%/a.jpg"] = (302, "/my%20tr%C3%A4in%20100%25/b.jpg")
    assert row_read("a.jpg", root=home.url("my träin 100%")) == 6


@pytest.mark.parametrize("member", [True, False])
def test_redirected_archive_is_read_without_root_only(home, away, member):
    home.redirects["all.zip"] = (302, away.url("all.zip"))
    if member:
        assert row_read("3.jpg", root=home.url("all.zip")) == "outside_root"
        allowed = {"root": home.url("all.zip"), "redirect_hosts": ["127.0.0.1"]}
        assert row_read("3.jpg", storage_options=SECRETS, **allowed) == 3
    else:
        chained = f"zip://3.jpg::{home.url('all.zip')}"
        assert row_read(chained, schemes=["zip"], storage_options={"http": SECRETS}) == 3
        assert leaked(home)
        assert row_read(chained, schemes=["zip"], redirect_hosts=[]) == "outside_root"
    assert not leaked(away)
    assert {"HEAD", "GET"} == {method for method, _, _ in away.requests}


def test_range_is_requested_at_the_other_server(home, away):
    home.redirects["all.zip"] = (302, away.url("all.zip"))
    assert row_read("3.jpg", root=home.url("all.zip"), redirect_hosts=["127.0.0.1"]) == 3
    assert any("Range" in headers for _, _, headers in away.requests)


@pytest.mark.parametrize("scheme", ["simplecache", "filecache", "blockcache"])
def test_chained_redirect_is_guarded(home, away, tmp_path, scheme):
    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    cache = {"cache_storage": str(tmp_path)}
    options = {"schemes": [scheme], "storage_options": {scheme: cache, "http": SECRETS}}
    assert row_read("a.jpg", root=f"{scheme}::{home.url()}", **options) == "outside_root"
    assert not away.requests
    assert row_read(f"{scheme}::{home.url('a.jpg')}", **options) == 1
    assert leaked(home)
    assert not leaked(away)
    mixed = {"schemes": [scheme], "storage_options": {**cache, "http": SECRETS, "check_files": False}}
    home.requests.clear()
    home.redirects["b.jpg"] = (302, away.url("2.jpg"))
    assert row_read(f"{scheme}::{home.url('b.jpg')}", **mixed) == 2
    assert leaked(home)
    assert not leaked(away)


def test_chained_urls_of_two_archives_are_told_apart(home):
    home.files.update({"one.zip": zipped(), "two.zip": zipped(first=6)})
    column = load([f"zip://1.jpg::{home.url(name)}" for name in ("one.zip", "two.zip")], schemes=["zip"])
    assert [row_of(image) for image in column.img.to_numpy()] == [1, 7]


# ---- redirect_hosts=


@pytest.mark.parametrize(
    "entry", ["localhost", "LocalHost", "localhost:{}", "http://localhost:{}", "http://localhost:{}/"]
)
def test_redirect_hosts_allows_host_and_keeps_headers_at_home(home, away, entry):
    home.redirects["train/a.jpg"] = (302, away.url("1.jpg", "localhost"))
    options = {"root": home.url("train"), "storage_options": SECRETS, "redirect_hosts": [entry.format(away.port)]}
    assert row_read("a.jpg", **options) == 1
    assert leaked(home)
    assert not leaked(away)


@pytest.mark.parametrize("entry", ["127.0.0.1:1", "https://127.0.0.1", "localhost", "127.0.0.1."])
def test_redirect_hosts_refuses_other_hosts(home, away, entry):
    home.redirects["train/a.jpg"] = (302, away.url("1.jpg"))
    assert row_read("a.jpg", root=home.url("train"), redirect_hosts=[entry]) == "outside_root"
    assert row_read(home.url("train/a.jpg"), redirect_hosts=[entry]) == "outside_root"
    assert not away.requests


def test_hop_after_allowed_host_is_checked(home, away):
    home.files["secret.jpg"] = image_bytes(5)
    home.redirects["train/a.jpg"] = (302, away.url("hop", "localhost"))
    away.redirects["hop"] = (302, home.url("secret.jpg"))
    assert row_read("a.jpg", root=home.url("train"), redirect_hosts=["localhost"]) == "outside_root"


def test_message_names_the_host_and_the_way_out(home, away):
    home.redirects["train/a.jpg"] = (302, away.url(f"1.jpg?token={CANARY}", "localhost"))
    column = load(["a.jpg"], root=home.url("train"))
    host = f"localhost:{away.port}"
    assert column.img.failures["message"].tolist() == [
        f"a redirect leads out of root='{home.url('train')}' to '{host}'; redirect_hosts=['{host}'] allows it"
    ]
    assert row_read("a.jpg", root=home.url("train"), redirect_hosts=[host]) == 1


def test_job_continues_with_redirect_hosts(home, away, tmp_path):
    home.redirects["train/a.jpg"] = (302, away.url("1.jpg"))
    options = {"root": home.url("train"), "out": tmp_path / "x.npy"}
    assert row_read("a.jpg", **options) == "outside_root"
    assert row_read("a.jpg", redirect_hosts=["127.0.0.1"], retry="all", **options) == 1


@pytest.mark.parametrize(
    ("text", "host"),
    [("CDN.Example.org", ("cdn.example.org", None, None)), ("bücher.example:80", ("xn--bcher-kva.example", None, 80)),
     ("::1", ("::1", None, None)), ("[0:0::1]:8080", ("::1", None, 8080)), ("http://h", ("h", "http", 80))],
)  # fmt: skip
def test_redirect_hosts_are_normalized(text, host):
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "wrong",
    ["cdn.example.org", 3, [3], [""], ["*.example.org"], ["host/path"], ["ftp://host"], ["host:99999"], ["a b"],
     ["ann:pw@host"], [None], ["host?x=1"], ["[::"]],
)  # fmt: skip
def test_invalid_redirect_hosts_raise(wrong):
    with pytest.raises((TypeError, ValueError), match=r"redirect_hosts=.*a list of hosts such as") as caught:
        make_source(redirect_hosts=wrong)
    assert "pw" not in str(caught.value)


# ---- responses that are no file


def test_redirect_loop_is_a_failure_without_retries(home):
    home.redirects.update({"a.jpg": (302, "b.jpg"), "b.jpg": (302, "a.jpg")})
    column = load([home.url("a.jpg")])
    assert column.img.failures[["kind", "message"]].to_numpy().tolist() == [
        ["remote", "the server redirects too often"]
    ]
    assert len(home.requests) <= 10


@pytest.mark.parametrize(
    ("location", "kind"), [("ftp://host/a.jpg", "remote"), ("http://[", "remote"), ("http://host:99999/", "remote")]
)
def test_redirect_to_no_web_server_is_a_failure(home, location, kind):
    home.redirects["a.jpg"] = (302, location)
    column = load([home.url("a.jpg")])
    assert column.img.failures["kind"].tolist() == [kind]
    assert "redirect" in column.img.failures["message"].tolist()[0]


def test_redirects_that_the_user_switched_off_are_not_followed(home, away):
    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    column = load([home.url("a.jpg")], storage_options={"allow_redirects": False})
    assert column.img.failures["message"].tolist() == ["the server responded with 302, and not with a file"]
    assert not away.requests


# ---- buckets, whose clients are built on aiohttp


@pytest.mark.parametrize("chained", [False, True])
def test_bucket_that_redirects_receives_secrets_alone(home, away, chained, tmp_path):
    home.redirects["bucket/a.jpg"] = (307, away.url("1.jpg", "localhost"))
    secrets = {"key": "key", "secret": CANARY, "token": f"{CANARY}-token"}
    options = {**secrets, "client_kwargs": {"endpoint_url": home.url().rstrip("/"), "region_name": "eu-west-1"}}
    url = "s3://bucket/a.jpg"
    if chained:
        options = {"s3": options, "simplecache": {"cache_storage": str(tmp_path)}}
        url = f"simplecache::{url}"
    home.files["bucket/a.jpg"] = b""  # for HEAD
    assert row_read(url, storage_options=options, schemes=["simplecache"]) == 1
    assert leaked(home)
    assert away.requests
    assert not leaked(away)


def test_google_bucket_that_redirects_receives_secrets_alone(home, away):
    home.redirects["download/storage/v1/b/bucket/o/a.jpg"] = (307, away.url("1.jpg", "localhost"))
    session = {"headers": {"X-Session": CANARY}}
    options = {"token": "anon", "endpoint_url": home.url().rstrip("/"), "session_kwargs": session}
    assert row_read("gs://bucket/a.jpg", storage_options=options) == 1
    assert leaked(home)
    assert away.requests
    assert not leaked(away)


# ---- methods and executors


def methods(tmp_path):
    return {
        "load_resized": lambda img, **o: img.load_resized(8, **o),
        "save_resized": lambda img, **o: img.save_resized(tmp_path / "s", 8, **o),
        "save_thumbnails": lambda img, **o: img.save_thumbnails(tmp_path / "t", 8, **o),
        "download": lambda img, **o: img.download(tmp_path / "d", **o),
        "verify": lambda img, errors, **o: img.verify(**o),
        "metadata": lambda img, **o: img.metadata(**o),
        "features": lambda img, **o: img.features(**o),
        "hash": lambda img, **o: img.hash(**o),
        "issues": lambda img, **o: img.issues(**o),
        "map": lambda img, **o: img.map(np.mean, **o),
        "augment": lambda img, **o: img.augment(lambda pixels: pixels, n=1, size=8, **o),
    }


@pytest.mark.parametrize("scheduler", ["synchronous", "distributed"])
@pytest.mark.parametrize("method", methods(None))
def test_method_keeps_secrets_and_root(home, away, tmp_path, method, scheduler, request):
    if scheduler == "distributed":
        request.getfixturevalue("managed_cluster")
    home.files["train/0.jpg"] = image_bytes(0)
    home.redirects["train/1.jpg"] = (302, away.url("1.jpg", "localhost"))
    call, names = methods(tmp_path)[method], pd.Series(["0.jpg", "1.jpg"])
    with dask.config.set(scheduler=scheduler):
        result = call(names.img, root=home.url("train"), storage_options=SECRETS, errors="coerce")
        assert result.img.failures["kind"].tolist() == ["outside_root"]
        assert not away.requests
        result = call((home.url("train/") + names).img, storage_options=SECRETS, errors="coerce")
        assert not len(result.img.failures)
    assert away.requests
    assert not leaked(away)
    assert leaked(home)


def test_dask_frame_keeps_secrets_and_root(home, away):
    home.files["train/0.jpg"] = image_bytes(0)
    home.redirects["train/1.jpg"] = (302, away.url("1.jpg", "localhost"))
    ddf = dd.from_pandas(pd.DataFrame({"name": ["0.jpg", "1.jpg"]}), npartitions=2)
    options = {"root": home.url("train"), "storage_options": SECRETS, "errors": "coerce"}
    with dask.config.set(scheduler="synchronous"):
        refused = ddf.img.load_resized("name", 8, **options).compute()
        allowed = ddf.img.load_resized("name", 8, redirect_hosts=["localhost"], **options).compute()
    assert refused.img.failures["kind"].tolist() == ["outside_root"]
    assert [row_of(image) for image in allowed.img.to_numpy()] == [0, 1]
    assert not leaked(away)


def test_command_line_takes_redirect_hosts(home, away, tmp_path, capsys):
    home.redirects["train/1.jpg"] = (302, away.url("1.jpg", "localhost"))
    pd.DataFrame({"name": ["1.jpg"]}).to_csv(tmp_path / "x.csv", index=False)
    command = ["load-resized", str(tmp_path / "x.csv"), "name", "--size", "8", "--root", home.url("train"),
               "--errors", "coerce", "--storage-options", json.dumps({"headers": SECRETS["headers"]})]  # fmt: skip
    main([*command, "--out", str(tmp_path / "a.npy")])
    assert not away.requests
    assert main([*command, "--out", str(tmp_path / "b.npy"), "--redirect-hosts", "cdn.example.org,localhost"]) == 0
    assert row_of(np.load(tmp_path / "b.npy")[0]) == 1
    assert not leaked(away)
    capsys.readouterr()


def test_load_image_keeps_secrets(home, away):
    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    assert row_of(pandas_imgproc.load_image(home.url("a.jpg"), 8, storage_options=SECRETS)) == 1
    assert not leaked(away)
    with pytest.raises(UnreadableImageError, match="redirect_hosts"):
        pandas_imgproc.load_image(home.url("a.jpg"), 8, redirect_hosts=["cdn.example.org"])


def test_redirected_listing_carries_no_secret(home, away):
    away.files["photos/"] = away.files["photos"] = b'<a href="1.jpg">1</a>'
    for name in ("photos", "photos/"):
        home.redirects[name] = (302, away.url("photos/"))
    for options in (SECRETS, {"http": SECRETS}):
        df = pandas_imgproc.from_glob(home.url("photos"), storage_options=options)
        assert df["image_path"].tolist() == [home.url("photos/1.jpg")]
    assert leaked(home)
    assert away.requests
    assert not leaked(away)


def test_resumed_job_keeps_secrets(home, away, tmp_path):
    home.redirects["a.jpg"] = (302, away.url("1.jpg"))
    for _ in range(2):
        load([home.url("a.jpg")], storage_options=SECRETS, out=tmp_path / "x.npy")
    assert [method for method, _, _ in away.requests] == ["GET", "HEAD"]
    assert not leaked(away)
