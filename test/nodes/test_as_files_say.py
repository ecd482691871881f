"""A node that does not have what its parameters file says does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from perf_inference.errors import ConfigError
from perf_inference.nodes.ros.as_files_say import Given, check, given_on, same

NAME = "/robot1/yolo_node"


def given(folder: Path, *texts: str) -> Given:
    files = []
    for number, text in enumerate(texts):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(text)
    return Given(tuple(files), frozenset())


def section(key: str, **parameters: Any) -> str:
    inner = "".join(f"    {name}: {value}\n" for name, value in parameters.items())
    return f"'{key}':\n  ros__parameters:\n{inner}"


def test_files_and_parameters_are_found_on_the_command_line() -> None:
    before, ros, after = "node x=y --params-file no --", "--params-file 1.yaml -p a:=1 -p b:c.d:=2", "--params-file n"
    assert given_on(f"{before} --ros-args -r __ns:=/a {ros} -- {after}".split()) == Given(
        (Path("1.yaml"),), frozenset({"a", "c.d"})
    )


@pytest.mark.parametrize(
    "key", ["/robot1/yolo_node", "robot1/yolo_node", "/**/yolo_node", "/*/yolo_node", "/robot1/*", "/robot1/**", "/**"]
)
def test_a_section_that_reaches_the_node_is_compared(tmp_path: Path, key: str) -> None:
    files = given(tmp_path, section(key, confidence=0.95))
    assert check(NAME, files, {"confidence": 0.95}) == []
    with pytest.raises(ConfigError, match=r"'confidence' of /robot1/yolo_node is 0\.4, but section .* says 0\.95"):
        check(NAME, files, {"confidence": 0.4})


@pytest.mark.parametrize("key", ["yolo_node", "/yolo_node", "/robot2/yolo_node", "/**/arm/yolo_node", "/*/*/yolo_node"])
def test_a_section_for_another_namespace_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"is not for /robot1/yolo_node.*call it /\*\*/yolo_node or /robot1"):
        check(NAME, given(tmp_path, section(key, confidence=0.95)), {"confidence": 0.4})


def test_the_nested_form_is_the_same(tmp_path: Path) -> None:
    text = "robot1:\n  yolo_node:\n    ros__parameters: {limits: {lower: [1.0]}}\n"
    assert check(NAME, given(tmp_path, text), {"limits.lower": [1.0]}) == []
    with pytest.raises(ConfigError, match=r"'limits\.lower'"):
        check(NAME, given(tmp_path, text), {"limits.lower": [2.0]})


def test_another_robots_section_beside_the_own_is_nobody_elses_matter(tmp_path: Path) -> None:
    text = section("/robot1/yolo_node", iou=0.1) + section("/robot2/yolo_node", iou=0.2)
    assert check(NAME, given(tmp_path, text), {"iou": 0.1}) == []


def test_a_file_without_a_section_for_the_node_is_told(tmp_path: Path) -> None:
    (said,) = check(NAME, given(tmp_path, section("/robot1/camera", iou=0.1)), {"iou": 0.4})
    assert "which runs with its defaults" in said
    assert check(NAME, Given((), frozenset()), {"iou": 0.4}) == []


def test_a_general_section_that_comes_later_is_told(tmp_path: Path) -> None:
    text = section("/robot1/yolo_node", iou=0.1) + section("/**", iou=0.2)
    with pytest.raises(ConfigError, match=r"'/\*\*' comes later and wins; write it first"):
        check(NAME, given(tmp_path, text), {"iou": 0.2})
    assert (
        check(NAME, given(tmp_path, section("/**", iou=0.2) + section("/robot1/yolo_node", iou=0.1)), {"iou": 0.1})
        == []
    )


def test_a_later_file_comes_over_an_earlier_one(tmp_path: Path) -> None:
    files = given(tmp_path, section("/robot1/yolo_node", iou=0.1, top=1), section("/**", iou=0.2))
    assert check(NAME, files, {"iou": 0.2, "top": 1}) == []  # as rcl does
    files = given(tmp_path, section("/**", iou=0.1) + section("yolo_node", iou=0.5), section("/**/yolo_node", iou=0.3))
    assert check(NAME, files, {"iou": 0.3}) == []


def test_single_parameters_come_over_files(tmp_path: Path) -> None:
    files = given(tmp_path, section("/**", iou=0.1))._replace(single=frozenset({"iou"}))
    assert check(NAME, files, {"iou": 0.7}) == []


def test_a_file_that_only_rcl_reads_is_told(tmp_path: Path) -> None:
    (said,) = check(NAME, given(tmp_path, "a: {ros__parameters: {b: 1, b: 2}}\n"), {})
    assert "cannot be told" in said


@pytest.mark.parametrize(
    ("said", "have"),
    [
        (1, 1.0), (8, 8), ("1e5", 1e5), (float("nan"), float("nan")), ("nan", float("nan")), ("y", True),
        ("Off", False), ("09", 9.0), (True, True), ([], None), ([], ()), ([1, 2], (1.0, 2.0)), (["a"], ("a",)),
        (1000, "1_000"), ("a", "a"),
    ],
)  # fmt: skip
def test_what_rcl_makes_of_words(said: Any, have: Any) -> None:
    assert same(said, have)


@pytest.mark.parametrize(
    ("said", "have"),
    [
        (1, 2), (True, 1), (1, True), ("y", False), ("a", "b"), ([1], (1, 2)), ([1.0], "1"), ("a", None), (0.95, 0.4),
        (["a"], ()), ("1", True),
    ],
)  # fmt: skip
def test_what_is_another_value(said: Any, have: Any) -> None:
    assert not same(said, have)
