"""A headless Chromium, driven by its DevTools protocol over the package's own aiohttp."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MARK = b"DevTools listening on "
_WAIT_S = 120.0  # it is a hundred megabytes of program: its start on a busy machine


def needs_browser() -> str:
    """Return the browser's path; skip the test where there is none."""
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'perf_inference[view]'")
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium here: apt-get install chromium")


class Browser:
    """Chromium with one page; use it in a `with`."""

    def __init__(self, width_px: int = 1100, height_px: int = 1200) -> None:
        import aiohttp

        path = needs_browser()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [path, "--headless=new", *root, "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", f"--window-size={width_px},{height_px}", "--remote-debugging-port=0",
             f"--user-data-dir={self._profile.name}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._session = ""
        self.problems: list[str] = []  # errors of scripts, and what the page's policy refused
        self._client = self._run(_made(aiohttp.ClientSession))
        self._socket: Any = None
        try:
            self._socket = self._run(self._client.ws_connect(self._address(), max_msg_size=0))
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        if self._socket is not None:
            self._run(self._socket.close())
        self._run(self._client.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(_WAIT_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._profile.cleanup()

    def open(self, address: str) -> None:
        """Load a page, and wait until its document is there."""
        self.call("Page.navigate", url=address)
        assert self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'"), address

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page, a promise's when it is kept."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str, is_so: Callable[[Any], bool] = bool, times: int = 600) -> bool:
        """Return whether the expression's value became so within about half a minute."""
        for _ in range(times):
            if is_so(self.evaluate(script)):
                return True
            self._run(asyncio.sleep(0.05))
        return False

    def screenshot(self, path: Path, whole: bool = False) -> bytes:
        """Write what is seen as PNG, or the whole page; return it too."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        data = base64.b64decode(answer["data"])
        path.write_bytes(data)
        return data

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the result of a method of the protocol."""
        return self._run(self._called(method, parameters))

    async def _called(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters, **session}))
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.receive_str(), _WAIT_S))
            if message.get("method") == "Runtime.exceptionThrown":
                self.problems.append(json.dumps(message["params"]["exceptionDetails"]))
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.problems.append(message["params"]["entry"]["text"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _address(self) -> str:
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if line.startswith(_MARK):
                return line.removeprefix(_MARK).decode().strip()
        raise AssertionError(b"".join(lines).decode(errors="replace"))

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)


async def _made(kind: Callable[[], Any]) -> Any:
    return kind()
