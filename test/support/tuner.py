"""Somebody who sets the parameters of a node from outside."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from support.processes import Ros


class Tuner:
    """Sets the parameters of a node and hears what it says."""

    def __init__(self, ros: Ros, node: str) -> None:
        self.ros, self.node = ros, node
        self.statuses: list[DiagnosticStatus] = []  # heartbeats of an active node: before, its model is being loaded
        ros.node.create_subscription(DiagnosticStatus, "inference/status", self._on_status, STATUS_QOS)
        self.timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)

    def _on_status(self, status: DiagnosticStatus) -> None:
        if status.name.endswith("_gate") or from_key_values(status.values).get("lifecycle") == "active":
            self.statuses.append(status)

    def set(self, **values: Any) -> list[str]:
        """Set them one by one, as `ros2 param set` does; return why each was refused, or nothing."""
        request = SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        )
        while True:
            answer = self.ros.call(SetParameters, f"/{self.node}/set_parameters", request)
            reasons = ["" if r.successful else r.reason for r in answer.results]
            if not any("is too often" in reason for reason in reasons):
                return reasons
            self.ros.spin_until(lambda: False, 0.3)

    def set_together(self, **values: Any) -> str:
        request = SetParametersAtomically.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        )
        while True:
            result = self.ros.call(SetParametersAtomically, f"/{self.node}/set_parameters_atomically", request).result
            if "is too often" not in result.reason:
                return "" if result.successful else result.reason
            self.ros.spin_until(lambda: False, 0.3)

    def get(self, *names: str) -> list[Any]:
        answer = self.ros.call(GetParameters, f"/{self.node}/get_parameters", GetParameters.Request(names=names))
        return [Parameter.from_parameter_msg(_named(n, v)).value for n, v in zip(names, answer.values, strict=True)]

    def wait(self) -> tuple[bool, str]:
        answer = self.ros.call(Trigger, f"/{self.node}/swap_wait", Trigger.Request(), timeout_s=120)
        return answer.success, answer.message

    def values(self) -> dict[str, Any]:
        """Return the figures of a heartbeat that began after now."""
        self.statuses.clear()

        def own() -> list[DiagnosticStatus]:  # a policy's gate has a heartbeat of its own
            return [status for status in self.statuses if not status.name.endswith("_gate")]

        assert self.ros.spin_until(own, 30)
        return from_key_values(own()[-1].values)

    def records(self) -> list[dict[str, Any]]:
        return [from_key_values(status.values) for array in self.timings for status in array.status]


def _named(name: str, value: Any) -> Any:
    from rcl_interfaces.msg import Parameter as Message

    return Message(name=name, value=value)


def allowed(*entries: object) -> list[str]:
    """Return the arguments of a node whose model may become one of these."""
    return ["-p", f"allowed_models:={[str(entry) for entry in entries]}"]
