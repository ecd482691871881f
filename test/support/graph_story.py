"""A graph as its heartbeats and timings tell of it, with faults to be put into it; time moves as it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from perf_inference.console.machine import Part
from perf_inference.console.picture import Picture
from perf_inference.console.watch import Watch
from perf_inference.measure.heartbeat import Beat, Heartbeat
from perf_inference.measure.stamps import STAGES

STEP_S = 0.5
START_S, WALL_S = 1000.0, 1_700_000_000.0
YOLO_MS = {"queue": 0.3, "decode": 1.0, "preprocess": 1.2, "infer": 9.0, "postprocess": 0.4, "publish": 0.3}
CAPTION_MS = {"queue": 0.3, "decode": 0.2, "preprocess": 0.5, "infer": 30.0, "postprocess": 0.1, "publish": 0.2}
POLICY_MS = {"queue": 0.4, "decode": 0.4, "preprocess": 0.6, "infer": 6.0, "postprocess": 0.1, "publish": 0.5}


@dataclass
class Source:
    """What comes on an input topic."""

    topic: str
    hz: float = 30.0
    expected_hz: float | None = None
    lost_hz: float = 0.0
    rejected_hz: float = 0.0
    delay_ms: float | None = 4.0
    problem: str | None = None
    more: dict[str, Any] = field(default_factory=dict)  # figures
    silent_s: float | None = None  # as old as this the newest one is; None: fresh
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTERS, 0.0))


_COUNTERS = ("received", "processed", "replaced", "rejected", "failed", "lost_before")


@dataclass
class Engine:
    """A node with an engine."""

    name: str
    engine: str
    expected_hz: float
    stages_ms: dict[str, float]
    inputs: dict[str, Source]
    driven_by: str = "tick"
    host: str = "robot"
    start: int = 1
    precision: str = "fp32"
    device: str = "cpu"
    runtime: str = "onnx"
    message: str | None = None  # its own words in place of those that the figures make
    ok: bool = True
    failed_hz: float = 0.0
    late_ms: float = 0.0
    silent: bool = False
    others: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("inferences", "deadlines", "misses"), 0.0))
    ticks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTERS, 0.0))
    seq: int = 0

    @property
    def busy_ms(self) -> float:
        return sum(ms for stage, ms in self.stages_ms.items() if stage != "queue")

    @property
    def total_ms(self) -> float:
        return sum(self.stages_ms.values())


@dataclass
class Plain:
    """A node without an engine."""

    name: str
    values: dict[str, Any]
    growing: dict[str, float] = field(default_factory=dict)  # counters, by what they grow a second
    message: str = "running"
    ok: bool = True
    host: str = "robot"
    start: int = 1
    silent: bool = False


class Story:
    """A robot with a camera of 30 Hz, an arm, policy, detector, captioner, recorder and monitor, all well."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.now_s, self.pictures = START_S, []
        camera = "/camera/image_raw"
        self.yolo = Engine("yolo_node", "detector", 30.0, dict(YOLO_MS),
                           {"image": Source(camera, expected_hz=30.0)}, "image")  # fmt: skip
        self.caption = Engine("caption_node", "captioner", 2.0, dict(CAPTION_MS), {"image": Source(camera)})
        self.policy = Engine("policy_node", "policy", 10.0, dict(POLICY_MS), {
            "image": Source(camera), "joint_states": Source("/joint_states", 100.0),
        }, message="driving")  # fmt: skip
        self.gate = Plain("policy_node_gate", {"gate.enabled": "true", "gate.sends": 0, "gate.speed_scale": 1.0},
                          {"gate.sends": 10.0}, "driving")  # fmt: skip
        recorder = {"records": 0, "bytes": 0, "dropped": 0, "failed": 0, "lost_before": 0, "queue": 2, "last_error": "",
                    "directory": "/data/runs/run_1"}  # fmt: skip
        self.recorder = Plain("recorder_node", recorder, {"records": 300.0}, "recording")
        self.engines, self.plain = [self.yolo, self.caption, self.policy], [self.gate, self.recorder]
        self.host: dict[str, Any] | None = {"cpu_pct": 35.0, "load_per_core": 0.5, "memory_used_pct": 30.0}
        self.platform: dict[str, Any] = {"temperature_degc": 55.0}
        self.gpu: dict[str, Any] | None = None

    def play(self, seconds: float, each: Callable[[], None] = lambda: None) -> Picture:
        """Let time go on, a look twice a second; return the last picture."""
        picture = self.look()
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            each()
            for engine in self.engines:
                self._step(engine)
            for plain in self.plain:
                self._beat_plain(plain)
            self._machine()
            picture = self.look()
        return picture

    def look(self) -> Picture:
        picture = self.watch.look(self.now_s, WALL_S + self.now_s - START_S)
        self.pictures.append(picture)
        return picture

    def _machine(self) -> None:
        owner = "monitor_node: monitor_node"
        for what, values in (("host", self.host), ("platform", self.platform), ("gpu0", self.gpu)):
            if values is not None and self.host is not None:
                self.watch.machine(f"{owner}/{what}", "robot", Part(self.now_s, True, "running", values))

    def _beat_plain(self, node: Plain) -> None:
        for name, per_s in node.growing.items():
            node.values[name] = node.values[name] + per_s * STEP_S
        if not node.silent:
            values = {name: int(v) if name in node.growing else v for name, v in node.values.items()}
            start = f"{node.host}/{node.start}"
            self.watch.heartbeat(node.name, Beat(self.now_s, start, node.ok, node.message, Heartbeat(others=values)))

    def _step(self, node: Engine) -> None:
        for source in node.inputs.values():
            if source.silent_s is not None:
                source.silent_s += STEP_S
                source.problem = f"nothing on {source.topic} for {source.silent_s:.1f} s"
            came = 0.0 if source.silent_s is not None else source.hz * STEP_S
            _add(
                source.counts, received=came, lost_before=source.lost_hz * STEP_S, rejected=source.rejected_hz * STEP_S
            )
        driver = node.inputs.get(node.driven_by)
        dry = any(source.silent_s is not None for name, source in node.inputs.items() if name == "image")
        wanted = 0.0 if dry else (node.expected_hz if driver is None else driver.hz - driver.rejected_hz) * STEP_S
        done = min(wanted, STEP_S * 1e3 / node.busy_ms) - node.failed_hz * STEP_S
        ledger = node.ticks if driver is None else driver.counts
        _add(ledger, processed=done, replaced=wanted - done - node.failed_hz * STEP_S, failed=node.failed_hz * STEP_S)
        if driver is None:
            _add(ledger, received=wanted)
        deadline_ms = 1e3 / node.expected_hz
        took_ms = node.total_ms + node.late_ms
        _add(node.counts, inferences=done, deadlines=done, misses=done if took_ms > deadline_ms else 0.0)
        if node.silent:
            return
        for index in range(max(1, round(done)) if done > 0.2 else 0):
            self._time(node, index / max(1, round(done)))
        self._beat(node, done / STEP_S, deadline_ms, took_ms)

    def _time(self, node: Engine, part: float) -> None:
        node.seq += 1
        arrived_s = self.now_s - STEP_S + part * STEP_S
        source = node.inputs.get("image")
        delay_ms = None if source is None or source.delay_ms is None else source.delay_ms
        record = {
            "node": node.name, "engine": node.engine, "precision": node.precision, "device": node.device,
            "seq": node.seq, "received_ns": round(arrived_s * 1e9), "arrived_ns": round(arrived_s * 1e9),
            **{f"{stage}_ms": node.stages_ms.get(stage) for stage in STAGES}, "total_ms": node.total_ms,
            "latency_ms": None if delay_ms is None else node.total_ms + delay_ms,
            "due_latency_ms": node.total_ms + node.late_ms, "dropped_before": 0, "warmup": False,
        }  # fmt: skip
        self.watch.timing(record, self.now_s)

    def _beat(self, node: Engine, rate_hz: float, deadline_ms: float, took_ms: float) -> None:
        values: dict[str, Any] = {
            "engine": node.engine, "runtime": node.runtime, "precision": node.precision, "device": node.device,
            "driven_by": node.driven_by, "inferences": int(node.counts["inferences"]), "rate_hz": rate_hz,
            "expected_hz": node.expected_hz, "deadline_ms": deadline_ms, "deadlines": int(node.counts["deadlines"]),
            "deadline_misses": int(node.counts["misses"]), "samples": 100,
            "engine_state": f"running {node.engine} ({node.runtime} {node.precision} on {node.device})",
            "model_mb": 1.2, "process_memory_mb": 150.0, "gpu_memory_mb": None, "swaps": 0,
            "callback_errors": 0, "bad_messages": 0, **node.others,
        }  # fmt: skip
        if node.driven_by == "tick":
            values |= {f"ledger.tick.{name}": int(value) for name, value in node.ticks.items()}
        words = ""
        for name, source in node.inputs.items():
            values |= {f"ledger.{name}.{counter}": int(value) for counter, value in source.counts.items()}
            values |= {
                f"input.{name}.topic": source.topic, f"input.{name}.problem": source.problem,
                f"{name}_age_s": source.silent_s or 0.02, f"input.{name}.frame_rate_node":
                None if source.silent_s else source.hz, f"input.{name}.frame_rate_msg":
                None if source.silent_s else source.hz, f"input.{name}.current_delay_from_realtime_ms": source.delay_ms,
                f"input.{name}.expected_frequency": source.expected_hz,
            }  # fmt: skip
            values |= {f"input.{name}.{key}": value for key, value in source.more.items()}
            words = words or source.problem or ""
        if not words and took_ms > deadline_ms:
            words = f"an inference took {took_ms:.1f} ms, longer than the period of {deadline_ms:.1f} ms"
        message = node.message if node.message is not None else words or "running"
        ok = node.ok and (not words or node.message == "driving")
        beat = Beat(self.now_s, f"{node.host}/{node.start}", ok, message, Heartbeat.of(values))
        self.watch.heartbeat(node.name, beat)


def _add(counts: dict[str, float], **more: float) -> None:
    for name, value in more.items():
        counts[name] += max(0.0, value)
