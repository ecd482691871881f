"""The machines as monitor_node tells of them on /diagnostics; without a monitor nothing is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from perf_inference.measure.stamps import Scalar

_FRESH_S, _SAMPLES, _MOST = 4.0, 5, 100
_PARTS = ("host", "platform", "gpu")


@dataclass(frozen=True)
class Part:
    """A status of a machine: the host itself, its platform, or a GPU."""

    heard_s: float
    ok: bool
    message: str
    values: Mapping[str, Scalar]

    def number(self, name: str) -> float | None:
        """Return a figure; None: it is not known."""
        value = self.values.get(name)
        return float(value) if isinstance(value, int | float) and abs(value) < 1e12 else None


def is_of_machine(name: str) -> bool:
    """Return whether a status of this name is of a machine and not of a node."""
    return name.rpartition("/")[2].startswith(_PARTS)


class Machines:
    """The newest of each."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}  # by the status' name
        self._hosts: dict[str, str] = {}  # owner: its host
        self._busy: dict[str, deque[tuple[float, float]]] = {}  # host: (when, share of its processor) [s, %]

    def hear(self, name: str, hardware_id: str, part: Part) -> None:
        """Take a status of a machine."""
        owner, _, what = name.rpartition("/")
        if name not in self._parts and len(self._parts) >= _MOST:
            return
        self._parts[name] = part
        if what == "host":
            self._hosts[owner] = hardware_id
            share = part.number("cpu_pct")
            if share is not None:
                self._busy.setdefault(hardware_id, deque(maxlen=_SAMPLES)).append((part.heard_s, share))

    def hosts(self) -> list[str]:
        """Return the names of the hosts that were told of."""
        return sorted(set(self._hosts.values()))

    def host(self, name: str, now_s: float) -> Part | None:
        """Return what is said of a host; None: nothing fresh."""
        return next(iter(self._fresh(name, now_s, "host")), None)

    def platform(self, name: str, now_s: float) -> Part | None:
        """Return its temperature, power and clocks; None: nothing fresh."""
        return next(iter(self._fresh(name, now_s, "platform")), None)

    def gpus(self, name: str, now_s: float) -> list[Part]:
        """Return its GPUs."""
        return self._fresh(name, now_s, "gpu")

    def busy_pct(self, name: str, now_s: float) -> tuple[float, int] | None:
        """Return the share of its processor that was in use lately, and of how many samples that is the mean."""
        fresh = [share for heard_s, share in self._busy.get(name, ()) if now_s - heard_s < _FRESH_S + _SAMPLES]
        return (sum(fresh) / len(fresh), len(fresh)) if fresh and now_s - self._busy[name][-1][0] < _FRESH_S else None

    def _fresh(self, host: str, now_s: float, what: str) -> list[Part]:
        owners = [owner for owner, name in self._hosts.items() if name == host]
        return [
            part
            for name, part in self._parts.items()
            if name.rpartition("/")[0] in owners
            and name.rpartition("/")[2].startswith(what)
            and now_s - part.heard_s < _FRESH_S
        ]
