"""Arrays as tensors of the Open Inference Protocol, and back.

The protocol has a tensor's bytes raw in gRPC and in HTTP's binary extension, and a list of numbers in plain JSON:
https://github.com/kserve/open-inference-protocol. A server that turns all of them into Python lists, as MLServer does,
may take packed ones instead (its model says so by the parameter `packed_tensors`): one BYTES element that holds the
array's memory, base64 in JSON, with `datatype` and `shape` among the tensor's parameters. They are exact, NaN and
infinities too, and cost a copy instead of a Python number for each element.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec

DATATYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
_NAMES = {np.dtype(dtype): name for name, dtype in DATATYPES.items()}
BYTES = "BYTES"
PACKED = "packed_tensors"
TIMEOUT = "timeout"  # a parameter of a request, as Triton has it: after so long nobody waits for the answer [us]
SERVER_NS = "server_ns"  # a parameter of an answer: how long the server worked on it, on its own clock


class Tensor(NamedTuple):
    """A tensor as it crosses the wire."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any  # raw: bytes-like, little-endian, C order; else a list, nested or flat
    parameters: Mapping[str, Any]


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a dtype."""
    return _NAMES[dtype]


def spec_of(name: str, datatype: str, shape: Sequence[int], owned: bool) -> ArraySpec:
    """Return the spec of a tensor that a server tells of; -1 is any length.

    Raises:
        ValueError: a datatype that is no array's.
    """
    if datatype not in DATATYPES:
        raise ValueError(f"'{name}' is {datatype}; this package passes {', '.join(DATATYPES)}")
    lengths = tuple(None if length < 0 else int(length) for length in shape)
    return ArraySpec(name, lengths, np.dtype(DATATYPES[datatype]), owned)


def tensor_of(name: str, array: NDArray[Any]) -> Tensor:
    """Return the array as a raw tensor, a view where the array is contiguous."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return Tensor(name, _NAMES[array.dtype], array.shape, raw, {})


def pack(tensor: Tensor, text: bool) -> Tensor:
    """Return a raw tensor as a packed one.

    Args:
        text: in base64, for JSON.
    """
    element = base64.b64encode(tensor.data).decode() if text else bytes(tensor.data)
    parameters = {"datatype": tensor.datatype, "shape": ",".join(map(str, tensor.shape))}
    return Tensor(tensor.name, BYTES, (1,), [element], parameters)


def unpack(tensor: Tensor) -> Tensor:
    """Return a packed tensor as a raw one, and any other as it is.

    Raises:
        ValueError: it is not as `pack` makes it.
    """
    if tensor.datatype != BYTES or "datatype" not in tensor.parameters:
        return tensor
    try:
        (element,) = tensor.data
        data = bytearray(base64.b64decode(element, validate=True) if isinstance(element, str) else element)
        shape = tuple(int(length) for length in str(tensor.parameters["shape"]).split(",") if length)
        return Tensor(tensor.name, str(tensor.parameters["datatype"]), shape, data, {})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{tensor.name}' must be one packed element with its datatype and shape: {error}") from error


def array_of(tensor: Tensor, spec: ArraySpec) -> NDArray[Any]:
    """Return the tensor's array: a view of raw data where they are aligned, else a new one.

    Raises:
        ValueError: it does not fit the spec, or its data do not fit what it says of itself.
    """
    tensor = unpack(tensor)
    wanted = f"'{spec.name}' must be {_NAMES[spec.dtype]} {[-1 if n is None else n for n in spec.shape]}"
    fits = len(tensor.shape) == len(spec.shape) and all(
        have >= 0 if want is None else want == have for want, have in zip(spec.shape, tensor.shape, strict=True)
    )
    if not fits or tensor.datatype != _NAMES[spec.dtype]:
        raise ValueError(f"{wanted}, got {tensor.datatype} {list(tensor.shape)}")
    count = math.prod(tensor.shape)
    if isinstance(tensor.data, list):
        return _numbers(tensor.data, count, spec.dtype, wanted).reshape(tensor.shape)
    if len(tensor.data) != count * spec.dtype.itemsize:
        raise ValueError(f"{wanted}, which is {count * spec.dtype.itemsize} bytes, got {len(tensor.data)}")
    array: NDArray[Any] = np.frombuffer(tensor.data, spec.dtype).reshape(tensor.shape)
    return array if array.flags.aligned else array.copy()  # it may begin anywhere in an answer


def _numbers(data: list[Any], count: int, dtype: np.dtype[Any], wanted: str) -> NDArray[Any]:
    """Return a list of JSON or protobuf numbers as a flat array; null is NaN, and nothing else is converted."""
    try:
        found = np.array(data)
    except ValueError as error:  # ragged
        raise ValueError(f"{wanted}, got a list that is no array") from error
    if found.size != count:
        raise ValueError(f"{wanted}, which is {count} elements, got {found.size}")
    if count == 0:
        return np.empty(0, dtype)
    if dtype.kind == "f" and found.dtype.kind == "O" and not set(map(type, found.flat)) - {float, int, type(None)}:
        found = found.astype(np.float64)
    if dtype == np.uint64 and found.dtype.kind == "f":  # numbers on both sides of 2**63 have no common integer type
        exact = np.array(data, object)
        if set(map(type, exact.flat)) == {int} and exact.min() >= 0:
            found = exact.astype(np.uint64)
    allowed = {"f": "fiu", "b": "b"}.get(dtype.kind, "iu")
    if found.dtype.kind not in allowed:
        raise ValueError(f"{wanted}, got elements like {str(found.flat[0])[:40]!r}")
    with np.errstate(over="ignore"):
        array = found.astype(dtype).reshape(-1)
    if dtype.kind in "iu" and not np.array_equal(array, found.reshape(-1)):
        raise ValueError(f"{wanted}, got elements outside its range")
    return array
