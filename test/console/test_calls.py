"""Words of a command line as values, and the sentences for what may become of a call; no ROS."""

from __future__ import annotations

import pytest

from perf_inference.console import calls, values
from perf_inference.errors import InputError


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["true"], values.BOOL, True),
        (["Off"], values.BOOL, False),
        (["-3"], values.INTEGER, -3),
        (["1e-3"], values.DOUBLE, 0.001),
        (["3"], values.DOUBLE, 3.0),
        (["pick", "the", "red", "cup"], values.STRING, "pick the red cup"),
        (["1.0"], values.STRING, "1.0"),
        (["red", "12"], values.STRINGS, ["red", "12"]),
        (["[red, 12, true]"], values.STRINGS, ["red", "12", "true"]),
        (["[]"], values.STRINGS, []),
        (["1", "2.5"], values.DOUBLES, [1.0, 2.5]),
        (["[0, 0, 64, 48]"], values.INTEGERS, [0, 0, 64, 48]),
        (["[true, false]"], values.BOOLS, [True, False]),
    ],
)
def test_words_are_values_of_the_parameters_type(words: list[str], kind: int, value: object) -> None:
    assert values.parse(words, kind) == value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["maybe"], values.BOOL, "true or false, got 'maybe'"),
        (["1.5"], values.INTEGER, "a whole number, got '1.5'"),
        (["99999999999999999999"], values.INTEGER, "a whole number"),
        (["nan"], values.DOUBLE, "a number, got 'nan'"),
        (["inf"], values.DOUBLE, "a number"),
        (["1", "2"], values.DOUBLE, "a number, got 2 words"),
        (["[1, two]"], values.INTEGERS, "a list of whole numbers, got 'two'"),
        (["[1"], values.INTEGERS, r"written as \[a, b\]"),
        (["[" * 5000], values.STRINGS, r"written as \[a, b\]"),
        (["1"], values.NOT_SET, "cannot be set by words"),
        (["\x1b[2J"], values.BOOL, r"\\x1b"),
    ],
)
def test_words_that_are_none_are_refused_in_a_sentence(words: list[str], kind: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        values.parse(words, kind)


def test_names_are_found_by_their_last_part_or_in_full() -> None:
    names = ["/a/yolo_node", "/b/yolo_node", "/caption_node", "/perf_inference_view", "/_hidden"]
    assert calls.others(names) == ["/a/yolo_node", "/b/yolo_node", "/caption_node"]
    assert calls.of_node(names, "yolo_node") == ["/a/yolo_node", "/b/yolo_node"]
    assert calls.of_node(names, "/b/yolo_node") == ["/b/yolo_node"]
    assert calls.of_node(names, "b/yolo_node") == ["/b/yolo_node"]
    assert calls.in_namespace(names, "a") == ["/a/yolo_node"]
    assert calls.in_namespace(["/ab/x"], "a") == []


def test_each_way_to_fail_has_a_sentence_that_says_what_to_do() -> None:
    assert "ROS_DOMAIN_ID" in calls.no_graph("7", 5)
    assert "did you mean 'yolo_node'?" in calls.no_node("yolo", ["/yolo_node"])
    assert "start caption_node" in calls.no_service(calls.CALLS["caption"], ["/yolo_node"])
    assert calls.no_service(calls.CALLS["say"], []) == calls.NO_SPEECH
    assert "--node" in calls.several(calls.CALLS["pause"], ["/a/recorder_node", "/b/recorder_node"])
    assert "--timeout" in calls.no_answer("yolo_node", 3)
    assert "did you mean 'precision'?" in calls.no_parameter("yolo_node", "precison", ["precision", "model"])
    assert "\x1b" not in calls.no_node("\x1b[2J", ["/\x1b"])
    assert calls.listed([f"/n{index}" for index in range(20)]).endswith("and 8 more")
