"""The QoS profiles that the publishers of a recorded topic offered, in rosbag2's forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import yaml

from perf_inference.files.bounded_yaml import YamlError, read_yaml

_MOST_BYTES = 1 << 18  # of a topic's profiles: some hundred publishers
_DEPTHS = range(1 << 63)
# rmw's enumerations in their order. rosbag2 writes the numbers up to Iron and the words since; all read the numbers.
_HISTORY = ("system_default", "keep_last", "keep_all", "unknown")
_RELIABILITY = ("system_default", "reliable", "best_effort", "unknown", "best_available")
_DURABILITY = ("system_default", "transient_local", "volatile", "unknown", "best_available")
_LIVELINESS = ("system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown", "best_available")


class Span(NamedTuple):
    """A duration as rmw has it."""

    sec: int
    nsec: int


INFINITE = Span(9223372036, 854775807)


@dataclass(frozen=True)
class Qos:
    """What a publisher offered."""

    history: str = "keep_last"
    depth: int = 0  # 0: not known, or of no meaning
    reliability: str = "reliable"
    durability: str = "volatile"
    deadline: Span = INFINITE
    lifespan: Span = INFINITE
    liveliness: str = "automatic"
    liveliness_lease_duration: Span = INFINITE
    avoid_ros_namespace_conventions: bool = False

    @property
    def reliable(self) -> bool:
        return self.reliability != "best_effort"

    @property
    def transient_local(self) -> bool:
        return self.durability == "transient_local"

    def as_dict(self) -> dict[str, Any]:
        """Return it as rosbag2's metadata has it, with words."""
        return {name: value._asdict() if isinstance(value, Span) else value for name, value in asdict(self).items()}


def parse_qos(text: str) -> tuple[Qos, ...]:
    """Return the profiles of rosbag2's `offered_qos_profiles`, with numbers or words; empty: not known."""
    try:
        profiles = read_yaml(text, _MOST_BYTES) if text else None
    except YamlError:
        return ()
    return qos_profiles(profiles)


def format_qos(profiles: Iterable[Qos]) -> str:
    """Return rosbag2's `offered_qos_profiles`, with the numbers that every distribution reads; empty: not known."""
    words = {"history": _HISTORY, "reliability": _RELIABILITY, "durability": _DURABILITY, "liveliness": _LIVELINESS}
    dicts = [profile.as_dict() for profile in profiles]
    for profile in dicts:
        profile.update({key: all_.index(profile[key]) for key, all_ in words.items()})
    return yaml.safe_dump(dicts, sort_keys=False) if dicts else ""


def qos_profiles(profiles: Any) -> tuple[Qos, ...]:
    """Return the profiles of a list of mappings; what is no profile is left out."""
    if not isinstance(profiles, list):
        return ()
    return tuple(_profile(profile) for profile in profiles if isinstance(profile, dict))


def _profile(given: Mapping[str, Any]) -> Qos:
    depth = given.get("depth")
    return Qos(
        history=_word(given.get("history"), _HISTORY),
        depth=depth if type(depth) is int and depth in _DEPTHS else 0,
        reliability=_word(given.get("reliability"), _RELIABILITY),
        durability=_word(given.get("durability"), _DURABILITY),
        deadline=_span(given.get("deadline")),
        lifespan=_span(given.get("lifespan")),
        liveliness=_word(given.get("liveliness"), _LIVELINESS),
        liveliness_lease_duration=_span(given.get("liveliness_lease_duration")),
        avoid_ros_namespace_conventions=bool(given.get("avoid_ros_namespace_conventions", False)),
    )


def _word(value: Any, words: tuple[str, ...]) -> str:
    if type(value) is int and 0 <= value < len(words):
        return words[value]
    return value if isinstance(value, str) and value in words else "unknown"


def _span(value: Any) -> Span:
    """Return a duration; one that is not given is infinite."""
    if not isinstance(value, dict):
        return INFINITE
    sec, nsec = value.get("sec"), value.get("nsec")
    if type(sec) is not int or type(nsec) is not int:
        return INFINITE
    return Span(sec, nsec)
