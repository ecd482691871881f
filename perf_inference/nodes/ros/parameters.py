"""ROS parameters from a frozen dataclass: the one place with their names, defaults, bounds and descriptions."""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, TypeVar, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from perf_inference.engines import AUTO, Options
from perf_inference.engines.engine import PRECISIONS
from perf_inference.engines.runtimes import registered
from perf_inference.errors import ConfigError
from perf_inference.nodes.ros import as_files_say

P = TypeVar("P")
_TYPES: dict[Any, tuple[Parameter.Type, str]] = {
    bool: (Parameter.Type.BOOL, "true or false"),
    int: (Parameter.Type.INTEGER, "a whole number"),
    float: (Parameter.Type.DOUBLE, "a number"),
    str: (Parameter.Type.STRING, "a text"),
    tuple[str, ...]: (Parameter.Type.STRING_ARRAY, "a list of texts"),
    tuple[int, ...]: (Parameter.Type.INTEGER_ARRAY, "a list of whole numbers"),
    tuple[float, ...]: (Parameter.Type.DOUBLE_ARRAY, "a list of numbers"),
}
# Of rclpy, and what a node says by itself: both are in the dump of a node, from which it may be started again.
_NOT_OURS = ("use_sim_time", "start_type_description_service", "engine_state")
RELIABILITIES = ("auto", "best_effort", "reliable")
_PREFIXES_NOT_OURS = ("qos_overrides.", "start.")
_EVERY = float("inf")
_hints: Callable[[Any], dict[str, Any]] = functools.cache(get_type_hints)


def parameter(
    default: Any,
    description: str,
    *,
    at_least: float = -_EVERY,
    at_most: float = _EVERY,
    choices: tuple[str, ...] = (),
    name: str = "",
    while_running: bool = False,
) -> Any:
    """Return a dataclass field that describes a parameter.

    Args:
        name: the ROS name where it is not the field's own (nested: `limits.lower`).
        while_running: it may be set while the node runs (hot_swap.py).
    """
    metadata = {"description": description, "at_least": at_least, "at_most": at_most, "choices": choices, "name": name,
                "while_running": while_running}  # fmt: skip
    return field(default=default, metadata=metadata)


def model_parameter(default: str) -> Any:
    """Return the field `model`: a file, an embedded name or an address, also while the node runs."""
    return parameter(
        default,
        "path of the model, the name of an embedded one, or the address of a remote one (grpc://host:8081/NAME)",
        while_running=True,
    )


@dataclass(frozen=True)
class ManagedParameters:
    """What every managed node has."""

    autostart: bool = parameter(
        True, "configure and activate by itself; false: wait for a lifecycle manager, launch or `ros2 lifecycle set`"
    )


@dataclass(frozen=True)
class EngineParameters(ManagedParameters):
    """What every node with an engine has."""

    model: str = model_parameter("")
    runtime: str = parameter("auto", "what runs the model; auto: by the file", choices=(AUTO, *registered()),
                             while_running=True)  # fmt: skip
    precision: str = parameter("auto", "precision to run the model at; auto: as the file is",
                               choices=(AUTO, *PRECISIONS), while_running=True)  # fmt: skip
    device: str = parameter("auto", "auto, cpu, cuda:N; openvino: gpu:N, npu; tensorrt: dla:N", while_running=True)
    allowed_models: tuple[str, ...] = parameter(
        (), "what model may become while the node runs, besides embedded names: files, folders, scheme://host:port, "
        "sha256:HEX; empty: files of the folder of model, or its server"
    )  # fmt: skip
    architecture: str = parameter("", "network of a checkpoint, model's alone, that does not name its own")
    allow_pickle: bool = parameter(False, "the file of model, and of no other, may run code of its own when it is read")
    python: str = parameter("", "runtime lerobot: absolute path of the interpreter that has LeRobot")
    threads: int = parameter(0, "threads of one inference on a CPU; 0: one per core", at_least=0, at_most=1024)
    execution_providers: tuple[str, ...] = parameter(
        (), "of ONNX Runtime, best first; empty: those present, best first"
    )
    compile: bool = parameter(False, "let torch.compile make the model faster, before the first frame")
    cuda_graph: bool = parameter(True, "replay the work of a fixed shape on a GPU as one CUDA graph")
    blocking_wait: bool = parameter(
        False, "sleep while a GPU works instead of spinning: a core is free for others, a wake-up takes longer"
    )
    load_timeout_s: float = parameter(
        600.0, "so long `configure` waits for the model before it is refused [s]; a start by itself waits for ever",
        at_least=0.1, at_most=86_400)  # fmt: skip
    max_difference: float = parameter(
        0.05, "outputs that differ from fp32 by more than this share of their largest are a warning", at_least=0
    )
    deadline_ms: float = parameter(1000.0, "of one request to a remote model [ms]", name="remote.deadline_ms",
                                   at_least=1, at_most=600_000)  # fmt: skip
    certificates: str = parameter("", "PEM file of whom a remote model's server must be signed by; empty: the system's",
                                  name="remote.certificates")  # fmt: skip

    def options(self) -> Options:
        """Return what `engines.load` takes."""
        return Options(
            precision=self.precision,
            device=self.device,
            threads=self.threads,
            python=self.python,
            providers=self.execution_providers,
            architecture=self.architecture,
            allow_pickle=self.allow_pickle,
            compile=self.compile,
            cuda_graph=self.cuda_graph,
            blocking_wait=self.blocking_wait,
            deadline_ms=self.deadline_ms,
            certificates=self.certificates,
        )


@dataclass(frozen=True)
class ImageParameters(EngineParameters):
    """What every node with an engine has that looks at `image`."""

    image_transport: str = parameter("raw", "raw: image (sensor_msgs/Image); compressed: image/compressed, JPEG or PNG",
                                     choices=("raw", "compressed"))  # fmt: skip
    reliability: str = parameter(
        "auto", "of the reader of images; auto: best effort, or reliable where the camera offers that and it brings "
        "more; qos_overrides go before", choices=RELIABILITIES,
    )  # fmt: skip
    image_bits: int = parameter(16, "bits that the camera uses of mono16, bayer and other images of 16 bits, from the "
                                "lowest on", at_least=8, at_most=16)  # fmt: skip


@dataclass(frozen=True)
class ImageEngineParameters(ImageParameters):
    """What every node with an engine that runs for each image has."""

    queue_size: int = parameter(1, "frames that wait for the engine; the newest wins", at_least=1, at_most=10_000)
    expected_frequency: float = parameter(0.0, "rate of the camera [Hz], for the due time; 0: not promised", at_least=0)


def declare(node: Node, kind: type[P]) -> P:
    """Declare every field of the dataclass as a parameter of the node; return the values in force.

    They are read-only but for those that may be set while the node runs.

    Raises:
        ConfigError: a value of the wrong type or outside what is allowed, or one that is not what a parameters file
            says.
    """
    hints = _hints(kind)
    values = {}
    in_force = {"use_sim_time": node.get_parameter("use_sim_time").value}
    for item in fields(kind):  # type: ignore[arg-type]
        name = item.metadata["name"] or item.name
        in_force[name] = values[item.name] = _declare_one(node, name, item, hints[item.name])
    _warn_of_unknown(node, set(in_force) - set(_NOT_OURS))
    for warning in as_files_say.check(node.get_fully_qualified_name(), as_files_say.given_on(sys.argv), in_force):
        node.get_logger().warning(warning)
    # rclpy lets any peer set it: a clock that nobody publishes would stop all stamps.
    kind_of_it = node.describe_parameter("use_sim_time").type
    said = "the time of /clock is this node's; set it at the start"
    node.set_descriptor("use_sim_time", ParameterDescriptor(type=kind_of_it, description=said, read_only=True))
    as_files_say.give_empty_lists_a_type(node)
    return kind(**values)


def read_again(node: Node, kind: type[P], before: P) -> P:
    """Return the values that are in force now: those that may change while the node runs may have.

    Raises:
        ConfigError: one is outside what is allowed.
    """
    changed = {}
    for item in fields(kind):  # type: ignore[arg-type]
        if not item.metadata["while_running"]:
            continue
        name = item.metadata["name"] or item.name
        value = node.get_parameter(name).value
        if isinstance(item.default, tuple):
            value = tuple(value or ())
        _check(node, name, item, value, _hints(kind)[item.name])
        changed[item.name] = value
    return replace(before, **changed)  # type: ignore[type-var]


def is_given(node: Node, name: str) -> bool:
    """Return whether the user gave this parameter, in a file or on the command line."""
    return name in getattr(node, "_parameter_overrides", {})


def _declare_one(node: Node, name: str, item: Field[Any], hint: Any) -> Any:
    type_, noun = _TYPES[hint]
    low, high, choices = item.metadata["at_least"], item.metadata["at_most"], item.metadata["choices"]
    allowed = _allowed(noun, low, high, choices)
    descriptor = ParameterDescriptor(
        description=item.metadata["description"],
        read_only=not item.metadata["while_running"],
        additional_constraints=allowed if choices else "",
    )
    if hint is int and low > -_EVERY and high < _EVERY:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif hint is float and low > -_EVERY and high < _EVERY:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    default = None if item.default is MISSING else item.default
    given = _given(node, name, hint)
    if isinstance(default, tuple):
        default = list(default)
    try:
        if default == []:
            value = _declare_empty_list(node, name, type_, descriptor)
        else:
            value = node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise ConfigError(f"parameter '{name}' of {node.get_name()} must be {allowed}, got {given!r}") from error
    if isinstance(item.default, tuple):
        value = tuple(value or ())
    _check(node, name, item, value, hint)
    return value


def _check(node: Node, name: str, item: Field[Any], value: Any, hint: Any) -> None:
    """Raise ConfigError where a value of the right type is outside what is allowed."""
    low, high, choices = item.metadata["at_least"], item.metadata["at_most"], item.metadata["choices"]
    if (choices and value not in choices) or (isinstance(value, int | float) and not low <= value <= high):
        allowed = _allowed(_TYPES[hint][1], low, high, choices)
        raise ConfigError(f"parameter '{name}' of {node.get_name()} must be {allowed}, got {value!r}")


def _declare_empty_list(node: Node, name: str, type_: Parameter.Type, descriptor: ParameterDescriptor) -> Any:
    """Declare a list that is empty unless the user gave one; return its value.

    rclpy takes an empty list for one of bytes. Declared by its type alone, the parameter has no value, and a node with
    one such parameter answers nothing at all to whoever asks for all of them (`ros2 param dump`, rqt).
    """
    writable = copy.deepcopy(descriptor)
    writable.read_only = False
    value = None
    with contextlib.suppress(ParameterUninitializedException):  # on Humble
        value = node.declare_parameter(name, type_, writable).value
    if value is None:
        value = []
        node.set_parameters([Parameter(name, type_, value)])
    descriptor.type = type_.value
    node.set_descriptor(name, descriptor)
    return value


def _allowed(noun: str, low: float, high: float, choices: tuple[str, ...]) -> str:
    if choices:
        return "one of " + ", ".join(choices)
    if low > -_EVERY and high < _EVERY:
        return f"{noun} from {low:g} to {high:g}"
    if low > -_EVERY:
        return f"{noun} of at least {low:g}"
    return noun if high == _EVERY else f"{noun} of at most {high:g}"


def _given(node: Node, name: str, hint: Any) -> Any:
    """Return the user's value, if any; where numbers are wanted, whole ones are taken as such (`rate: 10`)."""
    overrides = getattr(node, "_parameter_overrides", {})
    given = overrides.get(name)
    if given is None:
        return None
    if hint is float and given.type_ == Parameter.Type.INTEGER:
        overrides[name] = Parameter(name, Parameter.Type.DOUBLE, float(given.value))
    elif hint == tuple[float, ...] and given.type_ == Parameter.Type.INTEGER_ARRAY:
        overrides[name] = Parameter(name, Parameter.Type.DOUBLE_ARRAY, [float(v) for v in given.value])
    return given.value


def _warn_of_unknown(node: Node, names: set[str]) -> None:
    import difflib

    for name in getattr(node, "_parameter_overrides", {}):
        if name in names or name in _NOT_OURS or name.startswith(_PREFIXES_NOT_OURS):
            continue
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(names))}"
        node.get_logger().warning(f"parameter '{name}' is not known to {node.get_name()} and is ignored; {hint}")
