"""What a node's heartbeats come to: a status of the node itself, and one of each of its input topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from perf_inference.measure.alarm import Alarm, Growth, Limits, share_pct
from perf_inference.measure.heartbeat import TICK, Heartbeat, InputState
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.reports.messages import OK, STALE, WARN, heartbeat_of, key_values, level

PREFIX = "monitor_node: "
STATE, ACTIVE = "lifecycle", "active"  # of a managed node, in its heartbeat
_PROCESSES, _DOUBLE_S = 10, 10.0  # that a node's name is remembered of; for how long two of them are a warning


@dataclass(frozen=True)
class NodeLimits:
    """When a node or an input is worth a warning."""

    stale_s: float
    window_s: float
    misses_pct: Limits
    drops_pct: Limits
    rate_pct: Limits  # of what was expected
    tolerance_pct: float  # below the expected rate: where `rate_pct` begins


@dataclass(frozen=True)
class _Judged:
    """A part of a node, as its newest heartbeat has it."""

    part: str
    level: bytes
    message: str
    values: Mapping[str, Scalar]


class WatchedNode:
    """One node: its newest heartbeat and the alarms on it."""

    def __init__(self, name: str, limits: NodeLimits) -> None:
        self._name, self._limits = name, limits
        self._said = DiagnosticStatus()
        self._heard_s: float | None = None  # monotonic
        self._judged_s: float | None = None
        self._judged: list[_Judged] = []
        self._alarms: dict[tuple[str, str], Alarm] = {}
        self._growths: dict[tuple[str, str], Growth] = {}
        self._before: deque[str] = deque(maxlen=_PROCESSES)  # hardware_ids that another one has replaced
        self._double_s: float | None = None  # when one of them was heard again

    def heard(self, heartbeat: DiagnosticStatus, now_s: float) -> None:
        """Keep the newest heartbeat; what it says is read when it is asked for."""
        said, before = heartbeat.hardware_id, self._said.hardware_id
        if said != before and self._heard_s is not None:  # another process: its counters start at zero
            self._alarms, self._growths = {}, {}
            if said in self._before:  # no restarted one comes back
                self._double_s = now_s
            self._before.append(before)
        self._said, self._heard_s = heartbeat, now_s

    @property
    def heard_s(self) -> float:
        """When it was heard last (monotonic)."""
        return self._heard_s or 0.0

    def statuses(self, now_s: float) -> list[DiagnosticStatus]:
        """Return the node's statuses for /diagnostics."""
        if self._heard_s is None:
            return []
        if self._judged_s != self._heard_s:
            self._judged_s = self._heard_s
            self._judged = [_Judged("node", WARN, "its heartbeat cannot be judged", {})]  # where this fails
            self._judged = self._judge(self._heard_s)
            self._forget({judged.part for judged in self._judged})
        silent_s = now_s - self._heard_s
        double = self._double_s is not None and now_s - self._double_s < _DOUBLE_S
        return [self._status(judged, silent_s, double) for judged in self._judged]

    def _forget(self, parts: set[str]) -> None:
        """Drop what is known of inputs that the node has no more."""
        self._alarms = {key: alarm for key, alarm in self._alarms.items() if key[0] in parts}
        self._growths = {key: growth for key, growth in self._growths.items() if key[0] in parts}

    def _status(self, judged: _Judged, silent_s: float, double: bool) -> DiagnosticStatus:
        status_level, message = judged.level, judged.message
        if double:
            status_level = max(status_level, WARN)
            message = f"several processes call themselves {self._name}: give each a name of its own; {message}"
        if silent_s > self._limits.stale_s:
            status_level, message = STALE, f"silent for {silent_s:.1f} s; it said before: {message}"
        return DiagnosticStatus(
            level=status_level,
            name=f"{PREFIX}{self._name}/{judged.part}",
            message=message,
            hardware_id=self._said.hardware_id.partition("/")[0] or "host",
            values=key_values(rounded({**judged.values, "silent_s": silent_s})),
        )

    def _judge(self, now_s: float) -> list[_Judged]:
        said = heartbeat_of(self._said)
        part = "engine" if said.engine is not None else "recorder" if "records" in said.others else "node"
        if said.others.get(STATE, ACTIVE) != ACTIVE:  # it takes no input, and has no rate to keep
            self._alarms, self._growths = {}, {}
            own = _Judged(part, level(self._said), self._said.message, said.of_node().as_values())
            idle = str(said.others[STATE])
            return [
                own,
                *(_Judged(name, OK, idle, {"topic": one.topic}) for name, one in said.inputs.items() if one.topic),
            ]
        inputs = [self._input(name, said, now_s) for name, state in said.inputs.items() if state.topic is not None]
        if said.engine is not None:
            return [self._engine(said, now_s), *inputs]
        return [_Judged(part, level(self._said), self._said.message, said.as_values()), *inputs]

    def _engine(self, said: Heartbeat, now_s: float) -> _Judged:
        values = said.of_node().as_values()
        misses = self._growth("engine", "misses", now_s, (said.deadline_misses or 0, said.deadlines or 0))
        values["deadline_miss_pct"] = missed_pct = _share_pct(misses)
        alarms = [self._missed(missed_pct, said.deadline_ms), self._slow("engine", said.rate_hz, said.expected_hz)]
        if said.driven_by == TICK:
            values["drop_share_pct"] = dropped_pct = self._drop_share("engine", TICK, said, now_s)
            alarms.append(self._dropped("engine", dropped_pct))
        return self._part("engine", level(self._said), self._said.message, alarms, values)

    def _input(self, name: str, said: Heartbeat, now_s: float) -> _Judged:
        state = said.inputs[name]
        dropped_pct = self._drop_share(name, name, said, now_s)
        values = {
            **state.figures,
            "topic": state.topic,
            "tolerance": self._limits.tolerance_pct,
            "age_s": state.age_s,
            "drop_share_pct": dropped_pct,
            **state.ledger,
        }
        if state.lost_unknown is not None:
            values["lost_unknown"] = state.lost_unknown
        alarms = [
            self._slow(name, state.figure("frame_rate_node"), state.figure("expected_frequency")),
            self._dropped(name, dropped_pct),
        ]
        return self._part(name, WARN if state.problem else OK, state.problem or "receiving", alarms, values)

    def _part(
        self, part: str, own: bytes, message: str, alarms: list[tuple[int, str]], values: Mapping[str, Scalar]
    ) -> _Judged:
        texts = [text for raised, text in alarms if raised]
        worst = max(own, bytes([max(raised for raised, _ in alarms)]))
        return _Judged(part, worst, "; ".join(texts if own == OK and texts else [message, *texts]), values)

    def _missed(self, share: float | None, deadline_ms: float | None) -> tuple[int, str]:
        deadline = "their deadline" if deadline_ms is None else f"the deadline of {deadline_ms:.1f} ms"
        text = f"{share or 0:.1f} % of the inferences came after {deadline}"
        return self._alarm("engine", "misses", self._limits.misses_pct, share, text, "%")

    def _slow(self, part: str, rate_hz: float | None, expected_hz: float | None) -> tuple[int, str]:
        share = 100 * rate_hz / expected_hz if rate_hz is not None and expected_hz else None
        text = f"{rate_hz or 0:.2f} Hz where {expected_hz or 0:g} Hz are expected"
        return self._alarm(part, "rate", self._limits.rate_pct, share, text, "% of it")

    def _dropped(self, part: str, share: float | None) -> tuple[int, str]:
        text = f"{share or 0:.1f} % of the messages were dropped"
        return self._alarm(part, "drops", self._limits.drops_pct, share, text, "%")

    def _drop_share(self, part: str, name: str, said: Heartbeat, now_s: float) -> float | None:
        """Return the share of what was offered to an input that was lost [%]."""
        state = said.inputs.get(name, InputState())
        lost = sum(map(state.count, said.loss_counters(name)))
        offered = state.count("received") + state.count("lost_before")
        return _share_pct(self._growth(part, "drops", now_s, (lost, offered)))

    def _growth(self, part: str, what: str, now_s: float, counters: tuple[int, int]) -> tuple[int, ...] | None:
        return self._growths.setdefault((part, what), Growth(self._limits.window_s)).add(now_s, counters)

    def _alarm(
        self, part: str, what: str, limits: Limits, value: float | None, text: str, unit: str
    ) -> tuple[int, str]:
        return judged(self._alarms.setdefault((part, what), Alarm(limits)), value, text, unit)


def judged(alarm: Alarm, value: float | None, text: str, unit: str) -> tuple[int, str]:
    """Return the level, and the text, with the limit that keeps the level up where the value itself does not."""
    raised, ends = alarm.update(value), alarm.ends(value)
    if ends is not None:
        text += f" (until it is {'below' if alarm.more_is_worse else 'above'} {ends:g} {unit})".replace(" )", ")")
    return raised, text if raised else ""


def rounded(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the values as a person reads them: three decimals."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def _share_pct(grown: tuple[int, ...] | None) -> float | None:
    share = share_pct(*grown) if grown else None
    return None if share is None else round(share, 2)
