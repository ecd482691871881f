"""What the gate asks of each way to command joints: velocities, positions, trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

LOOK_LATE_NS = 100_000_000  # a look of the gate comes so long after the one before at most


class Commands(Protocol):
    """Knows the joints, what was sent to them, and what may be sent next; times are steady [ns]."""

    renews: bool
    """Whether a command may be let go on while newer samples come; one that does not ends by itself."""

    def begin(self) -> None:
        """Drive from where the joints are, wherever they were sent before."""

    def allowed(self, values: Sequence[float], now_ns: int, until_ns: int, share: float) -> tuple[Any, list[float]]:
        """Return the command nearest to these values that may be sent now, and its values.

        Args:
            values: [joints] rad/s or rad.
            until_ns: when the gate would stop it if nothing more was accepted.
            share: of the velocity limits that may be used, 0 to 1.
        """

    def goes_on(self, now_ns: int, until_ns: int) -> bool:
        """Return whether the command in force could be sent again as it is, to be stopped at `until_ns`."""

    def safe(self, now_ns: int, newest_ns: int | None) -> Any | None:
        """Return the safe command of now; None: there is none, since it is not known where the joints are.

        Args:
            newest_ns: when the newest sample of all joints was taken, if that is not too old; else None.
        """

    def slower(self, share: float) -> Any | None:
        """Return the command in force with this share of its velocity; None: it ends soon by itself."""

    def resting(self, now_ns: int) -> bool:
        """Return whether the safe action has come to its end, so that nothing new follows."""

    def slows_down(self) -> bool:
        """Return whether the safe action is a row of commands, one at each look, of which the last has not been sent.

        What was sent last stays in force: who ceased here would leave the joints moving.
        """

    def sent(self, at_ns: int, command: Any) -> None:
        """Note a command that leaves now."""
