"""A gate with one joint, played on a clock that a test moves."""

from __future__ import annotations

from perf_inference.safety import Gate, GateSettings, Instant, JointLimits

MS = 1_000_000
EPOCH_NS = 1_700_000_000_000_000_000
LIMITS = JointLimits.of(("a",), (-10.0,), (10.0,), (2.0,))


class Play:
    """A gate at 10 Hz with one joint that follows what is sent at once."""

    def __init__(
        self, safe_action: str = "zero", ramp_s: float = 0.0, limits: JointLimits = LIMITS, kind: str = "velocity"
    ) -> None:
        self.ms, self.place, self.sent = 1000.0, 0.0, []  # type: ignore[var-annotated]
        settings = GateSettings(kind, 0.1, 0.3, 0.0, 0.0, safe_action, ramp_s)
        self.velocity = kind == "velocity"
        self.gate = Gate(limits, settings, {"joint_states": "/joint_states"}, self._send)
        self.gate.look(self.now())
        self.gate.enable(True, self.now())
        self.fresh()

    def now(self) -> Instant:
        return Instant(round(self.ms * MS), EPOCH_NS + round(self.ms * MS))

    def _send(self, values: list[float]) -> None:
        self.sent.append((self.ms, values[0]))

    def fresh(self) -> None:
        self.ms += 1
        v = self.sent[-1][1] if self.sent and self.velocity else 0.0
        self.gate.joint_states(self.now(), self.now().ros_ns, ["a"], [self.place], [v])

    def release(self, value: float) -> float:
        return self.gate.release(self.now(), [value], self.gate.observed_ns())[0][0]

    def later(self, ms: float, fresh: bool = True) -> str:
        for _ in range(round(ms / 20)):
            self.ms += 19 if fresh else 20
            self.place += (self.sent[-1][1] if self.sent and self.velocity else 0.0) * 0.02
            if fresh:
                self.fresh()
            self.gate.look(self.now())
        return self.gate.reason
