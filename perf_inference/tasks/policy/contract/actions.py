"""The entries of `actions`: which values of an output go where."""

from __future__ import annotations

import re
from collections.abc import Sequence

from perf_inference.tasks.policy.contract.contract import (
    ALIGNS,
    KINDS,
    MESSAGES,
    SAFE,
    TWIST,
    VIOLATIONS,
    ActionLimits,
    ActionSpec,
    Gripper,
    Normalize,
)
from perf_inference.tasks.policy.contract.reading import Section
from perf_inference.tasks.policy.contract.scalings import clip_of, normalize_of
from perf_inference.tasks.policy.messages import GROUP
from perf_inference.tasks.policy.plugins import plugin_names

_DEFAULT_MESSAGE = {"position": "JointTrajectory", "delta": "JointTrajectory", "velocity": "Float64MultiArray",
                    "twist": "Twist"}  # fmt: skip
_SLICE = re.compile(r"(-?\d{1,6})?:(-?\d{1,6})?")
_BOUNDS = ("lower", "upper", "velocity", "acceleration", "jerk", "step")


def actions_of(sections: Sequence[Section]) -> tuple[ActionSpec, ...]:
    """Return the entries.

    Raises:
        ConfigError: an entry that is not allowed, or two of one topic that do not go together.
    """
    actions = tuple(_action(section) for section in sections)
    for i, action in enumerate(actions):
        for other in actions[:i]:
            if action.topic == other.topic and (action.message, action.kind == "velocity") != (
                other.message, other.kind == "velocity",
            ):  # fmt: skip
                raise sections[i].refused(
                    "topic", f"'{action.topic}' has another message or kind in an entry before; give it one of its own"
                )
            if shared := set(action.names) & set(other.names):
                raise sections[i].refused("names", f"has {', '.join(sorted(shared))}, which an entry before has too")
        if (action.rate_hz, action.repeat) != (actions[0].rate_hz, actions[0].repeat):
            raise sections[i].refused("rate_hz", "and repeat must be those of the first entry: one chunk has one grid")
    return actions


def _action(section: Section) -> ActionSpec:
    kind = section.choice("kind", KINDS)
    names = section.texts("names")
    count = len(names)
    action = ActionSpec(
        output=section.text("output", allowed="the name of an engine's output"),
        names=names,
        kind=kind,
        columns=section.take("slice", 'a text like "0:6", with whole numbers', _slice, (0, None)),
        delta_from=section.choice("delta_from", ("state", "previous"), "state"),
        message=section.choice("message", (*MESSAGES, *plugin_names(GROUP)), _DEFAULT_MESSAGE[kind]),
        topic=section.text("topic", "action"),
        offset=section.numbers("offset", (0.0,), count),
        scale=section.numbers("scale", (1.0,), count),
        unnormalize=_unnormalize(section, count),
        clip=clip_of(section),
        rate_hz=section.number("rate_hz", None, above=0, most=1000),
        repeat=section.whole("repeat", 1, 1, 1000),
        align=section.choice("align", ALIGNS, "none" if section.has("gripper") else "linear"),
        gripper=_gripper(section.section("gripper")),
        safe=section.choice("safe", SAFE, None),
        limits=_limits(section.section("limits"), count),
    )
    section.end()
    _check(action, section)
    return action


def _check(action: ActionSpec, section: Section) -> None:
    twist = action.message in ("Twist", "TwistStamped")
    if (action.kind == "twist") != twist and action.message in MESSAGES:
        raise section.refused("message", f"{action.message} does not go with kind {action.kind}")
    if twist and not set(action.names) <= set(TWIST):
        raise section.fail("names", f"some of {', '.join(TWIST)} with kind twist", list(action.names))
    if action.gripper and len(action.names) != 1:
        raise section.fail("names", "one name where there is a gripper", list(action.names))
    if section.has("delta_from") and action.kind != "delta":
        raise section.refused("delta_from", f"goes with kind delta alone, not with {action.kind}")
    start, stop = action.columns
    if stop is not None and (start < 0) == (stop < 0) and stop - start != len(action.names):
        raise section.fail("slice", f"{len(action.names)} values long, as names are", f"{start}:{stop}")


def _unnormalize(section: Section, count: int) -> Normalize | None:
    said = normalize_of(section.section("unnormalize"))
    for values in () if said is None else (said.mean, said.std, said.low, said.high):
        if len(values) not in (0, 1, count):
            raise section.fail("unnormalize", f"one number or {count}, one for each name", list(values))
    return said


def _gripper(section: Section | None) -> Gripper | None:
    if section is None:
        return None
    said = Gripper(
        section.number("closed"), section.number("open"), section.number("hysteresis", 0.0, least=0, most=0.5)
    )
    section.end()
    return said


def _limits(section: Section | None, count: int) -> ActionLimits:
    if section is None:
        return ActionLimits()
    bounds = {key: _every(section.numbers(key, (), count, infinite=True), count) for key in _BOUNDS}
    said = ActionLimits(**bounds, on_violation=section.choice("on_violation", VIOLATIONS, "clamp"))
    section.end()
    for key in _BOUNDS[2:]:
        if any(value < 0 for value in bounds[key]):
            raise section.fail(key, "numbers of at least 0", list(bounds[key]))
    if said.lower and said.upper and any(a > b for a, b in zip(said.lower, said.upper, strict=True)):
        raise section.fail("upper", "no lower than lower", list(said.upper))
    return said


def _every(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values * count if len(values) == 1 else values


def _slice(value: object) -> tuple[int, int | None]:
    match = _SLICE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    return int(match[1] or 0), int(match[2]) if match[2] else None
