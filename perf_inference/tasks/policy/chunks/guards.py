"""Judges of other packages, by entry point: each command goes through them before the gate, which has the last word.

A guard is a function (q [A], q_dot [A], proposed [A]) -> (allowed [A], reason): what of a command may be sent, and why
it is another than was proposed; None in place of `allowed`: nothing of it. It must be pure, and take microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.plugins import plugin

GROUP = "perf_inference.guards"
Floats = NDArray[np.float64]
Guard = Callable[[Floats, Floats, Floats], tuple[Floats | None, str]]


class Guards:
    """All that are named, in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        """Load them.

        Raises:
            ConfigError: nobody registers one, or it is no function.
        """
        self._guards: list[tuple[str, Guard]] = [(name, plugin(GROUP, name)) for name in names]
        for name, guard in self._guards:
            if not callable(guard):
                raise ConfigError(f"plug-in '{name}' of {GROUP} must be a function, got {type(guard).__name__}")

    def allow(self, positions: Floats, velocities: Floats, proposed: Floats) -> Floats:
        """Return what of a command [A] they let through.

        Raises:
            InputError: one refuses it, fails, or answers with something else than as many finite numbers.
        """
        for name, guard in self._guards:
            try:
                allowed, reason = guard(positions.copy(), velocities.copy(), proposed.copy())
                if allowed is None:
                    raise InputError(f"guard {name} refuses a command: {str(reason)[:200]}: not sent")
                values = np.asarray(allowed, np.float64)
            except InputError:
                raise
            except Exception as error:  # of somebody else's code: who cannot judge lets nothing out
                raise InputError(f"guard {name} failed: {type(error).__name__}: {error}: not sent") from error
            if values.shape != proposed.shape or not np.isfinite(values).all():
                raise InputError(
                    f"guard {name} must allow {proposed.size} finite numbers, got {allowed!r:.80}: not sent"
                )
            proposed = values
        return proposed
