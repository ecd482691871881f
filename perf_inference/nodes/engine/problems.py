"""What went wrong lately in a node with an engine, and which of it its heartbeat names."""

from __future__ import annotations

_NAMED_NS = 5_000_000_000  # how long heartbeats name a problem
_FAILED = "failed"


class Problems:
    """The newest problem of each outcome; the worker's thread notes, the ROS thread reads."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, str]] = {}

    def note(self, outcome: str, what: str, now_ns: int) -> None:
        """Note what ended so (failed, rejected), at this time [ns, monotonic]."""
        self._newest[outcome] = (now_ns, what)

    def worst(self, now_ns: int) -> str:
        """Return the problem to name now, empty for none: an engine that failed first, then the newest."""
        recent = [
            (outcome == _FAILED, when_ns, f"{outcome}: {what}")
            for outcome, (when_ns, what) in list(self._newest.items())
            if now_ns - when_ns < _NAMED_NS
        ]
        return max(recent)[2] if recent else ""
