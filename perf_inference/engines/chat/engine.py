"""A vision-language model on an OpenAI-compatible server: vLLM, llama.cpp, Ollama and others.

`chat+http://host:8000/MODEL` posts image and prompt to `/v1/chat/completions` and takes the answer as it comes. The
key, if the server wants one, is that of the environment variable PERF_INFERENCE_CHAT_KEY, and stands nowhere else.
"""

from __future__ import annotations

import base64
import math
import os
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from perf_inference.engines.chat import events
from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.remote.backoff import Backoff
from perf_inference.engines.remote.http_connection import Connection
from perf_inference.engines.remote.opening import trusted, words
from perf_inference.engines.remote.transport import Address, Deadline, UntrustedError
from perf_inference.engines.stream import TokenStream
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.printable import shown

KEY = "PERF_INFERENCE_CHAT_KEY"
_DESCRIBE = "Describe this image in one sentence."
_PATIENCE = 10  # deadlines that a server may take to be there
_PAUSE_S = 0.2
_MOST_ERROR_BYTES = 1 << 16
_QUALITY = 90  # of the JPEG


def open_engine(model: str, options: Options) -> ChatEngine:
    """Return an engine for a model at an address; wait ten deadlines for its server.

    Raises:
        ConfigError: no address, a server that has no such model, is not trusted or wants another key; beams.
        EngineError: the server did not answer in this time; it may later.
    """
    address = Address.of(model)
    if not (math.isfinite(options.deadline_ms) and options.deadline_ms > 0):
        raise ConfigError(f"deadline_ms must be over 0, got {options.deadline_ms:g}")
    if options.beams > 1:
        raise ConfigError(f"'{model}' cannot do beams {options.beams}: chat servers search in none; set beams: 0")
    engine = ChatEngine(address, options)
    try:
        engine.find_model()
    except BaseException:
        engine.close()
        raise
    return engine


class ChatEngine:
    """Asks a chat server: `image` uint8 [H, W, 3] BGR and `prompt` uint8 [N], UTF-8, to `text` uint8 [N].

    `tokens` and `scores` are empty: servers tell words. One deadline holds for connecting, asking and the whole answer.
    """

    inputs = (
        ArraySpec("image", (None, None, 3), np.dtype(np.uint8)),
        ArraySpec("prompt", (None,), np.dtype(np.uint8)),
    )
    outputs = (
        ArraySpec("text", (None,), np.dtype(np.uint8), owned=True),
        ArraySpec("tokens", (None,), np.dtype(np.int64), owned=True),
        ArraySpec("scores", (None,), np.dtype(np.float32), owned=True),
        ArraySpec("count", (), np.dtype(np.int64), owned=True),
    )
    needs_warm_up = False  # each answer may cost money, and seconds

    def __init__(self, address: Address, options: Options) -> None:
        self.parts_ns: Mapping[str, int] = NO_PARTS
        self.stream: TokenStream | None = None
        self.info = EngineInfo(
            address.model, "chat", "unknown", address.host, {"max_tokens": str(options.max_tokens), "beams": "1"}
        )
        self._address, self._options = address, options
        self._connection = Connection(address, trusted(options.certificates) if address.secure else None)
        self._backoff = Backoff()
        self._closed = False
        self._busy = threading.Lock()

    def find_model(self) -> None:
        """Wait until the server is there; see whether it has the model, where it tells which it has.

        Raises:
            ConfigError, EngineError: see `open_engine`.
        """
        patience = Deadline(_PATIENCE * self._options.deadline_ms / 1e3)
        found = self._listed(patience)
        while found is None:
            threading.Event().wait(min(_PAUSE_S, patience.left_s()))
            found = self._listed(patience)
        body, answer = found
        if answer.status in (401, 403):
            raise ConfigError(
                f"'{self._address.url}' wants another key ({answer.status}); set {KEY} in the environment"
            )
        if answer.status != 200:  # it does not tell; the first request will
            return
        there = _names(bytes(body))
        if there and self._address.model not in there:
            raise ConfigError(
                f"'{self._address.url}' has no model '{self._address.model}', only {shown(', '.join(there), 300)}"
            )

    def _listed(self, patience: Deadline) -> tuple[bytearray, HTTPResponse] | None:
        """Return what the server says of its models; None: it is not there yet."""
        deadline = Deadline(self._options.deadline_ms / 1e3)
        try:
            return self._connection.exchange("GET", self._path("models"), self._headers(), (), deadline)
        except UntrustedError as error:
            raise ConfigError(
                f"'{self._address.url}' is not to be trusted: {words(error)}; see certificates"
            ) from error
        except ValueError as error:
            raise ConfigError(f"'{self._address.url}' is no chat server: {shown(error)}") from error
        except OSError as error:
            if patience.left_s():
                return None
            raise EngineError(
                f"'{self._address.url}' was not ready within {patience.after_s:g} s: {words(error)}; start its server, "
                "or correct the address"
            ) from error

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        with self._busy:
            if self._closed:
                raise EngineError(f"the engine of '{self._address.url}' is closed")
            self._backoff.check(self._address.url)
            request = self._request(inputs["image"], inputs["prompt"])
            text, count = self._translated(request, time.monotonic_ns())
        return {
            "text": np.frombuffer(text.encode(errors="replace"), np.uint8).copy(),
            "tokens": np.zeros(0, np.int64),
            "scores": np.zeros(0, np.float32),
            "count": np.array(count, np.int64),
        }

    def close(self) -> None:
        """Close the connection; a request under way in another thread fails."""
        self._closed = True
        self._connection.interrupt()
        with self._busy:
            self._connection.close()

    def _request(self, image: NDArray[Any], prompt: NDArray[Any]) -> bytes:
        if not image.size:
            raise InputError("an image of some pixels is needed")
        try:
            text = prompt.tobytes().decode() or _DESCRIBE
        except UnicodeDecodeError as error:
            raise InputError(f"'prompt' must be UTF-8: {error}") from error
        encoded, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not encoded:
            raise InputError(f"an image of {list(image.shape)} cannot be sent: OpenCV does not encode it")
        url = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        body: dict[str, Any] = {
            "model": self._address.model,
            "messages": [{"role": "user", "content": content}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
        }
        if self._options.max_tokens:
            body["max_tokens"] = self._options.max_tokens
        return orjson.dumps(body)

    def _translated(self, request: bytes, start_ns: int) -> tuple[str, int]:
        """Return text and number of tokens, failures turned into EngineErrors."""
        url, deadline_ms = self._address.url, self._options.deadline_ms
        stream = self.stream
        if stream is not None:
            stream.begin()
            stream.interrupt = self._connection.hang_up
        try:
            return self._asked(request, stream)
        except events.ServerError as error:
            self._backoff.succeeded()  # it is there
            raise EngineError(f"'{url}' refused the request: {shown(error, 300)}") from error
        except TimeoutError as error:
            after_ms = (time.monotonic_ns() - start_ns) / 1e6
            self._backoff.failed(f"no answer within {deadline_ms:g} ms")
            raise EngineError(
                f"'{url}' missed the deadline of {deadline_ms:g} ms; given up after {after_ms:.1f} ms; an answer that "
                "takes longer needs a larger remote.deadline_ms"
            ) from error
        except (ValueError, HTTPException) as error:
            if stream is not None and stream.cancelled:
                return "", 0
            raise EngineError(f"'{url}' gave a wrong answer: {shown(error) or type(error).__name__}") from error
        except OSError as error:
            if stream is not None and stream.cancelled:
                return "", 0
            self._backoff.failed(words(error))
            raise EngineError(f"'{url}' cannot be reached: {words(error)}") from error
        finally:
            if stream is not None:
                stream.interrupt = None
            self._connection.close()  # what is left of the answer nobody wants

    def _asked(self, request: bytes, stream: TokenStream | None) -> tuple[str, int]:
        deadline = Deadline(self._options.deadline_ms / 1e3)
        headers = {**self._headers(), "Content-Type": "application/json", "Accept": "text/event-stream"}
        answer = self._connection.stream(self._path("chat/completions"), headers, request, deadline)
        if answer.status != 200:
            raise events.ServerError(self._refusal(answer))
        if "event-stream" not in (answer.getheader("Content-Type") or ""):
            found = events.whole(answer.read(events.LONGEST_TEXT * 4))
            if stream is not None and found.text:
                stream.token(-1, found.text)
            self._backoff.succeeded()
            return found.text, found.tokens or 0
        parts: list[str] = []
        tokens, finished = None, False
        for piece in events.pieces(answer):
            if piece.text:
                parts.append(piece.text)
                if stream is not None:
                    stream.token(-1, piece.text)
            tokens = piece.tokens if piece.tokens is not None else tokens
            finished = finished or piece.finished
            if stream is not None and stream.cancelled:
                return "", 0
        if stream is not None and stream.cancelled:
            return "", 0
        if not finished:
            raise ConnectionError(f"the answer was cut off after {len(parts)} pieces")
        self._backoff.succeeded()
        return "".join(parts), len(parts) if tokens is None else tokens

    def _refusal(self, answer: HTTPResponse) -> str:
        body = answer.read(_MOST_ERROR_BYTES)
        if answer.status in (401, 403):
            return f"it wants another key ({answer.status}); set {KEY} in the environment"
        try:
            events.whole(body)
            said = ""
        except events.ServerError as error:
            said = str(error)
        except ValueError:
            said = body.decode(errors="replace")
        return f"{said.strip() or 'no reason given'} ({answer.status})"

    def _path(self, of: str) -> str:
        return f"{self._address.base}/v1/{of}"

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(KEY, "").strip()
        return {"Authorization": f"Bearer {key}"} if key.isascii() and key.isprintable() and key else {}


def _names(body: bytes) -> list[str]:
    """Return the models that a server lists; none where it does not tell them."""
    try:
        listed = orjson.loads(body)["data"]
        return [str(entry["id"]) for entry in listed]
    except (ValueError, KeyError, TypeError):
        return []
