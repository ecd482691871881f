"""What goes over the pipe between policy_node and the process of its gate: one message, one packet, as JSON.

To the gate come `Setup` (first, and once), `Beat`, `Accepted`, `Refused`, `Narrow`, `Act`, `Enable`, `Activity`, `Ours`
and `Stop`; from it `State` (at each look: it is the gate's heartbeat too), `Outcome` (of an `Act`) and `Failed` (of its
start).

An action is a row of knots, so that a chunk can be one; a policy that has one action at a time sends one knot, of now.
`mode` of a beat is what the policy's end wants to be: `active`, or `shadow` (what it does is sent elsewhere than to the
robot); `State.shadow` is what the gate is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Union

from perf_inference.errors import InputError

ACTIVE, SHADOW = "active", "shadow"
MOST_BYTES = 65_536  # of one message


class Setup(NamedTuple):
    """What the gate is made of: see `nodes/policy/gate_setup.py`."""

    values: Mapping[str, Any]


class Beat(NamedTuple):
    """The policy lives."""

    mode: str


class Accepted(NamedTuple):
    """A good sample of an input that the gate does not hear itself; times as `samples.Taken`."""

    name: str
    measured_ns: int
    accepted_ns: int
    stamp_ns: int | None


class Refused(NamedTuple):
    """Why a message of such an input cannot be used; `forget`: nor can the one that was accepted."""

    name: str
    why: str
    forget: bool


class Narrow(NamedTuple):
    """Limits that a model says of itself [rad, rad, rad/s]."""

    lower: list[float]
    upper: list[float]
    velocity: list[float]


class Act(NamedTuple):
    """An action: let it out as far as it is allowed."""

    number: int
    asked_ns: int  # steady; who asked waits no longer than ASK_S
    observed_ns: int  # steady: what it rests on
    knots: list[tuple[float, list[float]]]  # (after [s], values); one of now, or a chunk


class Enable(NamedTuple):
    """Enable or disable, as the policy's own state says."""

    on: bool


class Ours(NamedTuple):
    """Publishers of `action` that are policy_node's own from now on."""

    gids: list[str]  # in hexadecimal


class Activity(NamedTuple):
    """Whether policy_node is active; while it is not, nobody can enable it (`safety/process/activity.py`)."""

    on: bool


class Stop(NamedTuple):
    """The policy ends in order: the safe action, and then the end of the gate."""


class State(NamedTuple):
    """What the gate says of itself at each look."""

    enabled: bool
    ready: bool  # an action may be asked for, as far as the gate knows
    driving: bool
    reason: str
    sends: int
    clamped: int
    longest_look_ms: float
    shadow: bool = False  # nothing goes to the robot
    active: bool = True  # as the newest `Activity` or `Setup` says: if not, the safe action was sent since


class Outcome(NamedTuple):
    """What became of an action."""

    number: int
    values: list[float] | None  # as they were sent; None: nothing was
    clamped: bool
    why: str  # it was not sent
    sent_ns: int  # steady: it was published by then


class Failed(NamedTuple):
    """Why the gate cannot start: the configuration is wrong."""

    why: str


Message = Union[  # noqa: UP007  (a `|` of classes is no type at run time in Python 3.10's NamedTuple)
    Setup, Beat, Accepted, Refused, Narrow, Act, Enable, Activity, Ours, Stop, State, Outcome, Failed,
]  # fmt: skip
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Setup, Beat, Accepted, Refused, Narrow, Act, Enable, Activity, Ours, Stop, State, Outcome, Failed)
}


def packed(message: Message) -> bytes:
    """Return the packet of a message.

    Raises:
        InputError: it is too long.
    """
    packet = json.dumps([type(message).__name__, *message], separators=(",", ":")).encode()
    if len(packet) > MOST_BYTES:
        raise InputError(f"a message to the gate must have at most {MOST_BYTES} bytes, got {len(packet)}")
    return packet


def unpacked(packet: bytes) -> Message:
    """Return the message of a packet.

    Raises:
        InputError: it is none; both ends must be of one installation.
    """
    try:
        kind, *fields = json.loads(packet)
        message: Message = _KINDS[kind](*fields)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"what comes over the gate's pipe must be a message of this version, got {packet[:80]!r}"
        ) from error
    return message
