"""A model that a server runs: Triton, MLServer, KServe or any other that speaks the Open Inference Protocol.

`docs/remote.md` tells how one is set up.
"""

from __future__ import annotations

import itertools
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from numpy.typing import NDArray

from perf_inference.engines.backoff import Backoff
from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.oip import PACKED, SERVER_NS, array_of, spec_of, tensor_of
from perf_inference.engines.remote_http import HttpTransport
from perf_inference.engines.remote_transport import (
    Address,
    Answer,
    Deadline,
    Description,
    RefusedError,
    Transport,
    UntrustedError,
)
from perf_inference.errors import ConfigError, EngineError

T = TypeVar("T")
_PATIENCE = 10  # deadlines that a server may take to be there when the engine is opened
_OURS = ("engine_precision", "engine_device", PACKED)  # what this package's own server says beside the model's own


def open_engine(model: str, options: Options) -> RemoteEngine:
    """Return an engine for a model at an address (`grpc://host:8081/MODEL`); wait ten deadlines for its server.

    Raises:
        ConfigError: no address, a server that has no such model or is not trusted, tensors that are no arrays.
        EngineError: the server did not answer in this time; it may later.
    """
    address = Address.of(model)
    if not (math.isfinite(options.deadline_ms) and options.deadline_ms > 0):
        raise ConfigError(f"deadline_ms must be over 0, got {options.deadline_ms:g}")
    transport = _transport(address, options.certificates)
    try:
        described = _await(transport, address, options.deadline_ms / 1e3)
        return RemoteEngine(address, transport, described, options.deadline_ms)
    except BaseException:
        transport.close()
        raise


class RemoteEngine:
    """Asks a server; each request has one deadline for connecting, sending and reading together."""

    def __init__(self, address: Address, transport: Transport, described: Description, deadline_ms: float) -> None:
        """Take what `describe` told.

        Raises:
            ConfigError: the server tells no tensors, or some that are no arrays.
        """
        self.inputs = _specs("inputs", described, owned=False)
        self.outputs = _specs("outputs", described, owned=True)
        told = {name: str(value) for name, value in described.parameters.items()}
        device = told.get("engine_device")
        self.info = EngineInfo(
            name=address.model,
            runtime="remote",
            precision=told.get("engine_precision", "unknown"),
            device=f"{address.host}/{device}" if device else address.host,
            metadata={name: text for name, text in told.items() if name not in _OURS},
        )
        self.parts_ns: Mapping[str, int] = NO_PARTS
        self._address, self._transport, self._deadline_ms = address, transport, deadline_ms
        self._requests = itertools.count(1)
        self._backoff = Backoff()
        self._closed = False
        self._busy = threading.Lock()

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        with self._busy:
            self.parts_ns = NO_PARTS
            if self._closed:
                raise EngineError(f"the engine of '{self._address.url}' is closed")
            self._backoff.check(self._address.url)
            start_ns = time.monotonic_ns()
            outputs, answer = self._translated(lambda: self._ask(inputs), start_ns)
            self.parts_ns = _parts_ns(time.monotonic_ns() - start_ns, answer.parameters.get(SERVER_NS))
            return outputs

    def close(self) -> None:
        """Close the connection; a request under way in another thread fails."""
        self._closed = True
        self._transport.interrupt()
        with self._busy:
            self._transport.close()

    def _ask(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], Answer]:
        """Return the outputs and the answer that they came in."""
        deadline = Deadline(self._deadline_ms / 1e3)
        request_id = str(next(self._requests))
        tensors = [tensor_of(spec.name, inputs[spec.name]) for spec in self.inputs]
        answer = self._transport.ask(request_id, tensors, deadline)
        if answer.id not in (request_id, ""):
            raise ValueError(f"the answer must be to request {request_id}, got that to '{answer.id}'")
        if answer.model not in (self._address.model, ""):
            raise ValueError(f"the answer must be of model '{self._address.model}', got that of '{answer.model}'")
        named = {tensor.name: tensor for tensor in answer.outputs}
        missing = [spec.name for spec in self.outputs if spec.name not in named]
        if missing:
            raise ValueError(f"output '{missing[0]}' is missing; got {sorted(named)}")
        return {spec.name: array_of(named[spec.name], spec) for spec in self.outputs}, answer

    def _translated(self, ask: Callable[[], T], start_ns: int) -> T:
        """Return what `ask` does, its failures turned into EngineErrors; keep the back-off and the connection."""
        url = self._address.url
        try:
            result = ask()
        except RefusedError as error:
            self._backoff.succeeded()  # it is there
            raise EngineError(f"'{url}' refused the request: {error}") from error
        except ValueError as error:
            self._transport.close()
            raise EngineError(f"'{url}' gave a wrong answer: {error}") from error
        except TimeoutError as error:
            self._transport.close()  # its late answer goes with the connection
            after_ms = (time.monotonic_ns() - start_ns) / 1e6
            self._backoff.failed(f"no answer within {self._deadline_ms:g} ms")
            raise EngineError(
                f"'{url}' missed the deadline of {self._deadline_ms:g} ms; given up after {after_ms:.1f} ms"
            ) from error
        except OSError as error:
            self._transport.close()
            self._backoff.failed(_words(error))
            raise EngineError(f"'{url}' cannot be reached: {_words(error)}") from error
        self._backoff.succeeded()
        return result


def _transport(address: Address, certificates: str) -> Transport:
    trusted = _trusted(certificates) if address.secure else None
    if address.scheme.startswith("http"):
        return HttpTransport(address, trusted)
    from perf_inference.engines.remote_grpc import GrpcTransport  # gRPC starts threads when it is imported

    pem = None
    if trusted is not None and certificates:
        with open(certificates, "rb") as file:
            pem = file.read()
    return GrpcTransport(address, pem)


def _trusted(certificates: str) -> ssl.SSLContext:
    """Return a context that verifies a server, by the machine's own authorities if no file is given."""
    try:
        return ssl.create_default_context(cafile=certificates or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"certificates must be a PEM file of who signs the server's certificate, got '{certificates}': {error}"
        ) from error


def _await(transport: Transport, address: Address, deadline_s: float) -> Description:
    """Return the model's description; try until the patience ends, for a server may start after the robot."""
    patience = Deadline(_PATIENCE * deadline_s)
    pause_s, last = Backoff.FIRST_NS / 1e9, ""
    while True:
        try:
            return transport.describe(Deadline(min(deadline_s, patience.left_s())))
        except RefusedError as error:
            last = str(error)
            _check_model(transport, address, deadline_s, last)
        except UntrustedError as error:
            raise ConfigError(f"'{address.url}' is not to be trusted: {_words(error)}; see certificates") from error
        except ValueError as error:
            raise ConfigError(f"'{address.url}' is no server of the Open Inference Protocol: {error}") from error
        except TimeoutError:
            last = f"no answer within {deadline_s * 1e3:g} ms"
        except OSError as error:
            last = _words(error)
        transport.close()
        try:
            threading.Event().wait(min(pause_s, patience.left_s()))
            patience.left_s()
        except TimeoutError:
            raise EngineError(
                f"'{address.url}' was not ready within {patience.after_s:g} s: {last}; start its server, or correct it"
            ) from None
        pause_s = min(2 * pause_s, Backoff.LONGEST_NS / 1e9)


def _check_model(transport: Transport, address: Address, deadline_s: float, why: str) -> None:
    """Raise ConfigError if the server says what it has, and the model is not among it; else it may be loading."""
    try:
        there = transport.models(Deadline(deadline_s))
    except (RefusedError, ValueError, OSError):
        return
    if address.model not in there:
        raise ConfigError(f"'{address.url}' has no model '{address.model}', only {', '.join(there) or 'none'}: {why}")


def _specs(kind: str, described: Description, owned: bool) -> tuple[ArraySpec, ...]:
    said = described.inputs if kind == "inputs" else described.outputs
    try:
        specs = tuple(spec_of(tensor.name, tensor.datatype, tensor.shape, owned) for tensor in said)
    except ValueError as error:
        raise ConfigError(f"model '{described.name}' cannot be used: {error}") from error
    if not specs:
        raise ConfigError(f"the server tells no {kind} of model '{described.name}'; its server must declare them")
    return specs


def _parts_ns(total_ns: int, server_ns: Any) -> Mapping[str, int]:
    """Return the server's time and the rest, if the server tells its own and it fits; no clocks are compared."""
    if type(server_ns) is not int or not 0 <= server_ns <= total_ns:
        return NO_PARTS
    return {"server": server_ns, "network": total_ns - server_ns}


def _words(error: OSError) -> str:
    return str(error.strerror or error) or type(error).__name__
