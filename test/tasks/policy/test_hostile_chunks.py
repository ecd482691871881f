"""Chunks of a model gone mad through admission, player and gate: nothing is sent beyond a limit."""

from __future__ import annotations

import math
import os
import random

import numpy as np
import pytest
from support.hostile_chunks import hostile
from support.joint_model import JointModel

from perf_inference.errors import InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from perf_inference.tasks.policy.chunks.commands import Base, Commands
from perf_inference.tasks.policy.chunks.delays import Delays
from perf_inference.tasks.policy.chunks.limiter import Limiter
from perf_inference.tasks.policy.chunks.player import Player, PlayerSettings
from perf_inference.tasks.policy.contract.contract import ActionLimits, ActionSpec

NAMES = ("a", "b")
LOWER, UPPER, FASTEST = -1.0, 1.5, 2.0
STEP_S, LATENCY_S, MAX_AGE_S = 0.05, 0.15, 0.3
HORIZON = 8


class Rig:
    """Two joints, a gate and a player on a fake clock."""

    def __init__(self, kind: str, merge: str, seed: int) -> None:
        self.kind, self.rng, self.now_ns = kind, np.random.default_rng(seed), 10**9
        chance = random.Random(seed)
        self.limits = JointLimits.of(NAMES, (LOWER,) * 2, (UPPER,) * 2, (FASTEST,) * 2)
        self.sent: list[float] | None = None
        settings = GateSettings(kind, STEP_S, MAX_AGE_S, LATENCY_S, 0.0, "hold" if kind == "position" else "zero")
        self.gate = Gate(self.limits, settings, {"joint_states": "joint_states"}, self._send)
        model = "position" if kind == "position" else "delay"
        self.joints = [JointModel(model, 0.2, LATENCY_S, FASTEST, chance=chance) for _ in NAMES]
        bounds = ActionLimits((LOWER,) * 2, (UPPER,) * 2, (FASTEST,) * 2)
        if kind == "velocity":
            bounds = ActionLimits(velocity=(FASTEST,) * 2, acceleration=(8.0,) * 2, jerk=(200.0,) * 2)
        action = ActionSpec("action", NAMES, kind, limits=bounds)
        self.commands, self.limiter = Commands([action]), Limiter([action], STEP_S)
        self.player = Player(
            PlayerSettings(STEP_S, self.commands.aligns, self.commands.rates, merge=merge), Delays(STEP_S, 0.1)
        )
        self.gate.enable(True, self._at())
        self.refused = 0

    def _at(self) -> Instant:
        return Instant(self.now_ns, self.now_ns)

    def _send(self, values: list[float]) -> None:
        """Take what leaves, and hold it against the limits."""
        assert all(math.isfinite(v) for v in values), values
        if self.kind == "position":
            assert all(LOWER <= v <= UPPER for v in values), values
        else:
            assert all(abs(v) <= FASTEST for v in values), values
        for joint, value in zip(self.joints, values, strict=True):
            joint.send(self.now_ns / 1e9, value)

    def step(self) -> None:
        """Let a step pass, with fresh samples."""
        self.now_ns += round(STEP_S * 1e9)
        for joint in self.joints:
            joint.advance(self.now_ns / 1e9)
        positions = [joint.position for joint in self.joints]
        self.gate.joint_states(self._at(), self.now_ns, NAMES, positions, [j.velocity for j in self.joints])
        self.gate.look(self._at())
        if (step := self.player.step()) is None:
            return
        try:
            wanted = self.limiter.apply(step.values)
            values, _ = self.gate.release(self._at(), wanted.tolist(), self.now_ns)
        except InputError:
            self.player.reset(None)
            self.limiter.reset()
            return
        self.player.sent(np.array(values))
        self.limiter.sent(np.array(values))

    def chunk(self) -> None:
        """Ask, let the answer be late, and play on."""
        ask = self.player.ask(self.now_ns)
        if ask is None:
            self.step()
            return
        for _ in range(int(self.rng.integers(0, 4))):
            self.step()
        low, high = (LOWER, UPPER) if self.kind == "position" else (-FASTEST, FASTEST)
        output = hostile(self.rng, HORIZON, 2, low, high)
        try:
            rows = self.commands.published(self.commands.raw({"action": output}), Base(None, self.player.last))
        except InputError:
            rows, self.refused = None, self.refused + 1
        self.player.answer(ask, rows, self.now_ns)
        for _ in range(int(self.rng.integers(0, 6))):
            self.step()

    def check_joints(self) -> None:
        """Hold where the joints have been against their limits."""
        for joint in self.joints:
            assert joint.lowest >= LOWER - 1e-6
            assert joint.highest <= UPPER + 1e-6


def _run(kind: str, merge: str, seed: int, chunks: int) -> Rig:
    rig = Rig(kind, merge, seed)
    while rig.player.counts.asked < chunks:
        rig.chunk()
        if rig.rng.random() < 0.002:
            rig.player.reset(None)
    rig.check_joints()
    return rig


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("merge", ["align", "ensemble", "average", "none"])
@pytest.mark.parametrize("kind", ["position", "velocity"])
def test_nothing_of_250_hostile_chunks_is_sent_beyond_a_limit(kind: str, merge: str) -> None:
    rig = _run(kind, merge, 1, 250)
    counts = rig.player.counts
    assert rig.refused > 50
    assert counts.played > 100
    assert counts.asked == counts.played + counts.late + counts.refused + counts.epoch + rig.player.in_flight


@pytest.mark.long
@pytest.mark.parametrize("merge", ["align", "ensemble", "average", "none"])
@pytest.mark.parametrize("kind", ["position", "velocity"])
def test_hostile_chunks_a_million(kind: str, merge: str) -> None:
    whole = int(os.environ.get("HOSTILE_CHUNKS", "1000000"))
    played = refused = 0
    for seed in range(max(1, whole // 8 // 1000)):
        rig = _run(kind, merge, seed, min(1000, whole // 8))
        played, refused = played + rig.player.counts.played, refused + rig.refused
    print(f"{kind} {merge}: {played} played, {refused} refused, none beyond a limit")
