"""A model that a server runs: Triton, MLServer, KServe or any other that speaks the Open Inference Protocol.

`docs/remote.md` tells how one is set up.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.remote.backoff import Backoff
from perf_inference.engines.remote.opening import await_model, transport_of, words
from perf_inference.engines.remote.tensors import PACKED, SERVER_NS, array_of, spec_of, tensor_of
from perf_inference.engines.remote.transport import (
    Address,
    Answer,
    Deadline,
    Description,
    RefusedError,
    Transport,
)
from perf_inference.errors import ConfigError, EngineError
from perf_inference.printable import shown

T = TypeVar("T")
_WORD = 40  # characters of a device or a precision, which are a server's own words
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
    transport = transport_of(address, options.certificates)
    try:
        described = await_model(transport, address, options.deadline_ms / 1e3)
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
        device = shown(told.get("engine_device", ""), _WORD)
        self.info = EngineInfo(
            name=address.model,
            runtime="remote",
            precision=shown(told.get("engine_precision", "unknown"), _WORD),
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
        """Return what `ask` does, its failures turned into EngineErrors."""
        url = self._address.url
        try:
            result = ask()
        except RefusedError as error:
            self._backoff.succeeded()  # it is there
            raise EngineError(f"'{url}' refused the request: {shown(error)}") from error
        except ValueError as error:
            self._transport.close()  # what else may come on this connection?
            raise EngineError(f"'{url}' gave a wrong answer: {shown(error)}") from error
        except TimeoutError as error:
            after_ms = (time.monotonic_ns() - start_ns) / 1e6
            self._backoff.failed(f"no answer within {self._deadline_ms:g} ms")
            raise EngineError(
                f"'{url}' missed the deadline of {self._deadline_ms:g} ms; given up after {after_ms:.1f} ms"
            ) from error
        except OSError as error:
            self._backoff.failed(words(error))
            raise EngineError(f"'{url}' cannot be reached: {words(error)}") from error
        self._backoff.succeeded()
        return result


def _specs(kind: str, described: Description, owned: bool) -> tuple[ArraySpec, ...]:
    said = described.inputs if kind == "inputs" else described.outputs
    try:
        specs = tuple(spec_of(tensor.name, tensor.datatype, tensor.shape, owned) for tensor in said)
    except ValueError as error:
        raise ConfigError(f"model '{shown(described.name)}' cannot be used: {shown(error)}") from error
    if not specs:
        raise ConfigError(
            f"the server tells no {kind} of model '{shown(described.name)}'; its server must declare them"
        )
    return specs


def _parts_ns(total_ns: int, server_ns: Any) -> Mapping[str, int]:
    """Return the server's time and the rest, if the server tells its own and it fits; no clocks are compared."""
    if type(server_ns) is not int or not 0 <= server_ns <= total_ns:
        return NO_PARTS
    return {"server": server_ns, "network": total_ns - server_ns}
