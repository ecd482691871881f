"""What a file of a rosbag2 recording is: its topics, and its messages in time order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import yaml


@dataclass(frozen=True)
class Qos:
    """What a publisher offered, as far as it matters for playing it back."""

    reliable: bool = True
    transient_local: bool = False
    depth: int = 0  # 0: all, or not known


@dataclass(frozen=True)
class Topic:
    """A topic of a recording."""

    name: str
    type: str
    count: int
    encoding: str = "cdr"
    qos: tuple[Qos, ...] = ()  # empty: not known


class BagMessage(NamedTuple):
    """One recorded message."""

    t_ns: int
    topic: str
    type: str
    data: bytes


class BagFile(Protocol):
    """One file of a recording."""

    path: Path
    topics: list[Topic]
    start_ns: int

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in time order."""

    def close(self) -> None: ...


def parse_qos(text: str) -> tuple[Qos, ...]:
    """Return the profiles of rosbag2's `offered_qos_profiles` (numbers up to Humble, words later); empty: not known."""
    try:
        profiles = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        return ()
    if not isinstance(profiles, list):
        return ()
    return tuple(
        Qos(
            reliable=profile.get("reliability") not in (2, "best_effort"),
            transient_local=profile.get("durability") in (1, "transient_local"),
            depth=int(profile.get("depth") or 0) if profile.get("history") in (1, "keep_last") else 0,
        )
        for profile in profiles
        if isinstance(profile, dict)
    )
