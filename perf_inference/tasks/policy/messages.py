"""Action messages of other packages, by entry point of the group `perf_inference.messages`.

A plug-in says which field gets what, and is no code that runs while a robot is driven: what it says is tried at the
start, and cannot fail later. It is a mapping (or a function without arguments that returns one) with the keys

    type       message type, like my_msgs/msg/WheelSpeeds
    values     field path of an array of numbers, or {name of the action: field path of a number}
    names      field path of an array of texts that gets the action's names; left out: none
    stamp      field path of a builtin_interfaces/Time that gets the time of sending; left out: none
    constants  {field path: value} of the fields that never change; left out: none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.plugins import plugin

GROUP = "perf_inference.messages"


@dataclass(frozen=True)
class MessageForm:
    """Which field of a message gets what; the keys above."""

    type: str
    values: str | Mapping[str, str]
    names: str = ""
    stamp: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(None)
def message_form(name: str) -> MessageForm:
    """Return what a plug-in says.

    Raises:
        ConfigError: nobody registers it, it cannot be loaded, or it is no such mapping.
    """
    said = plugin(GROUP, name)
    try:
        form = MessageForm(**dict(said() if callable(said) else said))
    except Exception as error:  # of somebody else's code
        raise ConfigError(
            f"plug-in '{name}' of {GROUP} must be a mapping with type and values, and perhaps names, stamp, constants; "
            f"{type(error).__name__}: {error}"
        ) from error
    texts = [form.type, form.names, form.stamp, *form.constants]
    texts += form.values.values() if isinstance(form.values, Mapping) else [form.values]
    if not form.type or not form.values or any(not isinstance(text, str) for text in texts):
        raise ConfigError(f"plug-in '{name}' of {GROUP} must name its type and fields by texts, got {form!r:.200}")
    return form
