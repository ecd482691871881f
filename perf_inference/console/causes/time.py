"""Where the milliseconds of an inference go, and whether they are too many."""

from __future__ import annotations

from dataclasses import replace

from perf_inference.console.causes.cause import Cause, hz, ms, shown, word
from perf_inference.console.causes.processor import is_busy
from perf_inference.console.machine import Machines
from perf_inference.console.node import NodeSeen, Times
from perf_inference.measure.heartbeat import TICK, Heartbeat
from perf_inference.measure.stamps import Scalar

_MISSED_PCT, _REPLACED_PCT, _LEAST, _SLOW = 5.0, 10.0, 2, 0.9
_TELLING = 3  # timings that a sentence may rest on
_ALWAYS = 0.8  # of the period, at best
_GROWN, _WAITS, _FULL, _LATE = 1.5, 0.4, 0.6, 0.25
_OLD_S = 3.0
_OFTEN = 1.5  # times its own rate
_SERVERS = ("remote", "chat")


def causes(node: NodeSeen, machines: Machines, now_s: float) -> list[Cause]:
    """Return where the time goes; a warning where the node is too slow for what drives it."""
    times = node.times()
    if times is None or node.said.engine is None:
        return []
    if times.n < _TELLING or (node.heard_timing_s is not None and now_s - node.heard_timing_s > _old_s(node)):
        return []
    if (asked := _asked_too_often(node, times)) is not None:
        return [asked]
    why = _too_slow(node)
    cause = _where(node, times, machines, now_s, losing=bool(why))
    if not why:
        return [cause if cause.rank >= 40 else Cause(cause.kind, 1, cause.text, "", cause.samples)]
    return [replace(cause, rank=max(cause.rank, 81), text=f"{cause.text}; {why}")]


def _asked_too_often(node: NodeSeen, times: Times) -> Cause | None:
    """Return that a node that is asked, by a trigger or its own rate, is asked more often than it can answer."""
    said, watched_s = node.said, node.watched_s()
    if said.driven_by != TICK or not said.expected_hz or watched_s < 2:
        return None
    asked, replaced = node.grown(lambda s: _count(s, "received")), node.grown(lambda s: _count(s, "replaced"))
    if asked < _OFTEN * said.expected_hz * watched_s or 100 * replaced < _REPLACED_PCT * asked:
        return None
    name, each = shown(node.name), ms(times.busy_ms)
    text = f"{name} is asked {hz(asked / watched_s)} times a second, its own rate is {hz(said.expected_hz)} Hz: "
    text += f"{replaced} of {asked} were replaced by newer ones, one takes {each} ms ({times.n} timings)"
    return Cause("asked_too_often", 81, text, "ros2 node list    # end what calls it again and again", asked)


def _count(said: Heartbeat, counter: str) -> Scalar:
    return said.inputs[TICK].ledger.get(counter) if TICK in said.inputs else None


def _old_s(node: NodeSeen) -> float:
    expected = node.said.expected_hz
    return _OLD_S + (2 / expected if expected else 0.0)


def _too_slow(node: NodeSeen) -> str:
    """Return how it shows that the node is too slow, or nothing."""
    said = node.said
    deadlines, missed = node.grown(lambda s: s.deadlines), node.grown(lambda s: s.deadline_misses)
    if missed >= _LEAST and 100 * missed >= _MISSED_PCT * max(1, deadlines):
        return f"{missed} of {deadlines} came after their deadline of {ms(said.deadline_ms or 0)} ms"
    driver = said.driven_by or TICK
    received = node.grown(lambda s: s.inputs[driver].ledger.get("received") if driver in s.inputs else None)
    replaced = node.grown(lambda s: s.inputs[driver].ledger.get("replaced") if driver in s.inputs else None)
    if replaced >= _LEAST and 100 * replaced >= _REPLACED_PCT * max(1, received):
        return f"{replaced} of {received} were replaced by newer ones"
    if driver == TICK and said.expected_hz and said.rate_hz is not None and node.watched_s() >= 2:
        fresh = node.message.startswith(("driving", "running", "an inference"))
        if fresh and said.rate_hz < _SLOW * said.expected_hz and node.beats[0].said.rate_hz is not None:
            return f"{hz(said.rate_hz)} of {hz(said.expected_hz)} Hz"
    return ""


def _where(node: NodeSeen, times: Times, machines: Machines, now_s: float, losing: bool) -> Cause:
    name = shown(node.name)
    queue_ms, period_ms = times.stages_ms.get("queue", 0.0), _period_ms(node)
    stage, stage_ms = times.largest(but=("queue",))
    frames = f"({times.n} timings)"
    late_ms = times.late_ms or 0.0
    waits = queue_ms + late_ms
    by_tick = node.said.driven_by == TICK
    starved = (
        losing
        and waits >= _WAITS * (times.total_ms + late_ms)
        and (by_tick or period_ms is None or times.busy_ms < _FULL * period_ms)
    )
    best_ms, infer_ms = node.best_infer_ms, times.stages_ms.get("infer", 0.0)
    grown = best_ms is not None and infer_ms >= _GROWN * best_ms and infer_ms - best_ms >= 2.0
    if (losing or grown) and (cause := _of_gpu(node, times, machines, now_s)) is not None:
        return cause
    always = best_ms is not None and period_ms is not None and best_ms > _ALWAYS * period_ms and not grown
    told = grown or starved or (stage == "infer" and not always)  # an engine that never was fast enough is just that
    if is_busy(machines, node.host, now_s) and (losing or grown) and told:
        if grown:
            stage, stage_ms = "infer", infer_ms
        before = f", {ms(best_ms)} at best" if best_ms is not None and grown else ""
        return Cause(
            "busy_cores",
            82 if losing else 50,
            f"{name}: the processor of {shown(node.host)} is busy with "
            f"other work: {stage} takes {ms(stage_ms)} ms{before} {frames}",
            "perf-inference doctor --only cores",
            times.n,
            node.host,
        )
    if starved:
        return Cause(
            "queue",
            81,
            f"{name}: messages wait {ms(waits)} ms for its thread, which needs {ms(times.busy_ms)} ms {frames}",
            "perf-inference doctor --only cores --only inputs",
            times.n,
        )
    untold = machines.host(node.host, now_s) is None
    if grown and losing and stage == "infer" and untold and node.said.runtime not in _SERVERS:
        return Cause(
            "slowed",
            81,
            f"{name}: infer takes {ms(infer_ms)} ms, {ms(best_ms or 0)} at best with the same "
            f"model: something else has the processor or slows it {frames}",
            "perf-inference doctor --only cores --only governor --only gpu",
            times.n,
        )
    text = f"{name}: {stage} takes {ms(stage_ms)} of {ms(times.busy_ms)} ms"
    if period_ms is not None and losing:
        text += f", the period is {ms(period_ms)} ms"
    rank = 81 if losing else 1
    if node.said.runtime in _SERVERS and stage == "infer":
        return Cause(
            "server",
            rank,
            f"{text}: the server or the way to it {frames}",
            "perf-inference doctor --only cores    # on the server",
            times.n,
        )
    return Cause(stage, rank, f"{text} {frames}", _fix(node, stage), times.n)


def _of_gpu(node: NodeSeen, times: Times, machines: Machines, now_s: float) -> Cause | None:
    if not (node.said.device or "").startswith("cuda"):
        return None
    for gpu in machines.gpus(node.host, now_s):
        if held := gpu.values.get("held_back_by"):
            infer_ms = times.stages_ms.get("infer", 0.0)
            return Cause(
                "gpu_slowed",
                82,
                f"{shown(node.name)}: the GPU is held back by {shown(held)}: infer takes "
                f"{ms(infer_ms)} ms ({times.n} timings)",
                "perf-inference doctor --only gpu",
                times.n,
            )
    return None


def _period_ms(node: NodeSeen) -> float | None:
    if node.said.deadline_ms is not None:
        return node.said.deadline_ms
    return 1e3 / node.said.expected_hz if node.said.expected_hz else None


def _fix(node: NodeSeen, stage: str) -> str:
    name, said = word(node.name), node.said
    if stage == "infer":
        if said.engine == "captioner":
            return f"perf-inference set {name} model pruned"
        if said.precision in ("fp32", None):
            smaller = "fp16" if (said.device or "").startswith("cuda") else "int8"
            return f"perf-inference set {name} precision {smaller}"
        return "perf-inference bench ladder    # what is faster on this machine"
    return {
        "decode": "perf-inference bench images    # send smaller images, or bgr8",
        "preprocess": f"perf-inference set {name} roi 0 0 640 480    # or send smaller images",
        "postprocess": f"perf-inference set {name} max_detections 20    # or a higher confidence",
        "publish": "perf-inference doctor --only qos --only topics    # a slow reader of what it sends",
    }.get(stage, "perf-inference doctor")
