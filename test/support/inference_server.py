"""An inference server as a process on loopback, and a relay in front of it that can misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from support.paths import ROOT, TESTS
from support.processes import wait_until

OURS = "perf_inference.serving.EngineRuntime"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MLServer:
    """MLServer with the embedded policy and detector, a model that misbehaves on demand, and others."""

    def __init__(self, folder: Path, others: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write its settings; `others`: files by name."""
        self._folder = folder
        self.http, self.grpc = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            "host": "127.0.0.1", "http_port": self.http, "grpc_port": self.grpc, "metrics_endpoint": None,
            "parallel_workers": 0, "debug": False,
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings))
        for name, uri in {"policy": "policy", "detector": "detector", **others}.items():
            self._add(name, OURS, {"uri": uri, "extra": {"runtime": "onnx", "device": "cpu", "threads": 1}})
        self._add("odd", "support.served_models.Odd", {})

    def _add(self, name: str, implementation: str, parameters: dict[str, object]) -> None:
        settings = {"name": name, "implementation": implementation, "parameters": parameters}
        (self._folder / name).mkdir()
        (self._folder / name / "model-settings.json").write_text(json.dumps(settings))

    def url(self, protocol: str, model: str) -> str:
        return f"{protocol}://127.0.0.1:{getattr(self, protocol)}/{model}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until all models are ready."""
        command = [sys.executable, "-m", "mlserver.cli.main", "start", str(self._folder)]
        paths = os.pathsep.join([str(TESTS), str(ROOT)])
        env = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        assert wait_until(self._ready, 60), self.log

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            for model in ("policy", "detector", "odd"):
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/models/{model}/ready", timeout=5):
                    pass
        except (urllib.error.URLError, OSError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(20)


class Relay:
    """Passes bytes on to a port, with TLS before it where a context is given, until it is told to misbehave."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._target, self._context = port, context
        self.answer: bytes | None = None  # answers this to whatever comes, and closes
        self.stalled = False  # takes all and answers nothing
        self.cut_bytes: int | None = None  # passes so much of the next answer, and closes
        self.drips = False  # passes a byte each 10 ms
        self.dropped = 0  # so many connections are closed, the oldest first, as soon as something comes
        self.accepted = self.received_bytes = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._spawn(self._serve, client, self.accepted)

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            self._spawn(self._back, server, client)
            while data := client.recv(65536):
                self.received_bytes += len(data)
                if number <= self.dropped:
                    break
                if self.answer is not None:
                    client.sendall(self.answer)
                    break
                if not self.stalled:
                    server.sendall(data)
            _end(server)
        _end(client)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.cut_bytes is not None:
                    client.sendall(data[: self.cut_bytes])
                    break
                step = 1 if self.drips else len(data)
                for start in range(0, len(data), step):
                    client.sendall(data[start : start + step])
                    if self.drips:
                        threading.Event().wait(0.01)
        _end(client)
        _end(server)

    def hang_up(self) -> None:
        """Close the connections that there are."""
        for each in self._open:
            _end(each)

    def close(self) -> None:
        _end(self._listener)
        self.hang_up()
        for thread in list(self._threads):
            thread.join(5)
            assert not thread.is_alive()


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
