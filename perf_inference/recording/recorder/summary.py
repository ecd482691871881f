"""The summary of a run: what its timings and the nodes' own counts come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from perf_inference.errors import InputError
from perf_inference.measure.record import check_timing, is_count, short
from perf_inference.measure.statistics import TimingStatistics
from perf_inference.telemetry.window import MachineWindow

_REMEMBERED = 20_000  # timings that a second delivery is recognised of: 1000 per node come again to a late joiner
_LEDGER = "ledger."
_MOST_NODES, _MOST_STARTS = 500, 10_000  # that are told apart; of all nodes together


MachineWindows = Callable[[int, int], MachineWindow]


class Summary:
    """Statistics per node, and each node's last heartbeat; used by one thread."""

    def __init__(self, machine: MachineWindows | None = None, host: str = "") -> None:
        """Start empty.

        Args:
            machine: what this machine did between two moments of its monotonic clock; given to nodes that run on it.
            host: this machine's name, as the nodes' heartbeats have it.
        """
        self.duplicates = 0
        self._machine, self._host = machine, host
        self._nodes: dict[str, TimingStatistics] = {}
        self._policies: set[str] = set()
        self._seen: dict[tuple[Any, ...], None] = {}
        self._counted: dict[str, dict[str, int]] = {}  # node: start: inferences
        self._ledgers: dict[str, dict[str, dict[str, Any]]] = {}

    def timing(self, record: Mapping[str, Any]) -> bool:
        """Add one flat record; False when it has come before (the same node, start and seq).

        A node's start is known by the receiving time of its records, which the file has too: so a recorder that was
        restarted recognises what its predecessor wrote.

        Raises:
            InputError: it is no such record, or there are too many nodes.
        """
        check_timing(record)
        node = record["node"]
        self._check_room(node)
        key = (node, record["seq"], record["received_ns"])
        if key in self._seen:
            self.duplicates += 1
            return False
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._nodes.setdefault(node, TimingStatistics()).add(record)
        if "robot_fill" in record:
            self._policies.add(node)
        return True

    def heartbeat(self, node: str, start: str, values: Mapping[str, Any]) -> None:
        """Take a node's own counts; `start` tells one process of the node from the next.

        Raises:
            InputError: its inferences are no count, or there are too many nodes or starts.
        """
        if "inferences" not in values:
            return
        inferences = values["inferences"]
        if not is_count(inferences):
            raise InputError(f"inferences must be a whole number of at least 0, got {short(inferences)}")
        self._check_room(node)
        starts = self._counted.setdefault(node, {})
        if start not in starts and sum(map(len, self._counted.values())) >= _MOST_STARTS:
            raise InputError(f"at most {_MOST_STARTS} starts of nodes are counted, and this is one more")
        starts[start] = inferences
        ledger: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            if key.startswith(_LEDGER) and not isinstance(value, str):
                source, _, counter = key[len(_LEDGER) :].rpartition(".")
                ledger.setdefault(source, {})[counter] = value
        self._ledgers[node] = ledger

    def _check_room(self, node: str) -> None:
        if node in self._nodes or node in self._counted:
            return
        if len({*self._nodes, *self._counted}) >= _MOST_NODES:
            raise InputError(f"at most {_MOST_NODES} nodes have a place in the summary, and this is one more")

    def restore(self, path: Path) -> None:
        """Add what an earlier recorder has written to this timings file."""
        if not path.is_file():
            return
        with open(path, "rb") as file:
            for line in file:
                # Not ours: it is in the file, and not in the figures.
                with suppress(orjson.JSONDecodeError, AttributeError, InputError):
                    self.timing(orjson.loads(line))

    def as_dict(self) -> dict[str, Any]:
        """Return the summary file's contents."""
        chosen = self._policies or set(self._nodes)
        inferences = sum(self._nodes[node].inferences for node in chosen)
        elapsed_s = max((self._nodes[node].elapsed_s for node in chosen), default=0.0)
        return {
            "total_actions": sum(self._nodes[node].inferences for node in self._policies),
            "elapsed_s": round(elapsed_s, 3),
            "average_hz": round((inferences - len(chosen)) / elapsed_s, 4) if elapsed_s > 0 else None,
            "nodes": {node: self._node(node) for node in sorted({*self._nodes, *self._counted})},
        }

    def _node(self, node: str) -> dict[str, Any]:
        statistics = self._nodes.get(node, TimingStatistics())
        starts = self._counted.get(node)
        return {
            **statistics.as_dict(),
            "recorded": statistics.inferences,
            "counted": None if starts is None else sum(starts.values()),
            "ledger": self._ledgers.get(node, {}),
            "machine": self._window(statistics, starts or {}),
        }

    def _window(self, statistics: TimingStatistics, starts: Mapping[str, int]) -> dict[str, Any] | None:
        """Return clocks, power and temperature of the time in which a node's timings were taken; None: elsewhere."""
        span = statistics.span_ns
        here = bool(starts) and all(start.partition("/")[0] == self._host for start in starts)
        if self._machine is None or span is None or not here:
            return None
        window = self._machine(*span)
        return {**window.as_dict(), "energy_per_inference_j": window.energy_per_inference_j(statistics.inferences)}
