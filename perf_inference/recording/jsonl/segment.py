"""The lines of one segment of a recording (docs/format.md), and what they come to."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.jsonl.line import FORMAT_VERSION, sealed
from perf_inference.recording.message import BagMessage, Topic, TopicKey

FORMAT = "perf_inference/topics"


@dataclass(frozen=True)
class Channel:
    """A topic and how its messages are written."""

    topic: Topic
    codec: Codec | None  # None: the type is not known here, so only the serialized form can be kept
    nested: bool = True  # as nested fields; False: as serialized


@dataclass
class _Tally:
    id: int  # of the topic record
    tag: int | None  # the id, where the name alone does not tell
    records: int = 0
    dropped: int = 0


class Segment:
    """Makes the lines; whoever has one writes them, each once and in this order."""

    def __init__(
        self, start: str, number: int, first_seq: int, about: Mapping[str, Any], clocks: Clocks = CLOCKS
    ) -> None:
        """Begin.

        Args:
            start: unique to one start of a recorder; `seq` counts within it.
            first_seq: what the first message can have.
            about: host, software, parameters.
        """
        self.records = 0
        self._start, self._number, self._first_seq, self._about = start, number, first_seq, about
        self._clocks = clocks
        self._channels: dict[TopicKey, _Tally] = {}
        self._seqs: list[int | None] = [None, None]  # first, last
        self._times: list[int | None] = [None, None]

    def header(self) -> bytes:
        """Return the first line."""
        return sealed(
            {
                "record": "header",
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "start": self._start,
                "segment": self._number,
                "first_seq": self._first_seq,
                "time_ns": self._clocks.system_ns(),
                **self._about,
            }
        )

    def topic(self, topic: Topic) -> bytes:
        """Return a topic's line ahead of its first message; nothing, when it was there."""
        return b"" if topic.key in self._channels else self._topic(topic)[0]

    def message(self, channel: Channel, seq: int, message: BagMessage) -> bytes:
        """Return a message's line, after its topic's where that is new in this segment."""
        topic = channel.topic
        tally = self._channels.get(topic.key)
        line = b""
        if tally is None:
            line, tally = self._topic(topic)
        record: dict[str, Any] = {"seq": seq, "t": message.t_ns, "topic": topic.name}
        if tally.tag is not None:
            record["id"] = tally.tag
        record["stamp"] = None
        if message.publish_ns is not None:
            record["publish_t"] = message.publish_ns
        if message.publish_seq is not None:
            record["publish_seq"] = message.publish_seq
        _add_contents(record, channel, message.data)
        tally.records += 1
        self.records += 1
        self._seqs = [seq if self._seqs[0] is None else self._seqs[0], seq]
        self._times = [message.t_ns if self._times[0] is None else self._times[0], message.t_ns]
        return line + sealed(record)

    def drops(self, topic: Topic, count: int, first_seq: int, last_seq: int, reason: str) -> bytes:
        """Return the line that tells of records that did not get here (`reason`: queue, disk)."""
        line = b""
        tally = self._channels.get(topic.key)
        if tally is None:
            line, tally = self._topic(topic)
        tally.dropped += count
        record = {"record": "drops", "topic": topic.name, "count": count, "first_seq": first_seq, "last_seq": last_seq}
        return line + sealed({**record, "reason": reason})

    def footer(self) -> bytes:
        """Return the last line."""
        topics: dict[str, dict[str, int]] = {}
        for (name, *_), tally in self._channels.items():
            counts = topics.setdefault(name, {"records": 0, "dropped": 0})
            counts["records"] += tally.records
            counts["dropped"] += tally.dropped
        (first_seq, last_seq), (t_first, t_last) = self._seqs, self._times
        return sealed(
            {
                "record": "footer",
                "records": self.records,
                "first_seq": first_seq,
                "last_seq": last_seq,
                "t_first": t_first,
                "t_last": t_last,
                "topics": topics,
            }
        )

    def _topic(self, topic: Topic) -> tuple[bytes, _Tally]:
        number = len(self._channels) + 1
        again = any(name == topic.name for name, *_ in self._channels)
        tally = self._channels[topic.key] = _Tally(number, number if again else None)
        definition = topic.definition
        record = {
            "record": "topic",
            "id": number,
            "topic": topic.name,
            "type": topic.type,
            "encoding": topic.encoding,
            "qos": [qos.as_dict() for qos in topic.qos],
            "type_hash": topic.type_hash,
            "definition": None if definition is None else _described(definition),
        }
        if topic.metadata:
            record["metadata"] = dict(topic.metadata)
        return sealed(record), tally


def _described(definition: Definition) -> dict[str, str]:
    if definition.is_text:
        return {"encoding": definition.encoding, "text": definition.text}
    return {"encoding": definition.encoding, "base64": b2a_base64(definition.data, newline=False).decode("ascii")}


def _add_contents(record: dict[str, Any], channel: Channel, data: bytes) -> None:
    """Add the nested fields, and the serialized form where they would not give it back."""
    codec = channel.codec
    exact = False
    if codec is not None and not channel.nested:
        record["stamp"] = codec.stamp_ns(data)
    elif codec is not None:
        try:
            fields, exact, record["stamp"] = codec.decode(data)
            record["message"] = fields
        except InputError:  # not what its type says: kept as it came
            pass
    if not exact:
        record["cdr"] = b2a_base64(data, newline=False).decode("ascii")
