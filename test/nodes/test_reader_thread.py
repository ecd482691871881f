"""An input with a thread of its own: its messages do not wait for the executor, and its end is its node's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import rclpy
from rclpy.qos import QoSProfile
from std_msgs.msg import String
from support.processes import Ros, wait_until

from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.ros.guarded_executor import GuardedExecutor
from perf_inference.nodes.ros.reader_thread import ReaderThread
from perf_inference.nodes.ros.subscription import Input


def input_of(ros: Ros, arrive: Callable[[Arrival], None]) -> Input:
    return Input(ros.node, String, "words", arrive, Ledger(), QoSProfile(depth=10), own_thread=True)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.endswith(" reader")]


def test_messages_come_while_the_executor_is_busy(ros: Ros) -> None:
    heard: list[str] = []
    source = input_of(ros, lambda arrival: heard.append(arrival.message.data))
    publisher = ros.node.create_publisher(String, "words", 10)
    assert wait_until(lambda: publisher.get_subscription_count() == 1, 10)
    for word in "abc":
        publisher.publish(String(data=word))  # nobody spins
    assert wait_until(lambda: heard == ["a", "b", "c"], 10)
    assert source.ledger.snapshot().lost_before == 0
    source.close()
    assert not readers()
    publisher.publish(String(data="d"))
    source.open()
    assert wait_until(lambda: publisher.get_subscription_count() == 1, 10)
    publisher.publish(String(data="e"))
    assert wait_until(lambda: heard[3:] == ["e"], 10)
    source.close()


def test_a_message_does_not_wake_the_executor(ros: Ros) -> None:
    class Counting(GuardedExecutor):
        asked = 0

        def can_execute(self, entity: Any) -> bool:  # of each entity in each turn
            self.asked += 1
            return bool(super().can_execute(entity))

    node, heard = rclpy.create_node("reads", context=ros.context), list[str]()
    source = Input(node, String, "words", lambda a: heard.append(a.message.data), Ledger(), own_thread=True)
    publisher = ros.node.create_publisher(String, "words", 10)
    assert wait_until(lambda: publisher.get_subscription_count() == 1, 10)
    executor = Counting(context=ros.context)
    executor.add_node(node)
    executor.spin_once(timeout_sec=1.0)  # for what discovery has to say
    before = executor.asked
    executor.spin_once(timeout_sec=0.1)
    one_turn = executor.asked - before
    spinning = threading.Thread(target=executor.spin_once, kwargs={"timeout_sec": 2.0})
    spinning.start()
    for number in range(30):
        publisher.publish(String(data=str(number)))
        time.sleep(0.02)
    assert wait_until(lambda: len(heard) == 30, 10)
    assert executor.asked - before < 6 * one_turn
    spinning.join()
    source.close()
    executor.remove_node(node)
    executor.shutdown()
    node.destroy_node()


def test_what_is_done_afterwards_holds_up_no_other_message_and_not_the_end(ros: Ros) -> None:
    heard, go_on, done = list[str](), threading.Event(), list[str]()

    def work(may_read: Callable[[], None]) -> None:
        if heard and not done:
            done.append(threading.current_thread().name)
            may_read()
            assert go_on.wait(20)

    source = Input(
        ros.node, String, "words", lambda a: heard.append(a.message.data), Ledger(), QoSProfile(depth=10),
        own_thread=work,
    )  # fmt: skip
    assert len(readers()) == 2
    publisher = ros.node.create_publisher(String, "words", 10)
    assert wait_until(lambda: publisher.get_subscription_count() == 1, 10)
    publisher.publish(String(data="a"))
    assert wait_until(lambda: len(done) == 1, 10)
    for word in "bcd":
        publisher.publish(String(data=word))
    assert wait_until(lambda: heard == ["a", "b", "c", "d"], 10)
    source.close()  # does not wait for the work
    assert wait_until(lambda: len(readers()) == 1, 5)
    go_on.set()
    assert wait_until(lambda: not readers(), 5)
    assert faults_of(ros.node).callback_errors == 0


def test_an_error_in_the_callback_is_a_fault_and_the_next_message_comes(ros: Ros) -> None:
    heard: list[str] = []

    def arrive(arrival: Arrival) -> None:
        if arrival.message.data == "wrong":
            raise ValueError("no")
        heard.append(arrival.message.data)

    source = input_of(ros, arrive)
    publisher = ros.node.create_publisher(String, "words", 10)
    assert wait_until(lambda: publisher.get_subscription_count() == 1, 10)
    for word in ("a", "wrong", "b"):
        publisher.publish(String(data=word))
    assert wait_until(lambda: heard == ["a", "b"], 10)
    assert faults_of(ros.node).callback_errors == 1
    source.close()


def test_a_failure_of_the_middleware_does_not_leave_it_deaf(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, turn, failures = list[str](), ReaderThread._wait_and_take, [RuntimeError("the wait set is full")] * 2

    def fails(self: ReaderThread, *arguments: Any) -> None:
        if failures:
            raise failures.pop()
        turn(self, *arguments)

    monkeypatch.setattr(ReaderThread, "_wait_and_take", fails)
    source = input_of(ros, lambda arrival: heard.append(arrival.message.data))
    publisher = ros.node.create_publisher(String, "words", 10)
    assert wait_until(lambda: publisher.get_subscription_count() == 1, 10)
    publisher.publish(String(data="a"))
    assert wait_until(lambda: heard == ["a"], 10)
    assert faults_of(ros.node).callback_errors == 2
    source.close()


def test_it_ends_with_a_subscription_that_is_destroyed_under_it(ros: Ros) -> None:
    source = input_of(ros, lambda arrival: None)
    assert len(readers()) == 1
    for subscription in list(ros.node.subscriptions):
        if subscription.topic_name == "/words":
            ros.node.destroy_subscription(subscription)
    assert wait_until(lambda: not readers(), 5)
    source.stop_reading()
