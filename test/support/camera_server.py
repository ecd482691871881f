"""A camera on the loopback: an HTTP server of JPEG images, each with the time at which it was made in its pixels."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH, BLOCK_PX, BITS = 128, 128, 16, 64


def image_of(number: int) -> NDArray[np.uint8]:
    """Return an image that shows a number of 64 bits, a block of 16 pixels a bit."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    return cv2.merge(
        [np.kron(np.array(bits, np.uint8).reshape(8, 8) * 255, np.ones((BLOCK_PX, BLOCK_PX), np.uint8))] * 3
    )


def number_in(image: NDArray[np.uint8]) -> int:
    """Return the number that an image shows, also after JPEG."""
    middle = BLOCK_PX // 2
    bits = image[middle::BLOCK_PX, middle::BLOCK_PX, 0] > 127
    return sum(1 << place for place, bit in enumerate(bits.ravel()) if bit)


class CameraServer:
    """Serves `url`, until `close`; `open` serves the same address again."""

    def __init__(self, rate_hz: float = 20.0) -> None:
        self._rate_hz, self.port = rate_hz, 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    def open(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
                self.end_headers()
                with contextlib.suppress(OSError):
                    camera._stream(self)

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        closed = self._closed
        while not closed.wait(1 / self._rate_hz):
            made, data = cv2.imencode(".jpg", image_of(time.time_ns()), [cv2.IMWRITE_JPEG_QUALITY, 95])
            assert made
            head = f"--image\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data.tobytes() + b"\r\n")
            handler.wfile.flush()

    def close(self) -> None:
        """Serve nobody any more, and end what is served."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
