"""What the nodes of this package say of their inputs, and which other nodes have no time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perf_inference.doctor.finding import Finding, word
from perf_inference.doctor.graph import Beats, GraphFacts
from perf_inference.doctor.processes import Participants
from perf_inference.doctor.snapshot import Interval
from perf_inference.measure.heartbeat import TICK, InputState

_DROPPED_PCT, _DROPPED = 5.0, 3  # share, and messages, that a node may drop
_SATURATED_PCT = 95.0
_SLOW = 0.9  # of the expected rate
_LISTED = 3


def inputs(facts: GraphFacts, found: Participants, window: Interval) -> list[Finding]:
    """Judge what the nodes of this package say of their inputs, and look for others that are always busy."""
    findings = []
    for node, beats in sorted(facts.beats.items()):
        findings += _node_inputs(node, beats)
    ours = {name.rpartition("/")[2] for name in facts.beats}
    foreign: dict[int, set[str]] = {}
    for flow in facts.flows:
        for end in flow.subscribers:
            one = found.of_pid(end.pid_low)
            if one is not None and end.node.rpartition("/")[2] not in ours:
                foreign.setdefault(one.pid, set()).add(end.node)
    for pid, nodes in foreign.items():
        share = window.busiest_thread_pct(pid)
        if share is not None and share >= _SATURATED_PCT:
            findings.append(_saturated(", ".join(sorted(nodes)), pid, share))
    if findings:
        return findings
    silent = sorted({name for nodes in foreign.values() for name in nodes})
    some = ", ".join(silent[:_LISTED]) + (", ..." if len(silent) > _LISTED else "")
    note = f"; what nodes without a heartbeat drop inside cannot be seen ({some})" if silent else ""
    if not facts.beats:
        return [Finding("inputs", "skipped", f"no node of this package runs{note}")]
    return [Finding("inputs", "ok", f"{len(facts.beats)} nodes keep up with their inputs{note}")]


def _node_inputs(node: str, beats: Beats) -> list[Finding]:
    findings = []
    said = beats.last.said
    for name, state in said.inputs.items():
        lost = {counter: _grown(beats, name, counter) for counter in said.loss_counters(name)}
        dropped = sum(lost.values())
        total = _grown(beats, name, "received") + lost["lost_before"]
        if dropped >= _DROPPED and 100 * dropped >= _DROPPED_PCT * total:
            findings.append(_slow(node, name, {key: count for key, count in lost.items() if count}, total, beats))
        topic = state.topic or name
        findings += _slow_source(node, topic, state)
        if state.problem:
            why = "the node waits for what does not come"
            cure = f"the camera, and source of {node}" if _is_camera(beats) else f"$ ros2 topic info -v {word(topic)}"
            findings.append(Finding("inputs", "warning", f"{node}: {state.problem}", why, cure))
    dropped = _other(beats, "dropped") + _other(beats, "failed") if "records" in said.others else 0
    if dropped:
        value = f"{node}: {dropped} records dropped or not readable within {beats.span_s:.1f} s"
        findings.append(Finding("inputs", "warning", value, "the recording has gaps", "see disk and cores"))
    return findings


def _grown(beats: Beats, name: str, counter: str) -> int:
    return beats.grown(lambda said: said.inputs[name].ledger.get(counter) if name in said.inputs else None)


def _other(beats: Beats, key: str) -> int:
    return beats.grown(lambda said: said.others.get(key))


def _slow(node: str, name: str, lost: Mapping[str, int], total: int, beats: Beats) -> Finding:
    said = beats.last.said
    reasons = ", ".join(f"{count} {_WORDS[counter]}" for counter, count in lost.items())
    what = "ticks" if name == TICK else f"messages of {said.inputs[name].topic or name}"
    value = f"{node}: of {total} {what} within {beats.span_s:.1f} s {reasons}"
    took = said.total_p50_ms
    why = "the node is slower than its input" + (f": one message takes {took} ms (p50)" if took is not None else "")
    worst = max(lost, key=lambda counter: lost[counter])
    if worst == "lost_before" and _is_camera(beats):
        why = "the driver gave less than its rate promised: a long exposure, a weak cable, or a wrong parameter fps"
        return Finding("inputs", "warning", value, why, "light, cable, and the parameter fps")
    return Finding("inputs", "warning", value, why, _CURES[worst].format(name=name))


def _is_camera(beats: Beats) -> bool:
    """Return whether the input is a camera itself, which comes on no topic."""
    return "reconnects" in beats.last.said.others


def _slow_source(node: str, topic: str, state: InputState) -> list[Finding]:
    """Compare the rate of an input with what the user has told the node to expect."""
    rate, expected = state.figure("frame_rate_node"), state.figure("expected_frequency")
    if rate is None or expected is None or rate >= _SLOW * expected:
        return []
    value = f"{node}: {rate:.1f} Hz come of {topic} where expected_frequency is {expected:g}"
    why = "the source is slower than promised, or what it sends does not arrive (then topics or transport says so)"
    return [Finding("inputs", "warning", value, why, "the source's rate, or the parameter expected_frequency")]


_WORDS = {
    "lost_before": "lost before the callback",
    "rejected": "rejected as bad",
    "failed": "failed in the engine",
    "replaced": "replaced by a newer one",
}
_CURES = {
    "replaced": "a smaller model, another device or more threads (parameters model, device, threads), or a lower rate "
    "at the source",
    "lost_before": "processor time (see cores), or a deeper history of the reader:\n"
    "$ ros2 run PACKAGE EXECUTABLE --ros-args -p qos_overrides./TOPIC.subscription.depth:=20",
    "rejected": "what is wrong is in the node's log and in:\n$ ros2 topic echo --once /inference/status",
    "failed": "what is wrong is in the node's log and in:\n$ ros2 topic echo --once /inference/status",
}


def _saturated(nodes: str, pid: int, share: float) -> Finding:
    value = f"{nodes}: a thread of pid {pid} has work {share:.0f} % of the time"
    why = "where it is the executor's, no time is left: messages wait, or fall out of the readers' histories unseen"
    return Finding(
        "inputs", "warning", value, why, f"see where its time goes:\n$ py-spy top --pid {pid}   (or: perf top -p {pid})"
    )


def recorder(facts: GraphFacts, host: str) -> tuple[float | None, Sequence[str]]:
    """Return what the recorders of this host write [bytes/s] (None: none runs), and where."""
    rate, directories = None, []
    for beats in facts.beats.values():
        others = beats.last.said.others
        if "records" in others and beats.last.host == host:
            rate = (rate or 0.0) + (_other(beats, "bytes") / beats.span_s if beats.span_s > 0 else 0.0)
            directories.append(str(others.get("directory", "")))
    return rate, directories
