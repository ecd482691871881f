"""What a contract's policy says and is told in words: the action line, and the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from perf_inference.engines.engine import EngineInfo
from perf_inference.errors import ConfigError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.contract_task import ContractTask, Tick

_LONGEST = 4096  # of a task


class TaskText:
    """The parameter `task`: the text that a model takes."""

    def __init__(self, node: Node, first: str, changed: Callable[[], None]) -> None:
        """Declare it; `changed` is called after each new text (ROS thread)."""
        self._changed = changed
        said = "the text that the model takes as its task; another one begins the plan anew"
        if not node.has_parameter("task"):  # else it was configured before
            node.declare_parameter("task", first, ParameterDescriptor(description=said))
        self.value = str(node.get_parameter("task").value)
        if refusal := _refusal(self.value):
            raise ConfigError(refusal)
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "task":
                text = parameter.value
                if reason := _refusal(text):
                    return SetParametersResult(successful=False, reason=reason)
                if text != self.value:
                    self.value = text
                    self._changed()
        return SetParametersResult(successful=True)


def _refusal(text: object) -> str:
    """Return why it is no task, or nothing."""
    if not isinstance(text, str) or len(text.encode()) > _LONGEST or not text.isprintable():
        return f"task must be a printable text of at most {_LONGEST} bytes"
    return ""


class ActionLine:
    """The line `[ACTION #n] ...`, now and then."""

    def __init__(self, node: Node, contract: Contract) -> None:
        self._log, self._count = node.get_logger(), 0
        terms = list(enumerate(contract.observations))
        self._sensor = next((i for i, t in terms if t.source == "topic" and not t.names and not t.is_image), None)
        self._robot = next((i for i, t in terms if t.names), None)
        self._fills = ("0/0", "0/0")
        self._elapsed_ms = 0.0

    def seen(self, tick: Tick, arrival: Arrival) -> None:
        """Note what the newest answer rests on."""
        taken = tick.seen.taken
        counts = [taken[i] if i is not None and i in taken else None for i in (self._sensor, self._robot)]
        sensor, robot = (f"{c.filled}/{c.length}" if c else "0/0" for c in counts)
        self._fills = sensor, robot
        for key, count in zip(("sensor_fill", "robot_fill"), counts, strict=True):
            tick.figures[key] = count.filled if count else 0
        self._elapsed_ms = (CLOCKS.monotonic_ns() - arrival.arrived_ns) / 1e6

    def sent(self, values: Sequence[float], clamped: bool) -> None:
        """Count an action, and say it."""
        self._count += 1
        sensor, robot = self._fills
        self._log.info(
            f"[ACTION #{self._count}] {' '.join(f'{v:+.3f}' for v in values)}{' clamped' if clamped else ''} | "
            f"Time: {self._elapsed_ms:.1f}ms | Sensor: {sensor} | Robot: {robot}",
            throttle_duration_sec=5.0,
        )


def introduction(info: EngineInfo, task: ContractTask, joints: Sequence[str], rate_hz: float) -> str:
    """Return the line that a start ends with, but whether it is enabled."""
    steps = task.binding.horizon
    return (
        f"{info.name} ({info.runtime} {info.precision} on {info.device}) drives {', '.join(joints)} by "
        f"{task.contract.where}: {f'chunks of {steps} steps' if steps != 1 else 'one action'} at {rate_hz:g} Hz, "
    )
