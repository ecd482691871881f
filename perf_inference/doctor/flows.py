"""What arrives of the topics: pairs that cannot hear each other, and messages that were sent and are missing."""

from __future__ import annotations

from perf_inference.doctor.finding import Finding, word
from perf_inference.doctor.graph import Flow, GraphFacts, Source

_LOST_PCT, _LOST = 2.0, 2  # share, and messages, that may be missing here
_REGULAR, _SILENT_S, _SILENT_PAUSES = 5, 0.5, 4  # messages, and silence after them that is longer than any pause


def qos(facts: GraphFacts) -> list[Finding]:
    """Tell each pair that cannot hear each other."""
    findings = [
        Finding(
            "qos",
            "error" if one.certain else "warning",
            f"{one.topic}: {one.publisher} offers {one.offered}; {one.subscriber} asks for {one.asked}",
            f"{'; '.join(one.reasons)}: not one message goes between the two",
            one.fix,
        )
        for one in facts.mismatches
    ]
    pairs = f"{facts.pairs} pairs of publisher and subscription"
    if not facts.pairs:
        return [Finding("qos", "skipped", "no topic has a publisher and a subscription")]
    return findings or [Finding("qos", "ok", f"{pairs} match")]


def topics(facts: GraphFacts) -> list[Finding]:
    """Compare what was sent with what arrived at a reader of our own."""
    findings = [finding for flow in facts.flows for source in flow.sources for finding in _lossy(flow, source)]
    heard = [flow for flow in facts.flows if not flow.not_heard]
    arrived = [flow for flow in heard if flow.received]
    if not facts.flows:
        return [Finding("topics", "skipped", "no topic has a publisher and a subscription")]
    if heard and not findings:
        unknown = any(source.lost is None for flow in arrived for source in flow.sources)
        value = f"{len(arrived)} of {len(heard)} topics sent {sum(flow.received for flow in arrived)} messages"
        findings.append(
            Finding("topics", "ok", f"{value}; " + ("this ROS 2 tells no gaps" if unknown else "all arrived"))
        )
    skipped = [flow for flow in facts.flows if flow.not_heard]
    if skipped:
        names = ", ".join(flow.topic for flow in skipped[:3])
        findings.append(Finding("topics", "skipped", f"{names}: {skipped[0].not_heard}"))
    return findings


def _lossy(flow: Flow, source: Source) -> list[Finding]:
    if source.received >= _REGULAR and source.silent_s > max(_SILENT_S, _SILENT_PAUSES * source.longest_pause_s):
        came = f"{flow.topic}: {_hz(source.received_hz)} of {source.node} arrived here"
        value = f"{came}, then nothing for {source.silent_s:.1f} s"
        why = "either it has stopped sending, or what it sends does not get through any more"
        return [
            Finding(
                "topics",
                "warning",
                value,
                why,
                f"see transport, and whether it sends:\n$ ros2 topic hz {word(flow.topic)}",
            )
        ]
    if not source.lost or source.lost < _LOST or 100 * source.lost < _LOST_PCT * (source.lost + source.received):
        return []
    value = (
        f"{flow.topic}: {source.node} sent {_hz(source.sent_hz)}, {_hz(source.received_hz)} arrived here "
        f"({source.lost} of {source.lost + source.received} lost)"
    )
    why = "whoever listens loses them too, unless its reader is faster or asks for a reliable connection"
    if flow.best_effort and flow.largest_bytes > 64_000:
        fix = "give the publisher a larger segment and the readers processor time: see transport, udp and cores"
    else:
        fix = "see cores; a deeper history of the readers bridges short stalls"
    return [Finding("topics", "warning", value, why, fix)]


def _hz(rate: float | None) -> str:
    return "- Hz" if rate is None else f"{rate:.1f} Hz"
