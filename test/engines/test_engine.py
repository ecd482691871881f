"""What an engine says of its arrays, and which arrays fit that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import InputError

IMAGE = ArraySpec("image", (None, 3, 4), np.dtype(np.float32))


@pytest.mark.parametrize("length", [0, 1, 7])
def test_an_axis_without_a_length_takes_any(length: int) -> None:
    IMAGE.check(np.zeros((length, 3, 4), np.float32))


@pytest.mark.parametrize("shape", [(3, 4), (1, 1, 3, 4), (1, 3, 5), (1, 2, 4), ()])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as refused:
        IMAGE.check(np.zeros(shape, np.float32))
    assert str(refused.value) == f"input 'image' must be float32 [None, 3, 4], got float32 {list(shape)}"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8", ">f4", "complex64", "bool"])
def test_another_dtype_is_refused(dtype: Any) -> None:
    array = np.zeros((1, 3, 4), dtype)
    with pytest.raises(InputError) as refused:
        IMAGE.check(array)
    assert str(refused.value) == f"input 'image' must be float32 [None, 3, 4], got {array.dtype} [1, 3, 4]"
