"""What a topic's messages say on their way: gaps, rates, delays and sizes, per publisher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perf_inference.doctor.graph import Endpoint, Source
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.gap_counter import GapCounter
from perf_inference.nodes.ros.raw_input import RawInput

_STAMP_END = 12  # of a message that begins with a header: 4 bytes of encapsulation, then seconds and nanoseconds


@dataclass
class _Seen:
    """The messages of one publisher."""

    received: int = 0
    lost: int | None = None
    first_ns: int = 0  # received
    last_ns: int = 0
    first_sent_ns: int = 0
    last_sent_ns: int = 0
    least_delay_ns: int | None = None
    stamp_ahead_ns: int | None = None
    longest_pause_ns: int = 0


class TopicProbe:
    """Counts what comes out of a reader."""

    def __init__(self, source: RawInput, message_type: Any, alone: bool) -> None:
        """Begin; `alone`: the topic has one publisher, whose sequence counts where messages do not say whose it is."""
        self.received = self.bytes = self.largest_bytes = 0
        self._source, self._alone, self._gaps = source, alone, GapCounter()
        fields = message_type.get_fields_and_field_types()
        self._stamped = next(iter(fields.items()), None) == ("header", "std_msgs/Header")
        self._seen: dict[bytes, _Seen] = {}

    def drain(self) -> None:
        """Drop what has come; what comes from now on counts."""
        for _, info in self._source.take_with_info():
            self._gap(info)

    def take(self) -> None:
        """Count what has come."""
        for data, info in self._source.take_with_info():
            self.received += 1
            self.bytes += len(data)
            self.largest_bytes = max(self.largest_bytes, len(data))
            self._add(data, info)

    def sources(self, names: Mapping[bytes, Endpoint]) -> Iterator[Source]:
        """Yield the counts of each publisher; `names` by the first 16 bytes of the GID."""
        now_ns = CLOCKS.system_ns()
        only = next(iter(names.values())) if len(names) == 1 else None
        for gid, seen in self._seen.items():
            end = names.get(gid[:16]) or only
            lost = seen.lost if gid or only is not None else None
            yield Source(
                end.node if end else "a publisher",
                end.here if end else None,
                seen.received,
                lost,
                None if lost is None else _hz(seen.received - 1 + lost, seen.last_sent_ns - seen.first_sent_ns),
                _hz(seen.received - 1, seen.last_ns - seen.first_ns),
                None if seen.least_delay_ns is None else seen.least_delay_ns / 1e6,
                None if seen.stamp_ahead_ns is None else seen.stamp_ahead_ns / 1e6,
                seen.longest_pause_ns / 1e9,
                max(0, now_ns - seen.last_ns) / 1e9,
            )

    def close(self) -> None:
        """Unsubscribe."""
        self._source.close()

    def _gap(self, info: Any) -> int | None:
        """Return how many messages of this publisher are missing before this one; None: it cannot be told."""
        gid, sequence = info.get("publisher_gid"), info.get("publication_sequence_number")
        if sequence is None or (gid is None and not self._alone):
            return None
        return self._gaps.lost(bytes(gid["data"]) if gid is not None else b"", sequence) or 0

    def _add(self, data: bytes, info: Any) -> None:
        gid = info.get("publisher_gid")
        key = bytes(gid["data"]) if gid is not None else b""
        seen = self._seen.setdefault(key, _Seen())
        received_ns = info["received_timestamp"] or CLOCKS.system_ns()
        sent_ns = info["source_timestamp"] or 0
        gap = self._gap(info)
        seen.lost = seen.lost if gap is None else (seen.lost or 0) + gap
        if not seen.received:
            seen.first_ns, seen.first_sent_ns = received_ns, sent_ns
        else:
            seen.longest_pause_ns = max(seen.longest_pause_ns, received_ns - seen.last_ns)
        seen.received += 1
        seen.last_ns, seen.last_sent_ns = received_ns, sent_ns
        if sent_ns:
            delay_ns = received_ns - sent_ns
            seen.least_delay_ns = delay_ns if seen.least_delay_ns is None else min(delay_ns, seen.least_delay_ns)
        stamp_ns = _stamp_ns(data) if self._stamped else 0
        if stamp_ns > received_ns:
            seen.stamp_ahead_ns = max(stamp_ns - received_ns, seen.stamp_ahead_ns or 0)


def _stamp_ns(data: bytes) -> int:
    """Return the stamp of a header at the beginning of a message."""
    if len(data) < _STAMP_END:
        return 0
    order: Literal["little", "big"] = "little" if data[1] & 1 else "big"
    seconds = int.from_bytes(data[4:8], order, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(data[8:12], order)


def _hz(periods: int, span_ns: int) -> float | None:
    return periods * 1e9 / span_ns if periods > 0 and span_ns > 0 else None
