"""caption_node with a chat server: words as they come, prompts, triggers while one is made, a server that dies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from support.cases import sampled
from support.chat_server import ChatServer
from support.processes import Process, Ros

from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS

_SCENE = Scene((Item("circle", "red", 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)), seed=5)
Start = Callable[..., Process]


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


@pytest.fixture
def camera(ros: Ros) -> None:
    message = from_bgr(render(_SCENE), Header(frame_id="camera"))
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
    ros.node.create_timer(0.05, lambda: publisher.publish(message))


def _start(start_node: Start, chat: ChatServer, *more: str) -> Process:
    arguments = [f"model:={chat.url()}", "remote.deadline_ms:=20000.0", *more]
    node = start_node("caption_node", *(part for one in arguments for part in ("-p", one)))
    node.wait_for("describes")
    return node


def _values(messages: list[Any]) -> dict[str, Any]:
    status = messages[-1].status[-1] if isinstance(messages[-1], DiagnosticArray) else messages[-1]
    return from_key_values(status.values)


def _send(ros: Ros) -> Any:
    client = ros.node.create_client(Trigger, "caption_node/caption")
    assert ros.spin_until(client.service_is_ready)
    return client.call_async(Trigger.Request())


def _set(ros: Ros, name: str, value: str) -> Any:
    wish = Parameter(name=name, value=ParameterValue(type=4, string_value=value))
    return ros.call(SetParameters, "caption_node/set_parameters", SetParameters.Request(parameters=[wish])).results[0]


def test_words_come_one_by_one_and_the_timing_tells_when(
    ros: Ros, camera: None, chat: ChatServer, start_node: Start
) -> None:
    captions, partial = ros.collect(String, "caption"), ros.collect(String, "caption_partial")
    timings, statuses = (
        ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS),
        ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS),
    )
    _start(start_node, chat, "rate:=5.0", "prompt:='what is red?'")
    assert ros.spin_until(lambda: len(captions) > 2 and timings and statuses)
    assert captions[-1].data == "a red cup"
    assert "".join(one.data for one in partial[:3]) == "a red cup"
    assert chat.requests[-1]["messages"][0]["content"][1]["text"] == "what is red?"
    values = _values(timings)
    assert values["tokens"] == 5
    assert values["first_token_ms"] > 0
    assert {"prefill_ms", "tokens_per_s"} <= values.keys()
    assert _values(statuses)["process_memory_mb"] > 10
    assert _set(ros, "prompt", "and what is blue?").successful
    assert ros.spin_until(lambda: "blue" in json.dumps(chat.requests[-1]["messages"][0]["content"][1]))


def test_a_newer_trigger_replaces_the_caption_under_way(
    ros: Ros, camera: None, chat: ChatServer, start_node: Start
) -> None:
    partial = ros.collect(String, "caption_partial")
    _start(start_node, chat, "rate:=0.0")
    chat.mode = "stall"
    assert ros.spin_until(lambda: _send(ros) and ros.spin_until(lambda: len(partial) >= 2, 2))
    first = _send(ros)  # waits or replaces; the one that stalls ends in any case
    chat.mode = "answer"
    second = _send(ros)
    assert ros.spin_until(lambda: first.done() and second.done())
    assert (second.result().success, second.result().message) == (True, "a red cup")
    assert chat.gone.wait(30)


@pytest.mark.parametrize(("when_busy", "done"), [("refuse", False), ("wait", True)])
def test_a_trigger_during_a_caption_waits_or_is_refused(
    ros: Ros, camera: None, chat: ChatServer, start_node: Start, when_busy: str, done: bool
) -> None:
    partial = ros.collect(String, "caption_partial")
    _start(start_node, chat, "rate:=0.0", f"when_busy:={when_busy}")
    chat.mode = "stall"
    first = _send(ros)
    while len(partial) < 2:  # one that comes before the first image is answered at once: there is none yet
        assert ros.spin_until(lambda done=first.done: len(partial) >= 2 or done())
        first = _send(ros) if len(partial) < 2 else first
    second = _send(ros)
    if when_busy == "refuse":
        assert ros.spin_until(second.done)
        assert second.result().message == "a caption is being made; ask again when it is there"
    chat.go_on.set()
    assert ros.spin_until(lambda: first.done() and second.done())
    assert first.result().success
    assert second.result().success is done


@pytest.mark.parametrize("mode", sampled(["garbage", "cut", "error"]))
def test_a_server_that_misbehaves_is_said_and_the_node_lives(
    ros: Ros, camera: None, chat: ChatServer, start_node: Start, mode: str
) -> None:
    captions, statuses = ros.collect(String, "caption"), ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = _start(start_node, chat, "rate:=5.0")
    assert ros.spin_until(lambda: captions)
    chat.mode = mode
    assert ros.spin_until(lambda: statuses and "failed" in statuses[-1].message), node.output()
    chat.mode = "answer"
    had = len(captions)
    assert ros.spin_until(lambda: len(captions) > had + 2)
    assert node.alive


def test_a_server_that_dies_comes_back_and_stalls_is_said_and_the_newest_trigger_wins(
    ros: Ros, camera: None, chat: ChatServer, start_node: Start
) -> None:
    partial = ros.collect(String, "caption_partial")
    statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = _start(start_node, chat, "rate:=0.0")

    def asked() -> Any:
        answer = _send(ros)
        assert ros.spin_until(answer.done), node.output()
        return answer.result()

    def right_again() -> bool:
        answer = asked()
        return bool(answer.success) and answer.message == "a red cup"

    assert ros.spin_until(right_again)  # before the first image there is nothing to describe
    chat.close()
    dead = asked()
    assert not dead.success
    assert "cannot be reached" in dead.message
    assert ros.spin_until(lambda: statuses and "cannot be reached" in statuses[-1].message), [
        s.message for s in statuses
    ]
    back = ChatServer(port=chat.port)
    try:
        assert ros.spin_until(right_again), node.output()
        back.mode = "stall"
        told = len(partial)
        stalled = _send(ros)
        assert ros.spin_until(lambda: len(partial) >= told + 2)
        for _ in range(3):  # each ends the one before it
            had, told = stalled, len(partial)
            stalled = _send(ros)
            assert ros.spin_until(lambda had=had, told=told: had.done() and len(partial) >= told + 2)
            assert (had.result().success, had.result().message) == (
                False,
                "the caption was cancelled: a newer trigger came",
            )
        back.mode = "answer"
        newest = _send(ros)
        assert ros.spin_until(lambda: stalled.done() and newest.done())
        assert (newest.result().success, newest.result().message) == (True, "a red cup")
        back.mode = "garbage"
        assert "wrong answer" in asked().message
        back.mode = "answer"
        assert ros.spin_until(right_again)
        assert node.alive
        values = _values(statuses)
        assert values["ledger.tick.residual"] == 0
    finally:
        back.close()


def test_a_server_that_stalls_costs_a_deadline_and_not_the_node(
    ros: Ros, camera: None, chat: ChatServer, start_node: Start
) -> None:
    captions, statuses = ros.collect(String, "caption"), ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = _start(start_node, chat, "remote.deadline_ms:=3000.0", "rate:=2.0")
    assert ros.spin_until(lambda: captions), node.output()
    chat.mode = "stall"
    assert ros.spin_until(lambda: statuses and "missed the deadline" in statuses[-1].message), node.output()
    chat.mode = "answer"
    had = len(captions)
    assert ros.spin_until(lambda: len(captions) > had + 1), node.output()
    assert node.alive


def test_what_does_not_go_together_is_refused_by_name(ros: Ros, start_node: Start) -> None:
    node = start_node("caption_node", "-p", "beams:=3", "-p", "partial:=true")
    assert node.wait() == 78
    assert "partial words and beams" in node.output()
    node = start_node("caption_node", "-p", "beams:=3")
    assert node.wait() == 78
    assert "cannot do beams 3" in node.output()
    node = start_node("caption_node", "-p", "prompt:=why")
    assert node.wait() == 78
    assert "answers no questions" in node.output()
    start_node("caption_node", "-p", "rate:=0.0").wait_for("describes")
    refused = _set(ros, "prompt", "why?")
    assert not refused.successful
    assert "answers no questions" in refused.reason
