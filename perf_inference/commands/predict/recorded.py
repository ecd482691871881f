"""The messages of a recording that a policy's ticks rest on, found again by their publishers' sequence numbers."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.commands.predict.sources import pixels_of
from perf_inference.errors import ConfigError, InputError, RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.image_message import read_recorded_image
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.open import Bag, open_source
from perf_inference.tasks.policy.contract.contract import Contract, Term
from perf_inference.tasks.policy.observing.used import Used


@dataclass(frozen=True)
class Sample:
    """One recorded message, ready for an observer."""

    stamp_ns: int  # of its header; else when it was published
    content: Any  # decoded fields; of an image a function that makes its pixels
    t_ns: int  # when it was recorded


class Recorded:
    """The messages of the topics of a contract."""

    def __init__(self, source: Path, contract: Contract, topics: Mapping[str, str]) -> None:
        """Read them.

        Args:
            topics: the recording's by the contract's, as far as they are known.

        Raises:
            ConfigError: no recording, or a topic of the contract is not in it.
            RecordingError: it is damaged.
        """
        bag = open_source(source)
        if not isinstance(bag, Bag):
            raise ConfigError(f"'{source}' must be a recording for a policy, it has images alone")
        try:
            self._names = {term.topic: _named(term, topics, bag) for term in contract.topics}
            types = {name: next(t.type for t in contract.topics if self._names[t.topic] == name)
                     for name in self._names.values()}  # fmt: skip
            codecs = {t.name: codec for t in bag.topics if t.name in types and (codec := _codec(t, types[t.name]))}
            self.messages: dict[str, list[BagMessage]] = {name: [] for name in types}
            for message in bag.messages():
                if message.topic in types:
                    self.messages[message.topic].append(message)
        finally:
            bag.close()
        self._codecs = codecs
        self._times = {name: [m.t_ns for m in messages] for name, messages in self.messages.items()}

    def used(self, term: Term, wanted: list[Used]) -> list[Sample]:
        """Return the messages that a tick rests on, in the order in which they were recorded.

        Raises:
            InputError: the recording does not have them all, or more than one for a number.
        """
        name = self._names[term.topic]
        found = [m for m in self.messages[name] if any(u.has(m.publish_seq, m.publish_ns) for u in wanted)]
        count = sum(len(u.sequences) for u in wanted)
        if len(found) != count:
            what = "has not all of" if len(found) < count else "does not tell apart"
            raise InputError(f"the recording {what} the {count} messages of {name} that were used: it has {len(found)}")
        return [self._sample(term, message) for message in found]

    def until(self, term: Term, t_ns: int, since_ns: int) -> list[Sample]:
        """Return the messages that were recorded between two times."""
        name = self._names[term.topic]
        times = self._times[name]
        first, last = bisect.bisect_left(times, since_ns), bisect.bisect_right(times, t_ns)
        return [self._sample(term, message) for message in self.messages[name][max(first - 1, 0) : last]]

    @property
    def span_ns(self) -> tuple[int, int]:
        """From when every topic has a message, to the last one."""
        starts = [times[0] for times in self._times.values() if times]
        ends = [times[-1] for times in self._times.values() if times]
        return max(starts, default=0), max(ends, default=0)

    def _sample(self, term: Term, message: BagMessage) -> Sample:
        if term.is_image:
            read = read_recorded_image(message.data, message.type)
            stamp_ns = read.stamp_ns or message.publish_ns or message.t_ns
            return Sample(stamp_ns, _pixels(message), message.t_ns)
        decoded = self._codecs[message.topic].decode(message.data)
        return Sample(decoded.stamp_ns or message.publish_ns or message.t_ns, decoded.message, message.t_ns)


def _pixels(message: BagMessage) -> Callable[[], Any]:
    return lambda: pixels_of(read_recorded_image(message.data, message.type), message.type)


def _named(term: Term, topics: Mapping[str, str], bag: Bag) -> str:
    """Return the recording's name of a contract's topic.

    Raises:
        ConfigError: it has none of it.
    """
    names = [topic.name for topic in bag.topics]
    if (known := topics.get(term.topic)) is not None and known in names:
        return known
    wanted = term.topic.lstrip("~/")
    for name in names:
        if name.lstrip("/") == wanted:
            return name
    if len(near := [name for name in names if name.endswith(f"/{wanted}")]) == 1:
        return near[0]
    raise ConfigError(f"the recording has no topic {known or term.topic}; it has {', '.join(names)[:300]}")


def _codec(topic: Topic, type_name: str) -> Codec | None:
    definition = topic.definition or builtin_definition(topic.type)
    if topic.type != type_name and topic.type != "sensor_msgs/msg/CompressedImage":
        raise ConfigError(f"the recording has {topic.type} on {topic.name}, the contract says {type_name}")
    if definition is None:
        raise RecordingError(f"the recording does not say what {topic.type} on {topic.name} is")
    return Codec(definition)
