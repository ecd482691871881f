"""What is wrong before a node's callback: no source, a slow one, a lossy way, messages that cannot be used."""

from __future__ import annotations

import statistics
from dataclasses import replace

from perf_inference.console.causes.cause import Cause, hz, ms, shown, word
from perf_inference.console.causes.processor import is_busy
from perf_inference.console.machine import Machines
from perf_inference.console.node import NodeSeen
from perf_inference.measure.heartbeat import InputState

_LOST_PCT, _LEAST = 5.0, 2  # share and number that are a loss
_SLOW, _STARVED, _FALLEN = 0.9, 0.7, 0.6  # of what was promised (on a busy machine), and of what came before
_DELAY_MS, _DELAY_PERIODS, _DELAYS = 100.0, 3.0, 4
_FROZEN_S = 1.0
_STOPPED = "its source has stopped, or is heard no more"


def causes(node: NodeSeen, machines: Machines, now_s: float) -> list[Cause]:
    """Return it, of each input."""
    found = []
    for name, state in node.said.inputs.items():
        if state.topic is not None:
            of_topic = _of(node, name, state, machines, now_s)
            found += [replace(cause, about=cause.about or state.topic) for cause in of_topic]
        elif node.watched_s() >= 1.0:
            found += _unusable(node, name, "")
    return found


def _of(node: NodeSeen, name: str, state: InputState, machines: Machines, now_s: float) -> list[Cause]:
    topic, found = str(state.topic), []
    problem = state.problem or ""
    if problem.startswith("topic "):
        found.append(Cause("wrong_type", 89, shown(problem), f"ros2 topic info -v {word(topic)}"))
    elif problem.startswith("no message yet"):
        found.append(
            Cause(
                "no_source",
                87,
                f"{shown(topic)} gives nothing, since {shown(node.name)} has started: no "
                "source, another name, or QoS that does not fit",
                "perf-inference doctor --only qos --only topics",
            )
        )
    elif problem:
        age_s = state.age_s or 0.0
        source = "nobody publishes on it any more" if state.figure("publishers") == 0 else _STOPPED
        found.append(
            Cause(
                "stalled",
                86,
                f"{shown(topic)} is silent for {age_s:.1f} s: {source}",
                "perf-inference doctor --only topics --only transport",
            )
        )
    if (frozen_s := state.figure("same_stamp_s")) is not None and frozen_s >= _FROZEN_S and not problem:
        found.append(
            Cause(
                "frozen",
                93,  # of a policy before the safe action that it leads to
                f"{shown(topic)} is frozen: its messages go on, with the same stamp for {frozen_s:.1f} s",
                f"ros2 topic echo {word(topic)} --field header.stamp    # start again what publishes it",
                _grown(node, name, "received"),
            )
        )
    found += _senders(node, name, state, topic)
    if node.watched_s() < 1.0:
        return found
    found += _unusable(node, name, topic)
    if not problem and not any(cause.kind == "frozen" for cause in found):
        found += _rate(node, name, state, topic, machines, now_s) or _delayed(node, name, state, topic)
    return found


def _senders(node: NodeSeen, name: str, state: InputState, topic: str) -> list[Cause]:
    """Return that several publish what should come from one: images, or samples of which some cannot be used."""
    count = state.figure("publishers")
    rejected = node.watched_s() >= 1.0 and _grown(node, name, "rejected") >= _LEAST
    if count is None or count < 2 or not (rejected or name in ("image", *(node.said.driven_by or "").split(","))):
        return []
    who = shown(state.figures.get("senders") or "somebody")
    text = f"{count:.0f} nodes publish on {shown(topic)} ({who}): {shown(node.name)} takes what comes from any of them"
    fix = f"ros2 topic info -v {word(topic)}    # end or remap all but one"
    return [Cause("several_sources", 90 if rejected else 66, text, fix)]


def _unusable(node: NodeSeen, name: str, topic: str) -> list[Cause]:
    """Return messages, or inferences of a tick, that came and could not be used."""
    found = []
    received = _grown(node, name, "received")
    what = f"messages of {shown(topic)}" if topic else f"inferences of {shown(node.name)}"
    for counter, how in (
        ("rejected", "had an input that cannot be used" if not topic else "cannot be read"),
        ("failed", "failed in the engine"),
    ):
        count = _grown(node, name, counter)
        if count >= _LEAST and 100 * count >= _LOST_PCT * max(1, min(received, 50)):
            if not topic and "not sent" in node.message:  # what took so long is another cause
                text = f"{count} of {max(received, count)} actions of {shown(node.name)} were not sent"
                text = f"{text}: {shown(node.message)}"
                found.append(Cause("not_sent", 76, text, "perf-inference doctor --only cores", received))
                continue
            said = node.said.inputs[name].figures.get("refused") if counter == "rejected" else None
            own = node.message if node.message.startswith(("rejected", "failed", "safe action")) else "its log says why"
            why = said or own
            text = f"{count} of {max(received, count)} {what} {how}: {shown(why)}"
            found.append(
                Cause(counter, 88, text, "tail -n 50 runs/*/nodes.log    # or the terminal that started it", received)
            )
    return found


def _rate(node: NodeSeen, name: str, state: InputState, topic: str, machines: Machines, now_s: float) -> list[Cause]:
    rate, expected = state.figure("frame_rate_node"), state.figure("expected_frequency")
    received, lost = _grown(node, name, "received"), _grown(node, name, "lost_before")
    offered = received + lost
    if lost >= _LEAST and 100 * lost >= _LOST_PCT * offered:
        share = lost / offered
        if is_busy(machines, node.host, now_s):
            return [
                Cause(
                    "busy_cores",
                    80,
                    f"{lost} of {offered} messages of {shown(topic)} are lost before "
                    f"{shown(node.name)} reads them: the processor is busy with other work",
                    "perf-inference doctor --only cores",
                    offered,
                    node.host,
                )
            ]
        gives = rate if rate is not None else received / max(node.watched_s(), 0.1)
        whole = expected or gives / max(1 - share, 0.01)
        return [
            Cause(
                "lost_before",
                79,
                f"{shown(topic)} gives {hz(gives)} of {hz(whole)} Hz: {lost} of {offered} messages are lost before us",
                "perf-inference doctor --only transport --only udp --only topics",
                offered,
            )
        ]
    if rate is None:
        return []
    if expected is not None and rate < _SLOW * expected:
        if rate >= _STARVED * expected and is_busy(machines, node.host, now_s):
            text = f"{shown(topic)} gives {hz(rate)} of {hz(expected)} Hz: the processor of {shown(node.host)} is busy"
            return [Cause("busy_cores", 77, text, "perf-inference doctor --only cores", received, node.host)]
        how = "the source is slow" if state.lost_unknown is None else "the source is slow, or the way loses them"
        return [
            Cause(
                "slow_source",
                78 if rate >= _STARVED * expected else 83,  # the first loss on the way, also where others follow
                f"{shown(topic)} gives {hz(rate)} of {hz(expected)} Hz: {how} ({received} messages)",
                "perf-inference doctor --only topics --only inputs    # and the rate of what sends it",
                received,
            )
        ]
    before = _usual(node, name)
    if (
        expected is None
        and before is not None
        and rate < _FALLEN * before[0]
        and name in ("image", node.said.driven_by)
    ):
        return [
            Cause(
                "slow_source",
                74,
                f"{shown(topic)} gives {hz(rate)} Hz, it gave {hz(before[0])} before: the "
                f"source is slow ({received} messages)",
                "perf-inference doctor --only topics --only inputs",
                received,
            )
        ]
    return []


def _delayed(node: NodeSeen, name: str, state: InputState, topic: str) -> list[Cause]:
    """Return that messages are old when they come."""
    beats = [beat.said.inputs[name] for beat in list(node.beats)[-8:] if name in beat.said.inputs]
    delays = [d for one in beats if (d := one.figure("current_delay_from_realtime_ms")) is not None]
    stamped = state.figure("frame_rate_msg") is not None
    if len(beats) >= _DELAYS and stamped and not delays:
        return [
            Cause(
                "clocks",
                65,
                f"the stamps of {shown(topic)} lie in the future or over an hour back: the clocks "
                "differ, or it is replayed",
                "perf-inference doctor --only clocks",
                len(beats),
            )
        ]
    if len(delays) < _DELAYS:
        return []
    rate, delay_ms = state.figure("frame_rate_node"), statistics.median(delays)
    period_ms = 1e3 / rate if rate else 0.0
    if delay_ms < max(_DELAY_MS, _DELAY_PERIODS * period_ms):
        return []
    return [
        Cause(
            "transport",
            75,
            f"messages of {shown(topic)} are {ms(delay_ms)} ms old when {shown(node.name)} gets "
            f"them: a slow source or way, or clocks that differ ({len(delays)} samples)",
            "perf-inference doctor --only transport --only clocks",
            len(delays),
        )
    ]


def _usual(node: NodeSeen, name: str) -> tuple[float, int] | None:
    """Return the median rate of the older heartbeats, and of how many; None: too few."""
    older = list(node.beats)[:-10]
    rates = [
        r for beat in older if name in beat.said.inputs and (r := beat.said.inputs[name].figure("frame_rate_node"))
    ]
    return (statistics.median(rates), len(rates)) if len(rates) >= 4 else None


def _grown(node: NodeSeen, name: str, counter: str) -> int:
    return node.grown(lambda said: said.inputs[name].ledger.get(counter) if name in said.inputs else None)
