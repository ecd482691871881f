"""The time line: what began, how long it lasted, and how often it was."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from perf_inference.console.banner import GATE
from perf_inference.console.causes.cause import ERROR, WARN, Cause, shown
from perf_inference.console.causes.policy import STOPS
from perf_inference.console.node import NodeSeen
from perf_inference.console.picture import Banner, Event

_KEPT, _BEGINS_S, _ENDS_S, _AGAIN = 200, 1.0, 2.0, 8
_LABELS = {
    "stalled": "stalled",
    "slow_source": "slow source",
    "lost_before": "lost messages",
    "transport": "old messages",
    "silent": "silent",
    "busy_cores": "busy processor",
    "swap": "changed its model",
    "disk_full": "disk full",
    "infer": "infer too slow",
    "own_words": "a warning",
}
_AGES = re.compile(r" for [\d.]+ s\b")


@dataclass
class _Open:
    since_s: float
    seen_s: float
    wall_s: float
    text: str
    rank: int
    told: bool = False
    sends: int | None = None  # of the gate, when it began


class TimeLine:
    """Takes each look and keeps what happened."""

    def __init__(self) -> None:
        self.bell = 0
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._open: dict[tuple[str, str], _Open] = {}
        self._banner: tuple[Banner, float, float, int | None] | None = None  # with when it began, and sends

    def note(self, text: str, wall_s: float) -> None:
        """Add what was done here; the same again is counted."""
        if self._events and self._events[-1].text == text:
            self._events[-1] = replace(self._events[-1], wall_s=wall_s, count=self._events[-1].count + 1)
        else:
            self._events.append(Event(wall_s, text))

    def look(
        self, now_s: float, wall_s: float, banner: Banner, causes: Mapping[str, Iterable[Cause]],
        nodes: Mapping[str, NodeSeen],
    ) -> None:  # fmt: skip
        """Take what is so now.

        Args:
            causes: by node.
        """
        self._look_at_the_banner(now_s, wall_s, banner, nodes)
        for name, found in causes.items():
            of_banner = name.removesuffix(GATE) == banner.node
            for cause in found:
                if cause.rank >= WARN and not (of_banner and cause.kind in STOPS):  # the banner's events tell of it
                    self._seen(cause.about or name.removesuffix(GATE), cause, now_s, wall_s)
        for key, one in list(self._open.items()):
            if not one.told and one.seen_s - one.since_s >= _BEGINS_S:
                one.told = True
                self.bell += one.rank >= ERROR
            if now_s - one.seen_s > _ENDS_S:
                del self._open[key]
                if one.told:
                    self._end(key, one)

    def events(self, now_s: float) -> tuple[Event, ...]:
        """Return what has happened and what goes on, by when it began."""
        going_on = [
            Event(one.wall_s, f"{one.text}, since {now_s - one.since_s:.0f} s")
            for one in self._open.values()
            if one.told
        ]
        return tuple(sorted((*self._events, *going_on), key=lambda event: event.wall_s))

    def _seen(self, about: str, cause: Cause, now_s: float, wall_s: float) -> None:
        key = (about, cause.kind)
        if key in self._open:
            self._open[key].seen_s = now_s
        elif len(self._open) < _KEPT:
            label = _LABELS.get(cause.kind, cause.kind.replace("_", " "))
            self._open[key] = _Open(now_s, now_s, wall_s, f"{shown(about)}: {label}", cause.rank)

    def _end(self, key: tuple[str, str], one: _Open) -> None:
        lasted_s = one.seen_s - one.since_s
        for place in range(1, min(_AGAIN, len(self._events)) + 1):
            known = self._events[-place]
            if known.text.startswith(f"{one.text} "):  # again: the newest time, and the sum
                before_s = float(known.text.rpartition(" s")[0].rpartition(" ")[2])
                del self._events[-place]
                text = f"{one.text} {before_s + lasted_s:.1f} s"
                self._events.append(Event(one.wall_s, text, known.count + 1))
                return
        self._events.append(Event(one.wall_s, f"{one.text} {lasted_s:.1f} s"))

    def _look_at_the_banner(self, now_s: float, wall_s: float, banner: Banner, nodes: Mapping[str, NodeSeen]) -> None:
        if self._banner is None:
            self._banner = banner, now_s, wall_s, _sends(banner, nodes)
            return
        before, since_s, since_wall_s, sends = self._banner
        if (before.state, before.node, _key(before.cause)) == (banner.state, banner.node, _key(banner.cause)):
            self._banner = banner, since_s, since_wall_s, sends
            return
        if before.state == "SAFE":
            begun = Event(since_wall_s, f"{before.node} SAFE: {shown(before.cause)}")
            if begun in self._events:
                self._events.remove(begun)
            self.note(f"{before.node} SAFE {now_s - since_s:.1f} s{_safe_actions(before, sends, nodes)}: "
                      f"{shown(before.cause)}", since_wall_s)  # fmt: skip
        if banner.state != before.state:
            self.bell += 1
            what = banner.state if banner.state != "SAFE" else f"SAFE: {shown(banner.cause)}"
            self.note(f"{banner.node or before.node} {what}", wall_s)
        self._banner = banner, now_s, wall_s, _sends(banner, nodes)


def _key(cause: str) -> str:
    """Return a cause without how long it has lasted."""
    return _AGES.sub("", cause)


def _sends(banner: Banner, nodes: Mapping[str, NodeSeen]) -> int | None:
    for name in (f"{banner.node}_gate", banner.node):
        value = nodes[name].said.others.get("gate.sends") if name in nodes else None
        if isinstance(value, int):
            return value
    return None


def _safe_actions(before: Banner, sends: int | None, nodes: Mapping[str, NodeSeen]) -> str:
    now = _sends(before, nodes)
    return f", {now - sends} safe actions" if now is not None and sends is not None and now >= sends else ""
