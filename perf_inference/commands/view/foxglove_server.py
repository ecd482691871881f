"""What the page shows, for Foxglove: a websocket that clients can read and nothing else.

It advertises no capability: no publishing by clients, no parameters, no services. What is handed on is subscribed to
only while a client is. The protocol knows no token: any program and any web page on this machine can read it.
"""

from __future__ import annotations

import foxglove
from foxglove.channels import CompressedImageChannel
from foxglove.messages import CompressedImage, Timestamp

from perf_inference.nodes.view.forward import Forward, forwards
from perf_inference.nodes.view.scene import Scene

_BACKLOG = 32  # messages that wait for a slow client; the oldest go
_NS = 1_000_000_000


class FoxgloveServer:
    """Serves a scene on 127.0.0.1; `tick` on the thread that spins the scene."""

    def __init__(self, scene: Scene, port: int, rate_hz: float) -> None:
        """Start to serve.

        Raises:
            OSError: the port is taken.
        """
        self._scene, self._period_s = scene, 1 / rate_hz
        self._context = foxglove.Context()
        self._channels: list[tuple[Forward, foxglove.Channel]] = []
        self._images: dict[str, CompressedImageChannel] = {}
        self._sent: dict[str, int] = {}
        for forward in forwards(scene.node):
            schema = foxglove.Schema(
                name=forward.type_name, encoding="ros2msg", data=forward.definition.encode("utf-8", "replace")
            )
            channel = foxglove.Channel(forward.topic, schema=schema, message_encoding="cdr", context=self._context)
            forward.take = channel.log
            self._channels.append((forward, channel))
        try:
            self._server = foxglove.start_server(
                name="perf_inference", host="127.0.0.1", port=port, capabilities=[], context=self._context,
                message_backlog_size=_BACKLOG,
            )  # fmt: skip
        except Exception as error:  # of a kind of its own, also for a port that somebody has just taken
            raise OSError(0, str(error)) from error
        self.address = f"ws://127.0.0.1:{self._server.port}"

    def tick(self) -> None:
        """Follow what clients subscribe to, and send the newest images."""
        for forward, channel in self._channels:
            forward.want(channel.has_sinks())
        feeds = self._scene.feeds
        for gone in self._images.keys() - feeds.keys():
            self._images.pop(gone).close()
        for topic, feed in feeds.items():
            channel = self._images.get(topic)
            if channel is None:
                channel = self._images[topic] = CompressedImageChannel(f"{topic}/jpeg", context=self._context)
            if not channel.has_sinks():
                continue
            feed.want()
            if feed.number in (0, self._sent.get(topic)) or feed.due_s(self._period_s):
                continue
            jpeg = feed.jpeg()
            self._sent[topic] = jpeg.number
            if jpeg.data:
                second, rest = divmod(jpeg.stamp_ns or 0, _NS)
                channel.log(CompressedImage(timestamp=Timestamp(second, rest), data=jpeg.data, format="jpeg"))

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()
