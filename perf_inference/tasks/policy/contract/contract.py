"""What a contract says, as frozen values. Knows neither ROS nor a model; `parse.py` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from perf_inference.tasks.vision.image_block import ImageBlock

SOURCES = ("topic", "previous_action", "constant", "text", "phase", "tf")
FILLS = ("hold", "linear", "nearest")
FLATTENS = ("none", "time", "term")
KINDS = ("position", "velocity", "delta", "twist")
MESSAGES = ("Float64MultiArray", "JointTrajectory", "JointState", "Twist", "TwistStamped")
TWIST = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
ALIGNS = ("linear", "angle", "none")
EXECUTIONS = ("async", "sync")
MERGES = ("align", "ensemble", "average", "none")
SAFE = ("zero", "hold", "stop", "decelerate")
VIOLATIONS = ("clamp", "reject")
RELIABILITIES = ("best_effort", "reliable")
DURABILITIES = ("volatile", "transient_local")
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

Values = tuple[float, ...]


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / (std + 1e-8), or from [low, high] to [-1, 1], as LeRobot has them; one value stands for all."""

    mean: Values = ()
    std: Values = ()
    low: Values = ()
    high: Values = ()


@dataclass(frozen=True)
class WindowSpec:
    """The samples of a term on a grid of time that ends at the tick."""

    length: int
    rate_hz: float
    fill: str = "hold"  # one of FILLS
    flatten: str = "none"  # one of FLATTENS


@dataclass(frozen=True)
class Qos:
    """Of a subscription."""

    reliability: str = "best_effort"
    durability: str = "volatile"
    depth: int = 5


@dataclass(frozen=True)
class Ranges:
    """A scan's ranges as `count` values: the nearest of each sector, at most `most_m`; `inf` where there is none."""

    count: int
    most_m: float
    inf: float


@dataclass(frozen=True)
class Term:
    """One entry of `observations`: where values come from, and what becomes of them."""

    input: str
    source: str = "topic"  # one of SOURCES
    topic: str = ""
    type: str = ""  # sensor_msgs/msg/JointState
    fields: tuple[str, ...] = ()  # empty: what `observing.fields.DEFAULTS` has for the type
    names: tuple[str, ...] = ()  # picked by the message's `name` or `joint_names`; empty: all, as they come
    qos: Qos = Qos()
    transform: str = ""  # empty: none
    ranges: Ranges | None = None
    offset: Values = (0.0,)
    scale: Values = (1.0,)
    clip: tuple[float, float] | None = None
    normalize: Normalize | None = None
    window: WindowSpec | None = None
    image: ImageBlock | None = None
    image_keys: tuple[str, ...] = ()  # those of its keys that the file has
    max_age_s: float | None = None  # None: the node's parameter max_observation_age_s
    stand_in: Values | None = None  # None: not optional
    value: Values = ()  # of a constant
    sent: bool = False  # of previous_action: what was sent, instead of what the model said
    period_s: float = 1.0  # of a phase
    frames: tuple[str, ...] = ()  # of tf: target, source

    @property
    def is_image(self) -> bool:
        """Whether the term is a camera's image."""
        return self.type in IMAGE_TYPES

    @property
    def label(self) -> str:
        """A name for messages: the topic, or the source."""
        return self.topic or self.source


@dataclass(frozen=True)
class Recurrent:
    """A state that goes from an output to an input of the next tick."""

    input: str
    output: str
    initial: float | None = 0.0  # None: the model's own metadata have it


@dataclass(frozen=True)
class ActionLimits:
    """Bounds in published units; empty: none here. They may only tighten the robot's."""

    lower: Values = ()
    upper: Values = ()
    velocity: Values = ()
    acceleration: Values = ()
    jerk: Values = ()
    step: Values = ()
    on_violation: str = "clamp"  # one of VIOLATIONS


@dataclass(frozen=True)
class Gripper:
    """0 is closed and 1 is open for the model; with a hysteresis it is one or the other, and changes at 0.5 -+ it."""

    closed: float
    open: float
    hysteresis: float = 0.0


@dataclass(frozen=True)
class ActionSpec:
    """One entry of `actions`: which values of an output go where, and in which units."""

    output: str
    names: tuple[str, ...]
    kind: str  # one of KINDS
    columns: tuple[int, int | None] = (0, None)  # of the output: from, to
    delta_from: str = "state"  # state | previous
    message: str = ""  # one of MESSAGES, or a plug-in of the group perf_inference.messages
    topic: str = "action"
    offset: Values = (0.0,)
    scale: Values = (1.0,)
    unnormalize: Normalize | None = None
    clip: tuple[float, float] | None = None
    rate_hz: float | None = None  # of the chunk's steps; None: the contract's
    repeat: int = 1  # each value is sent so many times
    align: str = "linear"  # one of ALIGNS
    gripper: Gripper | None = None
    safe: str | None = None  # one of SAFE; None: the node's parameter
    limits: ActionLimits = ActionLimits()


@dataclass(frozen=True)
class Contract:
    """All that a policy needs beside its model file."""

    observations: tuple[Term, ...]
    actions: tuple[ActionSpec, ...]
    where: str = "contract"  # the file, for messages
    version: int = 1
    rate_hz: float | None = None  # ticks; None: the node's parameter `rate`
    max_skew_s: float | None = None  # between cameras; None: not compared
    task: str = ""
    state: tuple[Recurrent, ...] = ()
    execution: str = "async"  # one of EXECUTIONS
    merge: str = "align"  # one of MERGES
    align_fade_s: float = 0.2
    margin: int = 1  # ticks
    text: str = field(default="", repr=False, compare=False)  # the YAML itself

    @property
    def inputs(self) -> tuple[str, ...]:
        """The engine's inputs that observations fill, each once, in file order."""
        return tuple(dict.fromkeys(term.input for term in self.observations))

    def terms(self, name: str) -> tuple[Term, ...]:
        """Return the terms of one input, in file order."""
        return tuple(term for term in self.observations if term.input == name)

    @property
    def main(self) -> tuple[ActionSpec, ...]:
        """The actions that the gate guards: those of the first topic with joints, else of the first topic."""
        joints = [action for action in self.actions if action.kind != "twist" and action.gripper is None]
        first = (joints or self.actions)[0]
        return tuple(action for action in self.actions if action.topic == first.topic)

    @property
    def topics(self) -> tuple[Term, ...]:
        """The terms that come from topics."""
        return tuple(term for term in self.observations if term.source == "topic")
