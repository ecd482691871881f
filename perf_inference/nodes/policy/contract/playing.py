"""The plan of a contract's policy, on its way through limits and gate; called with the driver's lock held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.nodes.policy.contract.companions import Companions
from perf_inference.nodes.policy.contract.words import ActionLine
from perf_inference.nodes.policy.gates import Gates
from perf_inference.nodes.policy.guard import instant
from perf_inference.safety import Gate, JointLimits
from perf_inference.safety.process.front import Front
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.chunks import delays
from perf_inference.tasks.policy.chunks.guards import Guards
from perf_inference.tasks.policy.chunks.limiter import Limiter
from perf_inference.tasks.policy.chunks.player import Ask, Player, PlayerSettings, Seam

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perf_inference.tasks.policy.contract.contract import ActionSpec, Contract

Floats = NDArray[np.float64]


class Playing:
    """A player, and what its steps go through."""

    def __init__(
        self, node: Node, contract: Contract, binding: Binding, main: Sequence[ActionSpec], limits: JointLimits,
        rate_hz: float, first_s: float, guards: Guards, gates: Gates, shadow: bool,
    ) -> None:  # fmt: skip
        """Begin with no plan.

        Args:
            main: the actions that the gate guards.
            first_s: how long an inference took in the warm-up.
            gates: hears what is sent, for shadow mode, and says when that begins and ends.
        """
        self._node, self._commands, self._limits, self._main = node, binding.commands, limits, main
        self._guards, self._gates = guards, gates
        self.line = ActionLine(node, contract)
        self.sent_any = False
        step_s = 1 / (contract.actions[0].rate_hz or rate_hz)
        acceleration = [a for action in contract.actions for a in action.limits.acceleration]
        settings = PlayerSettings(
            step_s=step_s,
            columns=binding.commands.aligns,
            rates=binding.commands.rates,
            merge="none" if binding.horizon == 1 else contract.merge,  # one action has no time to meet the last one in
            fade_s=contract.align_fade_s,
            margin=contract.margin,
            sync=contract.execution == "sync" or binding.horizon == 1,
            conditioned=binding.conditioned,
            acceleration=tuple(acceleration) if len(acceleration) == binding.commands.width else (),
        )
        self.player = Player(settings, delays.Delays(step_s, first_s))
        self._limiter = Limiter(contract.actions, step_s)
        self._companions = Companions(node, contract, binding.commands, main, shadow)
        gates.with_companions(self._companions.shadow)
        horizon = binding.horizon
        why = "" if horizon in (None, 1) or settings.sync else delays.trouble(first_s, step_s, settings.margin, horizon)
        if why:
            node.get_logger().warning(why)

    @property
    def is_due(self) -> bool:
        """Whether the model is to be asked now."""
        player, settings = self.player, self.player.settings
        due = not player.left if settings.sync else player.left <= player.delays.steps + settings.margin
        return due and not player.in_flight

    def answer(self, ask: Ask, chunk: Floats | None) -> Seam:
        """Take the model's answer of now."""
        return self.player.answer(ask, chunk, CLOCKS.monotonic_ns())

    def reset(self, gate: Gate | Front | None) -> None:
        """Drop the plan and what is in flight; the next one begins where the joints are."""
        self.player.reset(self._here(gate))
        self._limiter.reset()

    def send(self, gate: Gate | Front, observed_ns: int | None) -> None:
        """Send the next step of the plan, if there is one; what the gate does not let out ends the plan.

        Args:
            observed_ns: when what it rests on was observed [steady]; None: the steps of a chunk rest on what is fresh.

        Raises:
            InputError: nothing is sent.
        """
        step = self.player.step()
        if step is None:
            return
        try:
            values = self._limiter.apply(step.values)
            observed = gate.observed_ns() if observed_ns is None else observed_ns
            wanted = self._guarded(gate, self._companions.main_of(values))
            sent, clamped = gate.release(instant(self._node), wanted.tolist(), observed)
        except InputError:
            self.reset(gate)
            raise
        self._gates.note(sent)
        values = self._companions.publish(values, np.array(sent))
        self._limiter.sent(values)
        self.player.sent(values)
        self.sent_any = True
        self.line.sent(sent, clamped)

    def _guarded(self, gate: Gate | Front, values: Floats) -> Floats:
        """Return what the guards let through; a base has no joints, and stands for them at 0."""
        row = None if self._main[0].kind == "twist" else gate.joint_row()
        places, speeds = ([0.0] * len(values), [0.0] * len(values)) if row is None else row
        return self._guards.allow(np.array(places), np.array(speeds), values)

    def _here(self, gate: Gate | Front | None) -> Floats | None:
        """Return the values that the robot stands at [A]; None: it is not known."""
        commands = self._commands
        here = np.zeros(commands.width)
        row = None if gate is None or self._main[0].kind == "twist" else gate.joint_row()
        known = {} if row is None else dict(zip(self._limits.names, row[0], strict=True))
        for place, (name, is_rate) in enumerate(zip(commands.names, commands.rates, strict=True)):
            if not is_rate:
                if name not in known:
                    return None
                here[place] = known[name]
        return here
