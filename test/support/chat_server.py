"""A small OpenAI-compatible server on the loopback, which can be told to misbehave."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np


class ChatServer:
    """Answers `/v1/models` and `/v1/chat/completions`.

    `mode`: answer, whole (no stream), stall (after two words), cut (the connection ends), garbage, error (500), no_end.
    """

    def __init__(self, words: Sequence[str] = ("a ", "red ", "cup"), key: str = "", port: int = 0) -> None:
        self.words, self.key, self.mode = list(words), key, "answer"
        self.echo = False  # answer with the prompt
        self.requests: list[dict[str, Any]] = []
        self.images: list[Any] = []
        self.gone = threading.Event()  # a client hung up while it was answered
        self.go_on = threading.Event()  # ends a stall
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._models(self)

            def do_POST(self) -> None:
                server._chat(self)

            def log_message(self, *args: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def url(self, model: str = "org/tiny-vlm") -> str:
        return f"chat+http://127.0.0.1:{self.port}/{model}"

    def close(self) -> None:
        self.go_on.set()
        self._http.shutdown()
        self._http.server_close()

    def _models(self, handler: Any) -> None:
        if self._refused(handler):
            return
        self._send(handler, 200, {"data": [{"id": "org/tiny-vlm"}]})

    def _chat(self, handler: Any) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if self._refused(handler):
            return
        request = json.loads(body)
        self.requests.append(request)
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        self.images.append(cv2.imdecode(np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8), 1))
        words = [request["messages"][0]["content"][1]["text"]] if self.echo else self.words
        if self.mode == "error":
            self._send(handler, 500, {"error": {"message": "out of memory\nin line two"}})
            return
        if self.mode == "whole":
            text = "".join(words)
            self._send(handler, 200, {"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 7}})
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            self._stream(handler.wfile, words)
        except OSError:
            self.gone.set()

    def _stream(self, out: Any, words: Sequence[str]) -> None:
        if self.mode == "garbage":
            out.write(b"\x00\xff this is no event\r\n\r\n")
            return
        out.write(b": a comment\n\n")
        for number, word in enumerate(words):
            if self.mode == "stall" and number == 2:
                while not self.go_on.wait(0.02):
                    out.write(b": still here\n\n")
                    out.flush()
            out.write(f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n".encode())
            out.flush()
            if self.mode == "cut" and number == 1:
                return
        out.write(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n')
        out.write(b'data: {"choices": [], "usage": {"completion_tokens": 5}}\n\n')
        if self.mode != "no_end":
            out.write(b"data: [DONE]\n\n")

    def _refused(self, handler: Any) -> bool:
        if self.key and handler.headers.get("Authorization") != f"Bearer {self.key}":
            self._send(handler, 401, {"error": {"message": "no such key"}})
            return True
        return False

    def _send(self, handler: Any, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
