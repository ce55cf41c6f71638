"""HTTP server on loopback, with latency and the faults of a network.

It runs in a thread of this process. Its faults are drawn from a seed, for each path and number of the request, so that
a run is reproducible.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from aiohttp import web

FAULTS = ("503", "reset", "truncated")


def by_seed(seed: int, share: dict[str, float], permanent: dict[str, str] = {}) -> Callable[[str, int], str | None]:  # noqa: B006
    """Return the function that draws the fault of the k-th request of a path.

    Each fault has a `share` of the requests; the paths in `permanent` have the same fault at every request.
    """

    def fault(path: str, k: int) -> str | None:
        if path in permanent:
            return permanent[path]
        draw = random.Random(f"{seed} {path} {k}").random()
        for name, part in share.items():
            if draw < part:
                return name
            draw -= part
        return None

    return fault


class HTTPServer:
    """HTTP server with files, latency and faults.

    Parameters
    ----------
    files : dict of str to bytes
        By decoded path, without the first slash; may be changed while it runs.

    Attributes
    ----------
    redirects : dict of str to (int, str)
        Status and ``Location`` by decoded path, without the first slash.
    pace : (int, float)
        Bytes that are sent together, and the seconds between them.
    gate : callable
        Whether more of a path may be sent after so many bytes of the response; asked until it is true.
    status, headers : int, dict of str to str
        Status of responses with a complete file, and more headers of those with a file.
    n_sent : int
        Bytes of files that were sent.
    n_sent_completely : Counter of str
        Responses that were sent up to their end, by path.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = files if files is not None else {}
        self.redirects: dict[str, tuple[int, str]] = {}
        self.latency, self.pace, self.headers = 0.0, (2**16, 0.0), dict[str, str]()
        self.n_sent, self.n_sent_completely = 0, Counter[str]()
        self.ranges, self.ignores_if_range, self.status = True, False, 200
        self.retry_after = "0"
        self.fault: Callable[[str, int], str | None] = lambda path, k: None
        self.gate: Callable[[str, int], bool] = lambda path, n: True
        self.n_requests_by_path: Counter[str] = Counter()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.in_flight = 0
        self.max_in_flight, self.min_in_flight = 0, 1
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> HTTPServer:
        self._thread.start()
        assert self._ready.wait(100)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def url(self, name: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{name}"

    def reset(self) -> None:
        """Clear the counts of requests, and have no latency and no faults."""
        self.latency, self.retry_after, self.fault = 0.0, "0", lambda path, k: None
        self.ranges, self.ignores_if_range, self.status = True, False, 200
        self.pace, self.n_sent, self.gate = (2**16, 0.0), 0, lambda path, n: True
        self.n_sent_completely.clear()
        self.headers.clear()
        self.max_in_flight, self.min_in_flight = 0, 1
        self.redirects.clear()
        self.n_requests_by_path.clear()
        self.requests.clear()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._count_and_respond)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        await runner.cleanup()

    async def _count_and_respond(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._respond(request)
        finally:
            self.in_flight -= 1

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.raw_path.partition("?")[0])[1:]
        k = self.n_requests_by_path[path]
        self.n_requests_by_path[path] += 1
        self.requests.append((request.method, request.raw_path, dict(request.headers)))
        if self.latency:
            await asyncio.sleep(self.latency)
        while self.max_in_flight < self.min_in_flight:
            await asyncio.sleep(0.001)
        fault = self.fault(path, k)
        if fault is not None and fault.isdecimal():
            return web.Response(status=int(fault), headers={"Retry-After": self.retry_after})
        if fault == "reset":
            request.transport.abort()
        if fault == "stall":
            await self._end.wait()
        if path in self.redirects:
            status, location = self.redirects[path]
            return web.Response(status=status, headers={"Location": location, "Set-Cookie": "visit=1"})
        data = self.files.get(path)
        if data is None:
            return web.Response(status=404)
        return await self._send(request, data, _end_of(fault, len(data)), holds="hold" in (fault or ""))

    async def _send(self, request: web.Request, data: bytes, stop: int | None, *, holds: bool) -> web.StreamResponse:
        """Send a file, or the requested part of it; `stop` bytes are sent before it breaks, or holds."""
        status, headers = self.status, {"ETag": f'"{hash(data):x}"', "Accept-Ranges": "bytes", **self.headers}
        if data.startswith(b"<"):
            headers["Content-Type"] = "text/html"
        part = request.http_range
        current = (None, headers["ETag"], headers.get("Last-Modified"))
        is_current = self.ignores_if_range or request.headers.get("If-Range") in current
        if self.ranges and part.start is not None and is_current:
            if part.start >= len(data):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {part.start}-{(part.stop or len(data)) - 1}/{len(data)}"
            status, data = 206, data[part]
        response = web.StreamResponse(status=status, headers={"Content-Length": str(len(data)), **headers})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await self._write(response, request.path[1:], data, stop)
        if holds:
            await self._end.wait()
        if stop is not None:
            request.transport.close()
        else:
            self.n_sent_completely[unquote(request.raw_path)[1:]] += 1
        return response

    async def _write(self, response: web.StreamResponse, path: str, data: bytes, stop: int | None) -> None:
        nbytes, seconds = self.pace
        for start in range(0, len(data), nbytes):
            while not self.gate(path, start):
                await asyncio.sleep(0.001)
            chunk = data[start : min(start + nbytes, len(data) if stop is None else stop)]
            self.n_sent += len(chunk)
            await response.write(chunk)
            if stop is not None and start + nbytes >= stop:
                break
            if seconds:
                await asyncio.sleep(seconds)


def _end_of(fault: str | None, nbytes: int) -> int | None:
    """Return the number of bytes after which a fault breaks or holds the connection."""
    if fault is not None and fault.startswith(("drop ", "hold ")):
        return int(fault.split()[1])
    return nbytes // 2 if fault == "truncated" else None


def write_files(fs: object, root: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files through a file system of fsspec."""
    for name, data in files:
        fs.pipe_file(f"{root}/{name}", data)
