"""Makes what a segment lacks: its header, its topic records, its footer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perf_inference import __version__
from perf_inference.recording.jsonl.head import Head
from perf_inference.recording.jsonl.line import FORMAT_VERSION, sealed
from perf_inference.recording.jsonl.segment import FORMAT
from perf_inference.recording.recovery.loss import Start
from perf_inference.recording.recovery.survey import Key, SegmentPart, Survey


class Repair:
    """Passes the whole lines of a file on, with what is missing between them."""

    def __init__(self, file: Survey, segments: Sequence[Survey], starts: Sequence[Start]) -> None:
        self._file, self._segments, self._starts = file, segments, starts
        self._part: SegmentPart | None = None
        self._topics: dict[Key, dict[str, Any]] = {}
        self._footer = b""

    def line(self, number: int, line: bytes, about: Head | None) -> Iterator[bytes]:
        """Take the next whole line; yield what comes now."""
        if self._part is None or self._part.number != number:
            yield from self.end()
            self._part = self._file.parts[number]
            self._topics = found_topics(self._file, self._part, self._segments, self._starts)
            if self._part.header is None:
                yield sealed(self._header(self._part))
        if about is not None and about.kind == "footer":
            self._footer = line
            return
        if about is not None and about.record is None:
            yield from self._before(about)
        yield line

    def end(self) -> Iterator[bytes]:
        """Yield the footer."""
        if self._part is None:
            return
        part, footer = self._part, self._part.footer
        original = part.closed and not part.faults and footer is not None and footer.get("records") == part.records
        yield self._footer if original else sealed(_footer(part))
        self._part = None

    def _before(self, message: Head) -> Iterator[bytes]:
        """Yield the topic records that are due before a message; first the one that has to be first of its name."""
        keys = {(message.topic, None), (message.topic, message.id)}
        for key in sorted(keys & set(self._topics), key=lambda key: (key[1] is not None, key[1] or 0)):
            yield sealed(self._topics.pop(key))

    def _header(self, part: SegmentPart) -> dict[str, Any]:
        start = next(start for start in self._starts if part in start.parts)
        earlier = start.parts[: start.parts.index(part)]
        first = max((each.known_last for each in earlier), default=0) + 1
        if not earlier:
            first = start.first_seq or (part.span[0].seq if part.span else 1)
        t_ns = part.span[0].t_ns if part.span else 0
        sibling = next((each.header for each in start.parts if each.header is not None), {})
        about = {key: sibling.get(key, {}) for key in ("host", "software", "parameters")}
        return {
            "record": "header",
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "start": start.name or f"recovered {self._file.path.name} {t_ns}",
            "segment": _number(start.parts, part),
            "first_seq": first,
            "time_ns": t_ns,
            **about,
            "recovered_by": f"perf_inference {__version__}",
        }


def found_topics(
    file: Survey, part: SegmentPart, segments: Sequence[Survey], starts: Sequence[Start]
) -> dict[Key, dict[str, Any]]:
    """Return the topic records that a part has lost, as other parts have them: of its own start, or else of any."""
    own = next(start.parts for start in starts if part in start.parts)
    every = tuple(each for segment in segments for each in segment.parts)
    used = {number for _, number in part.topics} | {number for _, number in part.orphans if number is not None}
    found: dict[Key, dict[str, Any]] = {}
    for name, number in part.orphans:
        offers = _offers(name, part, own) or _offers(name, part, every)
        if len(offers) != 1 or any(key[0] == name for key in found):
            continue  # nobody knows, or it could be either
        free = number if number is not None else next(n for n in range(1, len(used) + 2) if n not in used)
        used.add(free)
        record = {key: value for key, value in next(iter(offers.values())).items() if key != "crc"}
        found[name, number] = {**record, "id": free}
    return found


def _offers(name: str, part: SegmentPart, others: Sequence[SegmentPart]) -> dict[str, dict[str, Any]]:
    """Return the records of other parts for a topic by type, but for types that the part knows itself."""
    taken = {record["type"] for (topic, _), record in part.topics.items() if topic == name}
    return {
        record["type"]: record
        for other in others
        for (topic, _), record in other.topics.items()
        if topic == name and other is not part and record["type"] not in taken
    }


def _number(parts: Sequence[SegmentPart], part: SegmentPart) -> int:
    """Return the number of a segment within its start, counted from the nearest one that tells its own."""
    own = parts.index(part)
    told = [(i, each.header["segment"]) for i, each in enumerate(parts) if each.header and "segment" in each.header]
    known = [(abs(own - i), number + own - i) for i, number in told if isinstance(number, int)]
    return max(1, min(known)[1]) if known else own + 1


def _footer(part: SegmentPart) -> dict[str, Any]:
    dropped: dict[str, int] = {}
    for drop in part.drops:
        dropped[drop["topic"]] = dropped.get(drop["topic"], 0) + drop["count"]
    names = dict.fromkeys((*(name for name, _ in part.topics), *part.counts, *dropped))
    first, last = part.span or (None, None)
    return {
        "record": "footer",
        "records": part.records,
        "first_seq": first.seq if first else None,
        "last_seq": last.seq if last else None,
        "t_first": first.t_ns if first else None,
        "t_last": last.t_ns if last else None,
        "topics": {name: {"records": part.counts.get(name, 0), "dropped": dropped.get(name, 0)} for name in names},
    }
