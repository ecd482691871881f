"""Tensors of the Open Inference Protocol, addresses, and the back-off: what the remote engine rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from perf_inference.engines import ArraySpec
from perf_inference.engines.remote.backoff import Backoff
from perf_inference.engines.remote.tensors import DATATYPES, Tensor, array_of, pack, spec_of, tensor_of
from perf_inference.engines.remote.transport import Address
from perf_inference.errors import ConfigError, EngineError


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
@pytest.mark.parametrize("text", [None, False, True])
def test_an_array_comes_back_as_it_was(datatype: str, shape: tuple[int, ...], text: bool | None) -> None:
    array = np.random.default_rng(1).integers(0, 2, shape).astype(DATATYPES[datatype])
    spec = ArraySpec("x", (None,) * len(shape), array.dtype)
    tensor = tensor_of("x", array)
    if text is not None:
        tensor = pack(tensor, text)
    if text:
        tensor = Tensor(**orjson.loads(orjson.dumps(tensor._asdict())))
    back = array_of(tensor, spec)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_a_packed_array_is_exact() -> None:
    array = np.float32([np.nan, np.inf, -np.inf, -0.0, 1e-45])
    back = array_of(pack(tensor_of("x", array), text=True), ArraySpec("x", (5,), array.dtype))
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("offset", range(4))
def test_an_array_is_aligned_wherever_its_data_begin(offset: int) -> None:
    array = np.float32([1.5, 2.5])
    data = memoryview(bytearray(bytes(offset) + array.tobytes()))[offset:]
    back = array_of(Tensor("x", "FP32", (2,), data, {}), ArraySpec("x", (2,), array.dtype))
    assert back.flags.aligned
    np.testing.assert_array_equal(back, array)


def test_a_view_that_is_not_contiguous_is_sent_in_its_order() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T[::-1]
    np.testing.assert_array_equal(array_of(tensor_of("x", array), ArraySpec("x", (3, 2), array.dtype)), array)


@pytest.mark.parametrize(
    ("dtype", "data", "expected"),
    [
        ("float32", [1, 2.5], [1, 2.5]),
        ("float32", [[1.5], [None]], [1.5, np.nan]),
        ("float32", [1e300, 0], [np.inf, 0]),
        ("int64", [2**53 + 1, -1], [2**53 + 1, -1]),
        ("uint64", [2**64 - 1, 0], [2**64 - 1, 0]),
        ("bool", [True, False], [True, False]),
    ],
)
def test_a_list_of_numbers_is_read(dtype: str, data: list[Any], expected: list[Any]) -> None:
    spec = ArraySpec("x", (2,), np.dtype(dtype))
    array = array_of(Tensor("x", tensor_of("x", np.zeros(2, dtype)).datatype, (2,), data, {}), spec)
    np.testing.assert_array_equal(array, np.array(expected, dtype))


@pytest.mark.parametrize(
    ("dtype", "data", "message"),
    [
        ("float32", [1.0], "which is 2 elements, got 1"),
        ("float32", [[1.0], [2.0, 3.0]], "got a list that is no array"),
        ("float32", ["1", "2"], "got elements like '1'"),
        ("float32", [{}, None], "got elements like"),
        ("float32", [True, False], "got elements like 'True'"),
        ("int64", [1.5, 2.0], "got elements like '1.5'"),
        ("int64", [None, 1], "got elements like 'None'"),
        ("uint8", [256, 0], "outside its range"),
        ("uint8", [-1, 0], "outside its range"),
        ("int32", [2**70, 0], "got elements like"),
        ("uint64", [2**64 - 1, -1], "got elements like"),
        ("uint64", [2**64, 0], "got elements like"),
        ("bool", [1, 0], "got elements like '1'"),
    ],
)
def test_a_list_of_something_else_is_refused(dtype: str, data: list[Any], message: str) -> None:
    datatype = tensor_of("x", np.zeros(2, dtype)).datatype
    with pytest.raises(ValueError, match=message):
        array_of(Tensor("x", datatype, (2,), data, {}), ArraySpec("x", (2,), np.dtype(dtype)))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor("x", "FP32", (2,), bytes(7), {}), r"must be FP32 \[-1\], which is 8 bytes, got 7"),
        (Tensor("x", "FP64", (2,), bytes(16), {}), r"must be FP32 \[-1\], got FP64 \[2\]"),
        (Tensor("x", "FP32", (1, 2), bytes(8), {}), r"must be FP32 \[-1\], got FP32 \[1, 2\]"),
        (Tensor("x", "FP32", (-2,), bytes(8), {}), r"got FP32 \[-2\]"),
        (Tensor("x", "BYTES", (1,), ["AAAA"], {}), r"got BYTES \[1\]"),
        (Tensor("x", "BYTES", (1,), ["no base 64"], {"datatype": "FP32", "shape": "1"}), "one packed element"),
        (Tensor("x", "BYTES", (1,), ["AAAA", ""], {"datatype": "FP32", "shape": "1"}), "one packed element"),
        (Tensor("x", "BYTES", (1,), ["AAAA"], {"datatype": "FP32"}), "one packed element"),
        (Tensor("x", "BYTES", (1,), ["AAAA"], {"datatype": "FP32", "shape": "9"}), "which is 36 bytes, got 3"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        array_of(tensor, ArraySpec("x", (None,), np.dtype(np.float32)))


def test_a_tensor_that_is_no_array_has_no_spec() -> None:
    assert spec_of("x", "FP16", (-1, 3), owned=True) == ArraySpec("x", (None, 3), np.dtype(np.float16), owned=True)
    with pytest.raises(ValueError, match="'x' is BYTES; this package passes BOOL, UINT8"):
        spec_of("x", "BYTES", (1,), owned=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("grpc://host/m", ("grpc", "host", 8081, "", "m", "", "host:8081")),
        ("grpcs://[::1]:1/m", ("grpcs", "::1", 1, "", "m", "", "[::1]:1")),
        ("http://host:8000/v2/models/m/versions/2", ("http", "host", 8000, "", "m", "2", "host:8000")),
        ("https://host/behind/v2/models/m@3", ("https", "host", 443, "/behind", "m", "3", "host:443")),
        ("http://host/a%20b", ("http", "host", 8080, "", "a b", "", "host:8080")),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: tuple[Any, ...]) -> None:
    a = Address.of(url)
    assert (a.scheme, a.host, a.port, a.base, a.model, a.version, a.netloc) == expected


@pytest.mark.parametrize(
    "url",
    ["grpc://", "http://host", "http://host/a/b", "grpc://host:x/m", "http://h/m?a=1", "http://h/m@", "ftp://h/m"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="must be given as grpc://host:8081/MODEL"):
        Address.of(url)


def test_the_back_off_doubles_up_to_a_second_and_ends_with_a_success() -> None:
    now_ns = 0
    backoff = Backoff(lambda: now_ns)
    waits_ms = []
    for _ in range(8):
        backoff.failed("refused")
        begun_ns = now_ns
        while True:
            try:
                backoff.check("url")
                break
            except EngineError:
                now_ns += 1_000_000
        waits_ms.append((now_ns - begun_ns) // 1_000_000)
    assert waits_ms == [0, 50, 100, 200, 400, 800, 1000, 1000]
    backoff.failed("refused")
    with pytest.raises(EngineError, match=r"failed 9 times in a row \(the last time: refused\), .* in 1000 ms"):
        backoff.check("url")
    backoff.succeeded()
    backoff.check("url")
    backoff.failed("refused")
    backoff.check("url")
