"""The engine contract lets sound engines pass, and each of its checks finds the engine that breaks it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support import onnx_models

from perf_inference.engines import ArraySpec, EngineInfo, Options, load
from perf_inference.engines.engine import NO_PARTS, check_inputs
from perf_inference.errors import EngineError, InputError
from perf_inference.testing import engine_contract as contract
from perf_inference.testing.engine_contract import CHECKS, Check, ContractError, Subject, check_engine

Arrays = Mapping[str, NDArray[Any]]
_SIZE = 6


class Sound:
    """y = 2 x + 1 in numpy, done as the contract says."""

    inputs: tuple[ArraySpec, ...] = (ArraySpec("x", (2, _SIZE), np.dtype(np.float32)),)
    outputs: tuple[ArraySpec, ...] = (ArraySpec("y", (2, _SIZE), np.dtype(np.float32), owned=True),)
    info = EngineInfo("sound", "numpy", "fp32", "cpu", {})
    parts_ns: Mapping[str, int] = NO_PARTS
    closed = False

    def infer(self, inputs: Arrays) -> Arrays:
        if self.closed:
            raise EngineError("closed")
        check_inputs(self.inputs, inputs)
        return {"y": self.answer(inputs["x"])}

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        return 2 * x + 1

    def close(self) -> None:
        self.closed = True


class LateInABufferOfItsOwn(Sound):
    """Returns before its outputs are ready: another thread writes them, as a device would."""

    outputs = (ArraySpec("y", (2, _SIZE), np.dtype(np.float32)),)

    def __init__(self) -> None:
        self._buffer = np.zeros((2, _SIZE), np.float32)
        self._writers: list[threading.Timer] = []

    def buffer(self) -> NDArray[Any]:
        return self._buffer

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        buffer = self.buffer()
        writer = threading.Timer(0.01, np.copyto, (buffer, 2 * x + 1))
        writer.start()
        self._writers.append(writer)
        return buffer

    def close(self) -> None:
        super().close()
        for writer in self._writers:
            writer.join()


class LateInAFreshBuffer(LateInABufferOfItsOwn):
    def buffer(self) -> NDArray[Any]:
        return np.zeros((2, _SIZE), np.float32)


class ReusesWhatItCallsOwned(Sound):
    def __init__(self) -> None:
        self._buffer = np.zeros((2, _SIZE), np.float32)

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        np.copyto(self._buffer, 2 * x + 1)
        return self._buffer


class FreesWhatItCallsOwned(Sound):
    """Its outputs are views of a pool that `close` gives back, and somebody else writes to."""

    def __init__(self) -> None:
        self._pool = np.zeros((1000, 2, _SIZE), np.float32)
        self._used = 0

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        view = self._pool[self._used]
        self._used += 1
        np.copyto(view, 2 * x + 1)
        return view

    def close(self) -> None:
        super().close()
        self._pool[...] = np.nan


class ViewsThatDieWithTheirMapping(Sound):
    """Its arrays are good as long as the mapping that they came in: then their memory is used again."""

    class Lent(dict[str, NDArray[Any]]):
        def __del__(self) -> None:
            for array in self.values():
                array[...] = -1

    def infer(self, inputs: Arrays) -> Arrays:
        return self.Lent(super().infer(inputs))


class WrongShape(Sound):
    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        return super().answer(x)[0]


class WrongDtype(Sound):
    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        return super().answer(x).astype(np.float64)


class OneOutputTooMany(Sound):
    def infer(self, inputs: Arrays) -> Arrays:
        return {**super().infer(inputs), "z": np.zeros(1)}


class WritesItsInput(Sound):
    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        result = super().answer(x)
        if x.flags.writeable:
            x[...] = 0
        return result


class ReturnsViewsOfItsInput(Sound):
    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        return x[:]


class OneCallBehind(Sound):
    def __init__(self) -> None:
        self._next = np.zeros((2, _SIZE), np.float32)

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        result, self._next = self._next, super().answer(x)
        return result


class AlwaysTheSame(Sound):
    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.ones((2, _SIZE), np.float32)


class ReadsMemoryInOrder(Sound):
    """Takes the bytes as they lie in memory, as a runtime does that is handed a pointer."""

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        base = x
        while isinstance(base.base, np.ndarray):
            base = base.base
        return super().answer(np.frombuffer(base.tobytes(), np.float32, 2 * _SIZE).reshape(2, _SIZE))


class WantsToWrite(Sound):
    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        if not x.flags.writeable:
            raise ValueError("read-only")
        return super().answer(x)


class TakesNoExtra(Sound):
    def infer(self, inputs: Arrays) -> Arrays:
        if set(inputs) != {"x"}:
            raise InputError("unknown input")
        return super().infer(inputs)


class ChecksNothing(Sound):
    def infer(self, inputs: Arrays) -> Arrays:
        if self.closed:
            raise EngineError("closed")
        return {"y": self.answer(inputs["x"])}


class IsDoneAfterABadInput(Sound):
    def infer(self, inputs: Arrays) -> Arrays:
        try:
            return super().infer(inputs)
        except InputError:
            self.answer = lambda x: np.full((2, _SIZE), np.nan, np.float32)  # type: ignore[method-assign]
            raise


class KeepsToItsThread(Sound):
    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        if threading.get_ident() != self._thread:
            raise RuntimeError("no context in this thread")
        return super().answer(x)


class TakesLongerThanItself(Sound):
    parts_ns: Mapping[str, int] = {"compute": 10**12}


class TakesLessThanNothing(Sound):
    parts_ns: Mapping[str, int] = {"network": -1}


class SharesABuffer(Sound):
    outputs = (ArraySpec("y", (2, _SIZE), np.dtype(np.float32)),)
    _buffer: ClassVar[NDArray[Any]] = np.zeros((2, _SIZE), np.float32)

    def answer(self, x: NDArray[Any]) -> NDArray[Any]:
        np.copyto(self._buffer, 2 * x + 1)
        return self._buffer


class ClosesOnce(Sound):
    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        super().close()


class AnswersWhenClosed(Sound):
    def close(self) -> None: ...


class FailsStrangelyWhenClosed(Sound):
    def infer(self, inputs: Arrays) -> Arrays:
        if self.closed:
            raise AttributeError("'NoneType' object has no attribute 'run'")
        return super().infer(inputs)


class SaysNotWhereItRuns(Sound):
    info = EngineInfo("sound", "numpy", "fp32", "auto", {})


class HasNoKnownPrecision(Sound):
    info = EngineInfo("sound", "numpy", "float32", "cpu", {})


class HasTwoOfOneName(Sound):
    inputs = Sound.inputs * 2


BROKEN: list[tuple[type[Sound], Check, str]] = [
    (HasTwoOfOneName, contract.specs_are_well_formed, "unique names"),
    (SaysNotWhereItRuns, contract.info_is_filled, "info.device must say what runs, got 'auto'"),
    (HasNoKnownPrecision, contract.info_is_filled, "info.precision must be one of"),
    (WrongShape, contract.outputs_fit_their_specs, r"must be float32 \[2, 6\] as its spec says, got float32 \[6\]"),
    (WrongDtype, contract.outputs_fit_their_specs, r"must be float32 .* got float64 \[2, 6\]"),
    (OneOutputTooMany, contract.outputs_fit_their_specs, r"outputs must be \['y'\], got \['y', 'z'\]"),
    (LateInABufferOfItsOwn, contract.outputs_are_complete, "must be complete when infer returns"),
    (LateInAFreshBuffer, contract.outputs_are_complete, "must be complete when infer returns"),
    (ViewsThatDieWithTheirMapping, contract.outputs_are_complete, "must be the same when infer returns"),
    (OneCallBehind, contract.outputs_are_complete, "must be the same when infer returns"),
    (OneCallBehind, contract.outputs_answer_the_inputs, "for the same input after another one"),
    (AlwaysTheSame, contract.outputs_answer_the_inputs, "pass two inputs whose outputs differ"),
    (ReusesWhatItCallsOwned, contract.owned_outputs_stay, r"\['y'\] must stay .* but the next infer wrote them"),
    (FreesWhatItCallsOwned, contract.owned_outputs_stay, r"\['y'\] must stay .* but close changed them"),
    (WritesItsInput, contract.inputs_are_left_alone, "input 'x' must be left as it is"),
    (ReturnsViewsOfItsInput, contract.inputs_are_left_alone, "when the caller writes its next inputs over these"),
    (ReadsMemoryInOrder, contract.inputs_of_any_layout_are_taken, "for strided inputs"),
    (WantsToWrite, contract.inputs_of_any_layout_are_taken, "read-only inputs must be taken"),
    (TakesNoExtra, contract.extra_inputs_are_ignored, "must be ignored"),
    (ChecksNothing, contract.wrong_inputs_are_refused, "a missing 'x' must raise InputError"),
    (IsDoneAfterABadInput, contract.wrong_inputs_are_refused, "must be the same after a missing 'x'"),
    (KeepsToItsThread, contract.any_thread_may_use_it, "must run in another thread than made the engine"),
    (TakesLongerThanItself, contract.parts_fit_into_the_call, "must fit into the call's"),
    (TakesLessThanNothing, contract.parts_fit_into_the_call, "not negative"),
    (SharesABuffer, contract.two_engines_do_not_disturb_each_other, "its own engine's next infer"),
    (ClosesOnce, contract.a_closed_engine_refuses, "a second close must do nothing"),
    (AnswersWhenClosed, contract.a_closed_engine_refuses, "but it answered"),
    (FailsStrangelyWhenClosed, contract.a_closed_engine_refuses, "must raise EngineError, but it raised Attribute"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_engine_passes(check: Check) -> None:
    check(Subject(Sound))


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "check", "message"), BROKEN, ids=[broken.__name__ for broken, *_ in BROKEN])
def test_a_broken_engine_is_found(broken: type[Sound], check: Check, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check(Subject(broken))


@pytest.mark.slow
def test_all_checks_at_once_find_the_same() -> None:
    check_engine(Sound)
    with pytest.raises(ContractError, match="must be the same for strided inputs"):
        check_engine(ReadsMemoryInOrder)


def test_each_check_is_shown_to_find_something() -> None:
    assert {check for _, check, _ in BROKEN} == {*CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("model", ["policy", "detector", "captioner"])
def test_onnx_engines_keep_the_contract(model: str, check: Check) -> None:
    check(Subject(lambda: load(model, "onnx", Options(threads=1)), settle_s=0.02))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_onnx_engine_with_free_axes_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    shape = ["batch", 3]
    model = onnx_models.save(
        tmp_path / "tiny.onnx",
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.INT64)],
        [helper.make_tensor_value_info("a", TensorProto.FLOAT16, shape),
         helper.make_tensor_value_info("b", TensorProto.FLOAT16, [1])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT16, shape),
         helper.make_tensor_value_info("y", TensorProto.INT64, shape)], {}, {},
    )  # fmt: skip
    three, two = ({"a": np.full((rows, 3), rows, np.float16), "b": np.ones(1, np.float16)} for rows in (3, 2))
    check(Subject(lambda: load(str(model)), (three, two), settle_s=0.02))


def test_the_contract_needs_numpy_alone() -> None:
    script = (
        "import sys; from perf_inference.testing import engine_contract; "
        "print(sorted({'pytest', 'onnxruntime', 'onnx', 'torch', 'cv2', 'rclpy'} & {*sys.modules}))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"
