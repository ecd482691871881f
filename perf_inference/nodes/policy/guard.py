"""A gate and all of ROS that it needs: the publisher of `action`, the stops, and who may enable."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from std_srvs.srv import SetBool

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival, Scalar
from perf_inference.nodes.policy.actions import ActionPublisher
from perf_inference.nodes.policy.gate_setup import GateSetup
from perf_inference.nodes.policy.other_senders import OtherSenders
from perf_inference.nodes.policy.stop_topics import StopTopics
from perf_inference.safety import Gate, Instant
from perf_inference.safety.process.activity import deactivate

_LAST_SENDS_NS = 120_000_000  # that the safe action is sent on before a shadow


def instant(node: Node) -> Instant:
    """Return this moment on both clocks."""
    return Instant(CLOCKS.monotonic_ns(), node.get_clock().now().nanoseconds)


def judged_at(node: Node, arrival: Arrival) -> Instant:
    """Return when a message is judged: by now, or when it came where only that tells its age.

    Raises:
        InputError: it has no stamp, and the ROS clock that it is taken at has not begun.
    """
    now = instant(node)
    if not arrival.stamp_ns and now.ros_ns == 0:
        raise InputError("a sample without a stamp cannot be used: /clock has not come (use_sim_time is true)")
    return now if arrival.stamp_ns else Instant(arrival.arrived_ns, now.ros_ns)


class Guard:
    """Holds a gate in a node: in policy_node itself, or in the process of the gate."""

    def __init__(self, node: Node, setup: GateSetup) -> None:
        """Advertise `action` or its shadow, and `enable`; listen to `estop`, `speed_scale` and to who else sends."""
        self._node, self._topics = node, setup.topics
        others = OtherSenders(node, setup, self._another_sends)
        self._others, self._actions = others, (actions := ActionPublisher(node, setup))
        self.gate = Gate(setup.limits, setup.settings, setup.inputs, actions.publish)
        self._wanted, self._rests_ns = setup.shadow, 0  # wanted: a shadow; since when the robot rests before one
        if setup.shadow:
            self.gate.shadow(True, self.now(), lambda: None)
        self._stops = StopTopics(node, setup.topics, setup.estop_timeout_s, self.gate, self.now)
        others.begin(actions.type, lambda: actions.sent)
        node.create_service(SetBool, setup.topics.enable, self._on_enable)
        if not setup.active:
            deactivate(self.gate, self.now())

    def now(self) -> Instant:
        """Return this moment on both clocks."""
        return instant(self._node)

    def look(self) -> str:
        """Judge the stops, and let the gate look; return why the safe action is being sent, or nothing."""
        now = self.now()
        self._stops.look(now)
        self._switch(now)
        return self.gate.look(now)

    @property
    def in_shadow(self) -> bool:
        """Whether commands go to `action_shadow`, and nothing to `action`."""
        return self._actions.in_shadow

    def want_shadow(self, on: bool) -> None:
        """Send to `action_shadow` as soon as the robot has come to rest; or to `action`, disabled, at the next look."""
        self._wanted = on

    def take_for_ours(self, gids: Sequence[str]) -> None:
        """Know publishers of `action` that are policy_node's."""
        self._others.take_for_ours(gids)

    def _switch(self, now: Instant) -> None:
        """Change where commands go; before a shadow the safe action has been sent until the robot rests."""
        on, gate = self._wanted, self.gate
        if on == self.in_shadow:
            return
        if on and gate.sends:
            gate.enable(False, now)
            self._rests_ns = (self._rests_ns or now.steady_ns) if gate.at_rest(now) else 0
            if not self._rests_ns or now.steady_ns - self._rests_ns < _LAST_SENDS_NS:
                return
        self._rests_ns = 0
        gate.shadow(on, now, lambda: self._others.switch(on, lambda: self._actions.shadow(on)))

    def values(self) -> dict[str, Scalar]:
        """Return what the heartbeat says of the gate."""
        gate = self.gate
        return {
            "gate.enabled": str(gate.enabled).lower(),
            "gate.shadow": str(self.in_shadow).lower(),
            "gate.sends": gate.sends,
            "gate.clamped": gate.clamped,
            "gate.speed_scale": self._stops.speed.share,
            "gate.longest_look_ms": round(gate.longest_look_s * 1e3, 3),
        }

    def _another_sends(self, what: str) -> None:
        """Let nobody drive while somebody else sends actions; afterwards a person enables it again."""
        now = self.now()
        what = "" if self.in_shadow else what
        if what:
            self.gate.disable(f"{what}; call {self._topics.enable} when it is over", now)
        self.gate.bar("others", what, now)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        refused = self.gate.enable(bool(request.data), self.now())
        response.success = not refused
        response.message = "enabled" if request.data else "disabled: safe action"
        log = self._node.get_logger()
        if refused:
            response.message = f"not enabled: {refused}"
            log.warning(response.message)
        else:
            log.info(response.message)
        return response
