"""A node whose callbacks fail in every way there is: each is counted, said once per kind, and the node goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import String
from std_srvs.srv import Trigger
from support.processes import Process, Ros, inherited

from perf_inference.errors import InputError
from perf_inference.nodes.reports.faults import Faults
from perf_inference.nodes.reports.messages import WARN, from_key_values, level
from perf_inference.nodes.reports.reporter import STATUS_QOS

NODE = """
import sys, threading
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from std_msgs.msg import String
from std_srvs.srv import Trigger
from perf_inference.nodes.ros import runner
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import HeartbeatPublisher, Report

class Fails(runner.RunnableNode):
    def __init__(self):
        super().__init__("fails")
        self.heard = 0
        self.declare_parameter("wish", "")
        self.add_on_set_parameters_callback(self.judge)
        subscription = self.create_subscription(String, "say", self.on_say, 10)
        group = MutuallyExclusiveCallbackGroup()
        self.broken = self.create_subscription(String, "broken", self.on_say, 10, callback_group=group)
        self.create_subscription(String, "beside", self.on_beside, 10, callback_group=group)
        self.guard = self.create_guard_condition(self.on_guard)
        self.create_timer(0.05, self.on_time)
        self.create_service(Trigger, "~/plain", self.on_call)
        self.create_service(Trigger, "~/later", self.on_call_later, callback_group=ReentrantCallbackGroup())
        self.heartbeat = HeartbeatPublisher(self, lambda: Report(OK, "fine", {"heard": self.heard}))

    def on_say(self, message):
        self.heard += 1
        if message.data == "exit":
            sys.exit(3)
        if message.data == "guard":
            self.guard.trigger()
        if message.data == "thread":
            threading.Thread(target=lambda: 1 / 0, name="fails worker").start()
        if message.data == "take":  # what rclpy does where a message cannot be taken
            self.broken.msg_type = 5
        raise ValueError(f"no {message.data}\\x1b[2J\\n[FATAL] forged")

    def on_beside(self, message):
        self.heard += 100

    def on_guard(self):
        raise KeyError("guard")

    def on_time(self):
        raise RuntimeError("timer")

    def on_call(self, request, response):
        raise OSError("service")

    async def on_call_later(self, request, response):
        raise OSError("service")

    def judge(self, parameters):
        if parameters[0].name == "wish":
            raise UnicodeError("parameter")
        from rcl_interfaces.msg import SetParametersResult
        return SetParametersResult(successful=True)

    def release(self):
        raise LookupError("release")

runner.main(Fails)
"""


class Node:
    """The node, and what it says."""

    def __init__(self, ros: Ros, process: Process) -> None:
        self.ros, self.process = ros, process
        self.beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        assert ros.spin_until(lambda: self.beats, 20), process.output()

    def count(self, key: str = "callback_errors") -> int:
        return int(from_key_values(self.beats[-1].values)[key] or 0)

    def says(self, text: str) -> bool:
        return self.ros.spin_until(lambda: text in self.process.output(), 20)


@pytest.fixture
def node(ros: Ros, tmp_path: Path) -> Iterator[Node]:
    script = tmp_path / "fails.py"
    script.write_text(NODE)
    process = Process([sys.executable, str(script)], {**inherited(), "PYTHONUNBUFFERED": "1"})
    yield Node(ros, process)
    if process.alive:
        process.stop()


def test_no_callback_ends_the_node(ros: Ros, node: Node) -> None:
    publisher = ros.node.create_publisher(String, "say", 10)
    assert ros.spin_until(publisher.get_subscription_count, 20)
    for text in ("exit", "guard", "thread", "a", "b"):
        publisher.publish(String(data=text))
    assert ros.spin_until(lambda: node.count("heard") == 5, 20), node.process.output()
    for kind in (
        "SystemExit in the callback of subscription /say",
        "ValueError in the callback of subscription /say, ",
        "KeyError in the callback of a guardcondition",
        "RuntimeError in the callback of a timer",
        "ZeroDivisionError in the thread fails worker, which has ended",
    ):
        assert node.says(kind), node.process.output()
    seen = node.count()
    assert ros.spin_until(lambda: node.count() > seen + 20, 20), "the timer goes on, and is counted"
    assert node.process.output().count("ValueError") == 1, "said once"
    own = [line for line in node.process.output().splitlines() if "RTPS" not in line]  # Fast DDS colours its own
    assert not any("\x1b" in line for line in own)
    assert "\n[FATAL]" not in node.process.output()
    assert level(node.beats[-1]) == WARN
    assert " in the callback of " in node.beats[-1].message
    assert node.process.stop() == 1, "for its end failed"
    assert "LookupError in the end of fails" in node.process.output()


def test_who_calls_is_answered(ros: Ros, node: Node) -> None:
    for name in ("plain", "later"):
        answer = ros.call(Trigger, f"fails/{name}", Trigger.Request(), 20)
        assert (answer.success, answer.message) == (False, f"the service ~/{name} failed; see the log of fails")
    wish = Parameter(name="wish", value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="x"))
    (result,) = ros.call(SetParameters, "fails/set_parameters", SetParameters.Request(parameters=[wish]), 20).results
    assert (result.successful, result.reason) == (False, "it could not be judged; see the node's log")
    assert node.says("UnicodeError in what judges a parameter")


def test_a_message_that_cannot_be_taken_blocks_nothing(ros: Ros, node: Node) -> None:
    publishers = {name: ros.node.create_publisher(String, name, 10) for name in ("say", "broken", "beside")}
    assert ros.spin_until(lambda: all(p.get_subscription_count() for p in publishers.values()), 20)
    publishers["say"].publish(String(data="take"))
    assert ros.spin_until(lambda: node.count("heard") == 1, 20)
    publishers["broken"].publish(String(data="x"))
    assert node.says("in the callback of subscription /broken"), node.process.output()
    publishers["beside"].publish(String(data="x"))
    assert ros.spin_until(lambda: node.count("heard") == 101, 20), "of the same callback group"


def test_the_monitor_shows_the_counts(ros: Ros, node: Node, start_node: Callable[..., Process]) -> None:
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    start_node("monitor_node")

    def shown() -> dict[str, Any]:
        statuses = diagnostics[-1].status if diagnostics else ()
        return next((from_key_values(s.values) for s in statuses if s.name == "monitor_node: fails/node"), {})

    assert ros.spin_until(lambda: shown().get("callback_errors", 0) > 10, 20)


def test_kinds_are_bounded() -> None:
    said: list[str] = []
    faults = Faults(said.append, said.append)
    for number in range(1000):
        faults.refused(f"kind {number}", InputError("no"))
        faults.failed(ValueError("no"), f"place {number}")
    assert (faults.bad_messages, faults.callback_errors) == (1000, 1000)
    assert len(said) == 101
    assert said[-1] == "more than 100 kinds of errors: others are only counted"
