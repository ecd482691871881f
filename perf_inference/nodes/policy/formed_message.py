"""A message of another package's type, made as its plug-in says."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from perf_inference.errors import ConfigError, in_one_line
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.tasks.policy.messages import message_form


class FormedMessage:
    """Makes the messages of one action."""

    def __init__(self, plugin: str, names: Sequence[str]) -> None:
        """Look up the plug-in and its type, and make one message of zeros.

        Raises:
            ConfigError: there is no such plug-in or type, or the message has other fields than it says.
        """
        self._form, self._names = message_form(plugin), list(names)
        self.kind = message_class(self._form.type)
        values = self._form.values
        if isinstance(values, Mapping) and (missing := [name for name in names if name not in values]):
            raise ConfigError(f"message plug-in '{plugin}' has no field for {', '.join(missing)}; "
                              f"it has one for {', '.join(values)}")  # fmt: skip
        try:
            serialize_message(self.make([0.0] * len(self._names), None))
        except Exception as error:  # whatever its fields do with another type
            why = f"{type(error).__name__}: {in_one_line(error)}"
            raise ConfigError(f"message plug-in '{plugin}' does not fit {self._form.type}: {why}") from error

    def make(self, values: Sequence[float], stamp: Any) -> Any:
        """Return the message of values [A] in the order of the names; `stamp`: a Time message, None: left as it is."""
        form, message = self._form, self.kind()
        for path, value in form.constants.items():
            _set(message, path, value)
        if form.names:
            _set(message, form.names, self._names)
        if form.stamp and stamp is not None:
            _set(message, form.stamp, stamp)
        if isinstance(form.values, Mapping):
            for name, value in zip(self._names, values, strict=True):
                _set(message, form.values[name], float(value))
        else:
            _set(message, form.values, [float(value) for value in values])
        return message


def _set(message: Any, path: str, value: Any) -> None:
    """Set a field, as `joint.velocity`.

    Raises:
        AttributeError: there is no such field.
        ValueError: an array of a fixed size, and other than so many values.
    """
    *parents, last = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    now = getattr(message, last)
    if isinstance(now, array):
        value = array(now.typecode, value)
    elif isinstance(now, np.ndarray):
        if len(value) != now.size:
            raise ValueError(f"{path} has {now.size} values, not {len(value)}")
        value = np.array(value, now.dtype)
    setattr(message, last, value)
