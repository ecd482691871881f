"""One HTTP connection that is kept alive, with a deadline for all that happens on it."""

from __future__ import annotations

import io
import select
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Any

from perf_inference.engines.remote.transport import Address, Deadline, UntrustedError

LONGEST_BYTES = 1 << 30  # of an answer
_PIECE_BYTES = 1 << 16


class Connection:
    """One HTTP connection, made again when the server has closed it."""

    def __init__(self, address: Address, trusted: ssl.SSLContext | None) -> None:
        self._address, self._trusted = address, trusted
        self._http: HTTPConnection | None = None
        self._socket: _Socket | None = None
        self._given_up = False

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], buffers: Sequence[Any], deadline: Deadline
    ) -> tuple[bytearray, HTTPResponse]:
        """Send a request, read the answer whole; a connection that fails in between is closed."""
        try:
            kept = self._socket is not None and self._socket.idle()
            if not kept:
                self._connect(deadline)
            try:
                return self._exchange(method, path, headers, buffers, deadline)
            except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not kept:
                    raise
                # The server closed an idle connection just when it was used again: RFC 9112, 9.3.1.
                self._connect(deadline)
                return self._exchange(method, path, headers, buffers, deadline)
        except IncompleteRead as error:
            self.close()
            raise ConnectionError(f"the answer was cut off: {error}") from error
        except RemoteDisconnected as error:
            self.close()
            raise ConnectionError("the server closed the connection without an answer") from error
        except HTTPException as error:
            self.close()
            raise ValueError(f"an answer must be HTTP, got {str(error)[:80]!r}") from error
        except BaseException:
            self.close()
            raise

    def stream(self, path: str, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> HTTPResponse:
        """Post on a new connection; return the answer with its body unread. Who has read it closes."""
        try:
            self._connect(deadline)
            assert self._http is not None
            self._http.request("POST", path, body, dict(headers))
            return self._http.getresponse()
        except RemoteDisconnected as error:
            self.close()
            raise ConnectionError("the server closed the connection without an answer") from error
        except HTTPException as error:
            self.close()
            raise ValueError(f"an answer must be HTTP, got {str(error)[:80]!r}") from error
        except BaseException:
            self.close()
            raise

    def hang_up(self) -> None:
        """Let what is being read on this connection end; the next request makes another (any thread)."""
        wire = self._socket
        if wire is not None:
            wire.shutdown()

    def _connect(self, deadline: Deadline) -> None:
        self.close()
        if self._given_up:
            raise ConnectionError("the connection was closed")
        self._socket = _connected(self._address, self._trusted, deadline)
        self._http = HTTPConnection(self._address.host, self._address.port)
        self._http.sock = self._socket

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], buffers: Sequence[Any], deadline: Deadline
    ) -> tuple[bytearray, HTTPResponse]:
        http, wire = self._http, self._socket
        if http is None or wire is None:
            raise ConnectionError("the connection was closed")
        wire.deadline = deadline
        length = {"Content-Length": str(sum(len(buffer) for buffer in buffers))} if buffers else {}
        http.request(method, path, buffers or None, {**length, **headers})
        answer = http.getresponse()
        body = _body(answer)
        if answer.will_close:
            self.close()
        return body, answer

    def interrupt(self) -> None:
        """Let a request under way fail, and all that follow."""
        self._given_up = True
        wire = self._socket
        if wire is not None:
            wire.shutdown()

    def close(self) -> None:
        wire, self._socket, self._http = self._socket, None, None
        if wire is not None:
            wire.end()


def _body(answer: HTTPResponse) -> bytearray:
    """Return the whole body."""
    body = bytearray()
    length = answer.length or 0
    if answer.length is None:  # it comes in chunks, or ends with the connection
        while length <= LONGEST_BYTES and (piece := answer.read(_PIECE_BYTES)):
            body += piece
            length = len(body)
    elif length <= LONGEST_BYTES:
        body += answer.read()
    if length > LONGEST_BYTES:
        raise ValueError(f"an answer must be at most {LONGEST_BYTES} bytes, this one has {length}")
    return body


class _Socket:
    """What http.client needs of a socket, with one deadline for all that is sent and read."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket, self.deadline = connected, deadline

    def sendall(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            self._socket.settimeout(self.deadline.timeout_s())
            view = view[self._socket.send(view) :]

    def recv_into(self, buffer: Any) -> int:
        self._socket.settimeout(self.deadline.timeout_s())
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self), 1 << 16)

    def idle(self) -> bool:
        """Return whether nothing has come that nobody asked for, nor the end."""
        try:
            ready = select.poll()
            ready.register(self._socket, select.POLLIN)
            return not ready.poll(0)
        except (OSError, ValueError):
            return False

    def shutdown(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more
            return

    def close(self) -> None:
        """Do nothing: http.client closes when an answer is the last one, before that is read."""

    def end(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    """One answer's view of the socket; closing it leaves the socket open."""

    def __init__(self, wire: _Socket) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.recv_into(buffer)


def _connected(address: Address, trusted: ssl.SSLContext | None, deadline: Deadline) -> _Socket:
    """Return a socket that is connected, and trusted where the address is secure."""
    places = _places(address, deadline)
    for left, (family, kind, protocol, _, place) in zip(range(len(places), 0, -1), places, strict=True):
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(deadline.timeout_s() / left)
            raw.connect(place)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if trusted is not None:
                raw.settimeout(deadline.timeout_s())
                raw = trusted.wrap_socket(raw, server_hostname=address.host)
            return _Socket(raw, deadline)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:  # it went away
            raw.close()
            raise ConnectionError(f"TLS broke off: {error.reason or error}") from error
        except ssl.SSLError as error:
            raw.close()
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
            raise UntrustedError(f"no trusted TLS: {why or error}") from error
        except OSError:
            raw.close()
            if left == 1:
                raise
    raise ConnectionError(f"'{address.host}' has no address")


def _places(address: Address, deadline: Deadline) -> list[Any]:
    """Return what the host's name resolves to; the resolver itself knows no deadline."""
    found: list[Any] = []

    def resolve() -> None:
        try:
            found.append(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    resolver = threading.Thread(target=resolve, name="resolve", daemon=True)
    resolver.start()
    resolver.join(deadline.timeout_s())
    if not found:
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise ConnectionError(f"'{address.host}' is not known: {found[0].strerror}") from found[0]
    places: list[Any] = found[0]
    return places
