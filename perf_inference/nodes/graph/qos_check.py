"""Publishers and subscriptions of a topic that cannot hear each other (DDS' request-offered rules), and what to change.

https://docs.ros.org/en/rolling/Concepts/Intermediate/About-Quality-of-Service-Settings.html#qos-compatibilities
"""

from __future__ import annotations

from typing import Any

from rclpy.duration import Duration
from rclpy.qos import LivelinessPolicy, QoSCompatibility, QoSProfile, qos_check_compatible

from perf_inference.doctor.finding import word
from perf_inference.doctor.graph import Mismatch
from perf_inference.nodes.ros.endpoint import node_of
from perf_inference.printable import OUTSIDE, printable

_INFINITE_NS = 9_000_000_000_000_000_000  # and beyond: some have 2^63 - 1, some a little less


def compare(topic: str, publishers: list[Any], subscribers: list[Any]) -> tuple[int, list[Mismatch]]:
    """Return how many pairs were compared, and those that do not match; arguments are rclpy's TopicEndpointInfo."""
    pairs = [(publisher, subscriber) for publisher in publishers for subscriber in subscribers]
    return len(pairs), [found for pair in pairs if (found := _mismatch(topic, *pair)) is not None]


def described(qos: QoSProfile) -> str:
    """Return a profile in a few words: what the rules look at; infinite times are left out."""
    words = [qos.reliability.name.lower(), qos.durability.name.lower()]
    if _finite(qos.deadline):
        words.append(f"deadline {_ms(qos.deadline)}")
    if qos.liveliness not in (LivelinessPolicy.AUTOMATIC, LivelinessPolicy.SYSTEM_DEFAULT):
        words.append(f"liveliness {qos.liveliness.name.lower()}")
    if _finite(qos.liveliness_lease_duration):
        words.append(f"lease {_ms(qos.liveliness_lease_duration)}")
    return " ".join(words)


def _mismatch(topic: str, publisher: Any, subscriber: Any) -> Mismatch | None:
    offered, asked = publisher.qos_profile, subscriber.qos_profile
    names = topic, node_of(publisher), node_of(subscriber)
    if publisher.topic_type != subscriber.topic_type:
        remap = f"{word(topic)}:=OTHER_TOPIC"
        fix = f"remap one of the two to another topic:\n$ ros2 run PACKAGE EXECUTABLE --ros-args -r {remap}"
        types = publisher.topic_type, subscriber.topic_type
        return Mismatch(*names, *types, ("the types differ",), fix)
    hashes = [str(getattr(info, "topic_type_hash", None)) for info in (publisher, subscriber)]
    if hashes[0] != hashes[1] and all(text.startswith("RIHS") and text.strip("0") != "RIHS01_" for text in hashes):
        package = printable(publisher.topic_type.partition("/")[0], OUTSIDE)
        fix = f"the same version of {package} on both sides: build both nodes again"
        of = [f"{publisher.topic_type} as {text[:15]}" for text in hashes]
        return Mismatch(*names, of[0], of[1], ("the definitions of the type differ",), fix)
    compatibility, reason = qos_check_compatible(offered, asked)
    if compatibility == QoSCompatibility.OK:
        return None
    reasons = tuple(part.partition(": ")[2] or part for part in reason.split(";") if part.strip())
    certain = compatibility == QoSCompatibility.ERROR
    return Mismatch(
        *names, described(offered), described(asked), reasons, _fix(*names, reason, offered, asked), certain
    )


def _fix(topic: str, publisher: str, subscriber: str, reason: str, offered: QoSProfile, asked: QoSProfile) -> str:
    """Return both ways out, as overrides for nodes that take them."""
    text = reason.lower()
    ask: list[str] = []
    offer: list[str] = []
    if "reliab" in text:
        ask.append("reliability:=best_effort")
        offer.append("reliability:=reliable")
    if "transient" in text or "durab" in text:
        ask.append("durability:=volatile")
        offer.append("durability:=transient_local")
    if "deadline" in text:
        ask.append(f"deadline:={offered.deadline.nanoseconds if _finite(offered.deadline) else 0}")
        offer.append(f"deadline:={asked.deadline.nanoseconds}")
    if "lease" in text:
        lease = offered.liveliness_lease_duration
        ask.append(f"liveliness_lease_duration:={lease.nanoseconds if _finite(lease) else 0}")
        offer.append(f"liveliness_lease_duration:={asked.liveliness_lease_duration.nanoseconds}")
    elif "liveliness" in text or "topic" in text:
        ask.append("liveliness:=automatic")
        offer.append("liveliness:=manual_by_topic")
    return (
        f"let {printable(subscriber, OUTSIDE)} ask for less, where it allows overrides (else in its code):\n"
        f"$ ros2 run PACKAGE EXECUTABLE --ros-args {_overrides(topic, 'subscription', ask)}\n"
        f"or let {printable(publisher, OUTSIDE)} offer more:\n"
        f"$ ros2 run PACKAGE EXECUTABLE --ros-args {_overrides(topic, 'publisher', offer)}"
    )


def _overrides(topic: str, side: str, settings: list[str]) -> str:
    return " ".join(f"-p {word(f'qos_overrides.{topic}.{side}.{setting}')}" for setting in settings)


def _finite(duration: Duration) -> bool:
    return 0 < duration.nanoseconds < _INFINITE_NS


def _ms(duration: Duration) -> str:
    return f"{duration.nanoseconds / 1e6:g} ms"
