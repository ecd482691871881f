"""`perf-inference view` within the test's process: a scene, its server, and what a browser would ask."""

from __future__ import annotations

import http.client
import re
import threading
from contextlib import closing
from html.parser import HTMLParser
from types import TracebackType
from typing import Any, NamedTuple

from perf_inference.commands.view import watch
from perf_inference.commands.view.page import page
from perf_inference.commands.view.server import Server, Shown, listening
from perf_inference.nodes.view.scene import Scene


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class LiveView:
    """The view, as the command runs it, on a thread; use it in a `with`."""

    def __init__(self, foxglove: bool = False, images: tuple[str, ...] = (), rate_hz: float = 1000.0) -> None:
        self.shown = Shown()
        self.scene = Scene("", images, on_new=lambda: self.shown.wake())
        self.server = Server(listening(0), self.shown, page, rate_hz)
        self.foxglove: Any = None
        if foxglove:
            from perf_inference.commands.view.foxglove_server import FoxgloveServer

            self.foxglove = FoxgloveServer(self.scene, 0, rate_hz)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=watch, args=(self.scene, self.shown, self.server, self._stop.is_set, self.foxglove)
        )

    def __enter__(self) -> LiveView:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        self.server.close()
        if self.foxglove is not None:
            self.foxglove.close()
        self.scene.close()

    def ask(self, path: str, method: str = "GET", token: str | None = None, **headers: str) -> Answer:
        """Return the answer to `path`, such as `image?topic=/annotated`; `token`: this one instead of the right one."""
        return ask(self.server, path, method, token, **headers)

    def panel(self) -> str:
        """Return the newest panel."""
        return self.ask("panel").text


def ask(server: Server, path: str, method: str = "GET", token: str | None = None, **headers: str) -> Answer:
    """Return the answer of a server; `Sec_Fetch_Site="none"` is a header."""
    given = server.token if token is None else token
    target = f"/{path}{'&' if '?' in path else '?'}token={given}" if given else f"/{path}"
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.putrequest(method, target, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())


class _Cells(HTMLParser):
    """The texts of a table's rows."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._table, self._inside, self._open = table, False, False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._inside = dict(attributes).get("id") == self._table
        elif self._inside and tag == "tr":
            self.rows.append([])
        elif self._inside and tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "th")
        self._inside = self._inside and tag != "table"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def table(html: str, name: str) -> dict[str, dict[str, str]]:
    """Return a table of a panel: by the first cell of each row, the others by their column's name."""
    cells = _Cells(name)
    cells.feed(html)
    if not cells.rows:
        return {}
    header, *rows = cells.rows
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def tags(html: str) -> set[str]:
    """Return the names of the tags of a page."""
    return set(re.findall(r"<([a-z0-9]+)", html))
