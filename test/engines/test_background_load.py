"""Loading a runtime beside other threads: short turns while anybody loads, the usual ones again afterwards."""

from __future__ import annotations

import sys

from perf_inference.engines.background_load import loading_beside
from perf_inference.engines.runtimes import RUNTIMES


def test_turns_are_short_until_the_last_has_loaded() -> None:
    usual_s = sys.getswitchinterval()
    first, second = loading_beside(RUNTIMES["onnx"]), loading_beside(RUNTIMES["onnx"])
    first.__enter__()
    second.__enter__()
    short_s = sys.getswitchinterval()
    assert short_s < usual_s
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == short_s
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == usual_s


def test_a_library_that_is_not_there_is_left_to_the_import() -> None:
    with loading_beside(RUNTIMES["tensorrt"]):
        pass
