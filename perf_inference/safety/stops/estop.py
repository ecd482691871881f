"""The topic `estop`: once true the policy stays stopped; false alone never lets it drive."""

from __future__ import annotations

from collections.abc import Collection

from perf_inference.safety.stops.voices import Voices


class Estop:
    """Judges what was heard on one topic; times are steady [ns]."""

    def __init__(self, topic: str, timeout_s: float | None) -> None:
        """Begin with nothing heard; `timeout_s`: it is required, and silence for longer counts as true."""
        self._topic, self._timeout_ns = topic, None if timeout_s is None else round(timeout_s * 1e9)
        self._voices: Voices[bool] = Voices()
        self._heard_ns: int | None = None

    def hear(self, who: bytes, on: bool, number: int | None, present: Collection[bytes], now_ns: int) -> None:
        """Take a message; arguments as `Voices.hear`."""
        if self._voices.hear(who, on, number, present):
            self._heard_ns = now_ns

    def why(self, now_ns: int) -> str:
        """Return why nobody may drive now, or nothing."""
        if any(self._voices.values):
            return f"estop: true on {self._topic}"
        if self._timeout_ns is None:
            return ""
        if self._heard_ns is None:
            return f"estop: nothing has come on {self._topic} yet (estop_required is true)"
        silent_ns = now_ns - self._heard_ns
        if silent_ns > self._timeout_ns:
            return f"estop: nothing on {self._topic} for {silent_ns / 1e9:.1f} s (estop_required is true)"
        return ""

    def latches(self) -> bool:
        """Return whether what `why` says disables: one that has not been heard yet only waits."""
        return self._heard_ns is not None
