"""The middleware of the running participants: which one, and whether its transport can carry what they send."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from perf_inference.bringup import middleware, tuning
from perf_inference.doctor.finding import Finding, word
from perf_inference.doctor.graph import Flow, GraphFacts
from perf_inference.doctor.processes import Participant, Participants
from perf_inference.printable import OUTSIDE, printable

BIG_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2")
_BIG_BYTES = 64_000  # one datagram
_ROOM = 4  # messages that a segment should hold: those that nobody has read yet
_LOCALHOST = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_BUILTIN = "FASTDDS_BUILTIN_TRANSPORTS"
_NO_TRANSPORT = "fastdds_discovery.xml"
_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_DISCOVERY = (_LOCALHOST, "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY", "ROS_DISCOVERY_SERVER")
_ALONE = ("LARGE_DATA", "SHM")


def transport(found: Participants, facts: GraphFacts | None) -> list[Finding]:
    """Judge the participants of the domain; without facts nobody knows who sends what."""
    if not found.here:
        return [Finding("transport", "skipped", _nobody(found))]
    findings = [*_mixed(found), *_alone(found.here), *(_unheard(found.here, facts) if facts else ())]
    for one in found.here:
        published = [flow for flow in (facts.flows if facts else ()) if _publishes(one, flow, found)]
        findings += [*_too_small(one, published), *_not_fast_dds(one, published)]
    if findings:
        return findings
    with_segment = [one.segment_bytes for one in found.here if one.segment_bytes]
    value = f"{len(found.here)} participants in domain {found.domain}, {', '.join(_rmws(found.here))}"
    if with_segment:
        value += f", segments of {_mb(min(with_segment))}" + (
            f" to {_mb(max(with_segment))}" if max(with_segment) > min(with_segment) else ""
        )
    if facts is None:
        value += "; without rclpy it is not known who sends large messages"
    return [Finding("transport", "ok", value)]


def missing(one: Participant) -> dict[str, str]:
    """Return the transport that this package's starters give a publisher of images, and this process lacks."""
    own = {name: value for name, value in (one.environment or {}).items() if name not in (_BUILTIN, tuning.TUNING)}
    own = {name: value for name, value in own.items() if not (name in _PROFILES and middleware.is_ours(value))}
    own |= {"RMW_IMPLEMENTATION": one.rmw, "HOME": os.path.expanduser("~")}
    added = {name: value for name, value in tuning.tuned(own).items() if own.get(name) != value}
    return {
        name: value
        for name, value in added.items()
        if not name.startswith(("MALLOC_", "GLIBC_", "PERF_INFERENCE")) and not value.endswith(_NO_TRANSPORT)
    }


def needs_udp(found: Participants, flows: Iterable[Flow]) -> str:
    """Return why large messages go through UDP in this graph; empty: they do not."""
    for flow in flows:
        if flow.largest_bytes < _BIG_BYTES:
            continue
        if any(end.here is False for end in (*flow.publishers, *flow.subscribers)):
            return f"{flow.topic} goes between hosts"
        for end in flow.publishers:
            one = found.of_pid(end.pid_low)
            if one is not None and not one.segment_bytes:
                return f"{one} publishes {flow.topic} without shared memory"
    return ""


def _too_small(one: Participant, published: Sequence[Flow]) -> list[Finding]:
    """Look for topics whose messages do not fit into the segment."""
    if not one.rmw.startswith("rmw_fastrtps"):
        return []
    room_bytes = (one.segment_bytes or 0) / _ROOM
    large = [flow for flow in published if flow.largest_bytes > max(room_bytes, _BIG_BYTES)]
    stock = one.segment_bytes is None or one.segment_bytes < 1 << 20
    unheard = [flow for flow in published if stock and not flow.received and flow.type in BIG_TYPES]
    if not large and not unheard:
        return []
    if large:
        worst = max(large, key=lambda flow: flow.largest_bytes)
        what = f"{worst.topic} with {_mb(worst.largest_bytes)} a message"
    else:
        what = f"{unheard[0].topic} ({unheard[0].type}), of which nothing arrives"
    has = f"a segment of {_mb(one.segment_bytes)}" if one.segment_bytes else "no shared memory"
    own = one.environment or {}
    why = (
        "a message that does not fit goes in fragments that soon fill it: best-effort images get lost, reliable "
        "ones take ten times as long"
    )
    if own.get(_LOCALHOST, "").upper() == "LOCALHOST" and _BUILTIN in own:
        why += f"; {_LOCALHOST}=LOCALHOST, which it has, voids {_BUILTIN}"
    return [Finding("transport", "warning", f"{one} has {has} and publishes {what}", why, _fix(one))]


def _fix(one: Participant) -> str:
    own = one.environment or {}
    file = next((own[name] for name in _PROFILES if name in own and not middleware.is_ours(own[name])), None)
    if file is not None:
        return f"give the shared memory in {printable(file, OUTSIDE)} more room:\n<segment_size>33554432</segment_size>"
    settings = missing(one) or {_BUILTIN: "DEFAULT?sockets_size=8MB"}
    lines = [f"start {printable(one.name, OUTSIDE)} with:", f"$ export {_assignments(settings)}"]
    return "\n".join([*lines, f"$ unset {_BUILTIN}"] if _BUILTIN in own and _BUILTIN not in settings else lines)


def _not_fast_dds(one: Participant, published: Sequence[Flow]) -> list[Finding]:
    large = [flow for flow in published if flow.largest_bytes > _BIG_BYTES]
    settings = {} if one.rmw.startswith("rmw_fastrtps") else missing(one)
    if not large or not settings:
        return []
    value = f"{one} ({one.rmw}) publishes {large[0].topic} with {_mb(large[0].largest_bytes)} a message, stock settings"
    why = "stock buffers are made for small messages (from the middleware's documentation, not measured here)"
    fix = f"start {printable(one.name, OUTSIDE)} with:\n$ export {_assignments(settings)}"
    return [Finding("transport", "warning", value, why, fix)]


def _assignments(settings: Mapping[str, str]) -> str:
    return " ".join(f"{name}='{value}'" for name, value in settings.items())


def _mixed(found: Participants) -> list[Finding]:
    rmws = _rmws(found.here)
    if len(rmws) < 2:
        return []
    members = "; ".join(f"{rmw}: {', '.join(map(str, (o for o in found.here if o.rmw == rmw)))}" for rmw in rmws)
    zenoh = any("zenoh" in rmw for rmw in rmws)
    why = "participants of Zenoh and of DDS never hear each other" if zenoh else (
        "two middlewares hear each other in part only: services and large messages fail"
    )  # fmt: skip
    fix = f"the same for all, in each terminal:\n$ export RMW_IMPLEMENTATION={word(rmws[0])}"
    return [Finding("transport", "error" if zenoh else "warning", members, why, fix)]


def _alone(here: Sequence[Participant]) -> list[Finding]:
    """Look for transports that a peer with stock settings does not understand."""
    findings = []
    for one in here:
        chosen = (one.environment or {}).get(_BUILTIN, "")
        if chosen.partition("?")[0] in _ALONE and len(here) > 1 and one.rmw.startswith("rmw_fastrtps"):
            others = [o for o in here if (o.environment or {}).get(_BUILTIN, "") != chosen]
            if others:
                value = f"{one} has {_BUILTIN}={chosen}, {others[0]} has not"
                why = "the two exchange nothing"
                fix = f"start {printable(one.name, OUTSIDE)} with:\n$ export {_BUILTIN}='DEFAULT?sockets_size=8MB'"
                findings.append(Finding("transport", "error", value, why, fix))
    return findings


def _unheard(here: Sequence[Participant], facts: GraphFacts) -> list[Finding]:
    """Look for participants of this domain that the graph does not show."""
    findings = []
    for one in here:
        if not facts.pids_low or not one.segment_bytes or one.pid & 0xFFFF in facts.pids_low:
            continue
        own = one.environment or {}
        given = [f"{name}={own[name]}" for name in _DISCOVERY if name in own] or ["no such setting in its environment"]
        value = f"{one} runs in domain {one.domain} and is not heard: {' '.join(given)}"
        why = "settings of discovery keep it apart from all that are set like this terminal (or it has no node yet)"
        fix = f"the same in all terminals, for example none of these:\n$ unset {' '.join(_DISCOVERY)}"
        findings.append(Finding("transport", "warning", value, why, fix))
    return findings


def _publishes(one: Participant, flow: Flow, found: Participants) -> bool:
    """Return whether the participant publishes on the topic, as far as the RMW tells."""
    lows = {end.pid_low for end in flow.publishers if end.here is not False}
    return one.pid & 0xFFFF in lows or (lows == {None} and len(found.here) == 1)


def _rmws(here: Iterable[Participant]) -> list[str]:
    return sorted({one.rmw for one in here})


def _nobody(found: Participants) -> str:
    text = f"nobody runs in ROS domain {found.domain} on this machine"
    if found.elsewhere:
        text += f" ({found.elsewhere} in other domains or containers; ROS_DOMAIN_ID chooses)"
    if found.unreadable:
        text += "; processes of other users can be looked at by root only"
    return text


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.2f} MB"
