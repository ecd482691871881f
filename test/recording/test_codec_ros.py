"""The codec against rclpy: every message type that is installed here."""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.cdr_values import as_written, fields

from perf_inference.errors import ConfigError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition, type_hash
from perf_inference.recording.cdr.fields import NUMBERS
from perf_inference.recording.cdr.message_tree import message_tree
from perf_inference.recording.cdr.versions import builtin_definition

pytest.importorskip("rclpy")
from ament_index_python.packages import get_package_share_directory
from rclpy.serialization import deserialize_message, serialize_message
from rosidl_parser.definition import AbstractNestedType, BasicType, NamespacedType

from perf_inference.nodes.ros import definitions
from perf_inference.nodes.ros.definitions import installed_definition

PACKAGES = (
    "action_msgs", "actionlib_msgs", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs",
    "nav_msgs", "rcl_interfaces", "rmw_dds_common", "rosgraph_msgs", "sensor_msgs", "service_msgs", "shape_msgs",
    "std_msgs", "std_srvs", "stereo_msgs", "statistics_msgs", "tf2_msgs", "trajectory_msgs",
    "type_description_interfaces", "unique_identifier_msgs", "vision_msgs", "visualization_msgs",
)  # fmt: skip
EXAMPLES = int(os.environ.get("PERF_INFERENCE_TEST_EXAMPLES", "3"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
IDL_NAMES = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}


def _installed() -> list[str]:
    names = []
    for package in PACKAGES:
        for kind in ("msg", "srv"):
            try:
                module = importlib.import_module(f"{package}.{kind}")
            except ImportError:
                continue
            found = (name for name in dir(module) if hasattr(getattr(module, name), "SLOT_TYPES"))
            names += [f"{package}/{kind}/{name}" for name in sorted(found)]
    return names


TYPES = _installed()


def test_common_interfaces_are_installed() -> None:
    assert len(TYPES) > 100
    assert {"sensor_msgs/msg/JointState", "std_msgs/msg/Empty", "std_srvs/srv/SetBool_Event"} <= set(TYPES)


@pytest.mark.slow
@pytest.mark.parametrize("type_name", TYPES)
def test_fields_are_those_of_rclpy(type_name: str) -> None:
    """What rclpy writes (with garbage between the fields) decodes to what rclpy reads, and gives the bytes back."""
    cls = _class(type_name)
    definition = installed_definition(type_name)
    codec = Codec(definition)
    root = message_tree(definition.type, definition.encoding, definition.text)

    @SETTINGS
    @given(fields(root, nul=False))
    def check(message: dict[str, Any]) -> None:
        raw = serialize_message(_to_ros(cls, message))
        decoded = codec.decode(raw)
        assert decoded.message == message == _from_ros(deserialize_message(raw, cls))
        clean = codec.encode(message)
        assert decoded.exact is (clean == raw)
        assert len(clean) <= len(raw)  # serialize_message (not a publisher) leaves some bytes at the end
        assert all(ours in (theirs, 0) for ours, theirs in zip(clean, raw, strict=False)), "more than padding differs"
        assert codec.decode(clean) == (message, True, decoded.stamp_ns)
        assert _from_ros(deserialize_message(clean, cls)) == message
        assert json.loads(json.dumps(message, allow_nan=False)) == message

    check()


@pytest.mark.slow
@pytest.mark.parametrize("type_name", [name for name in TYPES if "/msg/" in name])
def test_bytes_are_those_of_rosbags(type_name: str) -> None:
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    definition = builtin_definition(type_name)
    if type_name not in store.fielddefs or definition is None:
        pytest.skip(f"rosbags does not know {type_name}")
    root = message_tree(definition.type, definition.encoding, definition.text)
    if root.type == "lifecycle_msgs/msg/TransitionEvent":
        definition = installed_definition(type_name)  # it has another field in newer releases
    codec = Codec(definition)
    root = message_tree(definition.type, definition.encoding, definition.text)

    @SETTINGS
    @given(fields(root), st.booleans())
    def check(message: dict[str, Any], little: bool) -> None:
        ours = codec.encode(message)
        theirs = store.deserialize_cdr(ours, type_name)
        assert bytes(store.serialize_cdr(theirs, type_name)) == ours
        big = bytes(store.serialize_cdr(theirs, type_name, little_endian=False))
        assert codec.decode(big)[:2] == (message, False), "big endian is read, and not exact"

    check()


@pytest.mark.slow
@pytest.mark.parametrize("type_name", [name for name in TYPES if "/msg/" in name])
def test_type_hash_is_the_installed_one(type_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _share(type_name) / f"{type_name.rpartition('/')[2]}.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    hashes = {each["type_name"]: each["hash_string"] for each in json.loads(path.read_text())["type_hashes"]}
    from_files = installed_definition(type_name)
    monkeypatch.setattr(definitions, "_file_text", lambda name: None)
    from_classes = installed_definition.__wrapped__(type_name)
    assert [type_hash(each) for each in (from_files, from_classes)] == [hashes[type_name]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("type_name", [name for name in TYPES if "/msg/" in name])
def test_idl_gives_the_same_fields(type_name: str) -> None:
    used = [type_name, *re.findall(r"^MSG: (\w+)/(\w+)$", installed_definition(type_name).text, re.MULTILINE)]
    names = [each if isinstance(each, str) else "/msg/".join(each) for each in used]
    paths = [_share(name) / f"{name.rpartition('/')[2]}.idl" for name in names]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no {paths[0]}")
    text = "".join(f"{'=' * 80}\nIDL: {name}\n{path.read_text()}" for name, path in zip(names, paths, strict=True))
    assert type_hash(Definition(type_name, "ros2idl", text)) == type_hash(installed_definition(type_name))


def test_definition_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of .msg files in an AMENT_PREFIX_PATH; what it uses follows, as MCAP has it."""
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/my_msgs").touch()
    (tmp_path / "share/my_msgs/msg").mkdir(parents=True)
    (tmp_path / "share/my_msgs/msg/Arm.msg").write_text("# an arm\nJoint[] joints")
    (tmp_path / "share/my_msgs/msg/Joint.msg").write_text("int8 LEFT=1\nfloat32 angle 0.5 # rad\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert installed_definition("my_msgs/Arm") == Definition(
        "my_msgs/msg/Arm",
        "ros2msg",
        f"# an arm\nJoint[] joints\n{'=' * 80}\nMSG: my_msgs/Joint\nint8 LEFT=1\nfloat32 angle 0.5 # rad\n",
    )


@pytest.mark.parametrize("name", ["no_such_msgs/msg/Thing", "std_msgs/msg/NoSuchThing", "std_srvs/srv/Thing_Event"])
def test_type_that_is_not_installed(name: str) -> None:
    package = name.split("/")[0]
    with pytest.raises(ConfigError, match=rf"{name} is not installed here; install or source the package {package}"):
        installed_definition(name)


def _class(type_name: str) -> Any:
    package, kind, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


def _share(type_name: str) -> Path:
    import sys

    package = type_name.split("/")[0]
    try:
        return Path(get_package_share_directory(package)) / "msg"
    except (LookupError, OSError):
        return Path(sys.prefix) / "share" / package / "msg"


def _to_ros(cls: Any, message: dict[str, Any]) -> Any:
    """Return a message with these fields."""
    ros = cls()
    for name, slot in zip(cls.get_fields_and_field_types(), cls.SLOT_TYPES, strict=True):
        setattr(ros, name, _value_to_ros(slot, message[name]))
    return ros


def _value_to_ros(slot: Any, value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        value = np.frombuffer(base64.b64decode(value["base64"]), value["dtype"]).tolist()
    if isinstance(slot, AbstractNestedType):
        values = [_value_to_ros(slot.value_type, each) for each in value]
        return values if not hasattr(slot, "size") or values[0].__class__ not in (int, float) else np.array(values)
    if isinstance(slot, NamespacedType):
        return _to_ros(_class("/".join(slot.namespaced_name())), value)
    if isinstance(slot, BasicType) and slot.typename == "octet":
        return bytes([value])
    return float(value) if isinstance(slot, BasicType) and slot.typename in ("float", "double") else value


def _from_ros(ros: Any) -> dict[str, Any]:
    """Return the fields of a message, as the format has them."""
    names = ros.get_fields_and_field_types()
    return {name: _value_from_ros(slot, getattr(ros, name)) for name, slot in zip(names, ros.SLOT_TYPES, strict=True)}


def _value_from_ros(slot: Any, value: Any) -> Any:
    if isinstance(slot, AbstractNestedType):
        item = slot.value_type
        if isinstance(item, BasicType):
            kind = NUMBERS[IDL_NAMES.get(item.typename, item.typename)]
            return as_written(kind, [each[0] if isinstance(each, bytes) else _plain(each) for each in value])
        return [_value_from_ros(item, each) for each in value]
    if isinstance(slot, NamespacedType):
        return _from_ros(value)
    if isinstance(slot, BasicType):
        kind = NUMBERS[IDL_NAMES.get(slot.typename, slot.typename)]
        single = value[0] if isinstance(value, bytes) else value
        return as_written(NUMBERS["float64"], [single])[0] if kind.is_float else single
    return value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
