"""What the remote engine asks of a transport, and what a transport answers or raises."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from perf_inference.engines.remote.tensors import Tensor
from perf_inference.errors import ConfigError

_EXAMPLE = "grpc://host:8081/MODEL, or with a version grpc://host:8081/MODEL/versions/2"
_PORTS = {"grpc": 8081, "grpcs": 8081, "http": 8080, "https": 443, "chat+http": 8000, "chat+https": 443}


class Address(NamedTuple):
    """Where a model is served."""

    url: str  # as the user gave it
    scheme: str
    host: str
    port: int
    base: str  # path before /v2, of a server behind another
    model: str
    version: str  # "": the server's choice

    @property
    def secure(self) -> bool:
        return self.scheme.endswith("s")

    @property
    def netloc(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> Address:
        """Take SCHEME://HOST[:PORT][/BASE/v2/models]/MODEL[/versions/VERSION] apart; MODEL@VERSION does as well.

        A chat server's is chat+http://HOST[:PORT][/BASE/v1]/MODEL, and its model may have slashes.

        Raises:
            ConfigError: it is no such address.
        """
        wrong = f"a remote model must be given as {_EXAMPLE}; got '{url}'"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{wrong}: {error}") from error
        if parts.scheme not in _PORTS or not host or parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(wrong)
        if parts.scheme.startswith("chat+"):
            base, found, path = parts.path.rpartition("/v1/")
            name = unquote(path if found else parts.path).strip("/")  # with slashes where it has some
            if not name or name == "v1":
                raise ConfigError(wrong)
            return cls(url, parts.scheme, host, port or _PORTS[parts.scheme], base, name, "")
        base, found, path = parts.path.rpartition("/v2/models/")
        steps = (path if found else parts.path).strip("/").split("/")
        name, at, version = steps[0].partition("@")
        if len(steps) == 3 and steps[1] == "versions" and not at:
            version = steps[2]
        elif len(steps) != 1:
            raise ConfigError(wrong)
        if not name or (at and not version):
            raise ConfigError(wrong)
        return cls(url, parts.scheme, host, port or _PORTS[parts.scheme], base, unquote(name), unquote(version))


class Deadline:
    """An end in time, for all steps of one request together."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._end_s = time.monotonic() + after_s

    def left_s(self) -> float:
        """Return the time that is left [s], 0 when none is."""
        return max(0.0, self._end_s - time.monotonic())

    def left_us(self) -> int:
        """Return the time that is left [us], 0 when none is."""
        return round(1e6 * self.left_s())

    def timeout_s(self) -> float:
        """Return the time that is left [s] for one step.

        Raises:
            TimeoutError: none is.
        """
        if not (left_s := self.left_s()):
            raise TimeoutError
        return left_s


class RefusedError(Exception):
    """The server answered that it will not or cannot; its own words."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(f"{words.strip() or 'no reason given'} ({status})")


class UntrustedError(OSError):
    """The server's certificate does not hold, or it speaks no TLS."""


class Description(NamedTuple):
    """What a server says of a model."""

    name: str
    inputs: Sequence[Tensor]  # without data
    outputs: Sequence[Tensor]
    parameters: Mapping[str, Any]


class Answer(NamedTuple):
    """What a server answers to a request."""

    id: str
    model: str
    outputs: Sequence[Tensor]
    parameters: Mapping[str, Any]


class Transport(Protocol):
    """One connection to a server, made when it is needed; one that failed is closed, and its late answer with it.

    Each method that asks the server raises:
        TimeoutError: no answer before the deadline.
        OSError: the server was not reached, or the connection broke; UntrustedError: its certificate does not hold.
        RefusedError: the server said no.
        ValueError: the answer was none of this protocol.
    """

    def describe(self, deadline: Deadline) -> Description:
        """Return what the server says of the model."""

    def models(self, deadline: Deadline) -> list[str]:
        """Return the names of the models that the server has; RefusedError where it does not tell."""

    def ask(self, request_id: str, inputs: Sequence[Tensor], deadline: Deadline) -> Answer:
        """Return the answer to these raw tensors."""

    def interrupt(self) -> None:
        """Let a request under way in another thread fail; nothing is asked any more."""

    def close(self) -> None:
        """Close the connection; the next request makes another."""
