"""The web server of `perf-inference view`: one page, read-only, for a browser on this machine.

The address has a token, without which nothing is answered. `Host` must name this machine, so that no name of somebody
else's leads a browser here (DNS rebinding), and `Origin` must be this page's own, so that no other page reads it. A
browser asks for the next image when it has drawn the last one: one that is slow gets fewer, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from perf_inference.printable import printable

if TYPE_CHECKING:
    from perf_inference.nodes.view.feed import Feed, Jpeg

_HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_HOLD_S = 2.0  # a question is answered with "nothing new" after so long: a browser has six of them at a time
_FRESH_S = 1.0  # a page begins with what is no older
_MOST_REQUESTS = 64  # at a time
_START_S, _STOP_S = 30.0, 3.0
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Shown:
    """What the server shows, and a call at each change of it: any thread."""

    def __init__(self) -> None:
        self.panel = (0, "")  # its number, and the HTML
        self.put_s = float("-inf")  # monotonic, as an event loop's time is
        self.feeds: Mapping[str, Feed] = {}
        self.wake: Callable[[], None] = lambda: None

    def put(self, panel: str, feeds: Mapping[str, Feed]) -> None:
        """Show this from now on."""
        self.feeds = feeds
        if panel != self.panel[1]:
            self.panel = (self.panel[0] + 1, panel)
        self.put_s = time.monotonic()
        self.wake()


class Server:
    """Serves on a socket in a thread of its own."""

    def __init__(
        self, bound: socket.socket, shown: Shown, page: Callable[[str, Iterable[str], str, str], str], rate_hz: float
    ) -> None:
        """Start to serve.

        Args:
            bound: listens on a loopback address.
            page: takes the panel, topics of images, the token and a nonce for its script, and returns the page.
            rate_hz: images of one topic a second at most, however many look.
        """
        self.token = secrets.token_urlsafe(16)
        self.port = bound.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/?token={self.token}"
        self.asked_s = float("-inf")  # in the loop's time, which is the monotonic clock's
        self._bound, self._shown, self._page, self._period_s = bound, shown, page, 1 / rate_hz
        self._requests = 0
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        shown.wake = self._wake
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="view-server", daemon=True)
        self._thread.start()
        ready.wait(_START_S)

    def close(self) -> None:
        """Stop serving."""
        self._shown.wake = lambda: None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._bound.close()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it has just been closed
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)

        async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app = web.Application(middlewares=[web.middleware(guarded)], client_max_size=1024)
        app.on_response_prepare.append(_secure)
        for path, handler in (("/", self._get_page), ("/panel", self._get_panel), ("/image", self._get_image)):
            app.router.add_get(path, handler, allow_head=False)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        try:
            self._loop.run_until_complete(runner.setup())
            self._loop.run_until_complete(web.SockSite(runner, self._bound).start())
            ready.set()
            self._loop.run_forever()
            self._loop.run_until_complete(runner.cleanup())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer whoever has the token and comes from this machine's own page, one by one."""
        if why := _foreign(request):
            return web.Response(status=403, text=f"403: {why}\n")
        given = request.query.getall("token", [])
        if len(given) != 1 or not hmac.compare_digest(given[0].encode("utf-8", "replace"), self.token.encode()):
            return web.Response(status=403, text="403: the address must have the token that the command printed\n")
        if self._requests >= _MOST_REQUESTS:
            return web.Response(status=503, text="503: too many requests at a time\n", headers={"Retry-After": "1"})
        self._requests += 1
        self.asked_s = self._loop.time()
        try:
            return await handler(request)
        finally:
            self._requests -= 1

    async def _get_page(self, request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        begun_s = self._loop.time()
        await self._until(lambda: self._shown.put_s > begun_s - _FRESH_S)
        page = self._page(self._shown.panel[1], list(self._shown.feeds), self.token, nonce)
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _get_panel(self, request: web.Request) -> web.Response:
        after = _number(request)
        await self._until(lambda: self._shown.panel[0] != after)
        number, panel = self._shown.panel
        if number == after:
            return web.Response(status=204)
        return web.Response(text=panel, content_type="text/html", headers={"X-Number": str(number)})

    async def _get_image(self, request: web.Request) -> web.Response:
        feed = self._shown.feeds.get(request.query.get("topic", ""))
        if feed is None:
            return web.Response(status=404, text="404: no such image is shown\n")
        after = _number(request)
        feed.want()
        if not await self._until(lambda: feed.number not in (0, after)):
            return web.Response(status=204)
        await asyncio.sleep(feed.due_s(self._period_s))
        jpeg: Jpeg = await self._loop.run_in_executor(None, feed.jpeg)
        headers = {"X-Number": str(jpeg.number)}
        if jpeg.problem:
            return web.Response(status=422, text=printable(jpeg.problem), headers=headers)
        return web.Response(body=jpeg.data, content_type="image/jpeg", headers=headers)

    async def _until(self, is_so: Callable[[], bool]) -> bool:
        """Wait for it, some time; return whether it is so."""
        deadline = self._loop.time() + _HOLD_S
        while not is_so():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), max(0.0, deadline - self._loop.time()))
            if self._loop.time() >= deadline:
                break
        return is_so()


def listening(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1.

    Raises:
        OSError: the port is taken, or not to be had.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.listen(_MOST_REQUESTS)
    except OSError:
        bound.close()
        raise
    return bound


def _foreign(request: web.Request) -> str:
    """Return why a request does not come from this server's own page, or from somebody who typed its address."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _HERE.fullmatch(hosts[0]):
        return "Host must be this machine's (127.0.0.1 or localhost)"
    origins = request.headers.getall("Origin", [])
    if origins and origins != [f"http://{hosts[0]}"]:
        return "this page is not for others (Origin)"
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") and request.headers.get("Sec-Fetch-Mode") != "navigate":
        return "this page is not for others (Sec-Fetch-Site)"
    return ""


def _number(request: web.Request) -> int:
    text = request.query.get("after", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
