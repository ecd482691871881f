"""`perf-inference view --foxglove`: a client of the websocket reads all that is shown, and can publish nothing."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'perf_inference[view]'")
pytest.importorskip("foxglove", reason="needs foxglove-sdk: pip install 'perf_inference[view]'")

import aiohttp
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.processes import Ros
from support.view_rig import LiveView

from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import OK

_MESSAGE = struct.Struct("<BIQ")  # opcode 1, channel, time [ns]; https://github.com/foxglove/ws-protocol
_WAIT_S = 30.0


class Client:
    """A client of the websocket: what was advertised, what came, and what the server said."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.channels: dict[str, dict[str, Any]] = {}
        self.came: dict[str, bytes] = {}
        self.capabilities: list[str] | None = None
        self.said: list[str] = []

    async def send(self, **fields: Any) -> None:
        await self._socket.send_str(json.dumps(fields))

    async def until(self, is_so: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Read until it is so; fail with what came otherwise."""
        deadline = time.monotonic() + _WAIT_S
        while not is_so():
            assert time.monotonic() < deadline, (list(self.channels), list(self.came), self.said)
            meanwhile()
            try:
                message = await asyncio.wait_for(self._socket.receive(), 0.05)
            except asyncio.TimeoutError:
                continue
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
            self._take(message.data)

    def hears_of_none(self) -> bool:
        """Return whether the server said of a channel that it has none."""
        return any("unknown channel" in message.lower() for message in self.said)

    def _take(self, data: str | bytes) -> None:
        if isinstance(data, str):
            told = json.loads(data)
            self.channels.update({one["topic"]: one for one in told.get("channels", ())})
            self.capabilities = told.get("capabilities", self.capabilities)
            self.said += [told["message"]] if "message" in told else []
        elif data[0] == 1:
            _, number, _ = _MESSAGE.unpack_from(data)
            topic = next(name for name, one in self.channels.items() if one["id"] == number)
            self.came[topic] = data[_MESSAGE.size :]


def with_client(view: LiveView, work: Callable[[Client, Any], Awaitable[None]]) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            connecting = session.ws_connect(view.foxglove.address, protocols=["foxglove.sdk.v1"], max_msg_size=0)
            async with connecting as socket:
                await work(Client(socket), socket)

    asyncio.run(run())


def test_a_client_reads_images_captions_and_diagnostics(ros: Ros) -> None:
    images = ros.node.create_publisher(Image, "annotated", 1)
    captions = ros.node.create_publisher(String, "caption", 1)
    statuses = ros.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    wanted = ("/annotated/jpeg", "/caption", "/diagnostics")

    def publish() -> None:
        images.publish(from_bgr(np.full((48, 64, 3), 90, np.uint8), Header()))
        captions.publish(String(data="a red circle"))
        statuses.publish(DiagnosticArray(status=[DiagnosticStatus(level=OK, name="monitor_node: host")]))

    async def read(client: Client, socket: Any) -> None:
        await client.until(lambda: set(wanted) <= client.channels.keys())
        assert not any(publisher.get_subscription_count() for publisher in (images,))  # nobody looks yet
        for _ in range(100):  # a channel may be new, and not known yet where it was just advertised
            numbers = [client.channels[topic]["id"] for topic in wanted if topic not in client.came]
            client.said.clear()  # of those that it knew by then it says that they are subscribed already
            await client.send(op="subscribe", subscriptions=[{"id": one, "channelId": one} for one in numbers])
            await client.until(lambda: client.came.keys() >= set(wanted) or client.hears_of_none(), publish)
            if client.came.keys() >= set(wanted):
                break
            await asyncio.sleep(0.1)
        assert client.came.keys() >= set(wanted), client.said
        assert client.channels["/caption"]["schemaName"] == "std_msgs/msg/String"
        assert client.channels["/caption"]["encoding"] == "cdr"
        assert deserialize_message(client.came["/caption"], String).data == "a red circle"
        diagnostics = deserialize_message(client.came["/diagnostics"], DiagnosticArray)
        assert diagnostics.status[0].name == "monitor_node: host"
        assert client.channels["/annotated/jpeg"]["schemaName"] == "foxglove.CompressedImage"
        message = client.came["/annotated/jpeg"]
        begin = message.index(b"\xff\xd8\xff")
        shown = cv2.imdecode(np.frombuffer(message[begin:], np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (48, 64, 3)
        assert int(shown[20, 20, 0]) == pytest.approx(90, abs=2)

    with LiveView(foxglove=True) as view:
        with_client(view, read)


def test_a_client_can_publish_set_and_call_nothing(ros: Ros) -> None:
    async def attack(client: Client, socket: Any) -> None:
        await client.until(lambda: "/caption" in client.channels and client.capabilities is not None)
        assert client.capabilities == []
        channel = {"id": 1, "topic": "/action", "encoding": "json", "schemaName": "std_msgs/msg/String"}
        await client.send(op="advertise", channels=[channel])
        await socket.send_bytes(struct.pack("<BI", 1, 1) + b'{"data": "x"}')
        await client.send(op="getParameters", parameterNames=[], id="a")
        await client.send(op="setParameters", parameters=[{"name": "a", "value": 1}], id="b")
        await socket.send_bytes(struct.pack("<BIII", 2, 1, 1, 4) + b"json{}")
        refused = ("clientPublish", "parameters", "ervice")
        await client.until(lambda: all(any(word in said for said in client.said) for word in refused))

    with LiveView(foxglove=True) as view:
        with_client(view, attack)
        topics = {name for name, _ in ros.node.get_topic_names_and_types()} - {"/rosout", "/parameter_events"}
        assert "/action" not in topics
        assert {name for name in topics if ros.node.count_publishers(name)} == set()
