"""What a policy sees: fields, names, transforms, windows by time stamp; live messages and decoded ones alike."""

from __future__ import annotations

import math
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.policy_models import network

from perf_inference import engines
from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.contract.contract import Ranges
from perf_inference.tasks.policy.contract.parse import parse_contract
from perf_inference.tasks.policy.observing import transforms
from perf_inference.tasks.policy.observing.fields import numbers_at
from perf_inference.tasks.policy.observing.observer import Context, Observer, Seen
from perf_inference.tasks.policy.observing.track import Track, grid_ns, pick

MS = 1_000_000
ACTIONS = "\nactions:\n- {output: a, kind: velocity, names: [shoulder, elbow]}\n"


def seen(text: str, messages: list[tuple[int, Any]], end_ms: float) -> Seen:
    """Return the observation of a contract's first term and these messages (stamp [ms], message)."""
    return observer(text, messages).look(round(end_ms * MS), Context())


def observer(
    text: str, messages: list[tuple[int, Any]], disorder_ms: int = 50, place: int = 0, extra: str = ""
) -> Observer:
    contract = parse_contract(f"observations:\n{text}{ACTIONS}", "c")
    made = Observer(contract, {}, disorder_ms * MS, 1_000_000_000, 2)
    for i, (stamp_ms, message) in enumerate(messages):
        made.add(0, stamp_ms * MS, message, i)
    return made


def joints(names: str, position: Any, velocity: Any = ()) -> SimpleNamespace:
    """Return a JointState of one-letter names."""
    return SimpleNamespace(name=list(names), position=array("d", position), velocity=array("d", velocity))


def floats(*values: float) -> SimpleNamespace:
    return SimpleNamespace(data=array("d", values))


JOINTS = "- {input: x, topic: j, type: sensor_msgs/msg/JointState, names: [a, b], fields: [position, velocity]%s}"
DATA = "- {input: x, topic: t, type: std_msgs/msg/Float64MultiArray, fields: [data]%s}"


# fields ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoded", [False, True])
def test_fields_are_picked_by_path_of_messages_and_of_decoded_ones(decoded: bool) -> None:
    def value(**fields: Any) -> Any:
        return dict(fields) if decoded else SimpleNamespace(**fields)

    message = value(
        wrench=value(force=value(x=1.0, y=2.0, z=3.0)),
        data=[0.0, 1.0, 2.0, 3.0] if decoded else array("d", [0, 1, 2, 3]),
        points=[value(positions=[7.0, 8.0])],
        flag=True,
    )
    assert numbers_at(message, "wrench.force.x").tolist() == [1.0]
    assert numbers_at(message, "data[1:3]").tolist() == [1.0, 2.0]
    assert numbers_at(message, "data[-1]").tolist() == [3.0]
    assert numbers_at(message, "data[:2]").tolist() == [0.0, 1.0]
    assert numbers_at(message, "points[0].positions").tolist() == [7.0, 8.0]
    assert numbers_at(message, "flag").tolist() == [1.0]
    for path in ("nothing", "data[9]", "wrench.torque.x", "flag[0]"):
        with pytest.raises(InputError, match="a message must have the field"):
            numbers_at(message, path)


def test_all_numbers_of_a_message_but_headers_and_covariances() -> None:
    message = {"header": {"stamp": {"sec": 1}}, "child_frame_id": "b", "pose": {"x": 1.0}, "covariance": [0.0] * 36}
    assert numbers_at(message, "").tolist() == [1.0]


def test_a_text_is_no_number() -> None:
    with pytest.raises(InputError, match="must be numbers, got str"):
        numbers_at({"data": "1"}, "data")


# names ----------------------------------------------------------------------------------------------------------------


def test_names_are_picked_in_any_order_and_others_ignored() -> None:
    got = seen(JOINTS % "", [(0, joints("zba", [9, 2, 1], [90, 20, 10]))], 0)
    assert got.arrays["x"].tolist() == [[1, 2, 10, 20]]


def test_joints_spread_over_messages_are_merged() -> None:
    made = observer(JOINTS % "", [(0, joints("a", [1], [10]))])
    assert made.missing(0) == "no accepted sample yet: b on j"
    made.add(0, 5 * MS, joints("b", [2], [20]))
    assert made.look(5 * MS, Context()).arrays["x"].tolist() == [[1, 2, 10, 20]]
    assert not made.add(0, 6 * MS, joints("z", [3], [30]))  # none of ours
    assert made.series[0].newest_ns() == 0  # as old as its oldest joint


def test_a_velocity_that_is_left_out_or_no_number_is_the_difference() -> None:
    expected = [[1.5, 2.0, 50.0, 0.0]]  # 0.5 in 10 ms, and a joint that stands
    left_out = seen(JOINTS % "", [(0, joints("ab", [1, 2])), (10, joints("ab", [1.5, 2]))], 10)
    nan = [math.nan, math.nan]
    no_number = seen(JOINTS % "", [(0, joints("ab", [1, 2], nan)), (10, joints("ab", [1.5, 2], nan))], 10)
    assert left_out.arrays["x"].tolist() == no_number.arrays["x"].tolist() == expected
    late = seen(JOINTS % "", [(10, joints("ab", [1.5, 2])), (0, joints("ab", [1, 2]))], 10)
    assert late.arrays["x"].tolist() == expected  # whatever the order in which they came
    first = seen(JOINTS % "", [(0, joints("ab", [1, 2]))], 0)
    assert first.arrays["x"].tolist() == [[1, 2, 0, 0]]


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (joints("ab", [1, math.nan], [0, 0]), "position of 'b' must be finite"),
        (joints("ab", [1, 2], [0, math.inf]), "velocity of 'b' must be finite"),
        (joints("ab", [1], [0, 0]), "position of j must have 2 values, as names are, got 1"),
        (joints("ab", [1, 2], [0]), "velocity of j must have 2 values"),
        (joints("aa", [1, 2], [0, 0]), "each name once"),
        (floats(1.0), "must have names to pick from"),
    ],
)
def test_a_message_that_cannot_be_used_changes_nothing(message: Any, what: str) -> None:
    made = observer(JOINTS % "", [(0, joints("ab", [1, 2], [3, 4]))])
    with pytest.raises(InputError, match=what):
        made.add(0, MS, message)
    assert made.look(MS, Context()).arrays["x"].tolist() == [[1, 2, 3, 4]]


def test_without_names_another_order_is_refused_and_not_mixed_up() -> None:
    text = "- {input: x, topic: j, type: sensor_msgs/msg/JointState}"
    made = observer(text, [(0, joints("ab", [1, 2]))])
    with pytest.raises(InputError, match="named a, b before and b, a now; give this observation `names`"):
        made.add(0, MS, joints("ba", [1, 2]))


def test_a_sample_of_another_length_or_not_finite_is_refused() -> None:
    made = observer(DATA % "", [(0, floats(1, 2))])
    with pytest.raises(InputError, match="must have 2 values as before, got 3"):
        made.add(0, MS, floats(1, 2, 3))
    with pytest.raises(InputError, match="must be finite"):
        made.add(0, MS, floats(1, math.nan))


# transforms -----------------------------------------------------------------------------------------------------------

HALF = math.sqrt(0.5)
TURN_Z = np.array([0, 0, HALF, HALF])  # 90 degrees about z


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("gravity", [0, 0, 0, 1], [0, 0, -1]),
        ("gravity", [HALF, 0, 0, HALF], [0, -1, 0]),  # rolled left by 90 degrees: gravity is at the right
        ("gravity", [0, 0, 0, 2], [0, 0, -1]),
        ("matrix", TURN_Z, [0, -1, 0, 1, 0, 0, 0, 0, 1]),
        ("rot6d", TURN_Z, [0, 1, 0, -1, 0, 0]),
        ("rpy", TURN_Z, [0, 0, math.pi / 2]),
        ("rpy", [0, HALF, 0, HALF], [0, math.pi / 2, 0]),
        ("yaw", TURN_Z, [math.pi / 2]),
        ("yaw", [*TURN_Z, 0, 0, 0, 1], [math.pi / 2, 0]),
        ("sin_cos", [0, math.pi / 2], [0, 1, 1, 0]),
        ("wrap", [3 * math.pi / 2, math.pi, -math.pi, 0.5], [-math.pi / 2, -math.pi, -math.pi, 0.5]),
    ],
)
def test_transforms(name: str, values: Any, expected: list[float]) -> None:
    made = transforms.transform_of(name, None)
    assert made is not None
    result = made.apply(np.asarray(values, np.float64))
    np.testing.assert_allclose(result, expected, atol=1e-12)
    assert made.width(len(values)) == len(expected)


@pytest.mark.parametrize("values", [[0, 0, 0, 0], [0, 0, 0], [math.nan, 0, 0, 1], []])
def test_no_quaternion(values: list[float]) -> None:
    made = transforms.transform_of("gravity", None)
    assert made is not None
    with pytest.raises(InputError, match="quaternion"):
        made.apply(np.asarray(values, np.float64))


def test_ranges_are_the_nearest_of_each_sector() -> None:
    made = transforms.ranges(Ranges(count=3, most_m=5.0, inf=6.0))
    scan = np.array([1, 2, math.inf, math.nan, 9, 7, -1], float)
    assert made.apply(scan).tolist() == [1.0, 6.0, 5.0]
    with pytest.raises(InputError, match="at least 3 ranges"):
        made.apply(scan[:2])


def test_offset_scale_clip_and_normalise() -> None:
    def of(keys: str) -> list[float]:
        return seen(DATA % keys, [(0, floats(1, 4))], 0).arrays["x"][0].tolist()

    assert of(", offset: 1, scale: 2, clip: [-1, 5]") == [0, 5]
    assert of(", offset: [1, 2], scale: [1, 10]") == [0, 20]
    np.testing.assert_allclose(of(", normalize: {mean: [1, 2], std: [1, 2]}"), [0, 1], atol=1e-7)
    np.testing.assert_allclose(of(", normalize: {min: 0, max: [2, 4]}"), [0, 1], atol=1e-7)
    with pytest.raises(ConfigError, match="offset of the observation t must be one number or 2"):
        of(", offset: [1, 2, 3]")


# windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("hold", [0, 0, 1, 1, 2]),  # slots at 0 10 20 30 40 ms; samples at 0 19 38
        ("nearest", [0, 1, 1, 2, 2]),
        ("linear", [0, 10 / 19, 1 + 1 / 19, 1 + 11 / 19, 2]),
    ],
)
def test_windows_are_filled_by_time_stamp(fill: str, expected: list[float]) -> None:
    keys = f", window: {{length: 5, rate_hz: 100, fill: {fill}}}"
    got = seen(DATA % keys, [(0, floats(0)), (19, floats(1)), (38, floats(2))], 40)
    np.testing.assert_allclose(got.arrays["x"].reshape(-1), expected)
    assert got.arrays["x"].shape == (1, 5, 1)
    assert (got.taken[0].filled, got.taken[0].length) == (5, 5)


def test_before_the_first_sample_it_is_repeated_and_does_not_count() -> None:
    got = seen(DATA % ", window: {length: 4, rate_hz: 100}", [(30, floats(7))], 40)
    assert got.arrays["x"].reshape(-1).tolist() == [7, 7, 7, 7]
    assert got.taken[0].filled == 2


def test_windows_are_flattened_by_time_or_by_term() -> None:
    two = "- {input: x, topic: t, type: std_msgs/msg/Float64MultiArray, fields: ['data[0:2]'], window: %s}\n"
    window = "{length: 2, rate_hz: 100, flatten: %s}"

    def of(flatten: str) -> Any:
        text = two % (window % flatten) + two.replace("[0:2]", "[2:3]") % (window % flatten)
        made = observer(text, [])
        for place in (0, 1):
            for stamp_ms, first in ((0, 0), (10, 10)):
                made.add(place, stamp_ms * MS, floats(first, first + 1, first + 2))
        return made.look(10 * MS, Context()).arrays["x"].tolist()

    assert of("time") == [[0, 1, 2, 10, 11, 12]]
    assert of("term") == [[0, 1, 10, 11, 2, 12]]
    assert of("none") == [[[0, 1, 2], [10, 11, 12]]]


def test_angles_are_interpolated_the_short_way_round() -> None:
    def orientation(yaw: float) -> Any:
        return {"orientation": {"x": 0.0, "y": 0.0, "z": math.sin(yaw / 2), "w": math.cos(yaw / 2)}}

    text = "- {input: x, topic: i, type: sensor_msgs/msg/Imu, fields: [orientation], transform: yaw, window: %s}"
    got = seen(text % "{length: 2, rate_hz: 100, fill: linear}", [(0, orientation(3.0)), (20, orientation(-3.0))], 10)
    assert abs(got.arrays["x"][0, 1, 0]) == pytest.approx(math.pi)


def test_older_stamps_are_put_in_order_within_the_disorder() -> None:
    # Jittered stamps at 100 Hz: each second one comes 15 ms late.
    stamps = [10 * i - (15 if i % 2 else 0) for i in range(100)]
    made = observer(DATA % ", window: {length: 65, rate_hz: 100}", [(s, floats(s)) for s in stamps], disorder_ms=50)
    got = made.look(980 * MS, Context())
    assert got.taken[0].filled == 65
    values = got.arrays["x"].reshape(-1)
    assert (np.diff(values) >= 0).all()


def test_a_step_back_in_time_begins_anew() -> None:
    made = observer(DATA % "", [(5000, floats(1)), (4000, floats(2))], disorder_ms=100)
    assert made.look(4000 * MS, Context()).arrays["x"].tolist() == [[2]]


def test_the_capacity_follows_the_rate_of_the_input() -> None:
    # 7 kHz for a second: a window of 0.65 s needs 4550 samples.
    made = observer(DATA % ", window: {length: 65, rate_hz: 100}", [])
    for i in range(7000):
        made.add(0, i * 142_857, floats(i))
    got = made.look(6999 * 142_857, Context())
    assert got.taken[0].filled == 65
    assert len(made.series[0]._track) < 8000  # and no more is kept than is needed


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_arrival_within_the_disorder_does_not_matter(stamps: list[int], chance: Any) -> None:
    unique = sorted(set(stamps))
    shuffled = unique[:]
    chance.shuffle(shuffled)

    def window(order: list[int], fill: str) -> Any:
        track = Track(1, 10_000, 1000)
        for stamp in order:
            track.add(stamp, [stamp], stamp)
        which = pick(track.stamps_ns, grid_ns(200, 1e8, 10), fill, 20)
        return track.values[which.before].tolist(), which.share.tolist(), which.filled

    for fill in ("hold", "linear", "nearest"):
        assert window(unique, fill) == window(shuffled, fill)


@settings(deadline=None)
@given(st.integers(0, 1 << 62), st.floats(0.5, 10_000), st.integers(1, 200))
def test_a_grid_ends_at_the_tick_and_rounds_no_period_twice(end_ns: int, rate_hz: float, length: int) -> None:
    grid = grid_ns(end_ns, rate_hz, length)
    assert grid[-1] == end_ns
    assert len(grid) == length
    assert abs(int(end_ns - grid[0]) - (length - 1) * 1e9 / rate_hz) <= 0.5 + 1e-6 * length * 1e9 / rate_hz


# other sources --------------------------------------------------------------------------------------------------------


def test_constants_phases_and_previous_actions() -> None:
    text = (
        "- {input: x, source: constant, value: [1, 2]}\n"
        "- {input: x, source: phase, period_s: 2}\n"
        "- {input: x, source: previous_action}\n"
        "- {input: x, source: previous_action, value: sent, scale: 10}"
    )
    made = observer(text, [])
    first = made.look(0, Context())
    assert first.arrays["x"].tolist() == [[1, 2, 0, 1, 0, 0, 0, 0]]
    later = made.look(0, Context(raw=np.array([3.0, 4]), sent=np.array([5.0, 6]), phase_s=0.5))
    np.testing.assert_allclose(later.arrays["x"], [[1, 2, 1, 0, 3, 4, 50, 60]], atol=1e-12)


def test_what_is_too_old_or_missing_is_said() -> None:
    made = observer(DATA % ", max_age_s: 0.1", [])
    assert made.missing(0) == "no accepted sample yet: t"
    with pytest.raises(InputError, match="no accepted sample yet: t"):
        made.look(0, Context())
    made.add(0, 0, floats(1))
    assert made.missing(100 * MS) == ""
    assert made.missing(250 * MS) == "the newest sample of t is 0.25 s old"


def test_something_stands_in_for_what_is_optional() -> None:
    text = DATA % ", optional: [7, 8], max_age_s: 0.1" + "\n" + DATA % ""
    made = observer(text, [(0, floats(1, 2))])
    made.add(1, 0, floats(3))
    assert made.look(0, Context()).arrays["x"].tolist() == [[1, 2, 3]]
    made.add(1, 500 * MS, floats(4))
    assert made.look(500 * MS, Context()).arrays["x"].tolist() == [[7, 8, 4]]
    assert made.missing(500 * MS) == ""


# images ---------------------------------------------------------------------------------------------------------------

CAMERAS = (
    "- {input: left, topic: l, type: sensor_msgs/msg/Image}\n- {input: right, topic: r, type: sensor_msgs/msg/Image}"
)


def _cameras(extra: str = "") -> Observer:
    contract = parse_contract(f"observations:\n{CAMERAS}{ACTIONS}{extra}", "c")
    prepare = {name: (lambda value: np.full((1, 2, 2, 3), value)) for name in ("left", "right")}
    return Observer(contract, prepare, 0, 1_000_000_000, 2)


def test_images_of_one_time_are_taken_where_cameras_are_to_agree() -> None:
    made = _cameras("max_skew_s: 0.02\n")
    for stamp_ms in (0, 30, 60):
        made.add(0, stamp_ms * MS, lambda value=stamp_ms: value)
    made.add(1, 40 * MS, lambda: 40)
    got = made.look(65 * MS, Context())
    assert (got.arrays["left"][0, 0, 0, 0], got.arrays["right"][0, 0, 0, 0], got.skew_ns) == (30, 40, 10 * MS)
    newest = _cameras()
    for stamp_ms in (0, 30, 60):
        newest.add(0, stamp_ms * MS, lambda value=stamp_ms: value)
    newest.add(1, 40 * MS, lambda: 40)
    assert newest.look(65 * MS, Context()).arrays["left"][0, 0, 0, 0] == 60
    stalled = _cameras("max_skew_s: 0.02\n")
    stalled.add(0, 0, lambda: 0)
    stalled.add(1, 100 * MS, lambda: 1)
    with pytest.raises(InputError, match="images of l and r are 100 ms apart, max_skew_s allows 20 ms"):
        stalled.look(100 * MS, Context())


def test_an_image_that_is_not_looked_at_is_not_decoded() -> None:
    made, decoded = _cameras(), []
    for stamp_ms in range(10):
        made.add(0, stamp_ms * MS, lambda value=stamp_ms: decoded.append(value) or value)
        made.add(1, stamp_ms * MS, lambda: 0)
    made.look(9 * MS, Context())
    made.look(9 * MS, Context())
    assert decoded == [9]


# recurrent states, texts, conditioned models --------------------------------------------------------------------------


def test_states_go_round_and_begin_anew(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", {"x": (1, 1), "h_in": (1, 3)}, {"a": (1, 2), "h_out": (1, 3)}, gain=1.0)
    text = (
        "observations:\n- {input: x, source: constant, value: 1}" + ACTIONS + "state:\n- {input: h_in, output: h_out}\n"
    )
    engine = engines.load(str(model))
    binding = Binding(parse_contract(text, "c"), engine.inputs, engine.outputs, engine.info)
    sight = Seen({"x": np.ones((1, 1))})
    found = []
    for _ in range(3):
        outputs = engine.infer(binding.inputs(sight))
        binding.keep(outputs)
        found.append(float(outputs["h_out"][0, 0]))
    binding.reset()
    assert found == [1, 2, 3]
    assert binding.inputs(sight)["h_in"].tolist() == [[0, 0, 0]]


def test_a_text_goes_in_as_bytes(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", {"t": ((1, 8), "uint8")}, {"a": (1, 2)})
    engine = engines.load(str(model))
    text = "task: pick it\nobservations:\n- {input: t, source: text}" + ACTIONS
    binding = Binding(parse_contract(text, "c"), engine.inputs, engine.outputs, engine.info)
    assert bytes(binding.inputs(Seen({"t": "pick it"}))["t"][0]) == b"pick it\0"
    with pytest.raises(InputError, match="the task must have at most 8 bytes"):
        binding.inputs(Seen({"t": "pick it up"}))


def test_a_conditioned_model_gets_what_will_have_been_sent(tmp_path: Path) -> None:
    inputs = {"x": (1, 1), "previous_chunk": (1, 4, 2), "delay_steps": ((1,), "int64")}
    engine = engines.load(str(network(tmp_path / "m.onnx", inputs, {"a": (1, 4, 2)})))
    text = "observations:\n- {input: x, source: constant, value: 1}" + ACTIONS
    binding = Binding(parse_contract(text, "c"), engine.inputs, engine.outputs, engine.info)
    assert binding.conditioned
    arrays = binding.inputs(Seen({"x": np.ones((1, 1))}), np.array([[1.0, 2], [3, 4]]), 2)
    assert arrays["previous_chunk"].tolist() == [[[1, 2], [3, 4], [3, 4], [3, 4]]]
    assert arrays["delay_steps"].tolist() == [2]
    engine.infer(arrays)
