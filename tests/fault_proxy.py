"""HTTP proxy on loopback in front of a server of objects, with faults and counts of requests."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from typing import Self

import aiohttp
from aiohttp import web

_HOP = {"transfer-encoding", "content-encoding", "connection", "content-length", "date", "server"}


class FaultProxy:
    """Proxy of one server.

    Attributes
    ----------
    fault : callable
        Function of the method, the path with its query and the number of a request that returns the status of the
        response in its place, or None.
    requests : list of (str, str)
        Method, and path with its query.
    gate : threading.Event
        Whether writes of objects are passed on; they wait as long as it is not set.
    """

    def __init__(self, target: str) -> None:
        self._target = target.rstrip("/")
        self.gate, self.in_flight = threading.Event(), 0
        self.reset()
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def reset(self) -> None:
        """Have no faults, and forget the requests."""
        self.fault: Callable[[str, str, int], int | None] = lambda method, path, k: None
        self.requests: list[tuple[str, str]] = []
        self.max_in_flight = 0
        self.gate.set()

    def writes(self, part: str = "") -> list[str]:
        """Return the paths of the requests that write, and have a text in them."""
        return [path for method, path in self.requests if method in ("PUT", "POST") and part in path]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(100)
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._count_and_pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            self._ready.set()
            await self._end.wait()
        await runner.cleanup()

    async def _count_and_pass(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._pass(request)
        finally:
            self.in_flight -= 1

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        data, k = await request.read(), len(self.requests)
        self.requests.append((request.method, request.raw_path))
        status = self.fault(request.method, request.raw_path, k)
        if status is not None:
            return web.Response(status=status)
        while request.method in ("PUT", "POST") and not self.gate.is_set():
            await asyncio.sleep(0.01)
        drop = _HOP - {"content-encoding"}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in drop}
        url = aiohttp.client.URL(f"{self._target}{request.raw_path}", encoded=True)
        async with self._session.request(request.method, url, data=io.BytesIO(data), headers=headers) as response:
            body = await response.read()
            kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _HOP]
            result = web.Response(status=response.status, body=body)
            for name, value in kept:
                result.headers[name] = value
            if request.method == "HEAD":
                result.headers["Content-Length"] = response.headers.get("Content-Length", "0")
            return result
