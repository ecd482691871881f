"""The contract of `Engine` as checks that anybody's engine can be put to.

With pytest, one test for each check:

    from perf_inference.testing.engine_contract import CHECKS, Check, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_engine_keeps_the_contract(check: Check) -> None:
        check(Subject(lambda: MyEngine("model.bin")))

or all at once, with or without it:

    check_engine(lambda: MyEngine("model.bin"))

Each check makes its own engine (two where it says so) and closes it. One that finds a breach raises ContractError, an
AssertionError of one sentence; what the engine raises by itself passes through. Inputs are drawn at random in the
shapes of the specs, with length 1 for free axes; a model that needs others gets them: `Subject(make, (first, second))`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from perf_inference.engines.engine import PRECISIONS, Engine
from perf_inference.errors import EngineError, InputError
from perf_inference.testing.samples import LAYOUTS, Arrays, wrong_inputs
from perf_inference.testing.subject import (
    ContractError,
    Subject,
    changed,
    copy,
    different,
    expect,
    expect_same,
    stir_memory,
)

__all__ = ["CHECKS", "Check", "ContractError", "Subject", "check_engine"]

Check = Callable[[Subject], None]
_ROUNDS = 10


def check_engine(make: Callable[[], Engine], inputs: tuple[Arrays, Arrays] | None = None) -> None:
    """Put an engine to all checks; raise ContractError at the first breach."""
    for check in CHECKS:
        check(Subject(make, inputs))


def specs_are_well_formed(subject: Subject) -> None:
    """Inputs and outputs are tuples of specs with unique names, and stay readable after `close`."""
    engine = subject.make()
    engine.close()
    for kind, specs in (("inputs", engine.inputs), ("outputs", engine.outputs)):
        expect(isinstance(specs, tuple) and len(specs) > 0, f"{kind} must be a tuple of specs, got {specs!r}")
        names = [spec.name for spec in specs]
        expect(all(names) and len({*names}) == len(names), f"{kind} must have unique names, got {names}")
        for spec in specs:
            lengths_fit = all(length is None or (type(length) is int and length >= 0) for length in spec.shape)
            expect(
                isinstance(spec.shape, tuple) and lengths_fit,
                f"the shape of '{spec.name}' must be a tuple of lengths or None, got {spec.shape!r}",
            )
            expect(isinstance(spec.dtype, np.dtype), f"the dtype of '{spec.name}' must be NumPy's, got {spec.dtype!r}")


def info_is_filled(subject: Subject) -> None:
    """`info` names the model, the runtime, a known precision and the device; metadata are strings."""
    with closing(subject.make()) as engine:
        info = engine.info
    for field in ("name", "runtime", "device"):
        value = getattr(info, field)
        expect(isinstance(value, str) and value not in ("", "auto"), f"info.{field} must say what runs, got {value!r}")
    expect(info.precision in PRECISIONS, f"info.precision must be one of {PRECISIONS}, got {info.precision!r}")
    expect(
        all(isinstance(text, str) for item in info.metadata.items() for text in item),
        f"info.metadata must map strings to strings, got {info.metadata!r}",
    )


def outputs_fit_their_specs(subject: Subject) -> None:
    """There is an array for each output's spec and no other, of its shape and dtype."""
    with closing(subject.make()) as engine:
        for inputs in subject.samples(engine):
            outputs = engine.infer(inputs)
            names = [spec.name for spec in engine.outputs]
            expect(sorted(outputs) == sorted(names), f"outputs must be {sorted(names)}, got {sorted(outputs)}")
            for spec in engine.outputs:
                array = outputs[spec.name]
                expect(isinstance(array, np.ndarray), f"output '{spec.name}' must be an ndarray, got {type(array)}")
                expect(
                    spec.fits(array),
                    f"output '{spec.name}' must be {spec.dtype} {list(spec.shape)} as its spec says, "
                    f"got {array.dtype} {list(array.shape)}",
                )


def outputs_are_complete(subject: Subject) -> None:
    """What `infer` returns is there when it returns, and stays as it is until the next `infer`."""
    with closing(subject.make()) as engine:
        samples = subject.samples(engine)
        settled = []
        for inputs in samples:
            outputs = dict(engine.infer(inputs))  # only the arrays are kept, not what they came in
            at_return = copy(outputs)
            stir_memory(at_return)
            for name in changed(subject, outputs, at_return):
                raise ContractError(f"output '{name}' must be complete when infer returns, but it changed afterwards")
            settled.append(at_return)
        for _ in range(_ROUNDS):  # an engine that is late by little is late some time
            for inputs, expected in zip(samples, settled, strict=True):
                expect_same(subject, copy(engine.infer(inputs)), expected, "when infer returns")


def outputs_answer_the_inputs(subject: Subject) -> None:
    """The same input gives the same output again after another, which gives another output."""
    with closing(subject.make()) as engine:
        first, second = subject.samples(engine)
        to_first = copy(engine.infer(first))
        to_second = copy(engine.infer(second))
        expect(
            bool([*different(subject, to_first, to_second)]),
            "two different inputs must give different outputs, but these give the same; pass two inputs whose outputs "
            "differ: check_engine(make, (first, second))",
        )
        expect_same(subject, engine.infer(first), to_first, "for the same input after another one")
        expect_same(subject, engine.infer(second), to_second, "for the same input after another one")


def owned_outputs_stay(subject: Subject) -> None:
    """An output whose spec says `owned` is the caller's: later calls of `infer`, and `close`, leave it alone."""
    with closing(subject.make()) as engine:
        first, second = subject.samples(engine)
        outputs = engine.infer(first)
        owned = {spec.name: outputs[spec.name] for spec in engine.outputs if spec.owned}
        at_return = copy(owned)
        for _ in range(_ROUNDS):
            engine.infer(second)
        after_infer = [*changed(subject, owned, at_return)]
    expect(not after_infer, f"outputs {after_infer} must stay as their specs say owned, but the next infer wrote them")
    stir_memory(at_return)
    after_close = [*changed(subject, owned, at_return)]
    expect(not after_close, f"outputs {after_close} must stay as their specs say owned, but close changed them")


def inputs_are_left_alone(subject: Subject) -> None:
    """`infer` does not write into its inputs, and has read them when it returns."""
    with closing(subject.make()) as engine:
        first, second = subject.samples(engine)
        given = copy(first)
        expected = copy(engine.infer(given))
        for name in changed(subject, given, first):
            raise ContractError(f"input '{name}' must be left as it is, but infer changed it")
        outputs = engine.infer(given)
        for name, array in given.items():
            array[...] = second[name] if second[name].shape == array.shape else 0
        expect_same(subject, outputs, expected, "also when the caller writes its next inputs over these")


def inputs_of_any_layout_are_taken(subject: Subject) -> None:
    """Read-only, strided, reversed, transposed and unaligned arrays give what contiguous ones do."""
    with closing(subject.make()) as engine:
        inputs, other = subject.samples(engine)
        expected = copy(engine.infer(inputs))
        for layout, arranged in LAYOUTS.items():
            engine.infer(other)
            given = {name: arranged(array) for name, array in inputs.items()}
            try:
                outputs = engine.infer(given)
            except Exception as error:
                raise ContractError(f"{layout} inputs must be taken, but infer raised {error!r}") from error
            expect_same(subject, outputs, expected, f"for {layout} inputs")


def extra_inputs_are_ignored(subject: Subject) -> None:
    """An array that no spec names makes no difference."""
    with closing(subject.make()) as engine:
        inputs, _ = subject.samples(engine)
        expected = copy(engine.infer(inputs))
        try:
            outputs = engine.infer({**inputs, "an input that no spec names": np.zeros(3, np.complex64)})
        except Exception as error:
            raise ContractError(f"an input that no spec names must be ignored, but infer raised {error!r}") from error
        expect_same(subject, outputs, expected, "with an input that no spec names")


def wrong_inputs_are_refused(subject: Subject) -> None:
    """A missing input, a wrong shape or dtype is an InputError, and the engine goes on."""
    with closing(subject.make()) as engine:
        inputs, _ = subject.samples(engine)
        expected = copy(engine.infer(inputs))
        for wrong, given in wrong_inputs(engine.inputs, inputs):
            try:
                engine.infer(given)
            except InputError:
                pass
            except Exception as error:
                raise ContractError(f"{wrong} must raise InputError, but infer raised {error!r}") from error
            else:
                raise ContractError(f"{wrong} must raise InputError, but infer took it")
            expect_same(subject, engine.infer(inputs), expected, f"after {wrong}")


def any_thread_may_use_it(subject: Subject) -> None:
    """An engine may be made, used and closed by three different threads."""
    with ThreadPoolExecutor(1) as maker, ThreadPoolExecutor(1) as user:
        engine = maker.submit(subject.make).result()
        try:
            inputs, other = subject.samples(engine)
            expected = maker.submit(lambda: copy(engine.infer(inputs))).result()
            try:
                user.submit(engine.infer, other).result()
                outputs = user.submit(lambda: copy(engine.infer(inputs))).result()
            except Exception as error:
                raise ContractError(
                    f"infer must run in another thread than made the engine, but raised {error!r}"
                ) from error
            expect_same(subject, outputs, expected, "from another thread than made the engine")
        finally:
            engine.close()


def parts_fit_into_the_call(subject: Subject) -> None:
    """`parts_ns` maps names to durations, which together are no longer than the call was."""
    with closing(subject.make()) as engine:
        for inputs in subject.samples(engine):
            began_ns = time.monotonic_ns()
            engine.infer(inputs)
            taken_ns = time.monotonic_ns() - began_ns
            parts = dict(engine.parts_ns)
            expect(
                all(isinstance(name, str) and type(ns) is int and ns >= 0 for name, ns in parts.items()),
                f"parts_ns must map names to integers that are not negative, got {parts}",
            )
            expect(sum(parts.values()) <= taken_ns, f"parts_ns must fit into the call's {taken_ns} ns, got {parts}")


def two_engines_do_not_disturb_each_other(subject: Subject) -> None:
    """Two engines of one model, used in turn and at the same time, answer as one does; one outlives the other."""
    with closing(subject.make()) as engine:
        with closing(subject.make()) as other, ThreadPoolExecutor(2) as threads:
            first, second = subject.samples(engine)
            outputs = engine.infer(first)
            to_first = copy(outputs)
            to_second = copy(other.infer(second))
            for name in changed(subject, outputs, to_first):
                raise ContractError(f"output '{name}' must stay until its own engine's next infer, not another's")

            def repeat(which: Engine, inputs: Arrays) -> list[Arrays]:
                return [copy(which.infer(inputs)) for _ in range(_ROUNDS)]

            at_once = [threads.submit(repeat, engine, first), threads.submit(repeat, other, second)]
            for answers, expected in zip(at_once, (to_first, to_second), strict=True):
                for answer in answers.result():
                    expect_same(subject, answer, expected, "while another engine of the same model runs")
        expect_same(subject, engine.infer(first), to_first, "after another engine of the same model was closed")


def a_closed_engine_refuses(subject: Subject) -> None:
    """`close` may be called again; `infer` after it is an EngineError."""
    engine = subject.make()
    inputs, _ = subject.samples(engine)
    engine.infer(inputs)
    engine.close()
    try:
        engine.close()
    except Exception as error:
        raise ContractError(f"a second close must do nothing, but it raised {error!r}") from error
    try:
        engine.infer(inputs)
    except EngineError:
        return
    except Exception as error:
        raise ContractError(f"infer after close must raise EngineError, but it raised {error!r}") from error
    raise ContractError("infer after close must raise EngineError, but it answered")


CHECKS: tuple[Check, ...] = (
    specs_are_well_formed,
    info_is_filled,
    outputs_fit_their_specs,
    outputs_are_complete,
    outputs_answer_the_inputs,
    owned_outputs_stay,
    inputs_are_left_alone,
    inputs_of_any_layout_are_taken,
    extra_inputs_are_ignored,
    wrong_inputs_are_refused,
    any_thread_may_use_it,
    parts_fit_into_the_call,
    two_engines_do_not_disturb_each_other,
    a_closed_engine_refuses,
)
