"""What a peer may ask of the nodes, asked with bad intent over real DDS: bounded, answered, and nobody ends of it."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from std_msgs.msg import Int32
from std_srvs.srv import SetBool, Trigger
from support.processes import Process, Ros, inherited

from perf_inference.bringup.executables import NODES
from perf_inference.measure.clocks import Clocks
from perf_inference.nodes.reports.reporter import STATUS_QOS
from perf_inference.recording.jsonl.segment import Channel
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.recorder.segments import Segments
from perf_inference.recording.recorder.writer import Writer

Start = Callable[..., Process]
START = "20260102_030405"
NAN = float("nan")


def _values() -> Iterator[ParameterValue]:
    """Yield values of every type, and of types that there are not."""
    yield from (ParameterValue(type=1, bool_value=on) for on in (True, False))
    yield from (ParameterValue(type=2, integer_value=number) for number in (0, -1, 2**63 - 1, -(2**63)))
    yield from (ParameterValue(type=3, double_value=number) for number in (NAN, float("inf"), 1e308, -0.0, 5e-324))
    for text in ("", "\x1b]0;x\x07\n[FATAL] forged", "\u202e", "../" * 1000, "/dev/zero", "x" * 10_000, "\ud7ff"):
        yield ParameterValue(type=4, string_value=text)
    yield ParameterValue(type=5, byte_array_value=[b"\xff"] * 10)
    yield ParameterValue(type=6, bool_array_value=[True])
    yield ParameterValue(type=7, integer_array_value=[2**63 - 1] * 1000)
    yield ParameterValue(type=8, double_array_value=[NAN, 1e308])
    yield ParameterValue(type=9, string_array_value=["", "\x1b[2J"] * 1000)
    yield from (ParameterValue(type=number) for number in (0, 10, 200, 255))  # not set; unknown


HOSTILE = tuple(_values())
NAMES = ("", ".", "..", "a" * 10_000, "\x1b[2J", "use_sim_time", "qos_overrides./image.subscription.depth", "~/x", "é")


class Peer:
    """Somebody in the domain."""

    def __init__(self, ros: Ros) -> None:
        self.ros = ros
        self._clients: dict[str, Any] = {}
        self._beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)

    def send(self, kind: Any, name: str, *requests: Any) -> list[Any]:
        """Send the requests at once; return their futures."""
        if name not in self._clients:
            self._clients[name] = self.ros.node.create_client(kind, name)
        client = self._clients[name]
        assert self.ros.spin_until(client.service_is_ready, 20), f"no service {name}"
        return [client.call_async(request) for request in requests]

    def answers(self, futures: list[Any], timeout_s: float = 20.0) -> list[Any]:
        """Return what has been answered within the time, once all have or no more come."""
        self.ros.spin_until(lambda: all(future.done() for future in futures), timeout_s)
        return [future.result() for future in futures if future.done()]

    def parameters(self, node: str) -> dict[str, ParameterValue | None]:
        listed = self.ros.call(ListParameters, f"{node}/list_parameters", ListParameters.Request()).result.names
        values = {}
        for name in listed:  # one at a time: where one has no value, rclpy answers with none of them
            got = self.ros.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name]))
            values[name] = got.values[0] if got.values else None
        return values

    def beats(self, *names: str) -> bool:
        """Return whether each of these nodes sends another heartbeat."""
        self._beats.clear()
        return self.ros.spin_until(lambda: set(names) <= {beat.name for beat in self._beats}, 20)


@pytest.fixture
def peer(ros: Ros) -> Peer:
    return Peer(ros)


@pytest.fixture
def all_nodes(domain: int, tmp_path: Path) -> Iterator[Process]:
    """All nodes of the package in one process: whichever ends, ends it."""
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 8, 3), np.uint8))
    command = [sys.executable, "-m", "perf_inference.nodes.container", *NODES, "--ros-args"]
    for setting in (f"recorder_node:output_dir:={tmp_path}", f"replay_node:source:={tmp_path}",
                    "replay_node:loop:=true", "recorder_node:topics:=['joint_states']"):  # fmt: skip
        command += ["-p", setting]
    process = Process(command, {**inherited(), "PYTHONUNBUFFERED": "1"})
    yield process
    process.stop()


LIVE = {  # what else of a node may be set while it runs
    "yolo_node": {"classes", "confidence", "iou", "max_detections", "min_size", "roi"},
    "caption_node": {"prompt", "rate"},
    "speech_node": {"language", "rate"},
}
FEW = ("runtime", "device", "use_sim_time", "\x1b[2J")
_DEPTHS = (0, 1, 2**64 - 1)
ENGINES = ("policy_node", "yolo_node", "caption_node")
BEATING = (*ENGINES, "speech_node", "camera_node", "recorder_node", "replay_node")


@pytest.mark.thorough
def test_no_parameter_ends_a_node(peer: Peer, all_nodes: Process) -> None:
    all_nodes.wait_for("publishing /diagnostics", 60)
    assert peer.beats(*BEATING), all_nodes.output()
    for node in (*ENGINES, "recorder_node"):
        peer.ros.wait_until_active(node)
    for node in NODES:
        before = peer.parameters(node)
        names = (*before, *NAMES)
        for value in HOSTILE:
            given = [
                Parameter(name=n, value=value) for n in names if n != "model" or value.type != 4
            ]  # paths: elsewhere
            request = SetParameters.Request(parameters=given)
            peer.answers(peer.send(SetParameters, f"{node}/set_parameters", request), 2.0)
            atomic = [SetParametersAtomically.Request(parameters=[one]) for one in given if one.name in FEW]
            peer.answers(peer.send(SetParametersAtomically, f"{node}/set_parameters_atomically", *atomic), 2.0)
        after = peer.parameters(node)
        assert after.keys() == before.keys(), f"none is undeclared or added: {node}"
        may_change = {
            "engine_state",
            "model",
            "runtime",
            "precision",
            "device",
            "architecture",
            "allow_pickle",
        } | LIVE.get(node, set())
        changed = {name for name in before if repr(before[name]) != repr(after[name])}
        assert changed <= (may_change if node in ENGINES else LIVE.get(node, set())), node
    assert all_nodes.alive, all_nodes.output()
    assert peer.beats(*BEATING), all_nodes.output()
    assert "Traceback" not in all_nodes.output()


def test_no_peer_stops_the_clock_of_a_node(peer: Peer, start_node: Start) -> None:
    start_node("monitor_node").wait_for("publishing /diagnostics")
    wish = [Parameter(name="use_sim_time", value=ParameterValue(type=1, bool_value=True))]
    for kind, name in ((SetParameters, "set_parameters"), (SetParametersAtomically, "set_parameters_atomically")):
        answer = peer.ros.call(kind, f"monitor_node/{name}", kind.Request(parameters=wish))
        result = answer.results[0] if kind is SetParameters else answer.result
        assert (result.successful, "read-only" in result.reason) == (False, True), result.reason
    assert peer.parameters("monitor_node")["use_sim_time"] == ParameterValue(type=1, bool_value=False)


@pytest.mark.thorough
def test_no_service_ends_a_node(peer: Peer, all_nodes: Process) -> None:
    all_nodes.wait_for("publishing /diagnostics", 60)
    assert peer.beats(*BEATING), all_nodes.output()
    for node in NODES:
        send = lambda kind, name, *requests, node=node: peer.answers(peer.send(kind, f"{node}/{name}", *requests), 1.0)  # noqa: E731
        send(DescribeParameters, "describe_parameters", *(DescribeParameters.Request(names=[n] * 99) for n in NAMES))
        send(GetParameters, "get_parameters", *(GetParameters.Request(names=[name]) for name in NAMES))
        send(GetParameterTypes, "get_parameter_types", *(GetParameterTypes.Request(names=[n]) for n in NAMES))
        send(ListParameters, "list_parameters",
             *(ListParameters.Request(prefixes=[n], depth=depth) for n in NAMES for depth in _DEPTHS))  # fmt: skip
        for name, kinds in peer.ros.node.get_service_names_and_types_by_node(node, "/"):
            kind = {"std_srvs/srv/Trigger": Trigger, "std_srvs/srv/SetBool": SetBool}.get(kinds[0])
            if kind is not None:
                send(kind, name.rpartition("/")[2], *(kind.Request() for _ in range(100)))
            elif kinds[0] == "type_description_interfaces/srv/GetTypeDescription":
                from type_description_interfaces.srv import GetTypeDescription as Get

                asked = [Get.Request(type_name=text, type_hash=text, include_type_sources=True) for text in NAMES]
                send(Get, name.rpartition("/")[2], *asked)
    assert all_nodes.alive, all_nodes.output()
    assert peer.beats(*BEATING), all_nodes.output()


# the recorder's services ---------------------------------------------------------------------------------------------


def test_split_makes_no_file_for_each_time_it_is_asked(peer: Peer, start_node: Start, tmp_path: Path) -> None:
    publisher = peer.ros.node.create_publisher(Int32, "x", 10)
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path}", "-p", f"start_time:='{START}'")
    recorder.wait_for("recording into")
    empty = peer.ros.call(Trigger, "recorder_node/split", Trigger.Request())
    assert (empty.success, "topics_1.jsonl has no message yet" in empty.message) == (False, True), empty.message
    assert peer.ros.spin_until(publisher.get_subscription_count, 20)
    client = peer.ros.node.create_client(Trigger, "recorder_node/split")
    answers = []
    for number in range(300):
        publisher.publish(Int32(data=number))
        future = client.call_async(Trigger.Request())
        assert peer.ros.spin_until(future.done, 30)
        answers.append(future.result())
    made = len(list((tmp_path / f"run_{START}").glob("topics_*")))
    done = sum(answer.success for answer in answers)
    assert 1 <= done == made - 1 < 30
    assert any("less than 1 s ago" in answer.message for answer in answers)
    assert recorder.stop() == 0
    lines = b"".join(path.read_bytes() for path in (tmp_path / f"run_{START}").glob("topics_*"))
    assert lines.count(b'"topic":"/x"') >= 300, "and none is lost by it"


def test_a_second_split_waits_until_it_is_a_second_old(tmp_path: Path) -> None:
    # t [s]     0          0.5        0.5        1.4         1.5
    # asked     empty: no  yes        empty: no  young: no   yes
    now_s = 100.0
    clocks = Clocks(lambda: round(now_s * 1e9), lambda: round(now_s * 1e9))
    writer = Writer(clocks=clocks)
    segments = Segments(
        writer, lambda: tmp_path / f"topics_{len(list(tmp_path.iterdir())) + 1}.jsonl",
        {"host": {}, "software": {}, "parameters": {}}, clocks=clocks,
    )  # fmt: skip
    channel = Channel(Topic("/x", "std_msgs/msg/Int32"), None)

    def fill(seq: int) -> None:
        segments.message(channel, seq, BagMessage(0, "/x", "std_msgs/msg/Int32", b"\0\1\0\0", None, None))

    assert "has no message yet" in segments.split_on_request(1)
    now_s = 100.5
    fill(1)
    assert segments.split_on_request(2) == ""
    assert "has no message yet" in segments.split_on_request(2)
    now_s = 101.4
    fill(2)
    assert "less than 1 s ago" in segments.split_on_request(3)
    now_s = 101.5
    assert segments.split_on_request(3) == ""
    writer.close(segments.close)
    assert segments.count == 3


def test_who_pauses_the_recorder_is_in_its_log(peer: Peer, start_node: Start, tmp_path: Path) -> None:
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path}")
    recorder.wait_for("recording into")
    for name in ("pause", "pause", "resume") * 50:
        assert peer.ros.call(Trigger, f"recorder_node/{name}", Trigger.Request()).success
    recorder.wait_for("paused by a request")
    assert recorder.output().count("by a request") < 50


# callers who wait ----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_callers_of_the_captioner_are_bounded(peer: Peer, start_node: Start) -> None:
    node = start_node("caption_node", "-p", "rate:=0.0")
    node.wait_for("describes")
    futures = peer.send(Trigger, "caption_node/caption", *(Trigger.Request() for _ in range(2000)))
    answers = peer.answers(futures, 10)
    assert answers
    assert all(not answer.success for answer in answers), "no image has come"
    assert peer.beats("caption_node")
    assert node.alive


def test_no_more_than_some_wait(domain: int) -> None:
    from perf_inference.nodes.ros.request_bounds import MOST, Waiting

    waiting = Waiting()
    futures = [waiting.add(None) for _ in range(MOST + 5)]
    assert futures[MOST:] == [None] * 5
    waiting.answer("done")
    assert [future.result() for future in futures[:MOST] if future is not None] == ["done"] * MOST
    assert waiting.add(None) is not None


def test_callers_who_wait_for_a_swap_are_bounded(peer: Peer, start_node: Start) -> None:
    node = start_node("caption_node", "-p", "rate:=0.0")
    node.wait_for("describes")
    models = itertools.cycle(("pruned", "captioner"))
    stopped: list[psutil.Process] = []

    def trial_stopped() -> bool:
        """Stop the swap's trial, so that the swap lasts until it goes on; return whether there was one."""
        for child in psutil.Process(node.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.suspend()
                stopped.append(child)
        return bool(stopped)

    def swap_lasts() -> bool:
        wish = Parameter(name="model", value=ParameterValue(type=4, string_value=next(models)))
        peer.ros.call(SetParameters, "caption_node/set_parameters", SetParameters.Request(parameters=[wish]))
        return peer.ros.spin_until(trial_stopped, 2)

    assert peer.ros.spin_until(swap_lasts, 60), node.output()
    client = peer.ros.node.create_client(Trigger, "caption_node/swap_wait")
    assert peer.ros.spin_until(client.service_is_ready, 20)
    futures = []

    def refused() -> bool:
        futures.append(client.call_async(Trigger.Request()))
        peer.ros.spin_until(lambda: False, 0.005)  # slowly enough that each is taken
        return any("wait already" in future.result().message for future in futures if future.done())

    assert peer.ros.spin_until(refused, 30), node.output()
    for child in stopped:
        with contextlib.suppress(psutil.Error):
            child.resume()
    waited = [future for future in futures if not future.done() or future.result().success]

    def answered() -> bool:
        """Return whether somebody who waited has heard how it went."""
        return any(future.done() and future.result().success for future in waited)

    assert peer.ros.spin_until(answered, 60), node.output()
    assert node.alive


def test_an_enclave_reaches_the_node(ros: Ros, start_command: Callable[..., Process], tmp_path: Path) -> None:
    config = tmp_path / "robot.yaml"
    config.write_text("/**/monitor_node:\n  ros__parameters: {start: {enclave: /robot1/monitor}}\n")
    start_command("run", "--config", str(config))
    named = ("monitor_node", "/", "/robot1/monitor")
    assert ros.spin_until(lambda: named in ros.node.get_node_names_and_namespaces_with_enclaves(), 20)
