"""Whether the policy may drive, as far as people and stops decide that, and how fast."""

from __future__ import annotations

_NOBODY_SAYS = "disabled"


class Permission:
    """Enabled or not, what bars driving, and the share of the velocity limits that may be used."""

    def __init__(self, ramp_s: float) -> None:
        """Begin disabled; `ramp_s`: after `enable` the share grows from nothing within this time."""
        self.enabled = False
        self.share = 1.0
        self._ramp_ns, self._ramp_from_ns = round(ramp_s * 1e9), 0  # when the first action after `enable` left
        self._ramped = False  # an action has left with the whole share
        self._disabled = _NOBODY_SAYS  # and why
        self._bars: dict[str, str] = {}  # why nobody may drive, by who says so
        self._quiet: set[str] = set()  # of those: who wants the safe action sent no more

    @property
    def barred(self) -> str:
        """Why nobody may drive, or nothing."""
        return next(iter(self._bars.values()), "")

    @property
    def refused(self) -> str:
        """Why the policy may not drive, or nothing."""
        return self.barred or ("" if self.enabled else self._disabled)

    @property
    def quiet(self) -> bool:
        """Whether the safe action is to be sent no more."""
        return not self._quiet.isdisjoint(self._bars)

    def enable(self, on: bool) -> bool:
        """Enable or disable; return whether that is a change: said again and again it renews nothing."""
        changed, self.enabled, self._disabled = on != self.enabled, on, _NOBODY_SAYS
        if changed:
            self._ramp_from_ns, self._ramped = 0, False
        return changed

    def disable(self, why: str) -> None:
        """Disable until somebody enables; keep why."""
        if self.enabled:
            self.enabled, self._disabled = False, f"{_NOBODY_SAYS}: {why}"

    def bar(self, who: str, why: str, quiet: bool) -> None:
        """Let nobody drive for this reason until the same one says nothing."""
        self._bars.pop(who, None)
        self._quiet.discard(who)
        if why:
            self._bars[who] = why
            if quiet:
                self._quiet.add(who)

    def share_at(self, now_ns: int, goes_on: bool) -> float:
        """Return the share of the velocity limits that an action may use that leaves now [ns, steady].

        Args:
            goes_on: it follows on another one, else on the safe action: an unfinished ramp restarts.
        """
        if not (goes_on or self._ramped):
            self._ramp_from_ns = 0
        self._ramp_from_ns = self._ramp_from_ns or now_ns
        gone_ns = now_ns - self._ramp_from_ns
        self._ramped = gone_ns >= self._ramp_ns
        return self.share * (1.0 if self._ramped else gone_ns / self._ramp_ns)
