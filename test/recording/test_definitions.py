"""Definitions: of services and actions, of two versions of a type; and whether bytes are a message by one at all."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cdr_values import fields

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.difference import described, first_difference
from perf_inference.recording.cdr.message_tree import message_tree
from perf_inference.recording.cdr.versions import (
    builtin_definition,
    fitting_definition,
    is_ambiguous,
    known_definitions,
)

BYTES = bytes(range(16))
UUID = {"dtype": "|u1", "base64": b64encode(BYTES).decode()}

# --- services, actions, wide characters

GOAL = "int32 order\n---\nint32[] sequence\n---\nint32[] partial\n"
FIBONACCI = "example_interfaces/action/Fibonacci"


@pytest.mark.parametrize(
    ("part", "fields", "data"),
    [
        ("_Goal", {"order": 3}, b"\3\0\0\0"),
        ("_FeedbackMessage", {"goal_id": {"uuid": UUID}, "feedback": {"partial": [7]}}, BYTES + b"\1\0\0\0\7\0\0\0"),
        ("_SendGoal_Response", {"accepted": True, "stamp": {"sec": 1, "nanosec": 2}}, b"\1\0\0\0\1\0\0\0\2\0\0\0"),
        ("_GetResult_Response", {"status": 4, "result": {"sequence": []}}, b"\4\0\0\0\0\0\0\0"),
        ("_SendGoal_Request", {"goal_id": {"uuid": UUID}, "goal": {"order": 3}}, BYTES + b"\3\0\0\0"),
    ],
)
@pytest.mark.parametrize("head", ["", "=" * 80 + "\nACTION: example_interfaces/action/Fibonacci\n"])
def test_the_messages_of_an_action_come_from_its_text(part: str, fields: Any, data: bytes, head: str) -> None:
    codec = Codec(Definition(FIBONACCI + part, "ros2msg", head + GOAL))
    assert codec.decode(b"\0\1\0\0" + data) == (fields, True, None)
    assert codec.encode(fields) == b"\0\1\0\0" + data


def test_a_service_in_idl_has_events_too() -> None:
    idl = """module a { module srv { struct B_Request { boolean on; }; struct B_Response { long n; }; }; };"""
    text = "=" * 80 + "\nIDL: a/srv/B\n" + idl
    event = Codec(Definition("a/srv/B_Event", "ros2idl", text))
    data = b"\0\1\0\0" + bytes(4) + bytes(8) + BYTES + bytes(4) + bytes(8) + b"\1\0\0\0\1\0\0\0\0\0\0\0"
    assert event.decode(data).message["request"] == [{"on": True}]


def test_a_text_of_three_parts_is_no_service() -> None:
    with pytest.raises(RecordingError, match="must have 2 parts"):
        Codec(Definition("a/srv/B_Event", "ros2msg", GOAL))
    with pytest.raises(RecordingError, match="a text with '---' must be of a service or an action"):
        Codec(Definition("a/msg/B", "ros2msg", "bool a\n---\nbool b\n"))


def test_a_wide_character_is_a_number_of_16_bits() -> None:
    codec = Codec(Definition("a/msg/B", "ros2idl", "module a { module msg { struct B { octet x; wchar c; }; }; };"))
    data = b"\0\1\0\0\7\0\x22\x6f"
    assert codec.decode(data) == ({"x": 7, "c": 0x6F22}, True, None)
    assert codec.encode({"x": 7, "c": 0x6F22}) == data


# --- whether bytes are a message at all


KINDS = ("sensor_msgs/msg/Imu", "diagnostic_msgs/msg/DiagnosticArray", "std_msgs/msg/Empty",
         "sensor_msgs/msg/PointCloud2", "std_msgs/msg/Bool", "trajectory_msgs/msg/JointTrajectory")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_can_be_decoded_passes_and_what_is_cut_does_not(kind: str, given_: st.DataObject) -> None:
    definition = builtin_definition(kind)
    assert definition is not None
    codec = Codec(definition)
    message = given_.draw(fields(message_tree(kind, definition.encoding, definition.text)))
    data = codec.encode(message)
    codec.check(data)
    codec.check(data + b"\0\0\0")
    for size in range(len(data)):
        with pytest.raises(InputError):
            codec.check(data[:size])


def test_a_boolean_that_is_none_and_too_many_elements_do_not_pass() -> None:
    codec = Codec(Definition("a/msg/B", "ros2msg", "bool a\nbool[] b\nuint8[<=2] c\n"))
    good = b"\0\1\0\0\1\0\0\0\2\0\0\0\0\1\0\0\2\0\0\0\5\5"
    codec.check(good)
    for at, value in ((4, 2), (12, 3), (16, 3)):
        with pytest.raises(InputError):
            codec.check(good[:at] + bytes((value,)) + good[at + 1 :] + bytes(4))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("int32 a\n", "int32 a # an a\nint32 A=3\n", None),
        ("int32 a\n", "int32 a\nfloat32 v\n", ("v", "nothing", "float32")),
        ("int32 a\nfloat32 v\n", "int32 a\n", ("v", "float32", "nothing")),
        ("int8 x\nint8 y\n", "int8 y\nint8 x\n", ("x", "int8 (in another place)", "int8 (in another place)")),
        ("float64 x\n", "float32 x\n", ("x", "float64", "float32")),
        ("char x\n", "uint8 x\n", None),
        ("uint8[3] x\n", "uint8[4] x\n", ("x", "uint8[3]", "uint8[4]")),
        ("uint8[] x\n", "uint8[<=4] x\n", ("x", "uint8[]", "uint8[<=4]")),
        ("string x\n", "wstring x\n", ("x", "string", "wstring")),
        (
            "C c\n" + "=" * 80 + "\nMSG: a/C\nint8 n\n",
            "C c\n" + "=" * 80 + "\nMSG: a/C\nint16 n\n",
            ("c.n", "int8", "int16"),
        ),
    ],
)  # fmt: skip
def test_the_first_field_that_differs_is_named(one: str, other: str, found: Any) -> None:
    kinds = [Definition("a/msg/B", "ros2msg", text) for text in (one, other)]
    assert first_difference(*kinds) == found
    assert (described(*kinds) == "") == (found is None)


def test_another_stamp_leaves_the_rest() -> None:
    definition = builtin_definition("sensor_msgs/msg/Imu")
    assert definition is not None
    codec = Codec(definition)
    little = b"\0\1\0\0" + bytes(8) + b"\2\0\0\0a\0\0\0" + bytes(4 + 37 * 8)
    codec.check(little)
    stamped = codec.stamped(little, 5, 6)
    assert stamped is not None
    assert (codec.stamp_ns(stamped), stamped[12:], stamped[:4]) == (5_000_000_006, little[12:], little[:4])
    big = codec.stamped(b"\0" * 4 + little[4:], 5, 6)
    assert big is not None
    assert (big[4:12], codec.stamp_ns(big)) == (b"\0\0\0\5\0\0\0\6", 5_000_000_006)
    text = Codec(Definition("a/msg/B", "ros2msg", "int32 a\n"))
    assert text.stamped(b"\0\1\0\0" + bytes(20), 1, 2) is None


# --- which version of a type


def test_a_version_is_chosen_by_distribution_and_by_what_fits() -> None:
    kind = "sensor_msgs/msg/Range"
    new, old = known_definitions(kind)
    assert ("humble" in known_definitions(kind)[old], "jazzy" in known_definitions(kind)[new]) == (True, True)
    numbers = {"radiation_type": 1, "field_of_view": 0.5, "min_range": 0.25, "max_range": 4.0, "range": 1.0}
    message = {"header": {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "a"}, **numbers}
    humble, jazzy = Codec(old).encode(message), Codec(new).encode({**message, "variance": 0.0})
    assert fitting_definition(kind, [humble]) == old
    assert fitting_definition(kind, [jazzy]) == new
    assert fitting_definition(kind, [jazzy[:9], humble, humble]) == old, "a damaged one says nothing"
    assert fitting_definition(kind, [], "humble") == old
    assert fitting_definition(kind, [jazzy], "humble") == new, "the bytes know better"
    assert fitting_definition(kind, []) == new
    assert fitting_definition("nobody/msg/Knows", [b"1"]) is None


def test_versions_of_which_messages_say_nothing_are_chosen_by_distribution() -> None:
    kind = "sensor_msgs/msg/BatteryState"  # only constants were added
    new, old = known_definitions(kind)
    assert first_difference(new, old) is None
    assert fitting_definition(kind, [b"no message"], "humble") == old
    assert fitting_definition(kind, [b"no message"]) == new
    assert not is_ambiguous(kind)
    assert is_ambiguous("sensor_msgs/msg/Range")
    assert not is_ambiguous("nobody/msg/Knows")
