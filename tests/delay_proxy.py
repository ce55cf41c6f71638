"""TCP proxy on the loopback interface that adds a delay each way, and that can be cut: a distant or a lost host."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class DelayProxy:
    """Proxy from `port` to a target port; in a thread of its own, as a context manager.

    Parameters
    ----------
    target : int
        Port of the server, which may start later.
    delay : float, optional
        Seconds that each byte takes in each direction, at any rate.
    accept : callable, optional
        Function of the port of a client that returns whether its connection is accepted.
    """

    def __init__(self, target: int, delay: float = 0.0, accept: Callable[[int], bool] = lambda _: True):
        self._target, self._delay, self._accept, self.port = target, delay, accept, 0
        self._loop = asyncio.new_event_loop()
        self._is_open = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._finished.cancel)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Stop to pass bytes on; no connection is closed, and new ones are accepted, in silence."""
        self._loop.call_soon_threadsafe(self._is_open.clear)

    def mend(self) -> None:
        """Pass on all bytes that were held up."""
        self._loop.call_soon_threadsafe(self._is_open.set)

    async def _serve(self) -> None:
        self._is_open.set()
        self._finished = self._loop.create_future()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._finished
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accept(writer.get_extra_info("peername")[1]):
            writer.close()
            return
        with contextlib.suppress(OSError, asyncio.CancelledError):
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._pass_on(reader, target_writer), self._pass_on(target_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(10_000)
        writing = asyncio.ensure_future(self._write(chunks, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(2**18):
                await chunks.put((self._loop.time() + self._delay, data))
        await chunks.put((self._loop.time() + self._delay, b""))
        await writing

    async def _write(self, chunks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while True:
                due, data = await chunks.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._is_open.wait()
                if not data:
                    return
                writer.write(data)
                await writer.drain()


if __name__ == "__main__":
    with DelayProxy(int(sys.argv[1]), float(sys.argv[2])) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()
