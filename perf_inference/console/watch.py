"""All that was heard of a graph, and the picture that it makes at a look."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from perf_inference.console.banner import banner_of
from perf_inference.console.causes import causes_of, causes_of_machines, causes_of_names
from perf_inference.console.causes.cause import Cause
from perf_inference.console.events import TimeLine
from perf_inference.console.machine import Machines, Part, is_of_machine
from perf_inference.console.node import NodeSeen
from perf_inference.console.picture import Picture, Row
from perf_inference.measure.heartbeat import Beat
from perf_inference.measure.stamps import Scalar
from perf_inference.printable import OUTSIDE, printable

MOST_NODES = 500
_FORGOTTEN_S, _CAPTIONS, _LINES = 600.0, 20, 200
_MOST = 1e12  # of a figure that is shown
_REFUSED_S = 10.0  # so often at most it is said that messages cannot be used
_LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "fatal"}


class Watch:
    """What a console knows; one thread at a time."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeSeen] = {}
        self.machines = Machines()
        self.captions: deque[str] = deque(maxlen=_CAPTIONS)
        self.log: deque[str] = deque(maxlen=_LINES)
        self.line = TimeLine()
        self.refused = 0  # messages that cannot be used
        self._refused_s = float("-inf")
        self._twins: dict[str, tuple[int, float]] = {}  # name that several nodes have: how many, and since when
        self._original: dict[str, str] = {}  # node: the engine that its process ran when it was heard first

    def heartbeat(self, name: str, beat: Beat) -> None:
        """Take a node's heartbeat."""
        node = self._node(name)
        if node is not None:
            again = node.newest is not None and node.newest.start != beat.start
            node.hear(beat)
            if beat.said.engine is not None and (again or name not in self._original):
                self._original[name] = beat.said.engine

    def timing(self, record: Mapping[str, Any], heard_s: float) -> None:
        """Take the flat record of one inference."""
        node = self._node(str(record["node"]))
        if node is not None:
            node.time(record, heard_s)

    def machine(self, name: str, hardware_id: str, part: Part) -> None:
        """Take a status of monitor_node; one of a node is left out: the node's own heartbeat says it."""
        if is_of_machine(name):
            self.machines.hear(name, hardware_id, part)

    def names(self, count: Mapping[str, int], now_s: float) -> None:
        """Take how many nodes of the graph have each name, `/namespace/name`."""
        since = {name: self._twins.get(name, (0, now_s))[1] for name, n in count.items() if n > 1}
        self._twins = {name: (count[name], since_s) for name, since_s in list(since.items())[:MOST_NODES]}

    def caption(self, text: str) -> None:
        """Take a caption."""
        self.captions.append(printable(text, 1000))

    def said(self, level: int, name: str, text: str) -> None:
        """Take a line of a node's log."""
        if level >= 20:
            self.log.append(f"{_LEVELS.get(level, str(level))}: {printable(name, OUTSIDE)}: {printable(text, 500)}")

    def refuse(self, why: str, now_s: float) -> None:
        """Count a message that cannot be used, and say so now and then."""
        self.refused += 1
        if now_s > self._refused_s + _REFUSED_S:
            self._refused_s = now_s
            self.said(30, "console", f"{self.refused} messages cannot be used, the newest: {why}")

    def look(self, now_s: float, wall_s: float) -> Picture:
        """Return what is so now.

        Args:
            now_s: monotonic, as the heartbeats' `heard_s`.
        """
        for name in [name for name, node in self.nodes.items() if node.silent_s(now_s) > _FORGOTTEN_S]:
            del self.nodes[name]
        causes: dict[str, list[Cause]] = {}
        for name, node in self.nodes.items():
            node.remember_loaded()
            node.twins = self._twins.get(f"/{name}", (1, now_s))
            causes[name] = causes_of(node, self.machines, now_s)
        others = {name: n for name, (n, _) in self._twins.items() if name.lstrip("/") not in self.nodes}
        of_machines = [*causes_of_names(others), *causes_of_machines(self.machines, self.machines.hosts(), now_s)]
        banner = banner_of(self.nodes, now_s)
        self.line.look(now_s, wall_s, banner, causes, self.nodes)
        rows = [self._row(self.nodes[name], found, now_s) for name, found in causes.items()]
        rows.sort(key=lambda row: (-row.cause.rank, row.name))
        return Picture(
            wall_s,
            banner,
            tuple(rows),
            tuple(of_machines),
            self.line.events(now_s),
            tuple(self.captions),
            tuple(self.log),
            self.line.bell,
            "" if self.nodes else "no node is heard yet: start one (perf-inference demo, or run), or set ROS_DOMAIN_ID",
        )

    def _row(self, node: NodeSeen, causes: list[Cause], now_s: float) -> Row:
        said, times, current = node.said, node.times(), node.current.whole.summary_ms()
        others = said.others
        return Row(
            name=node.name,
            level=causes[0].level,
            state=printable(node.message, 500),
            cause=causes[0],
            others=tuple(causes[1:]),
            engine=said.engine,
            model=self._model(node),
            precision=said.precision,
            device=said.device,
            runtime=said.runtime,
            engine_state=printable(others.get("engine_state") or "", 500),
            rate_hz=said.rate_hz,
            expected_hz=said.expected_hz,
            p50_ms=_number(current["p50"]),
            p99_ms=_number(current["p99"]),
            max_ms=_number(current["max"]),
            n=node.current.whole.n,
            stages_ms=dict(times.stages_ms) if times is not None else {},
            total_ms=times.total_ms if times is not None else None,
            stages_n=times.n if times is not None else 0,
            sparks_ms=tuple(node.sparks()),
            drops=node.drops(),
            cpu_mb=_number(others.get("process_memory_mb")),
            gpu_mb=_number(others.get("gpu_memory_mb")),
            size_mb=_number(others.get("model_mb")),
            score=_number(others.get("model_score")),
            silent_s=node.silent_s(now_s),
        )

    def _model(self, node: NodeSeen) -> str:
        engine = node.said.engine
        if engine is None:
            return ""
        if "pruned" in engine:
            return "Pruned"
        return "Original" if engine == self._original.get(node.name) else printable(engine, 40)

    def _node(self, name: str) -> NodeSeen | None:
        known = self.nodes.get(name)
        if known is None:
            if len(self.nodes) >= MOST_NODES:
                self.refused += 1
                return None
            known = self.nodes[name] = NodeSeen(name)
        return known


def _number(value: Scalar) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
    return float(value) if is_number else None  # type: ignore[arg-type]
