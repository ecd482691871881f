"""The Open Inference Protocol over HTTP, with binary tensors where the server takes them.

tritonclient's HTTP client is built on gevent: its sockets belong to the thread that made them, its timeouts are per
read, and it retries by itself. An engine moves between threads and has one deadline for everything, hence the standard
library's HTTP here, on a socket that knows the deadline.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from perf_inference.engines.remote.http_connection import Connection
from perf_inference.engines.remote.tensors import DATATYPES, PACKED, TIMEOUT, Tensor, pack
from perf_inference.engines.remote.transport import Address, Answer, Deadline, Description, RefusedError
from perf_inference.errors import InputError

_HEADER_LENGTH = "Inference-Header-Content-Length"
_JSON = {"Content-Type": "application/json"}
_BINARY = {"Content-Type": "application/octet-stream"}
_EXCERPT = 80


class HttpTransport:
    """A connection that is kept alive."""

    def __init__(self, address: Address, trusted: ssl.SSLContext | None) -> None:
        self._address = address
        self._connection = Connection(address, trusted)
        version = f"/versions/{quote(address.version, safe='')}" if address.version else ""
        self._model = f"/v2/models/{quote(address.model, safe='')}{version}"
        self._binary = self._packed = False

    def describe(self, deadline: Deadline) -> Description:
        said = self._get("/v2", deadline)
        extensions = said.get("extensions") or ()
        self._binary = "binary_tensor_data" in extensions
        model = self._get(self._model, deadline)
        parameters = dict(_mapping(model.get("parameters")))
        if "model_configuration" in extensions:  # Triton's
            config = _mapping(self._get(f"{self._model}/config", deadline).get("parameters"))
            parameters |= {name: _mapping(value).get("string_value", "") for name, value in config.items()}
        self._packed = bool(parameters.get(PACKED)) and not self._binary
        inputs, outputs = (_tensors(model.get(kind), {}) for kind in ("inputs", "outputs"))
        return Description(str(model.get("name", "")), inputs, outputs, parameters)

    def models(self, deadline: Deadline) -> list[str]:
        body, _ = self._exchange("POST", "/v2/repository/index", _JSON, [b"{}"], deadline)
        index = _json(body)
        if not isinstance(index, list):
            raise ValueError(f"an index of models must be a list, got {_excerpt(body)}")
        return sorted({str(_mapping(entry).get("name")) for entry in index})

    def ask(self, request_id: str, inputs: Sequence[Tensor], deadline: Deadline) -> Answer:
        header, buffers = self._request(request_id, inputs, deadline)
        encoded = orjson.dumps(header)
        headers = {**_BINARY, _HEADER_LENGTH: str(len(encoded))} if buffers else _JSON
        body, answered = self._exchange("POST", f"{self._model}/infer", headers, [encoded, *buffers], deadline)
        length = answered.getheader(_HEADER_LENGTH)
        if length is not None and not (length.isdecimal() and int(length) <= len(body)):
            raise ValueError(f"{_HEADER_LENGTH} must be at most the body's {len(body)} bytes, got '{length}'")
        view = memoryview(body)
        said, rest = (view, view[:0]) if length is None else (view[: int(length)], view[int(length) :])
        answer = _mapping(_json(said))
        return Answer(
            id=str(answer.get("id") or ""),
            model=str(answer.get("model_name") or ""),
            outputs=_tensors(answer.get("outputs"), {"rest": rest}),
            parameters=_mapping(answer.get("parameters")),
        )

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    def _request(
        self, request_id: str, inputs: Sequence[Tensor], deadline: Deadline
    ) -> tuple[dict[str, Any], list[Any]]:
        """Return the JSON header and the buffers that follow it."""
        if self._binary:
            sizes = [{"binary_data_size": len(tensor.data)} for tensor in inputs]
            listed = [
                {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "parameters": size}
                for tensor, size in zip(inputs, sizes, strict=True)
            ]
            header = {"id": request_id, "inputs": listed, "parameters": {"binary_data_output": True}}
            return header, [tensor.data for tensor in inputs]
        tensors = [pack(tensor, text=True) if self._packed else _listed(tensor) for tensor in inputs]
        parameters = {TIMEOUT: deadline.left_us()} if self._packed else {}
        listed = [tensor._asdict() for tensor in tensors]
        return {"id": request_id, "inputs": listed, "parameters": parameters}, []

    def _get(self, path: str, deadline: Deadline) -> Mapping[str, Any]:
        body, _ = self._exchange("GET", path, {}, [], deadline)
        return _mapping(_json(body))

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], buffers: Sequence[Any], deadline: Deadline
    ) -> tuple[bytearray, HTTPResponse]:
        """Send a request and return the body of its answer, and the answer."""
        body, answered = self._connection.exchange(method, self._address.base + path, headers, buffers, deadline)
        if answered.status == 200:
            return body, answered
        try:
            words = _mapping(_json(body))["error"]
        except (ValueError, KeyError):
            words = _excerpt(body)
        raise RefusedError(f"HTTP {answered.status}", str(words))


def _listed(tensor: Tensor) -> Tensor:
    """Return a raw tensor with its numbers in a list; NaN becomes null."""
    array: NDArray[Any] = np.frombuffer(tensor.data, DATATYPES[tensor.datatype])
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise InputError(f"input '{tensor.name}' has infinities, which JSON cannot carry; ask this server over gRPC")
    return tensor._replace(data=array.tolist())


def _tensors(listed: Any, binary: Mapping[str, memoryview]) -> list[Tensor]:
    """Return the tensors of an answer or a description; binary data are taken from the rest one after the other."""
    if not isinstance(listed, list):
        raise ValueError(f"tensors must be a list, got {_excerpt(repr(listed).encode())}")
    rest = binary.get("rest", memoryview(b""))
    tensors = []
    for entry in listed:
        said = _mapping(entry)
        name, datatype, shape = said.get("name"), said.get("datatype"), said.get("shape")
        lengths = shape if isinstance(shape, list) and all(type(length) is int for length in shape) else None
        if not isinstance(name, str) or not isinstance(datatype, str) or lengths is None:
            raise ValueError(f"a tensor must have name, datatype and shape, got {_excerpt(repr(said).encode())}")
        parameters = _mapping(said.get("parameters"))
        size = parameters.get("binary_data_size")
        data: Any = said.get("data", [])
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(rest):
                raise ValueError(f"'{name}' must have its {size} bytes in the answer, {len(rest)} are left")
            data, rest = rest[:size], rest[size:]
        elif not isinstance(data, list):
            raise ValueError(f"the data of '{name}' must be a list, got {_excerpt(repr(data).encode())}")
        tensors.append(Tensor(name, datatype, tuple(lengths), data, parameters))
    return tensors


def _json(text: Any) -> Any:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise ValueError(f"an answer must be JSON, got {_excerpt(bytes(text[:1000]))}") from error


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"an object of JSON was expected, got {_excerpt(repr(value).encode())}")
    return value


def _excerpt(body: Any) -> str:
    text = " ".join(bytes(body[: 10 * _EXCERPT]).decode(errors="replace").split())
    return repr(text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}...") if text else "nothing"
