"""The log of a node: one call is one line, whatever stands in it."""

from __future__ import annotations

import os
from typing import Any

from rclpy.impl import rcutils_logger

from perf_inference.printable import printable

# rclpy tells calls apart (their throttle, their severity) by the first file that is not in this list.
rcutils_logger._internal_callers.append(os.path.realpath(__file__))


class PrintableLogger(rcutils_logger.RcutilsLogger):
    """Names, encodings and errors in a message come from others: none of them can forge a line or move a cursor."""

    def log(self, message: Any, severity: Any, *others: Any, **kwargs: Any) -> bool:  # up to Jazzy there are no others
        return bool(super().log(printable(message), severity, *others, **kwargs))
