"""ROS 2: wiring, parameters, conversion. The only place that imports rclpy or a message package."""

import contextlib
import sys

from perf_inference.bringup import child_process
from perf_inference.bringup.tuning import is_node, tune_this_process

TUNING_LINE = tune_this_process()  # a node started bare gets what the starters give; it must come before rclpy
if is_node(sys.orig_argv):
    # Before the seconds that the imports of a node can take; what stands against it says `runner`.
    with contextlib.suppress(child_process.StarterError):
        if ended := child_process.follow().ended():
            raise SystemExit(child_process.orphaned(ended))
