"""A heartbeat: what is published is what is read, and what anybody may send instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf_inference.measure.heartbeat import TEXTS, TICK, Heartbeat, InputState
from perf_inference.measure.ledger import Counts
from perf_inference.measure.stamps import Scalar

COUNTS = Counts(received=20, processed=15, replaced=2, rejected=1, failed=1, waiting=1, lost_before=3)
IMAGE = InputState(
    COUNTS.as_dict(), "/image", "nothing on /image for 1.5 s", 1.5, None, {"frame_rate_node": 9.9, "mine": "x"}
)
REAL = Heartbeat(
    "yolo", "onnxruntime", "fp32", "cpu", "image", 15, None, 10.0, 100.0, 15, 2, 5.0, None, 9.0, 4.0, None, 8.0, 15,
    {"image": IMAGE, "front.force": InputState({"received": 4, "lost_before": None}, "/force", lost_unknown="Humble")},
    {"swap": "idle", "swaps": 0, "swap_ms": None},
)  # fmt: skip


def test_the_keys_of_a_heartbeat() -> None:
    assert REAL.as_values() == {
        "engine": "yolo", "runtime": "onnxruntime", "precision": "fp32", "device": "cpu", "driven_by": "image",
        "inferences": 15, "rate_hz": None, "expected_hz": 10.0, "deadline_ms": 100.0, "deadlines": 15,
        "deadline_misses": 2, "latency_p50_ms": 5.0, "latency_p90_ms": None, "latency_max_ms": 9.0,
        "total_p50_ms": 4.0, "total_p90_ms": None, "total_max_ms": 8.0, "samples": 15,
        "swap": "idle", "swaps": 0, "swap_ms": None,
        "ledger.image.received": 20, "ledger.image.processed": 15, "ledger.image.replaced": 2,
        "ledger.image.rejected": 1, "ledger.image.failed": 1, "ledger.image.ignored": 0, "ledger.image.waiting": 1,
        "ledger.image.in_work": 0, "ledger.image.published": 0, "ledger.image.implausible_stamps": 0,
        "ledger.image.lost_before": 3, "ledger.image.message_lost": 0, "ledger.image.residual": 0,
        "image_age_s": 1.5, "input.image.topic": "/image", "input.image.problem": "nothing on /image for 1.5 s",
        "input.image.frame_rate_node": 9.9, "input.image.mine": "x",
        "ledger.front.force.received": 4, "ledger.front.force.lost_before": None,
        "front.force_lost_unknown": "Humble", "front.force_age_s": None, "input.front.force.topic": "/force",
        "input.front.force.problem": None,
    }  # fmt: skip
    assert Heartbeat.of(REAL.as_values()) == REAL


numbers = st.none() | st.floats(-9e14, 9e14) | st.integers(-(10**14), 10**14)
counts = st.integers(0, 2**63 - 1)
names = st.text("abc_", min_size=1, max_size=5).map(lambda text: f"in_{text}")
inputs = st.builds(
    InputState, st.dictionaries(st.sampled_from(list(Counts().as_dict())), counts | st.none(), max_size=4),
    st.text(max_size=5), st.none() | st.text(), numbers, st.none() | st.text(),
    st.dictionaries(st.sampled_from(["frame_rate_node", "expected_frequency", "mine"]), numbers, max_size=3),
)  # fmt: skip
ticks = st.builds(InputState, st.dictionaries(st.sampled_from(["received", "replaced"]), counts, min_size=1))
heartbeats = st.builds(
    Heartbeat, *[st.text(max_size=5)] * 5, counts, *[numbers] * 3, counts, counts, *[numbers] * 6, counts,
    st.dictionaries(names, inputs, max_size=3) | st.dictionaries(st.just(TICK), ticks),
    st.dictionaries(st.sampled_from(["records", "swap", "bytes"]), numbers | st.text(), max_size=3),
)  # fmt: skip


@given(heartbeats)
def test_what_is_published_is_what_is_read(beat: Heartbeat) -> None:
    assert Heartbeat.of(beat.as_values()) == beat


keys = (
    st.sampled_from([*REAL.as_values(), *TEXTS, "ledger..x", "ledger.x", "input.", "input.a.problem", "a_age_s"])
    | st.text(".abz_", max_size=8)
)  # fmt: skip
anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(keys, anything))
def test_nothing_that_is_sent_raises_or_disappears(values: dict[str, Any]) -> None:
    beat = Heartbeat.of(values)
    for name, state in beat.inputs.items():
        assert all(state.count(counter) >= 0 for counter in beat.loss_counters(name))
    shown = beat.as_values()
    known = {key: repr(value) for key, value in values.items() if value is not None}
    assert {key: repr(value) for key, value in shown.items() if value is not None} == known


@pytest.mark.parametrize("wrong", ["x", 1e308, -1e308, float("nan"), float("inf"), True])
def test_a_number_that_cannot_be_is_not_known_and_still_shown(wrong: Scalar) -> None:
    beat = Heartbeat.of({"engine": "e", "deadline_ms": wrong, "rate_hz": 9})
    assert (beat.deadline_ms, beat.rate_hz) == (None, 9)
    assert beat.as_values()["deadline_ms"] is wrong


@pytest.mark.parametrize("wrong", ["x", -1, 1.5, 2**63, True, None])
def test_a_count_that_cannot_be_is_not_known_and_still_shown(wrong: Scalar) -> None:
    beat = Heartbeat.of({"inferences": wrong, "ledger.image.received": wrong})
    assert (beat.inputs.get("image", InputState()).count("received"), beat.inferences) == (0, None)
    assert beat.others["inferences"] is wrong


def test_missing_keys_are_none_and_a_node_without_an_engine_says_none_of_them() -> None:
    values: dict[str, Scalar] = {"records": 5, "directory": "/data", "lost_before": 0}
    assert Heartbeat.of(values) == Heartbeat(others=values)
    assert Heartbeat.of(values).as_values() == values
    assert Heartbeat.of({}) == Heartbeat()


def test_being_replaced_is_a_loss_of_what_drives_the_engine_only() -> None:
    lost = {name: sum(map(IMAGE.count, REAL.loss_counters(name))) for name in ("image", "force")}
    assert lost == {"image": 3 + 1 + 1 + 2, "force": 3 + 1 + 1}
    assert "replaced" in replace(REAL, driven_by=TICK).loss_counters(TICK)


def test_a_figure_is_what_others_can_be_divided_by() -> None:
    assert (IMAGE.figure("frame_rate_node"), IMAGE.figure("mine"), IMAGE.figure("missing")) == (9.9, None, None)
    assert InputState(figures={"rate": 1e308}).figure("rate") is None


def test_the_nodes_own_part_keeps_the_ledger_that_drives_it() -> None:
    own = REAL.of_node().as_values()
    assert [key for key in own if "image" in key] == [f"ledger.image.{counter}" for counter in COUNTS.as_dict()]
    assert not [key for key in own if "force" in key]
    ticks = replace(REAL, driven_by=TICK, inputs={TICK: InputState({"received": 9}), "image": IMAGE})
    assert [key for key in ticks.of_node().as_values() if "." in key] == ["ledger.tick.received"]


def test_the_largest_residual_has_its_sign() -> None:
    inputs = {name: InputState({"residual": value}) for name, value in {"a": 1, "b": -3, "c": "x", "d": None}.items()}
    assert (Heartbeat(inputs=inputs).residual, Heartbeat().residual) == (-3, 0)
